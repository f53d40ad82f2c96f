"""Whose turn it is to serve a host directory: one lock, and what tells one end of a host from another.

The agent that holds the lock serves; any other of the same directory waits, is a candidate, or is leaving.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import List, Optional

from cockpit.agent.own import argv_of

LOCK_WAIT = 10.0


class Turn:
    """The lock of a host directory, held or not. A killed holder loses it at once."""

    def __init__(self, host_dir: str) -> None:
        self._fd = os.open(os.path.join(host_dir, "agent.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """Is it ours now?"""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False

    def leave(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._fd)


def turn(host_dir: str, wait: float = LOCK_WAIT) -> Optional[Turn]:
    """Held; None when another agent keeps it."""
    mine = Turn(host_dir)
    deadline = time.monotonic() + wait
    while not mine.take():
        if time.monotonic() >= deadline:
            mine.close()
            return None
        time.sleep(0.02)
    return mine


def ended_mark(host_dir: str) -> str:
    """What tells one `end` of this host from another; empty when its keeper was started since."""
    try:
        s = os.stat(os.path.join(host_dir, "keeper", "ended"))
    except OSError:
        return ""
    return f"{s.st_ino} {s.st_mtime_ns}"


def run_argv(host_dir: str) -> List[str]:
    """How an agent of this directory is started, unless its keeper knows better."""
    return argv_of("cockpit.agent", "run", "--dir", host_dir)


def made_up_boot(boot_id: str) -> bool:
    """Is this another boot id than the kernel's (tests)? A keeper that is started later must get it too:
    another one would mean a reboot, after which nothing is adopted."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as f:
            return bool(boot_id) and boot_id != f.read().strip()
    except OSError:
        return bool(boot_id)
