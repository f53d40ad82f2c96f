"""When log lines were written. Services append to their files themselves, so lines carry no time of ours.

Beside `RUN.PROCESS.out` lies `RUN.PROCESS.out.times`: records of 16 bytes, (Unix time, length of the file then),
big endian. The agent looks once a second and writes a record where a file has grown; the time is that of the last
write to the file, by the kernel. A line's time is that of the first record that holds all of it: late by a second
at most while the agent runs; what was written while no agent ran has the time of the last write before it came back.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from typing import Dict, Iterable, List, Optional, Tuple

SUFFIX = ".times"
RECORD = struct.Struct(">dQ")
MOST = 1024 * 1024
"""Bytes of records per file: half a day of a file that grows all the time. Then every second old one goes."""
EVERY = 1.0
"""Seconds between two looks."""

Mark = Tuple[float, int]


class Marks:
    """The records of one file. `at(end)` is the time of the line that ends at that offset."""

    def __init__(self, marks: Iterable[Mark]) -> None:
        self.times: List[float] = []
        self.ends: List[int] = []
        for when, end in sorted(marks, key=lambda m: (m[1], m[0])):
            if self.ends and end == self.ends[-1]:
                continue
            # a clock that was set back must not put lines out of order
            self.times.append(max(when, self.times[-1]) if self.times else when)
            self.ends.append(end)

    @classmethod
    def of(cls, path: str) -> "Marks":
        """Of a log file as it is now."""
        found = read(path)
        try:
            at = os.stat(path)
            found.append((at.st_mtime, at.st_size))
        except OSError:
            pass
        return cls(found)

    def add(self, when: float, end: int) -> None:
        if not self.ends or end > self.ends[-1]:
            self.times.append(max(when, self.times[-1]) if self.times else when)
            self.ends.append(end)

    def at(self, end: int) -> float:
        """0.0 when nothing is known."""
        if not self.ends:
            return 0.0
        return self.times[min(bisect_left(self.ends, end), len(self.ends) - 1)]

    def before(self, moment: float) -> int:
        """An offset: everything before it was written before that moment."""
        n = bisect_left(self.times, moment)
        return self.ends[n - 1] if n else 0

    def forget(self, before: int) -> None:
        """Lines that end up to there are not asked for any more."""
        n = bisect_left(self.ends, before)
        if n > 64:
            del self.times[:n], self.ends[:n]


def read(path: str) -> List[Mark]:
    """The records of a log file; a torn last one is left out."""
    try:
        with open(path + SUFFIX, "rb") as f:
            data = f.read(2 * MOST)
    except OSError:
        return []
    return [(when, end) for when, end in RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size])]


def thinned(marks: List[Mark]) -> List[Mark]:
    """The newer half as it is, every second one of the older half: times get coarser with age."""
    half = len(marks) // 2
    return marks[:half:2] + marks[half:]


class Marker:
    """Writes the records. One for each host directory, in the agent that serves."""

    def __init__(self) -> None:
        self._sizes: Dict[str, int] = {}

    def look(self, paths: Iterable[str]) -> int:
        """Look at these log files; how many had grown. Files that were not named are forgotten."""
        sizes: Dict[str, int] = {}
        grown = 0
        for path in paths:
            try:
                at = os.stat(path)
            except OSError:
                continue
            known = self._sizes.get(path)
            if known is None:
                last = _last(path)
                known = last[1] if last else 0
            if at.st_size > known:
                grown += 1
                try:
                    _append(path, at.st_mtime, at.st_size)
                except OSError:
                    sizes[path] = known  # a full disk: the next look tries again
                    continue
            sizes[path] = at.st_size
        self._sizes = sizes
        return grown


def paths_of(dir: str, run: int) -> List[str]:
    """The log files of a run in the directory of its unit."""
    begin = f"{run}."
    try:
        names = os.listdir(dir)
    except OSError:
        return []
    return [os.path.join(dir, n) for n in names if n.startswith(begin) and n.endswith((".out", ".err", ".log"))]


def _last(path: str) -> Optional[Mark]:
    try:
        with open(path + SUFFIX, "rb") as f:
            size = f.seek(0, os.SEEK_END) // RECORD.size
            if not size:
                return None
            f.seek((size - 1) * RECORD.size)
            return RECORD.unpack(f.read(RECORD.size))
    except OSError:
        return None


def _append(path: str, when: float, end: int) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path + SUFFIX, flags, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size % RECORD.size:  # torn by a full disk
            os.ftruncate(fd, size // RECORD.size * RECORD.size)
        os.write(fd, RECORD.pack(when, end))
    finally:
        os.close(fd)
    if size >= MOST:
        data = b"".join(RECORD.pack(*mark) for mark in thinned(read(path)))
        new = path + SUFFIX + ".new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as f:
            f.write(data)
        os.replace(new, path + SUFFIX)
