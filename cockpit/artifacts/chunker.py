"""Where a file is cut into chunks: FastCDC (the 2020 form), 4 to 64 KiB, about 16 to 20 on average.

The compiled `pyfastcdc` (the extra `fastcdc`) is used when it is installed. The standard-library way below
gives the same cuts, at a hundredth of the speed: the same content has the same manifest wherever it is made.

The hash at a byte is the sum of `GEAR[byte] << age` over the bytes before it; a chunk ends where the bits of a
mask are all zero. Its highest mask bit is 47, so that 48 bytes decide. Python adds them for 16,384 positions
at once: each position is a lane of 7 bytes in one large integer, and six additions of the integer to itself,
shifted by 1, 2, 4 ... lanes, sum up 64 bytes in every lane.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

SMALLEST = 4 * 1024
AVERAGE = 16 * 1024
LARGEST = 64 * 1024
WINDOW = 4 * 1024 * 1024
"""Bytes that are looked at together."""

EARLY = 0x0000D90F03530000
"""The mask before AVERAGE bytes: 15 bits, so that small chunks are rare."""
LATE = 0x0000D90303530000
"""The mask after it: 13 bits, all of them in EARLY."""
BITS = 48
_SUMS = (hashlib.md5(bytes([n]) * 64, usedforsecurity=False).digest() for n in range(256))
GEAR = tuple(int.from_bytes(digest[:8], "big") for digest in _SUMS)

Lengths = Callable[[memoryview], Iterator[int]]
"""Lengths of the chunks of a buffer, one after the other, as if it were the whole file."""


def cut(read: Callable[[int], bytes], *, lengths: Lengths | None = None) -> Iterator[memoryview]:
    """The chunks of what `read(size)` gives until it gives nothing. A view is good until the next is asked for."""
    lengths = lengths or best()
    rest = b""
    while True:
        block = read(WINDOW)
        if not block:
            break
        # a chunk is decided by its first LARGEST bytes: the last ones wait for what follows
        data = memoryview(rest + block if rest else block)
        at = 0
        for length in lengths(data):
            if len(data) - at < LARGEST:
                break
            yield data[at : at + length]
            at += length
        rest = bytes(data[at:])
    data, at = memoryview(rest), 0
    for length in lengths(data):
        yield data[at : at + length]
        at += length


@functools.cache
def best() -> Lengths:
    """The compiled one when it is installed."""
    try:
        import pyfastcdc
    except ImportError:
        return plain
    return functools.partial(_compiled, pyfastcdc)


def _compiled(library: Any, data: memoryview) -> Iterator[int]:
    fast = library.FastCDC(AVERAGE, min_size=SMALLEST, max_size=LARGEST, normalized_chunking=1)
    for chunk in fast.cut_buf(data):
        yield chunk.length


def plain(data: memoryview) -> Iterator[int]:
    """Standard library only."""
    found = _Found(data)
    start = 0
    while start < len(data):
        length = _length(data, start, found)
        yield length
        start += length


def _length(data: memoryview, start: int, found: _Found) -> int:
    """Of the chunk that begins at `start`."""
    left = min(len(data) - start, LARGEST)
    if left <= SMALLEST:
        return left
    # pairs of bytes are looked at, so an odd byte at the end is not; nor, before the end, does the mask change there
    middle, end = min(AVERAGE, left) & ~1, left & ~1
    # the hash begins anew after SMALLEST bytes: until it has seen BITS of them it is summed up here
    value = 0
    for at in range(SMALLEST, min(SMALLEST + BITS - 1, end)):
        value = (value << 1) + GEAR[data[start + at]]
        if not value & (EARLY if at < middle else LATE):
            return at
    for position in found.between(start + SMALLEST + BITS - 1, start + end):
        if position - start >= middle or not _hash(data, position) & EARLY:
            return position - start
    return left


def _hash(data: memoryview, position: int) -> int:
    value = 0
    for byte in data[position - BITS + 1 : position + 1]:
        value = (value << 1) + GEAR[byte]
    return value


class _Found:
    """Positions where the bits of LATE are zero, computed block by block when they are asked for."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._positions: list[int] = []
        self._done = 0

    def between(self, first: int, end: int) -> Iterator[int]:
        while self._done < end:
            self._more()
        at = bisect.bisect_left(self._positions, first)
        while at < len(self._positions) and self._positions[at] < end:
            yield self._positions[at]
            at += 1

    def _more(self) -> None:
        # positions that have fewer than BITS bytes before them in the block are the block's before
        begin = max(0, self._done - BITS + 1)
        block = bytes(self._data[begin : begin + LANES])
        # a block at the end is filled up: what is found in the filling lies behind the data
        hits = _zeros(block.ljust(LANES, b"\0"))
        self._positions += [begin + n for n in hits if self._done <= begin + n < len(self._data)]
        self._done = begin + LANES


LANES = 16 * 1024
LANE = 7
"""Bytes of a lane: 48 bits, and 8 that catch what is carried over."""


def _each(value: int) -> int:
    """An integer with `value` in every lane."""
    return int.from_bytes(value.to_bytes(LANE, "little") * (LANES + 64), "little")


@functools.cache
def _constants() -> tuple[list[bytes], list[int], int]:
    """Tables of byte -> byte k of its GEAR; what stays of a lane before its shift; LATE in every lane."""
    tables = [bytes((g >> 8 * k) & 255 for g in GEAR) for k in range(BITS // 8)]
    return tables, [_each((1 << BITS - shift) - 1) for shift in (0, 8, 16, 32)], _each(LATE)


def _zeros(block: bytes) -> list[int]:
    """Positions of the block (LANES bytes) whose hash has the bits of LATE all zero."""
    tables, (low, *kept), late = _constants()
    lanes = bytearray(LANE * LANES)
    for k, table in enumerate(tables):
        lanes[k::LANE] = block.translate(table)
    x = int.from_bytes(lanes, "little")
    for shift in (1, 2, 4):  # the carry of these fits a lane
        x += x << (8 * LANE + 1) * shift
    x &= low
    for shift, keep in zip((8, 16, 32), kept, strict=True):
        x += (x & keep) << (8 * LANE + 1) * shift
    masked = (x & late).to_bytes(LANE * (LANES + 64), "little")
    # LATE has bits in bytes 2 to 5: the zeros around a lane without any make a run of at least ten, and
    # every run of ten has bytes 2 to 5 of one lane in it
    found = []
    at = masked.find(RUN)
    while 0 <= at < LANE * LANES:
        lane = (at + LANE - 3) // LANE
        if lane >= LANES:
            break
        found.append(lane)
        at = masked.find(RUN, LANE * lane + 3)
    return found


RUN = bytes(10)
