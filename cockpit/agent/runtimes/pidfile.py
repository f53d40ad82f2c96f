"""Pid files: which process one means, and whether it is still that one.

A process is known by (boot id, pid, start time in ticks). How it ended is not to be had from outside: never guessed.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

from cockpit.agent.runtimes import seen
from cockpit.agent.runtimes.seen import Seen

SLACK = 5.0
"""Seconds that a program's clock stamp on its pid file may lie before its start."""


class Process(NamedTuple):
    """One line of a pid file of ours: `PID TICKS BOOT_ID`."""

    pid: int
    ticks: int
    boot: str


def parse(text: str) -> Optional[int]:
    """The pid in a program's own file; None when there is none."""
    words = text.split(None, 1)
    if not words or not words[0].isascii() or not words[0].isdigit() or len(words[0]) > 9:
        return None
    return int(words[0]) or None


def parse_own(text: str) -> Optional[Process]:
    words = text.split()
    if len(words) != 3 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    return Process(int(words[0]), int(words[1]), words[2])


def ticks_of(stat: str) -> Optional[int]:
    """Start time in ticks since the boot, from a line of /proc/PID/stat; None for a zombie or nonsense."""
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in ("Z", "X") or not fields[19].isdigit():
        return None
    return int(fields[19])


def own(process: Optional[Process], boot: str, ticks: Optional[int], booted: float, hertz: int = 100) -> Seen:
    """`ticks`: what runs under this pid now; `booted`: Unix time of the boot."""
    if process is None:
        return Seen(seen.STOPPED)
    if process.boot != boot or ticks != process.ticks:
        return Seen(seen.FAILED, identity=f"{process.boot}/{process.pid}/{process.ticks}")
    return Seen(
        seen.RUNNING, pid=process.pid, identity=f"{boot}/{process.pid}/{ticks}",
        started=round(booted + process.ticks / hertz, 2),
    )


def foreign(
    pid: Optional[int], boot: str, ticks: Optional[int], booted: float, written: float, hertz: int = 100
) -> Seen:
    """Of a program's own file, written at `written`. A process that began after that is somebody else's."""
    if pid is None:
        return Seen(seen.STOPPED)
    if ticks is None:
        return Seen(seen.STOPPED, reason=f"the pid file names {pid}, which does not run")
    started = booted + ticks / hertz
    if started > written + SLACK:
        return Seen(seen.STOPPED, reason=f"the pid file is older than the process {pid}: it means another one")
    return Seen(seen.RUNNING, pid=pid, identity=f"{boot}/{pid}/{ticks}", started=round(started, 2))
