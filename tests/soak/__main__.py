"""An hour of live load on a real screen: is memory flat, is every picture quick?

    make soak                     COCKPIT_SOAK=SECONDS makes it shorter, COCKPIT_SOAK_HOSTS and _CHANGES (a second)
                                  other than 200 and 200

A real controller with light agents of ten instances each, `cockpit attach` on a pseudo-terminal of 120x40, and a
robot that visits every screen. Exit 0: memory of screen and controller grew by at most 5 % from minute 10 to the
end, and 999 of 1,000 pictures took at most 100 ms of CPU; every longer one is listed with its cause.
Exit 1: not so, or one of them ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.keeper import place
from tests.bench.quiet import PIPES, program
from tests.bench.terminal import ROOT, Terminal, terminal
from tests.helpers import running
from tests.soak.figures import (
    ENOUGH_FRAMES,
    ENOUGH_MEMORY,
    FLAT,
    FRAME,
    Sample,
    cause,
    growth,
    quantile,
)
from tests.soak.robot import sent, visits

KEY = 0.12
"""Seconds between two keys."""
KEPT = 65536


class Seen(NamedTuple):
    """What a run has shown."""

    seconds: float
    memory: dict[str, list[Sample]]
    """By process."""
    cpu: dict[str, float]
    """Percent of a core, by process."""
    frames: list[float]
    """Milliseconds of CPU."""
    start: float
    """The same, of the first picture with all that comes before it."""
    slow: list[dict[str, Any]]
    deltas: int
    rows: int
    visited: Counter[str]
    screens: Counter[str]
    """Pictures of each."""
    keys: int
    bytes: int
    load: tuple[float, float]
    """Of the machine, at the beginning and the end."""


def resident(pid: int) -> float:
    """MiB of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def used(pid: int) -> float:
    """Seconds of CPU."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def cluster(where: Path, hosts: int, changes: float) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A controller and its agents, by what they are."""
    with running(program("controller_program", where, hosts), 30, cwd=ROOT, **PIPES) as controller:
        assert controller.stdout
        port = controller.stdout.readline().strip()
        load = [sys.executable, "-m", "tests.soak.load", str(where), port, str(hosts), str(changes)]
        with running(load, 20, cwd=ROOT, **PIPES) as agents:
            assert agents.stdout and agents.stdout.readline().strip() == "connected", "the agents did not connect"
            yield {"controller": controller, "load": agents}


def run(seconds: float, hosts: int, changes: float) -> Seen:
    """RuntimeError when a process ends before its time."""
    began = os.getloadavg()[0]
    with place() as where, cluster(where, hosts, changes) as others:
        out = where / "frames"
        argv = ["-m", "cockpit.cli.main", "attach", "--state", str(where / "state")]
        with terminal(argv, COCKPIT_FRAMES=str(out), XDG_STATE_HOME=str(where), XDG_CONFIG_HOME=str(where)) as screen:
            screen.keep = KEPT
            screen.wait("shop", 60)
            memory, cpu, visited, keys = drive(screen, others, seconds)
            screen.keep = 0
            os.write(screen.fd, b"\x11")  # ctrl+q
            with contextlib.suppress(subprocess.TimeoutExpired):
                screen.process.wait(20)
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        pictures: Counter[str] = Counter()
        for line in lines:
            pictures.update(line.get("screens", {}))
        return Seen(
            seconds, memory, cpu,
            frames=[ms for line in lines for ms in line.get("ms", ())],
            start=next((line["start"] for line in lines if "start" in line), 0.0),
            slow=[line["slow"] | {"at": line["at"]} for line in lines if "slow" in line],
            deltas=sum(line.get("deltas", 0) for line in lines), rows=sum(line.get("rows", 0) for line in lines),
            visited=visited, screens=pictures, keys=keys, bytes=screen.total, load=(began, os.getloadavg()[0]),
        )  # fmt: skip


def drive(
    screen: Terminal, others: dict[str, subprocess.Popen[str]], seconds: float
) -> tuple[dict[str, list[Sample]], dict[str, float], Counter[str], int]:
    """Press keys until the time is over; memory and CPU by process, what was visited, keys."""
    pids = {"screen": screen.process.pid, "controller": others["controller"].pid}
    memory: dict[str, list[Sample]] = {name: [] for name in pids}
    each = min(60.0, seconds / 20)
    begun = time.monotonic()
    before = {name: used(pid) for name, pid in pids.items()}
    visited: Counter[str] = Counter()
    keys = 0
    due = each
    for name, way in visits():
        for key in way:
            now = time.monotonic() - begun
            if now >= due:
                due += each
                for each_name, pid in pids.items():
                    memory[each_name].append(Sample(now, resident(pid)))
            if now >= seconds:
                cpu = {n: (used(pid) - before[n]) / now * 100 for n, pid in pids.items()}
                return memory, cpu, visited, keys
            if screen.process.poll() is not None:
                raise RuntimeError(f"the screen ended: {screen.seen[-3000:].decode(errors='replace')}")
            if over := [each for each, process in others.items() if process.poll() is not None]:
                raise RuntimeError(f"ended before their time: {', '.join(over)}")
            os.write(screen.fd, sent(key))
            keys += 1
            time.sleep(KEY)
        visited[name] += 1
    raise AssertionError("visits have no end")


def report(seen: Seen) -> tuple[list[str], bool]:
    """The table, and whether all is well."""
    good = True
    out = [
        f"{seen.seconds:.0f} s, load {seen.load[0]:.1f} to {seen.load[1]:.1f}; {seen.keys} keys, "
        f"{sum(seen.visited.values())} visits, {seen.bytes / 2**20:.1f} MiB to the "
        f"terminal; {seen.deltas} deltas with {seen.rows} rows applied",
        "pictures by screen: " + ", ".join(f"{n.removesuffix('Screen')} {c}" for n, c in seen.screens.most_common()),
    ]
    for name, samples in seen.memory.items():
        found = growth(samples, seen.seconds)
        judged = seen.seconds >= ENOUGH_MEMORY
        fine = found.percent <= FLAT
        good = good and (fine or not judged)
        word = ("ok" if fine else "GROWS") if judged else "too short to judge"
        out.append(
            f"memory of the {name}: {found.first:.1f} to {found.last:.1f} MiB, {found.percent:+.1f} % (<= {FLAT:g})  "
            f"{word}; {seen.cpu[name]:.1f} % of a core"
        )
        out.append("  each sample, MiB: " + " ".join(f"{s.mib:.0f}" for s in samples))
    if not seen.frames:
        return [*out, "no picture was drawn"], False
    high = quantile(seen.frames, 0.999)
    judged = len(seen.frames) >= ENOUGH_FRAMES
    fine = high <= FRAME
    good = good and (fine or not judged)
    out.append(
        f"CPU of a picture, of {len(seen.frames)}: median {statistics.median(seen.frames):.1f} ms, "
        f"p99 {quantile(seen.frames, 0.99):.1f}, p99.9 {high:.1f} (<= {FRAME:g})  "
        f"{('ok' if fine else 'OVER') if judged else 'too few to judge'}; most {max(seen.frames):.1f}; "
        f"the first, with all imports, {seen.start:.0f}"
    )
    long = [s for s in seen.slow if s["ms"] > FRAME]
    out.append(f"longer than {FRAME:g} ms: {len(long)}")
    for s in sorted(long, key=lambda each: -each["ms"])[:100]:
        clock = time.strftime("%H:%M:%S", time.localtime(s["at"]))
        out.append(f"  {s['ms']:.0f} ms  {clock}  {s['screen']}  after {' '.join(s['keys'][-6:])}: {cause(s)}")
    return out, good


def main() -> int:
    seconds = float(os.environ.get("COCKPIT_SOAK", "3600"))
    hosts = int(os.environ.get("COCKPIT_SOAK_HOSTS", "200"))
    changes = float(os.environ.get("COCKPIT_SOAK_CHANGES", "200"))
    print(f"{seconds:.0f} s, {hosts} hosts with {hosts * 10} instances, {changes:.0f} changes a second", flush=True)
    try:
        lines, good = report(run(seconds, hosts, changes))
    except (RuntimeError, AssertionError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
