"""A peer's side of the tracker: the connection for words, kept to the nearest tracker that answers.

    -> {"op":"join","swarm":ID,"address":A,"port":N,"region":R}     once we listen, and again on each connection
    <- {"op":"peers","swarm":ID,"add":[{"name","address","port"}],"drop":[NAME]}     dial these, hang up on those
    -> {"op":"holds","swarm":ID,"address":A,"port":N,"region":R,"base":SHA256}    we have its heads and pass them on
    -> {"op":"rescue","swarm":ID}      none of those that we are connected to gives us anything
    -> {"op":"leave","swarm":ID}
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from cockpit.swarm import wire
from cockpit.swarm.exchange import Exchange, Target
from cockpit.swarm.heads import Answer, HeadError
from cockpit.swarm.link import Link
from cockpit.swarm.passing import ask_node
from cockpit.swarm.tls import Name

BACKOFF = (0.3, 0.6, 1.2, 2.5, 5.0)
"""Seconds, give or take half of it: a whole region comes back to a relay that was started again."""
PATIENCE = 15.0
"""Seconds without the nearest tracker before the next one is taken."""
ANSWER = 60.0
"""Seconds for a head, however large it is, counted anew on each byte."""
AGAIN = 15.0
"""Seconds without a sign until a question is put once more: it may have been lost on its way through a relay."""
LOOK = 5.0
MAX_PEERS = 4096


class Place(NamedTuple):
    name: Name
    address: str
    port: int


class Membership(NamedTuple):
    """What a swarm of ours is told. A tracker is also the chooser of its swarms: `chooser` is it."""

    doc: Dict[str, Any]
    """The word `join`."""
    add: Callable[[Place, bool], None]
    """Dial this node; whether it is the chooser."""
    drop: Callable[[str], None]


class Tracking(Target):
    """`places` are the trackers, nearest first."""

    def __init__(self, exchange: Exchange, places: List[Place]) -> None:
        self.exchange = exchange
        self.places = places
        self.place: Optional[Place] = None
        """The tracker that we are connected to, or were last."""
        self.why = ""
        """Why there was no connection the last time."""
        self.note = ""
        """Why it is not the nearest tracker that we ask."""
        self._link: Optional[Link] = None
        self._members: Dict[str, Membership] = {}
        self._held: Dict[str, Dict[str, Any]] = {}
        """Swarm -> our word `holds`."""
        self._answers: Dict[int, Answer] = {}
        self._ids = 0
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._avoided = False
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def close(self) -> None:
        self._task.cancel()
        if self._link is not None:
            self._link.close()

    def enter(self, swarm: str, member: Membership) -> None:
        """Take part: announced now, and again after each loss of the connection."""
        self._members[swarm] = member
        if self._link is not None:
            self._link.send(wire.Words(member.doc))

    def avoid(self, node: str, why: str) -> None:
        """The chooser beside this tracker breaks the rules: the next tracker, when there is one."""
        if self._link is not None and self._link.node == node and len(self.places) > 1:
            self._avoided = True
            self._link.close(why)

    def rescue(self, swarm: str) -> None:
        if self._link is not None:
            self._link.send(wire.Words({"op": "rescue", "swarm": swarm}))

    def holds(self, doc: Dict[str, Any]) -> None:
        """The word `holds`: said now, and again after each loss of the connection."""
        self._held[doc["swarm"]] = doc
        if self._link is not None:
            self._link.send(wire.Words(doc))

    def leave(self, swarm: str, *, heads: bool = True) -> None:
        """Take part no more; with `heads` nobody is to ask us for them either."""
        told = [self._members.pop(swarm, None) is not None, heads and self._held.pop(swarm, None) is not None]
        if self._link is not None and any(told):
            self._link.send(wire.Words({"op": "leave", "swarm": swarm}))
            if swarm in self._held:
                self._link.send(wire.Words(self._held[swarm]))

    async def elsewhere(self, doc: Dict[str, Any], holder: Any, size: Any, limit: int) -> Answer:
        """The answer of the node that the tracker named. Raises HeadError."""
        try:
            return await ask_node(self.exchange, doc, holder, size, limit)
        except HeadError as error:
            self.exchange.remark(f"the {doc['op']} is asked of the tracker again: {error}")
            raise

    async def ask(self, doc: Dict[str, Any], limit: int) -> Answer:
        """The whole answer. Asked again when the connection breaks, or when nothing comes. Raises HeadError."""
        loop = asyncio.get_running_loop()
        tries, heard = 0, 0.0
        while True:
            try:
                await asyncio.wait_for(self._up.wait(), ANSWER)
            except asyncio.TimeoutError:
                raise HeadError("unreachable", f"no tracker answers: {self.why}") from None
            link = self._link
            if link is None:  # it was lost again before it was our turn
                continue
            heard = heard or loop.time()
            self._ids += 1
            answer = self._answers[self._ids] = Answer(limit)
            link.send(wire.Words({**doc, "id": self._ids}))
            try:
                seen, asked = 0, loop.time()
                while not answer.done.done():
                    await asyncio.wait([answer.done], timeout=min(LOOK, AGAIN))
                    now = loop.time()
                    if answer.turns != seen:
                        seen, heard = answer.turns, now
                    elif now - heard > ANSWER:
                        raise HeadError("unreachable", "the tracker does not answer")
                    elif not seen and now - asked > AGAIN:
                        break
                else:
                    answer.done.result()
                    return answer
            except ConnectionError:
                heard = 0.0
                tries += 1
                if tries >= 10:
                    raise HeadError("unreachable", f"the tracker breaks off: {self.why}") from None
            finally:
                answer.done.cancel()
                self._answers = {id: a for id, a in self._answers.items() if a is not answer}

    # the connection

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        at = tries = 0
        since = loop.time()
        while True:
            place = self.places[at]
            try:
                link = await self.exchange.dial(place.address, place.port, place.name, "", self)
                while link.hello is None and not link.closed:
                    await asyncio.sleep(0.01)
                if not link.closed:
                    self._taken(link, place)
                    await self._lost.wait()
                    tries, since = 0, loop.time()
                else:
                    self.why = f"{place.name}: {link.why or 'it closed the connection'}"
            except OSError as error:
                self.why = f"{place.name} at {place.address}:{place.port}: {error.strerror or error}"
            if self._avoided or loop.time() - since > PATIENCE or (self.place is None and tries >= 2):
                self._avoided = False
                at, since = (at + 1) % len(self.places), loop.time()
            await asyncio.sleep(BACKOFF[min(tries, len(BACKOFF) - 1)] * random.uniform(0.5, 1.5))
            tries += 1

    def _taken(self, link: Link, place: Place) -> None:
        if place is not self.places[0]:
            self.note = f"asking {place.name}, because {self.why}"
            self.exchange.remark(self.note)
        else:
            self.note = ""
        self.place = place
        self._link = link
        self._lost.clear()
        self._up.set()
        for doc in [*self._held.values(), *(member.doc for member in self._members.values())]:
            link.send(wire.Words(doc))

    def attach(self, link: Link) -> None:
        return

    def detached(self, link: Link, why: str) -> None:
        if link is not self._link:
            return
        self._link = None
        self.why = f"{link.name}: {why or 'it closed the connection'}"
        self._up.clear()
        self._lost.set()
        for answer in list(self._answers.values()):
            answer.fail(ConnectionError(self.why))

    def heard(self, link: Link, message: wire.Message) -> None:
        if isinstance(message, wire.Blob):
            answer = self._answers.get(message.id)
        elif isinstance(message, wire.Words):
            if message.doc.get("op") == "peers":
                self._peers(message.doc)
                return
            answer = self._answers.get(message.doc.get("id", 0))
        else:
            raise wire.WireError(f"{type(message).__name__} is no word of a tracker")
        if answer is not None:
            answer.heard(message)

    def _peers(self, doc: Dict[str, Any]) -> None:
        """What a tracker says of others is only where to dial: each of them has to show who it is."""
        member = self._members.get(str(doc.get("swarm")))
        add, drop = doc.get("add", []), doc.get("drop", [])
        if member is None:
            return
        if not isinstance(add, list) or not isinstance(drop, list) or len(add) > MAX_PEERS:
            raise wire.WireError("a list of peers that is none")
        for node in drop:
            member.drop(str(node))
        for entry in add:
            try:
                name, address, port = entry["name"], entry["address"], entry["port"]
                fine = isinstance(name, str) and isinstance(address, str) and type(port) is int and 0 < port < 65536
            except (TypeError, KeyError):
                fine = False
            if not fine or len(name) > wire.NAME or len(address) > wire.NAME:
                raise wire.WireError("a peer without proper name, address and port")
            if self.place is not None and name == self.place.name.node:
                member.add(self.place, True)  # as we know it ourselves
            elif name != self.exchange.name:
                member.add(Place(Name("host", name), address, port), False)
