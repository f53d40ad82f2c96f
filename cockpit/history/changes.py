"""What of a row's change is kept, and a row made again from what was kept. Pure.

What only ever moves (when it was last seen, how many bytes a push has moved) is no change of its own: it is
written along when something else about the row changes, and with every keyframe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import msgspec

from cockpit.model.history_rows import TABLES
from cockpit.model.view import Head, Row

VOLATILE: dict[str, frozenset[str]] = {
    "instances": frozenset({"observed"}),
    "hosts": frozenset({"seen", "latency", "names_applied"}),
    "relays": frozenset({"latency"}),
    "actions": frozenset({"eta"}),
    "pushes": frozenset({
        "pieces", "have", "had", "cells", "size", "to_move", "moved", "from_source", "from_relay", "from_peers",
        "wan", "sent", "rate", "eta", "bad", "duplicates", "fallbacks", "peers",
    }),
}  # fmt: skip
SLOW = {"hosts": "names_applied"}
"""Written every few seconds when it changed: with each change of naming all hosts follow."""

Fields = dict[str, Any]
Patch = tuple[str, str, Fields | None, bool]
"""Table, key, fields that are others now (None: the row is gone), and is it a whole new row."""

_FIELDS = {table: cls.__struct_fields__ for table, cls in TABLES.items()}
_TYPES: dict[str, dict[str, Any]] = {
    table: {f.name: f.type for f in msgspec.structs.fields(cls)} for table, cls in TABLES.items()
}
HEAD_FIELDS = tuple(f for f in Head.__struct_fields__ if f != "now")


def patch(table: str, key: str, old: Row | None, new: Row | None) -> Patch | None:
    """What to write for this row; None when nothing worth a moment changed."""
    if new is None:
        return None if old is None else (table, key, None, False)
    if old is None:
        return (table, key, {f: getattr(new, f) for f in _FIELDS[table]}, True)
    changed = {f: v for f in _FIELDS[table] if (v := getattr(new, f)) != getattr(old, f)}
    if not changed.keys() - VOLATILE.get(table, frozenset()):
        return None
    return (table, key, changed, False)


whole_row: dict[str, Callable[[bytes | msgspec.Raw], Any]] = {
    table: msgspec.msgpack.Decoder(cls).decode for table, cls in TABLES.items()
}
"""A row of a table from its fields as they were written. Raises MsgspecError."""
some_fields: dict[str, Callable[[bytes | msgspec.Raw], Fields]] = {
    table: msgspec.msgpack.Decoder(TypedDict(table, types, total=False)).decode  # type: ignore[operator]
    for table, types in _TYPES.items()
}
"""Fields as they were written, of their types; those that no row of ours has are left out. Raises MsgspecError."""


def head_patch(old: Head | None, new: Head) -> Fields:
    """Fields of the head that are others now; all of them without an old one."""
    if old is None:
        return {f: getattr(new, f) for f in HEAD_FIELDS}
    return {f: v for f in HEAD_FIELDS if (v := getattr(new, f)) != getattr(old, f)}
