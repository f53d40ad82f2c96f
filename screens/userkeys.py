"""Keys of actions that operators define: on any screen of the cluster, where nothing else has the key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual import events

    from screens.base import ClusterScreen

_read: dict[str, dict[str, str]] = {}
"""Cluster -> key -> action, as of the last look at the files; the menu looks again."""


def forget() -> None:
    """The files are read again when the next key is pressed."""
    _read.clear()


async def take(screen: ClusterScreen, event: events.Key) -> bool:
    """Begin the action that has this key; False when none has."""
    head = screen.board.head
    if head is None or event.key in ("ctrl+c", "ctrl+q"):
        return False
    name = event.character if event.character and event.character.isprintable() else event.key
    known = _read.get(head.cluster)
    if known is None:
        from cockpit.useractions.config import load

        loaded = await asyncio.to_thread(load, head.cluster)
        known = _read[head.cluster] = {a.key: a.name for a in loaded.actions if a.key}
    if name not in known:
        return await screen.cockpit.line.take(screen, event.key)
    from screens.usermenu import begin_by_name

    await begin_by_name(screen, known[name])
    return True
