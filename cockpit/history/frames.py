"""The files of the history: frames with checksums, appended only. No thread, no clock.

A segment is `<number>-<milliseconds>.history`: a line that says what it is, then frames. Whatever does not
verify, and all that follows it, is a torn tail: it is not read, and no start depends on it. Times and counts of
changes stand in a frame's head: they are found without unpacking anything.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cockpit.model.history_rows import TABLES

FIRST_LINE = b"COCKPIT-HISTORY 2\n"
_LINE = re.compile(rb"COCKPIT-HISTORY (\d{1,3})\n")
READABLE = (1, 2)
"""1 had its keyframes row by row."""
NAME = re.compile(r"(\d{8})-(\d{13})\.history")
SUFFIX = ".history"

KEY, KEY_END, CHANGES, BEAT, ROTATED, STOPPED = 1, 2, 3, 4, 5, 6
"""A part of the keyframe, its last part, a batch of changes, a sign of life, the end by rotation, the end of work."""

COUNTS = (*TABLES, "revision")
"""What a frame counts, in this order; the last places are spare."""
_SPARE = 12
_HEAD = struct.Struct(f"<IIBdd{_SPARE}H")
LARGEST = 64 * 1024 * 1024
"""Bytes of a payload; more is damage."""


class Frame(NamedTuple):
    kind: int
    first: float
    last: float
    """Unix times of the first and last change in it."""
    counts: tuple[int, ...]
    offset: int
    """Of the payload in the file."""
    length: int


def segment_name(number: int, at: float) -> str:
    return f"{number:08d}-{max(0, int(at * 1000)):013d}{SUFFIX}"


def segments(directory: Path) -> list[Path]:
    """Oldest first; empty when there is no directory."""
    try:
        return sorted(p for p in directory.iterdir() if NAME.fullmatch(p.name))
    except FileNotFoundError:
        return []


def number_of(path: Path) -> int:
    return int(path.name[:8])


def format_of(data: bytes) -> int:
    """The number of the format; 0: it is none of our files."""
    found = _LINE.match(data)
    return int(found[1]) if found else 0


def pack(kind: int, first: float, last: float, counts: tuple[int, ...] = (), payload: bytes = b"") -> bytes:
    many = [min(n, 0xFFFF) for n in counts] + [0] * (_SPARE - len(counts))
    rest = _HEAD.pack(0, 0, kind, first, last, *many)[8:]
    return struct.pack("<II", len(payload), zlib.crc32(payload, zlib.crc32(rest))) + rest + payload


def scan(data: bytes, base: int = 0) -> Iterator[Frame]:
    """Whole frames up to the end or the first damage; `data` is what stands from `base` on in the file."""
    offset = 0
    if base == 0:
        if format_of(data) not in READABLE:
            return
        offset = data.index(b"\n") + 1
    view = memoryview(data)
    while offset + _HEAD.size <= len(data):
        length, crc, kind, first, last, *counts = _HEAD.unpack_from(data, offset)
        start = offset + _HEAD.size
        if length > LARGEST or start + length > len(data) or not KEY <= kind <= STOPPED:
            return
        if zlib.crc32(view[start : start + length], zlib.crc32(view[offset + 8 : start])) != crc:
            return
        yield Frame(kind, first, last, tuple(counts[: len(COUNTS)]), base + start, length)
        offset = start + length
