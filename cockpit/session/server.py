"""Serves a session on the control socket (0600) and, without any verb, on the view socket."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import itertools
import os
import pwd
import socket
import stat
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.ports import Session
from cockpit.session.batches import batched
from cockpit.session.ops import CHANGING, OBSERVING, OPERATORS, STREAMS, permit
from cockpit.session.spelling import spelled

MAX_REQUEST = 8 * 1024 * 1024
MAX_OPEN = 1000
"""Requests and streams of one client that may be under way at once."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Opener = Callable[[Who], Session]
"""Makes the engine's session for one person."""


class SessionServer:
    """Listens on both sockets."""

    def __init__(self, directory: Path, opener: Opener, *, operators: str = "") -> None:
        """`operators`: a Unix group whose members get a control socket of their own, in a directory of its own."""
        self.directory = directory
        self.operators = operators
        self.opener = opener
        self._servers: list[asyncio.Server] = []
        self._inodes: dict[Path, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self._listen(self.directory / "control.sock", 0o600, "operator")
        await self._listen(self.directory / "view.sock", 0o660, "viewer")
        if self.operators:
            path = operators_socket(self.directory)
            gid = make_operators_dir(path.parent, self.operators)
            await self._listen(path, 0o660, "operators", gid)

    async def _listen(self, path: Path, mode: int, role: str, gid: int = -1) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        old = os.umask(0o777 & ~(0o600 if gid >= 0 else mode))
        try:
            server = await asyncio.start_unix_server(self._handler(role), path, limit=MAX_REQUEST)
        finally:
            os.umask(old)
        if gid >= 0:  # nobody else before it belongs to the group
            os.chown(path, -1, gid)
        path.chmod(mode)
        self._inodes[path] = path.stat().st_ino
        self._servers.append(server)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for path, inode in self._inodes.items():
            with contextlib.suppress(OSError):
                if path.stat().st_ino == inode:  # not a successor's in a state directory made anew
                    path.unlink()

    def _handler(self, role: str) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                who = _who(writer, role)
                await _Connection(self, who, writer).run(reader)
            except asyncio.CancelledError:
                pass  # the server stops; asyncio would log it as an error
            finally:
                self._tasks.discard(task)
                writer.close()

        return handle


Id = int | str | None


class Request(msgspec.Struct, frozen=True):
    """One line of a client."""

    op: str
    id: Id = None
    args: dict[str, Any] | None = None
    stream: Id = None
    """With the op `cancel`: the id of the stream that ends."""


class _Logs(msgspec.Struct, frozen=True):
    """Arguments of `logs` (see `ports.Session`). With `batch` an item is a list of lines."""

    lines: int = 200
    follow: bool = True
    since: float = 0.0
    until: float = 0.0
    streams: tuple[str, ...] = ()
    previous: int = 0
    grep: str = ""
    before: int = 0
    after: int = 0
    batch: bool = False


class _Connection:
    """One client: requests are served side by side, replies carry the request's id."""

    def __init__(self, server: SessionServer, who: Who, writer: asyncio.StreamWriter) -> None:
        self.who = who
        self.session = server.opener(who)
        self.writer = writer
        self.lock = asyncio.Lock()
        self.tasks: dict[Id, asyncio.Task[None]] = {}
        self.writing: set[asyncio.Task[None]] = set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                request = msgspec.json.decode(line, type=Request)
                if request.op == "cancel":
                    if request.stream in self.tasks:
                        self.tasks[request.stream].cancel()
                elif request.id in self.tasks:
                    await self._error(request.id, "bad", f"request {request.id} is under way already")
                elif len(self.tasks) >= MAX_OPEN:
                    await self._error(request.id, "refused", f"{MAX_OPEN} requests are under way already")
                else:
                    task = asyncio.create_task(self._serve(request.id, request.op, request.args or {}))
                    self.tasks[request.id] = task
                    task.add_done_callback(partial(self._served, request.id))
        except (ValueError, ConnectionError, RecursionError, msgspec.DecodeError):
            pass  # a client that does not speak the protocol is cut off
        finally:
            tasks = [*self.tasks.values(), *self.writing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.session.close()

    def _served(self, number: Id, task: asyncio.Task[None]) -> None:
        self.tasks.pop(number, None)

    async def _serve(self, number: Id, op: str, args: dict[str, Any]) -> None:
        try:
            if op in STREAMS:
                items = self._stream(op, args)
                try:
                    async for item in items:
                        await self._send({"id": number, "item": item})
                finally:  # its cleaning up runs now, not when it is collected
                    if isinstance(items, AsyncGenerator):
                        await items.aclose()
                await self._send({"id": number, "end": True})
            else:
                await self._send({"id": number, "ok": True, "result": await self._call(op, args)})
        except Bad as e:
            await self._error(number, "bad", str(e))
        except Refused as e:
            await self._error(number, "refused", str(e))
        except (ConnectionError, TimeoutError) as e:
            await self._error(number, "none", str(e) or "no answer")
        except OSError as e:
            await self._error(number, "none", f"{op}: {e}")
        except Exception as e:  # whatever it is, the client must not wait for ever
            kind = "" if isinstance(e, (ValueError, msgspec.ValidationError)) else f"{type(e).__name__}: "
            await self._error(number, "bad", f"{op}: {kind}{e}")

    async def _call(self, op: str, args: dict[str, Any]) -> Any:
        permit(op, self.who)
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
            case "artifact":
                return await session.artifact(str(args["id"]), str(args.get("base", "")))
            case "artifact_rows":
                return await session.artifact_rows()
        if op not in OBSERVING | CHANGING:
            raise Bad(f"no op {op!r}")
        return await session.call(op, args)

    def _stream(self, op: str, args: dict[str, Any]) -> AsyncIterator[Any]:
        if op == "changes":
            return self.session.changes()
        if op != "logs":
            return self.session.stream(op, args)
        names = args.get("instances")
        if not isinstance(names, list):
            raise Bad("logs: a list of instances is needed")
        ask = msgspec.convert(args, _Logs, strict=False)
        lines = self.session.logs(
            names, lines=ask.lines, follow=ask.follow, since=ask.since, until=ask.until, streams=ask.streams,
            previous=ask.previous, grep=ask.grep, before=ask.before, after=ask.after,
        )
        return batched(lines) if ask.batch else lines

    async def _error(self, number: Id, code: str, text: str) -> None:
        await self._send({"id": number, "ok": False, "code": code, "text": text})

    async def _send(self, message: dict[str, Any]) -> None:
        pieces = spelled(message)
        first, second = next(pieces), next(pieces, None)
        if second is None:
            async with self.lock:
                with contextlib.suppress(ConnectionError):
                    self.writer.write(first + b"\n")
                    await self.writer.drain()
            return
        # a line that was begun is finished, whoever is not interested any more
        writing = asyncio.create_task(self._pieces(itertools.chain((first, second), pieces)))
        self.writing.add(writing)
        writing.add_done_callback(self.writing.discard)
        await asyncio.shield(writing)

    async def _pieces(self, pieces: Iterator[bytes]) -> None:
        """A long line; others have their turn between its pieces. One that cannot be finished ends the connection."""
        async with self.lock:
            try:
                for piece in pieces:
                    self.writer.write(piece)
                    await self.writer.drain()  # which may give nobody a turn
                    await asyncio.sleep(0)
                self.writer.write(b"\n")
            except ConnectionError:
                pass
            except BaseException:
                self.writer.transport.abort()
                raise


def _who(writer: asyncio.StreamWriter, role: str) -> Who:
    """The peer by the kernel's word. Groups are those of its uid, by the machine's own records."""
    sock = writer.get_extra_info("socket")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", raw)[1]
    return Who(
        author=f"{user_name(uid)}@{socket.gethostname()}", uid=uid, groups=user_groups(uid),
        role="viewer" if role == "viewer" else "operator",
        read_only="this is a view-only socket" if role == "viewer" else "",
        ops=OPERATORS if role == "operators" else None,
    )


def operators_socket(state: Path) -> Path:
    """Beside the state, so that nobody has to be let into the state itself."""
    return state.with_name(state.name + ".operators") / "control.sock"


def make_operators_dir(path: Path, group: str) -> int:
    """The directory of the operators' socket: ours, 0710, of the group. Its gid. Raises Refused."""
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise Refused(f"no Unix group {group!r} on this machine: groupadd {group}") from None
    path.mkdir(mode=0o700, exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise Refused(f"{path} is not a directory of ours: remove it, and start again")
    try:
        os.chown(path, -1, gid)
    except PermissionError:
        raise Refused(f"you are not in the group {group}, so the operators' socket cannot be given to it") from None
    path.chmod(0o710)
    return gid


def user_groups(uid: int) -> tuple[str, ...]:
    """Names of the Unix groups of a uid on this machine; empty when it has no name here."""
    try:
        entry = pwd.getpwuid(uid)
        gids = os.getgrouplist(entry.pw_name, entry.pw_gid)
    except (KeyError, OSError):
        return ()
    found = []
    for gid in gids:
        with contextlib.suppress(KeyError):
            found.append(grp.getgrgid(gid).gr_name)
    return tuple(found)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
