"""What one look at a host without an agent printed. What it means is judged as on a host with one."""

from __future__ import annotations

from cockpit.agent.runtimes import pidfile
from cockpit.agent.runtimes.judge import (
    KINDS,
    ForeignFile,
    Kind,
    Look,
    Own,
    Track,
    UnitFiles,
    kind_of,
    pids_of,
    place_of,
    seen_of,
    state_of,
    unit_report,
)

__all__ = [
    "KINDS", "ForeignFile", "Kind", "Look", "Own", "Track", "UnitFiles", "kind_of", "parse", "pids_of", "place_of",
    "seen_of", "state_of", "unit_report",
]  # fmt: skip


def parse(text: str) -> Look:
    """Output of scripts.POLL. Raises ValueError when it is not whole."""
    lines = text.splitlines()
    if not lines or lines[-1] != "end":
        raise ValueError("the host's answer is cut off")
    look = Look()
    for line in lines[:-1]:
        word, _, rest = line.partition(" ")
        if word == "now":
            look.now = float(rest)
        elif word == "uptime":
            look.uptime = float(rest)
        elif word == "boot":
            look.boot = rest
        elif word == "unit":
            name, wanted, run = rest.split(" ")
            look.units[name] = UnitFiles(wanted == "1", int(run) if run.isdigit() else 0)
        elif word == "pid":
            told, _, stat = rest.partition("|")
            name, process, *found = told.split(" ")
            if name in look.units:
                own = Own(pidfile.parse_own(" ".join(found)), pidfile.ticks_of(stat))
                look.units[name].pids[process] = own
        elif word in ("current", "link"):
            name, _, value = rest.partition(" ")
            (look.current if word == "current" else look.links)[name] = value
        elif word == "release":
            look.releases.append(rest)
        elif word == "path":
            path, _, target = rest.rpartition("|")
            look.paths[path] = target
        elif word == "file":
            path, pid, written, stat = rest.split("|", 3)
            look.files[path] = ForeignFile(pidfile.parse(pid), float(written or 0), pidfile.ticks_of(stat))
    look.releases.sort()
    return look
