"""The whole state at one moment: a segment's keyframe, and each row's latest fields folded into it.

`loaded.py` keeps every change so that one can go back and forth; that is ten times the memory. Who asks for one
moment needs only what a row has become.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cockpit.history import changes
from cockpit.history.blocks import LARGEST, rows_of, unpacked
from cockpit.history.frames import CHANGES, KEY, Frame
from cockpit.history.loaded import BATCH, FIRST, NOTHING, WRONG, Damaged, Tables, indexed
from cockpit.model.history_rows import TABLES
from cockpit.model.view import Head, Snapshot


def folded(path: Path, data: bytes, at: float) -> Snapshot:
    """The state at a moment (Unix time) from the beginning of its segment; `path`: its name. Raises Damaged."""
    found = indexed(data)
    if not found.whole:
        raise Damaged(path, "it has no whole keyframe")
    frames = [f for f in found.frames if f.first <= at]
    try:
        first, tables = _keyframe(data, frames, found.format)
        said = _fold(tables, _batches(data, frames), at)
        head = msgspec.convert({**first["head"], **said["head"], "now": at}, Head)
        return Snapshot(head=head, notices=tuple(said.get("notices", first["notices"])), **tables)
    except WRONG as e:
        raise Damaged(path, e) from None


def _keyframe(data: bytes, frames: list[Frame], format: int) -> tuple[dict[str, Any], Tables]:
    """Head and notices, and the rows."""
    parts = (unpacked(data[f.offset : f.offset + f.length]) for f in frames if f.kind == KEY)
    first = FIRST(next(parts, b""))
    tables: Tables = {table: {} for table in TABLES}
    for raw in parts:
        table, keys, rows = rows_of(raw, format)
        tables[table].update(zip(keys, rows, strict=True))
    return first, tables


def _batches(data: bytes, frames: list[Frame]) -> Iterator[Any]:
    stream = zlib.decompressobj()
    for frame in frames:
        if frame.kind == CHANGES:
            yield BATCH(stream.decompress(data[frame.offset : frame.offset + frame.length], LARGEST))


def _fold(tables: Tables, batches: Iterator[Any], at: float) -> dict[str, Any]:
    """Bring the rows to a moment; the fields of the head that changed, and the notices if they did."""
    said: dict[str, Any] = {"head": {}}
    latest: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in tables}
    for batch in batches:
        for when, head, notices, patches, _ in batch:
            if when > at:
                break
            said["head"].update(head or {})
            if notices is not None:
                said["notices"] = notices
            for table, key, raw, whole in patches:
                fields = latest[table]
                if whole:
                    tables[table][key] = changes.whole_row[table](raw)
                    fields.pop(key, None)
                elif len(raw) == 1 and bytes(raw) == NOTHING:
                    tables[table].pop(key, None)
                    fields.pop(key, None)
                elif key in fields:
                    fields[key].update(changes.some_fields[table](raw))
                else:
                    fields[key] = changes.some_fields[table](raw)
    for table, by_key in latest.items():
        rows = tables[table]
        for key, merged in by_key.items():
            if key in rows:
                rows[key] = msgspec.structs.replace(rows[key], **merged)
    return said
