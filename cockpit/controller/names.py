"""Publishing names: the registry's changes go to every host, and are kept for the next controller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from cockpit.controller.world import World
from cockpit.link.hub import Hub
from cockpit.ports import Write
from cockpit.session.spelling import written

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
        self._asked = False
        self._until = time.monotonic() + HELD
        world.registry.settle(known)

    def send(self) -> int:
        """Push what changed to every host; returns the version that is out now."""
        registry = self.world.registry
        if not self._held() and registry.version != self._sent:
            if self._sent < 0:
                self.hub.greet(self._full())
            else:
                version, services = registry.delta_since(self._sent)
                self.hub.broadcast({"t": "names", "version": version, "full": False, "services": services})
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
        self.send()

    def out(self, version: int) -> bool:
        """Was this version published? A new controller holds names back until the known hosts have reported."""
        return self._sent >= version

    def greet(self, host: str) -> None:
        """The full set for a host that has just connected; later, when names are still held.

        A relay keeps the names for the hosts behind it, and greets them itself.
        """
        if self._sent >= 0 and not self.hub.carried(host):
            self.hub.send(host, self._full())

    def greeting(self) -> dict[str, Any] | None:
        """The full set for a relay that has just connected; None while names are still held.

        It is the set of the last version that was sent: what comes after it is sent to everybody.
        """
        if self._sent < 0:
            return None
        self.send()
        return self._full()

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

    def _full(self) -> dict[str, Any]:
        registry = self.world.registry
        return {"t": "names", "version": registry.version, "full": True, "services": registry.services()}
