"""A relay's one standing connection to its upstream, over which it asks, is ordered, and reports."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from cockpit.swarm import wire
from cockpit.swarm.exchange import Exchange
from cockpit.swarm.link import Link
from cockpit.swarm.tracking import Place, Tracking

ORDERS = ("pins", "rates", "warm")


class Upstream(Tracking):
    """`on_order(doc)` gets the words of `below.Below`, all of them between `on_up()` and `on_down()`."""

    def __init__(
        self, exchange: Exchange, place: Place, on_order: Callable[[Dict[str, Any]], None],
        on_up: Callable[[], None], on_down: Callable[[], None],
    ) -> None:
        self._order = on_order
        self._stands = on_up
        self._falls = on_down
        self._words: Optional[Link] = None
        super().__init__(exchange, [place])

    @property
    def up(self) -> bool:
        return self._words is not None

    def say(self, doc: Dict[str, Any]) -> bool:
        """False when there is no connection: what matters is said again when there is one."""
        if self._words is None:
            return False
        self._words.send(wire.Words(doc))
        return True

    def attach(self, link: Link) -> None:
        super().attach(link)
        self._words = link
        self._stands()

    def detached(self, link: Link, why: str) -> None:
        super().detached(link, why)
        if link is self._words:
            self._words = None
            self._falls()

    def heard(self, link: Link, message: wire.Message) -> None:
        if isinstance(message, wire.Words) and message.doc.get("op") in ORDERS:
            self._order(message.doc)
        else:
            super().heard(link, message)
