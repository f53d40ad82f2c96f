"""Pictures of every screen at 80x24 and 160x50, at a frozen time; behaviour is asserted elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from cockpit.model.metrics_rows import HOST_FIELDS
from screens.widgets.lines import Lines
from tests.screens import explained, pushed
from tests.screens.canned import CannedSession
from tests.screens.drive import LARGE, SMALL, Driver, make_app, until
from tests.screens.puzzle import relay_lost

WAYS: dict[str, tuple[list[str], str]] = {
    "overview": ([], "gives up at"),
    "needs": (["tab", "end"], "#115"),
    "instances": ([*":instances", "enter"], "sudoku/3"),
    "filter": (["i", *"/sudoku"], "4 of 12"),
    "hosts": (["h"], "PRESENCE"),
    "relay-lost": ([], "behind it"),
    "relays": ([*":relays", "enter"], "relay-gz"),
    "host": ([*":host bj-1", "enter"], "RELEASES"),
    "graph": (["g", "right"], "calls sudoku"),
    "node": ([*":node sudoku/3", "enter"], "EXITS"),
    "naming": (["n"], "NAMING"),
    "actions": (["a"], "#115"),
    "action": ([*":action #118", "enter"], "started again"),
    "revisions": (["v"], "the beginning"),
    "logs": ([*":logs sudoku/3", "enter"], "run 3 ended"),
    "help": (["?"], "KEYS on"),
    "plan": ([*":deploy sudoku 1.1.0", "enter"], "Undo"),
    "confirm": ([*":stop batch", "enter"], "Undo"),
    "ask": ([*":deploy sudoku", "enter"], "39.1 MiB"),
    "command": ([*":deploy "], "Run another version"),
    "palette": (["ctrl+p", *"sud"], "sudoku/3"),
    "jump": (["'"], "NEEDS YOU"),
    "tabs": (["i", "ctrl+t", "h"], "PRESENCE"),
    "refusal": (["m"], "moves one instance"),
    "push": (["B", "down", "down", "down"], "44.1 MiB are needed in"),
    "crowd": (["B", "down", "right", "down", "down"], "relay-region-1"),
    "stragglers": (["B", "o"], "by region"),
    "artifacts": (["b"], "words/7"),
    "artifact": ([*":artifact sudoku/1.2.0", "enter"], "made for sudoku/1.1.0"),
    "matrix": (["M", "down", "right"], "sudoku on bj-2"),
    "numbers": (["h", "e"], "METRICS"),
    "explain": ([*":explain sudoku/3", "enter"], "Address already in use"),
    "explain-relay": ([*":explain", "enter"], "not heard because of it"),
    "life": ([*":life sudoku/3", "enter"], "no data since"),
    "journal": (["J"], "700 entries"),
    "compare": ([*":compare 41", "enter"], "PATH BY PATH"),
}
"""Picture -> keys that lead there, and words that are on it when it is complete."""


def with_numbers() -> CannedSession:
    made = CannedSession()
    values = [None, 0.1, 0.2, 0.4, None, 0.6, 0.9, 0.3]
    made.answers["metrics"] = {
        "kind": "host", "name": "bj-1", "at": 1.0, "latest": dict.fromkeys(HOST_FIELDS, 0.3),
        "limits": {"cpu": 1.0, "disk": 1.0}, "trails": {f: {"step": 10, "values": values} for f in HOST_FIELDS},
    }
    return made


def session(name: str) -> CannedSession:
    """What the picture is of."""
    if name in ("crowd", "stragglers"):
        return CannedSession(pushed.crowd(1000))
    if name == "numbers":
        return with_numbers()
    if name in ("explain", "explain-relay", "life", "journal", "compare"):
        return explained.session(relay_lost() if name == "explain-relay" else None)
    if name in ("relays", "relay-lost"):
        return CannedSession(relay_lost())
    return CannedSession(pushed.pushing() if name == "push" else None)


def reach(name: str) -> Any:
    keys, words = WAYS[name]

    async def run(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        driver = Driver(app, pilot, app.session)
        await until(lambda: app.screen.panes and app.screen.panes[0].count())
        await driver.sees("LIVE")  # what a dialog will stand on is painted before
        await driver.settled()
        await driver.press(*keys)
        await driver.sees(words)
        if name == "confirm":
            await until(lambda: app.screen.plan)
            await driver.press("x", "b")
        await driver.settled()
        await until(lambda: not any(lines._timer_on for lines in app.screen.query(Lines)), "the last repaint")
        await driver.settled()
        # what was seen may be painted anew by the screen that a dialog stands on
        await until(lambda: words in driver.text() or name == "confirm", "it is still there")
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "160x50"])
@pytest.mark.parametrize("name", WAYS)
def test_picture(snap_compare: Any, name: str, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(session(name)), terminal_size=size, run_before=reach(name))


@pytest.mark.parametrize("name", ["push", "artifact"])
def test_between(snap_compare: Any, name: str) -> None:
    assert snap_compare(make_app(session(name)), terminal_size=(120, 40), run_before=reach(name))


@pytest.mark.parametrize("theme", ["light", "ansi16", "mono"])
def test_themes_of_a_push(snap_compare: Any, theme: str) -> None:
    assert snap_compare(make_app(session("push"), theme=theme), terminal_size=SMALL, run_before=reach("push"))


@pytest.mark.parametrize("name", ["push", "artifacts", "artifact"])
def test_ascii_of(snap_compare: Any, name: str) -> None:
    assert snap_compare(make_app(session(name), ascii=True), terminal_size=SMALL, run_before=reach(name))


def test_read_only_push(snap_compare: Any) -> None:
    app = make_app(CannedSession(pushed.pushing(), read_only="this is the view socket"))
    assert snap_compare(app, terminal_size=SMALL, run_before=reach("push"))


@pytest.mark.parametrize("theme", ["light", "ansi16", "mono"])
def test_themes(snap_compare: Any, theme: str) -> None:
    assert snap_compare(make_app(theme=theme), terminal_size=SMALL, run_before=reach("overview"))


def test_ascii(snap_compare: Any) -> None:
    assert snap_compare(make_app(ascii=True), terminal_size=SMALL, run_before=reach("overview"))


def test_ascii_graph(snap_compare: Any) -> None:
    assert snap_compare(make_app(ascii=True), terminal_size=SMALL, run_before=reach("graph"))


def test_read_only(snap_compare: Any) -> None:
    app = make_app(CannedSession(read_only="this is the view socket"))
    assert snap_compare(app, terminal_size=LARGE, run_before=reach("overview"))
