"""The keeper's socket: connections, who is on the other side, bounded buffers."""

from __future__ import annotations

import errno
import os
import socket
import struct

from .loop import IN, OUT, Loop
from .wire import MAX_LINE, Lines, Raw, Reject, TooLong, answer, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Doc = dict[str, Any]

MAX_CONNECTIONS = 64
MAX_WAITING = 4 * MAX_LINE
"""Bytes that a slow reader may have outstanding before it is dropped."""
MAX_PATH = 107
PEER = struct.Struct("3i")


class Connection:
    def __init__(self, sock: socket.socket, uid: int) -> None:
        self.sock = sock
        self.uid = uid
        self.lines = Lines()
        self.out = bytearray()
        self.subscribed = False
        self.drop = False
        """Close at once."""
        self.last = False
        """Close when everything is sent."""
        self.open = True

    def reply(self, id: object, doc: Doc | Raw) -> None:
        """To be sent at the end of the round, after everything was written down."""
        self.put(answer(id, doc))

    def put(self, data: bytes) -> None:
        if self.open and len(self.out) <= MAX_WAITING:
            self.out += data
        else:
            self.drop = True  # it does not read: it may come again and list


def listen(directory: str, name: str) -> socket.socket:
    """A listening socket, 0600, in place of one that nobody listens on any more. Raises OSError."""
    path = os.path.join(directory, name)
    if os.path.lexists(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # a path that is too long for a socket address can be said shorter
        sock.bind(path if len(os.fsencode(path)) <= MAX_PATH else f"/proc/self/fd/{fd}/{name}")
        os.chmod(path, 0o600)
        sock.listen(MAX_CONNECTIONS)
    except OSError:
        sock.close()
        raise
    finally:
        os.close(fd)
    return sock


class Server:
    """Reads requests, hands them to `answer`, and sends what is put out at the end of each round."""

    def __init__(
        self, loop: Loop, sock: socket.socket, answer: Callable[[Connection, Doc], Doc | Raw | None]
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._answer = answer
        self._connections: dict[int, Connection] = {}
        self._mine = os.geteuid()
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        loop.add(sock.fileno(), self._accept)

    def _accept(self, events: int) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError as e:
            if e.errno in (errno.EMFILE, errno.ENFILE):
                self._turn_away()
            return
        try:
            _, uid, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        except OSError:
            uid = -1
        if uid not in (self._mine, 0) or len(self._connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(sock, uid)
        self._connections[sock.fileno()] = connection
        self._loop.add(sock.fileno(), lambda events: self._ready(connection, events))

    def _turn_away(self) -> None:
        """No descriptor is left: spends the spare one on a refusal, or the poll would never rest."""
        os.close(self._spare)
        try:
            self._sock.accept()[0].close()
        except OSError:
            pass
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def _ready(self, connection: Connection, events: int) -> None:
        if not events & ~OUT:
            return  # `flush` sends, after what the answers tell of was written down
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or connection.last:
            if not data:
                self.close(connection)
            return
        try:
            lines = connection.lines.feed(data)
        except TooLong:
            self._fatal(connection, f"a line is over {MAX_LINE} bytes")
            return
        for line in lines:
            if line.strip():
                self._request(connection, line)

    def _request(self, connection: Connection, line: bytes) -> None:
        id: object = None
        reply: Doc | Raw | None
        try:
            doc = decode(line)
            id = doc.get("id")
            reply = self._answer(connection, doc)
        except Reject as e:
            reply = {"ok": False, "code": e.code, "text": e.text}
        if reply is not None:
            connection.reply(id, reply)

    def push(self, docs: list[Doc]) -> None:
        """Events to everybody who subscribed."""
        listeners = [c for c in self._connections.values() if c.subscribed]
        if listeners and docs:
            data = b"".join(encode(d) for d in docs)
            for connection in listeners:
                connection.put(data)

    def _fatal(self, connection: Connection, text: str) -> None:
        connection.reply(None, {"ok": False, "code": "bad", "text": text})
        connection.last = True

    def flush(self) -> None:
        """Sends what can be sent without waiting."""
        for connection in list(self._connections.values()):
            if connection.drop:
                self.close(connection)
            elif connection.out or connection.last:
                self._send(connection)

    def _send(self, connection: Connection) -> None:
        try:
            while connection.out:
                done = connection.sock.send(connection.out[:262144], socket.MSG_NOSIGNAL)
                del connection.out[:done]
        except BlockingIOError:
            self._loop.change(connection.sock.fileno(), IN | OUT)
            return
        except OSError:
            self.close(connection)
            return
        if connection.last:
            self.close(connection)
        else:
            self._loop.change(connection.sock.fileno(), IN)

    def close(self, connection: Connection) -> None:
        if connection.open:
            connection.open = False
            self._loop.drop(connection.sock.fileno())
            del self._connections[connection.sock.fileno()]
            connection.sock.close()

    def shut(self) -> None:
        """Sends what is left, as far as it goes without waiting, and closes everything."""
        self.flush()
        for connection in list(self._connections.values()):
            self.close(connection)
        self._loop.drop(self._sock.fileno())
        self._sock.close()
        os.close(self._spare)
