"""The agent's end of the link: one WebSocket over mutual TLS, dialled from here, for ever."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import ssl
import sys
import time
from asyncio import sslproto
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Set, Union
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from cockpit.agent.identity import Identity, check_controller, origin
from cockpit.agent.waiting import within
from cockpit.link.frames import MAX_FRAME, SUBPROTOCOL, Frame, ProtocolError, decode, encode

HELLO_TIME = 15.0
DEAD_AFTER = 15_000
"""Milliseconds without an acknowledgement of sent data after which the kernel ends the connection.
Beats are sent all the time, so a silent death is seen without pings that would wake both sides."""
MAX_URGENT = 20_000
MAX_BULK = 64
SOON, LATER = 2.0, 5.0

EVERYTHING: Frame = {"t": "everything"}
"""In the outbox: tell the full set anew on this connection."""

# CPython keeps a buffer of this size per TLS connection: 256 KiB by default.
if hasattr(sslproto.SSLProtocol, "max_size"):
    sslproto.SSLProtocol.max_size = 16 * 1024


class Overflow(Exception):
    """The controller does not read; the connection is dropped and everything is told anew."""


FAILURES = (OSError, WebSocketException, ProtocolError, Overflow, asyncio.TimeoutError, EOFError)


class Outbox:
    """What waits to be sent: units and results first, log lines when nothing else does.

    Units are kept by name and composed when they are sent: however often one changes meanwhile, it
    is one frame with the latest. `compose` returns None for nothing to say.
    """

    def __init__(self, compose: Callable[[str], Optional[Frame]]) -> None:
        self._compose = compose
        self._urgent: Deque[Union[str, Frame]] = deque()
        self._marked: Set[str] = set()
        self._bulk: Deque[Frame] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.open = False
        """False while there is no connection: what is put is left out, the full set comes first."""

    def clear(self, *, open: bool) -> None:
        self._urgent.clear()
        self._marked.clear()
        self._bulk.clear()
        self.open = open
        self._room.set()
        self._idle.set()
        self._wake.set()

    def put(self, frame: Frame) -> None:
        if self.open:
            self._urgent.append(frame)
            self._idle.clear()
            self._wake.set()

    def unit(self, unit: str) -> None:
        if self.open and unit not in self._marked:
            self._marked.add(unit)
            self._urgent.append(unit)
            self._idle.clear()
            self._wake.set()

    async def bulk(self, frame: Frame) -> None:
        """Wait for room. Frames of a connection that is gone are left out."""
        while self.open and len(self._bulk) >= MAX_BULK:
            self._room.clear()
            await self._room.wait()
        if self.open:
            self._bulk.append(frame)
            self._idle.clear()
            self._wake.set()

    async def take(self) -> Frame:
        """The next frame. Raises Overflow."""
        while True:
            if len(self._urgent) > MAX_URGENT:
                raise Overflow(f"{len(self._urgent)} frames wait")
            while self._urgent:
                item = self._urgent.popleft()
                if isinstance(item, dict):
                    return item
                self._marked.discard(item)
                frame = self._compose(item)
                if frame is not None:
                    return frame
            if self._bulk:
                frame = self._bulk.popleft()
                self._room.set()
                return frame
            self._idle.set()
            self._wake.clear()
            await self._wake.wait()

    async def flushed(self, timeout: float) -> None:
        """Wait until everything was handed to the connection."""
        try:
            await within(self._idle.wait(), timeout)
        except asyncio.TimeoutError:
            pass


class Owner:
    """What the link asks of the agent."""

    def hello(self) -> Frame:
        raise NotImplementedError

    def address(self) -> str:
        """The host's own address, to connect from; empty when it is not known yet."""
        raise NotImplementedError

    def welcome(self, frame: Frame) -> None:
        raise NotImplementedError

    async def everything(self) -> List[Frame]:
        """The full set, then all unacknowledged events."""
        raise NotImplementedError

    def frame(self, frame: Frame) -> None:
        raise NotImplementedError

    def disconnected(self) -> None:
        raise NotImplementedError


class Link:
    """Connects, again and again; `run` never returns."""

    def __init__(self, identity: Identity, owner: Owner, outbox: Outbox) -> None:
        self.connected = False
        self._identity = identity
        self._owner = owner
        self._outbox = outbox
        self._said = ""

    async def run(self) -> None:
        failures = 0
        n = 0
        while True:
            url = self._identity.controllers[n % len(self._identity.controllers)]
            refused = False
            try:
                await self._session(url)
                failures = 0
            except FAILURES as e:
                refused = isinstance(e, OSError) and e.errno == errno.ECONNREFUSED
                failures = 0 if self.connected else failures + 1
                self._say(f"{url}: {_why(e)}")
            finally:
                if self.connected:
                    self.connected = False
                    self._outbox.clear(open=False)
                    self._owner.disconnected()
            n += 1
            await asyncio.sleep(pause(failures, refused))

    def again(self) -> None:
        """Tell everything anew on the present connection (the keeper is another one now)."""
        self._outbox.put(EVERYTHING)

    async def _session(self, url: str) -> None:
        ws = await self._dial(url)
        try:
            ssl_object = ws.transport.get_extra_info("ssl_object")
            check_controller(ssl_object.getpeercert(), self._identity.cluster)
            sock = ws.transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, 18, DEAD_AFTER)  # TCP_USER_TIMEOUT
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await ws.send(encode(self._owner.hello()))
            welcome = decode(await within(ws.recv(), HELLO_TIME))
            if welcome["t"] != "welcome":
                raise ProtocolError(f"welcome was expected, not {welcome['t']}")
            self._owner.welcome(welcome)
            self._outbox.clear(open=True)
            self.connected = True
            self._say(f"connected to {url}")
            await self._serve(ws, float(welcome.get("period", 5.0)), float(welcome.get("slot", 0.0)))
        finally:
            ws.transport.abort()

    async def _dial(self, url: str) -> ClientConnection:
        where = urlsplit(origin(url))
        address = self._owner.address()
        options: Dict[str, Any] = {"local_addr": (address, 0)} if address else {}
        while True:
            try:
                return await connect(
                    f"wss://{where.netloc}/link", ssl=self._identity.context(),
                    subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None,
                    max_size=MAX_FRAME, max_queue=64, proxy=None, ping_interval=None, open_timeout=HELLO_TIME,
                    close_timeout=1, user_agent_header=None, **options,
                )
            except OSError as e:
                # the address is one that others see, not one of this machine's
                if not options or e.errno != errno.EADDRNOTAVAIL and "assign requested" not in str(e):
                    raise
                options = {}

    async def _serve(self, ws: ClientConnection, period: float, slot: float) -> None:
        tasks = [
            asyncio.ensure_future(self._send(ws)), asyncio.ensure_future(self._receive(ws)),
            asyncio.ensure_future(self._beat(max(0.1, period), slot)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, ws: ClientConnection) -> None:
        frame = EVERYTHING
        while True:
            frames = await self._owner.everything() if frame is EVERYTHING else [frame]
            for each in frames:
                await ws.send(encode(each))
            frame = await self._outbox.take()

    async def _receive(self, ws: ClientConnection) -> None:
        async for data in ws:
            frame = decode(data)
            if frame["t"] == "ping":
                self._outbox.put({"t": "pong", "at": frame.get("at", 0.0)})
                continue
            try:
                self._owner.frame(frame)
            except (KeyError, TypeError, ValueError) as e:
                raise ProtocolError(f"frame {frame['t']}: {type(e).__name__}: {e}") from None
        raise EOFError("the controller closed the connection")

    async def _beat(self, period: float, slot: float) -> None:
        while True:
            now = time.time()
            await asyncio.sleep(period - (now - slot) % period)
            self._outbox.put({"t": "beat", "at": time.time()})

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            print(f"{time.strftime('%H:%M:%S')} link: {text}", file=sys.stderr, flush=True)


def pause(failures: int, refused: bool) -> float:
    """Seconds before the next try. A refused connection is cheap and means that nobody listens yet:
    it is tried again within 2 s however long it lasts; what costs a handshake grows to 5 s."""
    most = SOON if refused else LATER
    return random.uniform(0.1, min(most, 0.5 * 2.0 ** min(failures, 6)))


def _why(e: BaseException) -> str:
    if isinstance(e, ssl.SSLError):
        return f"TLS: {e.reason or e}"
    if isinstance(e, asyncio.TimeoutError):
        return "no answer"
    return getattr(e, "strerror", None) or str(e) or type(e).__name__
