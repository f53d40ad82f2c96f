"""Reading on this machine or on another one: files, patterns, programs; all with limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cockpit.inventory.found import BadSource

MOST = 8 * 1024 * 1024
"""Bytes of one file or answer."""
LIMIT = 20.0
"""Seconds for one program."""
_GLOB = 'IFS=; for f in $1; do [ -f "$f" ] && printf "%s\\0" "$f"; done; exit 0'


class Where(Protocol):
    """A machine that can be read."""

    title: str
    """For places and messages: `web1`, or empty for this machine."""

    async def run(self, argv: Sequence[str]) -> tuple[int, str, str]:
        """Exit code, stdout, stderr; 127 when there is no such program. Raises BadSource."""

    async def read(self, path: str) -> str:
        """Raises BadSource."""

    async def glob(self, pattern: str) -> list[str]:
        """Files that fit."""

    async def hostname(self) -> str: ...


class Here:
    """This machine."""

    title = ""

    async def run(self, argv: Sequence[str]) -> tuple[int, str, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
        except OSError as e:
            return 127, "", f"{argv[0]}: {e.strerror}"
        try:
            out, err = await asyncio.wait_for(process.communicate(), LIMIT)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise BadSource(f"{argv[0]} did not end in {LIMIT:.0f} s") from None
        return process.returncode or 0, _text(out, argv[0]), _text(err, argv[0])

    async def read(self, path: str) -> str:
        return _text(await asyncio.to_thread(_bytes, path), path)

    async def glob(self, pattern: str) -> list[str]:
        return await asyncio.to_thread(files_like, pattern)

    async def hostname(self) -> str:
        return socket.gethostname()


class There:
    """A machine at the other end of an SSH connection."""

    def __init__(self, connection: Any, title: str) -> None:
        self.connection = connection
        self.title = title

    async def run(self, argv: Sequence[str]) -> tuple[int, str, str]:
        import asyncssh

        command = "LC_ALL=C " + shlex.join(argv)  # what SSH carries is a line for the shell there
        try:
            async with self.connection.create_process(command, encoding=None, stdin=asyncssh.DEVNULL) as process:
                async with asyncio.timeout(LIMIT):
                    out, err = await asyncio.gather(_some(process.stdout), _some(process.stderr))
                    await process.wait()
        except TimeoutError:
            raise BadSource(f"{self.title}: {argv[0]} did not end in {LIMIT:.0f} s") from None
        except (OSError, asyncssh.Error) as e:
            raise BadSource(f"{self.title}: {argv[0]}: {e}") from None
        code = process.exit_status
        return 255 if code is None else code, _text(out, argv[0]), _text(err, argv[0])

    async def read(self, path: str) -> str:
        code, out, err = await self.run(["cat", "--", path])
        if code:
            raise BadSource(f"{self.title}: {path}: {err.strip().rpartition(': ')[2] or 'cannot be read'}")
        return out

    async def glob(self, pattern: str) -> list[str]:
        _, out, _ = await self.run(["sh", "-c", _GLOB, "sh", pattern])
        return [p for p in out.split("\0") if p]

    async def hostname(self) -> str:
        _, out, _ = await self.run(["uname", "-n"])
        return out.strip()


def _bytes(path: str) -> bytes:
    try:
        with Path(path).open("rb") as f:
            return f.read(MOST + 1)
    except OSError as e:
        raise BadSource(f"{path}: {e.strerror}") from None


def files_like(pattern: str) -> list[str]:
    """Files that fit an absolute pattern, sorted."""
    if not pattern.startswith("/"):
        return []
    try:
        return sorted(str(p) for p in Path("/").glob(pattern.lstrip("/")) if p.is_file())
    except (ValueError, OSError):
        return []


async def _some(stream: Any) -> bytes:
    parts, size = [], 0
    while data := await stream.read(65536):
        size += len(data)
        if size <= MOST:
            parts.append(data)
        else:
            parts = [b"\0" * (MOST + 1)]
    return b"".join(parts)


def _text(data: bytes, what: str) -> str:
    if len(data) > MOST:
        raise BadSource(f"{what}: more than {MOST // 2**20} MiB")
    return data.decode("utf-8", "replace")
