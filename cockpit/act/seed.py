"""What a simulated copy of a cluster starts from, as data that crosses to another thread or process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cockpit.act.duration import Durations
from cockpit.act.twin import Twin
from cockpit.model.actual import Actual, Endpoint, HostActual, Moves, Unit
from cockpit.model.rehearsal_rows import Fault
from cockpit.model.topology import Doc, from_doc
from cockpit.model.view import RevisionRow
from cockpit.plan.steps import Intent

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
    """The first line for the process that rehearses; lines of units follow."""

    seed: Seed
    intent: Intent
    faults: tuple[Fault, ...] = ()


UnitLine = list[tuple[Unit, str]]
_lines = msgspec.json.Decoder(UnitLine)
_orders = msgspec.json.Decoder(Order)


def chunks(units: Mapping[str, Mapping[str, Unit]], where: Mapping[str, str]) -> Iterator[list[tuple[Unit, str]]]:
    """The units of a world, a thousand at a time. What changes meanwhile is told as it is then."""
    chunk: list[tuple[Unit, str]] = []
    for instance in list(units):
        for unit in list(units.get(instance, {}).values()):
            if (host := where.get(unit.unit)) is not None:
                chunk.append((unit, host))
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def order_of(line: bytes) -> Order:
    return _orders.decode(line)


def units_of(line: bytes) -> UnitLine:
    return _lines.decode(line)
