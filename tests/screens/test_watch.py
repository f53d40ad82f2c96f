"""Something is watched: its changes are told on every screen, once, and ring."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cockpit.model.view import HostRow, InstanceRow, NodeRow
from screens.aim import HOST, INSTANCE, NODE, Aim
from screens.bell import Bell
from screens.board import Board
from screens.watch import MOST, State, Watch, sentence
from tests.screens.canned import NOW, CannedSession, snapshot
from tests.screens.drive import LARGE, Driver, driven, to, until

RUNNING = State("running", ("version 1.1.0", "on sh-1"))


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (State("unhealthy", RUNNING.parts, "failed", "refused"), "x was running, is unhealthy: refused"),
        (State("running", ("version 1.2.0", "on sh-1")), "x was running version 1.1.0, is running version 1.2.0"),
        (State("starting", ("", "on bj-1")), "x was running version 1.1.0 on sh-1, is starting on bj-1"),
        (None, "x is gone"),
    ],
)
def test_what_changed_and_only_that_is_said(new: State | None, said: str) -> None:
    assert sentence("x", RUNNING, new) == said


def board() -> Board:
    made = Board(lambda: NOW)
    made.load(snapshot())
    return made


def test_every_kind_of_thing_has_a_state_and_nothing_is_told_twice() -> None:
    known, watch = board(), Watch()
    assert "A change is told" in watch.turn(known, Aim(INSTANCE, ("puzzle.web/0",)))
    watch.turn(known, Aim(NODE, ("puzzle.sudoku",)))
    watch.turn(known, Aim(HOST, ("bj-1",)))
    assert watch.news(known) == []
    row: Any = known.instances["puzzle.web/0"]
    known.instances[row.id] = msgspec.structs.replace(row, word="unhealthy", mark="failed", reason="refused", pid=1)
    host: HostRow = known.hosts["bj-1"]
    known.hosts["bj-1"] = msgspec.structs.replace(host, presence="draining", mark="draining", instances=9)
    node: NodeRow = known.nodes["puzzle.sudoku"]
    known.nodes["puzzle.sudoku"] = msgspec.structs.replace(node, have=1, mark="failed")
    told = dict(watch.news(known))
    assert told["web/0 was running, is unhealthy: refused"] == "failed"
    assert told["bj-1 was up, is draining"] == "draining"
    assert any(words.startswith("sudoku was") and words.endswith("is 1 of 4 (failed)") for words in told), told
    assert watch.news(known) == []
    assert watch.turn(known, Aim(HOST, ("bj-1",))) == "Not watched any longer: bj-1."


def test_what_says_nothing_new_is_no_news() -> None:
    known, watch = board(), Watch()
    watch.turn(known, Aim(INSTANCE, ("puzzle.web/0",)))
    row: InstanceRow = known.instances["puzzle.web/0"]
    known.instances[row.id] = msgspec.structs.replace(row, pid=99, observed=NOW, reason="another reason")
    assert watch.news(known) == []


def test_the_worst_is_told_last_and_there_is_a_limit() -> None:
    known, watch = board(), Watch()
    ids = ("puzzle.web/0", "puzzle.web/1")
    watch.turn(known, Aim(INSTANCE, ids))
    for id, word, mark in zip(ids, ("unhealthy", "draining"), ("failed", "draining"), strict=True):
        known.instances[id] = msgspec.structs.replace(known.instances[id], word=word, mark=mark)
    assert [mark for _, mark in watch.news(known)] == ["draining", "failed"]
    many = tuple(f"x/{n}" for n in range(MOST + 1))
    known.instances |= {id: msgspec.structs.replace(known.instances[ids[0]], id=id) for id in many}
    assert "At most" in watch.turn(known, Aim(INSTANCE, many)) and len(watch.things) == 2


def heard(d: Driver) -> list[str]:
    """What is written to the terminal beside the picture."""
    out: list[str] = []
    assert d.app._driver is not None
    d.app._driver.write = out.append  # type: ignore[method-assign]
    return out


async def test_a_change_is_told_on_another_screen_and_rings() -> None:
    async with driven(LARGE, CannedSession()) as d:
        d.app._bell = Bell("bell,osc9")
        await to(d, "puzzle.web/0")
        await d.press("Y")
        await d.sees("Watched: web/0.")
        out = heard(d)
        await d.press("h")
        await d.at("HostsScreen")
        row = d.app.board.instances["puzzle.web/0"]
        bad = msgspec.structs.replace(row, word="unhealthy", mark="failed", reason="refused")
        d.session.push(instances={row.id: bad})
        await d.sees("web/0 was running, is unhealthy: refused")
        assert "\a\x1b]9;cockpit: web/0 was running, is unhealthy: refused\x07" in out
        await d.press("Y")
        await d.sees("Watched: ")
        await d.press("escape", ";")
        await d.sees("web/0 was running, is unhealthy: refused")


async def test_an_action_is_told_once_when_it_ends() -> None:
    async with driven(LARGE) as d:
        row = d.app.board.actions["#118"]
        await d.press("a")
        await d.at("ActionsScreen")
        grid = d.app.screen.grid  # type: ignore[attr-defined]
        assert grid.seek("#118")
        await d.press("Y")
        await d.sees("Watched: #118")
        more = msgspec.structs.replace(row, done=row.done + 1)
        d.session.push(actions={"#118": more})
        await until(lambda: d.app.board.actions["#118"].done == more.done)
        assert "#118 deploy" not in d.app.messages.all()[0].text
        ended = msgspec.structs.replace(more, state="done", ended=row.started + 48.0, mark="ok", note="")
        d.session.push(actions={"#118": ended})
        await d.sees("was running, is done in 48")
        assert d.app.watched.things == {}
        await d.press("Y")
        await d.sees("#118 has ended; nothing will change.")


async def test_what_is_watched_is_listed_where_there_is_nothing_to_watch() -> None:
    async with driven(LARGE) as d:
        await d.press("J", "Y")
        await d.sees("Nothing is watched")
        await d.press("escape")
        await to(d, "puzzle.web/0")
        await d.press("Y", "J")
        await d.at("JournalScreen")
        await d.press("Y")
        await d.at("PaletteScreen")
        await d.sees("web/0")
        await d.press("enter")
        await d.at("NodeScreen")


async def test_what_changed_while_a_shell_was_open_is_told_afterwards() -> None:
    async with driven(LARGE) as d:
        await to(d, "puzzle.web/0")
        await d.press("Y")
        d.app.away = True
        row = d.app.board.instances["puzzle.web/0"]
        bad = msgspec.structs.replace(row, word="unhealthy", mark="failed")
        d.session.push(instances={row.id: bad})
        await until(lambda: d.app.board.instances[row.id].mark == "failed")
        assert "unhealthy" not in d.app.messages.all()[0].text
        d.app.away = False
        d.session.push(now=NOW + 1)
        await d.sees("web/0 was running, is unhealthy")
