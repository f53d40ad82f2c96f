"""The keeper beside supervisord: memory, and the time from a crash to a new process that speaks.

The service is a shell that says its pid on a named pipe and becomes `sleep`. We block on the
pipe, so nothing is polled and the time ends when the new process has run its own code.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cockpit
from tests.bench.table import Figure, measures, median
from tests.helpers import running, wait_for

KEEPER = Path(cockpit.__file__).parent / "agent" / "keeper"
SPEAK = 'echo $$ >"$1"; exec sleep 1000000'
PEER = "supervisord"
CRASHES = 20
PEER_CRASHES = 4
PEER_PAUSE = 1.5
"""supervisord looks once a second; what dies sooner counts as a failed start and waits longer."""


def rss(pid: int | str) -> float:
    """MiB of a process (`self`: this one)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


class Pipe:
    """A named pipe on which services say their pids."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR)  # for writing too: a writer that goes away is no end of file
        self._file = os.fdopen(self._fd, "rb", buffering=0)

    def argv(self) -> list[str]:
        return ["/bin/sh", "-c", SPEAK, "service", str(self.path)]

    def pid(self) -> int:
        """The next one that speaks."""
        return int(self._file.readline())

    def crash(self, pid: int) -> tuple[float, int]:
        """Kill it: (milliseconds until its successor spoke, the successor's pid)."""
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        successor = self.pid()
        return (time.perf_counter() - start) * 1e3, successor

    def crashes(self, pid: int, times: int, pause: float) -> list[float]:
        """One crash after the other; each process lives `pause` seconds before."""
        found = []
        for _ in range(times):
            time.sleep(pause)
            took, pid = self.crash(pid)
            found.append(took)
        return found


class Keeper:
    """A client of the keeper's socket that asks one thing at a time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        self._id = 0

    def ask(self, op: str, **args: Any) -> dict[str, Any]:
        self._id += 1
        self._socket.sendall(json.dumps({"id": self._id, "op": op, **args}).encode() + b"\n")
        while True:
            reply: dict[str, Any] = json.loads(self._lines.readline())
            if reply.get("id") == self._id:
                if not reply["ok"]:
                    raise RuntimeError(f"{op}: {reply}")
                return reply

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def spec(unit: str, argv: list[str], place: Path) -> dict[str, Any]:
    """A unit that restarts at once, however often it crashes."""
    process = {"name": "main", "argv": argv, "env": {"PATH": os.defpath}, "cwd": str(place)}
    restart = {"mode": "always", "delay": 0, "max_delay": 0, "attempts": None, "window": 600, "reset": 0}
    return {
        "unit": unit, "processes": [process], "restart": restart, "stop": {"signal": "TERM", "grace": 5},
        "log_dir": str(place / "logs"), "core_dir": str(place / "cores"), "meta": {},
    }  # fmt: skip


@contextlib.contextmanager
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ck-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def keeper(where: Path) -> Iterator[tuple[int, Keeper]]:
    """(its pid, a client). At the end it stops its units and goes."""
    with running([sys.executable, "-I", "-S", str(KEEPER), str(where)]) as process:
        wait_for((where / "keeper.sock").exists)
        client = Keeper(where / "keeper.sock")
        try:
            yield process.pid, client
        finally:
            client.ask("end")
            client.close()
            process.wait(10)


@contextlib.contextmanager
def supervisord(where: Path, argv: list[str]) -> Iterator[int]:
    """The pid of a supervisord that runs one program without back-off."""
    quoted = " ".join(f'"{a}"' if " " not in a and '"' not in a else f"'{a}'" for a in argv)
    config = where / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={where}/pid\n"
        f"[program:speak]\ncommand={quoted}\nautorestart=true\nstartsecs=0\nstartretries=1000\n"
    )
    with running(["supervisord", "-c", str(config)], grace=15) as process:
        yield process.pid


@measures("keeper-memory", needs=["cockpit.agent.keeper.service"])
def keeper_memory() -> Figure:
    """RSS of a keeper that holds 20 units."""
    with place() as where, keeper(where) as (pid, client):
        pipe = Pipe(where / "pipe")
        for n in range(20):
            client.ask("put", spec=spec(f"bench.speak/{n}:1", pipe.argv(), where))
            client.ask("start", unit=f"bench.speak/{n}:1", by="bench")
            pipe.pid()
        ours = rss(pid)
    with place() as where:
        pipe = Pipe(where / "pipe")
        theirs = None
        if shutil.which(PEER):
            with supervisord(where, pipe.argv()) as pid:
                pipe.pid()
                theirs = rss(pid)
    return Figure(ours, theirs, PEER, "20 units (peer: 1)")


@measures("crash", needs=["cockpit.agent.keeper.service"])
def crash() -> Figure:
    with place() as where, keeper(where) as (_, client):
        pipe = Pipe(where / "pipe")
        client.ask("put", spec=spec("bench.speak/0:1", pipe.argv(), where))
        client.ask("start", unit="bench.speak/0:1", by="bench")
        ours = pipe.crashes(pipe.pid(), CRASHES, 0.1)
    theirs = None
    if shutil.which(PEER):
        with place() as where:
            pipe = Pipe(where / "pipe")
            with supervisord(where, pipe.argv()):
                theirs = median(pipe.crashes(pipe.pid(), PEER_CRASHES, PEER_PAUSE))
    return Figure(median(ours), theirs, PEER, f"min {min(ours):.1f}, max {max(ours):.1f} of {CRASHES}")
