"""Serves a session on the control socket (0600) and, without any verb, on the view socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.ports import Session

MAX_REQUEST = 8 * 1024 * 1024

OBSERVING = frozenset(
    {"who", "snapshot", "changes", "plan", "action", "instance", "revisions", "artifacts", "logs", "export", "twin"}
)
"""The only ops that exist on the view socket."""

CHANGING = frozenset({"submit", "token", "artifact_add", "end"})

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Opener = Callable[[Who], Session]
"""Makes the engine's session for one person."""


class SessionServer:
    """Listens on both sockets. `extra` are the controller's ops beside `Session`'s."""

    def __init__(
        self,
        directory: Path,
        opener: Opener,
        extra: dict[str, Callable[[Who, dict[str, Any]], Awaitable[Any]]],
    ) -> None:
        self.directory = directory
        self.opener = opener
        self.extra = extra
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for name, mode, role in (("control.sock", 0o600, "operator"), ("view.sock", 0o660, "viewer")):
            path = self.directory / name
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            old = os.umask(0o777 & ~mode)
            try:
                server = await asyncio.start_unix_server(self._handler(role), path, limit=MAX_REQUEST)
            finally:
                os.umask(old)
            path.chmod(mode)
            self._servers.append(server)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name in ("control.sock", "view.sock"):
            with contextlib.suppress(FileNotFoundError):
                (self.directory / name).unlink()

    def _handler(self, role: str) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                who = Who(
                    author=_author(writer),
                    role=role,
                    read_only="" if role == "operator" else "this is a view-only socket",
                )
                await _Connection(self, who, writer).run(reader)
            finally:
                self._tasks.discard(task)
                writer.close()

        return handle


class _Connection:
    """One client: requests are served side by side, replies carry the request's id."""

    def __init__(self, server: SessionServer, who: Who, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.who = who
        self.session = server.opener(who)
        self.writer = writer
        self.lock = asyncio.Lock()
        self.tasks: dict[Any, asyncio.Task[None]] = {}

    async def run(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                request = msgspec.json.decode(line)
                number = request.get("id")
                if request.get("op") == "cancel":
                    task = self.tasks.pop(request.get("stream"), None)
                    if task is not None:
                        task.cancel()
                    continue
                task = asyncio.create_task(self._serve(number, request))
                self.tasks[number] = task
                task.add_done_callback(lambda t, n=number: self.tasks.pop(n, None))  # type: ignore[misc]
        except (ValueError, AttributeError, ConnectionError, msgspec.DecodeError):
            pass  # a client that does not speak the protocol is cut off
        finally:
            tasks = list(self.tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.session.close()

    async def _serve(self, number: Any, request: dict[str, Any]) -> None:
        op, args = request.get("op", ""), request.get("args") or {}
        try:
            if op in ("changes", "logs"):
                async for item in self._stream(op, args):
                    await self._send({"id": number, "item": item})
                await self._send({"id": number, "end": True})
            else:
                await self._send({"id": number, "ok": True, "result": await self._call(op, args)})
        except Bad as e:
            await self._error(number, "bad", str(e))
        except Refused as e:
            await self._error(number, "refused", str(e))
        except (ConnectionError, TimeoutError) as e:
            await self._error(number, "none", str(e) or "no answer")
        except (KeyError, TypeError, ValueError, msgspec.ValidationError) as e:
            await self._error(number, "bad", f"{op}: {e}")

    async def _call(self, op: str, args: dict[str, Any]) -> Any:
        if op not in OBSERVING and self.who.read_only:
            raise Refused(f"{op} is refused: {self.who.read_only}")
        session = self.session
        match op:
            case "who":
                return self.who
            case "snapshot":
                return await session.snapshot()
            case "plan":
                return await session.plan(msgspec.convert(args["intent"], Intent))
            case "submit":
                return await session.submit(
                    msgspec.convert(args["intent"], Intent),
                    digest=str(args.get("digest", "")),
                    confirm=str(args.get("confirm", "")),
                )
            case "action":
                return await session.action(str(args["id"]))
            case "instance":
                return await session.instance(str(args["id"]))
            case "revisions":
                return await session.revisions(int(args.get("limit", 50)))
            case "artifacts":
                return await session.artifacts()
        if op in self.server.extra and op in OBSERVING | CHANGING:
            return await self.server.extra[op](self.who, args)
        raise Bad(f"no op {op!r}")

    def _stream(self, op: str, args: dict[str, Any]) -> AsyncIterator[Any]:
        if op == "changes":
            return self.session.changes()
        names = args.get("instances")
        if not isinstance(names, list):
            raise Bad("logs: a list of instances is needed")
        lines, follow = int(args.get("lines", 200)), bool(args.get("follow", True))
        return self.session.logs(names, lines=lines, follow=follow)

    async def _error(self, number: Any, code: str, text: str) -> None:
        await self._send({"id": number, "ok": False, "code": code, "text": text})

    async def _send(self, message: dict[str, Any]) -> None:
        data = msgspec.json.encode(message) + b"\n"
        async with self.lock:
            with contextlib.suppress(ConnectionError):
                self.writer.write(data)
                await self.writer.drain()


def _author(writer: asyncio.StreamWriter) -> str:
    """`user@host` of the peer, by the kernel's word."""
    sock = writer.get_extra_info("socket")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", raw)[1]
    return f"{user_name(uid)}@{socket.gethostname()}"


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
