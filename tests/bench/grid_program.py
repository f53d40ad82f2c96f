"""Run by the bench on a terminal: a grid of 100,000 instances, driven by its own keys.

Writes its figures as JSON to the file named on the command line and ends.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from textual import events
from textual.app import App, ComposeResult
from textual.drivers.linux_driver import LinuxDriver

from cockpit.model.view import DRIFT, InstanceRow
from screens.board import Board
from screens.look import Look
from screens.rows import instance_columns
from screens.widgets.grid import Grid

ROWS = 100_000
QUIET = 0.1
"""Seconds in which everything that a key causes is surely painted."""
WORDS = ("7", "73", "73", "s", "sh", "sh-1", "sh-12", "0", "01", "web/5", "!web", "zz")


class Counting(LinuxDriver):
    """Counts the bytes that go to the terminal."""

    bytes = 0

    def write(self, data: str) -> None:
        Counting.bytes += len(data.encode())
        super().write(data)


def instances() -> dict[str, InstanceRow]:
    rows = {}
    for n in range(ROWS):
        service, slot = f"shop.{('web', 'cart', 'search', 'mail')[n % 4]}", n // 4
        rows[f"{service}/{slot}"] = InstanceRow(
            id=f"{service}/{slot}", service=service, slot=slot, host=f"sh-{n % 1000}",
            version_expected="1.1.0", version_actual="1.1.0", state="RUNNING", desired="RUNNING",
            pid=1000 + n, ports={"main": 20000 + n % 1000}, health="ok", word="running",
            started=1_700_000_000.0,
        )  # fmt: skip
    return rows


class Bench(App[None]):
    CSS = "Screen { layout: vertical; }"

    def __init__(self, out: Path) -> None:
        super().__init__(driver_class=Counting)
        self.out = out
        self.look = Look()
        columns = instance_columns(Board(), self.look)
        self.grid: Grid[InstanceRow] = Grid(columns, haystack=lambda r: f"{r.id} {r.host}")

    def compose(self) -> ComposeResult:
        yield self.grid

    def on_mount(self) -> None:
        self.measuring = asyncio.create_task(self.measure())
        self.measuring.add_done_callback(lambda _: self.exit())

    def on_key(self, event: events.Key) -> None:
        self.act()

    async def cost(self, act: Callable[[], object]) -> tuple[float, int]:
        """(CPU milliseconds, bytes) from a key until all is quiet."""
        self.act = act
        bytes_, cpu = Counting.bytes, time.process_time()
        self.simulate_key("x")
        await asyncio.sleep(QUIET)
        return (time.process_time() - cpu) * 1e3, Counting.bytes - bytes_

    async def costs(self, acts: list[Callable[[], object]]) -> tuple[float, float]:
        found = [await self.cost(act) for act in acts]
        return statistics.median(c for c, _ in found), statistics.median(b for _, b in found)

    async def measure(self) -> None:
        grid = self.grid
        grid.load(instances())
        grid.use(True)
        await asyncio.sleep(1)
        idle, _ = await self.costs([lambda: None] * 9)
        update, _ = await self.costs([self.change] * 15)
        cursor, cursor_bytes = await self.costs([lambda: grid.move("down")] * 25)
        _, repaint_bytes = await self.costs([grid.refresh] * 5)
        first, _ = await self.cost(lambda: grid.filter("w"))
        keys, _ = await self.costs([lambda w=word: grid.filter(w) for word in WORDS])  # type: ignore[misc]
        figures = {
            "filter": keys - idle, "filter-first": first - idle, "update": update - idle,
            "cursor": cursor - idle, "cursor-bytes": cursor_bytes, "repaint-bytes": repaint_bytes,
        }  # fmt: skip
        self.out.write_text(json.dumps(figures))

    def change(self) -> None:
        """One row that is seen changes."""
        key = self.grid.order[self.grid.top + 5]
        row = self.grid.rows[key]
        worse = msgspec.structs.replace(row, pid=(row.pid or 0) + 1, mark=DRIFT, word="unhealthy")
        self.grid.update({key: worse})


if __name__ == "__main__":
    Bench(Path(sys.argv[1])).run()
