"""Reproducible packing of a release: the same content gives the same bytes.

Entries are sorted by name; owner, time and everything of the mode but the executable bit are left
out. The bytes also depend on the zlib that compresses: digests are compared with what the store
holds, never with what a packing elsewhere would give.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

MAX_BYTES = 4 * 1024**3
"""Of all files of a release together, before compression."""
MAX_FILES = 200_000
COPY = 1024 * 1024


class PackError(ValueError):
    """The source cannot become a release; the message names the file and what is wrong with it."""


class _Hashing:
    """Counts and hashes what goes through to a file."""

    def __init__(self, out: IO[bytes]) -> None:
        self.out = out
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.out.write(data)

    def flush(self) -> None:
        self.out.flush()


def pack(
    source: Path, out: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
) -> dict[str, Any]:
    """Pack a directory, or a single file under its own name, as a gzip'ed tar at `out` (0600).

    Returns {sha256, size} of the archive and `files`, the number of files and links in it. `out`
    appears whole or not at all. Symbolic links are kept when they lead to something inside.
    Raises PackError for what a release must not hold, and OSError.
    """
    if source.is_dir() and out.parent.resolve().is_relative_to(source.resolve()):
        raise PackError(f"{out}: the archive would lie inside {source}, which it packs")
    entries = list(_entries(source, max_bytes, max_files))
    files = sum(1 for _, info in entries if not info.isdir())
    if not files:
        raise PackError(f"{source}: there is no file to pack")
    fd, temporary = tempfile.mkstemp(prefix=".pack-", dir=out.parent)
    try:
        with os.fdopen(fd, "wb") as raw:
            hashing = _Hashing(raw)
            with gzip.GzipFile("", "wb", 6, hashing, mtime=0) as zipped:
                with tarfile.open(mode="w", fileobj=zipped, format=tarfile.PAX_FORMAT) as tar:
                    for path, info in entries:
                        _add(tar, path, info)
            raw.flush()
            os.fsync(raw.fileno())
        Path(temporary).rename(out)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return {"sha256": hashing.digest.hexdigest(), "size": hashing.size, "files": files}


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file, read piece by piece."""
    sha = hashlib.sha256()
    with path.open("rb") as f:
        while piece := f.read(COPY):
            sha.update(piece)
    return sha.hexdigest()


def _entries(source: Path, max_bytes: int, max_files: int) -> Iterator[tuple[Path, tarfile.TarInfo]]:
    """Everything below `source` with its place in the archive, in the order of the archive."""
    total = 0
    root = source.resolve()
    for count, (path, name) in enumerate(_walk(source), 1):
        info = _info(path, name, root)
        total += info.size
        if total > max_bytes:
            raise PackError(f"{source}: more than {max_bytes} bytes, at {name}")
        if count > max_files:
            raise PackError(f"{source}: more than {max_files} files, at {name}")
        yield path, info


def _walk(source: Path) -> Iterator[tuple[Path, str]]:
    try:
        mode = source.stat().st_mode
    except OSError as e:
        raise PackError(f"{source}: {e.strerror}") from None
    if not stat.S_ISDIR(mode):
        yield source.resolve(), source.name
        return
    pending = [""]
    found: list[str] = []
    while pending:
        below = pending.pop()
        with os.scandir(source / below) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                found.append(name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
    for name in sorted(found, key=os.fsencode):
        yield source / name, name


def _info(path: Path, name: str, root: Path) -> tarfile.TarInfo:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PackError(f"{os.fsencode(name)!r}: the name is not UTF-8") from None
    info = tarfile.TarInfo(name)
    info.mtime = 0
    at = os.lstat(path)
    if stat.S_ISREG(at.st_mode):
        info.size = at.st_size
        info.mode = 0o755 if at.st_mode & 0o111 else 0o644
    elif stat.S_ISDIR(at.st_mode):
        info.type = tarfile.DIRTYPE
        info.mode = 0o755
    elif stat.S_ISLNK(at.st_mode):
        info.type = tarfile.SYMTYPE
        info.mode = 0o777
        info.linkname = _link(path, name, root)
    else:
        raise PackError(f"{name}: a {_kind(at.st_mode)} cannot be in a release")
    return info


def _link(path: Path, name: str, root: Path) -> str:
    """The target of a link that stays inside, by its words and by where it really leads."""
    target = str(path.readlink())
    words = os.path.normpath(f"{Path(name).parent}/{target}")
    if target.startswith("/") or words == ".." or words.startswith("../"):
        raise PackError(f"{name}: the link to {target} leads out of the release")
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a circle is a RuntimeError before 3.13
        raise PackError(f"{name}: the link to {target} leads nowhere") from None
    if not real.is_relative_to(root):
        raise PackError(f"{name}: the link to {target} leads out of the release, to {real}")
    return target


def _add(tar: tarfile.TarFile, path: Path, info: tarfile.TarInfo) -> None:
    if not info.isreg():
        tar.addfile(info)
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise PackError(f"{info.name}: {e.strerror}") from None
    with os.fdopen(fd, "rb") as f:
        at = os.fstat(fd)
        if not stat.S_ISREG(at.st_mode) or at.st_size != info.size:
            raise PackError(f"{info.name}: it changed while it was packed")
        try:
            tar.addfile(info, f)
        except OSError as e:
            if "unexpected end of data" in str(e):
                raise PackError(f"{info.name}: it changed while it was packed") from None
            raise


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFSOCK: "socket", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "file of unknown kind")
