"""Hosts that are entered by SSH: a process beside the controller acts on them, and opens the way for agents."""

from __future__ import annotations

import sys


def start(dir: str) -> list[str]:
    """Entry point of the group `cockpit.gateway`: argv of the process; the controller adds `--fd N`."""
    return [sys.executable, "-I", "-m", "backends.ssh", "--dir", dir]
