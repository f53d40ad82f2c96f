"""The hub: where agents connect. One port for the link and joining.

The hub knows identities, links and tasks; what reports mean is its owner's business (`HubOwner`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from asyncio import sslproto
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from aiohttp import WSMsgType, web

from cockpit.link import frames, messages
from cockpit.link.pki import peer_identity

BEAT_PERIOD = 5.0
HANDSHAKE_LIMIT = 16
"""Concurrent WebSocket handshakes; a thousand agents come back in a row, not at once."""

# CPython keeps a buffer of this size per TLS connection: 256 KiB by default, 300 KB an agent. What agents
# send is small, so 8 KiB cost no time.
sslproto.SSLProtocol.max_size = 8 * 1024


class HubOwner(Protocol):
    """What the hub asks of the controller. All are called on the loop and must not block."""

    def welcome(self, host: str, uuid: str) -> dict[str, Any] | None:
        """Facts for the welcome frame; None refuses the host."""
        ...

    def connected(self, host: str, hello: messages.Hello) -> None: ...

    def frame(self, host: str, frame: messages.AnyFrame) -> None: ...

    def disconnected(self, host: str, why: str) -> None: ...

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises PermissionError with a sentence."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """The end of a command on an agent."""

    task: str
    ok: bool
    data: dict[str, Any]
    code: str = ""
    text: str = ""


class Link:
    """One connected agent."""

    def __init__(self, host: str, uuid: str, ws: web.WebSocketResponse) -> None:
        self.host = host
        self.uuid = uuid
        self.ws = ws
        self.queue: asyncio.Queue[str] = asyncio.Queue(10_000)
        self.latency: float | None = None
        self.seen = time.time()

    def send(self, frame: frames.Frame) -> None:
        """Queue a frame. A host that does not read for ten thousand frames is cut off."""
        self.put(frames.encode(frame))

    def put(self, text: str) -> None:
        try:
            self.queue.put_nowait(text)
        except asyncio.QueueFull:  # nothing is left out in silence: it comes back and gets the full set
            self.cut()

    def cut(self) -> None:
        transport = self.ws._req.transport if self.ws._req is not None else None
        if transport is not None:
            transport.abort()

    async def pump(self) -> None:
        while True:
            await self.ws.send_str(await self.queue.get())


class Hub:
    """Listens; keeps links by host and commands by task id."""

    def __init__(self, owner: HubOwner, context: ssl.SSLContext) -> None:
        self.owner = owner
        self.links: dict[str, Link] = {}
        self.port = 0
        self.build: Callable[[web.Request, str], Awaitable[web.StreamResponse]] | None = None
        """Serves `GET` and `PUT /build/ID` for the host that is named, set by the owner."""
        self._context = context
        self._waiting: dict[str, tuple[str, asyncio.Future[Answer]]] = {}
        self._runner: web.AppRunner | None = None
        self._gate = asyncio.Semaphore(HANDSHAKE_LIMIT)
        self._slots = 0

    async def start(self, address: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_get("/link", self._link)
        app.router.add_post("/join", self._join)
        app.router.add_get("/build/{build}", self._build, allow_head=False)
        app.router.add_put("/build/{build}", self._build)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, address, port, ssl_context=self._context, backlog=1024, reuse_address=True
        )
        await site.start()
        server = site._server
        assert isinstance(server, asyncio.Server)
        self.port = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        for link in list(self.links.values()):
            link.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    def send(self, host: str, frame: frames.Frame) -> bool:
        """False when the host has no link."""
        link = self.links.get(host)
        if link is None:
            return False
        link.send(frame)
        return True

    def cut(self, host: str) -> None:
        """Break the link of a host that says nothing; it dials in again when it can."""
        link = self.links.get(host)
        if link is not None:
            link.cut()

    def broadcast(self, frame: frames.Frame) -> None:
        text = frames.encode(frame)
        for link in list(self.links.values()):
            link.put(text)

    def begin(self, task: str, host: str, word: str, args: dict[str, Any]) -> asyncio.Future[Answer]:
        """Send a command; the future ends with the agent's answer, however late.

        It fails with ConnectionError when the host has no link now or loses it meanwhile:
        repeating the same task id then gives the first answer.
        """
        known = self._waiting.get(task)
        future = known[1] if known is not None else asyncio.get_running_loop().create_future()
        link = self.links.get(host)
        if link is None:
            if not future.done():
                future.set_exception(ConnectionError(f"no answer from {host}"))
                future.exception()  # seen: not everybody waits for the answer
            self._waiting.pop(task, None)
            return future
        self._waiting[task] = (host, future)
        link.send({"t": "cmd", "task": task, "uuid": link.uuid, "word": word, "args": args})
        return future

    async def command(
        self, host: str, word: str, args: dict[str, Any], *, task: str, timeout: float = 30.0
    ) -> Answer:
        """Raises ConnectionError, TimeoutError."""
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self.begin(task, host, word, args))
        finally:
            self._waiting.pop(task, None)

    def forget(self, task: str) -> None:
        self._waiting.pop(task, None)

    async def _link(self, request: web.Request) -> web.StreamResponse:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        if not certificate:
            return web.Response(status=403, text="a host certificate is needed here\n")
        try:
            host, uuid = peer_identity(certificate)
        except ValueError as e:
            return web.Response(status=403, text=f"{e}\n")
        async with self._gate:
            ws = web.WebSocketResponse(
                protocols=(frames.SUBPROTOCOL,), compress=False, autoping=True,
                max_msg_size=frames.MAX_FRAME + 1,  # aiohttp refuses this size itself
            )
            await ws.prepare(request)
        link = Link(host, uuid, ws)
        why = "connection failed"
        try:
            why = await self._serve(link)
        finally:  # also when a frame brought the owner down
            link.cut()
            if self.links.get(host) is link:
                del self.links[host]
                self._fail(host, why)
                self.owner.disconnected(host, why)
        return ws

    async def _serve(self, link: Link) -> str:
        try:
            hello = messages.decode(await link.ws.receive_str(timeout=10.0))
        except (TypeError, TimeoutError, msgspec.DecodeError) as e:
            return f"no hello: {e}"
        if not isinstance(hello, messages.Hello) or (hello.host, hello.uuid) != (link.host, link.uuid):
            return "hello does not match the certificate"
        facts = self.owner.welcome(link.host, link.uuid)
        if facts is None:
            await link.ws.close(message=b"host is not in the topology")
            return "not in the topology"
        old = self.links.get(link.host)
        self.links[link.host] = link
        if old is not None:
            old.cut()
            self._fail(link.host, "the agent connected anew")
        self._slots += 1
        slot = (self._slots * 0.618) % 1.0 * BEAT_PERIOD
        link.send({"t": "welcome", "period": BEAT_PERIOD, "slot": round(slot, 2), **facts})
        pump = asyncio.create_task(link.pump())
        try:
            self.owner.connected(link.host, hello)
            return await self._receive(link)
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await pump

    async def _receive(self, link: Link) -> str:
        async for message in link.ws:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return "connection failed"
            try:
                frame = messages.decode(message.data)
            except msgspec.DecodeError as e:
                return f"bad frame: {e}"
            link.seen = time.time()
            if self.links.get(link.host) is not link:
                return "replaced"
            if isinstance(frame, messages.Result):
                self._answer(frame)
            elif isinstance(frame, messages.Pong):
                link.latency = max(0.0, time.time() - frame.at)
            self.owner.frame(link.host, frame)
        return "connection closed"

    def _answer(self, frame: messages.Result) -> None:
        _, future = self._waiting.pop(frame.task, ("", None))
        if future is not None and not future.done():
            future.set_result(Answer(frame.task, frame.ok, frame.data, frame.code, frame.text))

    def _fail(self, host: str, why: str) -> None:
        for task, (owner, future) in list(self._waiting.items()):
            if owner == host:
                del self._waiting[task]
                if not future.done():
                    future.set_exception(ConnectionError(f"{host}: {why}"))
                    future.exception()  # seen: nobody may be waiting any more

    async def _join(self, request: web.Request) -> web.StreamResponse:
        try:
            answer = await self.owner.join(msgspec.json.decode(await request.read(), type=dict[str, Any]))
        except PermissionError as e:
            return web.json_response({"error": str(e)}, status=403)
        except (msgspec.DecodeError, KeyError, ValueError) as e:
            return web.json_response({"error": f"bad request: {e}"}, status=400)
        return web.json_response(answer)

    async def _build(self, request: web.Request) -> web.StreamResponse:
        """Only for a host that has a link now: one that was put out keeps its certificate."""
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        try:
            host, uuid = peer_identity(certificate or {})
        except ValueError:
            return web.Response(status=403, text="a host certificate is needed here\n")
        link = self.links.get(host)
        if link is None or link.uuid != uuid:
            return web.Response(status=403, text="this host is not connected\n")
        if self.build is None:
            return web.Response(status=404)
        return await self.build(request, host)
