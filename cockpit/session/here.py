"""The near end of a copy: a regular file here that is read, or one that is written and has its name once it is whole.

Standard input and output are ends too. Nothing here opens a device or a FIFO, follows a link that is named itself, or
replaces a file that it was not told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

from cockpit.plan.steps import Bad, Refused
from cockpit.session.passage import blocks, write

STANDARD = "-"
BLOCK = 48 * 1024
KINDS = (
    (stat.S_ISLNK, "a symbolic link: name the file itself"), (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def trouble(path: str | Path, e: OSError) -> Bad:
    return Bad(f"{path}: {e.strerror or e}")


def regular(path: str, mode: int) -> None:
    """Raises Bad unless it is a regular file."""
    if stat.S_ISREG(mode):
        return
    what = next((words for test, words in KINDS if test(mode)), "no regular file")
    more = "; a whole tree is for cockpit push" if stat.S_ISDIR(mode) else ""
    raise Bad(f"{path} is {what}: one regular file at a time{more}")


class Reading:
    """A file here. `size` and `sha256` are known of a regular one, not of standard input."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size: int | None = None
        self.sha256 = ""
        self.mode = 0o600

    async def look(self, limit: int) -> None:
        """Size and digest. Raises Bad, Refused."""
        if self.path != STANDARD:
            await asyncio.to_thread(self._look, limit)

    def _open(self) -> int:
        """Raises Bad."""
        try:
            regular(self.path, os.lstat(self.path).st_mode)
            return os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as e:
            raise trouble(self.path, e) from None

    def _look(self, limit: int) -> None:
        fd = self._open()
        try:
            facts = os.fstat(fd)
            regular(self.path, facts.st_mode)
            if facts.st_size > limit:
                raise Refused(f"{self.path} has {facts.st_size} bytes, more than the limit of {limit}")
            digest, size = hashlib.sha256(), 0
            while size < facts.st_size and (data := os.read(fd, min(1024 * 1024, facts.st_size - size))):
                digest.update(data)
                size += len(data)
        except OSError as e:
            raise trouble(self.path, e) from None
        finally:
            os.close(fd)
        self.size, self.sha256, self.mode = size, digest.hexdigest(), stat.S_IMODE(facts.st_mode) & 0o777

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """As much as was announced; what has changed since has another digest. Raises Bad."""
        if self.size is None:
            async with contextlib.aclosing(blocks(0)) as found:
                async for data in found:
                    yield data
            return
        left, fd = self.size, await asyncio.to_thread(self._open)
        try:
            while left and (data := await asyncio.to_thread(os.read, fd, min(BLOCK, left))):
                left -= len(data)
                yield data
        except OSError as e:
            raise trouble(self.path, e) from None
        finally:
            os.close(fd)


class Writing:
    """A file here that is made. What is written has no name of its own until `keep`."""

    def __init__(self, path: str, name: str, *, overwrite: bool) -> None:
        """`name`: in a directory. Raises Bad, Refused: before anything is asked for."""
        self.standard = path == STANDARD
        self.overwrite = overwrite
        self.fd = 1
        self._temporary: Path | None = None
        self._path = Path(path)
        if self.standard:
            if os.isatty(1):
                raise Bad("standard output is a terminal, which a file could do anything to: add `| less` or a name")
            return
        if path.endswith("/") or self._path.is_dir():
            self._path /= name
        self._free()
        if not os.access(self._path.absolute().parent, os.W_OK | os.X_OK):
            raise Bad(f"{self._path.absolute().parent}: it is no directory, or nothing can be written into it")

    async def begin(self) -> None:
        """Raises Bad."""
        if not self.standard:
            await asyncio.to_thread(self._begin)

    def _begin(self) -> None:
        name = self._path.name
        try:
            above = self._path.absolute().parent
            self.fd, made = tempfile.mkstemp(prefix=f".{name[:100]}.cockpit-", dir=above)  # 0600
        except OSError as e:
            raise trouble(self._path.parent, e) from None
        self._temporary = Path(made)

    @property
    def path(self) -> str:
        return str(self._path)

    def _free(self) -> os.stat_result | None:
        try:
            facts = self._path.lstat()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise trouble(self._path, e) from None
        regular(self.path, facts.st_mode)
        if not self.overwrite:
            raise Refused(f"{self._path} is there already and was left as it is; --overwrite replaces it")
        return facts

    async def write(self, data: bytes) -> None:
        """Raises Bad."""
        try:
            await write(self.fd, data)
        except BrokenPipeError:
            raise Bad("whoever read standard output has gone") from None
        except OSError as e:
            raise Bad(f"{self._path}: {e.strerror or e}; nothing was kept") from None

    async def keep(self, mode: int) -> None:
        """The file gets its name, and the permissions of the one it came from. Raises Bad, Refused."""
        if self._temporary is not None:
            await asyncio.to_thread(self._keep, self._temporary, mode)

    def _keep(self, temporary: Path, mode: int) -> None:
        before = self._free()
        try:
            os.fchmod(self.fd, (before.st_mode if before is not None else mode) & 0o777)
            os.fsync(self.fd)
            if before is not None:
                temporary.replace(self._path)
            else:
                try:
                    self._path.hardlink_to(temporary)  # never over another one
                    temporary.unlink()
                except PermissionError:  # no hard links in this directory
                    temporary.replace(self._path)
            self._temporary = None
        except FileExistsError:
            raise Refused(f"{self._path} came into being meanwhile and was left as it is") from None
        except OSError as e:
            raise trouble(self._path, e) from None

    def close(self) -> None:
        """What has no name is gone."""
        if self.fd > 1:
            os.close(self.fd)
            self.fd = -1
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            self._temporary = None
