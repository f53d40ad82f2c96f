"""Log streams to the controller: tail, follow, credit, and how it ended."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import Any, Awaitable, Callable, Dict, List, Optional, Tuple

from cockpit.agent import logs
from cockpit.agent.files import flat
from cockpit.agent.health import Record
from cockpit.agent.logs import Line, LineReader
from cockpit.agent.units import ended, exit_words

POLL = 0.1
POLL_IDLE = 0.25
BATCH = 500
MAX_BEHIND = 2 * 1024 * 1024
"""Bytes a stream may lag; then lines are left out and counted. Less than what rotation leaves."""
KEEP_BEHIND = 256 * 1024
GRACE = 1.0
"""Seconds an instance may be without a live unit before its stream ends (a new unit follows)."""
MAX_STREAMS = 200
MAX_LINES = 20_000

Send = Callable[[Dict[str, Any]], Awaitable[None]]
Records = Callable[[], Dict[str, Record]]


class Stream:
    """One log stream. `send` waits while the link is busy, so that a stream never fills it."""

    def __init__(
        self, host_dir: str, id: str, records: Records, send: Send, *, units: List[str], instance: str,
        lines: int, follow: bool,
    ) -> None:
        self.id = id
        self._host_dir = host_dir
        self._records = records
        self._send = send
        self._units = units
        self._instance = instance
        self._lines = max(0, min(lines, MAX_LINES))
        self._follow = follow
        self._credit = 0
        self._more = asyncio.Event()
        self._readers: Dict[str, LineReader] = {}
        self._quiet_since: Optional[float] = None

    def credit(self, lines: int) -> None:
        self._credit += max(0, lines)
        if self._credit:
            self._more.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        await self._emit_mixed(await loop.run_in_executor(None, self._start))
        if not self._follow:
            await self._finish()
            return
        while True:
            moved = await self._round()
            if not moved and self._over():
                await self._round()  # what was written while we looked
                for unit, reader in list(self._readers.items()):
                    rest = reader.rest()
                    if rest is not None:
                        await self._emit(os.path.basename(os.path.dirname(unit)), [rest])
                await self._finish()
                return
            await asyncio.sleep(POLL if moved else POLL_IDLE)

    def _dirs(self) -> List[str]:
        if self._instance:
            return [dir for _, dir in logs.unit_dirs(self._host_dir, self._instance)]
        return [logs.log_dir(self._host_dir, unit) for unit in self._units]

    def _start(self) -> List[Tuple[str, Line]]:
        """The last lines; following begins exactly behind them."""
        dirs = self._dirs()
        ends: Optional[Dict[str, int]] = None
        if self._follow:
            ends = {}
            for dir in dirs:
                parts = logs.segments(dir)
                for file in logs.files(dir):
                    first = parts[file.path][-1][0] if file.path in parts else 0
                    ends[file.path] = logs.line_start(file.path, first)
                    self._readers[file.path] = LineReader(file, ends[file.path])
        found: List[Tuple[str, Line]] = []
        for dir in reversed(dirs):
            lines = logs.tail([dir], self._lines - len(found), ends)
            found[:0] = [(os.path.basename(dir), line) for line in lines]
            if len(found) >= self._lines:
                break
        return found

    async def _round(self) -> bool:
        """Send what is new; False when nothing was."""
        moved = False
        for dir in self._dirs():
            for file in logs.files(dir):
                reader = self._readers.get(file.path)
                if reader is None:
                    reader = self._readers[file.path] = LineReader(file, 0)
                if reader.behind <= 0:
                    continue
                moved = True
                await self._catch_up(os.path.basename(dir), reader)
        return moved

    async def _catch_up(self, name: str, reader: LineReader) -> None:
        loop = asyncio.get_running_loop()
        if reader.behind > MAX_BEHIND:
            lost = await loop.run_in_executor(None, reader.skip, KEEP_BEHIND)
            await self._send({**self._frame(name, []), "dropped": lost})
        lines = reader.read(min(BATCH, max(1, self._credit)))
        await self._emit(name, lines)

    async def _emit(self, name: str, lines: List[Line]) -> None:
        """Send lines as credit allows."""
        while lines:
            while self._credit <= 0:
                self._more.clear()
                await self._more.wait()
            part, lines = lines[: self._credit], lines[self._credit :]
            self._credit -= len(part)
            await self._send(self._frame(name, part))

    async def _emit_mixed(self, lines: List[Tuple[str, Line]]) -> None:
        for name, group in itertools.groupby(lines, key=lambda item: item[0]):
            await self._emit(name, [line for _, line in group])

    def _frame(self, name: str, lines: List[Line]) -> Dict[str, Any]:
        return {
            "t": "log", "stream": self.id, "unit": self._unit_of(name), "dropped": 0, "end": None,
            "lines": [list(line) for line in lines],
        }

    def _unit_of(self, name: str) -> str:
        for unit in [*self._units, *self._records()]:
            if flat(unit) == name:
                return unit
        return f"{self._instance}:{name.rpartition('_')[2]}" if self._instance else name

    def _over(self) -> bool:
        """Has everything that is followed ended?"""
        mine = self._mine()
        if any(not ended(r) for r in mine):
            self._quiet_since = None
            return False
        now = time.monotonic()
        if self._quiet_since is None:
            self._quiet_since = now
        return not self._instance or now - self._quiet_since >= GRACE

    def _mine(self) -> List[Record]:
        records = self._records()
        if self._instance:
            return [r for u, r in records.items() if u.rpartition(":")[0] == self._instance]
        return [records[u] for u in self._units if u in records]

    async def _finish(self) -> None:
        mine = self._mine()
        last = mine[-1] if mine else {}
        words = exit_words(last.get("exit")) if last.get("exit") and ended(last) else ""
        await self._send({**self._frame("", []), "unit": "", "end": words})
