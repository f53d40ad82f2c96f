"""Small worlds for planning: builders, a simulator that carries steps out, and hypothesis strategies."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.model.actual import Actual, HostActual, Unit
from cockpit.model.judge import Digests, active
from cockpit.model.states import DOWN, FAILING, LIVE, OK, UNKNOWN, UP, State
from cockpit.model.topology import (
    Expected,
    Group,
    Host,
    Instances,
    Region,
    Restart,
    Service,
    Update,
    service_path,
    to_doc,
)
from cockpit.plan.context import PlanContext
from cockpit.plan.placement import address_of, fixed_ports, place
from cockpit.plan.steps import DRAIN, FETCH, HEALTHY, PREPARE, REMOVE, START, STOP, Bad, Intent, Step

NOW = 1_700_000_000.0


def service(version: str = "1.0.0", count: int = 2, **more: Any) -> Service:
    """A service with one dynamic port; `update` and `instances` may be given as structs."""
    more.setdefault("instances", Instances(count=count))
    more.setdefault("ports", {"main": 0})
    return Service(processes={"main": ("./serve", "{port}")}, version=version, **more)


def expected(services: dict[str, Service], hosts: int = 4, **more: Any) -> Expected:
    """Hosts sh-1.. in regions sh and bj (every second), everything placed."""
    every = {
        f"sh-{n}": Host(region="bj" if n % 2 == 0 else "sh", address=f"127.0.1.{n}", labels={"zone": f"z{n % 3}"})
        for n in range(1, hosts + 1)
    }
    groups = {path.rpartition(".")[0]: Group(cluster=True) for path in services if "." in path}
    made = Expected(
        name="test", regions={"sh": Region(), "bj": Region()}, hosts=every, groups=groups, services=services,
        **more,
    )  # fmt: skip
    if made.placement:
        return made
    found = place(made, {path: range(s.instances.size) for path, s in services.items()})
    return replace(made, placement=found)


def unit(instance: str, gen: int = 1, state: State = State.RUNNING, **more: Any) -> Unit:
    more.setdefault("health", OK if state == State.RUNNING else "none")
    more.setdefault("wanted", state in LIVE)
    more.setdefault("version", "1.0.0")
    return Unit(unit=f"{instance}:{gen}", instance=instance, gen=gen, state=state, **more)


def actual(units: Iterable[tuple[Unit, str]], hosts: Iterable[str], **presence: str) -> Actual:
    """Units with their hosts; every host up but those named in `presence` (`sh_3="down"`)."""
    by_instance: dict[str, tuple[Unit, ...]] = {}
    where: dict[str, str] = {}
    for u, host in units:
        by_instance[u.instance] = (*by_instance.get(u.instance, ()), u)
        where[u.unit] = host
    by_instance = {i: tuple(sorted(us, key=lambda u: u.gen)) for i, us in by_instance.items()}
    words = {name.replace("_", "-"): word for name, word in presence.items()}
    seen = {h: HostActual(name=h, uuid=f"uuid-{h}", presence=words.get(h, UP)) for h in hosts}
    return Actual(hosts=seen, units=by_instance, where=where)


def running(world: Expected, **presence: str) -> Actual:
    """Everything as expected: one healthy unit each (SHUTDOWN where stopped)."""
    digests = Digests(world)
    units = []
    for n, (instance, host) in enumerate(world.placement.items()):
        s = world.service_of(instance)
        stopped = world.stopped.get(instance, False)
        ports = {name: number or 20000 + n for name, number in s.ports.items()}
        state = State.SHUTDOWN if stopped else State.RUNNING
        units.append((unit(instance, 1, state, version=s.version, config=digests.of(instance), ports=ports), host))
    have = actual(units, world.hosts, **presence)
    releases = tuple(f"{s.artifact}/{s.version}" for s in world.services.values() if s.artifact)
    return replace(have, hosts={n: replace(h, releases=releases) for n, h in have.hosts.items()})


def context(world: Expected, have: Actual | None = None, **more: Any) -> PlanContext:
    more.setdefault("revision", 42)
    more.setdefault("now", NOW)
    return PlanContext(doc=to_doc(world), expected=world, actual=have or running(world), **more)


def intent(verb: str, *targets: str, **params: Any) -> Intent:
    return Intent(verb=verb, targets=targets, params=params, author="li@jump-1")


def kinds(steps: Iterable[Step]) -> list[str]:
    """`start puzzle.web/0:2` for every step."""
    return [f"{s.kind} {s.unit or s.args.get('version', '')}".strip() for s in steps]


class World:
    """Carries out steps one by one and complains about what a host would refuse."""

    def __init__(self, after: Expected, have: Actual) -> None:
        self.expected = after
        self.digests = Digests(after)
        self.units = {u.unit: u for units in have.units.values() for u in units}
        self.where = dict(have.where)
        self.hosts = dict(have.hosts)
        self.ready = {u.unit for u in self.units.values() if u.serving}
        self.drained: set[str] = set()
        self.live_at_first = self.live()
        self.lowest = self.ready_count()

    def ready_count(self) -> Counter[str]:
        """Service -> instances with a unit that takes traffic, on hosts that answer."""
        instances = {self.units[u].instance for u in self.ready if self.hosts[self.where[u]].presence == UP}
        return Counter(service_path(i) for i in instances)

    def live(self) -> Counter[str]:
        """Instance -> units with a process, on hosts that answer."""
        return Counter(
            u.instance for u in self.units.values()
            if u.state in LIVE and self.hosts[self.where[u.unit]].presence == UP
        )  # fmt: skip

    def do(self, step: Step) -> None:
        assert self.hosts[step.host].presence == UP, f"{step} on a host that does not answer"
        if step.kind == FETCH:
            host = self.hosts[step.host]
            release = f"{step.args['name']}/{step.args['version']}"
            assert release not in host.releases, "fetched twice"
            self.hosts[step.host] = replace(host, releases=(*host.releases, release))
            return
        getattr(self, f"_{step.kind}")(step)
        assert self.live()[step.instance] <= max(2, self.live_at_first[step.instance]), "too many live units"
        now = self.ready_count()
        for path in self.lowest:
            self.lowest[path] = min(self.lowest[path], now[path])

    def _prepare(self, step: Step) -> None:
        assert step.unit not in self.units, "prepared twice"
        wanted = self.expected.service_of(step.instance)
        if wanted.artifact:
            assert f"{wanted.artifact}/{wanted.version}" in self.hosts[step.host].releases, "no release"
        gen = int(step.unit.rpartition(":")[2])
        assert gen > max((u.gen for u in self.units.values() if u.instance == step.instance), default=0)
        self.where[step.unit] = step.host
        for id in (step.args.get("data") or {}).values():
            assert id in self.hosts[step.host].releases, "no data"
        self.units[step.unit] = unit(
            step.instance, gen, State.READY, version=wanted.version, config=self.digests.of(step.instance),
            data={n: id.partition("/")[2] for n, id in (step.args.get("data") or {}).items()},
            ports={n: p or 30000 + len(self.units) * 7 + gen for n, p in wanted.ports.items()},
        )  # fmt: skip

    def _start(self, step: Step) -> None:
        mine = self.units[step.unit]
        assert mine.state not in LIVE, "it runs already"
        assert self.where[step.unit] == step.host
        address = address_of(self.expected, step.host)
        for port in fixed_ports(self.expected.service_of(step.instance)):
            for other in self.units.values():
                held = other.state in LIVE and port in other.ports.values()
                assert not (held and address_of(self.expected, self.where[other.unit]) == address), "port taken"
        self.drained.discard(step.unit)
        self.units[step.unit] = replace(mine, state=State.STARTING, wanted=True, health="starting")

    def _activate(self, step: Step) -> None:
        mine, args = self.units[step.unit], step.args
        assert f"{args['artifact']}/{args['version']}" in self.hosts[step.host].releases, "no data"
        assert args["data"] in self.expected.service_of(step.instance).data
        assert not args["signal"] or mine.state in LIVE, "a signal to nobody"
        self.units[step.unit] = replace(mine, data={**mine.data, args["data"]: args["version"]})

    def _healthy(self, step: Step) -> None:
        mine = self.units[step.unit]
        assert mine.state in LIVE, "it does not run"
        self.units[step.unit] = replace(mine, state=State.RUNNING, health=OK)
        self.ready.add(step.unit)

    def _drain(self, step: Step) -> None:
        self.ready.discard(step.unit)
        self.drained.add(step.unit)

    def _stop(self, step: Step) -> None:
        assert step.unit in self.drained, "stopped before it was drained"
        self.units[step.unit] = replace(self.units[step.unit], state=State.SHUTDOWN, wanted=False, health="none")

    def _remove(self, step: Step) -> None:
        assert not active(self.units.pop(step.unit)), "removed while it runs"
        self.ready.discard(step.unit)

    def arrive(self) -> None:
        """What is on its way arrives: starting units become healthy."""
        for name, mine in self.units.items():
            if mine.state == State.STARTING:
                self.units[name] = replace(mine, state=State.RUNNING, health=OK)

    def actual(self) -> Actual:
        pairs = [(u, self.where[u.unit]) for u in self.units.values()]
        made = actual(pairs, self.hosts)
        return replace(made, hosts=self.hosts)


def carry_out(
    after: Expected, have: Actual, steps: Sequence[Step], seed: int = 0,
    gates: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> World:
    """Does every step, in a random order that respects `needs`. AssertionError when that is impossible."""
    chance = random.Random(seed)
    world = World(after, have)
    done: set[str] = set()
    left = list(steps)
    while left:
        open_ = done.union(g for g, members in gates.items() if done.issuperset(members))
        ripe = [s for s in left if open_.issuperset(s.needs)]
        assert ripe, "the graph has a cycle or needs a step that is not there"
        step = chance.choice(ripe)
        world.do(step)
        done.add(step.id)
        left.remove(step)
    return world


STATES = (
    (State.RUNNING, {}), (State.RUNNING, {}), (State.RUNNING, {}), (State.RUNNING, {"health": FAILING}),
    (State.STARTING, {"health": "starting"}), (State.FAILED, {"wanted": True}), (State.FAILED, {}),
    (State.SHUTDOWN, {}), (State.COMPLETE, {}), (State.REJECTED, {}), (State.READY, {}),
)  # fmt: skip

KINDS = (FETCH, PREPARE, START, HEALTHY, DRAIN, STOP, REMOVE)


@st.composite
def services_(draw: st.DrawFn) -> dict[str, Service]:
    paths = draw(st.lists(st.sampled_from(["p.web", "p.sudoku", "q.batch"]), unique=True, min_size=1))
    made: dict[str, Service] = {}
    for n, path in enumerate(paths):
        made[path] = service(
            draw(st.sampled_from(["1.0.0", "2.0.0"])),
            draw(st.integers(0, 3)),
            artifact=draw(st.sampled_from([None, path.rpartition(".")[2]])),
            ports={"main": draw(st.sampled_from([0, 0, 9000 + n, 9100]))},
            depends=tuple(paths[:n]) if draw(st.booleans()) else (),
            restart=Restart(mode=draw(st.sampled_from(["always", "always", "never"]))),
            update=Update(
                order=draw(st.sampled_from(["start-first", "start-first", "stop-first"])),
                canary=draw(st.integers(0, 2)), parallel=draw(st.integers(1, 2)),
            ),
        )  # fmt: skip
    return made


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Expected, Actual]:
    """An expected that can be placed, and an actual that may be anything a host allows."""
    try:
        world = expected(draw(services_()), draw(st.integers(2, 4)))
    except Bad:
        world = expected({"p.web": service()}, 2)
    instances = list(world.placement)
    stopped = {i: True for i in instances if draw(st.integers(0, 5)) == 0}
    world = replace(world, stopped=stopped)
    digests = Digests(world)
    taken: set[tuple[str, int]] = set()
    pairs: list[tuple[Unit, str]] = []
    for instance in [*instances, "p.web/7", "gone.x/0"]:
        wanted = world.services.get(service_path(instance))
        for gen in range(1, 1 + draw(st.integers(0, 2))):
            state, more = draw(st.sampled_from(STATES))
            host = draw(st.sampled_from([world.placement.get(instance, "sh-1"), *world.hosts]))
            ports = {"main": 20000 + len(pairs)}
            if wanted is not None and wanted.ports["main"]:
                ports = {"main": wanted.ports["main"]}
            if state in LIVE or more.get("wanted"):
                if (host, ports["main"]) in taken:
                    state, more = State.SHUTDOWN, {}
                else:
                    taken.add((host, ports["main"]))
            version = draw(st.sampled_from(["1.0.0", "2.0.0"]))
            config = draw(st.sampled_from([digests.of(instance), digests.of(instance), "other", ""]))
            pairs.append((unit(instance, gen, state, version=version, config=config, ports=ports, **more), host))
    have = actual(pairs, world.hosts)
    lost = {
        h: replace(a, presence=draw(st.sampled_from([UP, UP, UP, UP, UNKNOWN, DOWN])))
        for h, a in have.hosts.items()
    }  # fmt: skip
    return world, replace(have, hosts=lost)
