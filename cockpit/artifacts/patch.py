"""Making a patch at the source: the difference between two versions, for the hosts that have the older one.

The format is that of cockpit/swarm/patching.py. Needs the package bsdiff4 (the extra `patch`). What cannot be
compared, because it is too large or takes too long, is put in as it is: the patch gets larger, never wrong.
"""

from __future__ import annotations

import bz2
import importlib.util
import lzma
import os
import re
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from cockpit.artifacts.partners import LARGEST, Range, Task, Text, new_text, old_text, tasks
from cockpit.swarm.manifest import Manifest
from cockpit.swarm.patching import MAGIC, WINDOWS, filters
from cockpit.swarm.varint import signed, varint

FILE = "patch"
"""Path of the one file in an artifact of kind `patch`."""
TIMEOUT = 300.0
"""Seconds for one comparison."""
SAME = re.compile(rb"\0{1024,}")
"""In the differences: what is worth a copy of its own."""
COPY = 1024 * 1024

Read = Callable[[int], bytes]
"""Content of a chunk by its index in the manifest, verified."""


class PatchUnavailable(Exception):
    """The package that makes patches is not installed here."""


class Made(NamedTuple):
    """`size` of the patch in bytes; `covered` bytes that it makes; `skipped` bytes that could not be compared."""

    size: int
    covered: int
    skipped: int


class Step(NamedTuple):
    """`at` in the old text; bytes to copy, differences to add, bytes to put in."""

    at: int
    copy: int
    add: bytes
    extra: bytes


def available() -> bool:
    return importlib.util.find_spec("bsdiff4") is not None


def make(
    old: Manifest, read_old: Read, new: Manifest, read_new: Read, out: Path, *,
    largest: int = LARGEST, timeout: float = TIMEOUT,
) -> Made:
    """Write the patch that leads from `old` to `new` to `out` (0600; it appears whole or not at all).

    At most 17 times `largest` bytes of memory are taken, in a process of its own. Takes about a second for 2 MB
    of changed files. Raises PatchUnavailable, OSError, and what the readers raise.
    """
    if not available():
        raise PatchUnavailable("patches need the package bsdiff4: install cockpit-ops[patch]")
    before, after = old_text(old), new_text(old, new)
    skipped = 0
    with tempfile.TemporaryDirectory(prefix=".patch-", dir=out.parent) as work:
        writer = _Writer(Path(work))
        for task in tasks(before, after, largest=largest):
            if task.same:
                writer.step(Step(task.old[0][0], task.end - task.start, b"", b""))
                continue
            content = b"".join(_content(after, read_new, task.start, task.end))
            steps = _compared(task, before, read_old, content, Path(work), timeout)
            if steps is None:
                skipped += len(content) if task.old else 0
                steps = [Step(0, 0, b"", content)]
            for step in steps:
                writer.step(step)
        head = f"{MAGIC}\n{old.sha256} {new.sha256} ".encode()
        size = writer.finish(head, Path(work) / FILE)
        (Path(work) / FILE).rename(out)
    return Made(size, after.size, skipped)


def _content(text: Text, read: Read, start: int, end: int) -> Iterator[bytes]:
    """Bytes of a part of a long text, chunk by chunk."""
    index = bisect_right(text.starts, start) - 1
    while start < end:
        chunk = text.order[index]
        skip = start - text.starts[index]
        data = read(chunk)[skip : skip + end - start]
        yield data
        start += len(data)
        index += 1


def _compared(
    task: Task, before: Text, read_old: Read, content: bytes, work: Path, timeout: float
) -> list[Step] | None:
    """None when there is nothing to compare with, or the comparison fails or takes too long."""
    if not task.old:
        return None
    old, new, made = work / "old", work / "new", work / "made"
    with old.open("wb") as f:
        for start, end in task.old:
            f.writelines(_content(before, read_old, start, end))
    new.write_bytes(content)
    made.unlink(missing_ok=True)
    argv = [sys.executable, "-I", "-m", "cockpit.artifacts.bsdiff", str(old), str(new), str(made)]
    try:
        subprocess.run(argv, check=True, timeout=timeout, stdin=subprocess.DEVNULL, capture_output=True)
        return list(_steps(made.read_bytes(), task.old))
    except (subprocess.SubprocessError, FileNotFoundError):
        return None


def _steps(made: bytes, ranges: tuple[Range, ...]) -> Iterator[Step]:
    """What bsdiff says, in places of the old text."""
    sizes = [_int64(made, 8 * i) for i in (1, 2)]
    control = bz2.decompress(made[32 : 32 + sizes[0]])
    differences = bz2.decompress(made[32 + sizes[0] : 32 + sum(sizes)])
    extra = bz2.decompress(made[32 + sum(sizes) :])
    pos = diff_at = extra_at = 0
    for at in range(0, len(control), 24):
        add, more, seek = (_int64(control, at + 8 * i) for i in range(3))
        for place, length in _places(ranges, pos, add):
            yield from _split(place, differences[diff_at : diff_at + length])
            diff_at += length
        if more:
            yield Step(-1, 0, b"", extra[extra_at : extra_at + more])
        extra_at += more
        pos += add + seek


def _int64(data: bytes, at: int) -> int:
    """A number with the sign in its highest bit."""
    value = int.from_bytes(data[at : at + 8], "little")
    return -(value & ~(1 << 63)) if value >> 63 else value


def _places(ranges: tuple[Range, ...], at: int, length: int) -> Iterator[tuple[int, int]]:
    """A part of the joined ranges as (place in the old text, bytes)."""
    for start, end in ranges:
        size = end - start
        if at < size and length:
            part = min(length, size - at)
            yield start + at, part
            at += part
            length -= part
        at -= size


def _split(place: int, differences: bytes) -> Iterator[Step]:
    """One run of differences; long parts without any become copies."""
    at = copy = copy_at = 0
    for same in SAME.finditer(differences):
        if copy or same.start() > at:
            yield Step(place + copy_at, copy, differences[at : same.start()], b"")
        copy_at, copy, at = same.start(), len(same[0]), same.end()
    if copy or at < len(differences):
        yield Step(place + copy_at, copy, differences[at:], b"")


class _Writer:
    """Packs steps into the three streams. Neighbours that one step can say are said by one."""

    def __init__(self, work: Path) -> None:
        self._files: list[IO[bytes]] = [
            (work / name).open("w+b") for name in ("control", "differences", "extra")
        ]
        self._packers = [lzma.LZMACompressor(lzma.FORMAT_RAW, filters=filters(w)) for w in WINDOWS]
        self._at = 0
        """Where the last written step ended in the old text."""
        self._start = self._copy = self._add = self._extra = 0

    def step(self, step: Step) -> None:
        if step.copy or step.add:
            follows = self._start + self._copy + self._add == step.at and not self._extra
            if not follows or (step.copy and self._add):
                self._flush()
                self._start = step.at
            self._copy += step.copy
            self._add += len(step.add)
            self._put(1, step.add)
        self._extra += len(step.extra)
        self._put(2, step.extra)

    def _flush(self) -> None:
        if self._copy or self._add or self._extra:
            start = self._start if self._copy or self._add else self._at
            numbers = varint(self._copy) + varint(self._add) + varint(self._extra)
            self._put(0, signed(start - self._at) + numbers)
            self._at = start + self._copy + self._add
        self._start, self._copy, self._add, self._extra = self._at, 0, 0, 0

    def _put(self, stream: int, data: bytes) -> None:
        if data:
            self._files[stream].write(self._packers[stream].compress(data))

    def finish(self, head: bytes, out: Path) -> int:
        self._flush()
        sizes = []
        for file, packer in zip(self._files, self._packers, strict=True):
            file.write(packer.flush())
            sizes.append(file.tell())
            file.seek(0)
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as f:
            f.write(head + " ".join(map(str, sizes)).encode() + b"\n")
            for file in self._files:
                while block := file.read(COPY):
                    f.write(block)
                file.close()
            f.flush()
            os.fsync(fd)
            return f.tell()
