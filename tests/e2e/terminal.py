"""A command on a pseudo terminal of its own, as a person at a keyboard has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.e2e.cluster import COCKPIT
from tests.helpers import PATIENCE, wait_for

CONTROL = re.compile(
    rb"\x1b(\[[0-9;:?<>=!]*[ -/]*[@-~]|[\]P_^][^\x07\x1b]*(\x07|\x1b\\)|[ -/]*[0-~])|[\x00-\x09\x0b-\x1f]"
)


class Terminal:
    """The command is the leader of the terminal's session. What it wrote is read all the time."""

    def __init__(self, words: Sequence[str], cwd: Path, env: dict[str, str]) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execve(COCKPIT[0], [*COCKPIT, *words], env)
            finally:
                os._exit(127)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
        self.code: int | None = None
        self._raw = bytearray()
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._closed.is_set():
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:  # nobody has the other side open any more
                    return
                if not data:
                    return
                self._raw += data

    @property
    def text(self) -> str:
        """Everything that was written so far, without what moves the cursor or colours."""
        return CONTROL.sub(b"", bytes(self._raw)).decode(errors="replace")

    def shows(self, *words: str, timeout: float = PATIENCE) -> None:
        """Wait until all of these were written since the last `forget`."""
        try:
            wait_for(lambda: all(w in self.text for w in words), timeout)
        except AssertionError:
            raise AssertionError(f"not on the screen: {words}\n{self.text[-4000:]}") from None

    def forget(self) -> None:
        self._raw.clear()

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def hang_up(self) -> None:
        """The terminal is gone: its window was closed, or the connection broke."""
        if not self._closed.is_set():
            self._closed.set()
            self._reader.join()
            os.close(self.master)

    def ended(self) -> bool:
        if self.code is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code; negative for a signal."""
        try:
            wait_for(self.ended, timeout)
        except AssertionError:
            raise AssertionError(f"it still runs\n{self.text[-4000:]}") from None
        assert self.code is not None
        return self.code


@contextlib.contextmanager
def terminal(*words: str, cwd: Path, **env: str) -> Iterator[Terminal]:
    """`cockpit WORDS` on a terminal until the end of the block."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("COCKPIT_STATE")}
    t = Terminal(words, cwd, known | {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | env)
    try:
        yield t
    finally:
        t.hang_up()
        deadline = time.monotonic() + PATIENCE
        while not t.ended() and time.monotonic() < deadline:
            time.sleep(0.02)
        if not t.ended():
            os.kill(t.pid, signal.SIGKILL)
            os.waitpid(t.pid, 0)
