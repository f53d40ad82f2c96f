"""The processes of one run while they live: its own, and whatever those started."""

from __future__ import annotations

import os

from . import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .launch import Child

LAUNCHING = "launching"
UP = "up"
ENDING = "ending"


class Proc:
    """One process of a unit."""

    __slots__ = (
        "child", "ended", "floor", "handle", "name", "native", "peak", "rusage", "status", "wait_until",
    )

    def __init__(self, name: str, handle: proc.Handle, child: Child | None = None, floor: int = 0) -> None:
        self.name = name
        self.handle = handle
        self.child = child
        self.native = child is not None
        """Our own child: wait4 tells how it ended."""
        self.floor = floor
        """KiB the keeper itself had at the fork: a child's ru_maxrss is never less."""
        self.peak = 0
        """Highest VmHWM that was sampled, KiB."""
        self.rusage = 0
        self.status: int | None = None
        """Wait status; None while it lives, and for ever when nobody knows."""
        self.ended: float | None = None
        """Unix time of its end."""
        self.wait_until: float | None = None
        """An adopted process has ended; until then (monotonic) its status may still turn up."""

    @property
    def pid(self) -> int:
        return self.handle.pid

    def sample(self) -> None:
        if self.ended is None:
            self.peak = max(self.peak, proc.peak_rss(self.pid))

    def peak_rss(self) -> int:
        """What wait4 says, unless that may be the keeper's own size, inherited at the fork."""
        return self.rusage if self.rusage > self.floor else self.peak


class Run:
    """One start of a unit, from the fork until nothing of it is left."""

    def __init__(
        self, unit: str, number: int, procs: Iterable[Proc], by: str, policy: bool = False
    ) -> None:
        self.unit = unit
        self.number = number
        self.procs = {p.name: p for p in procs}
        self.by = by
        self.policy = policy
        self.phase = LAUNCHING
        self.reported: set[str] = set()
        """Processes whose exit is in the journal."""
        self.cause = ""
        """Why it is ending: `stopped`, `ended`, `rejected`, or `peer` (a process of it ended by itself)."""
        self.error = ""
        """Why it was rejected."""
        self.failed = ""
        """The process that was rejected, or that ended first."""
        self.searched = False
        """What its processes started was looked for, and told to end."""
        self.deadline: float | None = None
        """Monotonic time of the next look."""
        self.kill_at = 0.0
        """Monotonic time at which patience ends."""
        self.killed = False
        self.grace = 0.0
        self.number_sent = 0
        """The stop signal."""
        self.told: set[tuple[int, int]] = set()
        """(pid, start time) of others that got the stop signal."""
        self.pause = 0.02
        """Seconds until the next look for what is left."""

    @property
    def native(self) -> bool:
        """All of it was forked by this keeper, so all of it is below this keeper."""
        return bool(self.procs) and all(p.native for p in self.procs.values())

    def living(self) -> list[Proc]:
        return [p for p in self.procs.values() if p.ended is None]

    def pids(self) -> dict[str, int]:
        return {p.name: p.pid for p in self.procs.values() if p.ended is None}

    def close(self) -> None:
        for p in self.procs.values():
            p.handle.close()
            if p.child is not None:
                p.child.close()


def leftovers(run: Run, keeper: str, known: set[int]) -> dict[int, int]:
    """Pid -> start time of what the run's processes started and still lives: their children, those
    that called setsid, orphans. `known` are the main processes of all units.

    All descendants of native processes are below this keeper. After a keeper died, orphans went to
    another parent, so every process on the host is asked for its mark.
    """
    processes = proc.table()
    mains = {p.pid for p in run.procs.values()}
    starts = {p.pid: p.handle.start for p in run.living()}
    living = [pid for pid, start in starts.items() if pid in processes and processes[pid].start == start]
    found = proc.below(living, processes)
    if run.native:
        me = os.getpid()
        orphans = [pid for pid, seen in processes.items() if seen.ppid == me and pid not in known]
        unsure = proc.below(orphans, processes).union(orphans)
    else:
        unsure = set(processes)
    for pid in unsure - found - known - mains:
        mark = proc.mark_of(pid, keeper)
        # one that wiped its environment is told by its session, which was the main process's
        own_session = mark is None and run.native and processes[pid].session in mains
        if (mark is not None and mark.unit == run.unit) or own_session:
            found.add(pid)
    return {pid: processes[pid].start for pid in found - known if pid != os.getpid()}


def signal_each(others: dict[int, int], number: int) -> list[int]:
    """Signals processes (pid -> start time) that are still the same ones; returns their pids."""
    told = []
    for pid, start in others.items():
        handle = proc.Handle.open(pid, start)
        if handle is not None:
            handle.send(number)
            handle.close()
            told.append(pid)
    return told


def signal_others(run: Run, others: dict[int, int], number: int, again: bool) -> None:
    """Signals leftovers (pid -> start time); without `again` each only once."""
    for key in others.items():
        if key in run.told and not again:
            continue
        run.told.add(key)
        handle = proc.Handle.open(*key)
        if handle is not None:
            handle.send(number)
            handle.close()
