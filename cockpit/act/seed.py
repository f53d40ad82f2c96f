"""What a simulated copy of a cluster starts from, as data that crosses to another thread or process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from cockpit.act.duration import Durations
from cockpit.act.rehearsal import BARS
from cockpit.act.twin import Twin
from cockpit.model.actual import Actual, Endpoint, HostActual, Moves, Unit
from cockpit.model.rehearsal_rows import Fault
from cockpit.model.topology import Doc, from_doc
from cockpit.model.view import Change, RevisionRow
from cockpit.plan.steps import Intent, Plan, Step

CHUNK = 1000
"""Units or other entries on one line of the stream between the processes."""
T = TypeVar("T")


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """All but the units, which may be many."""

    doc: Doc
    revision: int
    now: float
    hosts: dict[str, HostActual] = {}
    draining: tuple[Endpoint, ...] = ()
    artifacts: dict[str, str] = {}
    kinds: dict[str, str] = {}
    moves: dict[str, Moves] = {}
    durations: dict[str, Any] = {}
    gens: dict[str, int] = {}
    revisions: tuple[RevisionRow, ...] = ()
    last_import: Doc | None = None
    stable: dict[str, str] = {}
    actions: int = 0

    def twin(self, units: Iterable[tuple[Unit, str]]) -> Twin:
        """A copy of the cluster with these units, each with its host."""
        by_instance: dict[str, list[Unit]] = {}
        where: dict[str, str] = {}
        for unit, host in units:
            by_instance.setdefault(unit.instance, []).append(unit)
            where[unit.unit] = host
        actual = Actual(
            hosts=self.hosts, units={i: tuple(sorted(us, key=lambda u: u.gen)) for i, us in by_instance.items()},
            where=where, endpoints=self.draining, artifacts=self.artifacts, kinds=self.kinds, moves=self.moves,
        )
        return Twin(
            from_doc(self.doc), actual, durations=Durations.load(self.durations), now=self.now,
            revision=self.revision, revisions=self.revisions, actions=self.actions, gens=self.gens,
            last_import=self.last_import, stable=self.stable, trace=False,
        )


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The first line for the process that rehearses; lines with all that is large follow."""

    seed: Seed
    intent: Intent
    faults: tuple[Fault, ...] = ()
    plan: Plan | None = None
    """Without its steps, which follow. None: it is made there from the intent."""
    bars: int = BARS


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some entries of what an order has too many of for one line: nobody is held up while it is encoded."""

    doc: Doc = {}
    last_import: Doc = {}
    hosts: dict[str, HostActual] = {}
    gens: dict[str, int] = {}
    artifacts: dict[str, str] = {}
    draining: list[Endpoint] = []
    changes: dict[int, list[Change]] = {}
    """By the number of their revision."""
    steps: list[Step] = []
    units: list[tuple[Unit, str]] = []


Placed = list[tuple[Unit, str]]
"""Units, each with its host."""
_lines = msgspec.json.Decoder(Line)
_orders = msgspec.json.Decoder(Order)


def parts(order: Order) -> Iterator[Order | Line]:
    """The order without what is large, then that in pieces of at most CHUNK entries. Units come from elsewhere."""
    seed = order.seed
    small = replace(
        seed, doc={}, last_import=None if seed.last_import is None else {}, hosts={}, gens={}, artifacts={},
        draining=(), revisions=tuple(replace(r, changes=()) for r in seed.revisions),
    )
    plan = order.plan
    yield replace(order, seed=small, plan=None if plan is None else replace(plan, steps=()))
    for piece in _sections(seed.doc):
        yield Line(doc=piece)
    for piece in _sections(seed.last_import or {}):
        yield Line(last_import=piece)
    for some in batched(seed.hosts.items()):
        yield Line(hosts=dict(some))
    for numbers in batched(seed.gens.items()):
        yield Line(gens=dict(numbers))
    for digests in batched(seed.artifacts.items()):
        yield Line(artifacts=dict(digests))
    for draining in batched(seed.draining):
        yield Line(draining=draining)
    for revision in seed.revisions:
        for changes in batched(revision.changes):
            yield Line(changes={revision.number: changes})
    for steps in batched(plan.steps if plan is not None else ()):
        yield Line(steps=steps)


def _sections(doc: Doc) -> Iterator[Doc]:
    for name, section in doc.items():
        if not isinstance(section, dict):
            yield {name: section}
            continue
        yield {name: {}}
        for some in batched(section.items()):
            yield {name: dict(some)}


def batched(items: Iterable[T]) -> Iterator[list[T]]:
    each = iter(items)
    while some := list(islice(each, CHUNK)):
        yield some


def merged(order: Order, found: Iterable[Line]) -> Order:
    """The order with the lines that came after it, but for their units."""
    seed = order.seed
    doc, last = dict(seed.doc), dict(seed.last_import or {})
    hosts, gens, artifacts = dict(seed.hosts), dict(seed.gens), dict(seed.artifacts)
    draining = list(seed.draining)
    changes: dict[int, list[Change]] = {}
    steps: list[Step] = []
    for part in found:
        for whole, piece in ((doc, part.doc), (last, part.last_import)):
            for name, section in piece.items():
                if isinstance(section, dict) and section:
                    whole[name].update(section)
                else:
                    whole[name] = section
        hosts |= part.hosts
        gens |= part.gens
        artifacts |= part.artifacts
        draining += part.draining
        steps += part.steps
        for number, some in part.changes.items():
            changes.setdefault(number, []).extend(some)
    seed = replace(
        seed, doc=doc, last_import=None if seed.last_import is None else last, hosts=hosts, gens=gens,
        artifacts=artifacts, draining=tuple(draining),
        revisions=tuple(replace(r, changes=(*r.changes, *changes.get(r.number, ()))) for r in seed.revisions),
    )
    return replace(order, seed=seed, plan=None if order.plan is None else replace(order.plan, steps=tuple(steps)))


def placed(units: Mapping[str, Mapping[str, Unit]], where: Mapping[str, str], instance: str) -> Placed:
    """The units of one instance."""
    return [(u, h) for u in units.get(instance, {}).values() if (h := where.get(u.unit)) is not None]


def chunks(
    units: Mapping[str, Mapping[str, Unit]], where: Mapping[str, str], held: Mapping[str, Placed] | None = None
) -> Iterator[Placed]:
    """The units of a world, a thousand at a time. What changes meanwhile is told as it is then, but what is `held`
    (by instance) is told as it was."""
    chunk: Placed = []
    for instance in list(units):
        if held is None or instance not in held:
            chunk += placed(units, where, instance)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    for mine in (held or {}).values():
        chunk += mine
    for n in range(0, len(chunk), CHUNK):
        yield chunk[n : n + CHUNK]


def order_of(line: bytes) -> Order:
    return _orders.decode(line)


def line_of(line: bytes) -> Line:
    return _lines.decode(line)
