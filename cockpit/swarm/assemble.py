"""Installing a release from its manifest, from what the host holds and what it fetched.

Everything is made in DIR/releases/NAME/.VERSION.xxx, verified, synced, and renamed once; the records beside
the release are written around that, .VERSION.json last, which is what makes it installed. A crash leaves a
directory that `clean` removes, or one that is not installed and is replaced.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Optional

from cockpit.swarm import copying, records
from cockpit.swarm.holdings import Holdings
from cockpit.swarm.manifest import Entry, Manifest, split_extents, text
from cockpit.swarm.patching import Patch, PatchError, content_size

BLOCK = 256 * 1024
RESERVE = 64 * 1024 * 1024
"""Bytes of a file system that an installation leaves free."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Spool = Callable[[int], Optional[bytes]]
"""Content of a chunk (by its index in the manifest) that was fetched, or None."""


class AssembleError(Exception):
    """`code`: bad, digest, exists, missing or space, as `fetch` answers. `chunks`: the indices that are false or
    not there, when it is about some."""

    def __init__(self, code: str, text: str, chunks: Optional[List[int]] = None) -> None:
        super().__init__(text)
        self.code = code
        self.chunks = chunks or []


def nothing(index: int) -> Optional[bytes]:
    """The spool of who fetched nothing."""
    return None


def installed(host_dir: str, name: str, version: str) -> str:
    """The manifest's SHA-256 of an installed release; empty when it is not installed."""
    try:
        found = records.sha256_of(records.facts_path(host_dir, name, version))
    except OSError:
        return ""
    return found if os.path.isdir(records.release_path(host_dir, name, version)) else ""


def check_room(host_dir: str, bytes_: int) -> None:
    """Raises AssembleError `space` when so many bytes more cannot lie under the host directory."""
    s = os.statvfs(host_dir)
    free = s.f_bavail * s.f_frsize
    if free < bytes_ + RESERVE:
        raise AssembleError(
            "space", f"{host_dir} has {free} bytes free; {bytes_} are needed, and {RESERVE} stay free"
        )


def room_for(manifest: Manifest) -> int:
    """Bytes that the files of a release take at most: holes do not count, a block for each entry does."""
    data = sum(content_size(e, manifest.chunks) for e in manifest.entries)
    return data + 4096 * len(manifest.entries)


def clean(host_dir: str) -> int:
    """Remove what crashed installations left: directories that nobody holds, records without a release; how many.

    What cannot be removed stays.
    """
    removed = 0
    root = os.path.join(host_dir, "releases")
    for name in _names(root):
        parent = os.path.join(root, name)
        try:
            with _locked(parent):
                for left in _names(parent):
                    removed += left.startswith(".") and _cleaned(parent, left)
        except OSError:
            continue
    return removed


def _cleaned(parent: str, left: str) -> bool:
    full = os.path.join(parent, left)
    version, dot, suffix = left[1:].rpartition(".")
    if not os.path.isdir(full) or os.path.islink(full):
        if f"{dot}{suffix}" not in (".json", ".manifest") or os.path.isdir(os.path.join(parent, version)):
            return False
        _unlink(full)
        return True
    fd = os.open(full, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(full, ignore_errors=True)
    except BlockingIOError:
        return False  # somebody is at it
    finally:
        os.close(fd)
    return True


def install(
    host_dir: str, manifest: Manifest, holdings: Holdings, spool: Spool = nothing, patch: Optional[Patch] = None,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Install a release; the bytes of its files. 0 when it was there already.

    `progress` is told the bytes done, after each file. Raises AssembleError, and PatchError when a patch was given
    and it, or what it starts from, is not right: try again without. Not for an event loop. Of several callers
    at once for a version, the first one wins and the others find it there.
    """
    name, version = manifest.name, manifest.version
    if _is_there(host_dir, manifest):
        return 0
    parent = os.path.join(host_dir, "releases", name)
    try:
        _make_dir(os.path.join(host_dir, "releases"))
        _make_dir(parent)
        with _locked(parent):
            new = tempfile.mkdtemp(prefix=f".{version}.", dir=parent)
            lock = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)  # `clean` leaves it alone
    except OSError as e:
        raise _of_the_system(e, parent) from None
    try:
        os.chmod(new, 0o755)
        _Filler(new, manifest, holdings, spool, patch).fill(progress)
        _sync(new, manifest)
        return manifest.size if _commit(host_dir, new, manifest) else 0
    except UnicodeError as e:
        raise AssembleError("bad", f"a path that this host cannot write: {e}") from None
    except OSError as e:
        raise _of_the_system(e, new) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        os.close(lock)


def write_file(manifest: Manifest, entry: Entry, spool: Spool, path: str) -> None:
    """Make one file of an artifact at `path` (new, 0600), from what was fetched alone: a patch, for instance.

    Raises AssembleError.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, entry.size)
            _Filler(os.path.dirname(path), manifest, None, spool, None).from_chunks(entry, fd)
        finally:
            os.close(fd)
    except OSError as e:
        _unlink(path)
        raise _of_the_system(e, path) from None
    except BaseException:
        _unlink(path)
        raise


class _Filler:
    """Writes the entries of a manifest into an empty directory."""

    def __init__(
        self, root: str, manifest: Manifest, holdings: Optional[Holdings], spool: Spool, patch: Optional[Patch]
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.holdings = holdings
        self.spool = spool
        self.patch = patch

    def fill(self, progress: Callable[[int], None]) -> None:
        done = 0
        for entry in self.manifest.entries:
            full = os.path.join(self.root, entry.path)
            if entry.kind == "d":
                os.mkdir(full)
                os.chmod(full, 0o755)
            elif entry.kind == "f":
                if not self._linked(entry, full):
                    self._write(entry, full)
                done += entry.size
                progress(done)
        for entry in self.manifest.entries:  # once everything is written, so that nothing is written through one
            if entry.kind == "l":
                os.symlink(entry.target, os.path.join(self.root, entry.path))
        if self.patch:
            self.patch.finish()

    def _linked(self, entry: Entry, full: str) -> bool:
        """A data file that another version has becomes a second name of it. Never so for releases: a new link changes
        the file's ctime, which the keeper compares."""
        if self.manifest.kind != "data" or self.holdings is None or not entry.size:
            return False
        found = self.holdings.find_file(entry.sha256)
        if found is None or found[1] != entry.mode:
            return False
        try:
            os.link(self.holdings.path(found[0]), full, follow_symlinks=False)
        except OSError:
            return False
        fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            s = os.fstat(fd)
            if (
                stat.S_ISREG(s.st_mode) and s.st_size == entry.size and s.st_mode & 0o7777 == entry.mode
                and _digest(fd) == entry.sha256
            ):  # fmt: skip
                return True
        finally:
            os.close(fd)
        os.unlink(full)
        return False

    def _write(self, entry: Entry, full: str) -> None:
        fd = os.open(full, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, entry.size)
            if self.patch is not None and entry.extents:
                self._from_patch(self.patch, entry, fd)
            elif not self._whole(entry, fd):
                self.from_chunks(entry, fd)
            os.fchmod(fd, entry.mode)
        finally:
            os.close(fd)

    def _from_patch(self, patch: Patch, entry: Entry, fd: int) -> None:
        same = patch.old.get(entry.sha256)
        if same is None:
            patch.write(entry, fd)
            return
        try:
            source = _open(os.path.join(patch.root, same))
            try:
                self._copied(entry, source, fd)
            finally:
                os.close(source)
        except (copying.Short, FileNotFoundError):
            pass  # the digest says it
        if _digest(fd) != entry.sha256:
            raise PatchError(f"{same} of the old version has other content than was installed")

    def _whole(self, entry: Entry, fd: int) -> bool:
        """Copy the same file of another version; whether that was its content."""
        if self.holdings is None:
            return False
        found = self.holdings.find_file(entry.sha256)
        if found is None:
            return False
        try:
            source = self.holdings.open(found[0])
        except OSError:
            return False
        try:
            self._copied(entry, source, fd)
        except copying.Short:
            pass
        if _digest(fd) == entry.sha256:
            return True
        os.ftruncate(fd, 0)
        os.ftruncate(fd, entry.size)
        return False

    def _copied(self, entry: Entry, source: int, fd: int) -> None:
        start = end = 0
        for chunk, at, length in split_extents(entry, self.manifest.chunks):
            if chunk < 0:
                copying.copy(source, start, fd, start, end - start)
                start = at + length
            end = at + length
        copying.copy(source, start, fd, start, end - start)

    def from_chunks(self, entry: Entry, fd: int) -> None:
        """Each chunk from the fetched ones or from other versions, neighbours there together."""
        run = (-1, 0, 0, 0)  # number of a file, offset in it, offset in the new file, bytes
        absent = False
        for chunk, at, length in split_extents(entry, self.manifest.chunks):
            if chunk < 0:
                continue
            found = self.holdings.find(self.manifest.chunks.digest(chunk)) if self.holdings else None
            if found and run[0] == found[0] and run[1] + run[3] == found[1] and run[2] + run[3] == at:
                run = (*run[:3], run[3] + length)
                continue
            self._copy_run(run, fd)
            run = (-1, 0, 0, 0)
            if found:
                run = (*found, at, length)
            else:
                data = self.spool(chunk)
                if data is not None and len(data) == length:
                    _write_at(fd, data, at)
                else:
                    absent = True
        self._copy_run(run, fd)
        if absent or _digest(fd) != entry.sha256:
            self._repair(entry, fd)

    def _copy_run(self, run: Any, fd: int) -> None:
        file, at, to, length = run
        if file < 0 or self.holdings is None:
            return
        try:
            source = self.holdings.open(file)
        except OSError:
            return  # the digest says it
        try:
            copying.copy(source, at, fd, to, length)
        except copying.Short:
            pass

    def _repair(self, entry: Entry, fd: int) -> None:
        """Look at each chunk: what is false may be had from the fetched ones, or is named."""
        chunks = self.manifest.chunks
        wrong: List[int] = []
        absent = False
        for chunk, at, length in split_extents(entry, chunks):
            if chunk < 0 or hashlib.sha256(os.pread(fd, length, at)).digest() == chunks.digest(chunk):
                continue
            data = self.spool(chunk)
            if data is not None and hashlib.sha256(data).digest() == chunks.digest(chunk):
                _write_at(fd, data, at)
            else:
                wrong.append(chunk)
                absent = absent or data is None
        if wrong:
            code, what = ("missing", "are not here") if absent else ("digest", "have other content than they should")
            raise AssembleError(code, f"{entry.path}: {len(wrong)} chunks {what}", sorted(set(wrong)))
        if _digest(fd) != entry.sha256:
            raise AssembleError("bad", f"{entry.path}: its chunks do not make the file that the manifest says")


def _digest(fd: int) -> bytes:
    sha = hashlib.sha256()
    at = 0
    while True:
        block = os.pread(fd, BLOCK, at)
        if not block:
            return sha.digest()
        sha.update(block)
        at += len(block)


def _write_at(fd: int, data: bytes, at: int) -> None:
    done = os.pwrite(fd, data, at)
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)


def _sync(new: str, manifest: Manifest) -> None:
    """Everything to the disk; files in a second pass, when most of it is written already."""
    dirs = [new]
    for entry in manifest.entries:
        full = os.path.join(new, entry.path)
        if entry.kind == "d":
            dirs.append(full)
        elif entry.kind == "f":
            fd = _open(full)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    for dir in dirs:
        _sync_dir(dir)


def _commit(host_dir: str, new: str, manifest: Manifest) -> bool:
    """Rename, with the records around it; one at a time for an artifact. False when it is there already."""
    name, version = manifest.name, manifest.version
    parent = os.path.dirname(new)
    target = records.release_path(host_dir, name, version)
    facts, beside = records.facts_path(host_dir, name, version), records.manifest_path(host_dir, name, version)
    # Outside of the directory: a release may have a file of any name.
    facts_new, beside_new = f"{new}.json", f"{new}.manifest"
    with _locked(parent):
        if _is_there(host_dir, manifest):
            return False
        try:
            if records.write_manifest(beside_new, text(manifest)) != manifest.sha256:
                raise AssembleError("bad", "the manifest is not in its canonical form")
            _unlink(facts)  # of a directory that somebody removed
            if os.path.lexists(target):  # left by a crash before its facts were written: never used
                shutil.rmtree(target)
            os.replace(beside_new, beside)
            os.rename(new, target)
            _sync_dir(parent)
            _write_facts(facts_new, target, manifest)
            os.replace(facts_new, facts)
            _sync_dir(parent)
            return True
        finally:
            _unlink(facts_new)
            _unlink(beside_new)


def _write_facts(path: str, target: str, manifest: Manifest) -> None:
    """The .VERSION.json, entry by entry: a release may have very many files."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as f:
        head = {"sha256": manifest.sha256, "kind": manifest.kind, "size": manifest.size}
        f.write(json.dumps(head, separators=(",", ":"))[:-1] + ',"files":{')
        between = ""
        for e in manifest.entries:
            if e.kind == "f":
                facts = [e.sha256.hex(), *records.identity(os.path.join(target, e.path))]
                f.write(f"{between}{json.dumps(e.path)}:{json.dumps(facts, separators=(',', ':'))}")
                between = ","
        links = {e.path: e.target for e in manifest.entries if e.kind == "l"}
        f.write('},"links":' + json.dumps(links, separators=(",", ":")) + "}")
        f.flush()
        os.fsync(fd)


def _is_there(host_dir: str, manifest: Manifest) -> bool:
    """Raises AssembleError `exists` when the version is installed with another content."""
    found = installed(host_dir, manifest.name, manifest.version)
    if found and found != manifest.sha256:
        raise AssembleError(
            "exists",
            f"{manifest.name}/{manifest.version} is on this host with other content ({found[:12]}, not "
            f"{manifest.sha256[:12]}); releases are never overwritten",
        )
    return bool(found)


def _of_the_system(e: OSError, where: str) -> AssembleError:
    if e.errno in FULL:
        return AssembleError("space", f"{where}: {e.strerror}")
    return AssembleError("bad", f"{e.filename or where}: {e.strerror}")


@contextmanager
def _locked(dir: str) -> Iterator[None]:
    fd = os.open(dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _make_dir(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    os.chmod(path, 0o700)
    _sync_dir(os.path.dirname(path))


def _sync_dir(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _names(path: str) -> List[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
