"""Random topologies, intents and events through the real planner and executor: what must hold at every moment.

The hosts are the twin's, made unreliable: commands and answers are lost, come late or twice, hosts vanish and come
back, new runs crash or never become healthy, operators pause, resume and abort. Then:

* never more than the allowed surge: an instance has at most two live units, a service at most its batch above what
  it had or should have, and no more without start-first;
* never fewer healthy than the floor: what a plan promised before it began, also for the return of a failed one;
* every plan reaches expected, or says why not;
* a command has its effect once, however often it is sent, and answered.

`COCKPIT_EXAMPLES=10000 pytest tests/plan/test_safety.py` for a long run.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.act import messages as ex
from cockpit.act.duration import Durations
from cockpit.act.twin import Act, Twin
from cockpit.model.actual import Actual, Exit
from cockpit.model.drift import drift_of
from cockpit.model.states import LIVE, State
from cockpit.model.topology import Check, Expected, Service, service_path
from cockpit.plan.blast import lowest_ready
from cockpit.plan.placement import fixed_ports
from cockpit.plan.steps import HEALTHY, START, Bad, Intent, Plan, Refused
from tests.plan.world import running, worlds

EXAMPLES = int(os.environ.get("COCKPIT_EXAMPLES") or 250)
SETTINGS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
ENDS = ("done", "failed", "aborted", "returned")
BAD = "6.6.6"
"""A version that nothing ever becomes healthy with."""


def by_service(instances: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for instance, n in instances.items():
        found[service_path(instance)] += n
    return found


class Unreliable(Twin):
    """A twin whose hosts and network misbehave, by a seed, for the first minute or so."""

    def __init__(self, expected: Expected, actual: Actual, seed: int, troubles: int) -> None:
        durations = Durations()
        for path in expected.services:
            for version in ("1.0.0", "2.0.0", "3.0.0"):
                durations.judge(path, version, True)
            durations.judge(path, BAD, False, "http 503")
        super().__init__(expected, actual, seed=seed, durations=durations, now=1000.0)
        self.chance = random.Random(seed)
        self.troubles = troubles
        self.first = {u.unit for us in actual.units.values() for u in us}
        self.silent = {h for h, a in actual.hosts.items() if a.presence != "up"}
        self.left: set[str] = set()
        """Hosts that did not answer when a plan was made: what runs there is left as it is, and the plan says so."""
        self.held = False
        """Somebody paused it."""
        self.epoch: Counter[str] = Counter()
        """Host -> how often it vanished: what was on its way then is lost."""
        self.answers: dict[str, list[ex.Event]] = {}
        """Task -> what its host told, once: an agent repeats its first answer."""
        self.tasks: dict[tuple[str, str], set[str]] = {}
        self.attempts: dict[tuple[str, str], int] = {}
        self.most: dict[str, int] = {}
        """Service -> live units that may be at a time."""
        self.least: dict[str, int] = {}
        """Service -> ready instances that the running plan promised."""

    # what must hold at every moment

    @staticmethod
    def _wanted(expected: Expected, instance: str) -> bool:
        return instance in expected.placement and not expected.stopped.get(instance)

    def live(self) -> Counter[str]:
        """Instance -> units with a process, where a plan could count them."""
        return Counter(
            u.instance for u in self.fleet.units.values()
            if u.state in LIVE and self.fleet.where[u.unit] not in self.left
        )  # fmt: skip

    def check(self) -> None:
        instances = self.live()
        live = by_service(instances)
        for path, most in self.most.items():
            assert live[path] <= most, f"{path}: {live[path]} live, {most} are allowed"
        for instance, n in instances.items():
            assert n <= max(2, self.at_first.get(instance, 0)), f"{instance} has {n} live units"
        ready = {
            u.instance for u in self.fleet.units.values() if u.serving and u.unit not in self.fleet.draining
        }
        counts = Counter(service_path(i) for i in ready)
        for path, least in self.least.items():
            assert counts[path] >= least, f"{path}: {counts[path]} ready, {least} were promised"

    def _beside(self, plan: Plan, path: str, service: Service) -> bool:
        """May a new run of this service live beside the old one? One that moves does, whatever the order."""
        if service.update.order == "start-first" and not fixed_ports(service):
            return True
        return any(
            step.kind == START and service_path(step.instance) == path and u.state in LIVE
            and u.instance == step.instance and self.fleet.where[u.unit] != step.host
            for step in plan.steps for u in self.fleet.units.values()
        )  # fmt: skip

    def submit(self, plan: Plan, holds: Iterable[ex.Pause | ex.Abort] = (), *, undo: bool = False) -> str:
        self.left |= self.silent
        have = self.fleet.actual()
        self.least = {p: least for p, (least, _) in lowest_ready(have, plan.steps, plan.gates).items()}
        if plan.on_failure == "continue":
            self.least = {}  # it goes on to the next instance while the one before has failed
        before, live = self.expected, self.live()
        if not self.acts:
            self.at_first = self.live()
        id = super().submit(plan, holds, undo=undo)
        for path, service in (before.services | self.expected.services).items():
            update = service.update
            batch = max(update.parallel, update.canary) if self._beside(plan, path, service) else 0
            # what is missing starts at once, what is too much ends at once: for a moment there may be both
            ids = {i for i in (*live, *before.placement, *self.expected.placement) if service_path(i) == path}
            base = sum(max(live[i], self._wanted(before, i), self._wanted(self.expected, i)) for i in ids)
            if plan.on_failure == "continue":
                batch *= len(ids)  # a new run that failed is left beside the old one, and the next one begins
            self.most[path] = max(self.most.get(path, 0), base + batch)
        return id

    # a network and hosts that lose, repeat and vanish

    def _push(self, at: float, do: Any, act: Act, what: Any) -> None:
        if do == self._arrived:
            send = what
            key = (act.row.id, send.step.id)
            self.tasks.setdefault(key, set()).add(send.task)
            assert len(self.tasks[key]) <= self.attempts.get(key, 1), f"{send}: a second command for one attempt"
            what = (send, self.epoch[send.host])
            if self.troubles and self.chance.random() < 0.1:  # it is sent twice
                super()._push(at + self.chance.uniform(0, 5), do, act, what)
        super()._push(at, do, act, what)

    def _feed(self, act: Act, event: ex.Event) -> None:
        if act.executor.over:
            return
        super()._feed(act, event)
        for step in act.plan.steps:
            self.attempts[act.row.id, step.id] = max(
                self.attempts.get((act.row.id, step.id), 1), act.executor._attempts.get(step.id, 1)
            )
        self.check()

    def _arrived(self, act: Act, what: tuple[ex.Send, int]) -> None:  # type: ignore[override]
        send, epoch = what
        lost = epoch != self.epoch[send.host]
        if send.task not in self.answers:
            if lost and self.chance.random() < 0.5:
                return  # the command never came
            told: list[ex.Event] = []
            event = self.fleet.effects[send.word](send, self.now)
            told.append(event)
            if not isinstance(event, ex.Answer):
                told.append(ex.Answer(send.task, True, {}))
            self.answers[send.task] = told
            if send.word == "start":
                self._warm(act, send.step.unit)
            self.check()
        if not lost and send.host not in self.silent:
            for event in self.answers[send.task]:
                if isinstance(event, ex.UnitSeen):  # repeated, it tells how it is now
                    unit = self.fleet.units.get(event.unit.unit)
                    event = ex.UnitSeen(unit, send.host) if unit is not None else ex.UnitGone(event.unit.unit)
                self._feed(act, event)
                if self.troubles and self.chance.random() < 0.05:
                    self._feed(act, event)

    def _warm(self, act: Act, id: str) -> None:
        unit = self.fleet.units.get(id)
        if unit is not None and unit.state == State.STARTING and unit.health != "failing":
            good = self.now + self.chance.uniform(0.1, 3)
            self._push(good, self._healthy, act, (id, unit.run, good))

    def _healthy(self, act: Act, what: tuple[str, int, float]) -> None:
        event = self.fleet.become_healthy(*what, self.now)
        self.check()
        if event is not None:
            self._report(what[0])  # through whoever hears the host now

    def _report(self, id: str) -> None:
        """A host tells of a unit, if anybody hears it."""
        unit, host = self.fleet.units.get(id), self.fleet.where.get(id, "")
        if unit is not None and host not in self.silent:
            self._everybody(ex.UnitSeen(unit, host))

    def _everybody(self, event: ex.Event) -> None:
        for act in list(self.acts.values()):
            self._feed(act, event)

    # trouble

    def disturb(self, act: Act) -> None:
        for id, unit in self.fleet.units.items():
            if unit.state == State.STARTING:  # what was on its way arrives
                self._warm(act, id)
        for _ in range(self.troubles):
            self._push(self.now + self.chance.uniform(0, 40), self._trouble, act, None)

    def _trouble(self, act: Act, _: Any) -> None:
        kind = self.chance.choice(["vanish", "vanish", "crash", "crash", "pause", "resume", "repeat", "abort"])
        host = self.chance.choice(sorted(self.fleet.hosts))
        if kind == "vanish" and host not in self.silent:
            self.silent.add(host)
            self.epoch[host] += 1
            self._presence(host, "unknown")
            self._push(self.now + self.chance.uniform(0.5, 30), self._back, act, host)
        elif kind == "crash":
            self._crash(act)
        elif kind == "pause":
            self.held = True
            self._feed(act, ex.Pause("li"))
        elif kind == "resume":
            self._feed(act, ex.Resume("li"))
        elif kind == "repeat":
            for id in self.chance.sample(sorted(self.fleet.units), min(3, len(self.fleet.units))):
                self._report(id)
        elif kind == "abort" and self.chance.random() < 0.2:
            self._feed(act, ex.Abort("li"))

    def _presence(self, host: str, presence: str) -> None:
        self.fleet.hosts[host] = replace(self.fleet.hosts[host], presence=presence)
        self._everybody(ex.HostSeen(host, presence))

    def _back(self, act: Act, host: str) -> None:
        """It connects again: the full set first."""
        if host not in self.silent:
            return
        self.silent.discard(host)
        for one in self.acts.values():
            for step in one.plan.steps:
                if step.host == host and step.unit and step.unit not in self.fleet.units:
                    self._feed(one, ex.UnitGone(step.unit))
        for id, where in list(self.fleet.where.items()):
            if where == host:
                self._report(id)
        self._presence(host, "up")

    def _crash(self, act: Act) -> None:
        """A new run ends by itself before anybody relied on it; its keeper starts it again."""
        relied = {
            s.unit for one in self.acts.values() for s in one.plan.steps
            if s.kind == HEALTHY and one.executor.state_of(s.id) == "done"
        }  # fmt: skip
        new = sorted(
            u for u, unit in self.fleet.units.items()
            if u not in self.first and u not in relied and unit.state == State.STARTING and unit.wanted
        )  # fmt: skip
        if not new:
            return
        id = self.chance.choice(new)
        unit = self.fleet.units[id]
        end = Exit(run=unit.run, code=1, started=unit.started or 0.0, ended=self.now)
        self.fleet._see(replace(unit, state=State.FAILED, exit=end, observed=self.now, health="starting"))
        self._report(id)
        self._push(self.now + 0.2, self._respawn, act, (id, unit.run))

    def _respawn(self, act: Act, what: tuple[str, int]) -> None:
        unit = self.fleet.units.get(what[0])
        if unit is None or unit.run != what[1] or not unit.wanted or unit.state != State.FAILED:
            return
        self.fleet._see(replace(
            unit, state=State.STARTING, run=unit.run + 1, restarts=unit.restarts + 1, started=self.now, exit=None,
            observed=self.now,
        ))  # fmt: skip
        self.check()
        self._report(unit.unit)
        self._warm(act, unit.unit)

    # the end

    def bring_home(self) -> None:
        """Everything is heard again, and somebody decides what waits for a decision."""
        for tries in range(8):
            self.run()
            waiting = [a for a in self.acts.values() if not a.executor.over]
            if not waiting:
                return
            for host in sorted(self.epoch):
                self._back(waiting[0], host)
            for act in waiting:
                assert act.row.state != "paused" or act.row.note or self.held, "it holds and does not say why"
                self._feed(act, ex.Resume("li") if tries < 4 else ex.Abort("li"))
        raise AssertionError({a.row.id: (a.row.state, a.executor.steps_running()) for a in waiting})


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Expected, Actual]:
    """As it should be, with checks; or anything that hosts allow."""
    world, have = draw(worlds())
    if draw(st.booleans()):
        return world, have
    checked = {}
    for path, s in world.services.items():
        on_failure = draw(st.sampled_from(["return", "return", "pause", "continue"]))
        update = replace(s.update, on_failure=on_failure, deadline=draw(st.sampled_from([10.0, 60.0])))
        checked[path] = replace(s, check=draw(st.sampled_from([None, Check(tcp="")])), update=update)
    world = replace(world, services=checked)
    return world, running(world)


@st.composite
def intents(draw: st.DrawFn, world: Expected) -> Intent:
    paths, instances = sorted(world.services), sorted(world.placement)
    verb = draw(st.sampled_from(["deploy", "deploy", "deploy", "restart", "scale", "migrate", "converge", "stop",
                                 "start", "drain"]))  # fmt: skip
    path = draw(st.sampled_from(paths))
    host = draw(st.sampled_from(sorted(world.hosts)))
    target = path
    params: dict[str, Any] = {}
    if verb == "deploy":
        params = {"version": draw(st.sampled_from(["1.0.0", "2.0.0", "3.0.0", BAD]))}
    elif verb == "scale":
        params = {"count": draw(st.integers(0, 5))}
    elif verb == "migrate":
        target, params = draw(st.sampled_from(instances or ["p.web/0"])), {"host": host}
    elif verb == "drain":
        target = host
    return Intent(verb=verb, targets=(target,), params=params, author="li")


@pytest.mark.timeout(300 + EXAMPLES)
@SETTINGS
@given(clusters(), st.data(), st.integers(0, 2**32), st.sampled_from([0, 3, 12]))
def test_safe_at_every_moment_and_in_the_end_as_expected(
    pair: tuple[Expected, Actual], data: st.DataObject, seed: int, troubles: int
) -> None:
    world, have = pair
    t = Unreliable(world, have, seed, troubles)
    try:
        plan = t.plan(data.draw(intents(world)))
    except (Bad, Refused) as e:
        assert str(e), "refused without a word"
        return
    act = t.acts[t.submit(plan)]
    t.disturb(act)
    t.bring_home()

    last = list(t.acts.values())[-1]
    for one in t.acts.values():
        assert one.row.state in ENDS, one.row
        assert one.row.state == "done" or one.row.note, f"{one.row.state} and no reason"
    if last.row.state == "done":
        mine = {s.instance for s in last.plan.steps if s.instance} - set(last.plan.skipped)
        left = drift_of(t.expected, t.fleet.actual(), t.now)
        mine -= {u.instance for u in t.fleet.units.values() if t.fleet.where[u.unit] in t.left}
        wrong = {r.target: (r.kind, r.reason) for r in left.values() if r.target in mine and r.kind != "unknown"}
        assert not wrong, f"done, and still: {wrong}"
