"""Reads or writes the one file, as the user that it is for. Run as a file of its own:

    python -I -S -B child.py STATUS CONTROL      the file's bytes on standard output, or from standard input

CONTROL gives a line {"put","path","directory","limit","overwrite","size","mode","uid","gid","groups","closed"}, and
when all bytes of a file that is written have been sent {"size","sha256"}: without that line nothing is kept. STATUS
gets {"begun": {"path","size","mode","replaces"}}, then {"done": {"path","size","sha256","changed"}} or
{"error": [code, text]}.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import stat
import sys
from typing import Any, Dict, NoReturn, Tuple

BLOCK = 48 * 1024
MAX_LINE = 64 * 1024
KINDS = (
    (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


class Trouble(Exception):
    """`code`: missing, exists, kind, denied, space, limit, changed, digest, stopped, failed."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def said(path: str, e: OSError) -> Trouble:
    """An error of the system at a path."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Trouble("space", f"{path}: {e.strerror}; nothing was written there")
    codes = {errno.ENOENT: "missing", errno.ENOTDIR: "missing", errno.EACCES: "denied", errno.EPERM: "denied",
             errno.EROFS: "denied", errno.EEXIST: "exists"}  # fmt: skip
    return Trouble(codes.get(e.errno or 0, "failed"), f"{path}: {e.strerror or e}")


def regular(path: str, facts: os.stat_result, target: str = "") -> None:
    """Raises Trouble unless it is a regular file."""
    mode = facts.st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISLNK(mode):
        raise Trouble("kind", f"{path} is a symbolic link to {target}: links are not followed, name the file itself")
    what = next((word for test, word in KINDS if test(mode)), "no regular file")
    more = "" if what != "a directory" else "; one file at a time, a whole tree is for `cockpit push`"
    raise Trouble("kind", f"{path} is {what}: only regular files are copied{more}")


def shut(path: str, closed: Any) -> None:
    """Raises Trouble for what lies in a directory that is not for copies. {directory: why, or empty where it is}; the
    deepest that it lies in decides."""
    found = [directory for directory in closed if path.startswith(directory + "/")]
    why = closed[max(found, key=len)] if found else ""
    if why:
        raise Trouble("denied", f"{path}: {why}")


class Source:
    """A file that is read: found first without being opened, so that no device and no FIFO is."""

    def __init__(self, path: str, limit: int, closed: Any) -> None:
        try:
            found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                facts = os.fstat(found)
                link = f"/proc/self/fd/{found}"
                regular(path, facts, os.readlink(path) if stat.S_ISLNK(facts.st_mode) else "")
                self.path = os.readlink(link)
                shut(self.path, closed)
                self.fd = os.open(link, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            finally:
                os.close(found)
        except OSError as e:
            raise said(path, e) from None
        self.facts = os.fstat(self.fd)
        self.limit = limit
        if self.facts.st_size > limit:
            raise Trouble("limit", f"{path} has {self.facts.st_size} bytes, more than the limit of {limit}")

    def send(self, out: int) -> Dict[str, Any]:
        """As much as it had when it was opened; a file that says it is empty (of /proc, say), to its end."""
        size, digest = 0, hashlib.sha256()
        most = self.facts.st_size or self.limit + 1
        while size < most:
            try:
                data = os.read(self.fd, min(BLOCK, most - size))
            except BlockingIOError:
                raise Trouble("kind", f"{self.path} has nothing to read now: it is no file to copy") from None
            except OSError as e:
                raise said(self.path, e) from None
            if not data:
                break
            size += len(data)
            digest.update(data)
            write_all(out, data)
        if size > self.limit:
            raise Trouble("limit", f"{self.path} has more than the limit of {self.limit} bytes")
        now = os.fstat(self.fd)
        if size < self.facts.st_size and now.st_size < self.facts.st_size:
            raise Trouble("changed", f"{self.path} became shorter while it was read: copy it again")
        changed = (now.st_size, now.st_mtime_ns) != (self.facts.st_size, self.facts.st_mtime_ns)
        return {"path": self.path, "size": size, "sha256": digest.hexdigest(), "changed": changed}


class Target:
    """A file that is written: under no name, or one of its own, until all of it is there."""

    def __init__(self, path: str, *, size: int, overwrite: bool, closed: Any) -> None:
        above, self.name = os.path.split(path)
        if self.name in ("", ".", ".."):
            raise Trouble("kind", f"{path} is a directory: name the file in it")
        self.temporary = ""
        self.fd = -1
        try:
            self.directory = os.open(above or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise said(above or ".", e) from None
        self.path = os.path.join(os.readlink(f"/proc/self/fd/{self.directory}"), self.name)
        shut(self.path, closed)
        self.overwrite = overwrite
        self.before = self._there()
        room = os.fstatvfs(self.directory)
        free = room.f_bavail * room.f_frsize
        if size > free:
            raise Trouble("space", f"{self.path}: {size} bytes do not fit, {free} are free; nothing was written")
        try:
            self._open()
        except OSError as e:
            raise said(os.path.dirname(self.path), e) from None

    def _there(self) -> Any:
        """What has the name already, if that may be replaced; None. Raises Trouble."""
        try:
            facts = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise said(self.path, e) from None
        if stat.S_ISDIR(facts.st_mode):
            raise Trouble("kind", f"{self.path} is a directory: with {self.path}/ the file goes into it")
        target = os.readlink(self.name, dir_fd=self.directory) if stat.S_ISLNK(facts.st_mode) else ""
        regular(self.path, facts, target)
        if not self.overwrite:
            raise Trouble("exists", f"{self.path} is there already ({facts.st_size} bytes) and was left as it is")
        return facts

    def _open(self) -> None:
        """A file without a name is gone with whoever has it open; where there are none, one with a name."""
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            self.fd = os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=self.directory)
        except OSError as e:
            if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                raise
            name = f".{self.name[:100]}.cockpit-{os.urandom(6).hex()}"
            self.fd = os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=self.directory)
            self.temporary = name

    def keep(self, mode: int) -> None:
        """Under its name, with what is on disk on disk. A file that is replaced leaves its owner and mode."""
        before = self._there()
        try:
            if before is None:
                os.fchmod(self.fd, mode & 0o777)
            else:
                mine = os.fstat(self.fd)
                if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
                    os.fchown(self.fd, before.st_uid, before.st_gid)
                os.fchmod(self.fd, before.st_mode & 0o777)
            os.fsync(self.fd)
        except PermissionError:
            owner = f"{before.st_uid}:{before.st_gid}"
            text = f"{self.path} belongs to {owner}, and this user cannot leave it so; it was left as it is"
            raise Trouble("denied", text) from None
        except OSError as e:
            raise said(self.path, e) from None
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what has the name is told as done
        try:
            if before is None:
                self._link(self.name)
            else:
                if not self.temporary:
                    name = f".{self.name[:100]}.cockpit-{os.urandom(6).hex()}"
                    self._link(name)
                    self.temporary = name
                os.rename(self.temporary, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
                self.temporary = ""
            os.fsync(self.directory)
        except FileExistsError:
            raise Trouble("exists", f"{self.path} came into being meanwhile and was left as it is") from None
        except OSError as e:
            raise said(self.path, e) from None

    def _link(self, name: str) -> None:
        """Never over another file. Where a directory has no hard links, the last look was that before this."""
        source = self.temporary or f"/proc/self/fd/{self.fd}"
        try:
            if self.temporary:
                os.link(source, name, src_dir_fd=self.directory, dst_dir_fd=self.directory, follow_symlinks=False)
            else:
                os.link(source, name, dst_dir_fd=self.directory, follow_symlinks=True)
        except OSError as e:
            if not self.temporary or e.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            os.rename(self.temporary, name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
            self.temporary = ""

    def drop(self) -> None:
        """What has no name of its own goes by itself."""
        if self.temporary:
            os.unlink(self.temporary, dir_fd=self.directory)
            self.temporary = ""


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def receive(target: Target, limit: int) -> Tuple[int, str]:
    """(bytes, their sha256) of standard input. Raises Trouble, OSError."""
    size, digest = 0, hashlib.sha256()
    while True:
        data = os.read(0, BLOCK)
        if not data:
            return size, digest.hexdigest()
        size += len(data)
        if size > limit:
            raise Trouble("limit", f"more than the limit of {limit} bytes were sent")
        digest.update(data)
        write_all(target.fd, data)


def put(request: Dict[str, Any], status: int, control: Any) -> Dict[str, Any]:
    limit = int(request["limit"])
    target = Target(
        request["path"], size=int(request.get("size") or 0), overwrite=bool(request.get("overwrite")),
        closed=request.get("closed") or {},
    )
    try:
        tell(status, {"begun": {"path": target.path, "replaces": target.before is not None}})
        try:
            size, digest = receive(target, limit)
        except OSError as e:
            raise said(target.path, e) from None
        line = control.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise Trouble("stopped", f"{target.path}: the copy was cut; nothing was written there")
        wanted = json.loads(line)
        if (size, digest) != (wanted["size"], wanted["sha256"]):
            raise Trouble("digest", f"{target.path}: what came is not what was announced; nothing was written there")
        target.keep(int(request.get("mode") or 0o600))
        return {"path": target.path, "size": size, "sha256": digest, "changed": False}
    finally:
        target.drop()


def get(request: Dict[str, Any], status: int) -> Dict[str, Any]:
    source = Source(request["path"], int(request["limit"]), request.get("closed") or {})
    facts = source.facts
    tell(status, {"begun": {"path": source.path, "size": facts.st_size, "mode": facts.st_mode & 0o777}})
    return source.send(1)


def tell(status: int, doc: Dict[str, Any]) -> None:
    write_all(status, json.dumps(doc).encode() + b"\n")


def become(request: Dict[str, Any]) -> None:
    if request.get("uid") is not None:
        os.setgroups([int(g) for g in request.get("groups") or []])
        os.setgid(int(request["gid"]))
        os.setuid(int(request["uid"]))
    os.chdir(request.get("directory") or "/")


def ended(number: int, frame: Any) -> NoReturn:
    raise Trouble("stopped", "the copy was ended; nothing was written")


def main(status: int, control: int) -> None:
    signal.signal(signal.SIGTERM, ended)
    try:
        with os.fdopen(control, "rb") as lines:
            request = json.loads(lines.readline(MAX_LINE))
            try:
                become(request)
            except OSError as e:
                raise said(str(request.get("directory")), e) from None
            done = put(request, status, lines) if request.get("put") else get(request, status)
        tell(status, {"done": done})
    except Trouble as e:
        tell(status, {"error": [e.code, str(e)]})
    except OSError as e:  # nobody reads any more
        tell(status, {"error": ["failed", str(e.strerror or e)]})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
