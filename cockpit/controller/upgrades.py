"""What the controller shows of upgrades: which hosts have more than one agent now, and what they run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cockpit.model.actual import HostActual
from cockpit.model.states import UNKNOWN

if TYPE_CHECKING:
    from cockpit.controller.core import Controller


def versions(hosts: Mapping[str, HostActual]) -> dict[str, dict[str, int]]:
    """{"agent": {version: hosts}, "keeper": {version: hosts}} of the hosts that were seen."""
    seen = [h for h in hosts.values() if h.presence != UNKNOWN]
    return {
        "agent": dict(Counter(h.agent_version or "unknown" for h in seen)),
        "keeper": dict(Counter(str(getattr(h, "keeper_version", "") or "unknown") for h in seen)),
    }


class HubFacts:
    """What `cockpit.link.candidates.HubCandidates` asks of the controller."""

    def __init__(self, controller: Controller) -> None:
        self._c = controller

    def agent_pid(self, host: str) -> int | None:
        known = self._c.world.hosts.get(host)
        return known.agent_pid if known is not None else None

    def connected(self, host: str, hello: Any) -> None:
        link = self._c.hub.links[host]
        self._c.world.connected(host, hello, time.time(), link.path, link.transport)

    def again(self, host: str) -> None:
        self._c.runner.host_seen(host)

    def upgrading(self, host: str, words: str) -> None:
        self._c.world.host_fact(host, upgrading=words)
