"""One segment in memory: its keyframe as rows, its changes as patches, and any row of it at any moment."""

from __future__ import annotations

import contextlib
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cockpit.history import changes
from cockpit.history.blocks import LARGEST, Base, Block, unpacked
from cockpit.history.frames import CHANGES, COUNTS, KEY, KEY_END, ROTATED, STOPPED, Frame, format_of, scan
from cockpit.model.history_rows import TABLES
from cockpit.model.view import Head
from cockpit.plan.steps import Bad

Tables = dict[str, dict[str, Any]]
FIRST = msgspec.msgpack.Decoder().decode
"""Head, notices and why, from the first part of a keyframe."""


class Damaged(Bad):
    """This segment has no whole keyframe, or one of another make, or is gone."""

    def __init__(self, path: Path, why: object) -> None:
        super().__init__(f"this part of the state history cannot be read: {path.name}: {why}")


WRONG = (msgspec.MsgspecError, zlib.error, KeyError, TypeError, ValueError)


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
    format: int


def index(path: Path, known: Index | None = None) -> Index:
    """Read the frames' heads, from where a former look ended. Raises OSError."""
    start = known.frames[-1].offset + known.frames[-1].length if known is not None and known.frames else 0
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    return indexed(data, known, start)


def indexed(data: bytes, known: Index | None = None, start: int = 0) -> Index:
    """The same of bytes in memory; `data` is what stands from `start` on."""
    frames = list(known.frames) if known is not None else []
    if known is not None and known.size == start + len(data):
        return known
    frames += scan(data, start)
    whole = any(f.kind == KEY_END for f in frames)
    end = frames[-1].kind if frames and frames[-1].kind in (ROTATED, STOPPED) else 0
    why = known.why if known is not None else ""
    if start == 0 and frames:
        with contextlib.suppress(msgspec.MsgspecError, zlib.error, KeyError, TypeError):
            first = data[frames[0].offset : frames[0].offset + frames[0].length]
            why = str(FIRST(unpacked(first))["why"])
    return Index(
        tuple(frames), whole, frames[0].first if frames else 0.0, frames[-1].last if frames else 0.0, end,
        start + len(data), why, known.format if known is not None and start else format_of(data),
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


BATCH = msgspec.msgpack.Decoder(
    list[tuple[float, dict[str, Any] | None, tuple[str, ...] | None,
               list[tuple[str, str, msgspec.Raw, bool]], bool]]
).decode  # fmt: skip
NOTHING = msgspec.msgpack.encode(None)
_ASK = object()
Written = tuple[int, msgspec.Raw, bool]
"""A patch of one row: number of the change, its fields or None, is it a whole new row."""
_number: Callable[[Written], int] = itemgetter(0)


class Loaded:
    """`refresh` reads what was appended since; nothing else changes it. Methods raise Damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = index(path)
        self.base = Base()
        self.changes: list[Change] = []
        self.times: list[float] = []
        self._head: dict[str, Any] = {}
        self._notices: tuple[str, ...] = ()
        self._heads: list[tuple[int, dict[str, Any]]] = []
        self._said: list[tuple[int, tuple[str, ...]]] = []
        """Changes of the head and of the notices, by the number of the change."""
        self._by_row: dict[tuple[str, str], list[Written]] = {}
        self._stream = zlib.decompressobj()
        self._done = 0
        if not self.index.whole:
            raise Damaged(path, "it has no whole keyframe")
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
        start, last = frames[self._done].offset, frames[end - 1].offset + frames[end - 1].length
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                data = file.read(last - start)
            for frame in frames[self._done : end]:
                payload = data[frame.offset - start : frame.offset - start + frame.length]
                if frame.kind == KEY and self._head:
                    self.base.add(Block(payload, self.index.format))
                elif frame.kind == KEY:
                    first = FIRST(unpacked(payload))
                    self._head, self._notices = dict(first["head"]), tuple(first["notices"])
                elif frame.kind == CHANGES:
                    self._batch(self._stream.decompress(payload, LARGEST))
                self._done += 1
        except (*WRONG, OSError) as e:
            raise Damaged(self.path, e) from None

    def whole(self) -> list[Change]:
        """Every change of the segment."""
        self._load()
        return self.changes

    def _batch(self, raw: bytes) -> None:
        by_row = self._by_row
        for at, head, notices, patches, counted in BATCH(raw):
            number = len(self.changes)
            if head:
                self._heads.append((number, head))
            if notices is not None:
                self._said.append((number, notices))
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
        patches = self._by_row.get((table, key), ())
        try:
            return _after(table, patches, number, lambda key: self.base.row(table, key), key)
        except WRONG as e:
            raise Damaged(self.path, e) from None

    def touched(self, start: int, end: int) -> dict[tuple[str, str], None]:
        """Table and key of every row that changes from `start` to `end` touch, in their order."""
        return {(p[0], p[1]): None for c in self.changes[start:end] for p in c.patches}

    def state(self, number: int) -> Tables:
        try:
            out = {name: self.base.rows(name) for name in TABLES}
            for (table, key), patches in self._by_row.items():
                if patches[0][0] >= number:
                    continue
                rows = out[table]
                row = _after(table, patches, number, rows.get, key)
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
        except WRONG as e:
            raise Damaged(self.path, e) from None
        return out

    def head(self, number: int, now: float) -> Head:
        fields = dict(self._head)
        for at, others in self._heads:
            if at >= number:
                break
            fields.update(others)
        return msgspec.convert({**fields, "now": now}, Head)

    def notices(self, number: int) -> tuple[str, ...]:
        return next((said for at, said in reversed(self._said) if at < number), self._notices)


def _after(table: str, patches: Sequence[Written], number: int, base: Callable[[str], Any], key: str) -> Any:
    """A row after those patches that stand before a change; `base` has the row before all of them. Raises as
    decoding does."""
    upto = len(patches) if not patches or patches[-1][0] < number else bisect_left(patches, number, key=_number)
    start = upto
    row: Any = _ASK
    while start and row is _ASK:  # what stands before a whole row, or before its end, needs no look
        start -= 1
        _, raw, whole = patches[start]
        if whole:
            row = changes.whole_row[table](raw)
        elif len(raw) == 1 and bytes(raw) == NOTHING:
            row = None
    if row is _ASK:
        row = base(key)
    else:
        start += 1
    if row is None or start == upto:
        return row
    fields = changes.some_fields[table]
    merged = fields(patches[start][1])
    for n in range(start + 1, upto):
        merged.update(fields(patches[n][1]))
    return msgspec.structs.replace(row, **merged)


def counts_of(frame: Frame) -> dict[str, int]:
    return {name: n for name, n in zip(COUNTS, frame.counts, strict=False) if n}
