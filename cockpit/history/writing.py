"""Writes the history: shadow rows, batches of changes, keyframes, rotation, retention. Runs in one thread of its own.

The thread owns the shadow, so a keyframe needs no copy of the tables and no stop of the controller; it gives
way to the other threads after each slice of rows.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cockpit.history import changes
from cockpit.history.blocks import packed
from cockpit.history.frames import (
    BEAT,
    CHANGES,
    COUNTS,
    FIRST_LINE,
    KEY,
    KEY_END,
    READABLE,
    ROTATED,
    STOPPED,
    format_of,
    number_of,
    pack,
    segment_name,
    segments,
)
from cockpit.model.history_rows import TABLES
from cockpit.model.view import Delta, Head

SLICE = 400
"""Changes between two chances for the other threads."""
BLOCK = 1000
"""Rows of one block of a keyframe. Packed column by column: what holds the other threads up is one column of it."""
BEAT_AFTER = 5.0
"""Seconds of silence after which a sign of life is written, so that a gap is known from a quiet hour."""
SLOW_EVERY = 10.0
SYNC_EVERY = 10.0
LONGEST = 3600.0
"""Seconds of one segment: what is unpacked to get at a moment in it."""
MANY, MOST = 40_000, 60_000
"""Changes in a segment: from so many on the next keyframe comes when it costs no more than they did; and at once."""
BACK = 60.0
"""Seconds the clock may go back, and changes are put at the latest moment; beyond that a new segment begins."""
ASIDE = ".set-aside"
FLOOR = 128 * 1024 * 1024
"""Free bytes on the file system below which nothing is recorded: room belongs to the state first."""


class Limits(NamedTuple):
    days: float = 7.0
    size: int = 512 * 1024 * 1024
    """Bytes of all segments."""


class NoRoom(OSError):
    """Recording has to wait until there is room."""


class Writer:
    """One directory of segments. Not thread-safe: every call comes from the same thread."""

    def __init__(self, directory: Path, limits: Limits, *, floor: int = FLOOR, longest: float = LONGEST) -> None:
        self.directory = directory
        self.limits = limits
        self.floor = floor
        self.longest = longest
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        self.head: Head | None = None
        self.notices: tuple[str, ...] = ()
        self.path: Path | None = None
        """The segment that is written; None before the first and while there is no room."""
        self.changes = 0
        """Changes in it."""
        self.aside = 0
        """Segments that were set aside."""
        self._fd = -1
        self._size = self._key_size = 0
        self._began = self._last = self._synced = self._slow_at = 0.0
        self._stream = zlib.compressobj(6)
        self._slow: dict[tuple[str, str], Any] = {}

    def begin(self, tables: Mapping[str, dict[str, Any]], head: Head, notices: tuple[str, ...], why: str) -> None:
        """A new segment with a keyframe of these rows, which are the writer's from now on.

        `why`: why nothing was recorded before it.
        """
        self.set_aside()
        self.tables = {name: tables[name] for name in TABLES}
        self.head, self.notices = head, notices
        self._open(head.now, why)

    def write(self, deltas: Sequence[Delta], now: float) -> None:
        """Changes since the last call. Raises OSError; then `drop` must be called."""
        if self._fd >= 0 and now < self._last - BACK:
            self.rotate(now, back=True)
        batch: list[Any] = []
        counts = [0] * len(COUNTS)
        first = last = 0.0
        for delta in deltas:
            at = self._last = max(self._last, delta.head.now)
            entry = self._entry(delta, at, counts)
            if entry is not None:
                batch.append(entry)
                first, last = first or at, at
        if now - self._slow_at >= SLOW_EVERY:
            self._slow_at = now
            if late := self._late():
                at = self._last = max(self._last, now)
                batch.append((at, None, None, late, False))
                first, last = first or at, at
        if self._fd < 0:
            return
        if batch:
            parts = [self._stream.compress(part) for part in _spelled(batch)]
            raw = b"".join((*parts, self._stream.flush(zlib.Z_SYNC_FLUSH)))
            self.changes += sum(counts)
            self._append(pack(CHANGES, first, last, tuple(counts), raw))
        elif now - self._last >= BEAT_AFTER:
            self._last = now
            self._append(pack(BEAT, now, now))
        if now - self._synced >= SYNC_EVERY:
            self._synced = now
            os.fdatasync(self._fd)
            self._look_at_room()
        if self._full(now):
            self.rotate(now)

    def _entry(self, delta: Delta, at: float, counts: list[int]) -> Any:
        """(time, head fields, notices, patches, is it worth a stop), or None when nothing worth a moment changed."""
        out: list[changes.Patch] = []
        for number, table in enumerate(TABLES):
            rows = self.tables[table]
            slow = changes.SLOW.get(table)
            for key, row in getattr(delta, table).items():
                old = rows.get(key)
                found = changes.patch(table, key, old, row)
                if found is None:
                    if slow and row is not None and getattr(row, slow) != getattr(old, slow):
                        self._slow[table, key] = row
                    continue
                self._slow.pop((table, key), None)
                if row is None:
                    del rows[key]
                else:
                    rows[key] = row
                counts[number] += 1
                out.append(found)
                if len(out) % SLICE == 0:
                    time.sleep(0.0005)
        head = changes.head_patch(self.head, delta.head)
        notices = delta.notices if delta.notices != self.notices else None
        counts[len(TABLES)] += "revision" in head
        self.head, self.notices = delta.head, delta.notices
        if not (out or head or notices is not None):
            return None
        return (at, head or None, notices, out, bool(out) or "revision" in head)

    def _late(self) -> list[changes.Patch]:
        late, self._slow = self._slow, {}
        out: list[changes.Patch] = []
        for (table, key), row in late.items():
            old = self.tables[table].get(key)
            field = changes.SLOW[table]
            if old is not None and getattr(old, field) != getattr(row, field):
                self.tables[table][key] = row
                out.append((table, key, {field: getattr(row, field)}, False))
        return out

    def _full(self, now: float) -> bool:
        if now - self._began >= self.longest or self._size >= self.limits.size // 8 or self.changes >= MOST:
            return True
        return self.changes >= MANY and self._size >= 2 * self._key_size

    def rotate(self, now: float, *, back: bool = False) -> None:
        """End this segment and begin the next; `back`: at a time before what is written."""
        end = max(now, self._last)
        self._append(pack(ROTATED, end, end))
        os.fdatasync(self._fd)
        self._close()
        if back:
            self._last = self._slow_at = now
        self._open(now, "")

    def stop(self, now: float) -> None:
        """The last word: whatever comes later is not ours."""
        if self._fd >= 0:
            now = max(now, self._last)
            self._append(pack(STOPPED, now, now))
            os.fdatasync(self._fd)
            self._close()

    def drop(self) -> None:
        """Give the segment up after an error: what is whole of it stays."""
        if self._fd >= 0:
            try:
                os.ftruncate(self._fd, self._size)
            except OSError:
                pass
            self._close()

    def set_aside(self) -> None:
        """Segments of a format that this version cannot read get another name: no limit takes them, none is lost."""
        for path in segments(self.directory):
            with path.open("rb") as file:
                found = format_of(file.read(64))
            if found and found not in READABLE:
                path.rename(path.with_name(path.name + ASIDE))
                self.aside += 1

    def retain(self, now: float) -> None:
        """Remove the oldest segments beyond the limits; the one that is written stays."""
        paths = segments(self.directory)
        sizes = {p: p.stat().st_size for p in paths}
        total = sum(sizes.values())
        for path, following in zip(paths, paths[1:], strict=False):
            ended = int(following.name[9:22]) / 1000
            if path == self.path or (total <= self.limits.size and ended >= now - self.limits.days * 86400):
                break
            path.unlink(missing_ok=True)
            total -= sizes[path]

    def _open(self, at: float, why: str) -> None:
        self._last = at = max(self._last + 0.001, at)  # after every change of the one before
        self._look_at_room()
        paths = segments(self.directory)
        path = self.directory / segment_name(number_of(paths[-1]) + 1 if paths else 1, at)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.path = path
        self._size = self.changes = 0
        self._began = self._synced = at
        self._stream = zlib.compressobj(6)
        self._append(FIRST_LINE)
        assert self.head is not None
        first = {
            "head": changes.head_patch(None, self.head), "notices": self.notices, "why": why,
            "rows": {name: len(rows) for name, rows in self.tables.items()},
        }
        self._append(pack(KEY, at, at, payload=zlib.compress(msgspec.msgpack.encode(first), 1)))
        for table, rows in self.tables.items():
            keys, all_rows = iter(rows), iter(rows.values())
            while some := list(islice(keys, BLOCK)):
                self._append(pack(KEY, at, at, payload=packed(table, some, list(islice(all_rows, BLOCK)))))
                time.sleep(0.0005)
        self._append(pack(KEY_END, at, at))
        self._key_size = self._size
        self.retain(at)

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(data)

    def _close(self) -> None:
        os.close(self._fd)
        self._fd, self.path = -1, None

    def _look_at_room(self) -> None:
        self.directory.mkdir(0o700, exist_ok=True)  # not its parents: a state that was taken away stays away
        self.directory.chmod(0o700)  # whatever the umask of another thread is at the moment
        found = os.statvfs(self.directory)
        if found.f_bavail * found.f_frsize < self.floor:
            raise NoRoom(28, "too little room is left on the file system", str(self.directory))


_encode = msgspec.msgpack.Encoder().encode


def _spelled(batch: Sequence[Any]) -> Iterator[bytes]:
    """A batch in msgpack, some patches at a time: a hundred thousand at once would hold the other threads up."""
    yield _array(len(batch))
    for at, head, notices, patches, counted in batch:
        yield b"\x95" + b"".join(map(_encode, (at, head, notices))) + _array(len(patches))
        for start in range(0, len(patches), SLICE):
            yield b"".join(map(_encode, patches[start : start + SLICE]))
        yield _encode(counted)


def _array(length: int) -> bytes:
    """The beginning of an array of that length."""
    return b"\xdd" + length.to_bytes(4, "big")
