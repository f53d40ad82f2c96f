"""CPU of a controller whose thousand hosts have nothing much to say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.keeper import place
from tests.bench.table import Figure, measures, median
from tests.bench.terminal import ROOT
from tests.helpers import running, wait_for

HOSTS = 1000
CHANGES = 10.0
"""A second: one host in a hundred."""
WINDOW, WINDOWS = 5.0, 4
"""Seconds: as long as a beat's period, so that every window has the same work."""
SETTLE = 5.0

PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": None, "text": True}


def cpu(pid: int) -> float:
    """Seconds that a process has used, in the kernel too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def program(module: str, *args: object) -> list[str]:
    return [sys.executable, "-m", f"tests.bench.{module}", *map(str, args)]


def ask(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return [int(word) for word in process.stdout.readline().split()]


@measures("quiet-direct", needs=["cockpit.controller.core", "cockpit.link.hub"])
def direct() -> Figure:
    with place() as where, running(program("controller_program", where, HOSTS), 30, cwd=ROOT, **PIPES) as controller:
        assert controller.stdout
        port = controller.stdout.readline().strip()
        with running(program("light", where, port, HOSTS, CHANGES), cwd=ROOT, **PIPES) as agents:
            assert agents.stdout
            assert agents.stdout.readline() == "connected\n"
            wait_for(lambda: ask(controller) == [HOSTS, 0], 60, "every host is up and nothing differs")
            time.sleep(SETTLE)
            runs = []
            for _ in range(WINDOWS):
                before, start = cpu(controller.pid), time.monotonic()
                time.sleep(WINDOW)
                runs.append((cpu(controller.pid) - before) / (time.monotonic() - start) * 100)
            assert ask(controller)[0] == HOSTS, "a host was lost meanwhile"
    note = f"{HOSTS} light agents, 10 units each; min {min(runs):.1f}, max {max(runs):.1f}"
    return Figure(median(runs), note=note)
