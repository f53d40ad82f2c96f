"""Releases on this host: unpacked once, verified, never overwritten.

DIR/releases/NAME/VERSION/ holds the files, DIR/releases/NAME/.VERSION.json the manifest:
`{"sha256", "size", "files": {path: [sha256, dev, inode, size, mtime_ns, ctime_ns]}, "links": {path:
target}}`. A release is installed when both are there.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
from typing import IO, Any, Dict, List, Optional, Sequence, Tuple

from cockpit.agent.files import SAFE, make_dir, read_json, sync_dir, write_json

CHUNK = 256 * 1024
MAX_READ = 8 * 1024 * 1024
"""No single read of an archive may be larger: headers that claim more are an attack."""
MAX_TOTAL = 8 * 1024 * 1024 * 1024
MAX_MEMBERS = 200_000
MAX_GUARD = 128

Guard = List[List[Any]]


class InstallError(Exception):
    """`code`: bad (hostile or broken archive), exists (other content), missing, altered."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Bounded(io.RawIOBase):
    """A file whose single reads are bounded, so that a forged header cannot fill the memory."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > MAX_READ:
            raise InstallError("bad", "the archive has a header of an absurd size")
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class Releases:
    """Everything installed under one host directory."""

    def __init__(self, host_dir: str) -> None:
        self.root = os.path.join(host_dir, "releases")
        self._verified: Dict[str, bool] = {}

    def path(self, name: str, version: str) -> str:
        """Raises InstallError for a name that could leave the directory."""
        for what, text in (("artifact name", name), ("version", version)):
            if not SAFE.fullmatch(text):
                raise InstallError("bad", f"{text!r} cannot be an {what}")
        return os.path.join(self.root, name, version)

    def manifest(self, name: str, version: str) -> Optional[Dict[str, Any]]:
        path = self.path(name, version)
        doc = read_json(os.path.join(self.root, name, f".{version}.json"))
        return doc if isinstance(doc, dict) and os.path.isdir(path) else None

    def listing(self) -> List[str]:
        """`name/version` of every installed release, sorted."""
        found = []
        for name in _dirs(self.root):
            for version in _dirs(os.path.join(self.root, name)):
                if os.path.isfile(os.path.join(self.root, name, f".{version}.json")):
                    found.append(f"{name}/{version}")
        return sorted(found)

    def installed(self, name: str, version: str, sha256: str) -> bool:
        """Raises InstallError `exists` when there is another content under this version."""
        manifest = self.manifest(name, version)
        if manifest is None:
            return False
        if manifest.get("sha256") != sha256:
            raise InstallError(
                "exists",
                f"{name}/{version} is on this host with other content ({str(manifest.get('sha256'))[:12]}, "
                f"not {sha256[:12]}); releases are never overwritten",
            )
        return True

    def install(self, archive: str, name: str, version: str, sha256: str) -> int:
        """Unpack a verified archive; the number of bytes unpacked. Raises InstallError, OSError."""
        target = self.path(name, version)
        if self.installed(name, version, sha256):
            return 0
        parent = os.path.dirname(target)
        make_dir(self.root)
        make_dir(parent)
        new = tempfile.mkdtemp(prefix=f".{version}.", dir=parent)
        try:
            os.chmod(new, 0o755)
            total = unpack(archive, new)
            manifest = scan(new)
            manifest["sha256"] = sha256
            manifest["size"] = total
            if os.path.isdir(target):  # left by a crash before its manifest was written: never used
                shutil.rmtree(target)
            os.rename(new, target)
            sync_dir(parent)
            write_json(os.path.join(parent, f".{version}.json"), manifest)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return total

    def needs_check(self, name: str, version: str) -> bool:
        return not self._verified.get(f"{name}/{version}")

    def check(self, name: str, version: str, sha256: str = "") -> Dict[str, Any]:
        """The manifest, after every file was compared with it (digests the first time).

        Raises InstallError `missing`, `exists` or `altered`.
        """
        manifest = self.manifest(name, version)
        if manifest is None:
            raise InstallError("missing", f"release {name}/{version} is not on this host")
        if sha256 and manifest.get("sha256") != sha256:
            raise InstallError("altered", f"release {name}/{version} on this host has other content")
        key = f"{name}/{version}"
        root = self.path(name, version)
        why, moved = compare(root, manifest, digests=not self._verified.get(key))
        if why:
            self._verified.pop(key, None)
            raise InstallError("altered", f"release {name}/{version}: {why}")
        if moved:
            write_json(os.path.join(self.root, name, f".{version}.json"), manifest)
        self._verified[key] = True
        return manifest


def compare(root: str, manifest: Dict[str, Any], *, digests: bool) -> Tuple[str, bool]:
    """(what differs from the manifest or an empty string, whether identities were brought up to date).

    A file with another inode, time or device but the same digest is the same file (a device gets
    another number at a reboot, a directory is restored from a backup).
    """
    moved = False
    for path, facts in manifest["files"].items():
        full = os.path.join(root, path)
        try:
            now = identity(full)
            same = now == facts[1:]
            if (digests or not same) and (os.path.islink(full) or digest(full) != facts[0]):
                return f"{path} has other content than was installed", moved
        except OSError as e:
            return f"{path}: {e.strerror}", moved
        if not same:
            facts[1:] = now
            moved = True
    for path, target in manifest.get("links", {}).items():
        try:
            if os.readlink(os.path.join(root, path)) != target:
                return f"{path} points elsewhere", moved
        except OSError as e:
            return f"{path}: {e.strerror}", moved
    return "", moved


def guard_of(root: str, manifest: Dict[str, Any], argv: Sequence[str] = (), cwd: str = "") -> Guard:
    """The keeper's list: [path, dev, inode, size, mtime_ns, ctime_ns] of the release's files.

    At most MAX_GUARD of them, so that a spec stays small: what argv names first, then executables.
    """
    named = {os.path.normpath(os.path.join(cwd or root, a)) for a in argv}
    found = [[os.path.join(root, path), *facts] for path, (_, *facts) in manifest["files"].items()]
    if len(found) > MAX_GUARD:
        found.sort(key=lambda e: (e[0] not in named, not os.access(e[0], os.X_OK), e[0]))
    return found[:MAX_GUARD]


def identity(path: str) -> List[int]:
    s = os.lstat(path)
    return [s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns]


def digest(path: str) -> str:
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while True:
            block = f.read(CHUNK)
            if not block:
                return h.hexdigest()
            h.update(block)


def scan(root: str) -> Dict[str, Any]:
    """Files (with digest and identity) and links of an unpacked release; everything is synced."""
    files: Dict[str, List[Any]] = {}
    links: Dict[str, str] = {}
    for dir, dirs, names in os.walk(root):
        for name in [*names, *(d for d in dirs if os.path.islink(os.path.join(dir, d)))]:
            full = os.path.join(dir, name)
            path = os.path.relpath(full, root)
            if os.path.islink(full):
                links[path] = os.readlink(full)
            else:
                files[path] = [digest(full), *identity(full)]
        sync_dir(dir)
    return {"files": files, "links": links}


def unpack(archive: str, root: str) -> int:
    """Unpack a tar (plain or gzip) into the empty directory `root`; bytes written.

    Raises InstallError `bad` for members that are absolute, climb out, pass through a link, are
    devices, pipes or sockets, come twice, or are too many or too large.
    """
    with open(archive, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        inner: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            bounded: Any = _Bounded(inner)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                total = _unpack(tar, root)
                bounded.seek(tar.offset)
                if bounded.read(512) != bytes(512):  # tarfile takes half a header for the end
                    raise InstallError("bad", "the archive is broken: its end is missing")
                return total
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError) as e:
            raise InstallError("bad", f"the archive is broken: {e}") from None


def _unpack(tar: tarfile.TarFile, root: str) -> int:
    total = count = 0
    links: List[Tuple[str, str]] = []
    for member in tar:
        count += 1
        if count > MAX_MEMBERS:
            raise InstallError("bad", f"the archive has more than {MAX_MEMBERS} members")
        path = _inside(member.name)
        if not path:
            if member.isdir():
                continue
            raise InstallError("bad", f"the archive has a member named {member.name!r}")
        full = os.path.join(root, path)
        _parents(root, path)
        if member.isdir():
            _make_dir(full, member.name)
        elif member.isreg():
            total += member.size
            if total > MAX_TOTAL:
                raise InstallError("bad", f"the archive unpacks to more than {MAX_TOTAL} bytes")
            _write_file(tar, member, full)
        elif member.issym():
            if os.path.isabs(member.linkname):
                raise InstallError("bad", f"link {member.name!r} leaves the release")
            _inside(os.path.join(os.path.dirname(path), member.linkname), member.name)
            links.append((full, member.linkname))
            _fresh(full, member.name)
            os.symlink(member.linkname, full)
        elif member.islnk():
            source = os.path.join(root, _inside(member.linkname, member.name))
            _parents(root, os.path.relpath(source, root))
            if os.path.islink(source) or not os.path.isfile(source):
                raise InstallError("bad", f"hard link {member.name!r} has no file to point to")
            _fresh(full, member.name)
            os.link(source, full)
        else:
            raise InstallError("bad", f"member {member.name!r} is neither file, directory nor link")
    for full, target in links:  # once everything is there: chains of links, too, must stay inside
        end = os.path.realpath(os.path.join(os.path.dirname(full), target))
        if os.path.commonpath([os.path.realpath(root), end]) != os.path.realpath(root):
            raise InstallError("bad", f"link {os.path.relpath(full, root)!r} leaves the release")
    return total


def _inside(name: str, member: str = "") -> str:
    """The normal form of a member's path; empty for the root. Raises InstallError when outside."""
    if "\0" in name or os.path.isabs(name):
        raise InstallError("bad", f"member {member or name!r} leaves the release")
    path = os.path.normpath(name)
    if path == ".":
        return ""
    if path == ".." or path.startswith("../"):
        raise InstallError("bad", f"member {member or name!r} leaves the release")
    if not member and ".." in name.split("/"):
        raise InstallError("bad", f"member {name!r} climbs with `..`")
    return path


def _parents(root: str, path: str) -> None:
    """Make the directories above `path`; none of them may be a link."""
    full = root
    for part in path.split("/")[:-1]:
        full = os.path.join(full, part)
        try:
            mode = os.lstat(full).st_mode
        except FileNotFoundError:
            os.mkdir(full)
            os.chmod(full, 0o755)
            continue
        if not stat.S_ISDIR(mode):
            raise InstallError("bad", f"member {path!r} passes through a link or a file")


def _make_dir(full: str, name: str) -> None:
    try:
        os.mkdir(full)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(full).st_mode):
            raise InstallError("bad", f"member {name!r} is there twice") from None
    os.chmod(full, 0o755)


def _fresh(full: str, name: str) -> None:
    if os.path.lexists(full):
        raise InstallError("bad", f"member {name!r} is there twice")


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, full: str) -> None:
    try:
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise InstallError("bad", f"member {member.name!r} is there twice") from None
    with open(fd, "wb") as out:
        source = tar.extractfile(member)
        left = member.size
        while source is not None and left:
            block = source.read(min(CHUNK, left))
            if not block:
                raise InstallError("bad", f"the archive ends in the middle of {member.name!r}")
            out.write(block)
            left -= len(block)
        out.flush()
        os.fchmod(fd, 0o600 | (member.mode & 0o755))
        os.fsync(fd)


def _dirs(path: str) -> List[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name[0] != ".")
    except FileNotFoundError:
        return []


