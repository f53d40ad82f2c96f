"""Rows of a keyframe by columns: a block of them is packed, and made again when it is asked for. Pure.

A block is `[table, keys, same, each]` in msgpack: fields that all its rows have alike stand once, those that are as
a row has them by itself do not stand at all, the others are lists. Half of a row's fields are never written so, and
never read; and what is read is not spelled out row by row.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import FieldInfo

from cockpit.model.history_rows import TABLES

LEVEL = 3
"""Of zlib: 1 is a fifth quicker and a fourteenth larger; 6 takes twice as long for a twentieth less."""
LARGEST = 512 * 1024 * 1024
"""Bytes of one payload unpacked; more is damage."""


class _Packed(msgspec.Struct, array_like=True):
    table: str
    keys: list[str]
    same: dict[str, msgspec.Raw]
    each: dict[str, msgspec.Raw]


def _default(field: FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT


_FIELDS = {table: msgspec.structs.fields(cls) for table, cls in TABLES.items()}
_GETTERS = {table: [(f.name, attrgetter(f.name), _default(f)) for f in fields] for table, fields in _FIELDS.items()}
_DECODER = msgspec.msgpack.Decoder(_Packed)
_ONE = {t: {f.name: msgspec.msgpack.Decoder(f.type) for f in fields} for t, fields in _FIELDS.items()}
_MANY: dict[str, dict[str, msgspec.msgpack.Decoder[Any]]] = {
    t: {f.name: msgspec.msgpack.Decoder(list[f.type]) for f in fields}  # type: ignore[name-defined]
    for t, fields in _FIELDS.items()
}


def packed(table: str, keys: Sequence[str], rows: Sequence[Any]) -> bytes:
    """Compressed; `rows` are of one table and at least one."""
    same: dict[str, Any] = {}
    each: dict[str, list[Any]] = {}
    # column by column: no tuple is made per row, which would call the cyclic collector over and over
    for name, get, default in _GETTERS[table]:
        values = list(map(get, rows))
        first = values[0]
        if first == values[-1] and values.count(first) == len(values):
            if first != default:
                same[name] = first
        else:
            each[name] = values
    return zlib.compress(msgspec.msgpack.encode((table, keys, same, each)), LEVEL)


class Block:
    """One block of a keyframe; its rows are made when the first of them is asked for."""

    def __init__(self, payload: bytes) -> None:
        """Raises MsgspecError, zlib.error, KeyError."""
        found = _DECODER.decode(unpacked(payload))
        self.table = found.table
        self.keys = found.keys
        self._fields = (found.same, found.each)
        self._rows: list[Any] | None = None
        TABLES[found.table]

    def rows(self) -> list[Any]:
        """In the order of the keys. Raises MsgspecError, TypeError, ValueError."""
        if self._rows is None:
            self._rows = self._made()
            self._fields = ({}, {})
        return self._rows

    def _made(self) -> list[Any]:
        same, each = self._fields
        one, many = _ONE[self.table], _MANY[self.table]
        alike = {f: one[f].decode(raw) for f, raw in same.items() if f in one}  # a later version may know more fields
        columns = {f: many[f].decode(raw) for f, raw in each.items() if f in many}
        if not columns or not self.keys:
            return [TABLES[self.table](**alike)] * len(self.keys)
        if any(len(values) != len(self.keys) for values in columns.values()):
            raise ValueError(f"a block of {self.table} has columns of different lengths")
        first = TABLES[self.table](**alike, **{f: values[0] for f, values in columns.items()})
        return _maker(tuple(columns))(msgspec.structs.replace, first, *columns.values())


@cache
def _maker(each: tuple[str, ...]) -> Callable[..., list[Any]]:
    """A function of `replace`, the first row and those columns that makes the rows.

    A copy of the first row with other values in these columns takes a third of the time of a new row with all its
    defaults. Spelled out and compiled, as named tuples are: a call with names that stand in the code is three times
    as quick as one with a dictionary. The names are those of the fields of our own classes.
    """
    values = ", ".join(f"{f}={f}" for f in each)
    columns = ", ".join(f"each_{f}" for f in each)
    made = f"[new_row(first_row, {values}) for {', '.join(each)}, in zip({columns}, strict=True)]"
    function: Callable[..., list[Any]] = eval(f"lambda new_row, first_row, {columns}: {made}", {"zip": zip})
    return function


class OldBlock(Block):
    """A block of the first format: `[table, keys, rows]`, each row with all its fields."""

    def __init__(self, payload: bytes) -> None:
        raw = unpacked(payload)
        self.table = table = _NAME.decode(raw).table
        _, self.keys, self._rows = _ROWS[table].decode(raw)


class _Name(msgspec.Struct, array_like=True):
    table: str


_NAME = msgspec.msgpack.Decoder(_Name)
_ROWS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    name: msgspec.msgpack.Decoder(tuple[str, list[str], list[cls]]) for name, cls in TABLES.items()  # type: ignore[valid-type]
}


def unpacked(payload: bytes) -> bytes:
    """Raises zlib.error; also for what would become too large."""
    stream = zlib.decompressobj()
    out = stream.decompress(payload, LARGEST)
    if stream.unconsumed_tail:
        raise zlib.error("a block is too large")
    return out


class Base:
    """The keyframe of a segment: rows by table and key, made block by block as they are asked for."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[Block]] = {table: [] for table in TABLES}
        self._where: dict[str, dict[str, tuple[Block, int]]] = {}

    def add(self, block: Block) -> None:
        self._blocks[block.table].append(block)

    def row(self, table: str, key: str) -> Any:
        """None when there is none. Raises as `Block.rows`."""
        where = self._where.get(table)
        if where is None:
            where = {k: (b, n) for b in self._blocks[table] for n, k in enumerate(b.keys)}
            self._where[table] = where
        found = where.get(key)
        return found[0].rows()[found[1]] if found is not None else None

    def rows(self, table: str) -> dict[str, Any]:
        """All of a table, as a new dictionary. Raises as `Block.rows`."""
        out: dict[str, Any] = {}
        for block in self._blocks[table]:
            out.update(zip(block.keys, block.rows(), strict=True))
        return out
