"""Listening and dialling: from an address to a `Link` whose other side has shown who it is."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any, Callable, Dict, Optional, Set, Tuple

from cockpit.swarm.link import Link, handshake, options
from cockpit.swarm.tls import Identity, Name, expect, uuid_of

HANDSHAKE = 10.0
"""Seconds for the TCP connection and TLS together."""
AT_ONCE = 16
"""Handshakes of accepted connections at once: each costs a millisecond or two of the loop."""
PROMPT = 0.1
"""Seconds after which one that waits for the other side gives its turn to the next."""
WAITING = 512
"""Handshakes that wait for the other side; with more the oldest are given up."""
BACKLOG = 512

Message = Callable[[Link, Any], None]
Closed = Callable[[Link, str], None]


async def dial(
    identity: Identity, address: str, port: int, wanted: Optional[Name], on_message: Message, on_closed: Closed
) -> Link:
    """Raises OSError (ssl.SSLError and WrongName among them) with a sentence."""
    try:
        return await asyncio.wait_for(_dial(identity, address, port, wanted, on_message, on_closed), HANDSHAKE)
    except asyncio.TimeoutError:
        raise OSError(errno.ETIMEDOUT, f"{address}:{port} does not answer within {HANDSHAKE:g} s") from None


async def _dial(
    identity: Identity, address: str, port: int, wanted: Optional[Name], on_message: Message, on_closed: Closed
) -> Link:
    loop = asyncio.get_running_loop()
    family, place = await _place(loop, address, port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        options(sock)
        await loop.sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    secured = await handshake(sock, identity.client, False)
    try:
        certificate = secured.getpeercert()
        name = expect(certificate, wanted, identity.revoked)
    except BaseException:
        secured.close()
        raise
    return Link(secured, name, on_message, on_closed, uuid_of(certificate))


async def _place(loop: asyncio.AbstractEventLoop, address: str, port: int) -> Tuple[int, Any]:
    """Most addresses are numbers; only names are worth a thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
            return family, (address, port)
        except OSError:
            continue
    found = await loop.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    return found[0][0], found[0][4]


class Listener:
    """Accepts connections of nodes of this cluster; `on_link` is called with each before anything is read."""

    def __init__(
        self, identity: Identity, on_link: Callable[[Link], None], on_message: Message, on_closed: Closed
    ) -> None:
        self.identity = identity
        self.port = 0
        self._link = on_link
        self._message = on_message
        self._closed = on_closed
        self._sock: Optional[socket.socket] = None
        self._greeting: Set["asyncio.Task[None]"] = set()
        self._open: Dict["asyncio.Task[None]", None] = {}
        """All of them, also those who gave their turn away; the oldest first."""
        self._loop = asyncio.get_running_loop()

    def start(self, address: str, port: int) -> None:
        """Raises OSError when the address is not ours or the port is taken."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            options(sock)
            sock.bind((address, port))
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
        self._sock = sock
        self.port = sock.getsockname()[1]
        self._loop.add_reader(sock, self._accept)

    def stop(self) -> None:
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        for task in self._open:
            task.cancel()

    def _accept(self) -> None:
        assert self._sock is not None
        while len(self._greeting) < AT_ONCE:
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor left: later, when connections have ended
                self._loop.remove_reader(self._sock)
                self._loop.call_later(1.0, self._again)
                return
            task = self._loop.create_task(self._greet(sock))
            self._greeting.add(task)
            self._open[task] = None
            if len(self._open) > WAITING:
                next(iter(self._open)).cancel()
            task.add_done_callback(self._greeted)
            self._loop.call_later(PROMPT, self._turned, task)
        self._loop.remove_reader(self._sock)  # the others wait in the kernel's queue

    def _greeted(self, task: "asyncio.Task[None]") -> None:
        self._open.pop(task, None)
        self._turned(task)

    def _turned(self, task: "asyncio.Task[None]") -> None:
        self._greeting.discard(task)
        self._again()

    def _again(self) -> None:
        if self._sock is not None and len(self._greeting) < AT_ONCE:
            self._loop.add_reader(self._sock, self._accept)

    async def _greet(self, sock: socket.socket) -> None:
        try:
            options(sock)
            secured = await asyncio.wait_for(handshake(sock, self.identity.server, True), HANDSHAKE)
        except (OSError, asyncio.TimeoutError):
            return  # a stranger, or one that gave up
        try:
            certificate = secured.getpeercert()
            name = expect(certificate, None, self.identity.revoked)
        except OSError:
            secured.close()
            return
        self._link(Link(secured, name, self._message, self._closed, uuid_of(certificate)))
