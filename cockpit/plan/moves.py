"""What one instance needs: from its expected slot and its actual units to a `Move`. No ordering here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from cockpit.model.actual import Actual, Unit
from cockpit.model.judge import Digests, active, heard, outdated, right, settled, wrong_data
from cockpit.model.names import short_names
from cockpit.model.states import FAILING, LIVE, State
from cockpit.model.topology import Expected, Service, service_path
from cockpit.plan.placement import address_of, fixed_ports

REUSABLE = frozenset(
    {State.READY, State.STARTING, State.RUNNING, State.COMPLETE, State.SHUTDOWN, State.FAILED}
)
"""States from which the same unit can be started (again)."""


class Move(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One instance's way to what is expected.

    `early` units are drained and stopped before `unit` starts, `late` ones after it is healthy, and
    `forget` ones are removed at the end.
    """

    instance: str
    service: str
    host: str = ""
    unit: str = ""
    """The unit to start or to wait for; empty when nothing shall run."""
    fresh: bool = False
    """`unit` must be prepared first."""
    start: bool = False
    wait: bool = False
    """Wait until `unit` is healthy."""
    activate: tuple[str, ...] = ()
    """Names of data that `unit` gets in another version while it goes on."""
    early: tuple[Unit, ...] = ()
    late: tuple[Unit, ...] = ()
    forget: tuple[Unit, ...] = ()
    disturbs: bool = False
    """Something that lives now is replaced: it takes its turn in a batch."""


class Decider:
    """Decides instance by instance; collects warnings on the way."""

    def __init__(
        self,
        expected: Expected,
        actual: Actual,
        *,
        forced: Collection[str] = (),
        gen_floor: Mapping[str, int] | None = None,
        pinned_too: bool = False,
    ) -> None:
        self.expected = expected
        self.actual = actual
        self.digests = Digests(expected)
        self.forced = forced
        self.gen_floor = gen_floor or {}
        self.pinned_too = pinned_too
        self.warnings: list[str] = []
        self.skipped: set[str] = set()
        """Instances that are not right and are left so, for the reasons in `warnings`."""
        self._shorts = short_names({*expected.services, *map(service_path, actual.units)})

    def short(self, instance: str) -> str:
        service, slash, slot = instance.rpartition("/")
        return self._shorts.get(service, service) + slash + slot

    def next_unit(self, instance: str) -> str:
        """The id of the next unit: above every gen that is known."""
        gens = [u.gen for u in self.actual.units.get(instance, ())]
        return f"{instance}:{max([self.gen_floor.get(instance, 0), *gens]) + 1}"

    def move(self, instance: str) -> Move | None:
        """None when there is nothing to do, or nothing that can be done."""
        path = service_path(instance)
        where = self.actual.where
        units = self.actual.units.get(instance, ())
        here = tuple(u for u in units if heard(self.actual, where.get(u.unit)))
        service = self.expected.services.get(path)
        host = self.expected.placement.get(instance) if service is not None else None
        for unit in units:
            if unit not in here and where.get(unit.unit) != host:
                self.warnings.append(
                    f"{where.get(unit.unit, 'its host')} gives no answer: "
                    f"the {self.short(instance)} there is left as it is"
                )
        pin = next((u.pinned for u in here if u.pinned), "")
        if pin and not self.pinned_too:
            self.warnings.append(f"{self.short(instance)} is left alone: it was pinned on its host ({pin})")
            self.skipped.add(instance)
            return None
        if service is None or host is None:
            return self._end(instance, here)
        if self.expected.stopped.get(instance):
            return self._halt(instance, here, host)
        if not heard(self.actual, host):
            self.warnings.append(f"{host} gives no answer: nothing is done for {self.short(instance)}")
            self.skipped.add(instance)
            return None
        return self._run(instance, here, host, service)

    def _end(self, instance: str, units: tuple[Unit, ...]) -> Move | None:
        if not units:
            return None
        return Move(
            instance=instance, service=service_path(instance), forget=units,
            early=tuple(u for u in units if active(u)),
        )

    def _halt(self, instance: str, units: tuple[Unit, ...], host: str) -> Move | None:
        """Stopped: one unit stays on the host, ready to be started again."""
        if not heard(self.actual, host):
            self.warnings.append(f"{host} gives no answer: nothing is done for {self.short(instance)} there")
        there = [u for u in units if self.actual.where[u.unit] == host]
        stays = max(there, key=lambda u: (u.state in LIVE, u.gen), default=None)
        early = tuple(u for u in units if active(u))
        forget = tuple(u for u in units if u is not stays)
        if not early and not forget:
            return None
        return Move(instance=instance, service=service_path(instance), early=early, forget=forget)

    def _run(self, instance: str, units: tuple[Unit, ...], host: str, service: Service) -> Move | None:
        where = self.actual.where
        path = service_path(instance)
        config = self.digests.of(instance)
        fit = [u for u in units if right(u, where[u.unit], host, service, config)]
        if instance not in self.forced:
            good = [u for u in fit if _good(u, service) and not outdated(u, service)]
            if good:
                keep = max(good, key=lambda u: (u.serving, u.gen))
                rest = tuple(u for u in units if u is not keep)
                late = tuple(u for u in rest if active(u))
                data = wrong_data(keep, service)
                if not rest and not data:
                    return None
                return Move(
                    instance=instance, service=path, host=host, unit=keep.unit, late=late, forget=rest,
                    wait=keep.state == State.STARTING and any(u.state in LIVE for u in rest),
                    activate=data, disturbs=bool(data) and keep.state in LIVE,
                )
        again = max(
            (u for u in fit if u.state in REUSABLE and not wrong_data(u, service)),
            key=lambda u: (active(u), u.gen), default=None,
        )
        stop_first = service.update.order == "stop-first" or bool(fixed_ports(service))
        if again is not None and again.state in LIVE and not stop_first:
            again = None
        others = tuple(u for u in units if u is not again)
        old = tuple(u for u in others if active(u))
        at = address_of(self.expected, host)
        if stop_first and any(address_of(self.expected, where[u.unit]) == at for u in old):
            early, late = old, ()
        else:
            best = max(old, key=lambda u: (u.serving, u.state in LIVE, u.gen), default=None)
            early = tuple(u for u in old if u is not best)
            late = () if best is None else (best,)
        if again is not None and active(again):
            early = (*early, again)
        return Move(
            instance=instance, service=path, host=host,
            unit=again.unit if again is not None else self.next_unit(instance),
            fresh=again is None, start=True, wait=True, early=early, late=late, forget=others,
            disturbs=any(u.state in LIVE for u in (*early, *late)),
        )


def _good(unit: Unit, service: Service) -> bool:
    """It does what it should, or is on its way there."""
    if settled(unit, service) or unit.state == State.STARTING:
        return True
    return unit.state == State.RUNNING and unit.health != FAILING
