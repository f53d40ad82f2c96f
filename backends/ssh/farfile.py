"""One file on a host without an agent, by SFTP: what child.py of the plug-in `copy` does on a host with one.

SFTP knows neither O_NOFOLLOW nor files without a name. So a file that is read is looked at before and after it was
opened, and one that is written has a name of its own until it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from typing import cast

import asyncssh

from backends.ssh.sftp import os_error, telling
from cockpit.agent.shipped.copy.child import Trouble, regular, said, shut

READ_ONLY = 1
"""Of statvfs: nothing can be written there."""
DROP = 5.0
"""Seconds to take away what was not finished."""
Closed = Mapping[str, str]
Leave = Callable[[str], None]


def text_of(path: bytes) -> str:
    """A name as it can be told: names there need not be UTF-8."""
    return path.decode("utf-8", "replace")


def facts_of(attrs: asyncssh.SFTPAttrs) -> os.stat_result:
    """What SFTP tells of a file, without inode and device."""
    mode, times = attrs.permissions or 0, (attrs.atime or 0, attrs.mtime or 0, 0)
    owner = (-1 if attrs.uid is None else attrs.uid, -1 if attrs.gid is None else attrs.gid)
    return os.stat_result((mode, 0, 0, 1, *owner, attrs.size or 0, *times))


def same(before: os.stat_result, opened: os.stat_result, after: os.stat_result) -> bool:
    """Can what was opened be what had the name before and after? It may have grown, or been written to, meanwhile."""
    kind = [(f.st_mode, f.st_uid, f.st_gid) for f in (before, opened, after)]
    sizes, times = sorted((before.st_size, after.st_size)), sorted((before.st_mtime, after.st_mtime))
    return (
        kind[0] == kind[1] == kind[2] and sizes[0] <= opened.st_size <= sizes[1]
        and times[0] <= opened.st_mtime <= times[1]
    )  # fmt: skip


async def look(sftp: asyncssh.SFTPClient, path: bytes) -> tuple[os.stat_result, str]:
    """What has this name, and where it points if it is a link. Raises asyncssh.SFTPError."""
    facts = facts_of(await sftp.lstat(path))
    target = text_of(await sftp.readlink(path)) if stat.S_ISLNK(facts.st_mode) else ""
    return facts, target


async def directory_of(sftp: asyncssh.SFTPClient, above: bytes) -> bytes:
    """Its path without links. Raises Trouble."""
    with telling(text_of(above)):
        real = await sftp.realpath(above)
        if not stat.S_ISDIR(facts_of(await sftp.stat(real)).st_mode):
            raise asyncssh.SFTPNotADirectory("")
    return real


class Source:
    """A file that is read."""

    def __init__(self, sftp: asyncssh.SFTPClient, given: str, path: str, limit: int) -> None:
        """`given`: as it was asked for; `path`: from the root."""
        self.path = path
        self.limit = limit
        self.facts = facts_of(asyncssh.SFTPAttrs())
        self._sftp = sftp
        self._given = given
        self._file: asyncssh.SFTPClientFile | None = None

    async def open(self, closed: Closed) -> None:
        """Raises Trouble, NotConnected."""
        sftp, given = self._sftp, self._given
        with telling(given):
            path = self.path.encode()
            before, target = await look(sftp, path)
            regular(given, before, target)
            path = posixpath.join(await sftp.realpath(posixpath.dirname(path)), posixpath.basename(path))
            self.path = text_of(path)
            shut(self.path, closed)
            self._file = await sftp.open(path, asyncssh.FXF_READ, encoding=None, block_size=None)
            self.facts = facts_of(await self._file.stat())
            after, target = await look(sftp, path)
            regular(given, after, target)
        if not same(before, self.facts, after):
            raise Trouble("changed", f"{given} was replaced by another file while it was opened: copy it again")
        if self.facts.st_size > self.limit:
            raise Trouble("limit", f"{given} has {self.facts.st_size} bytes, more than the limit of {self.limit}")

    @property
    def most(self) -> int:
        """As much as it had when it was opened; a file that says it is empty (of /proc, say), to its end."""
        return self.facts.st_size or self.limit + 1

    async def read(self, at: int, count: int) -> bytes:
        """Less only at the end. Raises Trouble, NotConnected."""
        assert self._file is not None
        most = min(count, self._sftp.limits.max_read_len or count)
        data = bytearray()
        with telling(self.path):
            while len(data) < count:
                more = await self._file.read(min(most, count - len(data)), at + len(data))
                if not more:
                    break
                data += cast(bytes, more)
        return bytes(data)

    async def ended(self, size: int) -> bool:
        """So much was read: was it written to meanwhile? Raises Trouble, NotConnected."""
        assert self._file is not None
        if size > self.limit:
            raise Trouble("limit", f"{self.path} has more than the limit of {self.limit} bytes")
        with telling(self.path):
            now = facts_of(await self._file.stat())
        if size < self.facts.st_size and now.st_size < self.facts.st_size:
            raise Trouble("changed", f"{self.path} became shorter while it was read: copy it again")
        return (now.st_size, now.st_mtime) != (self.facts.st_size, self.facts.st_mtime)


class Target:
    """A file that is written: under a name of its own until all of it is there."""

    def __init__(self, sftp: asyncssh.SFTPClient, path: str, *, overwrite: bool) -> None:
        self.path = path
        self.before: os.stat_result | None = None
        self.temporary = b""
        self._sftp = sftp
        self._overwrite = overwrite
        self._directory = b""
        self._full = b""
        self._file: asyncssh.SFTPClientFile | None = None

    async def open(self, size: int, closed: Closed) -> None:
        """Raises Trouble, NotConnected."""
        above, name = posixpath.split(self.path)
        if name in ("", ".", ".."):
            raise Trouble("kind", f"{self.path} is a directory: name the file in it")
        self._directory = await directory_of(self._sftp, above.encode())
        self._full = posixpath.join(self._directory, name.encode())
        self.path = text_of(self._full)
        shut(self.path, closed)
        self.before = await self._there()
        free = await self._free()
        if free is not None and size > free:
            raise Trouble("space", f"{self.path}: {size} bytes do not fit, {free} are free; nothing was written")
        short = name.encode()[:100].decode("utf-8", "ignore")
        temporary = posixpath.join(self._directory, f".{short}.cockpit-{os.urandom(6).hex()}".encode())
        self.temporary = temporary  # when it is not known whether it came into being, it may be there
        with telling(text_of(self._directory)):
            try:
                self._file = await self._sftp.open(
                    temporary, asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL,
                    asyncssh.SFTPAttrs(permissions=0o600), encoding=None, block_size=None,
                )  # fmt: skip
            except asyncssh.SFTPFailure as e:
                self.temporary = b""
                raise said(text_of(self._directory), await self._guessed(e)) from None
            except asyncssh.SFTPPermissionDenied:
                self.temporary = b""
                raise

    async def _there(self) -> os.stat_result | None:
        """What has the name already, if that may be replaced; None. Raises Trouble, NotConnected."""
        with telling(self.path):
            try:
                facts, target = await look(self._sftp, self._full)
            except asyncssh.SFTPNoSuchFile:
                return None
        if stat.S_ISDIR(facts.st_mode):
            raise Trouble("kind", f"{self.path} is a directory: with {self.path}/ the file goes into it")
        regular(self.path, facts, target)
        if not self._overwrite:
            raise Trouble("exists", f"{self.path} is there already ({facts.st_size} bytes) and was left as it is")
        return facts

    async def _free(self) -> int | None:
        """Bytes; None where the server does not say."""
        try:
            room = await self._sftp.statvfs(self._directory)
        except asyncssh.SFTPError:
            return None
        return room.bavail * room.frsize

    async def _guessed(self, e: asyncssh.SFTPFailure, wanted: int = 1) -> OSError:
        """What lies behind a plain `Failure`. Raises NotConnected."""
        with telling(self.path):
            with contextlib.suppress(asyncssh.SFTPOpUnsupported, asyncssh.SFTPFailure):
                room = await self._sftp.statvfs(self._directory)
                if room.flags & READ_ONLY:
                    return os_error(asyncssh.SFTPWriteProtect(""))
                if room.bavail * room.frsize < max(wanted, room.bsize):
                    return os_error(asyncssh.SFTPNoSpaceOnFilesystem(""))
        return os_error(e)

    async def write(self, at: int, data: bytes) -> None:
        """Raises Trouble, NotConnected."""
        assert self._file is not None
        most = self._sftp.limits.max_write_len or len(data)
        with telling(self.path):
            try:
                for start in range(0, len(data), most):
                    await self._file.write(data[start : start + most], at + start)
            except asyncssh.SFTPFailure as e:
                raise said(self.path, await self._guessed(e, len(data))) from None

    async def whole(self, mode: int, size: int) -> None:
        """Owner, permissions and what is on disk are right. A file that is replaced leaves its own. Raises Trouble,
        NotConnected."""
        assert self._file is not None
        self.before = before = await self._there()
        file = self._file
        with telling(self.path):
            try:
                mine = facts_of(await file.stat())
                if mine.st_size != size:
                    text = f"{self.path}: {mine.st_size} of {size} bytes came; nothing was written there"
                    raise Trouble("digest", text)
                if before is not None and (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
                    await file.chown(before.st_uid, before.st_gid)
                await file.chmod((mode if before is None else before.st_mode) & 0o777)
            except asyncssh.SFTPPermissionDenied:
                if before is None:
                    raise
                owner = f"{before.st_uid}:{before.st_gid}"
                text = f"{self.path} belongs to {owner}, and this user cannot leave it so; it was left as it is"
                raise Trouble("denied", text) from None
            try:
                with contextlib.suppress(asyncssh.SFTPOpUnsupported):
                    await file.fsync()
                await file.close()
            except asyncssh.SFTPFailure as e:
                raise said(self.path, await self._guessed(e)) from None

    async def name(self) -> None:
        """It has its name, never over another file unless that was said. Raises Trouble, NotConnected."""
        with telling(self.path):
            try:
                if self.before is None:
                    await self._sftp.rename(self.temporary, self._full)  # a link, then the first name goes
                else:
                    await self._sftp.posix_rename(self.temporary, self._full)
            except asyncssh.SFTPOpUnsupported:
                text = f"{self.path}: its sftp-server cannot replace a file in one step; it was left as it is"
                raise Trouble("unsupported", text) from None
            except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
                if self.before is None:
                    with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                        await self._sftp.lstat(self._full)
                        text = f"{self.path} came into being meanwhile and was left as it is"
                        raise Trouble("exists", text) from None
                raise
        self.temporary = b""
        with contextlib.suppress(asyncssh.Error):  # the name on disk: where a server opens directories
            async with await self._sftp.open(self._directory, asyncssh.FXF_READ, encoding=None) as directory:
                await directory.fsync()

    async def drop(self, leave: Leave) -> None:
        """Takes away what is not whole; `leave` is told of what cannot be now."""
        name, self.temporary = self.temporary, b""
        if not name:
            return
        try:
            async with asyncio.timeout(DROP):
                await self._sftp.remove(name)
        except asyncssh.SFTPNoSuchFile:
            pass
        except (asyncssh.Error, OSError, asyncio.CancelledError) as e:
            leave(text_of(name))
            if isinstance(e, asyncio.CancelledError):
                raise
