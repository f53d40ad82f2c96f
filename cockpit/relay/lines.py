"""A connection from below, as the switch writes to it: a queue with bounds, and a task that sends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from cockpit.link import frames
from cockpit.link.channel import Channel, ChannelClosed

QUEUED = 16 * 1024 * 1024
"""Bytes that may wait for an agent that does not read."""
BELOW_QUEUED = 64 * 1024 * 1024
"""The same for a relay."""
FAREWELL = 1.0
"""Seconds that saying why may take."""


class ChannelLine:
    """`ended` is set when it was cut off: whoever serves the channel returns then."""

    def __init__(self, channel: Channel, limit: int = QUEUED) -> None:
        self.channel = channel
        self.ended = asyncio.Event()
        self.why = ""
        self._limit = limit
        self._queue: deque[str] = deque()
        self._size = 0
        self._wake = asyncio.Event()

    def put(self, text: str) -> None:
        self._queue.append(text)
        self._size += len(text)
        if self._size > self._limit:  # nothing is left out in silence: it comes back and gets everything
            self.why = self.why or "it does not read"
            self.channel.abort()
        self._wake.set()

    def cut(self, why: str) -> None:
        self.why = self.why or why
        self.ended.set()

    async def pump(self) -> None:
        try:
            while True:
                while self._queue:
                    text = self._queue.popleft()
                    self._size -= len(text)
                    await self.channel.send(text)
                self._wake.clear()
                await self._wake.wait()
        except ChannelClosed:
            self.channel.abort()

    async def farewell(self) -> None:
        """Say why it ends."""
        with contextlib.suppress(ChannelClosed, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self.channel.send(frames.encode({"t": "refused", "text": self.why}))
