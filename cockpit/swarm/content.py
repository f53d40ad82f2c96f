"""What a piece holds: decoding it within its known length, and comparing its chunks with the manifest."""

from __future__ import annotations

import hashlib
import zlib
from typing import Callable, NamedTuple, Union

from cockpit.swarm.layout import Pieces
from cockpit.swarm.manifest import Chunks

RAW, ZLIB = 0, 1
SLACK = 1024
"""An encoding that pays nothing adds less than this to a piece of 1 MiB."""

Bytes = Union[bytes, bytearray, memoryview]


class Readable(NamedTuple):
    """An encoded piece that can be read slice by slice: `read(offset, length)` may raise OSError."""

    encoding: int
    total: int
    read: Callable[[int, int], Bytes]


class Spoilt(ValueError):
    """These are not the bytes of this piece."""


def decode(encoding: int, data: Bytes, size: int) -> Bytes:
    """The `size` bytes of a piece. Never makes more. Raises Spoilt."""
    if encoding == RAW:
        content: Bytes = data
    elif encoding == ZLIB:
        unzip = zlib.decompressobj()
        try:
            content = unzip.decompress(data, size + 1)
        except zlib.error as error:
            raise Spoilt(f"it does not decode: {error}") from None
        if not unzip.eof or unzip.unused_data:
            raise Spoilt("its encoded form is too short or too long")
    else:
        raise Spoilt(f"the encoding {encoding} is unknown")
    if len(content) != size:
        raise Spoilt(f"{len(content)} bytes where {size} are due")
    return content


def check(content: Bytes, piece: int, pieces: Pieces, chunks: Chunks) -> None:
    """Compare each chunk's SHA-256. Raises Spoilt."""
    view = memoryview(content)
    at = 0
    for index in pieces.chunks_of(piece):
        length = chunks.lengths[index]
        if hashlib.sha256(view[at : at + length]).digest() != chunks.hashes[32 * index : 32 * index + 32]:
            raise Spoilt(f"its chunk {chunks.digest(index).hex()[:12]} is altered")
        at += length
    if at != len(view):
        raise Spoilt(f"{len(view)} bytes where {at} are due")


def verified(encoding: int, data: Bytes, piece: int, pieces: Pieces, chunks: Chunks) -> Bytes:
    """Decode and check a piece. Raises Spoilt."""
    content = decode(encoding, data, pieces.sizes[piece])
    check(content, piece, pieces, chunks)
    return content


def longest(size: int) -> int:
    """Encoded bytes that a piece of `size` may have at most."""
    return size + SLACK


def readable(data: Bytes, encoding: int = RAW) -> Readable:
    """Of a piece that is in memory."""
    view = memoryview(data)
    return Readable(encoding, len(view), lambda offset, length: view[offset : offset + length])
