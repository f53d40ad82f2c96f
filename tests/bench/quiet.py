"""CPU of a controller whose thousand hosts have nothing much to say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cockpit.controller.relays import lock_holder
from tests.bench.keeper import place
from tests.bench.table import Figure, measures, median
from tests.bench.terminal import ROOT
from tests.helpers import running, wait_for

HOSTS, RELAYS = 1000, 10
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
    return quiet(0)


@measures("quiet-relays", needs=["cockpit.controller.core", "cockpit.relay.switch"])
def behind() -> Figure:
    return quiet(RELAYS)


def quiet(relays: int) -> Figure:
    with place() as where, running(program("controller_program", where, HOSTS, relays), 60, cwd=ROOT, **PIPES) as one:
        assert one.stdout
        ports = one.stdout.readline().strip()
        pids = {"controller": one.pid, **{f"relay {n}": pid for n, pid in enumerate(relay_pids(where))}}
        assert len(pids) == relays + 1, f"{len(pids) - 1} of {relays} relays run"
        with running(program("light", where, ports, HOSTS, CHANGES), cwd=ROOT, **PIPES) as agents:
            assert agents.stdout
            assert agents.stdout.readline() == "connected\n"
            wait_for(lambda: ask(one) == [HOSTS, 0], 60, "every host is up and nothing differs")
            time.sleep(SETTLE)
            runs, below = [], []
            for _ in range(WINDOWS):
                before, start = [cpu(p) for p in pids.values()], time.monotonic()
                time.sleep(WINDOW)
                took = time.monotonic() - start
                used = [(cpu(p) - b) / took * 100 for p, b in zip(pids.values(), before, strict=True)]
                runs.append(used[0])
                below.append(sum(used[1:]))
            assert ask(one)[0] == HOSTS, "a host was lost meanwhile"
        assert one.stdin
        one.stdin.close()
        one.wait(60)
    note = f"{HOSTS} light agents, 10 units each; min {min(runs):.1f}, max {max(runs):.1f}"
    if relays:
        note += f"; the {relays} relays together {median(below):.1f}"
    return Figure(median(runs), note=note)


def relay_pids(where: Path) -> list[int]:
    """Of the relays that the controller has started, in a directory beside its state."""
    return [pid for path in sorted(where.glob("state.hosts/r-*")) if (pid := lock_holder(path))]
