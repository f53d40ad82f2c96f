"""Wheels and zip files."""

from __future__ import annotations

import errno
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from cockpit.artifacts.tree import TreeError
from cockpit.artifacts.unpack import Unpacking

READ = 256 * 1024
MAX_DIRECTORY = 32 * 1024 * 1024
"""Bytes of the table at a zip's end, which is read at once."""
MAX_TARGET = 4096
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
SUFFIX = re.compile(r"\.(zip|whl)$", re.IGNORECASE)
END = b"PK\x05\x06"


def is_zip(path: Path) -> bool:
    """By its first bytes (a program with a zip at its end, a zipapp, is a program), or named like one."""
    if SUFFIX.search(path.name):
        return True
    with path.open("rb") as f:
        return f.read(4) in (b"PK\x03\x04", END)


def unzip(path: Path, to: Unpacking) -> None:
    """Raises TreeError for a broken or hostile archive."""
    try:
        _check_table(path)
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _member(archive, info, to)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as e:
        if isinstance(e, TreeError):
            raise
        raise TreeError(f"{path.name}: the archive is broken: {e}") from None
    except OSError as e:
        if e.errno == errno.EINVAL:  # a place before the beginning of the file
            raise TreeError(f"{path.name}: the archive is broken: its table leads nowhere") from None
        raise
    to.finish()


def _check_table(path: Path) -> None:
    """The size of the table is looked at before `zipfile` reads it."""
    with path.open("rb") as f:
        size = f.seek(0, 2)
        f.seek(max(0, size - 65_600))
        tail = f.read()
    at = tail.rfind(END)
    if at < 0 or len(tail) < at + 22:
        raise TreeError(f"{path.name}: the archive is broken: its end is missing")
    table = int.from_bytes(tail[at + 12 : at + 16], "little")
    if table == 0xFFFFFFFF or table > MAX_DIRECTORY:
        raise TreeError(f"{path.name}: the archive has a table of an absurd size")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, to: Unpacking) -> None:
    name = info.filename
    path = to.member(name.removesuffix("/"))
    if info.flag_bits & 1:
        raise TreeError(f"member {name!r} is encrypted")
    if info.compress_type not in METHODS:
        raise TreeError(f"member {name!r} is compressed in an unusual way: stored or deflated is read")
    mode = info.external_attr >> 16
    if mode & (stat.S_ISUID | stat.S_ISGID):
        raise TreeError(f"member {name!r} is setuid or setgid")
    if info.is_dir():
        if path:
            to.directory(path)
    elif stat.S_ISLNK(mode):
        if info.file_size > MAX_TARGET:
            raise TreeError(f"link {name!r} has a target of an absurd length")
        to.link(path, b"".join(_read(archive, info)).decode())
    elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
        to.reserve(name, info.file_size)
        to.file(path, info.file_size, _parts(archive, info), bool(mode & 0o111))
    else:
        raise TreeError(f"member {name!r} is neither file, directory nor link")


def _parts(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[tuple[int, bytes]]:
    at = 0
    for block in _read(archive, info):
        yield at, block
        at += len(block)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content, never more than the table says (a bomb is found before it is unpacked)."""
    left = info.file_size
    with archive.open(info) as f:
        while block := f.read(READ):
            left -= len(block)
            if left < 0:
                raise TreeError(f"member {info.filename!r} is longer than it says")
            yield block
    if left:
        raise TreeError(f"the archive ends in the middle of {info.filename!r}")
