"""Who gets a head of a swarm (manifest, layout) from whom: the tracker itself, or a node that holds it already.
Sans-I/O: the time is given.

The tracker sends the same bytes to few at once; who asks meanwhile waits for the first of its own region that holds
them, so that they spread as a tree and come into each region once. A node that several found to be no source is not
named any more, and who was sent to one in vain gets the bytes from the tracker.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

SMALL = 16 * 1024
"""Bytes; what is shorter is sent at once to whoever asks."""
AT_ONCE = 2
"""The tracker serves so many with the same bytes, and names each node to so many."""
FAULTS = 2
"""Nodes that were sent to a node in vain, until nobody is sent there."""
HELD = 1024
"""Swarms whose heads one node may say that it holds."""
TURN = 0.5
"""Seconds between looks for places that nobody gave back."""


def share(size: int) -> float:
    """Seconds that a transfer by the tracker keeps its place: then it goes on, but the next one may begin too."""
    return 2.0 + size / (256 * 1024)


def patience(size: int) -> float:
    """Seconds that a transfer from another node may take."""
    return 4.0 + size / (64 * 1024)


class Holder(NamedTuple):
    """A node that passes heads on. `kind` is that of its certificate: host or relay."""

    name: str
    kind: str
    address: str
    port: int


class Wanted(NamedTuple):
    """Which bytes: `what` is manifest or layout; `base` the manifest that a difference starts from, or empty."""

    what: str
    base: str


class Direct(NamedTuple):
    """Send it yourself."""

    token: int


class Ask(NamedTuple):
    """Name this node."""

    token: int
    holder: Holder


class Over(NamedTuple):
    """It asked the same again before it was decided: only the later question is."""

    token: int


Decisions = List[Union[Direct, Ask, Over]]


class Counts(NamedTuple):
    direct: int = 0
    handed: int = 0
    again: int = 0
    """Of the direct ones, those who had been sent to another node in vain."""


class _Member:
    def __init__(self, holder: Holder, region: str, base: str) -> None:
        self.holder = holder
        self.region = region
        self.base = base
        """It can give the difference to this one, besides the whole."""
        self.given = 0
        self.busy: Dict[Tuple[str, Wanted], float] = {}
        """(asker, what) -> until when it counts."""


class _Question(NamedTuple):
    token: int
    asker: str
    size: int


Queue = Tuple[Wanted, Optional[str]]
"""What is waited for, in which region; None: for the tracker alone."""


class _Swarm:
    def __init__(self) -> None:
        self.members: Dict[str, _Member] = {}
        self.regions: Dict[str, Dict[str, _Member]] = {}
        self.free: Dict[str, Dict[str, _Member]] = {}
        """By region, those that may be named to one more."""
        self.faults: Dict[str, int] = {}
        self.direct: Dict[Wanted, Dict[str, float]] = {}
        """What -> asker -> until when it counts."""
        self.served: Dict[str, Dict[Wanted, str]] = {}
        """Asker -> what -> the node that it was sent to, or empty: the tracker."""
        self.queues: "Dict[Queue, OrderedDict[int, _Question]]" = {}
        self.open: Dict[Tuple[str, Wanted], int] = {}
        """Asker and what -> its token, while it waits."""
        self.counts = Counts()


class Handing:
    """Of one tracker, for all swarms. Every method that returns decisions may decide for any waiting question."""

    def __init__(self) -> None:
        self._swarms: Dict[str, _Swarm] = {}
        self._held: Dict[str, Set[str]] = {}
        """Node -> swarms in which it plays a part."""
        self._waiting: Dict[int, Tuple[str, Queue]] = {}

    def wake(self, now: float) -> Optional[float]:
        """When to call `tick`; None while nobody waits."""
        return now + TURN if self._waiting else None

    def counts(self, swarm: str) -> Counts:
        """Of a swarm that somebody takes part in."""
        found = self._swarms.get(swarm)
        return found.counts if found is not None else Counts()

    def asked(
        self, swarm: str, token: int, asker: str, wanted: Wanted, region: str, size: int, now: float,
        failed: str = "",
    ) -> Decisions:
        """A question that is decided now or later. `failed` is the node that the asker was sent to in vain."""
        found = self._swarms.setdefault(swarm, _Swarm())
        self._held.setdefault(asker, set()).add(swarm)
        earlier = found.open.get((asker, wanted))
        decisions: Decisions = []
        if earlier is not None:
            self._unqueue(found, self._waiting.pop(earlier)[1], earlier)
            decisions.append(Over(earlier))
        before = found.served.get(asker, {}).get(wanted)
        self._release(found, asker, wanted)
        if failed:
            found.counts = found.counts._replace(again=found.counts.again + 1)
            if before == failed:  # nobody is blamed by those who were not sent there
                found.faults[failed] = found.faults.get(failed, 0) + 1
                self._mark(found, failed)
        queue: Queue = (wanted, None if failed else region)
        found.queues.setdefault(queue, OrderedDict())[token] = _Question(token, asker, size)
        self._waiting[token] = (swarm, queue)
        found.open[asker, wanted] = token
        return decisions + self._decide(found, now)

    def cancelled(self, token: int) -> None:
        """The question is over, decided or not."""
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            swarm, queue = waiting
            self._unqueue(self._swarms[swarm], queue, token)
            self._tidy(swarm)

    def holds(self, swarm: str, holder: Holder, region: str, base: str, now: float) -> Decisions:
        """This node has the heads now and passes them on. Raises ValueError when it says so too often."""
        held = self._held.setdefault(holder.name, set())
        if swarm not in held and len(held) >= HELD:
            raise ValueError(f"it holds the heads of more than {HELD} swarms")
        held.add(swarm)
        found = self._swarms.setdefault(swarm, _Swarm())
        for wanted in list(found.served.get(holder.name, ())):
            self._release(found, holder.name, wanted)
        self._expel(found, holder.name)
        found.members[holder.name] = member = _Member(holder, region, base)
        found.regions.setdefault(region, {})[holder.name] = member
        self._mark(found, holder.name)
        return self._decide(found, now)

    def left(self, swarm: str, name: str, now: float) -> Decisions:
        """This node passes nothing on any more, and waits for nothing that it was sent to."""
        found = self._swarms.get(swarm)
        if found is None:
            return []
        self._held.get(name, set()).discard(swarm)
        for wanted in list(found.served.get(name, ())):
            self._release(found, name, wanted)
        self._expel(found, name)
        decisions = self._decide(found, now)
        self._tidy(swarm)
        return decisions

    def gone(self, name: str, now: float) -> Decisions:
        """The connection to a node dropped."""
        decisions: Decisions = []
        for swarm in self._held.pop(name, set()):
            decisions += self.left(swarm, name, now)
        return decisions

    def tick(self, now: float) -> Decisions:
        """Places that were not given back are free after a while."""
        decisions: Decisions = []
        for swarm in {swarm for swarm, _ in self._waiting.values()}:
            found = self._swarms[swarm]
            for askers in found.direct.values():
                for asker in [asker for asker, until in askers.items() if until <= now]:
                    del askers[asker]
            for name, member in found.members.items():
                late = [key for key, until in member.busy.items() if until <= now]
                for key in late:
                    del member.busy[key]
                if late:
                    self._mark(found, name)
            decisions += self._decide(found, now)
        return decisions

    def _tidy(self, swarm: str) -> None:
        found = self._swarms[swarm]
        if not found.members and not found.queues and not found.served:
            del self._swarms[swarm]

    def _decide(self, found: _Swarm, now: float) -> Decisions:
        decisions: Decisions = []
        for queue, question in self._first(found):
            wanted, region = queue
            member = None if region is None else self._pick(found, wanted, region, question.asker)
            if member is not None:
                until = now + patience(question.size)
                member.busy[question.asker, wanted] = until
                member.given += 1
                self._mark(found, member.holder.name)
                found.counts = found.counts._replace(handed=found.counts.handed + 1)
                decisions.append(Ask(question.token, member.holder))
            else:
                found.direct.setdefault(wanted, {})[question.asker] = now + share(question.size)
                found.counts = found.counts._replace(direct=found.counts.direct + 1)
                decisions.append(Direct(question.token))
            found.served.setdefault(question.asker, {})[wanted] = member.holder.name if member is not None else ""
            self._unqueue(found, queue, question.token)
            del self._waiting[question.token]
        return decisions

    def _first(self, found: _Swarm) -> Iterator[Tuple[Queue, _Question]]:
        """The questions that can be decided, one after the other, as things stand then: the oldest first."""
        while True:
            ready = []
            for queue, questions in found.queues.items():
                wanted, region = queue
                question = next(iter(questions.values()))
                able = region is not None and self._able(found, wanted, region, question.asker)
                room = len(found.direct.get(wanted, ())) < AT_ONCE
                if self._pick(found, wanted, region, question.asker) is not None if able else room:
                    ready.append((question.token, queue, question))
            if not ready:
                return
            _, queue, question = min(ready)
            yield queue, question

    def _able(self, found: _Swarm, wanted: Wanted, region: Optional[str], asker: str) -> bool:
        """Somebody there has these bytes, however busy it is."""
        return any(
            name != asker and wanted.base in ("", member.base) and found.faults.get(name, 0) < FAULTS
            for name, member in found.regions.get(region or "", {}).items()
        )

    def _pick(self, found: _Swarm, wanted: Wanted, region: Optional[str], asker: str) -> Optional[_Member]:
        free = [
            member for name, member in found.free.get(region or "", {}).items()
            if name != asker and wanted.base in ("", member.base)
        ]
        return min(
            free, key=lambda m: (found.faults.get(m.holder.name, 0), len(m.busy), m.given), default=None
        )

    def _mark(self, found: _Swarm, name: str) -> None:
        """Whether it may be named to one more."""
        member = found.members.get(name)
        if member is None:
            return
        free = found.free.setdefault(member.region, {})
        if len(member.busy) < AT_ONCE and found.faults.get(name, 0) < FAULTS:
            free[name] = member
        else:
            free.pop(name, None)

    def _release(self, found: _Swarm, asker: str, wanted: Wanted) -> None:
        """The asker has what it waited for, or gave it up."""
        served = found.served.get(asker, {})
        source = served.pop(wanted, None)
        if not served:
            found.served.pop(asker, None)
        if source == "":
            found.direct.get(wanted, {}).pop(asker, None)
        elif source is not None and source in found.members:
            found.members[source].busy.pop((asker, wanted), None)
            self._mark(found, source)

    def _expel(self, found: _Swarm, name: str) -> None:
        member = found.members.pop(name, None)
        if member is not None:
            found.regions[member.region].pop(name)
            found.free.get(member.region, {}).pop(name, None)

    @staticmethod
    def _unqueue(found: _Swarm, queue: Queue, token: int) -> None:
        questions = found.queues.get(queue)
        if questions is not None:
            question = questions.pop(token, None)
            if question is not None:
                found.open.pop((question.asker, queue[0]), None)
            if not questions:
                del found.queues[queue]
