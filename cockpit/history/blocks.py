"""Rows of a keyframe by columns: a block of them is packed, and made again when it is asked for. Pure.

A block is `[table, keys, same, each]` in msgpack: fields that all its rows have alike stand once, those that are as
a row has them by itself do not stand at all, the others are lists. Half of a row's fields are never written so, and
never read; and what is read is not spelled out row by row.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import repeat
from operator import attrgetter, or_
from typing import Any, TypedDict

import msgspec
from msgspec.structs import FieldInfo

from cockpit.model.history_rows import TABLES

LEVEL = 3
"""Of zlib: 1 is a fifth quicker and a fourteenth larger; 6 takes twice as long for a twentieth less."""
LARGEST = 512 * 1024 * 1024
"""Bytes of one payload unpacked; more is damage."""


def _default(field: FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT


_FIELDS = {table: msgspec.structs.fields(cls) for table, cls in TABLES.items()}
_DEFAULTS = {table: [(f.name, _default(f)) for f in fields] for table, fields in _FIELDS.items()}
_GETTERS = {table: [(name, attrgetter(name), default) for name, default in each] for table, each in _DEFAULTS.items()}


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


class _Start(msgspec.Struct, array_like=True):
    """What blocks of both formats begin with."""

    table: str
    keys: list[str]


def _decoder(parts: Callable[[str], list[tuple[str, Any]]]) -> Callable[[bytes], Any]:
    """For blocks of every table: its name tells what follows. Fields of a later version are left out."""
    kinds = [
        msgspec.defstruct(table, [("keys", list[str]), *parts(table)], array_like=True, tag=table) for table in TABLES
    ]
    return msgspec.msgpack.Decoder(reduce(or_, kinds)).decode


def _columns(table: str) -> list[tuple[str, Any]]:
    types = {f.name: f.type for f in _FIELDS[table]}
    lists = {name: list[type] for name, type in types.items()}  # type: ignore[valid-type]
    return [("same", TypedDict("same", types, total=False)), ("each", TypedDict("each", lists, total=False))]  # type: ignore[operator]


_start = msgspec.msgpack.Decoder(_Start).decode
_block = _decoder(_columns)
_old_block = _decoder(lambda table: [("rows", list[TABLES[table]])])  # type: ignore[valid-type]


def rows_of(raw: bytes, format: int) -> tuple[str, list[str], list[Any]]:
    """Table, keys and rows of an unpacked block. Raises MsgspecError, TypeError, ValueError."""
    if format < 2:  # `[table, keys, rows]`, each row with all its fields
        found = _old_block(raw)
        return type(found).__name__, found.keys, found.rows
    found = _block(raw)
    table, count = type(found).__name__, len(found.keys)
    columns = []
    for name, default in _DEFAULTS[table]:
        values = found.each.get(name)
        if values is None:
            value = found.same.get(name, default)
            if value is msgspec.NODEFAULT:
                raise TypeError(f"a block of {table} has no {name}")
            values = repeat(value, count)
        elif len(values) != count:
            raise ValueError(f"a block of {table} has columns of different lengths")
        columns.append(values)
    return table, found.keys, list(map(TABLES[table], *columns))


class Block:
    """One block of a keyframe; its rows are made when the first of them is asked for. `format`: of its file."""

    def __init__(self, payload: bytes, format: int) -> None:
        """Raises MsgspecError, zlib.error, KeyError."""
        self._raw, self._format = unpacked(payload), format
        start = _start(self._raw)
        self.table, self.keys = start.table, start.keys
        self._rows: list[Any] | None = None
        TABLES[self.table]

    def rows(self) -> list[Any]:
        """In the order of the keys. Raises as `rows_of`."""
        if self._rows is None:
            self._rows = rows_of(self._raw, self._format)[2]
            self._raw = b""
        return self._rows


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
