"""Pieces of one swarm on their way through a host, as they came: DIR/pieces and DIR/index, both 0600.

`pieces` holds encoded pieces one after the other, `index` one record for each, appended when the piece is
there. Nothing is synced: what a killed process left is read again and every chunk of it verified.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
from array import array
from typing import Callable, List, Optional, Tuple

from cockpit.swarm.content import SLACK, Readable

RECORD = struct.Struct(">IBIQ")  # piece, encoding, length, offset
LONGEST = 1024 * 1024 + SLACK
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Full(OSError):
    """The disk is full; what was kept before is whole."""


class Spool:
    """`sizes` are decoded bytes per piece. Raises OSError when the directory cannot be used."""

    def __init__(self, directory: str, sizes: "array[int]") -> None:
        self.directory = directory
        self.sizes = sizes
        self.bytes = 0
        """Encoded bytes kept."""
        self._encodings = bytearray(len(sizes))
        self._lengths = array("I", bytes(4 * len(sizes)))  # 0: not here
        self._offsets = array("Q", bytes(8 * len(sizes)))
        os.makedirs(directory, 0o700, exist_ok=True)
        self._pieces = _open(os.path.join(directory, "pieces"))
        try:
            self._index = _open(os.path.join(directory, "index"))
        except BaseException:
            os.close(self._pieces)
            raise
        self._end = os.fstat(self._pieces).st_size

    def __contains__(self, piece: int) -> bool:
        return self._lengths[piece] != 0

    def resume(self, good: Callable[[int, int, bytes], bool]) -> int:
        """Take up what an earlier process left: the mask of pieces that `good(piece, encoding, data)` accepts.

        Reads everything: call it in a thread. The index is written anew when some of it is of no use.
        """
        size = os.fstat(self._index).st_size
        kept: List[bytes] = []
        mask, dropped, at = 0, size % RECORD.size != 0, 0
        while at + RECORD.size <= size:
            record = os.pread(self._index, RECORD.size, at)
            at += RECORD.size
            piece, encoding, length, offset = RECORD.unpack(record)
            fits = piece < len(self.sizes) and 0 < length <= LONGEST and offset + length <= self._end
            if not fits or mask >> piece & 1 or not good(piece, encoding, os.pread(self._pieces, length, offset)):
                dropped = True
                continue
            mask |= 1 << piece
            self._note(piece, encoding, length, offset)
            kept.append(record)
        if dropped:
            os.ftruncate(self._index, 0)
            _write(self._index, b"".join(kept), 0)
        return mask

    def add(self, piece: int, encoding: int, data: bytes) -> None:
        """Keep a verified piece; a second time does nothing. Raises Full, OSError."""
        if piece in self:
            return
        offset = self._end
        try:
            _write(self._pieces, data, offset)
            record = RECORD.pack(piece, encoding, len(data), offset)
            _write(self._index, record, os.fstat(self._index).st_size)
        except OSError as error:
            self._cut(offset)
            if error.errno in FULL:
                raise Full(error.errno, f"no room for pieces in {self.directory}") from None
            raise
        self._end = offset + len(data)
        self._note(piece, encoding, len(data), offset)

    def open(self, piece: int) -> Optional[Readable]:
        """For sending it slice by slice; None when it is not here."""
        total, start, fd = self._lengths[piece], self._offsets[piece], self._pieces
        if not total or fd < 0:
            return None
        return Readable(self._encodings[piece], total, lambda offset, length: os.pread(fd, length, start + offset))

    def read(self, piece: int) -> Tuple[int, bytes]:
        """(encoding, encoded bytes). Raises KeyError when it is not here, OSError."""
        length = self._lengths[piece]
        if not length:
            raise KeyError(piece)
        data = os.pread(self._pieces, length, self._offsets[piece])
        if len(data) != length:
            raise OSError(errno.EIO, f"{self.directory}/pieces has been cut short")
        return self._encodings[piece], data

    def close(self) -> None:
        if self._pieces >= 0:
            os.close(self._pieces)
            os.close(self._index)
            self._pieces = self._index = -1

    def remove(self) -> None:
        """Close it and delete its directory with all that is in it."""
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _note(self, piece: int, encoding: int, length: int, offset: int) -> None:
        self._encodings[piece] = encoding
        self._lengths[piece] = length
        self._offsets[piece] = offset
        self.bytes += length

    def _cut(self, offset: int) -> None:
        """Give the room of a half written piece back."""
        try:
            os.ftruncate(self._pieces, offset)
            size = os.fstat(self._index).st_size
            os.ftruncate(self._index, size - size % RECORD.size)
        except OSError:
            pass


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count
