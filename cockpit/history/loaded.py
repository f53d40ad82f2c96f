"""One segment in memory: its keyframe as rows, its changes as patches, and any row of it at any moment."""

from __future__ import annotations

import contextlib
import zlib
from bisect import bisect_right
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cockpit.history import changes
from cockpit.history.frames import CHANGES, COUNTS, KEY, KEY_END, ROTATED, STOPPED, Frame, scan
from cockpit.model.history_rows import TABLES
from cockpit.model.view import Head

LARGEST = 512 * 1024 * 1024
"""Bytes of one payload unpacked; more is damage."""
Tables = dict[str, dict[str, Any]]
_KEY = msgspec.msgpack.Decoder()


class Damaged(Exception):
    """This segment has no whole keyframe, or one of another make."""


class Index(NamedTuple):
    """What the heads of a segment's frames say, without its payloads."""

    frames: tuple[Frame, ...]
    whole: bool
    """The keyframe is complete."""
    first: float
    last: float
    end: int
    """ROTATED, STOPPED, or 0: it just ends."""
    size: int
    """Bytes that were looked at."""
    why: str
    """Why nothing was recorded before it, where its writer knew."""


def index(path: Path, known: Index | None = None) -> Index:
    """Read the frames' heads, from where a former look ended. Raises OSError."""
    frames = list(known.frames) if known is not None else []
    start = frames[-1].offset + frames[-1].length if frames else 0
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    if known is not None and known.size == start + len(data):
        return known
    frames += scan(data, start)
    whole = any(f.kind == KEY_END for f in frames)
    end = frames[-1].kind if frames and frames[-1].kind in (ROTATED, STOPPED) else 0
    why = known.why if known is not None else ""
    if start == 0 and frames:
        with contextlib.suppress(msgspec.MsgspecError, zlib.error, KeyError, TypeError):
            first = data[frames[0].offset : frames[0].offset + frames[0].length]
            why = str(_KEY.decode(zlib.decompress(first))["why"])
    return Index(
        tuple(frames), whole, frames[0].first if frames else 0.0, frames[-1].last if frames else 0.0, end,
        start + len(data), why,
    )


class Change(NamedTuple):
    """What was written at one moment."""

    at: float
    head: dict[str, Any]
    notices: tuple[str, ...] | None
    patches: list[tuple[str, str, msgspec.Raw, bool]]
    """As `changes.Patch`; the fields are decoded when they are needed."""
    counted: bool
    """It is worth a stop: a row or the revision changed."""


_ROWS = {name: msgspec.msgpack.Decoder(tuple[str, list[str], list[cls]]) for name, cls in TABLES.items()}  # type: ignore[valid-type]
_BATCH = msgspec.msgpack.Decoder(
    list[tuple[float, dict[str, Any] | None, tuple[str, ...] | None,
               list[tuple[str, str, msgspec.Raw, bool]], bool]]
)  # fmt: skip
_FIELDS = msgspec.msgpack.Decoder(dict[str, Any])
_NONE = msgspec.msgpack.encode(None)


class Loaded:
    """`refresh` reads what was appended since; nothing else changes it. Methods raise Damaged, OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = index(path)
        self.base: Tables = {name: {} for name in TABLES}
        self.changes: list[Change] = []
        self.times: list[float] = []
        self._head: dict[str, Any] = {}
        self._notices: tuple[str, ...] = ()
        self._by_row: dict[tuple[str, str], list[tuple[int, msgspec.Raw, bool]]] = {}
        self._stream = zlib.decompressobj()
        self._done = 0
        if not self.index.whole:
            raise Damaged(f"{path.name} has no whole keyframe")
        self._load(self.index.first)

    def refresh(self) -> None:
        """Look for what was appended since."""
        self.index = index(self.path, self.index)

    def _load(self, until: float = float("inf")) -> None:
        """Unpack what is not unpacked yet, up to a time."""
        frames = self.index.frames
        end = self._done
        while end < len(frames) and frames[end].first <= until:
            end += 1
        if end == self._done:
            return
        start = frames[self._done].offset
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                data = file.read(frames[end - 1].offset + frames[end - 1].length - start)
            for frame in frames[self._done : end]:
                payload = data[frame.offset - start : frame.offset - start + frame.length]
                if frame.kind == KEY:
                    self._key(zlib.decompress(payload))
                elif frame.kind == CHANGES:
                    self._batch(self._stream.decompress(payload, LARGEST))
                self._done += 1
        except (msgspec.MsgspecError, zlib.error, KeyError, TypeError, ValueError) as e:
            raise Damaged(f"{self.path.name} cannot be read: {e}") from None

    def whole(self) -> list[Change]:
        """Every change of the segment."""
        self._load()
        return self.changes

    def _key(self, raw: bytes) -> None:
        if not self._head:
            first = _KEY.decode(raw)
            self._head, self._notices = dict(first["head"]), tuple(first["notices"])
            return
        table = _table_of(raw)
        _, keys, rows = _ROWS[table].decode(raw)
        self.base[table].update(zip(keys, rows, strict=True))

    def _batch(self, raw: bytes) -> None:
        by_row = self._by_row
        for at, head, notices, patches, counted in _BATCH.decode(raw):
            number = len(self.changes)
            for table, key, fields, whole in patches:
                by_row.setdefault((table, key), []).append((number, fields, whole))
            self.changes.append(Change(at, head or {}, notices, patches, counted))
            self.times.append(at)

    # moments

    def until(self, at: float) -> int:
        """How many changes the state at this time has behind it. They are unpacked then, later ones may not be."""
        self._load(at)
        return bisect_right(self.times, at)

    def stop(self, at: float, way: int) -> float | None:
        """The nearest moment after (way 1) or before (-1) a time, at which something changed."""
        if way > 0:
            after = self.until(at)
            for frame in self.index.frames:
                if frame.kind == CHANGES and frame.last > at:
                    self._load(frame.last)
                    found = next((c.at for c in self.changes[after:] if c.counted), None)
                    if found is not None:
                        return found
            return None
        before = self.until(at)
        while before and self.times[before - 1] >= at:
            before -= 1
        return next((c.at for c in reversed(self.changes[:before]) if c.counted), None)

    # rows

    def row(self, table: str, key: str, number: int) -> Any:
        """A row after so many changes of the segment; None when there was none."""
        row = self.base[table].get(key)
        merged: dict[str, Any] = {}
        fresh = False
        for at, raw, whole in self._by_row.get((table, key), ()):
            if at >= number:
                break
            if len(raw) == 1 and bytes(raw) == _NONE:
                row, merged, fresh = None, {}, False
            elif whole:
                row, merged, fresh = None, _FIELDS.decode(raw), True
            else:
                merged.update(_FIELDS.decode(raw))
        if fresh:
            return changes.made(table, merged)
        return changes.patched(table, row, merged) if merged and row is not None else row

    def touched(self, start: int, end: int) -> dict[tuple[str, str], None]:
        """Table and key of every row that changes from `start` to `end` touch, in their order."""
        return {(p[0], p[1]): None for c in self.changes[start:end] for p in c.patches}

    def state(self, number: int) -> Tables:
        out = {name: dict(rows) for name, rows in self.base.items()}
        for (table, key), patches in self._by_row.items():
            if patches[0][0] >= number:
                continue
            row = self.row(table, key, number)
            if row is None:
                out[table].pop(key, None)
            else:
                out[table][key] = row
        return out

    def head(self, number: int, now: float) -> Head:
        fields = dict(self._head)
        for change in self.changes[:number]:
            if change.head:
                fields.update(change.head)
        return msgspec.convert({**fields, "now": now}, Head)

    def notices(self, number: int) -> tuple[str, ...]:
        said = (c.notices for c in reversed(self.changes[:number]) if c.notices is not None)
        return next(said, self._notices)


class _Name(msgspec.Struct, array_like=True):
    table: str


_NAME = msgspec.msgpack.Decoder(_Name)


def _table_of(raw: bytes) -> str:
    return _NAME.decode(raw).table


def counts_of(frame: Frame) -> dict[str, int]:
    return {name: n for name, n in zip(COUNTS, frame.counts, strict=False) if n}
