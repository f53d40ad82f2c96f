"""The listening side: one TLS port for links of every transport, joining, and what else the owner serves.

HTTP/2 is told apart by ALPN; everything else is aiohttp's. Strangers cost little: a connection gets a slot
for its TLS handshake only when it has begun one, and gives it back when it dawdles; who shows no
certificate, or asks for nothing, is put out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from asyncio import sslproto
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cockpit.link import http2, listen_polling, listen_websocket
from cockpit.link.channel import Channel, PoliteChannel, cut
from cockpit.link.pki import peer_name

log = logging.getLogger(__name__)
_requests = logging.getLogger(f"{__name__}.requests")


def _ours(record: logging.LogRecord) -> bool:
    """What a stranger sends is no error of ours, and not worth a line in the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_requests.addFilter(_ours)

HANDSHAKE_LIMIT = 16
"""TLS handshakes worked on at the same time; a thousand agents come back in a row, not at once."""
SLOT_TIME = 0.25
"""Seconds after which a handshake that waits for the other side gives its slot to the next; it may go on."""
SLOT_WAIT = 3.0
"""Seconds a connection waits for a slot. After that its agent is about to give up: work on it is wasted."""
HANDSHAKE_TIME = 10.0
"""Seconds from the connection to the end of its TLS handshake."""
FIRST_REQUEST = 10.0
"""Seconds from the handshake to the end of the headers of the first request."""
STRANGER_TIME = 30.0
"""Seconds that a connection without a certificate lives at most: enough to join."""
MAX_PENDING = 1024
"""Connections before the end of their handshake."""
MAX_STRANGERS = 64
"""Connections without a certificate."""
MAX_CONNECTIONS = 32
"""Connections of one identity: its link, polls, files of builds."""
KEEP_ALIVE = 15.0

# CPython keeps a buffer of this size per TLS connection: 256 KiB by default, 300 KB an agent. What agents
# send is small, so 8 KiB cost no time.
sslproto.SSLProtocol.max_size = 8 * 1024


@dataclass(frozen=True)
class Who:
    """What a verified certificate says."""

    kind: str
    """host, relay or controller"""
    name: str
    """Its own name; a controller's is its cluster's."""
    uuid: str
    """Empty for a controller."""


OnChannel = Callable[[Channel, Who], Awaitable[None]]


def who(peercert: Any) -> Who:
    """Raises ValueError with a sentence."""
    kind, name = peer_name(peercert)
    if kind == "controller":
        return Who(kind, name, "")
    urn = "urn:uuid:"
    uuids = [v[len(urn) :] for k, v in peercert.get("subjectAltName", ()) if k == "URI" and v.startswith(urn)]
    if len(uuids) != 1:
        raise ValueError(f"the certificate of {kind} {name} has no UUID, or several")
    return Who(kind, name, uuids[0])


class Listener:
    """One TLS port. Every authenticated channel is given to `on_channel`, which owns it until it returns.

    When it returns the channel is closed politely, when it raises it is aborted. `app` holds the other
    routes; `/link` and `/poll` are added to it here.
    """

    def __init__(self, context: ssl.SSLContext, app: web.Application, on_channel: OnChannel) -> None:
        # a client that speaks both gets HTTP/1.1, where all the routes are; only agents offer nothing but h2
        context.set_alpn_protocols(["http/1.1", "h2"])
        self.port = 0
        self._context = context
        self._on_channel = on_channel
        self._polls = listen_polling.Sessions(self._run)
        app.router.add_get("/link", self._websocket, allow_head=False)
        app.router.add_post("/poll", self._poll)
        app.middlewares.insert(0, self._noticed)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.5, keepalive_timeout=KEEP_ALIVE, logger=_requests
        )
        self._sockets: list[socket.socket] = []
        self._slots = asyncio.Semaphore(HANDSHAKE_LIMIT)
        self._pending: OrderedDict[asyncio.Task[None], str] = OrderedDict()
        self._crowd: Counter[str] = Counter()
        """Pending connections by address."""
        self._open: dict[str, OrderedDict[_Switch, None]] = {}
        """Connections by identity; strangers under the empty one."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._channels: set[Channel] = set()

    async def start(self, address: str, port: int) -> int:
        """The port it listens on. Raises OSError when it is taken."""
        await self._runner.setup()
        self._sockets = await _bind(address, port)
        self.port = int(self._sockets[0].getsockname()[1])
        for listening in self._sockets:
            self._keep(self._accept(listening))
        self._keep(self._polls.sweep())
        return self.port

    async def stop(self) -> None:
        """No new connection; every channel is aborted, and its `on_channel` has ended."""
        for listening in self._sockets:
            listening.close()
        tasks = [*self._tasks, *self._pending]
        for channel in list(self._channels):
            channel.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connections in list(self._open.values()):
            for connection in list(connections):
                connection.abort()
        await self._runner.cleanup()

    # from a connection to a protocol

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as e:  # too many files are open, or it was gone before we looked
                log.warning("no connection could be accepted: %s", e)
                await asyncio.sleep(0.1)
                continue
            if len(self._pending) >= MAX_PENDING:
                self._make_room()
            where = str(address[0])
            task = asyncio.ensure_future(self._admit(sock))
            self._pending[task] = where
            self._crowd[where] += 1
            task.add_done_callback(self._admitted)

    def _make_room(self) -> None:
        """Put out the one that waits longest of the address with the most connections."""
        crowded = max(self._crowd, key=self._crowd.__getitem__)
        task = next(t for t, where in self._pending.items() if where == crowded)
        self._admitted(task)
        self._tasks.add(task)  # kept until it has ended
        task.add_done_callback(self._tasks.discard)
        task.cancel()

    def _admitted(self, task: asyncio.Task[None]) -> None:
        where = self._pending.pop(task, None)
        if where is not None:
            self._crowd[where] -= 1
            if not self._crowd[where]:
                del self._crowd[where]
        if task.done() and not task.cancelled() and task.exception() is not None:
            log.debug("no TLS: %s", task.exception())

    async def _admit(self, sock: socket.socket) -> None:
        """Take it through its TLS handshake; what happens then is the protocol's."""
        sock.setblocking(False)
        handshake: asyncio.Future[Any] | None = None
        try:
            async with asyncio.timeout(HANDSHAKE_TIME):
                if not await _begins_tls(sock):
                    return
                async with asyncio.timeout(SLOT_WAIT):
                    await self._slots.acquire()
                try:
                    handshake = asyncio.ensure_future(self._handshake(sock))
                    await asyncio.wait({handshake}, timeout=SLOT_TIME)
                finally:
                    self._slots.release()
                await handshake
        except (OSError, TimeoutError):  # garbage, a foreign certificate, silence
            pass
        finally:
            if handshake is None:
                sock.close()
            elif not handshake.done():
                handshake.cancel()

    async def _handshake(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: _Switch(self), sock, ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_TIME, ssl_shutdown_timeout=1.0,
        )  # fmt: skip

    def _enter(self, switch: _Switch) -> None:
        """Note the connection; the oldest of the same identity goes when there are too many."""
        found = self._open.setdefault(switch.key, OrderedDict())
        found[switch] = None
        if len(found) > (MAX_CONNECTIONS if switch.key else MAX_STRANGERS):
            next(iter(found)).abort()

    def _leave(self, switch: _Switch) -> None:
        found = self._open.get(switch.key)
        if found is not None:
            found.pop(switch, None)
            if not found:
                del self._open[switch.key]

    # channels

    @web.middleware
    async def _noticed(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        switch = request.transport.get_protocol() if request.transport else None
        if isinstance(switch, _Switch):
            switch.asked()
        return await handler(request)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        known = _known(request)
        if isinstance(known, web.Response):
            return known
        channel = await listen_websocket.accept(request)
        await self._run(channel, known)
        return channel.response

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        known = _known(request)
        return known if isinstance(known, web.Response) else await self._polls.poll(request, known)

    def _http2(self, channel: PoliteChannel) -> None:
        self._keep(self._run(channel, who(channel.peercert)))

    async def _run(self, channel: PoliteChannel, known: Any) -> None:
        self._channels.add(channel)
        try:
            await self._on_channel(channel, known)
            await channel.close()
        except Exception:  # the owner's fault: this one channel ends, the others go on
            log.exception("the channel of %s %s failed", known.kind, known.name)
        finally:
            self._channels.discard(channel)
            channel.abort()

    def _keep(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Switch(asyncio.Protocol):
    """Stands before aiohttp's protocol or ours, as ALPN says, and counts the connection."""

    def __init__(self, listener: Listener) -> None:
        self.key = ""
        self._listener = listener
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._began = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        certificate = transport.get_extra_info("peercert")
        if certificate:
            with contextlib.suppress(ValueError):
                found = who(certificate)
                self.key = f"{found.kind} {found.name}"
        self._deadline = asyncio.get_running_loop().call_later(FIRST_REQUEST, self.abort)
        server = self._listener._runner.server
        if server is None:  # we are stopping
            cut(transport)
            return
        inner: asyncio.Protocol
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            inner = http2.Http2(self._opened if self.key else None)
        else:
            inner = server()
        self._inner = inner
        self._listener._enter(self)
        # what the inner one writes at once is written by this transport; what it is sent comes through here
        inner.connection_made(transport)

    def _opened(self, channel: PoliteChannel) -> None:
        self.asked()
        self._listener._http2(channel)

    def asked(self) -> None:
        """A request has come. A stranger still has to end some time."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            if not self.key:
                left = STRANGER_TIME - (time.monotonic() - self._began)
                self._deadline = asyncio.get_running_loop().call_later(left, self.abort)

    def abort(self) -> None:
        if self._transport is not None:
            cut(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._listener._leave(self)
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self._inner = self._transport = None


def _known(request: web.Request) -> Who | web.Response:
    certificate = request.transport.get_extra_info("peercert") if request.transport else None
    try:
        return who(certificate)
    except ValueError as e:
        text = f"{e}\n" if certificate else "a certificate of this cluster is needed here\n"
        return web.Response(status=403, text=text)


async def _begins_tls(sock: socket.socket) -> bool:
    """Waits for the first byte, which stays. False when it ends, or speaks something else."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def ready() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(sock, ready)
    try:
        await readable
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK) == b"\x16"


async def _bind(address: str, port: int) -> list[socket.socket]:
    """Raises OSError that names the address."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            made.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(made) > 1:  # the same one for every address
                where = (where[0], made[0].getsockname()[1], *where[2:])
            try:
                sock.bind(where)
            except OSError as e:
                text = (e.strerror or str(e)).lower()
                raise OSError(e.errno, f"cannot listen on {address or 'any address'} port {port}: {text}") from None
            sock.listen(1024)
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made
