"""A large answer is written as JSON piece by piece: while the encoder works nobody else has a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

PIECE = 400
"""Entries that are encoded in one go: some milliseconds."""
FEW = 50
"""Up to so many entries may each be large themselves."""
DEEP = 5

_encode = msgspec.json.encode


def spelled(value: Any) -> Iterator[bytes]:
    """The JSON of `value`, as `msgspec.json.encode` has it; in one piece when nothing in it is long."""
    return _spelled(value, DEEP)


async def written(value: Any) -> msgspec.Raw:
    """The JSON of `value`, made while others have their turn."""
    pieces = []
    for piece in spelled(value):
        pieces.append(piece)
        await asyncio.sleep(0)
    return msgspec.Raw(b"".join(pieces))


def _long(value: Any, depth: int) -> bool:
    """Does it hold more than PIECE entries at one place, no deeper than that?"""
    parts: Any = _fields(value)
    if parts is None:
        if not isinstance(value, dict | list | tuple):
            return False
        if len(value) > PIECE:
            return True
        if len(value) > FEW:
            return False
        parts = value.values() if isinstance(value, dict) else value
    else:
        parts = parts.values()
    return depth > 0 and any(_long(part, depth - 1) for part in parts)


def _fields(value: Any) -> dict[str, Any] | None:
    """Of a struct that is encoded with all of its fields and nothing else."""
    if not isinstance(value, msgspec.Struct):
        return None
    config = value.__struct_config__
    if config.tag is not None or config.omit_defaults or config.array_like:
        return None
    names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    return {spoken: getattr(value, name) for spoken, name in names}


def _spelled(value: Any, depth: int) -> Iterator[bytes]:
    if not _long(value, depth):
        yield _encode(value)
        return
    entries = _fields(value)
    if entries is None and isinstance(value, dict):
        entries = value
    if entries is None:
        yield from _listed(value, depth)
    elif any(type(key) is not str for key in entries):
        yield _encode(value)
    elif len(entries) > FEW:
        pairs = zip(list(entries), list(entries.values()), strict=True)  # made one by one: no heap of tuples
        yield from _chunks((dict(some) for some in _cut(pairs)), b"{", b"}")
    else:
        for n, (key, part) in enumerate(entries.items()):
            yield (b"," if n else b"{") + _encode(key) + b":"
            yield from _spelled(part, depth - 1)
        yield b"}"


def _listed(items: Any, depth: int) -> Iterator[bytes]:
    if len(items) > FEW:
        yield from _chunks(_cut(iter(list(items))), b"[", b"]")
        return
    for n, part in enumerate(items):
        yield b"," if n else b"["
        yield from _spelled(part, depth - 1)
    yield b"]"


def _cut(each: Iterator[Any]) -> Iterator[list[Any]]:
    """Of a copy: a table may change while it is being written."""
    while some := list(islice(each, PIECE)):
        yield some


def _chunks(parts: Iterator[Any], begin: bytes, end: bytes) -> Iterator[bytes]:
    for n, part in enumerate(parts):
        yield (b"," if n else begin) + _encode(part)[1:-1]
    yield end
