"""What somebody tired would misread, and does not have to."""

from __future__ import annotations

import msgspec

from cockpit.model.view import AlertRow, NodeRow, Who
from screens.board import Board
from screens.look import Look
from screens.rows import host_columns, tree_columns
from screens.widgets.bars import remark_lines, top_parts
from screens.widgets.columns import Column
from screens.widgets.news import News
from tests.screens.canned import NOW, snapshot


def test_a_node_says_how_many_are_not_well_once() -> None:
    board = Board(lambda: NOW)
    board.load(snapshot())
    state = next(c for c in tree_columns(board, Look()) if c.id == "state")
    bad = NodeRow(path="puzzle.web", kind="service", want=2, have=1, drift=1, mark="failed")
    assert state.cell(bad) == ("✖ 1 failed", "failed")
    assert state.cell(msgspec.structs.replace(bad, drift=3)) == ("✖ failed, 3 unwell", "failed")


def test_the_last_ping_of_a_silent_host_is_not_shown() -> None:
    board = Board(lambda: NOW)
    board.load(snapshot())
    ping = next(c for c in host_columns(board, Look()) if c.id == "latency")
    up = msgspec.structs.replace(board.hosts["sh-1"], presence="up", latency=0.0008)
    assert ping.cell(up)[0] == "0.8"
    assert ping.cell(msgspec.structs.replace(up, presence="suspect"))[0] == ""


def test_a_remark_that_is_no_trouble_does_not_look_paused() -> None:
    look = Look()
    assert remark_lines("Nothing is kept yet.", "paused", 60, look)[0][0][0].strip() != look.glyph("paused")
    assert remark_lines("It broke.", "failed", 60, look)[0][0][0].strip() == look.glyph("failed")


def test_firing_alerts_stand_in_the_first_line_of_every_screen() -> None:
    board = Board(lambda: NOW)
    loop = AlertRow(id="a1", when="crash-loop", group="puzzle.web", members=("puzzle.web/0",), since=NOW)
    for state, there in (("firing", True), ("acknowledged", False)):
        board.load(msgspec.structs.replace(snapshot(), alerts={"a1": msgspec.structs.replace(loop, state=state)}))
        _, right = top_parts(board, Who(author="li@jump-1", role="operator"), "", Look())
        found = [p for p in right if p.door == "go:alerts"]
        assert [p.pieces[0][0] for p in found] == (["✖ 1 alert"] if there else [])


def test_what_grows_older_is_no_news() -> None:
    columns = [Column(id, id.upper(), lambda r: ("", "text")) for id in ("name", "age", "state")]
    news = News()
    news.note("r", columns, [("a", ""), ("1s", ""), ("x", "")], [("a", ""), ("9m", ""), ("y", "")], 0.0)
    assert (news.sign("r", "age"), news.sign("r", "state")) == ("", "changed")
