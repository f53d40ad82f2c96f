"""What somebody tired would misread, and does not have to."""

from __future__ import annotations

import msgspec

from cockpit.model.guard_rows import RequestRow
from cockpit.model.view import AlertRow, NodeRow, Who
from cockpit.plan.steps import Intent
from screens.approvals import request_columns
from screens.ask import ConfirmScreen
from screens.board import Board
from screens.item import Item, heading
from screens.look import Look
from screens.plan import control_facts
from screens.rows import host_columns, tree_columns
from screens.widgets.bars import remark_lines, top_parts
from screens.widgets.columns import Column
from screens.widgets.news import News
from screens.widgets.sheet import Sheet
from tests.screens.canned import NOW, CannedSession, snapshot
from tests.screens.drive import driven


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


def test_the_cursor_of_a_panel_nobody_was_in_yet_waits_on_what_comes_first() -> None:
    sheet = Sheet()
    line = {name: Item(((name, "text"),), name, True) for name in ("needs", "action 1", "action 2")}
    sheet.fill([heading("LATELY"), line["action 1"]])
    sheet.fill([heading("NEEDS YOU"), line["needs"], heading("LATELY"), line["action 1"]])
    assert sheet.current is line["needs"]
    sheet.use(True)
    sheet.use(False)
    sheet.fill([heading("NEEDS YOU"), line["action 2"], line["needs"], heading("LATELY"), line["action 1"]])
    assert sheet.current is line["needs"], "where somebody was stays where it is"


def test_a_drained_host_says_when_nothing_is_left_on_it() -> None:
    board = Board(lambda: NOW)
    board.load(snapshot())
    why = next(c for c in host_columns(board, Look()) if c.id == "why")
    host = msgspec.structs.replace(board.hosts["sh-1"], presence="draining", mark="draining", reason="")
    assert why.cell(msgspec.structs.replace(host, instances=1))[0] == ""
    assert why.cell(msgspec.structs.replace(host, instances=0))[0] == "nothing is left on it"


def test_an_action_that_ended_while_its_abort_was_read_is_not_said_to_end() -> None:
    board = Board(lambda: NOW)
    board.load(snapshot())
    said = control_facts(Intent(verb="abort", targets=("#117",), author="li", params={"undo": True}), board)
    assert len(said) == 1 and "has ended (done) meanwhile: there is nothing to abort" in said[0]


def test_what_is_left_of_a_request_is_not_an_hour_less_than_it_is() -> None:
    board = Board(lambda: NOW)
    board.load(snapshot())
    left = next(c for c in request_columns(board, Look()) if c.id == "left")
    row = RequestRow(
        id="a1", verb="restart", title="restart web", author="li", uid=7, digest="", asked=NOW, expires=NOW
    )
    said = {7198: "2h", 5400: "1h 30m", 3600: "1h", 3540: "59m", 40: "40s"}
    for seconds, words in said.items():
        assert left.cell(msgspec.structs.replace(row, expires=NOW + seconds))[0] == words


async def test_the_number_of_an_action_is_typed_with_its_sign_too() -> None:
    given: list[str] = []

    async def done(typed: str) -> None:
        given.append(typed)

    ask = ConfirmScreen("4", "abort #4", (), done)
    assert [bool(ask.question.check(v)) for v in ("4", "#4", "#5", "", "44")] == [False, False, True, True, True]
    await ask.done("#4")
    assert given == ["4"]
    assert ConfirmScreen("web", "stop", (), done).question.check("#web")


async def test_a_key_with_nothing_to_do_says_so_and_a_verbs_key_why() -> None:
    async with driven() as d:
        await d.press("h")
        await d.at("HostsScreen")
        await d.press("r")
        await d.sees("restart works on services and instances; this is a host")
        await d.press("%")
        await d.sees("% does nothing here; ? shows the keys that do.")
        await d.press("ctrl+d")
        await d.sees("^D does nothing here")
        kept = [m.text for m in d.app.messages.all()]
        assert not [text for text in kept if "does nothing" in text], "nothing to read again"
        await d.press("n")
        await d.at("NamingScreen")
        await d.press("x")
        await d.sees("stop has no key on this screen; : and its name begin it.")
    async with driven(session=CannedSession(read_only=True)) as d:
        await d.press("h")
        await d.at("HostsScreen")
        await d.press("r")
        await d.sees("restart is off:")


async def test_turning_an_order_that_was_not_chosen_says_how_one_is() -> None:
    async with driven() as d:
        await d.press("h", "O")
        await d.sees("The rows are in their usual order; o sorts by a column.")
        await d.press("o", "O")
        assert "usual order" not in d.text()
