"""Tabs keep what they show; one that is not in sight does nothing."""

from __future__ import annotations

import msgspec
from textual import events

from tests.screens.canned import NOW, CannedSession, rows
from tests.screens.drive import LARGE, Driver, driven, to, until


async def test_a_tab_keeps_its_stack_filter_scroll_and_selection() -> None:
    async with driven() as d:
        assert "1 overview" not in d.text(), "one tab is no line of tabs"
        await d.type(":instances sudoku")
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.press("down", "space", "/")
        await d.type("sud")
        await d.press("enter")
        grid = d.app.screen.grid  # type: ignore[attr-defined]
        before = (grid.key, set(grid.marked), grid.sieve.text, grid.top)
        await d.press("ctrl+t")
        await d.at("OverviewScreen")
        await d.sees("1 instances sudoku sud")
        await d.press("g")
        await d.at("GraphScreen")
        await d.press("[")
        await d.at("InstancesScreen")
        assert d.app.screen.grid is grid  # type: ignore[attr-defined]
        assert (grid.key, set(grid.marked), grid.sieve.text, grid.top) == before
        await d.press("]")
        await d.at("GraphScreen")
        await d.press("escape")
        await d.at("OverviewScreen")
        await d.press("1", "2")
        await d.at("OverviewScreen")
        await d.press("ctrl+w")
        await d.at("InstancesScreen")
        await until(lambda: "1 instances" not in d.text(), "the line of tabs to go")
        await d.press("ctrl+w")
        await d.sees("This is the only tab")


async def test_a_digit_without_a_tab_says_so_and_nine_are_the_most() -> None:
    async with driven() as d:
        await d.press("3")
        await d.sees("There is one tab")
        for _ in range(8):
            await d.press("ctrl+t")
        assert len(d.app.tabs.order) == 9
        await d.press("ctrl+t")
        await d.sees("There are 9 tabs")
        await d.press("ctrl+w", "9")
        await d.sees("There is no tab 9; there are 8.")


async def test_a_tab_that_is_not_in_sight_is_told_nothing_and_looks_when_it_comes() -> None:
    async with driven(LARGE) as d:
        await d.press("i")
        await d.at("InstancesScreen")
        hidden = d.app.screen
        calls: list[str] = []
        sync, tick = hidden.sync, hidden.tick  # type: ignore[attr-defined]
        hidden.sync = lambda changed: (calls.append("sync"), sync(changed))  # type: ignore[attr-defined]
        hidden.tick = lambda: (calls.append("tick"), tick())  # type: ignore[attr-defined]
        await d.press("ctrl+t", "i")
        await until(lambda: d.app.screen is not hidden and d.name == "InstancesScreen")
        calls.clear()
        row = msgspec.structs.replace(rows()["puzzle.web/0"], reason="a new reason")
        d.session.push(instances={row.id: row}, now=NOW)
        await d.sees("a new reason")
        d.app._tick()
        assert calls == []
        await d.press("1")
        await until(lambda: calls and d.app.screen is hidden)
        await d.sees("a new reason")


async def test_glyphs_that_changed_meanwhile_are_drawn_when_the_tab_comes() -> None:
    async with driven() as d:
        await d.press("i")
        await d.at("InstancesScreen")
        await d.press("ctrl+t")
        await d.at("OverviewScreen")
        d.app.look.ascii = True
        d.app._look_changed()
        await d.press("1")
        await d.at("InstancesScreen")
        await until(lambda: d.text().isascii(), "only ASCII")


async def click(d: Driver, x: int, y: int, times: int = 1) -> None:
    """Press and let go at a cell of the screen."""
    await d.pilot.click(offset=(x, y), times=times)
    await d.settled()


def where(d: Driver, words: str) -> tuple[int, int]:
    """Column and line of words on the screen."""
    for number, line in enumerate(d.text().splitlines()):
        if words in line:
            return line.index(words), number
    raise AssertionError(f"{words!r} is not on the screen:\n{d.text()}")


async def test_the_mouse_reaches_tabs_keys_figures_rows_headers_and_dialogs() -> None:
    async with driven(LARGE) as d:
        await click(d, *where(d, "1 drift  ◐"))
        await d.at("InstancesScreen")
        await d.sees("/drift")
        await d.press("ctrl+t")
        await d.sees("2 overview")
        await click(d, *where(d, "1 instances"))
        await d.at("InstancesScreen")
        await d.sees("▶1 instances")
        await d.press("escape")
        grid = d.app.screen.grid  # type: ignore[attr-defined]
        await until(lambda: len(grid.order) == 12)
        await click(d, *where(d, "VERSION"))
        assert (grid.sort_by, grid.descending) == ("version", False)
        await click(d, *where(d, "VERSION"))
        assert (grid.sort_by, grid.descending) == ("version", True)
        await click(d, *where(d, "web/1"))
        assert grid.key == "puzzle.web/1" and d.name == "InstancesScreen"
        await click(d, *where(d, "r restart"))
        await d.at("PlanScreen")
        await until(lambda: d.session.planned and d.session.planned[-1].targets == ("puzzle.web/1",))
        await d.press("escape")
        await d.at("InstancesScreen")
        await click(d, *where(d, "web/0"), times=2)
        await d.at("NodeScreen")
        await click(d, *where(d, "Esc back"))
        await d.at("InstancesScreen")
        await d.press("d")
        await d.at("AskScreen")
        await d.sees("1.1.0")
        x, y = where(d, "1.0.0")
        await click(d, x, y)
        assert d.app.screen.chosen >= 0  # type: ignore[attr-defined]
        await click(d, *where(d, "Esc no"))
        await d.at("InstancesScreen")
        assert d.session.submitted == []


async def test_the_wheel_scrolls_and_moves_no_cursor() -> None:
    async with driven(session=CannedSession()) as d:
        await to(d, "puzzle")
        tree = d.app.screen.tree_list  # type: ignore[attr-defined]
        d.app.post_message(events.MouseScrollDown(
            tree, 5, 5, 0, 1, 0, False, False, False, screen_x=5, screen_y=5
        ))
        await d.settled()
        await until(lambda: tree.top == 3)
        assert tree.key == "puzzle"
