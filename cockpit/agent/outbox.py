"""What waits to be sent on the link."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Callable, Deque, Optional, Set, Union

from cockpit.agent.waiting import within
from cockpit.link.frames import Frame

MAX_URGENT = 20_000
MAX_BULK = 64

EVERYTHING: Frame = {"t": "everything"}
"""In the outbox: tell the full set anew on this connection."""


class Overflow(Exception):
    """The controller does not read; the connection is dropped and everything is told anew."""


class Outbox:
    """What waits to be sent: units and results first, log lines when nothing else does.

    Units are kept by name and composed when they are sent: however often one changes meanwhile, it
    is one frame with the latest. `compose` returns None for nothing to say.
    """

    def __init__(self, compose: Callable[[str], Optional[Frame]]) -> None:
        self._compose = compose
        self._urgent: Deque[Union[str, Frame]] = deque()
        self._marked: Set[str] = set()
        self._bulk: Deque[Frame] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.open = False
        """False while there is no connection: what is put is left out, the full set comes first."""

    def clear(self, *, open: bool) -> None:
        self._urgent.clear()
        self._marked.clear()
        self._bulk.clear()
        self.open = open
        self._room.set()
        self._idle.set()
        self._wake.set()

    def put(self, frame: Frame) -> None:
        if self.open:
            self._urgent.append(frame)
            self._idle.clear()
            self._wake.set()

    def unit(self, unit: str) -> None:
        if self.open and unit not in self._marked:
            self._marked.add(unit)
            self._urgent.append(unit)
            self._idle.clear()
            self._wake.set()

    async def bulk(self, frame: Frame) -> None:
        """Wait for room. Frames of a connection that is gone are left out."""
        while self.open and len(self._bulk) >= MAX_BULK:
            self._room.clear()
            await self._room.wait()
        if self.open:
            self._bulk.append(frame)
            self._idle.clear()
            self._wake.set()

    async def take(self) -> Frame:
        """The next frame. Raises Overflow."""
        while True:
            if len(self._urgent) > MAX_URGENT:
                raise Overflow(f"{len(self._urgent)} frames wait")
            while self._urgent:
                item = self._urgent.popleft()
                if isinstance(item, dict):
                    return item
                self._marked.discard(item)
                frame = self._compose(item)
                if frame is not None:
                    return frame
            if self._bulk:
                frame = self._bulk.popleft()
                self._room.set()
                return frame
            self._idle.set()
            self._wake.clear()
            await self._wake.wait()

    async def flushed(self, timeout: float) -> None:
        """Wait until everything was handed to the connection."""
        try:
            await within(self._idle.wait(), timeout)
        except asyncio.TimeoutError:
            pass
