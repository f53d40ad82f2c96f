"""Writing the members of an archive below one directory, and nowhere else, within limits."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable
from pathlib import Path

from cockpit.artifacts.tree import TreeError


class Unpacking:
    """One archive that is being unpacked into the empty directory `root`.

    Every method raises TreeError for a member that is absolute, climbs, passes through a link or a file,
    comes twice, or is too large or one too many.
    """

    def __init__(self, root: Path, max_bytes: int, max_entries: int) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.total = 0
        """Apparent size of all files so far: a hole counts as if it were written."""
        self.count = 0
        self._links: list[tuple[str, str]] = []

    def member(self, name: str) -> str:
        """The path of a member inside the tree; empty for the root itself."""
        self.count += 1
        if self.count > self.max_entries:
            raise TreeError(f"the archive has more than {self.max_entries} members")
        path = _inside(name, name)
        if ".." in name.split("/"):
            raise TreeError(f"member {name!r} climbs with `..`")
        return path

    def reserve(self, name: str, size: int) -> None:
        """A file of this apparent size comes next."""
        if size < 0:
            raise TreeError(f"member {name!r} has an impossible size")
        self.total += size
        if self.total > self.max_bytes:
            raise TreeError(f"member {name!r}: the archive unpacks to more than {self.max_bytes} bytes")

    def directory(self, path: str) -> None:
        self._parents(path)
        full = self.root / path
        try:
            full.mkdir(0o755)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(full).st_mode):
                raise TreeError(f"member {path!r} is there twice") from None

    def file(self, path: str, size: int, parts: Iterable[tuple[int, bytes]], executable: bool) -> None:
        """Write (offset, data) parts; what no part covers stays a hole."""
        self._parents(path)
        self._fresh(path)
        fd = os.open(self.root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as out:
            for offset, data in parts:
                if offset < 0 or offset + len(data) > size:
                    raise TreeError(f"member {path!r} is longer than it says")
                os.lseek(fd, offset, os.SEEK_SET)
                view = memoryview(data)
                while view:
                    view = view[out.write(view) or 0 :]
            out.truncate(size)
            os.fchmod(fd, 0o755 if executable else 0o644)

    def link(self, path: str, target: str) -> None:
        if target.startswith("/") or "\0" in target:
            raise TreeError(f"link {path!r} to {target!r} leaves the artifact")
        _inside(posixpath.join(posixpath.dirname(path), target), path)
        self._parents(path)
        self._fresh(path)
        os.symlink(target, self.root / path)  # noqa: PTH211 - a Path would tidy the words
        self._links.append((path, target))

    def hard_link(self, path: str, target: str) -> None:
        source = self.root / _inside(target, path)
        self._parents(os.path.relpath(source, self.root))
        if not source.exists() or not stat.S_ISREG(os.lstat(source).st_mode):
            raise TreeError(f"hard link {path!r} has no file to point to")
        self.reserve(path, source.stat().st_size)
        self._parents(path)
        self._fresh(path)
        os.link(source, self.root / path)

    def finish(self) -> None:
        """Once everything is there: chains of links, too, must stay inside."""
        root = self.root.resolve()
        for path, target in self._links:
            try:
                inside = ((self.root / path).parent / target).resolve().is_relative_to(root)
            except (OSError, RuntimeError):  # a circle is a RuntimeError before 3.13
                raise TreeError(f"link {path!r} to {target!r} leads nowhere") from None
            if not inside:
                raise TreeError(f"link {path!r} to {target!r} leaves the artifact")

    def _parents(self, path: str) -> None:
        """Make the directories above `path`; none of them may be a link."""
        full = self.root
        for part in path.split("/")[:-1]:
            full = full / part
            try:
                mode = os.lstat(full).st_mode
            except FileNotFoundError:
                full.mkdir(0o755)
                continue
            if not stat.S_ISDIR(mode):
                raise TreeError(f"member {path!r} passes through a link or a file")

    def _fresh(self, path: str) -> None:
        if not path:
            raise TreeError("the archive has a member without a name")
        if os.path.lexists(self.root / path):
            raise TreeError(f"member {path!r} is there twice")


def _inside(name: str, member: str) -> str:
    """The normal form of a path; empty for the root."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise TreeError(f"member {os.fsencode(name)!r}: the name is not UTF-8") from None
    if "\0" in name or name.startswith("/"):
        raise TreeError(f"member {member!r} leaves the artifact")
    path = posixpath.normpath(name)
    if path == ".." or path.startswith("../"):
        raise TreeError(f"member {member!r} leaves the artifact")
    return "" if path == "." else path
