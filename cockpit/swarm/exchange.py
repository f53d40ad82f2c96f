"""All connections of one node: what it listens for, and which swarm or desk each connection belongs to."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Dict, Iterable, Optional, Set

from cockpit.swarm import wire
from cockpit.swarm.link import Link
from cockpit.swarm.net import HANDSHAKE, Listener, dial
from cockpit.swarm.tls import Identity, Name


class Target:
    """Where a connection leads after both hellos. `pieces` is compared when it is not 0."""

    pieces = 0

    def attach(self, link: Link) -> None:
        """Both hellos are through. May close the link."""
        raise NotImplementedError

    def heard(self, link: Link, message: wire.Message) -> None:
        """May raise ValueError or WireError: the link is closed with its text."""
        raise NotImplementedError

    def detached(self, link: Link, why: str) -> None:
        """Of a link that was attached."""
        raise NotImplementedError


FEW_READS = 2
"""Records that a connection may read at a time once there is a limit: so that pauses are short."""


class Exchange:
    """`name` is ours in the swarm ("" for the origin), `role` is peer, relay or origin."""

    def __init__(self, identity: Identity, name: str, role: str) -> None:
        self.identity = identity
        self.name = name
        self.role = role
        self.targets: Dict[str, Target] = {}
        """By swarm id; "" is the desk, where words are heard."""
        self.worker = ThreadPoolExecutor(1, "swarm")
        """Decoding and hashing of what is too long for the loop, one after the other."""
        self.remark: Callable[[str], None] = lambda text: None
        self.listener = Listener(identity, self._accepted, self._first, self._gone)
        self._links: Set[Link] = set()
        self._waiting: Dict[Link, asyncio.TimerHandle] = {}
        """Accepted, but they have not said what they want."""
        self._paused: Optional[asyncio.TimerHandle] = None
        self._loop = asyncio.get_running_loop()

    def listen(self, address: str, port: int) -> int:
        """The port. Raises OSError."""
        self.listener.start(address, port)
        return self.listener.port

    async def dial(self, address: str, port: int, wanted: Name, swarm: str, target: Target) -> Link:
        """A connection to that node for `target`, attached once its hello comes. Raises OSError."""
        link = await dial(self.identity, address, port, wanted, self._first, self._gone)
        self._links.add(link)
        link.dialler = self.name
        link.target = target
        self._expect_hello(link)
        link.send(wire.Hello(swarm, self.name, self.role, target.pieces))
        return link

    def pause(self, seconds: float) -> None:
        """Read nothing of any swarm for so long."""
        until = self._loop.time() + seconds
        if self._paused is not None:
            if self._paused.when() >= until:
                return
            self._paused.cancel()
        self._paused = self._loop.call_at(until, self._resume)
        self._loop.call_soon(self._stop)

    def _stop(self) -> None:
        """Not before every connection with something to read had its turn: one must not starve the others."""
        if self._paused is not None:
            self._read(False)

    def _resume(self) -> None:
        self._paused = None
        self._read(True)

    def _read(self, on: bool) -> None:
        for link in self._links:
            if link.hello is not None and link.hello.swarm:
                link.reads = FEW_READS
                link.pause_reading(not on)

    def revoke(self, uuids: Iterable[str]) -> None:
        """The whole list of those who are refused from now on; connections that they have are cut."""
        self.identity.revoke(uuids)
        for link in list(self._links):
            if link.uuid and link.uuid in self.identity.revoked:
                link.close("it was revoked")

    def close(self) -> None:
        self.listener.stop()
        for link in list(self._links):
            link.close("this node ends")
        self.worker.shutdown(wait=False)

    def _accepted(self, link: Link) -> None:
        self._links.add(link)
        link.dialler = link.node
        self._expect_hello(link)

    def _expect_hello(self, link: Link) -> None:
        self._waiting[link] = self._loop.call_later(HANDSHAKE, link.close, "it does not say hello")

    def _first(self, link: Link, message: wire.Message) -> None:
        """Its hello. Everything after goes to the target."""
        if not isinstance(message, wire.Hello):
            raise wire.WireError("it does not begin with hello")
        if message.protocol != wire.PROTOCOL:
            raise wire.WireError(f"it speaks protocol {message.protocol}, we speak {wire.PROTOCOL}")
        if message.name != link.node or message.role != link.name.role:
            raise wire.WireError(f"{link.name} says that it is the {message.role} {message.name!r}")
        dialled = link.target is not None
        target: Optional[Target] = link.target or self.targets.get(message.swarm)
        if target is None:
            raise wire.WireError("we do not take part in that swarm")
        if target.pieces != message.pieces and target.pieces:
            raise wire.WireError(f"{message.pieces} pieces in a swarm of {target.pieces}")
        link.hello = message
        link.target = target
        link.on_message = target.heard
        self._waiting.pop(link).cancel()
        if not dialled:
            link.send(wire.Hello(message.swarm, self.name, self.role, target.pieces))
        target.attach(link)

    def _gone(self, link: Link, why: str) -> None:
        self._links.discard(link)
        waiting = self._waiting.pop(link, None)
        if waiting is not None:
            waiting.cancel()
        if link.hello is not None and link.target is not None:
            link.target.detached(link, why)
        elif why:
            self.remark(f"{link.name}: {why}")
