"""What an agent does from time to time: log rotation, times of lines, links of data, connections counted."""

from __future__ import annotations

import asyncio
import time
from typing import Callable, List, Tuple

from cockpit.agent import checks, connections, rotate, units
from cockpit.agent.log_marks import EVERY, Marker, paths_of
from cockpit.agent.logs import log_dir
from cockpit.agent.units import Book

SWEEP = 5.0
COUNT = 3.0


async def rotated(host_dir: str, book: Book, idle: Callable[[], bool], say: Callable[[str], None]) -> None:
    """For ever: links of data; and log rotation, in a thread and only where a file has grown."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP)
        if idle():
            continue
        book.look_at_links()
        for unit, record in list(book.records.items()):
            dir = log_dir(host_dir, unit)
            if rotate.needs_sweep(dir):
                live = int(record.get("run") or 0) if record.get("pids") else None
                try:
                    await loop.run_in_executor(None, rotate.sweep, dir, live)
                except OSError as e:
                    say(f"logs of {unit}: {e}")


async def marked(host_dir: str, book: Book, idle: Callable[[], bool]) -> None:
    """For ever: when the lines of logs were written (log_marks)."""
    loop = asyncio.get_running_loop()
    marker = Marker()
    while True:
        await asyncio.sleep(EVERY)
        if idle():
            continue
        runs = [
            (log_dir(host_dir, unit), int(record.get("run") or 0)) for unit, record in list(book.records.items())
            if record.get("pids") or record.get("wanted")
        ]  # fmt: skip
        if runs:
            await loop.run_in_executor(None, _mark, marker, runs)


def _mark(marker: Marker, runs: List[Tuple[str, int]]) -> None:
    marker.look([path for dir, run in runs for path in paths_of(dir, run)])


async def counted(book: Book, address: Callable[[], str]) -> None:
    """For ever: connections of units with ports; a report goes out only while a unit drains."""
    loop = asyncio.get_running_loop()
    pause = COUNT
    while True:
        await asyncio.sleep(pause)
        wanted = {
            unit: set(units.ports_of(record).values())
            for unit, record in book.records.items()
            if record.get("pids") and units.ports_of(record) and unit not in book.draining
        }
        if not wanted:
            continue
        began = time.monotonic()
        numbers = set().union(*wanted.values())
        ours = frozenset(checks.ours)
        found = await loop.run_in_executor(None, connections.count, address(), numbers, ours)
        pause = max(COUNT, 50 * (time.monotonic() - began))  # busy hosts have long tables
        for unit, mine in wanted.items():
            if unit not in book.draining:
                book.connections[unit] = sum(found[n] for n in mine)
