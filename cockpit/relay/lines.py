"""A connection from below, as the switch writes to it: a queue with bounds, and a task that sends it."""

from __future__ import annotations

import asyncio
import contextlib

from cockpit.link import frames
from cockpit.link.channel import Channel, ChannelClosed
from cockpit.link.outbox import Outbox

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
        self._outbox = Outbox(channel, limit)
        self.pump = self._outbox.pump

    def put(self, text: str) -> None:
        if not self._outbox.put(text):  # nothing is left out in silence: it comes back and gets everything
            self.why = self.why or "it does not read"
            self.channel.abort()

    def cut(self, why: str) -> None:
        self.why = self.why or why
        self.ended.set()

    async def farewell(self) -> None:
        """Say why it ends."""
        with contextlib.suppress(ChannelClosed, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self.channel.send(frames.encode({"t": "refused", "text": self.why}))
