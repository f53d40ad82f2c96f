"""For tests of transports: a listener with identities, a middlebox between, a CONNECT proxy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from cockpit.agent.identity import Identity
from cockpit.link.channel import Channel, DialledChannel
from cockpit.link.dial import dial
from cockpit.link.listen import Listener, Who
from cockpit.link.pki import Authority

OnChannel = Callable[[Channel, Who], Awaitable[None]]


class House:
    """A listener and the identities of its hosts. Every channel is kept until the test ends, or `serve` is set."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority = Authority.create(root / "ca", "shop")
        self.app = web.Application(client_max_size=64 * 1024)
        self.channels: list[tuple[Channel, Who]] = []
        self.serve: OnChannel | None = None
        self.port = 0
        self._over = asyncio.Event()

    async def start(self) -> None:
        self.listener = Listener(self.authority.controller_context(), self.app, self._channel)
        self.port = await self.listener.start("127.0.0.1", 0)

    async def stop(self) -> None:
        self._over.set()
        await self.listener.stop()

    async def _channel(self, channel: Channel, who: Who) -> None:
        self.channels.append((channel, who))
        if self.serve is not None:
            await self.serve(channel, who)
        else:
            await self._over.wait()

    def identity(self, name: str = "h-1") -> Identity:
        if not (self.root / name).exists():
            self.authority.issue_local_host(self.root / name, name, str(uuid.uuid4()), [f"https://127.0.0.1:{self.port}"])
        found = Identity.load(str(self.root / name))
        assert found is not None
        return found

    def context(self, name: str = "h-1", *, certificate: bool = True) -> ssl.SSLContext:
        if certificate:
            return self.identity(name).context()
        context = ssl.create_default_context(cafile=str(self.root / "ca/ca.pem"))
        context.check_hostname = False
        return context

    async def dial(self, transport: str, name: str = "h-1", *, port: int = 0, proxy: str = "") -> DialledChannel:
        url = f"https://127.0.0.1:{port or self.port}"
        return await dial(url, context=self.context(name), transport=transport, cluster="shop", proxy=proxy)


@contextlib.asynccontextmanager
async def house(root: Path, serve: OnChannel | None = None) -> AsyncIterator[House]:
    made = House(root)
    made.serve = serve
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def echo(channel: Channel, who: Who) -> None:
    """Until it ends, or `bye` was answered."""
    with contextlib.suppress(ConnectionError):
        while True:
            text = await channel.recv()
            await channel.send(text if isinstance(text, str) else text.decode())
            if text == "bye":
                return


class Box:
    """Stands between: forwards TCP to `port`, and does with a connection what `rule` says of its ClientHello.

    Rules: "pass"; ("silent", n) and ("rst", n): that after n bytes from the listening side; "drop": takes the
    connection and forwards nothing; ("close", n): a clean end after n bytes.
    """

    def __init__(self, port: int, rule: Callable[[bytes], tuple[str, int]]) -> None:
        self.target, self.rule = port, rule
        self.port = 0
        self.taken = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.taken += 1
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            hello = await reader.read(65536)
            kind, most = self.rule(hello)
            if kind == "drop":
                await asyncio.Event().wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(far_writer)
            far_writer.write(hello)
            up = asyncio.ensure_future(_pump(reader, far_writer))
            self._tasks.add(up)
            left = most if kind != "pass" else 1 << 60
            while left > 0:
                data = (await far_reader.read(65536))[:left]
                if not data:
                    break
                left -= len(data)
                writer.write(data)
                await writer.drain()
            if left > 0 or kind == "close":
                writer.close()
            elif kind == "rst":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                up.cancel()
                await asyncio.Event().wait()
            far_writer.transport.abort()
            up.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def box(port: int, rule: Callable[[bytes], tuple[str, int]]) -> AsyncIterator[Box]:
    made = Box(port, rule)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def is_h2(hello: bytes) -> bool:
    """Does this ClientHello offer HTTP/2?"""
    return b"\x00\x03\x02h2" in hello


class Proxy:
    """An HTTP proxy that knows CONNECT; `answer` is given instead when it is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = b""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.split("\r\n")[0])
            if self.answer:
                writer.write(self.answer)
                await writer.drain()
                await reader.read()
                return
            host, _, port = head.split()[1].rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
            up = asyncio.ensure_future(_pump(reader, far_writer))
            try:
                await _pump(far_reader, writer)
            finally:
                up.cancel()
                far_writer.transport.abort()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy() -> AsyncIterator[tuple[Proxy, str]]:
    made = Proxy()
    url = await made.start()
    try:
        yield made, url
    finally:
        await made.stop()
