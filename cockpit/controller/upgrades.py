"""What upgrades ask of the controller and tell it: see `cockpit.link.candidates`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.link.messages import Hello


class HubFacts:
    """What `cockpit.link.candidates.HubCandidates` asks of the controller."""

    def __init__(self, controller: Controller) -> None:
        self._c = controller

    def connected(self, host: str, hello: Hello) -> None:
        link = self._c.hub.links[host]
        self._c.world.connected(host, hello, time.time(), link.path, link.transport)

    def again(self, host: str) -> None:
        self._c.runner.host_seen(host)

    def upgrading(self, host: str, words: str) -> None:
        self._c.world.host_fact(host, upgrading=words)
