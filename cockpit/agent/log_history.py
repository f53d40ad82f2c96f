"""Lines that are stored: the last ones, those of a time window, those that fit a text.

A search is bounded in lines, bytes and seconds.
Runs are looked at from the newest back, each from its beginning (of the window) on; the streams of a run, and runs
that wrote beside each other, are put together by the times of their lines. What is left out because of a bound is
counted or said.
"""

from __future__ import annotations

import gzip
import heapq
import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from cockpit.agent import logs
from cockpit.agent.log_marks import Marks
from cockpit.agent.log_match import BATCH, Matcher
from cockpit.agent.log_query import Context, Query
from cockpit.agent.logs import BLOCK, Line, LogFile, Parts

Timed = Tuple[float, Line, str]
"""Time (0.0: not known), line, mark of context."""


@dataclass
class Found:
    """`lines` are (name of the unit's directory, timed line), by time."""

    lines: List[Tuple[str, Timed]] = field(default_factory=list)
    left: int = 0
    """Lines that would fit and were left out at the beginning; some more may be where `note` says so."""
    note: str = ""


class Bounds:
    """What one search may still use."""

    def __init__(self, query: Query) -> None:
        self.bytes = query.scan_bytes
        self.seconds = query.scan_seconds
        self._end = time.monotonic() + query.scan_seconds
        self.why = ""

    def spent(self, count: int) -> bool:
        """Count bytes; True when it is enough. Why is in `why`."""
        self.bytes -= count
        if self.bytes < 0:
            self.why = "bytes"
        elif time.monotonic() > self._end:
            self.why = "seconds"
        return bool(self.why)


def select(runs: Sequence[Tuple[str, int]], previous: int) -> List[Tuple[str, int]]:
    """Of (directory, run), oldest first: all of them, or the one that is `previous` before the newest."""
    if not previous:
        return list(runs)
    return [runs[-1 - previous]] if len(runs) > previous else []


def wanted(file: LogFile, query: Query) -> bool:
    return not query.streams or file.stream in query.streams


def runs_of(dirs: Sequence[str]) -> List[Tuple[str, int]]:
    """(directory, run), oldest first."""
    return [(dir, run) for dir in dirs for run in sorted({f.run for f in logs.files(dir)})]


def look(
    dirs: Sequence[str], query: Query, matcher: Matcher, ends: Optional[Mapping[str, int]] = None,
    most_bytes: int = 4 * 1024 * 1024, watch: Optional[Dict[str, Context]] = None,
) -> Found:
    """The last `query.lines` lines that fit; with `ends` (path -> offset) what lies before these offsets.

    `watch` gets the context of each file as it is at its end, for whoever follows. Raises log_match.TooSlow.
    """
    found = Found()
    bounds = Bounds(query)
    room = query.lines
    runs = select(runs_of(dirs), query.previous)
    newest_first: List[List[Tuple[str, Timed]]] = []
    if query.previous and not runs:
        found.note = f"there is no run {query.previous} before the newest: nothing of it is kept here"
    earliest = 0.0
    for dir, run in reversed(runs):
        if bounds.why:
            break
        # an update starts the new run beside the old one, and a canary that failed is newer than what serves
        beside = earliest > 0.0 and _written(dir, run) > earliest
        most = query.lines if beside else room
        if most <= 0:
            if query.searches:
                found.note = found.note or "older runs were not looked at"
            continue
        parts = logs.segments(dir)
        streams: List[List[Timed]] = []
        for file in logs.files(dir):
            if file.run != run or not wanted(file, query) or (ends is not None and file.path not in ends):
                continue
            context = Context(query.before, query.after)
            if watch is not None:
                watch[file.path] = context
            end = None if ends is None else ends[file.path]
            lines, left = _of_file(file, parts.get(file.path, []), query, matcher, bounds, most, end, context)
            streams.append(lines)
            found.left += left
        merged = list(heapq.merge(*streams, key=lambda line: line[0]))
        if query.searches:
            found.left += max(0, len(merged) - most)
        merged = merged[-most:]
        room = max(0, room - len(merged))
        newest_first.append([(os.path.basename(dir), line) for line in merged])
        if merged and (not earliest or merged[0][0] < earliest):
            earliest = merged[0][0]
    found.lines = _by_time(newest_first)
    over = max(0, len(found.lines) - query.lines)
    del found.lines[:over]
    found.left += over if query.searches else 0
    if bounds.why == "bytes":
        found.note = f"the newest {query.scan_bytes >> 20} MiB were searched; older lines were not"
    elif bounds.why == "seconds":
        found.note = f"searched for {query.scan_seconds:g} s; what was not reached is missing"
    _fit(found, most_bytes)
    return found


def _by_time(newest_first: List[List[Tuple[str, Timed]]]) -> List[Tuple[str, Timed]]:
    """Lines of all runs; those of runs beside each other take turns."""
    out = [line for run in reversed(newest_first) for line in run]
    if all(when for _, (when, _, _) in out):  # where a time is not known, one run comes after the other
        out.sort(key=lambda line: line[1][0])
    return out


def _written(dir: str, run: int) -> float:
    """When this run wrote last."""
    times = [0.0]
    for file in logs.files(dir):
        if file.run == run:
            try:
                times.append(os.path.getmtime(file.path))
            except OSError:
                continue
    return max(times)


def _fit(found: Found, most: int) -> None:
    size, keep = 0, 0
    for _, (_, line, _) in reversed(found.lines):
        size += len(line[3]) + 40
        if size > most and keep:
            found.left += len(found.lines) - keep
            del found.lines[: len(found.lines) - keep]
            found.note = found.note or f"the answer is full ({most >> 10} KiB)"
            return
        keep += 1


def _of_file(
    file: LogFile, parts: Parts, query: Query, matcher: Matcher, bounds: Bounds, room: int, end: Optional[int],
    context: Context,
) -> Tuple[List[Timed], int]:
    """The last lines of one stream that fit, and how many that fit are left out."""
    marks = Marks.of(file.path)
    try:
        size = os.path.getsize(file.path) if end is None else end
    except OSError:
        return [], 0
    start = marks.before(query.since) if query.since else 0
    if not query.searches:
        start = start_of_last(file.path, parts, size, room)
    elif size - start > bounds.bytes:
        start, bounds.why = size - max(0, bounds.bytes), "bytes"
    kept: Deque[Timed] = deque()
    left = 0
    batch: List[Tuple[float, Line]] = []

    def take() -> None:
        nonlocal left
        for (when, line), fits in zip(batch, matcher.fits([line[3] for _, line in batch])):  # noqa: B905
            for (moment, each), mark in context.feed((when, line), fits):
                kept.append((moment, each, mark))
                if len(kept) > room:
                    kept.popleft()
                    left += 1
        batch.clear()

    for offset, line, length in lines_of(file, parts, start, size):
        if query.searches and bounds.spent(length):
            break
        when = marks.at(offset)
        if (query.since and when < query.since) or (query.until and when > query.until):
            continue
        batch.append((when, line))
        if len(batch) >= BATCH:
            take()
    if batch:
        take()
    return list(kept), left if query.searches else 0


def lines_of(file: LogFile, parts: Parts, start: int, end: int) -> Iterator[Tuple[int, Line, int]]:
    """(offset at which it ends, line, bytes) of every line that ends behind `start`, up to `end`."""
    begin = 0
    for stop, path in parts:
        if stop > start:
            yield from _of_segment(file, path, begin, start)
        begin = stop
    reader = logs.LineReader(file, _aligned(file.path, max(start, begin), begin))
    while reader.offset < end:
        begin = before = reader.offset
        for offset, line in reader.read_at(BATCH):
            if offset > end:
                return
            yield offset, line, offset - before
            before = offset
        if reader.offset == begin:
            break
    rest = reader.rest()
    if rest is not None and reader.offset <= end:
        yield reader.offset, rest, len(rest[3])


def _of_segment(file: LogFile, path: str, begin: int, start: int) -> Iterator[Tuple[int, Line, int]]:
    offset = begin
    try:
        with gzip.open(path, "rb") as f:
            for data in f:
                offset += len(data)
                if offset > start:
                    yield offset, file.line(data), len(data)
    except (OSError, EOFError):
        return


def _aligned(path: str, at: int, floor: int) -> int:
    """The beginning of the line that this offset is in; the offset itself where a line is endless."""
    low = max(floor, at - BLOCK)
    try:
        with open(path, "rb") as f:
            f.seek(low)
            data = f.read(at - low)
    except OSError:
        return at
    found = data.rfind(b"\n")
    return low + found + 1 if found >= 0 else low if low == floor else at


def start_of_last(path: str, parts: Parts, size: int, lines: int) -> int:
    """An offset: the last so many lines (or more) end behind it."""
    floor = parts[-1][0] if parts else 0
    position, count = size, 0
    try:
        with open(path, "rb") as f:
            low = max(floor, size - logs.MAX_BACK)
            while position > low:
                step = min(BLOCK, position - low)
                f.seek(position - step)
                data = f.read(step)
                found = data.count(b"\n")
                if count + found > lines:  # the one before the last `lines` is here
                    at = len(data)
                    for _ in range(lines + 1 - count):
                        at = data.rfind(b"\n", 0, at)
                    return position - step + at + 1
                count += found
                position -= step
            if low > floor:
                return low
    except OSError:
        return 0
    for n in range(len(parts) - 1, -1, -1):
        floor = parts[n - 1][0] if n else 0
        try:
            with gzip.open(parts[n][1], "rb") as packed:
                count += sum(block.count(b"\n") for block in iter(lambda: packed.read(BLOCK), b""))
        except (OSError, EOFError):
            pass
        if count > lines:
            break
    return floor
