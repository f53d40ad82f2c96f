"""Tar archives: plain, gzip, bzip2 and xz, with GNU and PAX sparse files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from cockpit.artifacts.tree import TreeError
from cockpit.artifacts.unpack import Unpacking

READ = 256 * 1024
MAX_HEADER = 1024 * 1024
"""No header may be longer: PAX records and long names are read at once."""
MAX_HEADERS = 2 * MAX_HEADER
"""Of one member together: its records, its long names and its map of holes."""
MAX_PADDING = 16 * 1024 * 1024
MAX_MEMORY = 128 * 1024 * 1024
"""Of the xz decoder: an archive may ask for gigabytes."""
RECORD = 512
HEAD = 1024 * 1024
"""Compressed bytes that surely hold the first record: bzip2 gives nothing before a block is whole."""
GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
SUFFIX = re.compile(r"\.(tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)


def is_tar(path: Path) -> bool:
    """A tar, or something compressed with a tar in it, by its content; or what is named like one."""
    if SUFFIX.search(path.name):
        return True
    head = _head(path)
    if len(head) < RECORD:
        return False
    if head[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")  # old tars have no magic but a sum
    except tarfile.HeaderError:
        return False
    return True


def _head(path: Path) -> bytes:
    """The first RECORD bytes, decompressed; fewer when there are none or the rest is broken."""
    with path.open("rb") as f:
        data = f.read(HEAD)
    try:
        if data.startswith(GZIP):
            return zlib.decompressobj(31).decompress(data, RECORD)
        if data.startswith(BZIP2):
            return bz2.BZ2Decompressor().decompress(data, RECORD)
        if data.startswith(XZ):
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY).decompress(data, RECORD)
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return b""
    return data[:RECORD]


def untar(path: Path, to: Unpacking) -> None:
    """Raises TreeError for a broken or hostile archive."""
    try:
        with _opened(path) as inner:
            bounded = _Bounded(inner)
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as tar:
                for member in tar:
                    cast(Any, tar).members.clear()  # not kept: two hundred thousand of them are much
                    if sum(map(len, tar.pax_headers.values())) > MAX_HEADER:
                        raise TreeError("headers of an absurd size")
                    _member(bounded, member, to)
                    bounded.left = MAX_HEADERS
                bounded.seek(tar.offset)
                if bounded.read(RECORD) != bytes(RECORD):  # tarfile takes half a header for the end
                    raise TreeError("the archive is broken: its end is missing")
                _drain(bounded)
    except TreeError as e:
        raise TreeError(f"{path.name}: {e}") from None
    except (tarfile.TarError, EOFError, OSError, ValueError, lzma.LZMAError, zlib.error, RecursionError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise TreeError(f"{path.name}: the archive is broken: {e}") from None
    to.finish()


def _drain(f: _Bounded) -> None:
    """Read on to the end of the compressed stream: only there is its check sum."""
    left = MAX_PADDING
    while block := f.data(READ):
        left -= len(block)
        if left < 0:
            raise TreeError(f"more than {MAX_PADDING} bytes follow the end of the archive")


def _opened(path: Path) -> IO[bytes]:
    raw = path.open("rb")
    head = raw.read(6)
    raw.seek(0)
    if head.startswith(GZIP):
        return _Owned(gzip.GzipFile(fileobj=raw), raw)
    if head.startswith(BZIP2):
        return _Owned(bz2.BZ2File(raw), raw)
    if head.startswith(XZ):
        return _Owned(_Xz(raw), raw)
    return raw


class _Owned(io.BufferedReader):
    """A decompressor that closes the file below it."""

    def __init__(self, inner: Any, raw: IO[bytes]) -> None:
        super().__init__(inner, READ)
        self._below = raw

    def close(self) -> None:
        super().close()
        self._below.close()


class _Xz(io.RawIOBase):
    """Reads xz with bounded memory, which `lzma.LZMAFile` cannot be told."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._decoder: lzma.LZMADecompressor | None = None
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Forward only, which is all that reading a tar in order needs; back to the start begins anew."""
        if whence == 1:
            offset += self._at
        elif whence == 2:
            raise io.UnsupportedOperation("an xz stream has no known end")
        if offset < self._at:
            self._raw.seek(0)
            self._decoder, self._at = None, 0
        while self._at < offset and self.read(min(READ, offset - self._at)):
            pass
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._some(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _some(self, size: int) -> bytes:
        while True:
            if self._decoder is None or self._decoder.eof:
                unused = self._decoder.unused_data if self._decoder else b""
                unused = (unused or self._raw.read(READ)).lstrip(b"\0")  # padding between streams
                if not unused:
                    return b""
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY)
                data = self._decoder.decompress(unused, size)
            else:
                fed = self._raw.read(READ) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not fed:
                    raise EOFError("the compressed stream ends early")
                data = self._decoder.decompress(fed, size)
            if data:
                return data


class _Bounded(io.RawIOBase):
    """A file for `tarfile`, which must not fill the memory with what forged headers ask for.

    It also never seeks back by the one byte that `tarfile` looks at again after each member: in a compressed
    stream that means to begin anew.
    """

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self._at = self._want = 0
        self._last = b""
        self.left = MAX_HEADERS
        """Bytes of headers that may still be read before the next member."""

    def read(self, size: int = -1) -> bytes:
        self.left -= size
        if size < 0 or size > MAX_HEADER or self.left < 0:
            raise TreeError("headers of an absurd size")
        return self.data(size)

    def data(self, size: int) -> bytes:
        """Content of a member: not a header."""
        if size == 1 and self._last and self._want == self._at - 1:
            self._want = self._at
            return self._last
        if self._want != self._at:
            self._inner.seek(self._want)
        data = self._inner.read(size)
        self._last = data[-1:]
        self._at = self._want = self._want + len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence:
            raise io.UnsupportedOperation("only from the beginning")
        self._want = offset
        return offset

    def tell(self) -> int:
        return self._want

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _member(f: _Bounded, member: tarfile.TarInfo, to: Unpacking) -> None:
    path = to.member(member.name)
    if not path:
        if member.isdir():
            return
        raise TreeError(f"a member named {member.name!r}")
    if member.isdir():
        to.directory(path)
    elif member.issym():
        to.link(path, member.linkname)
    elif member.islnk():
        to.hard_link(path, member.linkname)
    elif member.isreg():
        if member.mode & (stat.S_ISUID | stat.S_ISGID):
            raise TreeError(f"member {member.name!r} is setuid or setgid")
        to.reserve(member.name, member.size)
        to.file(path, member.size, _parts(f, member), bool(member.mode & 0o111))
    else:
        raise TreeError(f"member {member.name!r} is neither file, directory nor link")


def _parts(f: _Bounded, member: tarfile.TarInfo) -> Iterator[tuple[int, bytes]]:
    """(offset, data) of the file; of a sparse one only what the archive holds."""
    sparse = cast(Any, member).sparse
    stretches: list[tuple[int, int]] = [(0, member.size)] if sparse is None else sparse
    at = member.offset_data
    for offset, length in stretches:
        if offset < 0 or length < 0:
            raise TreeError(f"member {member.name!r} has an impossible map")
        while length:
            f.seek(at)
            block = f.data(min(READ, length))
            if not block:
                raise TreeError(f"the archive ends in the middle of {member.name!r}")
            yield offset, block
            at += len(block)
            offset += len(block)
            length -= len(block)
