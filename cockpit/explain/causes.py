"""Which trouble comes from which: a graph of troubles, its knots made into one, its roots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cockpit.explain.facts import Facts, covers
from cockpit.explain.wrong import Sort, shape, unheard
from cockpit.model import drift as kinds
from cockpit.model.view import UNKNOWN, HostRow
from cockpit.model.why_rows import ACTION, BECAUSE, HOST, PERHAPS, REGION, RELAY, SERVICE

SLACK = 5.0
"""Seconds by which a cause may be noticed after its effect: checks look only now and then."""
HALF_DONE = frozenset(
    {kinds.WRONG_VERSION, kinds.WRONG_CONFIG, kinds.WRONG_HOST, kinds.WRONG_DATA, kinds.MISSING, kinds.EXTRA}
)
"""What an action that was cut off leaves behind."""
NOT_CALLED = frozenset({"altered", "rejected", *HALF_DONE})
"""Troubles that no other service can bring about."""
GROUP, ODD, HOSTS = "instances", "difference", "hosts"
FEW = 4
"""More silent hosts of one region for one reason than this are one trouble."""


class Trouble(NamedTuple):
    """A vertex: a kind, a name, and for instances what they share."""

    kind: str
    name: str
    sort: Sort | None = None


class Edge(NamedTuple):
    to: Trouble
    how: str


class Bundle(NamedTuple):
    """Silent hosts with the same cause: one vertex, however many they are."""

    names: list[str]
    cause: Edge | None
    region: str
    presence: str
    reason: str


Knot = tuple[Trouble, ...]
"""Troubles that are each other's cause; mostly one."""


class Graph:
    """What was found from some troubles on: `knots` with causes before effects."""

    def __init__(self, edges: dict[Trouble, list[Edge]], bundles: dict[str, Bundle]) -> None:
        self.edges = edges
        self.bundles = bundles
        self.knots = _knots(edges)
        self.knot_of = {t: n for n, knot in enumerate(self.knots) for t in knot}
        self.causes: list[dict[int, str]] = [{} for _ in self.knots]
        """Knot -> knots right behind it, and how sure that is."""
        self.effects: list[dict[int, str]] = [{} for _ in self.knots]
        for trouble, out in edges.items():
            here = self.knot_of[trouble]
            for edge in out:
                there = self.knot_of[edge.to]
                if there != here and self.causes[here].get(there) != BECAUSE:
                    self.causes[here][there] = self.effects[there][here] = edge.how

    def roots(self) -> list[int]:
        return [n for n, causes in enumerate(self.causes) if not causes]

    def behind(self, troubles: Iterable[Trouble]) -> set[int]:
        """The knots of these troubles, and every one that they come from."""
        found: set[int] = set()
        todo = [self.knot_of[t] for t in troubles]
        while todo:
            here = todo.pop()
            if here not in found:
                found.add(here)
                todo += self.causes[here]
        return found

    def hanging(self, knot: int) -> dict[int, bool]:
        """Every knot that comes from this one; true when every step on some way there is sure."""
        sure: dict[int, bool] = {knot: True}
        todo = [knot]
        while todo:
            here = todo.pop()
            for there, how in self.effects[here].items():
                now = sure[here] and how == BECAUSE
                if there not in sure or (now and not sure[there]):
                    sure[there] = now
                    todo.append(there)
        del sure[knot]
        return sure


def explore(facts: Facts, start: Iterable[Trouble] = (), *, everything: bool = False) -> Graph:
    """Follow causes from these troubles, or from all there are. Each is looked at once: no ring holds it up."""
    edges: dict[Trouble, list[Edge]] = {}
    finder = _Finder(facts)
    todo = [*start, *(finder.everything() if everything else ())]
    while todo:
        trouble = todo.pop()
        if trouble not in edges:
            edges[trouble] = finder.causes(trouble)
            todo += [e.to for e in edges[trouble] if e.to not in edges]
    return Graph(edges, finder.bundles)


class _Finder:
    """The rules: what may be right behind a trouble."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._regions: dict[str, bool] | None = None
        self.bundles: dict[str, Bundle] = {}
        self._bundle_of: dict[str, str] = {}
        self._bundle()

    def everything(self) -> list[Trouble]:
        facts, wrong = self.facts, self.facts.wrong
        out = [group_trouble(s) for s in wrong.groups]
        out += [Trouble(HOSTS, key) for key in self.bundles]
        out += [Trouble(HOST, h) for h in wrong.hosts | wrong.silent.keys() if h not in self._bundle_of]
        out += [Trouble(RELAY, r) for r in facts.relays if facts.bad_relay(r) is not None]
        out += [Trouble(ACTION, a.id) for a in facts.stuck]
        return out + [Trouble(ODD, k) for k in facts.odd()]

    def _bundle(self) -> None:
        """Put silent hosts together: by what is behind them, or by region and reason where that is not known."""
        facts = self.facts
        kept: dict[str, Bundle] = {}
        for name in facts.wrong.hosts:
            row = facts.hosts.get(name)
            if row is None or row.trouble or not unheard(row):
                continue
            cause = next(iter(self._host(row)), None)
            if cause is not None:
                key = f"{cause.to.kind} {cause.to.name} {cause.how}"
            else:
                key = f"{row.region} {row.presence} {shape(row.reason)}"
            bundle = kept.get(key)
            if bundle is None:
                bundle = kept[key] = Bundle([], cause, row.region, row.presence, row.reason)
            bundle.names.append(name)
        for key, bundle in kept.items():
            if len(bundle.names) > (1 if bundle.cause is not None else FEW):
                bundle.names.sort()
                reason = facts.hosts[bundle.names[0]].reason
                self.bundles[key] = bundle._replace(reason=reason)
                self._bundle_of.update(dict.fromkeys(bundle.names, key))

    def host(self, name: str) -> Trouble:
        """The vertex that a silent host is part of."""
        key = self._bundle_of.get(name)
        return Trouble(HOST, name) if key is None else Trouble(HOSTS, key)

    def causes(self, trouble: Trouble) -> list[Edge]:
        if trouble.kind == GROUP and trouble.sort is not None:
            return self._group(trouble.sort)
        if trouble.kind == SERVICE:
            return self._service(trouble.name)
        if trouble.kind == HOSTS:
            cause = self.bundles[trouble.name].cause
            return [cause] if cause is not None else []
        if trouble.kind == HOST:
            row = self.facts.hosts.get(trouble.name)
            return self._host(row) if row is not None else []
        if trouble.kind == RELAY:
            return self._relay(trouble.name)
        return []

    def _group(self, sort: Sort) -> list[Edge]:
        facts = self.facts
        group = facts.wrong.groups.get(sort)
        if group is None:
            return []
        if sort.word in HALF_DONE:
            for action in reversed(facts.stuck):
                if covers(action, sort.service) or group.ids.keys() <= set(action.targets):
                    return [Edge(Trouble(ACTION, action.id), BECAUSE)]
        if sort.word in NOT_CALLED:
            return []
        out = []
        for service in facts.depends(sort.service):
            how = self._called(sort, service)
            if how:
                out.append(Edge(Trouble(SERVICE, service), how))
        return out

    def _called(self, sort: Sort, service: str) -> str:
        """How a service that is called may be behind it: named by the check or the log, or all of it gone."""
        facts = self.facts
        if not facts.unwell(service):
            return ""
        began, mine = self._since(service), facts.wrong.groups[sort].since
        if began is not None and mine is not None and began > mine + SLACK:
            return ""  # what came later is not what began it
        if names_it(facts, sort, service):
            return BECAUSE
        row = facts.nodes.get(service)
        return PERHAPS if row is not None and row.want > 0 and row.have == 0 else ""

    def _since(self, service: str) -> float | None:
        """When the oldest of its troubles began."""
        wrong = self.facts.wrong
        moments = [wrong.groups[s].since for s in wrong.sorts.get(service, ())]
        moments += [
            self.facts.hosts[h].since for h in wrong.silent_of.get(service, ()) if h in self.facts.hosts
        ]
        return min((m for m in moments if m is not None), default=None)

    def _service(self, service: str) -> list[Edge]:
        wrong = self.facts.wrong
        out = [Edge(group_trouble(s), BECAUSE) for s in sorted(wrong.sorts.get(service, ()))]
        away = {self.host(h) for h in wrong.silent_of.get(service, ())}
        return out + [Edge(t, BECAUSE) for t in sorted(away, key=_order)]

    def _host(self, row: HostRow) -> list[Edge]:
        if not unheard(row) or row.mark != UNKNOWN:
            return []  # one that said that it goes down is its own cause
        for name in reversed(row.path):
            if self.facts.bad_relay(name) is not None:
                return [Edge(Trouble(RELAY, name), BECAUSE)]
        if not row.path and row.seen is None and row.region:
            # never heard since the controller began: it may be behind any relay of its region
            near = [r.name for r in self.facts.relays.values() if r.region == row.region]
            bad = [n for n in near if self.facts.bad_relay(n) is not None]
            if bad and len(bad) == len([n for n in near if self.facts.relays[n].links]):
                return [Edge(Trouble(RELAY, min(bad)), PERHAPS)]
        if self._dark(row.region):
            return [Edge(Trouble(REGION, row.region), PERHAPS)]
        return []

    def _relay(self, name: str) -> list[Edge]:
        row = self.facts.relays.get(name)
        if row is None:
            return []
        for above in reversed(row.path[1:] or ((row.upstream,) if row.upstream else ())):
            if above != name and self.facts.bad_relay(above) is not None:
                return [Edge(Trouble(RELAY, above), BECAUSE)]
        return []

    def _dark(self, region: str) -> bool:
        """Is every host of the region silent, and are there several?"""
        if not region:
            return False
        if self._regions is None:
            facts = self.facts
            lost: dict[str, int] = {}
            for name in facts.wrong.hosts:
                row = facts.hosts.get(name)
                if row is not None and unheard(row) and row.mark == UNKNOWN:
                    lost[row.region] = lost.get(row.region, 0) + 1
            wanted = {r for r, n in lost.items() if n > 1}
            there = dict.fromkeys(wanted, 0)
            if wanted:
                for row in facts.hosts.values():
                    if row.region in wanted:
                        there[row.region] += 1
            self._regions = {r: there[r] == lost[r] for r in wanted}
        return self._regions.get(region, False)


def group_trouble(sort: Sort) -> Trouble:
    return Trouble(GROUP, sort.service, sort)


def names_it(facts: Facts, sort: Sort, service: str) -> bool:
    """Does what the check or the log of some instances says name the service, or an address of what is unwell?"""
    some = sorted(facts.ids(sort))[:3]
    said = [facts.instances[i].reason for i in some if i in facts.instances]
    for id in some:
        if id in facts.more:
            said += [*facts.more[id].lines, *facts.more[id].exits]
    text = " ".join(said)
    if not text:
        return False
    places = {service}
    for id in _unwell(facts, service):
        row = facts.instances.get(id)
        if row is not None and row.address:
            places |= {f"{row.address}:{p}" for p in row.ports.values()}
    own = {f"{r.address}:{p}" for i in some if (r := facts.instances.get(i)) for p in r.ports.values()}
    return any(_word(text, place) for place in places - own)


def _unwell(facts: Facts, service: str) -> list[str]:
    wrong = facts.wrong
    ids: list[str] = []
    for sort in sorted(wrong.sorts.get(service, ())):
        ids += sorted(wrong.groups[sort].ids)[:20]
    for host in sorted(wrong.silent_of.get(service, ()))[:20]:
        ids += sorted(i for i in wrong.silent[host] if i.startswith(service + "/"))[:5]
    return ids


def _word(text: str, part: str) -> bool:
    """Is it in the text, and not only as a piece of a longer name or number?"""
    at = text.find(part)
    while at >= 0:
        after = text[at + len(part): at + len(part) + 1]
        before = text[at - 1: at] if at else ""
        if not (after.isalnum() or before.isalnum() or before == "."):
            return True
        at = text.find(part, at + 1)
    return False


def _knots(edges: dict[Trouble, list[Edge]]) -> list[Knot]:
    """Strongly connected components (Tarjan), causes before effects; without recursion."""
    index: dict[Trouble, int] = {}
    low: dict[Trouble, int] = {}
    stack: list[Trouble] = []
    on: set[Trouble] = set()
    out: list[Knot] = []
    for first in sorted(edges, key=_order):
        if first in index:
            continue
        work = [(first, 0)]
        while work:
            here, at = work.pop()
            if at == 0:
                index[here] = low[here] = len(index)
                stack.append(here)
                on.add(here)
            again = False
            targets = edges[here]
            for n in range(at, len(targets)):
                there = targets[n].to
                if there not in index:
                    work += [(here, n + 1), (there, 0)]
                    again = True
                    break
                if there in on:
                    low[here] = min(low[here], index[there])
            if again:
                continue
            if low[here] == index[here]:
                knot: list[Trouble] = []
                while not knot or knot[-1] != here:
                    knot.append(stack.pop())
                    on.discard(knot[-1])
                out.append(tuple(sorted(knot, key=_order)))
            if work:
                above = work[-1][0]
                low[above] = min(low[above], low[here])
    return out


def _order(trouble: Trouble) -> tuple[str, str, tuple[str, ...]]:
    return trouble.kind, trouble.name, tuple(trouble.sort or ())
