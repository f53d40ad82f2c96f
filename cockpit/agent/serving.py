"""Starts the agent of a host directory, when it is its turn or as a candidate."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Callable, Optional

from cockpit.agent.daemon import Agent
from cockpit.agent.identity import Identity
from cockpit.agent.saying import say
from cockpit.agent.takeover import Candidacy, Untold
from cockpit.agent.turns import Turn, ended_mark, turn


def serve(
    host_dir: str, identity: Identity, boot_id: str, candidate: int = -1, supervised: bool = False
) -> int:
    """Run the agent of a directory until it is told to go; `candidate` is the socket of one that may follow
    another. Exit code."""
    before = ended_mark(host_dir)
    mine = turn(host_dir) if candidate < 0 else Turn(host_dir)
    if mine is None:
        say(f"another agent serves {host_dir}")
        return 3
    identity = Identity.load(host_dir) or identity  # it may have joined anew while we waited
    _cheap_children()

    async def main() -> None:
        candidacy = Candidacy(candidate) if candidate >= 0 else None
        await Agent(host_dir, identity, boot_id, before, mine, candidacy, supervised).run()

    try:
        asyncio.run(main())
    except Untold as e:
        say(f"candidate: {e}")
        return 2
    finally:
        mine.close()
    return 0


def _cheap_children() -> None:
    """Before Python 3.12 asyncio waits for each child in a thread of its own unless told otherwise."""
    watcher: Optional[Callable[[], Any]] = getattr(asyncio, "PidfdChildWatcher", None)
    if watcher is not None and sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        asyncio.get_event_loop_policy().set_child_watcher(watcher())
