"""One connection between two nodes: frames in, frames out, over TLS on a non-blocking socket.

The loop's TLS transport is left aside on purpose: writing to the socket when the kernel has room, and not
before, keeps the choice of the next slice late, lets control messages slip in front of waiting slices, and
costs no second buffer per connection.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import deque
from typing import Any, Callable, Deque, Optional, Tuple, Union

from cockpit.swarm import wire
from cockpit.swarm.tls import Name

RECORD = 16 * 1024
SLICE = 2 * RECORD - len(wire.data_header(0, 0, 0, 0, 0))
"""Payload of a Data frame: with its header two TLS records to the byte."""
READS = 8
"""Records taken up at one wake-up; others have their turn before the rest."""
CONTROL = 8 * 1024 * 1024
"""Waiting control messages of a connection whose other side does not read."""
UNSENT = 32 * 1024
KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))
CONGESTION = (b"cubic", b"reno")
"""Named, because some kernels come with BBR, which starves beside other senders behind a shaper."""

Bytes = Union[bytes, bytearray, memoryview]


def options(sock: socket.socket) -> None:
    """What each socket of a swarm is set to; a listener hands it on to what it accepts."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _try(sock, "TCP_NOTSENT_LOWAT", UNSENT)
    for name, value in KEEPALIVE:  # the kernel notices the dead; nobody wakes up for it
        _try(sock, name, value)
    if hasattr(socket, "TCP_CONGESTION"):
        for congestion in CONGESTION:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion)
                break
            except OSError:
                continue  # not allowed here: the next one


def _try(sock: socket.socket, name: str, value: int) -> None:
    number = getattr(socket, name, None)
    if number is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, number, value)
        except OSError:
            pass


async def handshake(sock: socket.socket, context: ssl.SSLContext, server: bool) -> ssl.SSLSocket:
    """Raises ssl.SSLError, OSError. The socket is closed then, as it is when this is cancelled."""
    loop = asyncio.get_running_loop()
    try:
        secured = context.wrap_socket(sock, server_side=server, do_handshake_on_connect=False)
    except BaseException:
        sock.close()
        raise
    fd = secured.fileno()
    try:
        while True:
            ready: asyncio.Future[None] = loop.create_future()
            try:
                secured.do_handshake()
                return secured
            except ssl.SSLWantReadError:
                loop.add_reader(fd, _wake, ready)
            except ssl.SSLWantWriteError:
                loop.add_writer(fd, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_reader(fd)
                loop.remove_writer(fd)
    except BaseException:
        secured.close()
        raise


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class Slices:
    """Something long on its way out: an encoded piece, or a blob.

    `head(total, offset, length)` makes the header of a slice, `read(offset, length)` its payload (it may raise
    OSError), `done()` is called when all is written.
    """

    __slots__ = ("at", "done", "head", "key", "read", "total")

    def __init__(
        self, key: Any, total: int, head: Callable[[int, int, int], bytes], read: Callable[[int, int], Bytes],
        done: Callable[[], None],
    ) -> None:
        self.key = key
        self.total = total
        self.head = head
        self.read = read
        self.at = 0
        self.done = done

    def next(self) -> Tuple[bytes, Bytes]:
        length = min(SLICE, self.total - self.at)
        part = self.read(self.at, length)
        if len(part) != length:
            raise OSError(errno.EIO, "what is to be sent has been cut short")
        header = self.head(self.total, self.at, length)
        self.at += length
        return header, part


class Link:
    """Owns the socket from the handshake on. Callbacks come on the loop.

    `on_message(link, message)` may raise: WireError, PeerFault and ValueError close the link with their text.
    `on_closed(link, why)` comes once, never from within a call of the owner's.
    """

    def __init__(self, sock: ssl.SSLSocket, name: Name, on_message: Callable[["Link", Any], None],
                 on_closed: Callable[["Link", str], None], uuid: str = "") -> None:
        self.name = name
        self.uuid = uuid
        """Of the certificate that the other side has shown; empty for the origin."""
        self.node = name.node
        self.on_message = on_message
        self.on_closed = on_closed
        self.hello: Optional[wire.Hello] = None
        """The other side's, once it came."""
        self.target: Any = None
        """What the connection is for (`exchange.Target`)."""
        self.dialler = ""
        """Name of the node that made the connection."""
        self.allow: Callable[[int], float] = _always
        """Asked before each slice of so many bytes: 0 lets it go, else the seconds until asking again."""
        self.received = self.sent = 0
        self.reads = READS
        """Records that are read at a time."""
        """Payload of slices, in bytes."""
        self.closed = False
        self.faulty = False
        """What came on it was none of the protocol."""
        self.why = ""
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fd = sock.fileno()
        self._decoder = wire.Decoder()
        self._control = bytearray()
        self._uploads: Deque[Slices] = deque()
        self._out: Optional[memoryview] = None
        """Being written. TLS wants the same bytes again after the socket was full."""
        self._after: Optional[Slices] = None
        """Wholly written once `_out` is."""
        self._flushing = self._writing = False
        self._pause: Optional[asyncio.TimerHandle] = None
        self._reading = True
        self._loop.add_reader(self._fd, self._readable)

    # out

    def send(self, message: wire.Message) -> None:
        """Control messages of one turn of the loop leave as one write, in front of the slices."""
        if self.closed:
            return
        self._control += wire.encode(message)
        if len(self._control) > CONTROL:
            self.close("it does not read what it is sent")
        elif not self._writing:
            self._soon()

    def upload(self, slices: Slices) -> None:
        if not self.closed:
            self._uploads.append(slices)
            if not self._writing:
                self._soon()

    def cancel(self, key: Any) -> bool:
        """Stop an upload at the end of its slice. False: it is not under way (any more)."""
        for slices in self._uploads:
            if slices.key == key:
                self._uploads.remove(slices)
                return True
        return False

    @property
    def uploading(self) -> bool:
        return bool(self._uploads)

    def _soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self.closed and not self._writing:
            self._write()

    def _write(self) -> None:
        """The socket has room: one slice with all control messages in front of it."""
        done: Optional[Slices] = None
        try:
            if self._out is None:
                self._out = self._next()
            while self._out is not None:
                count = self._sock.send(self._out)
                if count < len(self._out):
                    self._out = self._out[count:]
                    continue
                self._out = None
                done, self._after = self._after, None
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._watch(True)
            return
        except OSError as error:
            self.close(_reason(error))
            return
        waiting = bool(self._control) or (bool(self._uploads) and self._pause is None)
        self._watch(waiting)
        if done is not None:
            done.done()

    def _next(self) -> Optional[memoryview]:
        control = self._control
        if self._uploads and self._pause is None:
            slices = self._uploads[0]
            wait = self.allow(min(SLICE, slices.total - slices.at))
            if wait <= 0:
                header, part = slices.next()
                self.sent += len(part)
                if slices.at >= slices.total:
                    self._after = self._uploads.popleft()
                out = b"".join((control, header, part))
                if control:
                    self._control = bytearray()
                return memoryview(out)
            self._pause = self._loop.call_later(wait, self._resume)
        if not control:
            return None
        self._control = bytearray()
        return memoryview(control)

    def _resume(self) -> None:
        self._pause = None
        if not self.closed and not self._writing:
            self._write()

    def _watch(self, writing: bool) -> None:
        if writing != self._writing:
            self._writing = writing
            if writing:
                self._loop.add_writer(self._fd, self._write)
            else:
                self._loop.remove_writer(self._fd)

    # in

    def _readable(self) -> None:
        why, parts = "", []
        try:
            for _ in range(self.reads):
                data = self._sock.recv(RECORD)
                if not data:
                    why = "it closed the connection"
                    break
                parts.append(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            why = _reason(error)
        if parts:
            try:
                for message in self._decoder.feed(parts[0] if len(parts) == 1 else b"".join(parts)):
                    if self.closed:
                        return
                    self.on_message(self, message)
            except (wire.WireError, ValueError, ArithmeticError) as error:
                self.faulty = True
                why = str(error)
        if why:
            self.close(why)

    def pause_reading(self, paused: bool) -> None:
        """While paused the other side is held back by its own full window."""
        if paused == self._reading and not self.closed:
            self._reading = not paused
            if paused:
                self._loop.remove_reader(self._fd)
            else:
                self._loop.add_reader(self._fd, self._readable)

    # end

    def close(self, why: str = "") -> None:
        if self.closed:
            return
        self.closed = True
        self.why = why
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._pause is not None:
            self._pause.cancel()
        self._uploads.clear()
        self._sock.close()
        self._loop.call_soon(self.on_closed, self, why)


def _always(_: int) -> float:
    return 0.0


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return error.strerror or str(error)
