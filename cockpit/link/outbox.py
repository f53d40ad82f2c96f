"""What waits to be sent on a channel: a queue with a bound, and the task that sends it."""

from __future__ import annotations

import asyncio
from collections import deque

from cockpit.link.channel import Channel, ChannelClosed


class Outbox:
    """`limit` in characters."""

    def __init__(self, channel: Channel, limit: int) -> None:
        self._channel = channel
        self._limit = limit
        self._queue: deque[str] = deque()
        self._size = 0
        self._wake = asyncio.Event()

    def put(self, text: str) -> bool:
        """Queue it. False: more waits now than may, so that the other side must be cut off. Nothing is left out."""
        self._queue.append(text)
        self._size += len(text)
        self._wake.set()
        return self._size <= self._limit

    async def pump(self) -> None:
        """Until the channel is closed."""
        try:
            while True:
                while self._queue:
                    text = self._queue.popleft()
                    self._size -= len(text)
                    await self._channel.send(text)
                self._wake.clear()
                await self._wake.wait()
        except ChannelClosed:
            self._channel.abort()
