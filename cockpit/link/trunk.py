"""The hub's end of a trunk: one relay's channel, and the agents' connections that it carries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from cockpit.link import messages
from cockpit.link import trunk_frames as t
from cockpit.link.channel import Channel, ChannelClosed
from cockpit.link.links import Link
from cockpit.link.outbox import Outbox

QUEUED = 64 * 1024 * 1024
"""Bytes that may wait for a relay that does not read."""
SILENT = 9.0
"""Seconds without a word after which a trunk counts as broken. There is a ping every four, an agent's
patience is as long."""


class Carried(Link):
    """An agent behind a relay."""

    def __init__(self, trunk: Trunk, opened: t.Open) -> None:
        super().__init__(opened.host, opened.uuid, opened.transport)
        self.trunk, self.sid, self.path = trunk, opened.sid, opened.path
        self.below: float | None = None
        """Seconds of the round trip between relay and agent."""

    @property
    def latency(self) -> float | None:
        if self.below is None or self.trunk.latency is None:
            return None
        return self.below + self.trunk.latency

    def put(self, text: str) -> None:
        if len(text) > t.MAX_CARRIED:
            self.cut(f"a frame of {len(text)} characters is too large to be passed on")
        else:
            self.trunk.put(t.To(self.sid, Raw(text.encode())))

    def cut(self, why: str = "", *, refused: bool = False) -> None:
        self.trunk.close(self, why, refused=refused)


class Owner(Protocol):
    """What a trunk asks of the hub."""

    def arrive(self, link: Link, hello: messages.Hello, *, known: bool) -> str:
        """Why it is refused, or empty."""
        ...

    def receive(self, link: Link, data: bytes) -> None:
        """Raises msgspec.DecodeError."""
        ...

    def heard(self, link: Link) -> None: ...

    def leave(self, link: Link, why: str) -> None: ...

    def relay_state(self, trunk: Trunk, states: dict[str, t.RelayState]) -> None: ...

    def relay_beat(self, trunk: Trunk) -> None: ...

    def relay_asks(self, trunk: Trunk, ask: t.Ask) -> None: ...

    def remark(self, trunk: Trunk, text: str) -> None: ...


class Trunk:
    """`carries` says for which hosts it may speak."""

    def __init__(self, name: str, uuid: str, channel: Channel, owner: Owner, carries: Callable[[str], bool]) -> None:
        self.name, self.uuid, self.channel, self.owner, self.carries = name, uuid, channel, owner, carries
        self.links: dict[str, Carried] = {}
        """By sid."""
        self.latency: float | None = None
        self.heard = time.monotonic()
        self.why = ""
        """Why it ended, when that is known better than by its channel."""
        self.own = True
        """It is a relay of the topology, and no program of this machine."""
        self.below: frozenset[str] = frozenset()
        """Relays that are connected below it."""
        self.told: dict[str, dict[str, Any]] = {}
        """Relay -> the settings that it was given last."""
        self._outbox = Outbox(channel, QUEUED)
        self.pump = self._outbox.pump

    def put(self, frame: msgspec.Struct) -> None:
        self.put_text(t.text(frame))

    def put_text(self, text: str) -> None:
        """Queue a frame of the trunk. A relay that does not read is cut off."""
        if not self._outbox.put(text):
            self.cut(f"{self.name} does not read")

    def cut(self, why: str) -> None:
        self.why = self.why or why
        self.channel.abort()

    def ping(self) -> None:
        if time.monotonic() - self.heard > SILENT:
            self.cut(f"{self.name} does not answer")
        else:
            self.put(t.Ping(time.time()))

    def close(self, link: Carried, why: str, *, refused: bool = False) -> None:
        """End one agent's connection; that it has left is told later, as with any connection."""
        if self.links.pop(link.sid, None) is not None:
            self.put(t.Close(link.sid, why, refused))
            asyncio.get_running_loop().call_soon(self.owner.leave, link, why or "cut off")

    def review(self) -> None:
        """The topology changed: what it may not carry any more ends."""
        for link in list(self.links.values()):
            if not self.carries(link.host):
                self.close(link, f"{link.host} is not behind {self.name} any more")

    def fan(self, word: str, args: dict[str, Any], tasks: dict[str, str]) -> None:
        """One command for many: sid -> task."""
        self.put(t.Fan(word, Raw(msgspec.json.encode(args)), tasks))

    async def receive(self) -> str:
        """Until the channel ends. Returns why."""
        try:
            while True:
                data = await self.channel.recv()
                self.heard = time.monotonic()
                self.take(data)
                await asyncio.sleep(0)  # frames that wait already would keep others from their turn
        except ChannelClosed as e:
            return self.why or str(e)
        except msgspec.DecodeError as e:
            self.owner.remark(self, f"its trunk was broken: bad frame: {e}")
            return f"bad frame: {e}"

    def take(self, data: bytes | str) -> None:
        """One frame of the relay. Raises msgspec.DecodeError."""
        frame = t.decode_up(data)
        match frame:
            case t.Up(frames=rows):
                for sid, raw in rows:
                    link = self.links.get(sid)
                    if link is not None:  # otherwise it was closed meanwhile
                        self._agent(link, bytes(raw))
            case t.Seen(hosts=hosts):
                for sid, latency in hosts.items():
                    link = self.links.get(sid)
                    if link is not None:
                        link.below = latency
                        self.owner.heard(link)
            case t.Pong(at=at):
                self.latency = max(0.0, time.time() - at)
                self.owner.relay_beat(self)
            case t.Open():
                self._open(frame)
            case t.Shut(sid=sid, why=why):
                link = self.links.pop(sid, None)
                if link is not None:
                    self.owner.leave(link, why)
            case t.State(relays=states):
                self.owner.relay_state(self, states)
            case t.Ask():
                self.owner.relay_asks(self, frame)
            case t.RelayHello():
                raise msgspec.ValidationError("a second hello")

    def _agent(self, link: Carried, data: bytes) -> None:
        """What one agent says wrong is that agent's fault."""
        try:
            self.owner.receive(link, data)
        except msgspec.DecodeError as e:
            self.close(link, f"bad frame: {e}")

    def _open(self, frame: t.Open) -> None:
        why = self._refusal(frame)
        if why:
            self.owner.remark(self, f"it may not speak for {frame.host}: {why}")
            self.put(t.Close(frame.sid, why, refused=True))
            return
        link = Carried(self, frame)
        try:
            hello = messages.decode(bytes(frame.hello))
        except msgspec.DecodeError as e:
            self.put(t.Close(frame.sid, f"no hello: {e}"))
            return
        if not isinstance(hello, messages.Hello) or (hello.host, hello.uuid) != (link.host, link.uuid):
            self.put(t.Close(frame.sid, "hello does not match the certificate"))
            return
        self.links[frame.sid] = link
        refused = self.owner.arrive(link, hello, known=frame.known)
        if refused:
            self.links.pop(frame.sid, None)
            self.put(t.Close(frame.sid, refused, refused=True))

    def _refusal(self, frame: t.Open) -> str:
        if not frame.path or frame.path[-1] != self.name or frame.path[0] != t.owner_of(frame.sid):
            return f"the path {' > '.join(frame.path) or 'none'} is not its own"
        if frame.sid in self.links:
            return f"{frame.sid} is open already"
        if not self.carries(frame.host):
            return f"it is not behind {self.name} in the topology"
        return ""
