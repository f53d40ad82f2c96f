"""Ending what a plug-in has started: by session, and by the mark in the environment."""

from __future__ import annotations

import os
import signal
from typing import Iterator

MARK = "COCKPIT_PLUGIN_MARK"
ROUNDS = 20


def mark_of(host_dir: str, name: str, number: int) -> str:
    """Of one process of a plug-in, and everything it starts. Ends in `;`, so that none begins another."""
    return f"{host_dir}|{name}|{os.getpid()}.{number};"


def kill_session(pid: int) -> None:
    """SIGKILL for every process of the session that `pid` leads."""
    for other in _pids():
        if other == pid or _session(other) == pid:
            _kill(other)


def kill_marked(mark: str) -> int:
    """SIGKILL for every process whose environment has the mark, again until there is none; how many."""
    count = 0
    wanted = f"{MARK}={mark}".encode()
    for _ in range(ROUNDS):
        found = [pid for pid in _pids() if _marked(pid, wanted)]
        if not found:
            break
        count += len(found)
        for pid in found:
            _kill(pid)
    return count


def kill_orphans(host_dir: str) -> int:
    """What plug-ins of an agent that is gone have left behind; how many processes."""
    wanted = f"{MARK}={host_dir}|".encode()
    count = 0
    for pid in _pids():
        mark = _mark(pid, wanted)
        owner = mark.rpartition(b"|")[2].partition(b".")[0]
        if owner.isdigit() and int(owner) != os.getpid() and not os.path.isdir(f"/proc/{int(owner)}"):
            _kill(pid)
            count += 1
    return count


def _mark(pid: int, wanted: bytes) -> bytes:
    """The whole mark of a process that begins so; empty when it has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            parts = f.read(256 * 1024).split(b"\0")
    except OSError:
        return b""
    return next((p for p in parts if p.startswith(wanted)), b"")


def _marked(pid: int, wanted: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            environ = f.read(256 * 1024)
    except OSError:
        return False
    return environ.startswith(wanted) or b"\0" + wanted in environ


def _session(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return int(f.read(4096).rpartition(b")")[2].split()[3])
    except (OSError, ValueError, IndexError):
        return -1


def _pids() -> Iterator[int]:
    me = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != me:
            yield int(name)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
