"""Tells `{"facts": {...}}` once and on change, `{"sample": {...}}` every few seconds (`period`, 0: never), and
`{"peers": {unit: [[address, port, connections], ...]}}` every half minute when it changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, Optional

from .facts import facts
from .numbers import Sampler
from .peers import look as look_at_peers

if TYPE_CHECKING:
    from cockpit.agent.plugins.inside import Host

FACTS_EVERY = 300.0
PEERS_EVERY = 30.0


class Metrics:
    def __init__(self, host: "Host") -> None:
        self._host = host
        self._sampler = Sampler()
        self._facts: Optional[Dict[str, Any]] = None
        self._looked = 0.0
        self._peers: Optional[Dict[str, Any]] = None
        self._peers_at = 0.0
        self._generation = 0

    def begin(self) -> None:
        """The period may have changed."""
        self._generation += 1
        self._look(self._generation)

    def connected(self) -> None:
        self._facts = self._peers = None
        self._looked = self._peers_at = 0.0

    def _look(self, generation: int) -> None:
        if generation != self._generation:
            return
        period = float(self._host.settings.get("period", 5.0))
        if period <= 0:
            return
        now = time.monotonic()
        if not self._looked or now - self._looked >= FACTS_EVERY:
            self._looked = now
            found = facts()
            if found != self._facts:
                self._facts = found
                self._host.tell({"facts": found})
        self._host.tell({"sample": self._sampler.sample(self._host.units)})
        if not self._peers_at or now - self._peers_at >= PEERS_EVERY:
            self._peers_at = now
            peers = look_at_peers(self._host.units)
            if peers != self._peers:
                self._peers = peers
                self._host.tell({"peers": peers})
        self._host.at(max(1.0, period), lambda: self._look(generation))


def start(host: "Host") -> None:
    work = Metrics(host)
    host.on("settings", work.begin)
    host.on("connected", work.connected)
    host.at(0.2, work.begin)
