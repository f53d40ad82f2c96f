"""Port forwards to a host without an agent: streams of its SSH connection, with the words and events of the plug-in
`forward` (see its streams.py). Only ports that the service declares: nobody looks there at what listens."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.ssh.lasting import Open
from backends.ssh.pool import NotConnected
from cockpit.agent.shipped.forward.where import NotOurs, addresses, named, unnamed
from cockpit.agent.tasks import CommandError, Data, Progress

if TYPE_CHECKING:
    from backends.ssh.host import Host

BLOCK = 32 * 1024
CONNECT = 10.0
MOST = 50
"""Connections at once through one host: all of them share one connection of SSH."""


class Forwards(Open["_Forward"]):
    async def forward(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """As the plug-in's. Raises CommandError."""
        host, task = self._host, str(args.get("task") or "")
        instance, port = str(args.get("instance") or ""), str(args.get("port") or "")
        record = host.newest(instance)
        declared: dict[str, int] = {k: int(v) for k, v in (record.get("ports") or {}).items() if v}
        try:
            number = named(declared, port) or unnamed(instance, port, declared, set())
        except NotOurs as e:
            raise CommandError(e.code, str(e)) from None
        places = addresses((), host.address)
        forward = self._open[task] = _Forward(host, number, places, int(args.get("window") or 0), progress)
        try:
            progress({"begun": {"port": number, "address": places[0]}})
            await asyncio.wait({over := asyncio.create_task(forward.over.wait())}, timeout=args.get("timeout"))
            over.cancel()
        finally:
            del self._open[task]
            await forward.close()
        return {
            "why": forward.why or "timeout", "connections": forward.connections, "in": forward.into,
            "out": forward.out,
        }

    def room(self) -> bool:
        return sum(len(f.conns) for f in self._open.values()) <= MOST


class _Conn:
    def __init__(self, window: int) -> None:
        self.credit = window
        self.room = asyncio.Event()
        self.waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        """For the port; None: nothing more comes. Bounded by the window, which the controller keeps to."""
        self.work: asyncio.Task[None] | None = None


class _Forward:
    def __init__(self, host: Host, port: int, places: list[str], window: int, progress: Progress) -> None:
        self.why = ""
        self.over = asyncio.Event()
        self.conns: dict[int, _Conn] = {}
        self.connections = self.into = self.out = 0
        self._host = host
        self._port = port
        self._places = places
        self._window = max(1, window)
        self._progress = progress

    def end(self, why: str) -> None:
        self.why = self.why or why
        self.over.set()

    async def close(self) -> None:
        tasks = [c.work for c in self.conns.values() if c.work is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _say(self, *event: Any, got: int = 0) -> None:
        self._progress({"ev": [event] if event else [], "got": got})

    def take(self, data: dict[str, Any]) -> None:
        for number, kind, *more in data.get("ev") or ():
            conn = self.conns.get(number)
            if kind == "open" and conn is None:
                self._open(number)
            elif conn is None:
                continue
            elif kind == "data":
                conn.waiting.put_nowait(base64.b64decode(more[0]))
            elif kind == "eof":
                conn.waiting.put_nowait(None)
            elif kind == "took":
                conn.credit += max(0, int(more[0]))
                conn.room.set()
            elif kind == "over" and conn.work is not None:
                conn.work.cancel()
        self._say(got=1)

    def _open(self, number: int) -> None:
        conn = self.conns[number] = _Conn(self._window)
        conn.work = asyncio.create_task(self._serve(number, conn))
        conn.work.add_done_callback(lambda _: self.conns.pop(number, None))

    async def _serve(self, number: int, conn: _Conn) -> None:
        """One connection, to its end; what is said last is `no` or `over`."""
        try:
            reader, writer = await self._connected()
        except (NotConnected, ConnectionError, TimeoutError) as e:
            self._say(number, "no", str(e)[:500] or f"the port does not answer within {CONNECT:g} s")
            return
        self.connections += 1
        self._say(number, "open")
        both = (self._up(number, conn, writer), self._down(number, conn, reader))
        work = {asyncio.create_task(each) for each in both}
        why = ""
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if (error := task.exception()) is not None:
                    why = f"the connection broke: {error}"
            self._say(number, "over", why)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            writer.channel.abort() if why else writer.close()

    async def _connected(self) -> tuple[Any, Any]:
        """Raises NotConnected, ConnectionError, TimeoutError."""
        if not self._host.forwards.room():
            raise ConnectionError(f"{MOST} forwarded connections are open on {self._host.name}, which has no agent")
        why = ConnectionError("there is no address to connect to")
        for place in self._places:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONNECT):
                    try:
                        return await self._host.kept.open(place, self._port)
                    except ConnectionError as e:
                        why = ConnectionError(f"{place}:{self._port}: {e}")
        raise why

    async def _up(self, number: int, conn: _Conn, writer: Any) -> None:
        while (data := await conn.waiting.get()) is not None:
            writer.write(data)
            await writer.drain()
            self.into += len(data)
            self._say(number, "took", len(data))
        writer.write_eof()

    async def _down(self, number: int, conn: _Conn, reader: Any) -> None:
        while True:
            while conn.credit <= 0:
                conn.room.clear()
                await conn.room.wait()
            data = await reader.read(min(BLOCK, conn.credit))
            if not data:
                self._say(number, "eof")
                return
            conn.credit -= len(data)
            self.out += len(data)
            self._say(number, "data", base64.b64encode(data).decode())
