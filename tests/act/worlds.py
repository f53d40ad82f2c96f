"""A small cluster as data, for the twin and replays."""

from __future__ import annotations

from typing import Any

from cockpit.act.duration import Durations
from cockpit.act.twin import Twin
from cockpit.model.actual import Actual, HostActual, Unit
from cockpit.model.states import State
from cockpit.model.topology import Check, Expected, Group, Host, Instances, Region, Service, Update, slot_of

ARTIFACTS = {"web/1.0.0": "aa", "web/1.1.0": "bb", "web/1.2.0": "cc"}


def expected(hosts: int = 3, count: int = 4, **update: Any) -> Expected:
    names = [f"h{n}" for n in range(hosts)]
    options: dict[str, Any] = {"canary": 1, "deadline": 20.0} | update
    service = Service(
        processes={"main": ("./web",)}, version="1.0.0", artifact="web", ports={"http": 0}, check=Check(tcp=""),
        instances=Instances(count=count), update=Update(**options),
        attributes={"weight": "1"},
    )
    return Expected(
        name="puzzle", regions={"r": Region()}, groups={"a": Group(cluster=True)},
        hosts={n: Host(region="r", address=f"127.0.0.{i + 2}") for i, n in enumerate(names)},
        services={"a.web": service}, placement={f"a.web/{n}": names[n % hosts] for n in range(count)},
    )


def running(e: Expected, *, silent: tuple[str, ...] = ()) -> Actual:
    """All that is expected runs since long."""
    units: dict[str, tuple[Unit, ...]] = {
        i: (Unit(
            unit=f"{i}:1", instance=i, gen=1, version=e.service_of(i).version, sha256="aa", state=State.RUNNING,
            wanted=True, run=1, started=-99.0, health="ok", health_since=-98.0, ports={"http": 20000 + slot_of(i)},
        ),)
        for i in e.placement
    }  # fmt: skip
    return Actual(
        hosts={
            n: HostActual(name=n, presence="unknown" if n in silent else "up", releases=("web/1.0.0",))
            for n in e.hosts
        },
        units=units, where={f"{i}:1": h for i, h in e.placement.items()}, artifacts=ARTIFACTS,
    )  # fmt: skip


def recorded() -> Durations:
    """1.1.0 is known to be good, 1.2.0 never to become healthy."""
    d = Durations()
    for seconds in (0.8, 1.2):
        d.add("healthy", "a.web", "bb", seconds)
        d.add("fetch", "web", "bb", seconds)
    d.judge("a.web", "aa", True)
    d.judge("a.web", "bb", True)
    d.judge("a.web", "cc", False, "http 503")
    return d


def twin(**more: Any) -> Twin:
    e = more.pop("expected", None) or expected()
    silent = more.pop("silent", ())
    options: dict[str, Any] = {"durations": recorded(), "revision": 1, "stable": {"a.web": "1.0.0"}} | more
    return Twin(e, running(e, silent=silent), **options)
