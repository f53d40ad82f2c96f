"""Fixed ports in a rollout: who holds one, who waits for it, who cannot have it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from cockpit.model.actual import Unit
from cockpit.model.judge import active, heard
from cockpit.model.topology import service_path
from cockpit.plan.moves import Decider, Move
from cockpit.plan.placement import address_of, fixed_ports

Place = tuple[str, int]
"""Address and port."""


def _needs(move: Move, decider: Decider) -> list[Place]:
    """The fixed ports that a move's new process will bind."""
    if not move.start:
        return []
    at = address_of(decider.expected, move.host)
    return [(at, port) for port in fixed_ports(decider.expected.services[move.service])]


def _holds(unit: Unit, decider: Decider) -> list[Place]:
    """What an active unit keeps bound, or will again."""
    if not active(unit):
        return []
    held = list(unit.ports.values())
    service = decider.expected.services.get(service_path(unit.instance))
    if not held and service is not None:
        held = list(fixed_ports(service))
    at = address_of(decider.expected, decider.actual.where.get(unit.unit, ""))
    return [(at, port) for port in held]


def unblocked(moves: list[Move], decider: Decider) -> list[Move]:
    """Without the moves whose fixed port stays taken by a unit that this rollout does not end.

    A move that is dropped ends nothing either, so this goes on until nothing changes.
    """
    wanted = {place for m in moves for place in _needs(m, decider)}
    if not wanted:
        return moves
    holders: dict[Place, list[Unit]] = {}
    for units in decider.actual.units.values():
        for unit in units:
            if heard(decider.actual, decider.actual.where.get(unit.unit)):
                for place in _holds(unit, decider):
                    if place in wanted:
                        holders.setdefault(place, []).append(unit)
    while True:
        ending = {u.unit for m in moves for u in (*m.early, *m.late)}
        kept: list[Move] = []
        for move in moves:
            taken = next(
                (
                    (port, unit) for at, port in _needs(move, decider) for unit in holders.get((at, port), ())
                    if unit.unit not in ending
                ),
                None,
            )  # fmt: skip
            if taken is None:
                kept.append(move)
            else:
                port, unit = taken
                decider.skipped.add(move.instance)
                decider.warnings.append(
                    f"{decider.short(move.instance)} is left as it is: port {port} on {move.host} "
                    f"is held by {decider.short(unit.instance)}"
                )
        if len(kept) == len(moves):
            return moves
        moves = kept


class Leaving:
    """The units that a rollout ends, by the fixed ports they free."""

    def __init__(self, decider: Decider) -> None:
        self.decider = decider
        self.by_place: dict[Place, list[tuple[str, Move]]] = {}

    def freed(self, move: Move, stopped: Mapping[str, str]) -> list[str]:
        """Steps that must be done before the move's process can bind its ports."""
        return [
            stopped[unit]
            for place in _needs(move, self.decider) for unit, _ in self.by_place.get(place, ())
            if unit in stopped and unit != move.unit
        ]  # fmt: skip

    def ties(self, moves: list[Move]) -> tuple[list[Move], dict[str, str]]:
        """Instances that wait for each other's fixed ports: stopped first, in one batch.

        Returns the moves (changed where needed) and instance -> the instance that leads its group.
        """
        wanted = {place for m in moves for place in _needs(m, self.decider)}
        if not wanted:
            return moves, {}
        for move in moves:
            for unit in (*move.early, *move.late):
                for place in _holds(unit, self.decider):
                    if place in wanted:
                        self.by_place.setdefault(place, []).append((unit.unit, move))
        lead: dict[str, str] = {}

        def find(instance: str) -> str:
            while lead.get(instance, instance) != instance:
                instance = lead[instance]
            return instance

        for move in moves:
            for place in _needs(move, self.decider):
                for _, other in self.by_place.get(place, ()):
                    if other.instance != move.instance and other.start:
                        a, b = sorted((find(move.instance), find(other.instance)))
                        lead.setdefault(a, a)
                        lead[b] = a
        tied = {i: find(i) for i in lead}
        changed = [
            replace(m, early=(*m.early, *m.late), late=()) if m.instance in tied else m for m in moves
        ]
        return changed, tied
