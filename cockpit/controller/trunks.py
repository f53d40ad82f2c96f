"""What the controller knows and decides about relays that carry links: the hub's questions, answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cockpit.controller import places
from cockpit.link import trunk_frames as t

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

LATENCY_STEP = 0.25
"""Of its latency: a change that is smaller is not shown."""


class Trunks:
    """`hub.relays`: see `cockpit.link.owners.RelayOwner`."""

    def __init__(self, c: Controller) -> None:
        self.c = c

    def ways(self, host: str) -> list[str]:
        """Where this host should dial, in order."""
        return places.ways(host, self.c.world.expected, self.c.url, self._ports)

    def settings(self, relay: str) -> dict[str, Any] | None:
        """What its relay.json should hold; None while that is not known."""
        return self.c.relay_facts(relay) or None if relay in self.c.world.expected.relays else None

    def connected_relays(self) -> set[str]:
        """Those that have a trunk here, or below one that has."""
        return {name for trunk in self.c.hub.trunks.values() for name in (trunk.name, *trunk.below)}

    def review(self) -> None:
        """The topology, or where a local relay listens, has changed."""
        for name, trunk in list(self.c.hub.trunks.items()):
            if trunk.own and not self._stands(name, trunk.uuid):
                trunk.cut(f"{name} is not a relay of the topology any more that carries links")
        self.c.hub.review(self.settings)

    def _stands(self, relay: str, uuid: str) -> bool:
        known = self.c.world.expected.relays.get(relay)
        return known is not None and known.link_port is not None and self.c.joining.admits_relay(relay, uuid)

    def _ports(self, relay: str) -> int:
        return self.c.local.relays.link_port(relay)

    # the hub's questions

    def admit(self, relay: str, uuid: str) -> dict[str, Any] | None:
        return self.settings(relay) or {} if self._stands(relay, uuid) else None

    def carries(self, relay: str, host: str) -> bool:
        return places.carries(relay, host, self.c.world.expected)

    def greeting(self) -> str | None:
        return self.c.names.greeting()

    def connected(self, relay: str, hello: t.RelayHello, transport: str) -> None:
        self.c.hub.tell_below(relay, self.c.joining.revoking.frame())
        self.c.world.relay_connected(relay, hello, transport, time.time())

    def state(self, relay: str, states: dict[str, t.RelayState]) -> None:
        self.c.world.relay_states(relay, states, time.time())
        self.c.hub.configure(self.settings)

    def beat(self, relay: str, latency: float | None) -> None:
        known = self.c.world.relays.get(relay)
        shown = known.latency if known is not None else None
        if latency is not None and (shown is None or abs(latency - shown) > LATENCY_STEP * max(shown, 0.002)):
            self.c.world.relay_fact(relay, latency=latency)

    def lost(self, relay: str, why: str) -> None:
        self.c.world.relay_lost(relay, why, time.time())

    def remark(self, relay: str, text: str) -> None:
        self.c.world.relay_fact(relay, note=text)

    async def ask(self, relay: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """A relay renews its own certificate. Raises PermissionError, KeyError, ValueError."""
        if what != "renew":
            raise ValueError(f"nobody answers {what!r} here")
        uuid = self.c.joining.relays.get(relay, "")
        return await self.c.security.renewing.renew("relay", relay, uuid, body["csr"])
