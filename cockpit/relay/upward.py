"""What waits to go upstream: in order, together what comes together, log lines when nothing else waits.

A unit is kept by name and composed when it goes: however often it changes meanwhile, it is one frame with the
latest. Pure: times are arguments (seconds of any clock that only grows).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec
from msgspec import Raw

from cockpit.link.trunk_frames import Up, text

HOLD = 0.02
"""Seconds: the first change goes at once, what follows within this time goes together."""
BATCH = 256 * 1024
"""Bytes of frames in one `up`, unless a single one is larger."""
BULK_BATCH = 64 * 1024
LIMIT = 64 * 1024 * 1024
"""Bytes that may wait; with more the trunk is broken and everything told anew."""
_ROW = 64
"""Bytes that a waiting row costs beside its frame."""

Row = tuple[str, str, bytes, int]
"""(sid, unit, frame, number): a frame; without one a unit (composed later, by the row with the number that is
noted for it); without both everything of that sid. With an empty sid a frame of the trunk itself."""


class Overflow(Exception):
    """Upstream does not read. The text says how much waits."""


class Upward:
    """`unit` gives the frame of a unit, or None when it is gone; `tell` all rows (sid or "", frame) of a sid."""

    def __init__(
        self, unit: Callable[[str, str], bytes | None], tell: Callable[[str], list[tuple[str, bytes]]]
    ) -> None:
        self._unit = unit
        self._tell = tell
        self._front: deque[str] = deque()
        self._rows: deque[Row] = deque()
        self._bulk: deque[tuple[str, bytes]] = deque()
        self._marked: dict[tuple[str, str], int] = {}
        self._number = 0
        self._size = 0
        self._sent = 0.0
        self._due = 0.0

    def clear(self) -> None:
        self._front.clear()
        self._rows.clear()
        self._bulk.clear()
        self._marked.clear()
        self._size = 0
        self._due = 0.0

    def first(self, frame: msgspec.Struct) -> None:
        """A frame of the trunk itself that waits for nothing."""
        self._front.append(text(frame))

    def own(self, frame: msgspec.Struct) -> None:
        """A frame of the trunk itself, after everything that waits. It goes at once."""
        self._add(("", "", text(frame).encode(), 0), 0.0, at_once=True)

    def put(self, sid: str, frame: bytes, now: float, *, at_once: bool = False) -> None:
        self._add((sid, "", bytes(frame), 0), now, at_once=at_once)

    def unit(self, sid: str, unit: str, now: float) -> None:
        if (sid, unit) not in self._marked:
            self._number += 1
            self._marked[sid, unit] = self._number
            self._add((sid, unit, b"", self._number), now)

    def unmark(self, sid: str, unit: str) -> None:
        """What is said of this unit from now on goes behind what waits now."""
        self._marked.pop((sid, unit), None)

    def forget(self, sid: str) -> None:
        """It is shut: its log lines, which may be behind that, go no more."""
        if any(row[0] == sid for row in self._bulk):
            self._size -= sum(len(frame) + _ROW for s, frame in self._bulk if s == sid)
            self._bulk = deque(row for row in self._bulk if row[0] != sid)

    def everything(self, sid: str) -> None:
        """All of this sid, as it is when it goes."""
        self._add((sid, "", b"", 0), 0.0, at_once=True)

    def bulk(self, sid: str, frame: bytes) -> None:
        """A log line: when nothing else waits."""
        self._bulk.append((sid, bytes(frame)))
        self._size += len(frame) + _ROW

    @property
    def over(self) -> bool:
        """More waits than may: upstream does not read."""
        return self._size > LIMIT

    def due(self) -> float | None:
        """When `take` has something; None: nothing waits."""
        if self._front:
            return 0.0
        if self._rows:
            return self._due
        return 0.0 if self._bulk else None

    def take(self, now: float) -> str | None:
        """The next frame of the trunk; None: nothing is due. Raises Overflow."""
        if self.over:
            raise Overflow(f"{self._size >> 20} MiB wait to go upstream")
        if self._front:
            return self._front.popleft()
        while self._rows:
            if now < self._due:
                return None
            if not self._rows[0][0]:
                return self._pop()[2].decode()
            frames = self._batch()
            if not self._rows:
                self._sent = now
            if frames:
                return text(Up(frames))
        if self._bulk:
            return text(Up(self._lines(), bulk=True))
        return None

    def _add(self, row: Row, now: float, *, at_once: bool = False) -> None:
        if at_once:
            self._due = 0.0
        elif not self._rows:
            self._due = max(now, self._sent + HOLD)
        self._rows.append(row)
        self._size += len(row[2]) + _ROW

    def _pop(self) -> Row:
        row = self._rows.popleft()
        self._size -= len(row[2]) + _ROW
        return row

    def _batch(self) -> list[tuple[str, Raw]]:
        """As many rows as fit, up to the next frame of the trunk itself."""
        frames: list[tuple[str, Raw]] = []
        size = 0
        while self._rows and self._rows[0][0] and size < BATCH:
            sid, unit, frame, number = self._rows[0]
            if frame and frames and size + len(frame) > BATCH:
                break
            self._pop()
            if unit:
                if self._marked.get((sid, unit)) != number:
                    continue  # it was gone meanwhile, or is said by a row behind this one
                del self._marked[sid, unit]
                frame = self._unit(sid, unit) or b""
            elif not frame:
                self._insert(self._tell(sid))
                continue
            if frame:
                frames.append((sid, Raw(frame)))
                size += len(frame)
        return frames

    def _insert(self, rows: list[tuple[str, bytes]]) -> None:
        for sid, frame in reversed(rows):
            self._rows.appendleft((sid, "", frame, 0))
            self._size += len(frame) + _ROW

    def _lines(self) -> list[tuple[str, Raw]]:
        frames: list[tuple[str, Raw]] = []
        size = 0
        while self._bulk and size < BULK_BATCH:
            sid, frame = self._bulk.popleft()
            self._size -= len(frame) + _ROW
            frames.append((sid, Raw(frame)))
            size += len(frame)
        return frames
