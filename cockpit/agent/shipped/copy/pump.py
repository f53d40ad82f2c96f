"""What goes to and fro between child.py and the controller: bounded both ways.

A file is read only as far as the controller has given credit for; what is sent for one that is written goes to the
child's pipe at once, from the main thread, and the controller hears how much has gone.
"""

from __future__ import annotations

import base64
import json
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

if TYPE_CHECKING:
    from cockpit.agent.plugins.commands import Running
    from cockpit.agent.plugins.inside import Call

BLOCK = 48 * 1024
"""Of a multiple of 3, so that base64 has no padding between."""
MAX_PENDING = 1024 * 1024
"""Bytes that may wait for a slow disk; the controller sends less."""
MAX_STATUS = 64 * 1024


class Pump:
    def __init__(self, put: bool, credit: int, stall: float) -> None:
        """`credit`: bytes that may be told at once. `stall`: seconds in which something has to move."""
        self.put = put
        self.sent = 0
        """Bytes that were handed over."""
        self._credit = credit
        self._stall = stall
        self._moved = time.monotonic()
        self._pending = bytearray()
        self._took = 0
        self._commit: bytes = b""
        self._sha256 = ""
        self._lock = threading.Lock()
        self._wake, self._woken = os.pipe()
        self._said, self._status = os.pipe()
        self._control, self._told = os.pipe()
        taken, into = os.pipe()
        self._null = os.open(os.devnull, os.O_RDWR)
        self._theirs: List[int] = [self._status, self._control, taken]
        if put:
            self._stdio, self._data = (taken, self._null, self._null), into
        else:
            self._stdio, self._data = (self._null, into, self._null), taken
            self._theirs[2] = into
        for fd in (self._wake, self._woken, self._said, self._data):
            os.set_blocking(fd, False)
        self._running: Any = None

    def words(self) -> List[str]:
        return [str(self._status), str(self._control)]

    def stdio(self) -> Tuple[int, int, int]:
        return self._stdio

    def passed(self) -> Tuple[int, int]:
        return self._status, self._control

    def begin(self, request: Dict[str, Any]) -> None:
        """The child has begun, and has its ends."""
        self._give_up(*self._theirs, self._null)
        self._theirs, self._null = [], -1
        self._write_line(request)

    def _write_line(self, doc: Dict[str, Any]) -> None:
        os.write(self._told, json.dumps(doc).encode() + b"\n")

    # from the controller

    def take(self, data: Dict[str, Any]) -> None:
        """{"data"}, {"credit"} or {"eof","size","sha256"}. In the main thread."""
        with self._lock:
            if "credit" in data:
                self._credit += max(0, int(data["credit"]))
                self._moved = time.monotonic()
            if "data" in data and self.put:
                self._moved = time.monotonic()
                self._pending += base64.b64decode(str(data["data"]))
                if len(self._pending) > MAX_PENDING and self._running is not None:
                    self._running.stop("flooded")
                    self._pending.clear()
            if data.get("eof") and self.put:
                digest = self._sha256 or str(data.get("sha256"))  # what was announced, where it was
                self._commit = json.dumps({"size": int(data["size"]), "sha256": digest}).encode() + b"\n"
            self._write()
        try:
            os.write(self._woken, b".")
        except OSError:
            pass  # full: it wakes anyway; closed: it is over

    def _write(self) -> None:
        while self._pending and self._data >= 0:
            try:
                count = os.write(self._data, bytes(self._pending[:BLOCK]))
            except BlockingIOError:
                return
            except OSError:  # nobody reads any more: the child has said why
                count = len(self._pending)
            self._moved = time.monotonic()
            self._took += count
            del self._pending[:count]
        if self._commit and self._data >= 0:
            try:
                os.write(self._told, self._commit)
            except OSError:
                pass
            os.close(self._data)
            self._data = -1

    # to the controller

    def run(self, call: "Call", running: "Running", user: str, sha256: str) -> Dict[str, Any]:
        """What the child said last, once it has said all: {"done"}, {"error"}, or {} when it could not."""
        self._running, self._sha256 = running, sha256
        call.on_input(self.take)
        found: Dict[str, Any] = {}
        status, open_status = b"", True
        while open_status or (self._data >= 0 and not self.put):
            self._poll(open_status)
            if open_status:
                more = self._some(self._said, MAX_STATUS)
                open_status = more != b""
                *lines, status = (status + (more or b"")).split(b"\n")
                for line in lines:
                    doc = json.loads(line)
                    if "begun" in doc:
                        call.progress({"begun": {**doc["begun"], "user": user}})
                    else:
                        found = doc
            with self._lock:
                self._write()
                took, self._took = self._took, 0
                room = min(BLOCK, self._credit)
            if took:
                call.progress({"took": took})
            if not self.put and self._data >= 0 and room > 0:
                said = self._read(room)
                if said:
                    call.progress(said)
            if not open_status and ("done" not in found or call.cancelled.is_set()):
                break  # what it could not send to its end nobody wants
            if time.monotonic() - self._moved > self._stall:
                running.stop("stalled")
        return found

    def _read(self, room: int) -> Dict[str, Any]:
        blocks: List[bytes] = []
        while room > 0:
            block = self._some(self._data, room)
            if block is None:
                break
            if not block:
                os.close(self._data)
                self._data = -1
                break
            blocks.append(block)
            room -= len(block)
        data = b"".join(blocks)
        if not data:
            return {}
        self.sent += len(data)
        self._moved = time.monotonic()
        with self._lock:
            self._credit -= len(data)
        return {"data": base64.b64encode(data).decode()}

    @staticmethod
    def _some(fd: int, most: int) -> Any:
        """Bytes; empty at the end; None when there are none now."""
        try:
            return os.read(fd, most)
        except BlockingIOError:
            return None

    def _poll(self, status: bool) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if status:
            poll.register(self._said, select.POLLIN)
        with self._lock:
            if self._data >= 0 and not self.put and self._credit > 0:
                poll.register(self._data, select.POLLIN)
            if self._data >= 0 and self.put and self._pending:
                poll.register(self._data, select.POLLOUT)
        for fd, _ in poll.poll(1000):
            if fd == self._wake:
                self._some(self._wake, 4096)

    def _give_up(self, *fds: int) -> None:
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def close(self) -> None:
        with self._lock:
            self._give_up(self._wake, self._woken, self._said, self._told, self._data, self._null, *self._theirs)
            self._wake = self._woken = self._said = self._told = self._data = self._null = -1
            self._theirs = []
