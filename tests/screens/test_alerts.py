"""The alerts screen, and the bell."""

from __future__ import annotations

import pytest

from cockpit.model.view import AlertRow
from screens.bell import Bell
from tests.screens.canned import NOW, CannedSession
from tests.screens.drive import driven, until

CRASH = AlertRow(
    id="a1", when="crash-loop", group="puzzle.sudoku", members=("puzzle.sudoku/3",), text="exit 1 three times",
    since=NOW - 40, to=("ops",), told=NOW - 39,
)  # fmt: skip


async def test_alerts_are_seen_acknowledged_and_silenced() -> None:
    session = CannedSession()
    session.answers["alert_ack"] = lambda args: {"id": args["id"]}
    session.answers["alert_silence"] = lambda args: {"id": "s1"}
    async with driven(session=session) as d:
        session.push(alerts={"a1": CRASH})
        await d.press("N")
        await d.at("AlertsScreen")
        await d.sees("1 firing of 1 open")
        await d.sees("crash-loop")
        await d.press("K")
        await d.sees("puzzle.sudoku: acknowledged.")
        await d.press("s")
        await until(lambda: len(session.called) == 2)
        assert session.called == [
            ("alert_ack", {"id": "a1"}), ("alert_silence", {"match": "puzzle.sudoku", "seconds": 3600.0}),
        ]  # fmt: skip
        await d.press("enter")
        await d.at("NodeScreen")


async def test_who_may_only_look_changes_nothing() -> None:
    session = CannedSession(read_only="started with --read-only")
    async with driven(session=session) as d:
        session.push(alerts={"a1": CRASH})
        await d.press("N")
        await d.sees("1 firing")
        await d.press("K")
        await d.sees("acknowledging is off: started with --read-only")
        assert session.called == []


@pytest.mark.parametrize(
    ("ways", "written"),
    [
        ("bell", "\a"), ("none", ""), ("osc9", "\x1b]9;cockpit: crash-loop of sudoku: exit 1 three times\x07"),
        ("bell, osc9", "\a\x1b]9;cockpit: crash-loop of sudoku: exit 1 three times\x07"),
    ],
)
def test_the_bell_rings_once_for_what_begins(ways: str, written: str) -> None:
    bell = Bell(ways)
    old = AlertRow(id="a0", when="drift", group="x", text="y")
    assert bell.news({"a0": old}, str) == "", "what was so before is no news"
    assert bell.news({"a0": old, "a1": CRASH}, lambda g: g.rpartition(".")[2]) == written
    assert bell.news({"a0": old, "a1": CRASH}, str) == ""


def test_nothing_of_a_text_reaches_the_terminal_as_a_command() -> None:
    bell = Bell("osc9")
    bell.news({}, str)
    bad = AlertRow(id="a1", when="crash", group="x", text="\x07\x1b]52;c;ZXZpbA==\x07\n")
    out = bell.news({"a1": bad}, str)
    assert out.startswith("\x1b]9;") and out.endswith("\x07") and out.count("\x1b") == out.count("\x07") == 1
