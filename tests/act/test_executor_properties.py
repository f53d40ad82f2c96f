"""The executor under arbitrary plans and orders of events: what must hold whatever happens."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.act import messages as ex
from cockpit.act.executor import Executor
from cockpit.model.actual import Exit, Unit
from cockpit.model.states import LIVE, State
from cockpit.plan.steps import BULK, Plan, Step
from tests.act.hand import make_plan, roll, step

HOSTS = ("h1", "h2", "h3")
RANK = {"waiting": 0, "running": 1, "done": 2, "failed": 2, "skipped": 2}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Fetches, then instances start-first or stop-first, in batches, with odd extra needs."""
    steps: list[Step] = []
    gate: tuple[str, ...] = ()
    for host in HOSTS[: draw(st.integers(0, 3))]:
        steps.append(step(f"f-{host}", "fetch", host=host, name="web", version="2"))
    fetched = {s.host: s.id for s in steps}
    for n in range(draw(st.integers(1, 6))):
        host = draw(st.sampled_from(HOSTS))
        needs = (*gate, *([fetched[host]] if host in fetched else []))
        if draw(st.integers(0, 3)) == 0:
            mine = give(n, host, needs, draw(st.sampled_from(["", "HUP"])))
            steps += mine
            gate = (mine[-1].id,)
            continue
        mine = roll(n, host=host, gate=needs)
        if draw(st.booleans()):  # stop-first
            by_kind = {s.kind: s for s in mine}
            order = ["prepare", "drain", "stop", "remove", "start", "healthy"]
            mine = [replace(by_kind[k], needs=needs if i == 0 else (by_kind[order[i - 1]].id,))
                    for i, k in enumerate(order)]  # fmt: skip
        steps += mine
        if draw(st.booleans()):
            gate = (mine[-1].id,)
    return make_plan(
        steps, parallel=draw(st.integers(1, 4)), on_failure=draw(st.sampled_from(["return", "pause", "continue"])),
        deadline=draw(st.sampled_from([5.0, 60.0])),
    )  # fmt: skip


def give(n: int, host: str, needs: tuple[str, ...], signal: str) -> list[Step]:
    """Instance n goes on with other data, and is watched when it is told so."""
    who = f"a.web/{n}:1"
    facts = {"data": "words", "artifact": "words", "version": "5", "signal": signal}
    first = step(f"i{n}a", "activate", who, *needs, host=host, **facts)
    args: dict[str, Any] = {"for": 1.0, "data": {"words": "words/5"}}
    return [first, step(f"i{n}w", "healthy", who, first.id, host=host, **args)] if signal else [first]


class Cluster:
    """Agents that answer a task once, and an environment that loses, repeats and reorders."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = {s.id: s for s in plan.steps}
        self.units: dict[str, tuple[Unit, str]] = {}
        for s in plan.steps:
            if s.kind in ("drain", "activate"):
                old = Unit(unit=s.unit, instance=s.instance, gen=1, state=State.RUNNING, wanted=True, run=1)
                self.units[s.unit] = (old, s.host)
        self.executor = Executor(plan, "#1", 0.0, units={id: unit for id, (unit, _) in self.units.items()})
        self.up = dict.fromkeys(HOSTS, True)
        self.answers: dict[str, ex.Answer] = {}
        self.inbox: list[ex.Send] = []
        self.reports: dict[str, deque[ex.Event]] = {h: deque() for h in HOSTS}
        self.results: list[ex.Event] = []
        self.old: list[ex.Event] = []
        self.state = {s.id: (1, "waiting") for s in plan.steps}
        self.flying: dict[str, ex.Send] = {}
        self.end: ex.Finished | None = None
        self.clock = 0

    # the executor's side: every command is checked

    def feed(self, event: ex.Event) -> None:
        if isinstance(event, ex.Answer) and event.code != ex.NO_ANSWER:
            self.flying = {s: c for s, c in self.flying.items() if c.task != event.task}
        for command in self.executor.handle(event, self.now):
            assert self.end is None, "nothing follows the end"
            self.check(command)
        running = [s for s, (_, state) in self.state.items() if state == "running"]
        if self.end is None:
            working = [s for s in running if self.steps[s].kind not in BULK]
            assert len(working) <= self.plan.parallel
            assert sorted(running) == sorted(self.executor.steps_running())

    def check(self, command: ex.Command) -> None:
        match command:
            case ex.StepChanged(step=id, state=state, attempt=attempt):
                before = self.state[id]
                assert (attempt, RANK[state]) >= (before[0], RANK[before[1]]), f"{id}: {before} -> {state}"
                self.state[id] = (attempt, state)
                if state == "running" and before[1] != "running":
                    settled = ("done",) if self.plan.on_failure != "continue" else ("done", "failed", "skipped")
                    for need in self.steps[id].needs:
                        assert self.state[need][1] in settled, f"{id} began before {need}"
                if state in ("done", "failed", "skipped"):
                    self.flying.pop(id, None)
            case ex.Send(word="tail"):
                self.deliver(command)
            case ex.Send(step=Step(id=id)):
                assert self.state[id][1] == "running"
                known = self.flying.setdefault(id, command)
                assert known == command, "another command for the same step is on its way"
                self.deliver(command)
            case ex.SetDraining(step=id):
                self.results.append(ex.NamesSet(id, 5))
            case ex.Finished():
                self.end = command

    # the agents' side

    def deliver(self, send: ex.Send) -> None:
        if self.up[send.host]:
            self.inbox.append(send)

    def carry_out(self, send: ex.Send, cooperative: bool) -> None:
        answer = self.answers.get(send.task)
        if answer is None:
            trouble = "" if cooperative else self.random.choice(["", "", "", "", "refuse", "reject", "hold"])
            answer = self.answers[send.task] = self.effect(send, trouble)
        if self.up[send.host]:
            self.results.append(answer)

    def effect(self, send: ex.Send, trouble: str) -> ex.Answer:
        id = send.step.unit
        known = self.units.get(id, (None, ""))[0]
        if send.word in ("tail", "fetch", "drain"):
            if trouble == "refuse" and send.word != "tail":
                return ex.Answer(send.task, False, {}, "bad", "no")
            return ex.Answer(send.task, True, {"lines": ["x"]} if send.word == "tail" else {})
        if trouble == "refuse":
            return ex.Answer(send.task, False, {}, "bad", "no")
        if send.word == "prepare":
            self.report(send.host, Unit(unit=id, instance=id.rpartition(":")[0], gen=2, state=State.READY))
        elif known is None:
            return ex.Answer(send.task, False, {}, "missing", "no such unit")
        elif send.word == "start":
            run = known.run + 1
            if trouble == "reject":
                self.report(send.host, replace(known, state=State.REJECTED, wanted=True))
                return ex.Answer(send.task, False, {}, "exec", "ENOENT")
            self.report(send.host, replace(known, state=State.STARTING, wanted=True, run=run, health="starting"))
            if trouble == "hold":
                end = Exit(run=run, code=1)
                self.report(send.host, replace(known, state=State.FAILED, wanted=True, run=run, exit=end))
            else:
                self.report(send.host, replace(known, state=State.RUNNING, wanted=True, run=run, health="ok"))
            return ex.Answer(send.task, True, {"run": run})
        elif send.word == "activate":
            told = replace(known, data={**known.data, send.args["data"]: send.args["version"]})
            if trouble == "hold" and send.args["signal"]:  # the signal ends it
                told = replace(told, run=known.run + 1, restarts=known.restarts + 1)
            self.report(send.host, told)
            return ex.Answer(send.task, True, {"run": known.run})
        elif send.word == "stop":
            state = State.SHUTDOWN if known.state in LIVE or known.state == State.FAILED else known.state
            self.report(send.host, replace(known, state=state, wanted=False))
        elif send.word == "remove":
            del self.units[id]
            self.reports[send.host].append(ex.UnitGone(id))
        return ex.Answer(send.task, True)

    def report(self, host: str, unit: Unit) -> None:
        self.clock += 1
        unit = replace(unit, observed=float(self.clock))
        self.units[unit.unit] = (unit, host)
        self.reports[host].append(ex.UnitSeen(unit, host))

    def lose(self, host: str) -> None:
        self.up[host] = False
        self.reports[host].clear()
        self.inbox = [s for s in self.inbox if s.host != host]
        # results on their way are lost as well; the repeated task brings them again
        lost = {t for t in self.answers if any(c.task == t and c.host == host for c in self.flying.values())}
        self.results = [r for r in self.results if not (isinstance(r, ex.Answer) and r.task in lost)]
        self.feed(ex.HostSeen(host, "suspect"))

    def find(self, host: str) -> None:
        self.up[host] = True
        here = {u: unit for u, (unit, h) in self.units.items() if h == host}
        for s in self.plan.steps:
            if s.unit and s.host == host and s.unit not in here:
                self.feed(ex.UnitGone(s.unit))
        for unit in here.values():
            self.feed(ex.UnitSeen(unit, host))
        self.feed(ex.HostSeen(host, "up"))

    def next_report(self, host: str) -> None:
        if self.up[host] and self.reports[host]:
            event = self.reports[host].popleft()
            self.old.append(event)
            self.feed(event)


def chaos(c: Cluster) -> None:
    what = c.random.choice([
        "work", "work", "work", "report", "report", "report", "result", "result", "result", "repeat", "lose",
        "find", "find", "pause", "resume", "resume", "wait",
    ])  # fmt: skip
    host = c.random.choice(HOSTS)
    if what == "work" and c.inbox:
        c.carry_out(c.inbox.pop(c.random.randrange(len(c.inbox))), False)
    elif what == "report":
        c.next_report(host)
    elif what == "result" and c.results:
        event = c.results.pop(c.random.randrange(len(c.results)))
        c.old.append(event)
        c.feed(event)
    elif what == "repeat":
        again = [e for e in c.old if isinstance(e, ex.Answer | ex.NamesSet)]
        if again:
            c.feed(c.random.choice(again))
    elif what == "lose" and c.up[host]:
        c.lose(host)
    elif what == "find" and not c.up[host]:
        c.find(host)
    elif what == "pause":
        c.feed(ex.Pause("li"))
    elif what == "resume":
        c.feed(ex.Resume("li"))
    elif what == "wait":
        c.now += c.random.choice([0.1, 1.0, 3.0])
        c.feed(ex.Tick())


def cooperate(c: Cluster) -> None:
    """Everything answers, in order; somebody resumes what is paused. It must come to an end."""
    for host in HOSTS:
        if not c.up[host]:
            c.find(host)
    for _ in range(2000):
        if c.end is not None:
            return
        if c.executor.paused:
            c.feed(ex.Resume("li"))
        elif c.inbox:
            c.carry_out(c.inbox.pop(0), True)
        elif any(c.reports.values()):
            for host in HOSTS:
                c.next_report(host)
        elif c.results:
            c.feed(c.results.pop(0))
        else:
            c.now += 0.5
            c.feed(ex.Tick())
    raise AssertionError(f"no end: {c.executor.steps_running()} {c.state}")


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans(), st.integers(0, 2**32), st.integers(0, 200), st.booleans())
def test_whatever_happens(plan: Plan, seed: int, moves: int, aborted: bool) -> None:
    c = Cluster(plan, seed)
    c.feed(ex.Go())
    for _ in range(moves):
        chaos(c)
    if aborted and seed % 3 == 0:
        c.feed(ex.Abort("li"))
    cooperate(c)
    assert c.end is not None
    assert all(state in ("done", "failed", "skipped") for _, state in c.state.values())
    if c.end.outcome == "done":
        assert all(state == "done" for _, state in c.state.values())
        assert {u for u in c.units} == {s.unit for s in plan.steps if s.kind in ("prepare", "activate")}
        for s in plan.steps:
            if s.kind == "activate":
                assert c.units[s.unit][0].data == {"words": "5"}
    if c.end.outcome == "failed":
        assert c.end.reason and not c.end.reason.startswith(".")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans())
def test_a_cluster_without_trouble_gets_done(plan: Plan) -> None:
    c = Cluster(plan, 0)
    c.feed(ex.Go())
    cooperate(c)
    assert c.end == ex.Finished("done")
