"""Drift of 100,000 instances on 1,000 hosts, and of one of them after a change."""

from __future__ import annotations

import gc
import itertools

import msgspec

from cockpit.model.actual import Actual, HostActual, Unit
from cockpit.model.judge import Digests
from cockpit.model.states import OK, UP, State
from cockpit.model.topology import Check, Expected, Host, Region, Service
from tests.bench.table import Figure, measures, median, timed

HOSTS, SERVICES, SLOTS = 1000, 100, 1000
NOW = 1_700_000_000.0


def hosts() -> Expected:
    """A topology of hosts, without any service."""
    addresses = {f"h-{n}": f"10.0.{n // 250}.{n % 250 + 1}" for n in range(HOSTS)}
    known = {name: Host(region="sh", address=address) for name, address in addresses.items()}
    return Expected(name="bench", regions={"sh": Region()}, hosts=known)


def expected() -> Expected:
    service = Service(
        processes={"main": ("./serve", "{port}")}, version="1.1.0", ports={"main": 0}, check=Check(tcp="")
    )
    services = {f"shop.s{n}": service for n in range(SERVICES)}
    slots = itertools.product(services, range(SLOTS))
    placement = {f"{path}/{slot}": f"h-{n % HOSTS}" for n, (path, slot) in enumerate(slots)}
    return msgspec.structs.replace(hosts(), services=services, placement=placement)


def actual(wanted: Expected, digests: Digests, old: int = 1000) -> Actual:
    """Everything as it should be, but one instance in `old`, which has an old version."""
    units: dict[str, tuple[Unit, ...]] = {}
    for n, instance in enumerate(wanted.placement):
        version = wanted.service_of(instance).version
        unit = Unit(
            unit=f"{instance}:1", instance=instance, gen=1, version="0.9.0" if n % old == 7 else version,
            config=digests.of(instance), state=State.RUNNING, wanted=True, run=1, pid=1000 + n,
            ports={"main": 20000}, health=OK, started=NOW, observed=NOW,
        )  # fmt: skip
        units[instance] = (unit,)
    return Actual(
        hosts={h: HostActual(name=h, presence=UP, seen=NOW) for h in wanted.hosts},
        units=units,
        where={f"{i}:1": h for i, h in wanted.placement.items()},
    )


@measures("drift-full", needs=["cockpit.model.drift"])
def full() -> Figure:
    from cockpit.model.drift import drift_of

    wanted = expected()
    digests = Digests(wanted)
    have = actual(wanted, digests)
    found = drift_of(wanted, have, NOW, digests=digests)
    gc.freeze()
    runs = timed(lambda: drift_of(wanted, have, NOW, digests=digests), 7)
    gc.unfreeze()
    return Figure(median(runs), note=f"{len(found)} differ; min {min(runs):.0f} ms")


@measures("drift-one", needs=["cockpit.model.drift"])
def one() -> Figure:
    from cockpit.model.drift import drift_of_instance

    wanted = expected()
    digests = Digests(wanted)
    have = actual(wanted, digests)
    instance = "shop.s42/421"
    (unit,) = have.units[instance]
    have.units[instance] = (msgspec.structs.replace(unit, state=State.FAILED),)
    runs = timed(lambda: drift_of_instance(instance, wanted, have, NOW, digests=digests), 1001)
    return Figure(median(runs), note="the instance has failed")
