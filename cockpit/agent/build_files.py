"""Files of a build: inputs out of an archive into its directory, outputs from there into another one."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zlib
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

from cockpit.agent.tasks import CommandError

READ = 256 * 1024
MAX_ENTRIES = 200_000
MAX_INPUT_BYTES = 4 * 1024 * 1024 * 1024

Check = Callable[[], None]
"""Called between blocks; raises when the build was stopped."""


def extract(archive: str, root: str, check: Check, *, most: int = MAX_INPUT_BYTES) -> None:
    """Regular files and directories of a gzipped tar, into an empty directory and nowhere else.

    Raises CommandError for anything else in it, OSError.
    """
    count = total = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # not kept: there may be very many
                count += 1
                total += max(0, member.size)
                path = _inside(root, member.name)
                if count > MAX_ENTRIES or total > most:
                    raise CommandError("bad", f"the inputs are more than {MAX_ENTRIES} files or {most} bytes")
                if member.isdir():
                    _directory(path, member.name)
                elif member.isreg() and not member.issparse():
                    _directory(os.path.dirname(path), member.name)
                    _file(tar, member, path, check)
                else:
                    raise CommandError("bad", f"input {member.name!r:.200} is neither a file nor a directory")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, FileExistsError, NotADirectoryError) as e:
        raise CommandError("bad", f"the inputs cannot be unpacked: {e}") from None


def _inside(root: str, name: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or "\0" in name or any(p in ("", ".", "..") for p in parts):
        raise CommandError("bad", f"input {name!r:.200} is not a plain relative path")
    return os.path.join(root, *parts)


def _directory(path: str, name: str) -> None:
    """Nothing but directories and files is ever made here, so no link can be on the way."""
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except OSError as e:
        raise CommandError("bad", f"input {name!r:.200}: {e.strerror}") from None


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, check: Check) -> None:
    source = tar.extractfile(member)
    assert source is not None
    mode = 0o755 if member.mode & 0o111 else 0o644
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with open(fd, "wb") as out:
        left = member.size
        while left:
            check()
            block = source.read(min(READ, left))
            if not block:
                raise EOFError("it ends early")
            out.write(block)
            left -= len(block)
        os.fchmod(fd, mode)


def collect(root: str, outputs: Sequence[str], archive: str, check: Check, *, most: int) -> None:
    """Write the outputs as a gzipped tar. One directory alone: its content; else all under their names.

    Links are kept as links. Raises CommandError: `missing` for an output that is not there, `limit` for more
    than `most` bytes, `bad` for what is neither file, directory nor link; OSError.
    """
    found: Dict[str, str] = {}
    for name in outputs:
        path = root if name == "." else _inside(root, name)
        _no_links_before(root, path, name)
        if not os.path.lexists(path):
            raise CommandError("missing", f"the run made no {name!r:.200}, which is one of its outputs")
        alone = len(outputs) == 1 and os.path.isdir(path) and not os.path.islink(path)
        for each in _below(path):
            found[os.path.relpath(each, path if alone else root)] = each
    if all(os.path.isdir(path) and not os.path.islink(path) for path in found.values()):
        raise CommandError("missing", f"there is no file in the outputs ({', '.join(outputs):.200})")
    _check_sizes(found, most)
    with open(archive, "xb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for name in sorted(found, key=lambda n: n.split("/")):
                if name != ".":
                    _add(tar, name, found[name], check)
    if os.path.getsize(archive) > most:
        raise CommandError("limit", f"the outputs are more than {most} bytes")


def _no_links_before(root: str, path: str, name: str) -> None:
    at = os.path.dirname(path)
    while len(at) > len(root):
        if os.path.islink(at):
            raise CommandError("bad", f"output {name!r:.200} is behind a link")
        at = os.path.dirname(at)


def _below(path: str) -> Iterator[str]:
    yield path
    if os.path.isdir(path) and not os.path.islink(path):
        for directory, names, plain in os.walk(path, onerror=_raise):
            for name in names + plain:
                yield os.path.join(directory, name)


def _raise(e: OSError) -> None:
    raise e


def _check_sizes(found: Dict[str, str], most: int) -> None:
    total = 0
    if len(found) > MAX_ENTRIES:
        raise CommandError("limit", f"the outputs are more than {MAX_ENTRIES} files")
    for name, path in found.items():
        at = os.lstat(path)
        total += at.st_size if stat.S_ISREG(at.st_mode) else 0
        if total > most:
            raise CommandError("limit", f"the outputs are more than {most} bytes (at {name!r:.200})")
        if not (stat.S_ISREG(at.st_mode) or stat.S_ISDIR(at.st_mode) or stat.S_ISLNK(at.st_mode)):
            raise CommandError("bad", f"output {name!r:.200} is neither a file, a directory nor a link")


def _add(tar: tarfile.TarFile, name: str, path: str, check: Check) -> None:
    at = os.lstat(path)
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if at.st_mode & 0o111 else 0o644
    if stat.S_ISDIR(at.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    elif stat.S_ISLNK(at.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        tar.addfile(info)
    else:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as f:
            info.size = os.fstat(fd).st_size
            tar.addfile(info, _Checked(f, check))


class _Checked:
    """A file whose reading can be stopped."""

    def __init__(self, f: object, check: Check) -> None:
        self._f = f
        self._check = check

    def read(self, size: int = -1) -> bytes:
        self._check()
        data: bytes = self._f.read(size)  # type: ignore[attr-defined]
        return data


def forget(path: str) -> None:
    """Remove a directory tree, also where a program took away its own permissions."""
    pending: List[str] = [path]
    order: List[Tuple[str, List[str]]] = []
    while pending:
        at = pending.pop()
        try:
            os.chmod(at, 0o700)
            entries = list(os.scandir(at))
        except OSError:
            continue
        order.append((at, [e.path for e in entries if not e.is_dir(follow_symlinks=False)]))
        pending += [e.path for e in entries if e.is_dir(follow_symlinks=False)]
    for at, plain in reversed(order):
        for each in plain:
            _quietly(os.unlink, each)
        _quietly(os.rmdir, at)


def _quietly(work: Callable[[str], None], path: str) -> None:
    try:
        work(path)
    except OSError:
        pass
