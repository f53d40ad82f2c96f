"""What a simulated copy of a cluster starts from, as data that crosses to another thread or process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cockpit.act.duration import Durations
from cockpit.act.rehearsal import BARS
from cockpit.act.twin import Twin
from cockpit.model.actual import Actual, Endpoint, HostActual, Moves, Unit
from cockpit.model.rehearsal_rows import Fault
from cockpit.model.topology import Doc, from_doc
from cockpit.model.view import RevisionRow
from cockpit.plan.steps import Intent, Plan, Step

CHUNK = 1000
"""Units on one line of the stream between the processes."""


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
    """The first line for the process that rehearses; lines of units follow, and of steps."""

    seed: Seed
    intent: Intent
    faults: tuple[Fault, ...] = ()
    plan: Plan | None = None
    """Without its steps, which follow. None: it is made there from the intent."""
    bars: int = BARS


class Line(msgspec.Struct, frozen=True):
    units: list[tuple[Unit, str]] = []
    steps: list[Step] = []


Placed = list[tuple[Unit, str]]
"""Units, each with its host."""
_lines = msgspec.json.Decoder(Line)
_orders = msgspec.json.Decoder(Order)


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


def lines(steps: Sequence[Step]) -> Iterator[Line]:
    for n in range(0, len(steps), CHUNK):
        yield Line(steps=list(steps[n : n + CHUNK]))


def order_of(line: bytes) -> Order:
    return _orders.decode(line)


def line_of(line: bytes) -> Line:
    return _lines.decode(line)
