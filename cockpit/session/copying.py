"""A copy of one file, for the command and the screens: here -> there or there -> here, checked at both ends."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import hashlib
import posixpath
from collections.abc import Callable
from typing import Any

import msgspec

from cockpit.model.asking import Caller
from cockpit.model.units import size_text
from cockpit.plan.steps import Bad, Refused
from cockpit.session.here import STANDARD, Reading, Writing

AHEAD = 5
"""Blocks that may wait for an answer."""
ACK = 64 * 1024
"""Bytes written after which the far side is told that there is room."""
Told = Callable[[int, "int | None"], None]
"""Is told how many bytes have moved, and of how many (None: nobody knows)."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One copy, as it was typed. `put`: to there."""

    name: str
    """A host or an instance, as it was typed."""
    path: str
    """There."""
    here: str
    put: bool


class Done(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    """There, in full."""
    here: str
    size: int
    sha256: str
    changed: bool
    """The file was written to while it was read: it is as long as it was in the beginning."""
    seconds: float


def wanted(source: str, target: str) -> Wanted:
    """Which of the two is `NAME:PATH`. A word is of this machine when it begins with `/`, `.` or `~` or has no colon.
    Raises Bad."""
    far = [_far(source), _far(target)]
    if (far[0] is None) == (far[1] is None):
        said = "both are here" if far[0] is None else "both are far away"
        raise Bad(f"{source} and {target}: {said}; one is HOST:/PATH or INSTANCE:PATH, the other a file here")
    put = far[1] is not None
    name, path = far[1] or far[0] or ("", "")
    here = source if put else target
    if not here:
        raise Bad("a file here is wanted, or - for standard input and output")
    if not put and path.endswith("/"):
        raise Bad(f"{name}:{path} names a directory: one regular file at a time; a whole tree is for cockpit push")
    if put and (path.endswith("/") or not path):
        if here == STANDARD:
            raise Bad(f"{name}:{path} names a directory: standard input has no name, say that of the file")
        path += posixpath.basename(here.rstrip("/"))
    if not path:
        raise Bad(f"{name}: the path of a file is wanted behind the colon")
    if not path.isprintable():
        raise Bad(f"{path!r}: a path of printable characters is wanted")
    return Wanted(name=name, path=path, here=here, put=put)


def _far(word: str) -> tuple[str, str] | None:
    name, colon, path = word.partition(":")
    return (name, path) if colon and name and word[0] not in "/.~" else None


def pace(moved: int, size: int | None, seconds: float) -> str:
    """`12.0 MiB of 64.0 MiB  18%  30.1 MiB/s  2 s left`. Pure."""
    rate = moved / seconds if seconds > 0 else 0.0
    speed = f"{size_text(rate)}/s"
    if not size or moved > size:
        return f"{size_text(moved)}  {speed}"
    left = f"  {(size - moved) / rate:.0f} s left" if rate else ""
    return f"{size_text(moved)} of {size_text(size)}  {100 * moved // size}%  {speed}{left}"


class Copy:
    """One copy: `look` here, `request` of what is seen then, `run`."""

    def __init__(self, what: Wanted, target: dict[str, str], *, overwrite: bool, limit: int) -> None:
        """`target`: {"host"} or {"instance"}."""
        self.what = what
        self.overwrite = overwrite
        self.limit = limit
        self.begun: dict[str, Any] = {}
        self._target = target
        self._reading: Reading | None = None
        self._writing: Writing | None = None
        self._over = False
        self._wrong: Exception | None = None

    async def look(self) -> None:
        """At the near end: can it be? Nothing is open afterwards. Raises Bad, Refused."""
        if self.what.put:
            self._reading = Reading(self.what.here)
            await self._reading.look(self.limit)
        else:
            name = posixpath.basename(self.what.path)
            self._writing = await asyncio.to_thread(Writing, self.what.here, name, overwrite=self.overwrite)

    @property
    def request(self) -> dict[str, Any]:
        """What the op `copy` is called with."""
        reading = self._reading
        more: dict[str, Any] = {}
        if reading is not None:
            more = {"size": reading.size, "sha256": reading.sha256, "mode": reading.mode}
        return {
            **self._target, "path": self.what.path, "put": self.what.put,
            "overwrite": self.overwrite and self.what.put, "limit": self.limit, **more,
        }  # fmt: skip

    async def run(self, session: Caller, request: dict[str, Any], told: Told) -> Done:
        """Raises Bad, Refused, ConnectionError. When it is cancelled nothing stays at either end."""
        items = session.stream("copy", request)
        sending: asyncio.Task[tuple[int, str]] | None = None
        size, digest, owed = 0, hashlib.sha256(), 0
        try:
            if self._writing is not None:
                await self._writing.begin()
            id = str((await anext(items))["copy"])
            async for item in items:
                if "begun" in item:
                    self.begun = dict(item["begun"])
                    if self._reading is not None:
                        sending = asyncio.create_task(self._send(session, id, self._reading, told))
                elif "data" in item and self._writing is not None:
                    data = base64.b64decode(item["data"])
                    await self._writing.write(data)
                    digest.update(data)
                    size += len(data)
                    owed += len(data)
                    told(size, self.begun.get("size") or None)
                    if owed >= ACK:
                        await self._call(session, "copy_took", {"copy": id, "bytes": owed})
                        owed = 0
                elif "done" in item:
                    done = msgspec.convert({**item["done"], "here": self.what.here}, Done)
                    if self._writing is None:
                        assert sending is not None
                        size, sha256 = await sending
                    else:
                        sha256 = digest.hexdigest()
                    return await self._ended(done, size, sha256)
            raise ConnectionError("the controller did not say how the copy ended")
        except StopAsyncIteration:
            raise ConnectionError("the controller began no copy and did not say why") from None
        except (Bad, Refused, ConnectionError):
            if self._wrong is not None:
                raise self._wrong from None
            raise
        finally:
            self._over = True
            if self._writing is not None:
                self._writing.close()
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _ended(self, done: Done, size: int, sha256: str) -> Done:
        if (done.size, done.sha256) != (size, sha256):
            raise ConnectionError(
                f"{self.what.path}: {done.size} bytes with sha256 {done.sha256[:12]} there, {size} with "
                f"{sha256[:12]} here: copy it again"
            )
        if self._writing is not None:
            await self._writing.keep(int(self.begun.get("mode") or 0))
            done = msgspec.structs.replace(done, here=self._writing.path)
        return done

    async def _send(self, session: Caller, id: str, reading: Reading, told: Told) -> tuple[int, str]:
        """(bytes, sha256) of what was sent. What goes wrong here ends the copy, and is what is said then."""
        size, digest = 0, hashlib.sha256()
        ahead: collections.deque[tuple[asyncio.Task[Any], int]] = collections.deque()

        def send(**more: Any) -> None:
            ahead.append((asyncio.create_task(session.call("copy_send", {"copy": id, **more})), size))

        async def taken() -> None:
            task, moved = ahead.popleft()
            await task
            told(moved, reading.size)

        try:
            async for data in reading.blocks():
                digest.update(data)
                size += len(data)
                send(data=base64.b64encode(data).decode())
                if len(ahead) >= AHEAD:
                    await taken()
            send(eof=True, size=size, sha256=digest.hexdigest())
            while ahead:
                await taken()
        except Exception as e:
            if not self._over:
                self._wrong = e
                await self._call(session, "copy_end", {"copy": id})
        finally:
            for task, _ in ahead:
                task.cancel()
            await asyncio.gather(*(task for task, _ in ahead), return_exceptions=True)
        return size, digest.hexdigest()

    @staticmethod
    async def _call(session: Caller, op: str, args: dict[str, Any]) -> None:
        """What the copy's own end says, need not be said twice."""
        with contextlib.suppress(Bad, Refused, ConnectionError):
            await session.call(op, args)
