"""Log streams to the controller: tail, follow, credit, and how it ended."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Awaitable, Callable, Dict, List, Optional, Tuple

from cockpit.agent import log_history, logs
from cockpit.agent.files import flat
from cockpit.agent.health import Record
from cockpit.agent.log_history import Found, Timed
from cockpit.agent.log_marks import Marks
from cockpit.agent.log_match import Matcher, TooSlow
from cockpit.agent.log_query import MAX_LINES, Context, Query
from cockpit.agent.logs import LineReader, LogFile
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
SEARCHED = 5000
"""New lines of one file that are looked at in a round when only some are wanted."""
ANSWER = 4 * 1024 * 1024
"""Bytes of stored lines in one answer; all streams of a host share ALL_ANSWERS."""
ALL_ANSWERS = 32 * 1024 * 1024
SETTLED = 1_000_000_000
"""Nanoseconds after its last change in which a directory is read again."""

Send = Callable[[Dict[str, Any]], Awaitable[None]]
Records = Callable[[], Dict[str, Record]]

_pool = ThreadPoolExecutor(2, "logs")
"""Searches take turns here, so that they keep nothing else of the agent waiting."""

__all__ = ["MAX_LINES", "MAX_STREAMS", "Stream"]


class _Listings:
    """Directories that have not changed are not read again: a hundred streams look several times a second."""

    def __init__(self) -> None:
        self._known: Dict[str, Tuple[int, Any]] = {}

    def of(self, path: str, read: Callable[[], Any]) -> Any:
        try:
            changed = os.stat(path).st_mtime_ns
        except OSError:
            return read()
        known = self._known.get(path)
        if known is not None and known[0] == changed:
            return known[1]
        found = read()
        if time.time_ns() - changed > SETTLED:  # else what comes in the same tick would never be seen
            self._known[path] = (changed, found)
        return found


class _Reader(LineReader):
    """With the times of what it reads, and the context of what is wanted."""

    def __init__(self, file: LogFile, offset: int, context: Context) -> None:
        super().__init__(file, offset)
        self.context = context
        self.marks = Marks([])

    def look(self) -> int:
        """Note how long the file is now; bytes that wait in it."""
        try:
            at = os.stat(self.file.path)
        except OSError:
            return 0
        self.marks.add(at.st_mtime, at.st_size)
        return at.st_size - self.offset

    def timed(self, most: int) -> List[Tuple[float, logs.Line]]:
        found = [(self.marks.at(end), line) for end, line in self.read_at(most)]
        self.marks.forget(self.offset)
        return found


class Stream:
    """One log stream. `send` waits while the link is busy, so that a stream never fills it."""

    def __init__(
        self, host_dir: str, id: str, records: Records, send: Send, *, units: List[str], instance: str,
        query: Query, others: Callable[[], int] = lambda: 1,
    ) -> None:
        self.id = id
        self._host_dir = host_dir
        self._records = records
        self._send = send
        self._units = units
        self._instance = instance
        self._query = query
        self._others = others
        """Streams that are open on this host."""
        self._matcher = Matcher(query.grep)
        self._credit = 0
        self._more = asyncio.Event()
        self._readers: Dict[str, _Reader] = {}
        self._listings = _Listings()
        self._runs: Dict[str, int] = {}
        """Directory of a unit -> its newest run that was seen."""
        self._quiet_since: Optional[float] = None

    def credit(self, lines: int) -> None:
        self._credit += max(0, lines)
        if self._credit:
            self._more.set()

    async def run(self) -> None:
        try:
            await self._all()
        except TooSlow as e:
            await self._send({**self._frame("", []), "unit": "", "end": str(e)})
        except OSError as e:
            text = f"the search cannot be done here: {e.strerror or e}"
            await self._send({**self._frame("", []), "unit": "", "end": text})
        finally:
            self._matcher.close()

    async def _all(self) -> None:
        found = await asyncio.get_running_loop().run_in_executor(_pool, self._start)
        await self._emit_mixed(found.lines)
        if self._query.times:
            await self._send({**self._frame("", []), "caught": True, "left": found.left, "note": found.note})
        found = Found()
        if not self._query.follow:
            await self._finish()
            return
        while True:
            moved = await self._round()
            if not moved and self._over():
                await self._round()  # what was written while we looked
                for path, reader in list(self._readers.items()):
                    rest = reader.rest()
                    if rest is not None:
                        name = os.path.basename(os.path.dirname(path))
                        await self._pick(name, reader.context, [(reader.marks.at(reader.offset), rest)])
                await self._finish()
                return
            await asyncio.sleep(POLL if moved else POLL_IDLE)

    def _dirs(self) -> List[str]:
        if self._instance:
            root = os.path.join(self._host_dir, "logs")
            return [d for _, d in self._listings.of(root, lambda: logs.unit_dirs(self._host_dir, self._instance))]
        return [logs.log_dir(self._host_dir, unit) for unit in self._units]

    def _start(self) -> Found:
        """The stored lines; following begins exactly behind them."""
        dirs = self._dirs()
        ends: Optional[Dict[str, int]] = None
        contexts: Dict[str, Context] = {}
        if self._query.follow:
            ends = {}
            for dir in dirs:
                parts = logs.segments(dir)
                for file in logs.files(dir):
                    self._runs[dir] = max(self._runs.get(dir, 0), file.run)
                    if log_history.wanted(file, self._query):
                        first = parts[file.path][-1][0] if file.path in parts else 0
                        ends[file.path] = logs.line_start(file.path, first)
        most = min(ANSWER, ALL_ANSWERS // max(1, self._others()))
        found = log_history.look(dirs, self._query, self._matcher, ends, most, contexts)
        for dir in dirs if ends is not None else []:
            for file in logs.files(dir):
                if ends is not None and file.path in ends:
                    self._readers[file.path] = _Reader(
                        file, ends[file.path], contexts.get(file.path) or self._context()
                    )
        return found

    def _context(self) -> Context:
        return Context(self._query.before, self._query.after)

    async def _round(self) -> bool:
        """Send what is new; False when nothing was."""
        moved = False
        for dir in self._dirs():
            for file in self._listings.of(dir, partial(logs.files, dir)):
                reader = self._readers.get(file.path)
                if reader is None:
                    if not log_history.wanted(file, self._query):
                        continue
                    reader = self._readers[file.path] = _Reader(file, 0, self._context())
                    await self._new_run(dir, file.run)
                waits = reader.look()
                if waits <= 0:
                    continue
                moved = True
                await self._catch_up(os.path.basename(dir), reader, waits)
        return moved

    async def _new_run(self, dir: str, run: int) -> None:
        """Say that another run has begun, and how the one before ended."""
        if run <= self._runs.get(dir, 0):
            return
        first, self._runs[dir] = not self._runs, run
        if first or not self._query.times:
            return
        name = os.path.basename(dir)
        unit = self._unit_of(name)
        record = self._records().get(unit) or {}
        before = [e for e in record.get("exits") or [] if isinstance(e, dict) and e.get("run") == run - 1]
        how = f"run {run - 1} ended: {how_ended(before[-1])}; " if before else ""
        which = f"run {run}" if run > 1 else f"{unit or name}: run 1"
        await self._send({**self._frame(name, []), "note": f"{how}{which} begins"})

    async def _catch_up(self, name: str, reader: _Reader, waits: int) -> None:
        loop = asyncio.get_running_loop()
        if waits > MAX_BEHIND:
            lost = await loop.run_in_executor(None, reader.skip, KEEP_BEHIND)
            await self._send({**self._frame(name, []), "dropped": lost})
        if self._query.grep is None:
            await self._pick(name, reader.context, reader.timed(min(BATCH, max(1, self._credit))))
        else:
            lines = await loop.run_in_executor(_pool, reader.timed, SEARCHED)
            await self._pick(name, reader.context, lines)

    async def _pick(self, name: str, context: Context, lines: List[Tuple[float, logs.Line]]) -> None:
        """Send those of these lines that are wanted.""" 
        if self._query.grep is None:
            await self._emit(name, [(when, line, "") for when, line in lines])
            return
        texts = [line[3] for _, line in lines]
        fits = await asyncio.get_running_loop().run_in_executor(_pool, self._matcher.fits, texts)
        shown: List[Timed] = []
        for each, good in zip(lines, fits):  # noqa: B905
            shown += [(when, line, mark) for (when, line), mark in context.feed(each, good)]
        await self._emit(name, shown)

    async def _emit(self, name: str, lines: List[Timed]) -> None:
        """Send lines as credit allows."""
        while lines:
            while self._credit <= 0:
                self._more.clear()
                await self._more.wait()
            n = min(self._credit, BATCH)
            part, lines = lines[:n], lines[n:]
            self._credit -= len(part)
            await self._send(self._frame(name, part))

    async def _emit_mixed(self, lines: List[Tuple[str, Timed]]) -> None:
        for name, group in itertools.groupby(lines, key=lambda item: item[0]):
            await self._emit(name, [line for _, line in group])

    def _frame(self, name: str, lines: List[Timed]) -> Dict[str, Any]:
        if self._query.times:
            told = [[*line, round(when, 3), mark] for when, line, mark in lines]
        else:
            told = [list(line) for _, line, _ in lines]
        return {
            "t": "log", "stream": self.id, "unit": self._unit_of(name), "dropped": 0, "end": None, "lines": told,
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
        words = how_ended(last.get("exit")) if last.get("exit") and ended(last) else ""
        await self._send({**self._frame("", []), "unit": "", "end": words})


def how_ended(exit: Any) -> str:
    """`exit 1`, `signal 11 (SEGV), core dumped: PATH`."""
    words = exit_words(exit)
    if not isinstance(exit, dict):
        return words
    if exit.get("signal") is not None:
        try:
            words += f" ({signal.Signals(int(exit['signal'])).name[3:]})"
        except ValueError:
            pass
    core = exit.get("core")
    if core:
        words += ", core dumped" + (f": {core}" if isinstance(core, str) else "")
    return words
