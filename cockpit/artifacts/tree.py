"""What is in a directory that shall become an artifact, in the order of a manifest; and the holes of its files.

Of the modes only the executable bit counts; owner and times do not. A hole is found by content, not by how
the file system happens to keep it: a run of zeros from one multiple of 4 KiB to another (or to the end of
the file), at least 64 KiB long. So a copy that was written out has the same manifest as the sparse file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cockpit.swarm.manifest import MAX_ENTRIES, MAX_PATH, MAX_TOTAL

BLOCK = 4096
HOLE = 64 * 1024
READ = 1024 * 1024
ZEROS = bytes(READ)


class TreeError(ValueError):
    """The source cannot become an artifact; the message names the file and what is wrong with it."""


class Item(NamedTuple):
    """`kind` is d, f or l as in the manifest; `size` counts holes; `target` is a link's."""

    path: str
    kind: str
    mode: int = 0o755
    size: int = 0
    target: str = ""


def scan(root: Path, *, max_bytes: int = MAX_TOTAL, max_entries: int = MAX_ENTRIES) -> list[Item]:
    """Everything below the directory `root`. Links are kept when they lead to something inside.

    Raises TreeError for what an artifact must not hold, and OSError.
    """
    real = root.resolve()
    items = []
    total = 0
    for name in _names(root, max_entries):
        item = _item(root / name, name, real)
        total += item.size
        if total > max_bytes:
            raise TreeError(f"{name}: more than {max_bytes} bytes of files together")
        items.append(item)
    if all(item.kind == "d" for item in items):
        raise TreeError(f"{root}: there is no file in it")
    return items


def _names(root: Path, limit: int) -> list[str]:
    found: list[str] = []
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(root / below) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                found.append(name)
                if len(found) > limit:
                    raise TreeError(f"{root}: more than {limit} files, links and directories")
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
    return sorted(found, key=os.fsencode)


def _item(path: Path, name: str, root: Path) -> Item:
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        raise TreeError(f"{os.fsencode(name)!r}: the name is not UTF-8") from None
    if len(raw) > MAX_PATH:
        raise TreeError(f"{name[:80]}...: the path is longer than {MAX_PATH} bytes")
    at = os.lstat(path)
    if stat.S_ISREG(at.st_mode):
        if at.st_mode & (stat.S_ISUID | stat.S_ISGID):
            raise TreeError(f"{name}: a setuid or setgid file cannot be in an artifact")
        return Item(name, "f", 0o755 if at.st_mode & 0o111 else 0o644, at.st_size)
    if stat.S_ISDIR(at.st_mode):
        return Item(name, "d")
    if stat.S_ISLNK(at.st_mode):
        return Item(name, "l", target=_link(path, name, root))
    raise TreeError(f"{name}: a {kind_of(at.st_mode)} cannot be in an artifact")


def _link(path: Path, name: str, root: Path) -> str:
    """The target of a link that stays inside, by its words and by where it really leads."""
    target = os.readlink(path)  # noqa: PTH115 - a Path would tidy the words
    words = os.path.normpath(f"{Path(name).parent}/{target}")
    if target.startswith("/") or words == ".." or words.startswith("../"):
        raise TreeError(f"{name}: the link to {target} leads out of the artifact")
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # a circle is a RuntimeError before 3.13
        raise TreeError(f"{name}: the link to {target} leads nowhere") from None
    if not real.is_relative_to(root):
        raise TreeError(f"{name}: the link to {target} leads out of the artifact, to {real}")
    return target


def kind_of(mode: int) -> str:
    kinds = {
        stat.S_IFSOCK: "socket", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "file of unknown kind")


def open_file(root: Path, item: Item) -> int:
    """Descriptor of an item's file. Raises TreeError when it is no longer what `scan` saw."""
    try:
        fd = os.open(root / item.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise TreeError(f"{item.path}: {e.strerror}") from None
    at = os.fstat(fd)
    if not stat.S_ISREG(at.st_mode) or at.st_size != item.size:
        os.close(fd)
        raise changed(item.path)
    return fd


def changed(path: str) -> TreeError:
    return TreeError(f"{path}: it changed while it was added")


class Extent(NamedTuple):
    """A stretch of a file: `hole`, or data."""

    offset: int
    length: int
    hole: bool


def extents(fd: int, size: int) -> Iterator[Extent]:
    """The file's data and holes in order. Where the file system knows of nothing, nothing is read."""
    data = 0
    zeros = -1
    """Where the run of zeros began that is still going on; -1: none is."""
    at = 0
    while at < size:
        after = _nothing(fd, at, size)
        if after > at:
            zeros = at if zeros < 0 else zeros
            at = after
            continue
        block = os.pread(fd, min(READ, size - at), at)
        if not block:
            return  # it became shorter: the sizes will not match
        for step in range(0, len(block), BLOCK):
            if _is_zero(block, step):
                zeros = at + step if zeros < 0 else zeros
            elif zeros >= 0:
                if at + step - zeros >= HOLE:
                    if zeros > data:
                        yield Extent(data, zeros - data, False)
                    yield Extent(zeros, at + step - zeros, True)
                    data = at + step
                zeros = -1
        at += len(block)
    if zeros >= 0 and size - zeros >= HOLE:
        if zeros > data:
            yield Extent(data, zeros - data, False)
        yield Extent(zeros, size - zeros, True)
    elif size > data:
        yield Extent(data, size - data, False)


def _is_zero(block: bytes, at: int) -> bool:
    piece = block[at : at + BLOCK]
    return piece == ZEROS[: len(piece)]


def _nothing(fd: int, at: int, size: int) -> int:
    """The end of the file system's hole at `at`, down to a whole block; `at` when there is data."""
    if at % BLOCK:
        return at
    try:
        data = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as e:
        return size if e.errno == errno.ENXIO else at
    return size if data >= size else data - data % BLOCK
