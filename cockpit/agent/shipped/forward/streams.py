"""The connections of one forward: from what the controller sends to a port here and back, bounded both ways.

Of a connection only as much is read as there is credit for; what the port has not taken waits here, at most a window
of it. One thread does it all, so that a hundred connections are no hundred threads.

An event is [number of the connection, kind, more]. To us: `open` UNIT, `data` BASE64, `eof`, `took` BYTES (so much
has gone on from there: credit), `over`. From us: `open`, `no` WHY (never connected), `data` BASE64, `eof`, `took`
BYTES, `over` WHY (empty: both sides have ended).
"""

from __future__ import annotations

import base64
import collections
import errno
import os
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Tuple

from .where import NotOurs

if TYPE_CHECKING:
    from cockpit.agent.plugins.inside import Call

BLOCK = 32 * 1024
"""Bytes of one message to the controller."""
CONNECT = 10.0
"""Seconds that a port may take to accept."""
SLACK = 2
"""Windows that may wait for a port; a controller that sends more is not ours."""
RESET = struct.pack("ii", 1, 0)
Find = Callable[[str], "Tuple[int, List[str]]"]


class Conn:
    def __init__(self, number: int, window: int) -> None:
        self.number = number
        self.credit = window
        self.pending = bytearray()
        self.places: List[Tuple[str, int]] = []
        """What is left to be tried."""
        self.place = ("", 0)
        self.sock: Any = None
        self.connecting = True
        self.until = time.monotonic() + CONNECT
        self.eof = False
        """Nothing more comes from over there."""
        self.shut = False
        """And the port knows."""
        self.ended = False
        """The port says nothing more."""
        self.mask = -1


class Streams:
    """`find` (unit) -> port and addresses, raises NotOurs. `room`: may one more connection be opened on this host?"""

    def __init__(self, window: int, find: Find, room: Callable[[], bool]) -> None:
        self.connections = self.into = self.out = 0
        """Connections that were made, bytes to ports and from them."""
        self.why = ""
        self._window = window
        self._find = find
        self._room = room
        self._came: Deque[Any] = collections.deque()
        self._conns: Dict[int, Conn] = {}
        self._by_fd: Dict[int, Conn] = {}
        self._said: List[Any] = []
        self._size = self._got = 0
        self._poll = select.poll()
        self._wake, self._woken = os.pipe()
        self._closed = threading.Lock()
        for fd in (self._wake, self._woken):
            os.set_blocking(fd, False)
        self._poll.register(self._wake, select.POLLIN)

    def __len__(self) -> int:
        return len(self._conns)

    # from other threads

    def take(self, data: Dict[str, Any]) -> None:
        self._came.append(data.get("ev") or ())
        self.wake()

    def stop(self, why: str = "stopped") -> None:
        self.why = self.why or why
        self.wake()

    def wake(self) -> None:
        with self._closed:
            if self._woken >= 0:
                try:
                    os.write(self._woken, b".")
                except BlockingIOError:
                    pass  # it is awake anyway

    # its own

    def run(self, call: "Call") -> None:
        """Until it is stopped."""
        try:
            while not self.why and not call.cancelled.is_set():
                waits = any(c.connecting for c in self._conns.values())
                for fd, what in self._poll.poll(500 if waits else 30_000):
                    if fd == self._wake:
                        try:
                            os.read(self._wake, 4096)
                        except BlockingIOError:
                            pass
                    elif fd in self._by_fd:
                        self._turn(call, self._by_fd[fd], what)
                while self._came:
                    self._got += 1
                    for event in self._came.popleft():
                        self._event(event)
                if waits:
                    self._late()
                self._flush(call)
        finally:
            for conn in list(self._conns.values()):
                self._close(conn, reset=True)
            with self._closed:
                os.close(self._wake)
                os.close(self._woken)
                self._wake = self._woken = -1

    def _say(self, *event: Any) -> None:
        self._said.append(event)

    def _flush(self, call: "Call") -> None:
        if self._said or self._got:
            said, got = self._said, self._got
            self._said, self._size, self._got = [], 0, 0
            call.progress({"ev": said, "got": got})

    # what comes

    def _event(self, event: Any) -> None:
        number, kind = int(event[0]), event[1]
        if kind == "open":
            if number not in self._conns:
                self._open(number, str(event[2]) if len(event) > 2 else "")
            return
        conn = self._conns.get(number)
        if conn is None:
            return  # over, which they have not heard yet
        if kind == "data" and not conn.eof:
            conn.pending += base64.b64decode(event[2])
            if len(conn.pending) > SLACK * self._window:
                self._over(conn, "more came than there was room for")
                return
        elif kind == "took":
            conn.credit += max(0, int(event[2]))
        elif kind == "eof":
            conn.eof = True
        elif kind == "over":
            self._close(conn, reset=not (conn.eof and conn.ended))
            return
        if not conn.connecting:
            self._write(conn)

    def _open(self, number: int, unit: str) -> None:
        conn = self._conns[number] = Conn(number, self._window)
        if not self._room():
            self._never(conn, "too many forwarded connections are open on this host")
            return
        try:
            port, places = self._find(unit)
        except NotOurs as e:
            self._never(conn, str(e))
            return
        conn.places = [(address, port) for address in places]
        self._connect(conn, "there is no address to connect to")

    def _connect(self, conn: Conn, why: str) -> None:
        """To the next of its places."""
        while conn.places:
            self._drop(conn)
            place = conn.place = conn.places.pop(0)
            try:
                family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
                conn.sock = socket.socket(family, socket.SOCK_STREAM)
                conn.sock.setblocking(False)
                code = conn.sock.connect_ex(place)
            except OSError as e:
                why = f"{place[0]}:{place[1]}: {e.strerror or e}"
                continue
            self._by_fd[conn.sock.fileno()] = conn
            if code in (0, errno.EINPROGRESS):
                self._watch(conn)
                return
            why = f"{place[0]}:{place[1]}: {os.strerror(code)}"
        self._never(conn, why)

    def _late(self) -> None:
        now = time.monotonic()
        for conn in [c for c in self._conns.values() if c.connecting and now > c.until]:
            conn.places = []
            self._never(conn, f"the port does not answer within {CONNECT:g} s")

    def _never(self, conn: Conn, why: str) -> None:
        self._say(conn.number, "no", why[:500])
        self._close(conn)

    # a connection's turn

    def _turn(self, call: "Call", conn: Conn, what: int) -> None:
        if conn.connecting:
            code = conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._connect(conn, f"{conn.place[0]}:{conn.place[1]}: {os.strerror(code)}")
                return
            conn.connecting = False
            conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._say(conn.number, "open")
        elif what & select.POLLIN or (what & (select.POLLHUP | select.POLLERR) and not conn.ended):
            self._read(call, conn)
        elif what & (select.POLLHUP | select.POLLERR):
            self._over(conn, "the port broke the connection")
        if conn.number in self._conns:
            self._write(conn)

    def _read(self, call: "Call", conn: Conn) -> None:
        try:
            data = conn.sock.recv(min(BLOCK, max(1, conn.credit)))
        except BlockingIOError:
            return
        except OSError as e:
            self._over(conn, f"the port broke the connection: {e.strerror}")
            return
        if data:
            conn.credit -= len(data)
            self.out += len(data)
            self._say(conn.number, "data", base64.b64encode(data).decode())
            self._size += len(data)
            if self._size >= BLOCK:
                self._flush(call)
        else:
            conn.ended = True
            self._say(conn.number, "eof")

    def _write(self, conn: Conn) -> None:
        """What waits for the port, as far as it takes it."""
        taken = 0
        while conn.pending:
            try:
                count = conn.sock.send(memoryview(conn.pending)[:BLOCK])
            except BlockingIOError:
                break
            except OSError as e:
                if not conn.ended and conn.credit > 0:
                    self._last_words(conn)
                self._over(conn, f"the port broke the connection: {e.strerror}")
                return
            taken += count
            del conn.pending[:count]
        if taken:
            self.into += taken
            self._say(conn.number, "took", taken)
        if conn.eof and not conn.pending and not conn.shut:
            conn.shut = True
            try:
                conn.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it is gone; reading says so
        if conn.shut and conn.ended:
            self._over(conn, "")
        else:
            self._watch(conn)

    def _last_words(self, conn: Conn) -> None:
        """What it said before it broke off: an error page, most likely."""
        try:
            data = conn.sock.recv(min(BLOCK, conn.credit))
        except OSError:
            return
        if data:
            self.out += len(data)
            self._say(conn.number, "data", base64.b64encode(data).decode())

    def _over(self, conn: Conn, why: str) -> None:
        self._say(conn.number, "over", why)
        self._close(conn, reset=bool(why))

    def _watch(self, conn: Conn) -> None:
        """What poll looks for. Without credit nothing: what is there already would wake us for ever."""
        mask = 0
        if conn.connecting or conn.pending:
            mask |= select.POLLOUT
        if not conn.connecting and not conn.ended and conn.credit > 0:
            mask |= select.POLLIN
        if mask == conn.mask:
            return
        fd = conn.sock.fileno()
        if mask or conn.ended:
            self._poll.register(fd, mask)
            conn.mask = mask
        elif conn.mask >= 0:
            self._poll.unregister(fd)
            conn.mask = -1

    def _drop(self, conn: Conn, *, reset: bool = False) -> None:
        if conn.sock is None:
            return
        self._by_fd.pop(conn.sock.fileno(), None)
        if conn.mask >= 0:
            self._poll.unregister(conn.sock.fileno())
            conn.mask = -1
        if reset:
            try:
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            except OSError:
                pass
        conn.sock.close()
        conn.sock = None

    def _close(self, conn: Conn, *, reset: bool = False) -> None:
        self._drop(conn, reset=reset)
        self._conns.pop(conn.number, None)
