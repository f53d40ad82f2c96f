"""A manifest as the difference to another one that the receiver holds.

A difference is one zlib stream of

    cockpit-difference 1
    SHA256-OF-OLD SHA256-OF-NEW                  (texts of the manifests)
    (varint n, n bytes of new text, zigzag varint s, varint m)...

where s skips in the old text, from the end of the last copy, and m bytes of it are copied. The new text is made
block by block, the old one lies in an unnamed file meanwhile: memory does not depend on the size of manifests.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zlib
from typing import IO, Dict, Iterable, Iterator, List, Tuple

from cockpit.swarm.manifest import MAX_LINE, MAX_TEXT
from cockpit.swarm.textlines import lines_of
from cockpit.swarm.varint import read_signed, read_varint, signed, varint

MAGIC = b"cockpit-difference 1\n"
HEAD = re.compile(rb"cockpit-difference 1\n([0-9a-f]{64}) ([0-9a-f]{64})\n")
HEAD_BYTES = len(MAGIC) + 130
BLOCK = 64 * 1024
WORTH = 8
"""Fewer bytes than this are not worth a copy of their own."""


class DifferenceError(ValueError):
    """The data is not a difference from this old text to the wanted one; the message says why."""


def difference(old: Iterable[bytes], new: Iterable[bytes]) -> bytes:
    """From the lines of two manifests (each with its LF). Keeps both texts in memory."""
    before, after = list(old), list(new)
    head = MAGIC + f"{_sha256(before)} {_sha256(after)}\n".encode()
    packer = zlib.compressobj(9)
    out = [packer.compress(head)]
    end = 0
    for text, start, length in _operations(before, after):
        out.append(packer.compress(varint(len(text)) + text + signed(start - end) + varint(length)))
        end = start + length
    out.append(packer.flush())
    return b"".join(out)


def _sha256(lines: Iterable[bytes]) -> str:
    sha = hashlib.sha256()
    for line in lines:
        sha.update(line)
    return sha.hexdigest()


def _operations(old: List[bytes], new: List[bytes]) -> Iterator[Tuple[bytes, int, int]]:
    """(text to insert, start in the old text, bytes to copy from there), in order, until `new` is made."""
    where: Dict[bytes, int] = {}
    starts = []
    at = 0
    for index, line in enumerate(old):
        where.setdefault(line, index)
        where.setdefault(_path(line), index)
        starts.append(at)
        at += len(line)
    starts.append(at)
    text = bytearray()
    start = length = 0  # the copy that still grows
    follow = 0  # the old line that would come next
    for line in new:
        found = follow if follow < len(old) and old[follow] == line else where.get(line, -1)
        if found < 0 or old[found] != line:
            follow = where.get(_path(line), follow)
            pieces = _halves(old[follow], line, starts[follow]) if follow < len(old) else [(line, 0, 0)]
            follow += 1
        else:
            pieces = [(b"", starts[found], len(line))]
            follow = found + 1
        for before, from_, bytes_ in pieces:
            if length and (before or (bytes_ and from_ != start + length)):
                yield bytes(text), start, length
                text.clear()
                length = 0
            text += before
            if bytes_:
                start, length = (start, length + bytes_) if length else (from_, bytes_)
    if text or length:
        yield bytes(text), start, length


def _path(line: bytes) -> bytes:
    """What a changed line of a file is found by; a line that is no file's stands for itself."""
    return line.split(b" ", 4)[4] if line.startswith(b"f ") and line.count(b" ") >= 4 else line


def _halves(old: bytes, new: bytes, at: int) -> List[Tuple[bytes, int, int]]:
    """A changed line by what it shares with the old line at `at`: its beginning and its end."""
    front = len(os.path.commonprefix([old, new]))
    back = len(os.path.commonprefix([old[front:][::-1], new[front:][::-1]]))
    if front < WORTH:
        front = 0
    if back < WORTH:
        back = 0
    return [(b"", at, front), (new[front : len(new) - back], at + len(old) - back, back)]


def apply(old: Iterable[bytes], data: Iterable[bytes], sha256: str) -> Iterator[bytes]:
    """Lines of the manifest text with this digest (hex).

    `old` are the blocks or lines of the text that is held, `data` the blocks of the difference. The last line
    comes only after everything was found to be right. Raises DifferenceError, OSError.
    """
    with tempfile.TemporaryFile() as spool:
        have = hashlib.sha256()
        for block in old:
            have.update(block)
            spool.write(block)
        spool.flush()
        size = spool.tell()
        stream = _Stream(data)
        head = HEAD.fullmatch(stream.take(HEAD_BYTES))
        if head is None:
            raise DifferenceError("not a difference of a known format")
        if head[1].decode() != have.hexdigest():
            raise DifferenceError("the difference is to another manifest than the one held")
        if head[2].decode() != sha256:
            raise DifferenceError("the difference leads to another manifest than the wanted one")
        last = b""
        try:
            for line in lines_of(_checked(_blocks(stream, spool, size), sha256), MAX_LINE):
                if last:
                    yield last
                last = line
        except ValueError as e:
            raise DifferenceError(str(e)) from None
        if last:
            yield last


def _checked(blocks: Iterator[bytes], sha256: str) -> Iterator[bytes]:
    sha = hashlib.sha256()
    total = 0
    for block in blocks:
        sha.update(block)
        total += len(block)
        if total > MAX_TEXT:
            raise DifferenceError(f"the manifest is longer than {MAX_TEXT} bytes")
        yield block
    if sha.hexdigest() != sha256:
        raise DifferenceError("the difference gives another manifest than it says")


def _blocks(stream: _Stream, spool: IO[bytes], size: int) -> Iterator[bytes]:
    at = 0
    while not stream.ended():
        left = text = read_varint(stream.byte)
        while left:
            block = stream.take(min(left, BLOCK))
            left -= len(block)
            yield block
        at += read_signed(stream.byte)
        left = read_varint(stream.byte)
        if not (text or left):
            raise DifferenceError("a step of the difference does nothing")
        if not 0 <= at <= at + left <= size:
            raise DifferenceError("the difference copies what the old manifest does not have")
        while left:
            block = os.pread(spool.fileno(), min(left, BLOCK), at)
            at += len(block)
            left -= len(block)
            yield block


class _Stream:
    """Bounded reads from a zlib stream that comes in blocks."""

    def __init__(self, data: Iterable[bytes]) -> None:
        self._source = iter(data)
        self._packed = b""
        self._unpacker = zlib.decompressobj()
        self._ready = b""
        self._at = 0

    def _more(self) -> bool:
        """Whether there is something unread; reads on when there is not."""
        while self._at >= len(self._ready):
            if self._unpacker.eof:
                if self._unpacker.unused_data or self._packed or next(self._source, b""):
                    raise DifferenceError("something follows the difference")
                return False
            self._packed = self._packed or next(self._source, b"")
            try:
                self._ready, self._at = self._unpacker.decompress(self._packed, BLOCK), 0
            except zlib.error as e:
                raise DifferenceError(f"the difference is broken: {e}") from None
            if not (self._packed or self._ready or self._unpacker.eof):
                raise DifferenceError("the difference is cut off")
            self._packed = self._unpacker.unconsumed_tail
        return True

    def ended(self) -> bool:
        return not self._more()

    def take(self, count: int) -> bytes:
        parts = []
        while count:
            if not self._more():
                raise DifferenceError("the difference is cut off")
            part = self._ready[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def byte(self) -> int:
        if not self._more():
            raise DifferenceError("the difference is cut off")
        self._at += 1
        return self._ready[self._at - 1]
