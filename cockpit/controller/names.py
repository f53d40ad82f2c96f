"""Publishing names: the registry's changes go to every host, and are kept for the next controller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from itertools import chain
from typing import Any

import msgspec

from cockpit.controller.world import World
from cockpit.link.hub import Hub
from cockpit.link.trunk_frames import MAX_CARRIED
from cockpit.model.states import SUSPECT, UP
from cockpit.ports import Write
from cockpit.session.spelling import written

MOST = MAX_CARRIED - 1024
"""Bytes of all names: they go to a host in one frame, through relays too."""
HELD = 10.0
"""Seconds a fresh controller waits for all known hosts before it publishes names."""


class NamesFeed:
    """What was sent, and what may be sent now."""

    def __init__(self, hub: Hub, world: World, known: Iterable[str]) -> None:
        """`known` hosts must report their units first: a new controller empties nobody's names."""
        self.hub = hub
        self.world = world
        self.saved = -1
        self._sent = -1
        self._asked = self._making = False
        self._behind = ""
        """A host that had not applied what somebody waited for."""
        self._texts: dict[str, tuple[int, str]] = {}
        """Service -> version of its last change, and its endpoints then as JSON."""
        self._sizes: dict[str, int] = {}
        """Service -> bytes of that, with its name."""
        self._size = 0
        """Their sum."""
        self._all = (-1, "")
        """A version, and the frame of all names at it."""
        self._until = time.monotonic() + HELD
        world.registry.settle(known)

    async def ready(self) -> None:
        """What `send` needs is made a service at a time, while others have their turn; what changes meanwhile is
        left to it. Call that next."""
        if self._held():
            return
        self._making = True
        for service in self.world.registry.changed_since(self._sent):
            if not self._made(service):
                self._text(service)
                await asyncio.sleep(0)
        self._making = False

    def send(self) -> int:
        """Push what changed to every host; returns the version that is out now."""
        registry = self.world.registry
        if not self._held() and registry.version != self._sent and self._fits():
            if self._sent < 0:
                self.hub.greet(self._full())
            else:
                self.hub.tell(self._frame(registry.changed_since(self._sent), full=False))
            self._sent = registry.version
        return registry.version

    def soon(self) -> int:
        """`send` before anything else has its turn, once for all that ask meanwhile; the version that will be out."""
        if not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._now)
        return self.world.registry.version

    def _now(self) -> None:
        self._asked = False
        if not self._making:  # else they are out in a moment
            self.send()

    def out(self, version: int) -> bool:
        """Was this version published? A new controller holds names back until the known hosts have reported."""
        return self._sent >= version

    def applied(self, version: int) -> bool:
        """Did every host apply it that is heard, or was a moment ago? Whoever was found behind is asked first, then
        those that were told last: 10,000 hosts answer one by one, and each time somebody wants to know."""
        hosts, heard = self.world.hosts, False
        known = hosts.get(self._behind)
        for host in chain([known] if known is not None else (), reversed(hosts.values())):
            if host.presence in (UP, SUSPECT):
                if host.names_applied < version:
                    self._behind = host.name
                    return False
                heard = True
        return heard

    def greet(self, host: str) -> None:
        """The full set for a host that has just connected; later, when names are still held.

        A relay keeps the names for the hosts behind it, and greets them itself.
        """
        link = self.hub.links.get(host)
        if self._sent >= 0 and link is not None and not self.hub.carried(host) and self._fits():
            link.put(self._full())

    def greeting(self) -> str | None:
        """The full set for a relay that has just connected; None while names are still held, or do not fit.

        It is the set of the last version that was sent: what comes after it is sent to everybody.
        """
        if self._sent < 0 or not self._fits():
            return None
        self.send()
        return self._full()

    def notices(self) -> list[str]:
        if self._size <= MOST:
            return []
        size = f"{self._size / 2**20:.1f} MiB are more than the {MOST / 2**20:.1f} that a host takes"
        return [f"names are not told any more, hosts keep those they know: {size}"]

    async def unsaved(self) -> list[Write]:
        """What to keep of the registry when it changed since the last call: each service that did is a row."""
        registry = self.world.registry
        if registry.version == self.saved:
            return []
        self.saved, services = registry.version, sorted(registry.unkept)
        registry.unkept.clear()
        writes: list[Write] = [("meta", "names", registry.kept())]
        for service in services:
            kept = registry.kept_of(service)
            writes.append(("names", service, None if kept is None else await written(kept)))
        return writes

    def _held(self) -> bool:
        registry = self.world.registry
        if registry.waiting and time.monotonic() > self._until:
            registry.settle(())
        return bool(registry.waiting)

    def _fits(self) -> bool:
        """Can a host be told all names in one frame? Else it keeps what it knows: a part would look like all."""
        registry = self.world.registry
        if registry.version != self._sent:
            for service in registry.changed_since(self._sent):
                self._text(service)
        return self._size <= MOST

    def _full(self) -> str:
        """Many that connect together are told the same text."""
        registry = self.world.registry
        if self._all[0] != registry.version:
            self._all = registry.version, self._frame(registry.paths(), full=True)
        return self._all[1]

    def _frame(self, services: Iterable[str], *, full: bool) -> str:
        spoken = ",".join(f"{_json(service)}:{self._text(service)}" for service in services)
        version = self.world.registry.version
        return f'{{"t":"names","version":{version},"full":{_json(full)},"services":{{{spoken}}}}}'

    def _text(self, service: str) -> str:
        """Its endpoints as JSON, written when they changed."""
        registry = self.world.registry
        if not self._made(service):
            text = _json(registry.published(service))
            self._texts[service] = registry.changed(service), text
            self._size -= self._sizes.get(service, 0)
            self._sizes[service] = len(f'"{service}":{text},'.encode())
            self._size += self._sizes[service]
        return self._texts[service][1]

    def _made(self, service: str) -> bool:
        known = self._texts.get(service)
        return known is not None and known[0] == self.world.registry.changed(service)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
