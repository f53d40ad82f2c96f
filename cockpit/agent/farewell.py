"""The last word of an agent whose host goes down: a host that said so is down, one that fell silent is unknown."""

from __future__ import annotations

import asyncio
import os
import subprocess

from cockpit.agent.outbox import Outbox

ENDED = "everything on it was ended"
SYSTEMD = "/run/systemd/system"
ASK_TIME = 1.0
FLUSH_TIME = 1.0


async def farewell(outbox: Outbox, stopped: asyncio.Event, ended: bool) -> None:
    """Sets `stopped` when everything is said. `ended`: the keeper was told to end all services."""
    loop = asyncio.get_running_loop()
    why = ENDED if ended else await loop.run_in_executor(None, shutting_down)
    if why:
        outbox.put({"t": "bye", "why": why})
    await outbox.flushed(FLUSH_TIME if why else 0.0)
    stopped.set()


def shutting_down() -> str:
    """Why this machine is going down; empty when it is not, or nobody can tell. Blocks for a second at most."""
    if not os.path.isdir(SYSTEMD):
        return ""
    try:
        done = subprocess.run(
            ["systemctl", "is-system-running"], stdin=subprocess.DEVNULL, capture_output=True, timeout=ASK_TIME
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "the machine was shut down" if done.stdout.strip() == b"stopping" else ""
