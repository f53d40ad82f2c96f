"""A port here that leads to a port of an instance far away: connections, and the session that carries their bytes.

It listens on 127.0.0.1 and nowhere else. Of a connection only as much waits here as a window of it, each way; whoever
does not read makes the far side wait, not this one grow.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from cockpit.model.asking import Caller
from cockpit.plan.steps import Bad, Refused

HERE = "127.0.0.1"
BLOCK = 32 * 1024
BATCH = 64 * 1024
"""Bytes of one message."""
MOST_EVENTS = 500
RETRY = 1.0
"""Seconds between two tries to reach a controller that went away."""
PRIVILEGED = 1024
BEGINNING, OPEN, LOST, ENDED = "beginning", "open", "lost", "ended"
Told = Callable[[str, str], None]
"""A sentence, and its mark (ok, failed, unknown)."""


class Forward:
    """One port. Made by `opened`."""

    def __init__(self, session: Caller, request: dict[str, Any], told: Told) -> None:
        self.state = BEGINNING
        self.why = ""
        """Of the state lost or ended."""
        self.instance = str(request["instance"])
        self.host = ""
        self.port = 0
        """Of the instance."""
        self.local = 0
        self.since = time.time()
        self.connections = 0
        """Since it began."""
        self.sent = self.received = 0
        self.done = asyncio.Event()
        """It has ended, for good."""
        self.version = 0
        """Grows with each change."""
        self._session = session
        self._request = request
        self._told = told
        self._id = ""
        self._window = self._most = 0
        self._numbers = itertools.count(1)
        self._conns: dict[int, _Conn] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        self._outgoing: list[list[Any]] = []
        self._more = asyncio.Event()
        self._said = ""
        """The failure that was told last."""
        self._server: asyncio.Server | None = None
        self._follower: asyncio.Task[None] | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._conns)

    @property
    def address(self) -> str:
        return f"{HERE}:{self.local}"

    async def begin(self, local: int | None) -> None:
        """`local`: the port here; 0 any; None the same as there when it is free, else any. Raises Bad when it is
        taken, and as the session does."""
        if local:
            await self._listen(local)
        items = self._session.stream("forward", self._request)
        try:
            await self._first(items)
            if not local:
                await self._listen_near(0 if local == 0 else self.port)
        except BaseException:
            await _close(items)
            raise
        self._follower = asyncio.create_task(self._follow(items))
        self._sender = asyncio.create_task(self._send())

    async def _first(self, items: AsyncIterator[Any]) -> None:
        try:
            first = await anext(items)
            self._id, self._window, self._most = str(first["forward"]), int(first["window"]), int(first["most"])
            begun = await anext(items)
        except StopAsyncIteration:
            raise ConnectionError("the controller began no forward and did not say why") from None
        if "begun" not in begun:
            raise ConnectionError(str(begun.get("end") or "the controller began no forward"))
        self._begun(begun["begun"])

    async def _listen(self, port: int) -> None:
        try:
            self._server = await asyncio.start_server(self._accepted, HERE, port)
        except OSError as e:
            raise Bad(f"{HERE}:{port} cannot be listened on: {e.strerror or e}; name another port, or 0 for any") \
                from None
        self.local = self._server.sockets[0].getsockname()[1]

    async def _listen_near(self, port: int) -> None:
        if port >= PRIVILEGED:
            with contextlib.suppress(Bad):
                await self._listen(port)
                return
        await self._listen(0)

    async def close(self) -> None:
        """Ends it, and every connection through it."""
        self._end(self.why or "ended")
        tasks = [t for t in (self._follower, self._sender, *self._handlers) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, why: str) -> None:
        if self._server is not None:
            self._server.close()
        self._cut()
        self.state, self.why = ENDED, why
        self.version += 1
        self.done.set()

    # from the controller

    async def _follow(self, items: AsyncIterator[Any]) -> None:
        """What comes, until its end; when the controller is away, again once it is back."""
        while not self.done.is_set():
            try:
                async for item in items:
                    if not self._take(item):
                        return
                why = "the controller ended it"
            except (Bad, Refused) as e:
                self._finish(str(e))
                return
            except ConnectionError as e:
                why = str(e) or "the controller does not answer"
            finally:
                await _close(items)
            self._lose(why)
            items = await self._again()

    async def _again(self) -> AsyncIterator[Any]:
        while True:
            await asyncio.sleep(RETRY)
            items = self._session.stream("forward", self._request)
            try:
                await self._first(items)
            except (ConnectionError, Bad) as e:
                self.why = str(e) or self.why
                await _close(items)
            except BaseException:
                await _close(items)
                raise
            else:
                return items

    def _take(self, item: dict[str, Any]) -> bool:
        """False: it is over."""
        if "begun" in item:
            self._begun(item["begun"])
        elif "lost" in item:
            self._lose(str(item["lost"]))
        elif "end" in item:
            self._finish(str(item["end"]))
            return False
        for number, kind, *more in item.get("ev") or ():
            conn = self._conns.get(number)
            if conn is not None:
                self._event(conn, kind, more[0] if more else "")
        return True

    def _begun(self, facts: dict[str, Any]) -> None:
        before, host = self.state, self.host
        self.host, self.port, self.state, self.why = str(facts["host"]), int(facts["port"]), OPEN, ""
        self.version += 1
        if before == LOST:
            self._told(f"{self.address} leads to {self.instance} on {self.host} again", "ok")
        elif host and host != self.host:
            self._told(f"{self.instance} is on {self.host} now: new connections to {self.address} go there", "ok")

    def _lose(self, why: str) -> None:
        if self.state != LOST:
            self._told(f"{self.address} to {self.instance}: {why}; connections are taken when it is back", "unknown")
        self.state, self.why = LOST, why
        self.version += 1
        self._cut()

    def _finish(self, why: str) -> None:
        self._told(f"{self.address} to {self.instance} has ended: {why}", "failed")
        self._end(why)

    def _event(self, conn: _Conn, kind: str, more: Any) -> None:
        match kind:
            case "open":
                self._said = ""
                self.connections += 1
                self.version += 1
            case "no":
                self._refused(str(more))
                conn.cut()
            case "data":
                conn.incoming.put_nowait(base64.b64decode(more))
            case "eof":
                conn.incoming.put_nowait(b"")
            case "took":
                self.sent += int(more)
                self.version += 1
                conn.untaken -= int(more)
                conn.room.set()
            case "over" if more:
                conn.incoming.put_nowait(None)
            case "over":
                conn.over = True
                conn.incoming.put_nowait(b"")

    def _refused(self, why: str) -> None:
        """Told once, until a connection succeeds or the reason is another one."""
        text = f"{self.instance} on {self.host} takes no connection: {why}"
        if text != self._said:
            self._said = text
            self._told(text, "failed")

    # connections

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.state != OPEN:
            self._refused(self.why or self.state)
            _reset(writer)
            return
        if len(self._conns) >= self._most:
            self._refused(f"{self._most} connections are open through {self.address} already")
            _reset(writer)
            return
        task = asyncio.create_task(self._serve(_Conn(next(self._numbers), reader, writer)))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _serve(self, conn: _Conn) -> None:
        self._conns[conn.number] = conn
        self.version += 1
        self._tell(conn, "open")
        up, down = asyncio.create_task(self._up(conn)), asyncio.create_task(self._down(conn))
        over = False
        try:
            await down  # the far side ends it, in every case
            over = True
        except OSError:  # our own side broke off
            pass
        finally:
            known = self._conns.pop(conn.number, None) is not None
            self.version += 1
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            if known and not over:
                self._tell(conn, "over")
            if over and not conn.broken:
                conn.writer.close()
            else:
                _reset(conn.writer)

    async def _up(self, conn: _Conn) -> None:
        """From whoever connected here."""
        try:
            while True:
                while conn.untaken >= self._window:
                    conn.room.clear()
                    await conn.room.wait()
                data = await conn.reader.read(min(BLOCK, self._window - conn.untaken))
                if not data:
                    self._tell(conn, "eof")
                    return
                conn.untaken += len(data)
                self._tell(conn, "data", data)
        except OSError as e:
            conn.incoming.put_nowait(e)

    async def _down(self, conn: _Conn) -> None:
        """To whoever connected here, until the far side has ended it. Raises OSError when ours breaks."""
        while True:
            data = await conn.incoming.get()
            if data is None:
                conn.broken = True
                return
            if isinstance(data, OSError):
                raise data
            if data:
                conn.writer.write(data)
                await conn.writer.drain()
                self.received += len(data)
                self.version += 1
                self._tell(conn, "took", len(data))
            elif conn.over and conn.incoming.empty():
                return
            elif conn.writer.can_write_eof() and not conn.eof:
                conn.eof = True
                await conn.writer.drain()
                conn.writer.write_eof()

    def _cut(self) -> None:
        for conn in list(self._conns.values()):
            del self._conns[conn.number]
            conn.cut()
        self._outgoing.clear()

    # to the controller

    def _tell(self, conn: _Conn, kind: str, *more: Any) -> None:
        if conn.number in self._conns or kind == "over":
            self._outgoing.append([conn.number, kind, *more])
            self._more.set()

    async def _send(self) -> None:
        """One message after the other, so that they arrive in order; the answer comes when there is room for more."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._outgoing:
                events = self._batch()
                try:
                    await self._session.call("forward_tell", {"forward": self._id, "ev": events})
                except (ConnectionError, Bad, Refused):
                    pass  # its own end says why
                await asyncio.sleep(0)

    def _batch(self) -> list[list[Any]]:
        size = count = 0
        for event in self._outgoing[:MOST_EVENTS]:
            count += 1
            size += len(event[2]) if event[1] == "data" else 0
            if size >= BATCH:
                break
        events, self._outgoing = self._outgoing[:count], self._outgoing[count:]
        return [[n, k, base64.b64encode(m[0]).decode()] if k == "data" else [n, k, *m] for n, k, *m in events]


class _Conn:
    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.incoming: asyncio.Queue[bytes | OSError | None] = asyncio.Queue()
        """Bounded by the credit that we give. Empty bytes: the far side says no more. None: it broke off."""
        self.untaken = 0
        """Bytes that the far side has not taken yet."""
        self.room = asyncio.Event()
        self.over = False
        """The far side has ended it, in order."""
        self.broken = False
        self.eof = False

    def cut(self) -> None:
        self.incoming.put_nowait(None)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Not an end in order: whoever is connected must not take what came for all there was."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _close(items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


@contextlib.asynccontextmanager
async def opened(
    session: Caller, request: dict[str, Any], local: int | None, told: Told
) -> AsyncIterator[Forward]:
    """A forward that takes connections; when the block is left it has ended. `request`: {"instance", "port"} and what
    guards want. Raises Bad, Refused, ConnectionError when there is none."""
    forward = Forward(session, request, told)
    try:
        await forward.begin(local)
        yield forward
    finally:
        await forward.close()


def wish(text: str) -> tuple[int | None, str]:
    """`[LOCAL:]PORT`: the port here (0: any; None: the same) and there. Raises Bad."""
    here, colon, there = text.rpartition(":")
    if not colon:
        return None, there
    if not (here == "" or here.isdigit() and int(here) < 65536):
        raise Bad(f"{text}: the port here is a number below 65536, 0 for any; it is [LOCAL:]PORT, as in 8080:http")
    return int(here or 0), there
