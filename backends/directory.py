"""Objects in a directory (0700, files 0600): the embedded default of the artifact store."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from cockpit.ports import Object

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*")
LONGEST = 512


def open_objects(location: str, local: Path) -> DirectoryObjects:
    """`location` is a directory; empty: `local` itself. Raises OSError."""
    return DirectoryObjects(Path(location) if location else local)


class DirectoryObjects:
    """Implements `cockpit.ports.ObjectStore`: a key is a path below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put_once(self, key: str, content: Path | bytes) -> bool:
        path = self._path(key)
        if path.exists():
            return False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.parent / f".new-{secrets.token_hex(8)}"
        try:
            _write(temporary, content)
            _sync(temporary)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            _sync(path.parent)
            return True
        finally:
            temporary.unlink(missing_ok=True)

    def get(self, key: str, limit: int) -> bytes:
        with self._path(key).open("rb") as f:
            data = f.read(limit + 1)
        if len(data) > limit:
            raise OSError(f"{self._path(key)}: more than {limit} bytes")
        return data

    def file(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
        return path

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> Iterator[Object]:
        found = []
        for directory, inner, names in os.walk(self.root):
            inner[:] = [d for d in inner if not d.startswith(".")]
            at = Path(directory)
            for name in names:
                key = (at / name).relative_to(self.root).as_posix()
                if key.startswith(prefix) and KEY.fullmatch(key):
                    with contextlib.suppress(FileNotFoundError):  # deleted just now
                        facts = (at / name).stat()
                        found.append(Object(key, facts.st_size, facts.st_mtime))
        yield from sorted(found)

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if len(key) > LONGEST or not KEY.fullmatch(key):
            raise OSError(f"{key[:80]!r} cannot be the name of an object")
        return self.root / key


def _write(path: Path, content: Path | bytes) -> None:
    """A new file. One that lies on the same file system is taken itself instead of a copy."""
    if isinstance(content, Path):
        with contextlib.suppress(OSError):
            os.link(content, path)
            path.chmod(0o600)
            return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        if isinstance(content, bytes):
            out.write(content)
        else:
            with content.open("rb") as f:
                shutil.copyfileobj(f, out, 1024 * 1024)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
