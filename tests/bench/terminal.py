"""Programs on a pseudo-terminal of 120x40 that swallows what they draw."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZE = (40, 120)
WHERE, HERE = b"\x1b[6n", b"\x1b[1;3R"
"""The question for the cursor's place, which every terminal answers, after two narrow cells."""
LEFT_OUT = ("NO_COLOR", "COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE")
"""What would be another terminal's, or compile everything at each start."""
ENVIRONMENT = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "TEXTUAL_FPS": "240"}


class Terminal:
    """What a program on it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int, started: float) -> None:
        self.process = process
        self.fd = fd
        self.started = started
        """time.perf_counter() just before the program was started."""
        self.seen = b""
        self.keep = 0
        """Forget all but about so many of the last bytes; 0: keep everything."""
        self.total = 0
        """Bytes that ever came."""
        self.last = started
        """time.perf_counter() when the last bytes came."""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the last one on the other side is gone
                data = b""
            with self._news:
                self.seen += data
                self.total += len(data)
                if self.keep and len(self.seen) > 2 * self.keep:
                    self.seen = self.seen[-self.keep :]
                self.last = time.perf_counter()
                self._news.notify_all()
            if not data:
                return
            if WHERE in data:
                os.write(self.fd, HERE)

    def wait(self, text: str, timeout: float = 30) -> float:
        """Seconds from the start until `text` was drawn. TimeoutError with the end of what was."""
        with self._news:
            if not self._news.wait_for(lambda: text.encode() in self.seen, timeout):
                raise TimeoutError(f"{text!r} was not drawn: ... {self.seen[-2000:]!r}")
            return time.perf_counter() - self.started

    def next(self, total: int, timeout: float) -> float:
        """time.perf_counter() when more than `total` bytes have come; 0.0 when they do not."""
        with self._news:
            return self.last if self._news.wait_for(lambda: self.total > total, timeout) else 0.0

    def holds(self, data: bytes, total: int, timeout: float) -> float:
        """time.perf_counter() when `data` was drawn after the first `total` bytes. TimeoutError."""
        with self._news:
            came = lambda: self.total > total and data in self.seen[total - self.total :]  # noqa: E731
            if not self._news.wait_for(came, timeout):
                raise TimeoutError(f"{data!r} was not drawn")
            return self.last

    def quiet(self, seconds: float, timeout: float = 30) -> float:
        """Wait until nothing came for so long; time.perf_counter() of the last bytes. TimeoutError."""
        begun = time.perf_counter()
        with self._news:
            while (now := time.perf_counter()) < max(self.last, begun) + seconds:
                if now > begun + timeout:
                    raise TimeoutError("it is never quiet")
                self._news.wait(max(self.last, begun) + seconds - now)
            return self.last


def shown(inside: Path, text: str, timeout: float = 60) -> None:
    """Wait until the tmux in that directory shows `text`: it draws only the cells that differ. TimeoutError."""
    end = time.perf_counter() + timeout
    argv = [tmux(), "-S", str(inside / "tmux"), "capture-pane", "-p"]
    while text.encode() not in subprocess.run(argv, check=False, capture_output=True).stdout:
        if time.perf_counter() > end:
            raise TimeoutError(f"{text!r} is not shown")
        time.sleep(0.1)


def tmux() -> str:
    """Where tmux is, or nothing."""
    return shutil.which("tmux") or ""


@contextlib.contextmanager
def terminal(
    args: Sequence[str], inside: Path | None = None, size: tuple[int, int] = SIZE, **extra: str
) -> Iterator[Terminal]:
    """Run `python ARGS` on a terminal; at the end of the block it is ended.

    With `inside`, a directory for its socket, tmux runs on the terminal and the program in tmux. `size` is (lines,
    columns); `extra` goes into the environment.
    """
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, size)
    env = {k: v for k, v in os.environ.items() if k not in LEFT_OUT} | ENVIRONMENT | extra
    started = time.perf_counter()
    argv = [sys.executable, *args]
    if inside is not None:
        argv = [tmux(), "-S", str(inside / "tmux"), "-f", "/dev/null", "new-session", *argv]
    process = subprocess.Popen(
        argv, cwd=ROOT, env=env, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    screen = Terminal(process, master, started)
    try:
        yield screen
    finally:
        if inside is not None:
            subprocess.run([tmux(), "-S", str(inside / "tmux"), "kill-server"], check=False, capture_output=True)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(master)
