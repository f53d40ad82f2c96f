"""Who is refused: the list as the controller tells it, kept for the next start and passed on to the peer."""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable, FrozenSet

from cockpit.agent.fetch import FetchError
from cockpit.link.frames import Frame
from cockpit.swarm.tls import read_revoked, uuids_of, write_revoked


class Revoked:
    """Of one host. `tell("revoked", uuids=[...])` reaches its running peer, if there is one."""

    def __init__(self, host_dir: str, tell: Callable[..., Awaitable[Any]]) -> None:
        self._dir = host_dir
        self._tell = tell
        self._turn = asyncio.Lock()
        self.uuids: FrozenSet[str] = read_revoked(host_dir)

    async def frame(self, frame: Frame) -> None:
        """`revoked`: always the whole list. One that makes no sense changes nothing."""
        try:
            uuids = uuids_of(frame)
        except ValueError:
            return
        async with self._turn:
            if uuids == self.uuids:
                return
            self.uuids = uuids
            try:  # on disk first: a peer that starts meanwhile reads it there
                await asyncio.get_running_loop().run_in_executor(None, write_revoked, self._dir, uuids)
            except OSError:
                pass  # a full disk: it is told again after the next welcome
            try:
                await self._tell("revoked", uuids=sorted(uuids))
            except FetchError:
                pass  # the peer hangs; the next one reads the list from the disk
