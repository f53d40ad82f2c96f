"""Stepping through the past as an operator does: a real controller, a real terminal in tmux, key to last byte.

    python -m tests.bench.scrubber [INSTANCES]      (default 10000)

The controller of a small cluster finds the history of a large one in its state, half an hour of a hundred changes a
second, and records on. Twenty steps back, twenty forth, each after the picture of the one before stands still.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.bench import history
from tests.bench.table import median

QUIET = 0.3
"""Seconds without a byte: the picture stands still."""
LATEST = 30.0
STEPS = 20
SHORT = """\
cockpit: 1
name: bench
regions: {sh: }
hosts:
  a-1: {region: sh, address: 127.0.9.1}
tree:
  web: {version: 1.0.0, command: [serve], instances: 1}
"""
COCKPIT = [sys.executable, "-I", "-m", "cockpit.cli.main"]


class Pane:
    """One window of a tmux server of our own, and every byte that comes out of it."""

    def __init__(self, root: Path, *argv: str) -> None:
        self._tmux = ["tmux", "-S", str(root / "tmux"), "-f", "/dev/null"]
        environment = {**os.environ, "LANG": "C.UTF-8", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self("new-session", "-d", "-x", "120", "-y", "40", *argv, env=environment)
        fifo = root / "bytes"
        os.mkfifo(fifo)
        self._fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self("pipe-pane", "-O", f"exec cat > {fifo}")

    def __call__(self, *words: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True, env=env, timeout=30)
        return done.stdout

    def text(self) -> str:
        return self("capture-pane", "-p")

    def key(self, *keys: str) -> tuple[float, int]:
        """Milliseconds until the last byte that the keys caused, and how many came."""
        started = time.perf_counter()
        self("send-keys", *keys)
        last, total = started, 0
        while time.perf_counter() - last < QUIET or (not total and time.perf_counter() - started < 3.0):
            try:
                some = os.read(self._fd, 65536)
            except BlockingIOError:
                some = b""
            if some:
                total += len(some)
                last = time.perf_counter()
            else:
                time.sleep(0.001)
            if time.perf_counter() - started > LATEST:
                break
        return (last - started) * 1000, total

    def wait(self, text: str) -> None:
        until = time.monotonic() + LATEST
        while text not in self.text():
            if time.monotonic() > until:
                raise TimeoutError(f"no {text!r} on the screen:\n{self.text()}")
            time.sleep(0.05)

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self("kill-server")
        os.close(self._fd)


def measured(root: Path, count: int) -> None:
    state = root / "s"
    state.mkdir(0o700)
    history.NOW = time.time() - history.LENGTH - 60
    history.record(state / "history", history.rows(count))
    (root / "t.yaml").write_text(SHORT)
    argv = [*COCKPIT, "serve", str(root / "t.yaml"), "--state", str(state)]
    with (root / "serve.log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log)
    pane = None
    try:
        until = time.monotonic() + LATEST
        status = [*COCKPIT, "status", "--state", str(state)]
        while subprocess.run(status, capture_output=True, check=False).returncode not in (0, 1):
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError((root / "serve.log").read_text())
            time.sleep(0.2)
        pane = Pane(root, *COCKPIT, "attach", "--state", str(state), "--at", "instances")
        pane.wait("instances")
        pane.key("j")
        pane.key("-l", ":past -15m")
        entered, _ = pane.key("Enter")
        pane.wait("THE PAST")
        pane.key("j")
        print(f"{count} instances; into the past: {entered:.0f} ms")
        keys = {"one change back": "H", "one change forth": "L", "one cell back": "h", "one cell forth": "l"}
        for name, key in keys.items():
            found = [pane.key(key) for _ in range(STEPS)]
            times = sorted(each[0] for each in found)
            print(
                f"{name}: median {median(times):.0f} ms, p95 {times[-2]:.0f}, worst {times[-1]:.0f}; "
                f"{median([float(b) for _, b in found]):.0f} bytes"
            )
        print(f"a cursor key, for comparison: {median([pane.key('j')[0] for _ in range(STEPS)]):.0f} ms")
        print(pane.text())
    finally:
        if pane is not None:
            pane.close()
        server.terminate()
        server.wait(20)


def main() -> None:
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="past") as root:
        measured(Path(root), int(words[0]) if words else 10_000)


if __name__ == "__main__":
    main()
