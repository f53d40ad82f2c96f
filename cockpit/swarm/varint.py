"""Numbers of few bytes: seven bits a byte, low ones first; signed ones as 0, -1, 1, -2 ..."""

from __future__ import annotations

from typing import Callable

MAX_BYTES = 9


def varint(number: int) -> bytes:
    """A number from 0 to 2**63 - 1."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def signed(number: int) -> bytes:
    return varint(2 * number if number >= 0 else -2 * number - 1)


def read_varint(take: Callable[[], int]) -> int:
    """`take` gives the next byte. Raises ValueError for a number that is too long."""
    value = 0
    for index in range(MAX_BYTES):
        byte = take()
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value
    raise ValueError("a number is too long")


def read_signed(take: Callable[[], int]) -> int:
    number = read_varint(take)
    return -((number + 1) >> 1) if number & 1 else number >> 1
