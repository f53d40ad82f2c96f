"""A session on a controller in another process, over its Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cockpit.model.view import (
    ActionDetail,
    ActionRow,
    ArtifactDetail,
    ArtifactRow,
    Delta,
    InstanceDetail,
    LogLine,
    RevisionRow,
    Snapshot,
    Who,
)
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from cockpit.session.ops import OBSERVING

MAX_ANSWER = 256 * 1024 * 1024
TURN = 64 * 1024
"""Bytes of messages that are read before others have their turn."""
T = TypeVar("T")
_END = object()


class RemoteSession:
    """Implements `cockpit.ports.Session`. Reconnects by itself when the controller comes back."""

    def __init__(self, path: Path, *, read_only: str = "") -> None:
        self.path = path
        self.read_only = read_only
        self._who = Who(author="", role="viewer", read_only="not connected")
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[bytes]] = {}
        self._streams: dict[int, asyncio.Queue[Any]] = {}
        self._dial = asyncio.Lock()

    @property
    def who(self) -> Who:
        return self._who

    async def connect(self) -> None:
        """Raises ConnectionError when nobody listens."""
        async with self._dial:
            if self._writer is not None:
                return
            try:
                reader, writer = await asyncio.open_unix_connection(str(self.path), limit=MAX_ANSWER)
            except OSError as e:
                raise ConnectionError(f"no controller answers on {self.path}: {e.strerror or e}") from None
            self._writer = writer
            self._reader = asyncio.create_task(self._read(reader))
        who = msgspec.convert(await self.call("who"), Who)
        if self.read_only:
            who = msgspec.structs.replace(who, read_only=self.read_only)
        self._who = who

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        self._drop(ConnectionError("closed"))

    async def snapshot(self) -> Snapshot:
        return await self._typed("snapshot", {}, Snapshot)

    async def changes(self) -> AsyncIterator[Delta]:
        async for raw in self._stream("changes", {}):
            yield msgspec.convert(raw, Delta)

    async def plan(self, intent: Intent) -> Plan:
        return await self._typed("plan", {"intent": intent}, Plan)

    async def submit(self, intent: Intent, *, digest: str = "", confirm: str = "") -> ActionRow:
        if self.read_only:
            raise Refused(f"{intent.verb} is refused: {self.read_only}")
        return await self._typed("submit", {"intent": intent, "digest": digest, "confirm": confirm}, ActionRow)

    async def action(self, id: str) -> ActionDetail:
        return await self._typed("action", {"id": id}, ActionDetail)

    async def instance(self, id: str) -> InstanceDetail:
        return await self._typed("instance", {"id": id}, InstanceDetail)

    async def revisions(self, limit: int = 50) -> Sequence[RevisionRow]:
        return await self._typed("revisions", {"limit": limit}, tuple[RevisionRow, ...])

    async def artifacts(self) -> dict[str, dict[str, Any]]:
        return await self._typed("artifacts", {}, dict[str, dict[str, Any]])

    async def artifact(self, id: str, base: str = "") -> ArtifactDetail:
        return await self._typed("artifact", {"id": id, "base": base}, ArtifactDetail)

    async def artifact_rows(self) -> Sequence[ArtifactRow]:
        return await self._typed("artifact_rows", {}, tuple[ArtifactRow, ...])

    async def logs(
        self, instances: Sequence[str], *, lines: int = 200, follow: bool = True, since: float = 0.0,
        until: float = 0.0, streams: Sequence[str] = (), previous: int = 0, grep: str = "", before: int = 0,
        after: int = 0,
    ) -> AsyncIterator[LogLine]:
        args = {
            "instances": list(instances), "lines": lines, "follow": follow, "since": since, "until": until,
            "streams": list(streams), "previous": previous, "grep": grep, "before": before, "after": after,
            "batch": True,
        }  # fmt: skip
        async for raw in self._stream("logs", args):
            for line in msgspec.convert(raw if isinstance(raw, list) else [raw], list[LogLine]):
                yield line

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        """One request. Raises Bad, Refused, ConnectionError."""
        if self.read_only and op not in OBSERVING:
            raise Refused(f"{op} is refused: {self.read_only}")
        if self._writer is None:
            await self.connect()
        number = next(self._numbers)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        try:
            await self._send({"id": number, "op": op, "args": args or {}})
            reply = msgspec.json.decode(await future)
        finally:
            self._replies.pop(number, None)
        if reply.get("ok"):
            return reply.get("result")
        raise _error(reply)

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        """Items of one request, which ends when the stream is closed. Raises as `call` does."""
        if self.read_only and op not in OBSERVING:
            raise Refused(f"{op} is refused: {self.read_only}")
        async for item in self._stream(op, args or {}):
            yield item

    async def _typed(self, op: str, args: dict[str, Any], type: type[T]) -> T:
        return msgspec.convert(await self.call(op, args), type)

    async def _stream(self, op: str, args: dict[str, Any]) -> AsyncIterator[Any]:
        if self._writer is None:
            await self.connect()
        number = next(self._numbers)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._streams[number] = queue
        try:
            await self._send({"id": number, "op": op, "args": args})
            while True:
                item = await queue.get()
                if item is _END:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self._streams.pop(number, None)
            if self._writer is not None:
                with contextlib.suppress(ConnectionError):
                    await self._send({"op": "cancel", "stream": number})

    async def _send(self, message: dict[str, Any]) -> None:
        writer = self._writer
        if writer is None:
            raise ConnectionError(f"no controller answers on {self.path}")
        try:
            writer.write(msgspec.json.encode(message) + b"\n")
            await writer.drain()
        except OSError:  # its own words (a broken pipe) say nothing to anybody
            raise ConnectionError(f"the controller behind {self.path} went away") from None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        read = 0
        try:
            while (line := await reader.readline()).endswith(b"\n"):  # a torn last line is no answer
                self._route(line)
                read += len(line)
                if read >= TURN:  # what has come already is no reason to keep keys waiting
                    read = 0
                    await asyncio.sleep(0)
        except (OSError, ValueError, msgspec.DecodeError):
            pass
        self._drop(ConnectionError(f"the controller behind {self.path} went away"))

    def _route(self, line: bytes) -> None:
        message = msgspec.json.decode(line)
        number = message.get("id")
        if number in self._replies:
            if not self._replies[number].done():
                self._replies[number].set_result(line)
        elif number in self._streams:
            queue = self._streams[number]
            if "item" in message:
                queue.put_nowait(message["item"])
            elif message.get("end"):
                queue.put_nowait(_END)
            else:
                queue.put_nowait(_error(message))

    def _drop(self, error: ConnectionError) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for future in self._replies.values():
            if not future.done():
                future.set_exception(error)
        for queue in self._streams.values():
            queue.put_nowait(error)


def _error(reply: dict[str, Any]) -> Exception:
    text = str(reply.get("text", "failed"))
    match reply.get("code"):
        case "bad":
            return Bad(text)
        case "refused":
            return Refused(text)
    return ConnectionError(text)
