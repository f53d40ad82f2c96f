"""Run by the bench on a terminal: the cockpit on a crowd of instances, driven by its own keys.

    python -m tests.bench.grid_program OUT ROWS          writes its figures as JSON to OUT and ends
    python -m tests.bench.grid_program --stay ROWS RATE [choose]     stays, with RATE changes a second, until q;
                                                         `choose`: the theme follows the terminal
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from screens.app import CockpitApp  # isort: skip  (before Textual)

from textual.drivers.linux_driver import LinuxDriver

from cockpit.ports import Session
from screens.widgets.grid import Grid
from tests.bench.crowd import STARTED, Crowd
from tests.bench.pieces import Pieces

QUIET = 0.1
"""Seconds in which everything that a key causes is surely painted."""
RATE = 1000
WORDS = ("7", "73", "73", "s", "sh", "sh-1", "sh-12", "0", "01", "web/5", "!web", "zz")
TYPED = ("restarts>3", "region=sh", "version!=1.1", "age<2h", "drift", "host~bj")
FUZZY = ("~w1", "~sw12", "~mail9", "~crt7")


class Counting(LinuxDriver):
    """Counts the bytes that go to the terminal."""

    bytes = 0
    last = 0.0

    def write(self, data: str) -> None:
        Counting.bytes += len(data.encode())
        Counting.last = time.perf_counter()
        super().write(data)


def resident() -> float:
    """MiB of this process."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Bench(CockpitApp):
    def __init__(self, out: Path, crowd: Crowd) -> None:
        super().__init__(
            cast(Session, crowd), theme="dark", ascii=False, address="instances", clock=lambda: STARTED + 86400
        )
        self.driver_class = Counting
        self.out = out
        self.crowd = crowd
        self.measuring: asyncio.Task[None] | None = None

    def on_ready(self) -> None:
        super().on_ready()
        self.measuring = asyncio.create_task(self.measure())
        self.measuring.add_done_callback(lambda _: self.exit())

    @property
    def grid(self) -> Grid[Any]:
        return cast(Any, self.screen).grid  # type: ignore[no-any-return]

    @property
    def there(self) -> bool:
        """Is the table on top, with its rows?"""
        grid = getattr(self.screen, "grid", None)
        return grid is not None and grid.is_mounted and bool(grid.order)

    async def cost(self, act: Callable[[], object], busy: Callable[[], bool] = lambda: False) -> tuple[float, int]:
        """(CPU milliseconds, bytes) from an act until all is quiet."""
        bytes_, cpu = Counting.bytes, time.process_time()
        act()
        await asyncio.sleep(QUIET)
        while busy():
            await asyncio.sleep(QUIET)
        return (time.process_time() - cpu) * 1e3, Counting.bytes - bytes_

    async def costs(self, acts: list[Callable[[], object]]) -> tuple[float, float]:
        found = [await self.cost(act, lambda: self.grid.busy) for act in acts]
        return statistics.median(c for c, _ in found), statistics.median(b for _, b in found)

    def keys(self, *names: str) -> list[Callable[[], object]]:
        return [lambda n=name: self.simulate_key(n) for name in names]  # type: ignore[misc]

    def filters(self, words: tuple[str, ...]) -> list[Callable[[], object]]:
        return [lambda w=word: cast(Any, self.screen).set_filter(w) for word in words]  # type: ignore[misc]

    async def waits(self, name: str, times: int) -> list[float]:
        """Milliseconds from a key to the first bytes it causes, while changes arrive."""
        out = []
        for _ in range(times):
            await asyncio.sleep(QUIET / 2)
            before = self.grid.key
            start = time.perf_counter()
            self.simulate_key(name)
            while self.grid.key == before or Counting.last < start:
                await asyncio.sleep(0.0005)
                if time.perf_counter() - start > 5:
                    raise TimeoutError(name)
            out.append((Counting.last - start) * 1e3)
        return out

    async def long_work(self, figures: dict[str, float], change: Callable[[], None]) -> None:
        """Sorting, and coming back to a screen that missed a change: CPU, and the longest piece of it."""
        pieces = Pieces()
        sorts, backs = [], []
        for _ in range(8):
            pieces.reset()
            await self.cost(lambda: self.simulate_key("o"), lambda: self.grid.busy)
            sorts.append((pieces.piece, pieces.total))
        self.grid.order_by("")
        for _ in range(5):
            change()
            pieces.reset()
            await self.cost(lambda: self.simulate_key("escape"), lambda: self.there)
            backs.append((pieces.piece, pieces.total))
            await self.cost(lambda: self.simulate_key("i"), lambda: not self.there)
        for name, found in (("sort", sorts), ("back", backs)):
            figures[name], figures[f"{name}-cpu"] = map(statistics.median, zip(*found, strict=True))
            figures[f"{name}-worst"] = max(piece for piece, _ in found)
        pieces.end()

    async def measure(self) -> None:
        while not self.there or self._preload.left:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        figures: dict[str, float] = {"memory": resident()}
        idle, _ = await self.costs([lambda: None] * 9)
        opens = []
        for _ in range(5):
            await self.cost(lambda: self.simulate_key("escape"), lambda: self.there)
            opens.append((await self.cost(lambda: self.simulate_key("i"), lambda: not self.there))[0])
        grid = self.grid
        key = grid.order[grid.top + 5]
        from cockpit.model.view import Delta

        head = self.board.head
        assert head is not None

        def change() -> None:
            """One row that is seen changes, as it does when a delta comes."""
            self._show(self.board.apply(Delta(head=head, instances={key: self.crowd.changed(key)})))

        figures["open"] = statistics.median(opens) - idle
        figures["update"] = (await self.costs([change] * 15))[0] - idle
        cursor, figures["cursor-bytes"] = await self.costs(self.keys(*["down"] * 25))
        page, figures["page-bytes"] = await self.costs(self.keys(*["pagedown"] * 9))
        figures["cursor"], figures["page"] = cursor - idle, page - idle
        figures["repaint-bytes"] = (await self.costs(self.keys(*["ctrl+l"] * 5)))[1]
        await self.long_work(figures, change)
        grid = self.grid
        figures["filter-first"] = (await self.cost(self.filters(("w",))[0], lambda: grid.busy))[0] - idle
        for name, words in (("filter", WORDS), ("typed", TYPED), ("fuzzy", FUZZY)):
            figures[name] = (await self.costs(self.filters(words)))[0] - idle
        cast(Any, self.screen).set_filter("")
        figures["memory-filtered"] = resident()
        self.crowd.rate = RATE
        await asyncio.sleep(1)
        for name, before in (("live", ""), ("live-filter", "running"), ("live-sorted", "")):
            cast(Any, self.screen).set_filter(before)
            if name == "live-sorted":
                grid.sort_by = "restarts"
                grid._arrange()
            await asyncio.sleep(1)
            start, cpu = time.perf_counter(), time.process_time()
            sent = self.crowd.sent
            await asyncio.sleep(3)
            figures[f"{name}-cpu"] = (time.process_time() - cpu) / (time.perf_counter() - start) * 100
            figures[f"{name}-rate"] = (self.crowd.sent - sent) / (time.perf_counter() - start)
            waits = sorted(await self.waits("down", 40))
            figures[f"{name}-key"], figures[f"{name}-key-worst"] = statistics.median(waits), waits[-1]
        self.out.write_text(json.dumps(figures))


def main() -> None:
    if sys.argv[1] == "--stay":
        theme = None if "choose" in sys.argv else "dark"
        app = CockpitApp(
            cast(Session, Crowd(int(sys.argv[2]), int(sys.argv[3]))), theme=theme, ascii=False, address="instances"
        )
        app.run()
        return
    Bench(Path(sys.argv[1]), Crowd(int(sys.argv[2]))).run()


if __name__ == "__main__":
    main()
