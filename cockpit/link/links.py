"""Links: how the hub reaches one agent. This is the direct kind; `cockpit.link.trunk` has the carried kind."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from cockpit.link import frames, messages
from cockpit.link.channel import Channel, ChannelClosed

QUEUED = 10_000
"""Frames that may wait for an agent that does not read."""
_NUMBERS = itertools.count()


class Link:
    """One agent's connection, whatever it runs over."""

    path: tuple[str, ...] = ()
    """The relays it passes, nearest to the agent first; empty: it is connected here."""
    hello: messages.Hello
    """What it said of itself when it came; the hub notes it."""

    def __init__(self, host: str, uuid: str, transport: str) -> None:
        self.host, self.uuid, self.transport = host, uuid, transport
        self.seen = time.time()

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip, all the way; None: not known yet."""
        raise NotImplementedError

    def send(self, frame: frames.Frame) -> None:
        """Queue a frame. A host that does not read is cut off before anything is left out."""
        self.put(frames.encode(frame))

    def put(self, text: str) -> None:
        raise NotImplementedError

    def cut(self, why: str = "") -> None:
        """End it. The owner learns of it when it has ended."""
        raise NotImplementedError

    def command(self, task: str, word: str, args: dict[str, Any]) -> None:
        self.send({"t": "cmd", "task": task, "uuid": self.uuid, "word": word, "args": args})


class Direct(Link):
    """A channel of its own."""

    def __init__(self, host: str, uuid: str, channel: Channel) -> None:
        super().__init__(host, uuid, channel.kind)
        self.channel = channel
        self.queue: asyncio.Queue[str] = asyncio.Queue(QUEUED)
        self.measured: float | None = None
        self.number = next(_NUMBERS)

    @property
    def latency(self) -> float | None:
        return self.measured

    def put(self, text: str) -> None:
        try:
            self.queue.put_nowait(text)
        except asyncio.QueueFull:  # nothing is left out in silence: it comes back and gets the full set
            self.cut()

    def cut(self, why: str = "") -> None:
        self.channel.abort()

    async def pump(self) -> None:
        """Send what waits until the channel breaks: whoever receives learns of that."""
        try:
            while True:
                await self.channel.send(await self.queue.get())
        except ChannelClosed:
            self.channel.abort()
