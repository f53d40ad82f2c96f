"""A program on a terminal that is far away: a pseudo-terminal in a pseudo-terminal, with delay and rate both ways.

    python -m tests.bench.slow_link DELAY RATE ARGV...      milliseconds each way, kbit/s each way

Bytes leave one after the other at the rate and arrive DELAY later. At most WINDOW bytes are on their way in one
direction, as with a connection; then the program has to wait.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
import tty
from collections import deque

WINDOW = 32768
PIECE = 512
"""Bytes that travel together."""


class Way:
    """One direction."""

    def __init__(self, out: int, delay: float, rate: float) -> None:
        """`out`: where it comes out; `delay` in seconds; `rate` in bytes a second."""
        self.out = out
        self.delay = delay
        self.rate = rate
        self.held = 0
        self._free = 0.0
        self._pieces: deque[tuple[float, bytes]] = deque()

    @property
    def room(self) -> int:
        return WINDOW - self.held

    def take(self, data: bytes, now: float) -> None:
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            self._free = max(now, self._free) + len(piece) / self.rate
            self._pieces.append((self._free + self.delay, piece))
        self.held += len(data)

    def due(self) -> float | None:
        return self._pieces[0][0] if self._pieces else None

    def give(self, now: float) -> None:
        """Write what has arrived."""
        while self._pieces and self._pieces[0][0] <= now:
            _, piece = self._pieces.popleft()
            self.held -= len(piece)
            while piece:
                piece = piece[os.write(self.out, piece) :]


def main(delay: float, rate: float, argv: list[str]) -> int:
    """The program's exit code; it ends when the terminal goes."""
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    pid, inner = pty.fork()
    if pid == 0:
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("4H", *struct.unpack("4H", size)))
    os.kill(pid, signal.SIGWINCH)
    tty.setraw(0)
    there, back = Way(inner, delay, rate), Way(1, delay, rate)
    inputs = {0: there, inner: back}
    open_ = True
    while open_ or back.due() is not None:
        now = time.monotonic()
        waits = [at - now for way in inputs.values() if (at := way.due()) is not None]
        ready = [fd for fd, way in inputs.items() if way.room > 0 and open_]
        got, _, _ = select.select(ready, [], [], max(0.0, min(waits)) if waits else None)
        now = time.monotonic()
        for fd in got:
            try:
                data = os.read(fd, min(65536, inputs[fd].room))
            except OSError:
                data = b""
            if data:
                inputs[fd].take(data, now)
            else:
                open_ = False
        back.give(now)
        if open_:
            there.give(now)
    if os.isatty(0):
        os.close(inner)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(float(sys.argv[1]) / 1e3, float(sys.argv[2]) * 125, sys.argv[3:]))
