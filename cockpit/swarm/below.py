"""The relays below a node, as the origin and relays see them: what they are told, and what they report.

    <- {"op":"pins","swarms":[ID...]}             all of them, on each connection and when they change
    <- {"op":"rates","regions":{REGION:n}}        bytes per second on the way into regions; as pins
    <- {"op":"warm","order":N,"relay":NAME,"sha256","layout"}
    -> {"op":"below","region":R,"relays":[NAME...]}     the region that one serves, and relays below it
    -> {"op":"facts","swarms":{ID:{RELAY:FACTS}}}
    -> {"op":"warmed","order":N,"error":CODE,"text":SENTENCE}
    -> {"op":"carry","sha256":S,"layout":L}       it is about to dial that swarm

An order goes out again when its relay comes back, until it is answered.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Set, Tuple

from cockpit.swarm import wire
from cockpit.swarm.link import Link

WORDS = ("below", "facts", "warmed", "carry")
MAX_RELAYS = 1024
MAX_SWARMS = 4096
AWAY = 30.0
"""Seconds that an order waits for a relay that is not there."""
NUMBERS = ("pieces", "have", "had", "to_move", "moved", "sent", "rate", "bad", "duplicates", "fallbacks", "peers")
TEXTS = ("cells", "phase", "note")

Facts = Dict[str, Any]


class OrderError(Exception):
    """Why a relay was not warmed: `code` is unknown, space, unreachable or bad."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Order(NamedTuple):
    relay: str
    words: Dict[str, Any]
    answer: "asyncio.Future[None]"


class Below:
    """`want(sha256, layout)` makes sure that a swarm is served here; it must not raise."""

    def __init__(self, want: Callable[[str, str], None]) -> None:
        self.facts: Dict[str, Dict[str, Facts]] = {}
        """Swarm -> relay -> what it last said. Of relays that left, too."""
        self.on_facts: Callable[[str, str], None] = lambda swarm, relay: None
        self.on_relays: Callable[[], None] = lambda: None
        """Other relays are below us than before."""
        self.regions: Dict[str, str] = {}
        """Relay -> the region that it serves. Of those that dial us."""
        self._want = want
        self._links: Dict[str, Link] = {}
        self._under: Dict[str, List[str]] = {}
        self._pins: List[str] = []
        self._rates: Dict[str, float] = {}
        self._orders: Dict[int, Order] = {}
        self._numbers = 0

    def relays(self) -> List[str]:
        """All that can be reached."""
        found: Set[str] = set(self._links)
        for names in self._under.values():
            found.update(names)
        return sorted(found)

    # connections

    def arrived(self, link: Link) -> None:
        """A relay's connection for words is up; a newer one replaces the older."""
        if link.name.kind != "relay":
            return
        self._links[link.node] = link
        self._under[link.node] = []
        link.send(wire.Words({"op": "pins", "swarms": self._pins}))
        link.send(wire.Words({"op": "rates", "regions": self._rates}))
        self._send_orders([link.node])
        self.on_relays()

    def left(self, link: Link) -> None:
        if self._links.get(link.node) is link:
            del self._links[link.node]
            del self._under[link.node]
            self.on_relays()

    def heard(self, link: Link, doc: Dict[str, Any]) -> bool:
        """Whether these words were for us. Raises wire.WireError when they are malformed or not a relay's."""
        op = doc.get("op")
        if op not in WORDS:
            return False
        if self._links.get(link.node) is not link:
            raise wire.WireError(f"{link.name} speaks as a relay")
        if op == "below":
            self._set_under(link, doc)
        elif op == "facts":
            self._take_facts(link, doc)
        elif op == "carry":
            sha256, layout = doc.get("sha256"), doc.get("layout")
            if not isinstance(sha256, str) or not isinstance(layout, str):
                raise wire.WireError("carry without sha256 and layout")
            self._want(sha256, layout)
        else:
            self._warmed(doc)
        return True

    def _set_under(self, link: Link, doc: Dict[str, Any]) -> None:
        names = doc.get("relays")
        if not isinstance(names, list) or len(names) > MAX_RELAYS or not all(_short(n) for n in names):
            raise wire.WireError("relays that are no names")
        self._under[link.node] = names
        self.regions[link.node] = str(doc.get("region", ""))[: wire.NAME]
        self._send_orders(names)
        self.on_relays()

    def _take_facts(self, link: Link, doc: Dict[str, Any]) -> None:
        swarms = doc.get("swarms")
        if not isinstance(swarms, dict) or len(self.facts) + len(swarms) > MAX_SWARMS:
            raise wire.WireError("facts of no swarms, or of too many")
        for swarm, relays in swarms.items():
            if not isinstance(relays, dict) or not _short(swarm):
                raise wire.WireError("facts of no relays")
            for relay, facts in relays.items():
                if relay != link.node and relay not in self._under[link.node]:
                    continue  # it has just left that one
                self.facts.setdefault(swarm, {})[relay] = checked(facts)
                self.on_facts(swarm, relay)

    def forget(self, swarm: str) -> None:
        """Nobody wants to know about this swarm any more."""
        self.facts.pop(swarm, None)

    # orders

    def pin(self, swarms: Iterable[str]) -> None:
        """These are to be kept by every relay that holds them; all others need not."""
        pins = sorted(swarms)
        for swarm in set(pins) - set(self._pins):
            self.facts.pop(swarm, None)  # they count anew from here
        self._pins = pins
        for link in self._links.values():
            link.send(wire.Words({"op": "pins", "swarms": self._pins}))

    def limit(self, regions: Dict[str, float]) -> None:
        """What relays may send on to relays of other regions, in bytes per second."""
        self._rates = dict(regions)
        for link in self._links.values():
            link.send(wire.Words({"op": "rates", "regions": self._rates}))

    async def warm(self, relay: str, sha256: str, layout: str) -> None:
        """Until that relay has every piece. Raises OrderError."""
        self._numbers += 1
        number = self._numbers
        words = {"op": "warm", "order": number, "relay": relay, "sha256": sha256, "layout": layout}
        answer = asyncio.get_running_loop().create_future()
        self._orders[number] = Order(relay, words, answer)
        away = 0.0
        try:
            self._send_orders([relay])
            while not answer.done():
                await asyncio.wait([answer], timeout=1.0)
                away = 0.0 if relay in self.relays() else away + 1.0
                if away > AWAY:
                    raise OrderError("unreachable", f"{relay} is not connected")
            answer.result()
        finally:
            answer.cancel()
            self._orders.pop(number, None)

    def _send_orders(self, relays: Iterable[str]) -> None:
        wanted = set(relays)
        for order in self._orders.values():
            link = self._route(order.relay)
            if order.relay in wanted and link is not None:
                link.send(wire.Words(order.words))

    def _route(self, relay: str) -> Any:
        if relay in self._links:
            return self._links[relay]
        return next((self._links[node] for node, names in self._under.items() if relay in names), None)

    def _warmed(self, doc: Dict[str, Any]) -> None:
        order = self._orders.get(doc["order"]) if type(doc.get("order")) is int else None
        if order is None or order.answer.done():
            return
        if doc.get("error"):
            order.answer.set_exception(OrderError(str(doc["error"])[:20], str(doc.get("text", ""))[:1000]))
        else:
            order.answer.set_result(None)


def checked(facts: Any) -> Facts:
    """FACTS (docs/artifacts.md) as they may be passed on. Raises wire.WireError."""
    if not isinstance(facts, dict):
        raise wire.WireError("facts that are no object")
    found: Facts = {}
    for key in NUMBERS:
        value = facts.get(key, 0)
        if type(value) not in (int, float):
            raise wire.WireError(f"facts whose {key} is no number")
        found[key] = value
    for key in TEXTS:
        found[key] = str(facts.get(key, ""))[:200]
    found["from"] = dict(_counts(facts.get("from", {})))
    return found


def _counts(counts: Any) -> "List[Tuple[str, int]]":
    if not isinstance(counts, dict) or len(counts) > MAX_RELAYS:
        raise wire.WireError("facts whose senders are no object")
    return [(name[: wire.NAME], count) for name, count in counts.items() if type(count) is int]


def _short(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= wire.NAME
