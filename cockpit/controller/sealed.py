"""Files under a passphrase: scrypt makes the key, AES-256-GCM seals frames of 64 KiB one after the other.

    magic (16 bytes), log2 of scrypt's n (1), salt (16), nonce prefix (7), frames of at most 64 KiB + 16

A frame's nonce is the prefix, its number (4 bytes) and 1 for the last one, so that frames cannot be moved, left out
or cut off at the end. The header is authenticated with each.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"COCKPIT-SEALED1\n"
FRAME = 64 * 1024
TAG = 16
LOG_N, LEAST_N, MOST_N = 17, 14, 20
SALT, PREFIX = 16, 7
HEADER = len(MAGIC) + 1 + SALT + PREFIX
MAX_FRAMES = 2**32 - 1


class WrongPassphrase(Exception):
    """The passphrase is not the right one, or the first bytes of the file were altered."""


class BrokenSeal(Exception):
    """Something in the file was altered, or its end is missing."""


def _cipher(passphrase: str, header: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    log_n, salt = header[len(MAGIC)], header[len(MAGIC) + 1 : len(MAGIC) + 1 + SALT]
    if not LEAST_N <= log_n <= MOST_N:
        raise BrokenSeal("its header makes no sense")
    key = Scrypt(salt=salt, length=32, n=1 << log_n, r=8, p=1).derive(passphrase.encode())
    return AESGCM(key)


class Sealer:
    """Write to it, then `finish`. The file under it stays open."""

    def __init__(self, out: IO[bytes], passphrase: str, log_n: int = LOG_N) -> None:
        self._out = out
        self._header = MAGIC + bytes([log_n]) + os.urandom(SALT + PREFIX)
        self._cipher = _cipher(passphrase, self._header)
        self._count = 0
        self._waiting = bytearray()
        out.write(self._header)

    def write(self, data: bytes) -> int:
        self._waiting += data
        while len(self._waiting) > FRAME:  # the last frame is known at the end only
            part = bytes(self._waiting[:FRAME])
            del self._waiting[:FRAME]
            self._put(part, False)
        return len(data)

    def finish(self) -> None:
        self._put(bytes(self._waiting), True)

    def _put(self, part: bytes, last: bool) -> None:
        nonce = _nonce(self._header, self._count, last)
        self._count += 1
        self._out.write(self._cipher.encrypt(nonce, part, self._header))


class Unsealer:
    """Read from it: only what was proven comes out. Raises WrongPassphrase, BrokenSeal."""

    def __init__(self, file: IO[bytes], passphrase: str) -> None:
        self._file = file
        self._header = file.read(HEADER)
        if len(self._header) != HEADER or not self._header.startswith(MAGIC):
            raise BrokenSeal("it is no sealed file")
        self._cipher = _cipher(passphrase, self._header)
        self._count = 0
        self._next = file.read(FRAME + TAG)
        self._ended = False
        self._clear = bytearray()

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._clear) < size):
            self._clear += self._open()
        size = len(self._clear) if size < 0 else size
        out = bytes(self._clear[:size])
        del self._clear[:size]
        return out

    def _open(self) -> bytes:
        from cryptography.exceptions import InvalidTag

        sealed, self._next = self._next, self._file.read(FRAME + TAG)
        last = not self._next
        if self._count > MAX_FRAMES:
            raise BrokenSeal("it is too long")
        try:
            nonce = _nonce(self._header, self._count, last)
            part = self._cipher.decrypt(nonce, sealed, self._header)
        except (InvalidTag, ValueError):
            if self._count == 0:
                raise WrongPassphrase("wrong passphrase, or the file was altered") from None
            raise BrokenSeal("it was altered, or its end is missing") from None
        self._count += 1
        self._ended = last
        return part


def _nonce(header: bytes, count: int, last: bool) -> bytes:
    return header[-PREFIX:] + count.to_bytes(4, "big") + bytes([last])
