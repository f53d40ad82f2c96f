"""Log files of runs: DIR/logs/UNIT/RUN.PROCESS.out|err, appended to by the services themselves.

Rotation (rotate.py) moves old blocks into compressed segments `RUN.PROCESS.out.END.gz`; END is the
offset in the stream where the segment ends, so that a stream is its segments in order and then the
file from the last END on. Offsets stay true because the file keeps its length.
"""

from __future__ import annotations

import gzip
import os
import re
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from cockpit.agent.files import flat

MAX_TEXT = 16 * 1024
MARK = " [cut: %d bytes in all]"
"""Ends a line that is longer than MAX_TEXT."""
BLOCK = 64 * 1024
MAX_BACK = 8 * 1024 * 1024
"""Bytes looked back in one file for its last lines."""
FILE = re.compile(r"([0-9]+)\.([A-Za-z0-9_-]+)\.(out|err|log)")
SEGMENT = re.compile(r"([0-9]+)\.([A-Za-z0-9_-]+)\.(out|err|log)\.([0-9]+)\.gz")
STREAMS = {"out": "stdout", "err": "stderr"}

Line = Tuple[int, str, str, str]
"""run, stdout, stderr or the name of a declared log, process (empty for a declared log), text."""
Parts = List[Tuple[int, str]]
"""(end, path) of the segments of a stream, ascending."""


@dataclass(frozen=True, order=True)
class LogFile:
    """One stream of one process of one run."""

    run: int
    process: str
    kind: str
    path: str

    @property
    def stream(self) -> str:
        return STREAMS.get(self.kind, self.process)

    def line(self, data: bytes, length: int = 0) -> Line:
        return (self.run, self.stream, "" if self.kind == "log" else self.process, text_of(data, length))


def log_dir(host_dir: str, unit: str) -> str:
    return os.path.join(host_dir, "logs", flat(unit))


def unit_dirs(host_dir: str, instance: str) -> List[Tuple[int, str]]:
    """(gen, directory) of every unit of an instance that left logs here, ascending."""
    prefix = flat(instance) + "_"
    root = os.path.join(host_dir, "logs")
    found = []
    for name in _names(root):
        gen = name[len(prefix) :]
        if name.startswith(prefix) and gen.isascii() and gen.isdigit():
            found.append((int(gen), os.path.join(root, name)))
    return sorted(found)


def files(dir: str) -> List[LogFile]:
    """The log files of a unit, by run."""
    found = []
    for name in _names(dir):
        match = FILE.fullmatch(name)
        if match:
            found.append(LogFile(int(match[1]), match[2], match[3], os.path.join(dir, name)))
    return sorted(found)


def segments(dir: str) -> Dict[str, List[Tuple[int, str]]]:
    """Path of the log file -> (end, path) of its segments, ascending."""
    found: Dict[str, List[Tuple[int, str]]] = {}
    for name in _names(dir):
        match = SEGMENT.fullmatch(name)
        if match:
            base = os.path.join(dir, f"{match[1]}.{match[2]}.{match[3]}")
            found.setdefault(base, []).append((int(match[4]), os.path.join(dir, name)))
    return {base: sorted(parts) for base, parts in found.items()}


def text_of(data: bytes, length: int = 0) -> str:
    """A line as text: cut, with its length said, when very long; what is no UTF-8 stands as `\\xff`."""
    data = data.rstrip(b"\r\n")
    full = max(length, len(data))
    if full <= MAX_TEXT:
        return data.decode("utf-8", "backslashreplace")
    return _whole(data[:MAX_TEXT]).decode("utf-8", "backslashreplace") + MARK % full


def _whole(data: bytes) -> bytes:
    """Without the beginning of a character at its end."""
    for n in range(1, min(4, len(data)) + 1):
        byte = data[-n]
        if byte >= 0xC0:
            return data[:-n] if n < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else data
        if byte < 0x80:
            break
    return data


def tail(dirs: Iterable[str], lines: int, ends: Optional[Mapping[str, int]] = None) -> List[Line]:
    """The last lines over the given unit directories (oldest first) and all their runs.

    With `ends` (path -> offset) only what lies before these offsets, and only files named there.
    """
    found: List[Line] = []
    for dir in reversed(list(dirs)):
        by_run: Dict[int, List[LogFile]] = {}
        for file in files(dir):
            if ends is None or file.path in ends:
                by_run.setdefault(file.run, []).append(file)
        parts = segments(dir)
        for run in sorted(by_run, reverse=True):
            found[:0] = _tail_of_run(by_run[run], parts, lines - len(found), ends or {})
            if len(found) >= lines:
                return found
    return found


def _tail_of_run(
    run: List[LogFile], parts: Dict[str, List[Tuple[int, str]]], lines: int, ends: Mapping[str, int]
) -> List[Line]:
    """The streams of a run carry no times: the one written last comes last."""
    found: List[Line] = []
    for file in sorted(run, key=lambda f: _mtime(f.path)):
        datas = last_lines(file.path, parts.get(file.path, []), lines, ends.get(file.path))
        found += [file.line(data) for data in datas]
    return found[-lines:] if lines > 0 else []


def last_lines(
    path: str, parts: List[Tuple[int, str]], lines: int, end: Optional[int] = None
) -> List[bytes]:
    """The last lines of one stream before `end`, from the file and, if need be, its segments."""
    if lines <= 0:
        return []
    start = parts[-1][0] if parts else 0
    found = _last_of_file(path, start, lines, end)
    for _, segment in reversed(parts):
        if len(found) >= lines:
            break
        found = _last_of_segment(segment, lines - len(found)) + found
    return found[-lines:]


def _last_of_file(path: str, start: int, lines: int, end: Optional[int]) -> List[bytes]:
    try:
        with open(path, "rb") as f:
            position = f.seek(0, os.SEEK_END) if end is None else end
            data = b""
            floor = max(start, position - MAX_BACK)
            while position > floor and data.count(b"\n") <= lines:
                step = min(BLOCK, position - floor)
                position -= step
                f.seek(position)
                data = f.read(step) + data
    except OSError:
        return []
    pieces = data.split(b"\n")
    if not pieces[-1]:
        pieces.pop()
    if position > start and pieces:
        pieces.pop(0)  # its beginning was not read
    return pieces[-lines:]


def line_start(path: str, start: int) -> int:
    """Offset behind the last finished line of a file (or `start`): following begins there."""
    try:
        with open(path, "rb") as f:
            position = f.seek(0, os.SEEK_END)
            floor = max(start, position - MAX_BACK)
            while position > floor:
                step = min(BLOCK, position - floor)
                f.seek(position - step)
                at = f.read(step).rfind(b"\n")
                if at >= 0:
                    return position - step + at + 1
                position -= step
            return floor
    except OSError:
        return start


def _last_of_segment(path: str, lines: int) -> List[bytes]:
    try:
        kept: List[bytes] = []
        with gzip.open(path, "rb") as f:
            for data in f:
                kept.append(data)
                if len(kept) > 2 * lines + 1000:
                    del kept[:-lines]
        return kept[-lines:]
    except (OSError, EOFError):
        return []


class LineReader:
    """Reads one log file onwards from an offset; keeps the beginning of a line that is not finished."""

    def __init__(self, file: LogFile, offset: int) -> None:
        self.file = file
        self.offset = offset
        self._held = b""
        self._skipped = 0
        """Bytes of the line in `_held` that are not kept: it is too long."""

    @property
    def behind(self) -> int:
        """Bytes that wait in the file."""
        try:
            return os.path.getsize(self.file.path) - self.offset
        except OSError:
            return 0

    def read(self, most: int) -> List[Line]:
        """At most about `most` new whole lines; an empty list when there are none."""
        return [line for _, line in self.read_at(most)]

    def read_at(self, most: int) -> List[Tuple[int, Line]]:
        """The same with the offset at which each line ends."""
        found: List[Tuple[int, Line]] = []
        try:
            with open(self.file.path, "rb") as f:
                while len(found) < most:
                    f.seek(self.offset)
                    data = f.read(BLOCK)
                    if not data:
                        break
                    self._take(data, most, found)
        except OSError:
            pass
        return found

    def rest(self) -> Optional[Line]:
        """The unfinished last line of a run that ended."""
        held, self._held = self._held, b""
        length, self._skipped = len(held) + self._skipped, 0
        return self.file.line(held, length) if held else None

    def skip(self, keep: int) -> int:
        """Jump to the last `keep` bytes; the number of lines left out."""
        target = self.offset + self.behind - keep
        lost = 0
        with open(self.file.path, "rb") as f:
            f.seek(self.offset)
            while self.offset < target:
                data = f.read(min(BLOCK, target - self.offset))
                if not data:
                    break
                lost += data.count(b"\n")
                self.offset += len(data)
            rest = f.readline(BLOCK)  # to the next line's beginning
            self.offset += len(rest)
        self._held, self._skipped = b"", 0
        return lost + 1

    def _take(self, data: bytes, most: int, found: List[Tuple[int, Line]]) -> None:
        """Cut one block; the offset moves to behind what was taken."""
        begin = 0
        while len(found) < most:
            end = data.find(b"\n", begin)
            if end < 0:
                self._hold(data[begin:])
                begin = len(data)
                break
            self._hold(data[begin:end])
            found.append((self.offset + end + 1, self.file.line(self._held, len(self._held) + self._skipped)))
            self._held, self._skipped = b"", 0
            begin = end + 1
        self.offset += begin

    def _hold(self, data: bytes) -> None:
        room = MAX_TEXT + 1 - len(self._held)
        self._held += data[:room]
        self._skipped += max(0, len(data) - room)


def _names(dir: str) -> Iterator[str]:
    try:
        with os.scandir(dir) as entries:
            yield from (e.name for e in entries)
    except OSError:
        return


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
