"""What goes to and fro between a program on this host and the controller: bounded both ways.

The program's output is read only while the controller has given credit for it, so that a flood waits in the program.
What is typed goes to the program at once, from the main thread: nothing that waits for the link holds up Ctrl-C.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import os
import select
import signal
import struct
import termios
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

if TYPE_CHECKING:
    import subprocess

    from cockpit.agent.plugins.commands import Running
    from cockpit.agent.plugins.inside import Call

BLOCK = 16 * 1024
MAX_PENDING = 256 * 1024
"""Bytes that may wait for a program that does not read; the controller sends less."""
LAST_WORDS = 0.3
"""Seconds for what a program in the background still holds open."""
LAST_CREDIT = 30.0
"""Seconds that the last words wait for credit."""
TIOCSIG = 0x40045436
MAX_SIDE = 1000
VINTR = termios.VINTR


def set_size(fd: int, rows: Any, cols: Any) -> None:
    """Size of the terminal in cells; the kernel tells the program."""
    sides = [max(1, min(MAX_SIDE, int(n))) for n in (rows, cols)]
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", *sides, 0, 0))


class Pump:
    """`into` is written; `outputs` (descriptor -> `out` or `err`) are read. All are closed by `close`."""

    def __init__(self, into: int, outputs: Dict[int, str], tty: bool, credit: int, idle: float) -> None:
        self.sent = 0
        """Bytes of output that were handed over."""
        self._into = into
        self._outputs = outputs
        self._tty = tty
        self._credit = credit
        self._idle = idle
        self._pending = bytearray()
        self._took = 0
        self._eof = False
        self._typed = time.monotonic()
        self._lock = threading.Lock()
        self._wake, self._woken = os.pipe()
        self._running: "Optional[Running]" = None
        self._ended = threading.Event()
        for fd in {into, *outputs, self._wake, self._woken}:
            os.set_blocking(fd, False)

    def take(self, data: Dict[str, Any]) -> None:
        """A message of the controller: {"data"}, {"credit"}, {"rows","cols"} or {"eof"}. In the main thread."""
        with self._lock:
            if "credit" in data:
                self._credit += max(0, int(data["credit"]))
            if "rows" in data and self._tty and self._into >= 0:
                set_size(self._into, data["rows"], data["cols"])
            if "data" in data:
                self._typed = time.monotonic()
                raw = base64.b64decode(str(data["data"]))
                self._pending += raw
                if len(self._pending) > MAX_PENDING and self._running is not None:
                    self._running.stop("flooded")
                    self._pending.clear()
                self._write()
                if self._pending and self._tty:
                    self._interrupt(raw)
            if data.get("eof"):
                self._eof = True
                self._write()
        self.wake()

    def wake(self) -> None:
        try:
            os.write(self._woken, b".")
        except OSError:
            pass  # full: it wakes anyway; closed: it is over

    def _write(self) -> None:
        while self._pending and self._into >= 0:
            try:
                count = os.write(self._into, bytes(self._pending[:BLOCK]))
            except BlockingIOError:
                return
            except OSError:  # nobody reads any more
                count = len(self._pending)
            self._took += count
            del self._pending[:count]
        if self._eof and not self._tty and self._into >= 0:
            os.close(self._into)
            self._into = -1

    def _interrupt(self, raw: bytes) -> None:
        """The program does not read, and Ctrl-C stands behind what it does not read: it gets the signal at once."""
        try:
            mode = termios.tcgetattr(self._into)
        except termios.error:
            return
        char = mode[6][VINTR]
        if mode[3] & termios.ISIG and isinstance(char, bytes) and char != b"\0" and char in raw:
            self._took += len(self._pending)
            self._pending.clear()
            try:
                fcntl.ioctl(self._into, TIOCSIG, int(signal.SIGINT))
            except OSError:
                pass

    def run(self, call: "Call", running: "Running", child: "subprocess.Popen[bytes]") -> None:
        """Until the program has ended and its last words are out."""
        self._running = running
        waiter = threading.Thread(target=self._await, args=(child,), daemon=True)
        waiter.start()
        ended: Optional[float] = None
        while not call.cancelled.is_set() or not self._ended.is_set():
            if ended is None and self._ended.is_set():
                ended = time.monotonic()
            if ended is not None:
                late = time.monotonic() - ended
                if not self._outputs or late > LAST_CREDIT or (self._credit > 0 and late > LAST_WORDS):
                    break
            self._poll(50 if ended is not None else 1000)
            said = self._read()
            with self._lock:
                self._write()
                took, self._took = self._took, 0
            if took:
                said["took"] = took
            if said:
                call.progress(said)
            if self._tty and ended is None and time.monotonic() - self._typed > self._idle:
                running.stop("idle")
        waiter.join(1.0)

    def _await(self, child: "subprocess.Popen[bytes]") -> None:
        child.wait()
        self._ended.set()
        self.wake()

    def _poll(self, timeout: int) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        wanted: Dict[int, int] = {}
        if self._credit > 0:
            wanted = {fd: select.POLLIN for fd in self._outputs}
        if self._pending and self._into >= 0:
            wanted[self._into] = wanted.get(self._into, 0) | select.POLLOUT
        for fd, events in wanted.items():
            poll.register(fd, events)
        for fd, _ in poll.poll(timeout):
            if fd == self._wake:
                try:
                    os.read(self._wake, 4096)
                except BlockingIOError:
                    pass

    def _read(self) -> Dict[str, Any]:
        """One message of what there is: {"out": base64, "err": base64}."""
        said: Dict[str, Any] = {}
        for fd, name in list(self._outputs.items()):
            blocks: List[bytes] = []
            room = min(BLOCK, self._credit)
            while room > 0:
                try:
                    block = os.read(fd, room)
                except BlockingIOError:
                    break
                except OSError as e:
                    if e.errno != errno.EIO:  # EIO: nobody has the terminal open any more
                        raise
                    block = b""
                if not block:
                    del self._outputs[fd]
                    if fd != self._into:
                        os.close(fd)
                    break
                blocks.append(block)
                room -= len(block)
            data = b"".join(blocks)
            if data:
                said[name] = base64.b64encode(data).decode()
                self.sent += len(data)
                with self._lock:
                    self._credit -= len(data)
        return said

    def close(self) -> None:
        with self._lock:
            for fd in {self._into, *self._outputs, self._wake, self._woken} - {-1}:
                os.close(fd)
            self._into = self._wake = self._woken = -1
            self._outputs.clear()
