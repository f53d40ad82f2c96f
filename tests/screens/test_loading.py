"""Numbers in lists: asked for only as far as they are seen, and no column without a number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from screens import loading
from tests.screens.canned import CannedSession
from tests.screens.drive import LARGE, Driver, driven, until
from tests.screens.test_matrix import large


class Loaded(CannedSession):
    """Notes which numbers are asked for, and gives what is put into `feed`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[list[str] | None] = []
        self.feed: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        assert op == "loads" and args is not None
        self.asked.append(args.get("names"))
        while True:
            yield await self.feed.get()


def grid(d: Driver) -> Any:
    screen: Any = d.app.screen
    return screen.grid


async def test_a_column_without_a_number_is_not_there() -> None:
    session = Loaded()
    async with driven(LARGE, session) as d:
        await d.press("i")
        await d.sees("INSTANCES")
        session.feed.put_nowait({})
        assert "CPU" not in d.text() and "MEM" not in d.text()
        session.feed.put_nowait({"puzzle.web/0": {"cpu": 0.25}})
        await d.sees("CPU cores")
        assert "MEM" not in d.text()
        session.feed.put_nowait({"puzzle.web/0": {"cpu": 0.25, "memory": 2.0**21}})
        await d.sees("MEM MiB")


async def test_of_many_rows_only_the_seen_are_asked_for() -> None:
    session = Loaded(large(500, 20))
    async with driven((100, 24), session) as d:
        await d.press("i")
        await until(lambda: session.asked and session.asked[-1], "some names")
        grid_ = grid(d)
        assert len(grid_.rows) > loading.MANY
        await until(lambda: set(grid_.order[: grid_.page]) <= set(session.asked[-1] or ()), "what is seen")
        assert len(session.asked[-1] or ()) < 200
        await d.press("end")
        await until(lambda: grid_.order[-1] in (session.asked[-1] or ()), "those at the end")
        count = len(session.asked)
        await d.press("up", "up")
        grid_.sort_by = "cpu"
        grid_._arrange()
        await until(lambda: len(session.asked) > count, "all of them")
        assert session.asked[-1] is None
        grid_.sort_by = ""
        await until(lambda: session.asked[-1] is not None, "few again")
        d.app.screen.set_filter("cpu>1")  # type: ignore[attr-defined]
        await until(lambda: session.asked[-1] is None, "all for a filter")
