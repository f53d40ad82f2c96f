"""Runs the steps of a plan: begins those that may, sends their commands, and watches for effects.

A step is done when its effect was observed, not when its command was answered. What a failure, a
pause or lost time mean for the whole action is the business of `cockpit.act.executor`.
The work per event does not grow with the plan: running steps are indexed by unit and by task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Any

import msgspec

from cockpit.act import graph, reasons
from cockpit.act.messages import (
    DONE,
    NO_ANSWER,
    RUNNING,
    Answer,
    Command,
    HostSeen,
    NamesSet,
    Remark,
    Send,
    SetDraining,
    StepChanged,
    UnitGone,
    UnitSeen,
    Working,
)
from cockpit.model.actual import Unit
from cockpit.model.states import DRAINING, ENDED, LIVE, MAINTENANCE, NO_CHECK, UP, State
from cockpit.model.topology import service_path
from cockpit.plan.steps import (
    ACTIVATE,
    BULK,
    DRAIN,
    FETCH,
    HEALTHY,
    PREPARE,
    REMOVE,
    SIGNAL,
    START,
    STOP,
    UPGRADE,
    WARM,
    Plan,
    Step,
)

HEARD = frozenset({UP, DRAINING, MAINTENANCE})
"""Presence of hosts whose silence means nothing."""
SLACK = 5.0
"""Seconds on top of a command's own timeout before its lateness counts."""
HEALTHY_FOR = 1.0
NOTHING: Mapping[str, Any] = MappingProxyType({})

_READY, _RUNNING, _REJECTED = State.READY, State.RUNNING, State.REJECTED  # a look-up costs more than <=
_COMPLETE = State.COMPLETE
_RUN, _DONE = graph.RUN, graph.DONE
_FOREIGN = Unit(unit="", instance="", gen=0)
"""Stands for a unit that no step is about."""
_WORDS = {
    FETCH: "fetch", WARM: "warm", PREPARE: "prepare", START: "start", STOP: "stop", REMOVE: "remove", DRAIN: "drain",
    ACTIVATE: "activate", UPGRADE: "upgrade", SIGNAL: "signal",
}


class Work(msgspec.Struct, eq=False, gc=False):
    """A running step."""

    index: int
    step: Step
    attempt: int
    task: str
    began: float
    before: Unit | None
    """The unit when the step began: seeing the same again says nothing new."""
    asked: Send | None = None
    """The command that has no answer yet."""
    answered: bool = False
    data: Mapping[str, Any] = NOTHING
    """Of the answer."""
    good: float | None = None
    """Since when it has been healthy without a break."""
    run: int = 0
    """The run that is."""

    @property
    def base(self) -> int:
        """Restarts that had happened before."""
        return self.before.restarts if self.before is not None else 0


class Stepper:
    """The steps of one action. Commands are appended to `_out`; `_now` is the time of the event."""

    __slots__ = (  # with so many attributes Python finds them much sooner
        "_alarms", "_armed", "_attempts", "_bulk", "_by_task", "_by_unit", "_draining", "_floor", "_graph",
        "_healthy_for", "_moved", "_name", "_notes", "_now", "_out", "_running", "_runs", "_silent", "_tells",
        "_units", "_versions", "done_count", "id", "last_started", "plan",
    )  # fmt: skip

    def __init__(
        self, plan: Plan, id: str, now: float, *, healthy_for: Mapping[str, float], done: Iterable[str],
        attempts: Mapping[str, int], units: Mapping[str, Unit], hosts: Mapping[str, str],
        notes: bool, name: Callable[[str], str], tells: bool = True, made: graph.Graph | None = None,
    ) -> None:
        self.plan = plan
        self.id = id
        self.last_started = ""
        self._now = now
        self._notes = notes
        self._tells = tells
        """Somebody wants to know of each step; in large rehearsals nobody does."""
        self._name = name
        self._healthy_for = dict(healthy_for)
        self._attempts = dict(attempts)
        self._graph = made or graph.Graph(plan.steps, plan.gates)
        names = dict.fromkeys([s.unit for s in plan.steps if s.unit])
        self._units: dict[str, Unit | None] = {name: units.get(name) for name in names}
        """What is known of the plan's units. None: not there, as far as anybody said."""
        self._silent = {h: now for h, p in hosts.items() if p not in HEARD}
        """Host -> since when it does not answer."""
        self._versions: dict[str, tuple[str, str]] = {}
        """Host -> versions of its agent and keeper, as far as anybody said."""
        self._armed: dict[str, tuple[str, str]] = {}
        """Step id -> pause or abort to take effect when it has started, and by whom."""
        self._out: list[Command] = []
        self._running: dict[int, Work] = {}
        self._bulk = 0
        """So many of them move artifacts: they do not count as work of the plan's `parallel`."""
        self._by_unit: dict[str, Work | list[Work]] = {}
        """Nearly always one."""
        self._by_task: dict[str, Work] = {}
        self._runs: dict[str, int] = {}
        """Unit -> its run when it was given data."""
        self._draining: set[str] = set()
        """Units taken out of naming that were not told to stop."""
        self._alarms: list[tuple[float, int]] = []
        """A heap: when a step may have been healthy for long enough."""
        self._moved = now
        """Time of the last progress."""
        self._floor = 0.0
        """Some command may take until then by its own timeout."""
        self.done_count = self._graph.restore(done)
        for i, step in enumerate(plan.steps if self.done_count else ()):
            if step.kind in (DRAIN, STOP) and self._graph.state[i] == graph.DONE:
                (self._draining.add if step.kind == DRAIN else self._draining.discard)(step.unit)

    def _fail(self, work: Work, text: str, seen: Unit | None) -> None:
        """A step failed for good."""
        raise NotImplementedError

    def _started(self, step: Step) -> None:
        """A step of `_armed` has just begun."""
        raise NotImplementedError

    # events

    def _unit_seen(self, event: UnitSeen) -> None:
        unit = event.unit
        id = unit.unit
        known = self._units.get(id, _FOREIGN)
        if known is _FOREIGN:
            return
        if known is not None and unit.observed < known.observed and (unit.run, unit.state) < (known.run, known.state):
            return
        self._units[id] = unit
        works = self._by_unit.get(id)
        if works is None:
            return
        if type(works) is Work:
            self._look(works, unit)
            return
        assert isinstance(works, list)
        for work in works[:]:
            if work.index in self._running:  # what one learns can end the others
                self._look(work, unit)

    def _unit_gone(self, event: UnitGone) -> None:
        if event.unit not in self._units:
            return
        known, self._units[event.unit] = self._units[event.unit], None
        works = self._by_unit.get(event.unit, ())
        for work in (works,) if isinstance(works, Work) else tuple(works):
            kind, step = work.step.kind, work.step
            if work.index not in self._running:
                continue
            if kind in (STOP, REMOVE) or kind == SIGNAL and work.answered:
                self._finish(work)
            elif known is not None and (kind == HEALTHY or work.answered and kind in (PREPARE, START, ACTIVATE)):
                self._fail(work, f"{self._name(step.instance)} disappeared from {step.host}", known)

    def _host_seen(self, event: HostSeen) -> None:
        host = event.host
        self._versions[host] = (event.agent, event.keeper)
        works = [w for w in self._running.values() if w.step.host == host]
        if event.presence not in HEARD:
            if host not in self._silent:
                self._silent[host] = self._now
                if works:
                    self._remark(f"no answer from {host}")
                for work in works:
                    work.good = None
            return
        if self._silent.pop(host, None) is not None and works:
            self._remark(f"{host} answers again")
        for work in works:
            if work.index not in self._running:
                continue
            if work.step.kind == UPGRADE and self._upgraded(work.step):
                self._finish(work)
            elif work.asked is not None:
                self._out.append(work.asked)
            elif work.step.kind == HEALTHY and (unit := self._units.get(work.step.unit)) is not None:
                self._look(work, unit)

    def _answer(self, event: Answer) -> None:
        if not event.ok and event.code == NO_ANSWER:
            return
        work = self._by_task.pop(event.task, None)
        if work is None:
            return
        work.asked = None
        work.answered = True
        kind = work.step.kind
        unit = self._units.get(work.step.unit)
        if not event.ok:
            if event.code == "missing" and kind in (STOP, REMOVE, DRAIN):
                self._finish(work, note="it was gone")
            else:
                self._fail(work, self._refusal(work, event), unit)
            return
        work.data = event.data
        if kind in BULK:
            self._finish(work)
        elif kind == DRAIN:
            left = event.data.get("remaining", 0)
            self._finish(work, note=f"{left} connections remain" if left else "")
        elif kind == UPGRADE:
            # the answer says that another one serves; the host itself has to say that it is this version
            if event.data.get("already") or self._upgraded(work.step):
                self._finish(work, note="already so" if event.data.get("already") else "")
        elif kind == SIGNAL and (unit is None or work.step.args["signal"] != "KILL"):
            self._finish(work, note=reasons.sent(event.data))  # what it does of it is its own business
        elif unit is not None:
            self._look(work, unit)
        elif kind in (STOP, REMOVE):
            self._finish(work)

    def _upgraded(self, step: Step) -> bool:
        agent, keeper = self._versions.get(step.host, ("", ""))
        return bool(step.args["version"] == (keeper if step.args["part"] == "keeper" else agent))

    def _refusal(self, work: Work, event: Answer) -> str:
        step, name = work.step, self._name(work.step.instance)
        text = event.text or event.code or "no reason given"
        if step.kind == SIGNAL and event.code == "bad" and text.startswith("no command"):
            text = f"its agent is too old for it, nothing was sent (`cockpit agent upgrade VERSION {step.host}`)"
        if step.kind in (START, HEALTHY) and event.code in ("exec", "altered"):
            return f"{name} was rejected by {step.host}: {text}"
        return f"could not {reasons.words(step, name)}: {text}"

    def _working(self, event: Working) -> None:
        if event.task in self._by_task:
            self._moved = self._now

    def _names_set(self, event: NamesSet) -> None:
        work = self._running.get(self._graph.index.get(event.step, -1))
        if work is None or work.step.kind != DRAIN or work.asked is not None:
            return
        unit = self._units.get(work.step.unit)
        if unit is not None and unit.state not in LIVE and not unit.wanted:
            self._finish(work, note="no process")
        else:
            self._send(work, "drain", {**work.step.args, "names": event.version})

    # steps

    def _begin(self, i: int) -> None:
        step = self._graph.steps[i]
        id, kind, name = step.id, step.kind, step.unit
        n = self._attempts.get(id, 1) if self._attempts else 1
        task = f"{self.id}/{id}" if n == 1 else f"{self.id}/{id}/{n}"
        unit = self._units[name] if name else None
        work = Work(i, step, n, task, self._now, unit)
        self._graph.state[i] = _RUN
        self._running[i] = work
        if name:
            works = self._by_unit.setdefault(name, work)
            if works is not work:
                self._by_unit[name] = [works, work] if isinstance(works, Work) else [*works, work]
        if kind in BULK:
            self._bulk += 1
        self.last_started = id
        if self._tells:
            self._out.append(StepChanged(id, RUNNING, "", n))
        if kind == HEALTHY:
            if unit is not None:
                if n > 1 and unit.state not in LIVE and unit.next_start is None:
                    self._send(work, "start", {})  # another try of a unit that the keeper gave up
                else:
                    self._look(work, unit)
        elif kind == DRAIN:
            self._draining.add(name)
            self._may_take(float(step.args.get("timeout", 0)))
            self._out.append(SetDraining(name, id))
        elif unit is not None and self._reached(kind, unit, work):
            self._finish(work, note="already so")
        else:
            if kind == UPGRADE:
                self._may_take(float(step.args["timeout"]))
            if kind == STOP:
                self._draining.discard(name)
                self._may_take(float(step.args.get("grace", 0)))
            args = step.args | {"instance": step.instance} if kind == ACTIVATE else step.args
            self._send(work, _WORDS[kind], args)
        if id in self._armed:
            self._started(step)

    def _may_take(self, seconds: float) -> None:
        floor = self._now + seconds + SLACK
        if floor > self._floor:
            self._floor = floor

    def _send(self, work: Work, word: str, args: dict[str, Any]) -> None:
        step = work.step
        work.asked = command = Send(work.task, step.host, word, args, step)
        self._by_task[work.task] = work
        self._out.append(command)

    @staticmethod
    def _reached(kind: str, unit: Unit, work: Work) -> bool:
        """Is the effect of a command there?"""
        state = unit.state
        if kind == PREPARE:
            return _READY <= state <= _RUNNING
        if kind == START:
            if state in LIVE:
                return True
            if not work.answered or state not in ENDED or unit == work.before:
                return False
            return unit.run >= int(work.data.get("run") or 0)  # it ran; whether well, HEALTHY finds out
        if kind == STOP:
            return state not in LIVE and not unit.wanted
        if kind == ACTIVATE:  # seen alone says nothing of the signal
            args = work.step.args
            return unit.data.get(args["data"]) == args["version"] and (work.answered or not args["signal"])
        if kind == SIGNAL:  # only KILL is waited for: no program has a say in it
            return work.answered and (state not in LIVE or unit.run != work.step.args["run"])
        return False

    def _look(self, work: Work, unit: Unit) -> None:
        """A running step learns what its unit is now."""
        kind = work.step.kind
        if kind == HEALTHY:
            self._look_health(work, unit)
        elif self._reached(kind, unit, work):
            self._finish(work, reasons.sent(work.data) if kind == SIGNAL else "", unit)
        elif kind in (PREPARE, START) and unit.state == _REJECTED and unit != work.before:
            self._fail(work, self._unhealthy(work, unit), unit)

    def _look_health(self, work: Work, unit: Unit) -> None:
        data = work.step.args.get("data")
        if data and work.attempt == 1 and self._fell(work, unit):
            self._fail(work, reasons.fell(self._name(work.step.instance), unit, data.values()), unit)
            return
        if unit.serving:
            if work.good is None or work.run != unit.run:
                since = unit.health_since if unit.health != NO_CHECK else unit.started
                since = None if data else since  # what was good before the data was given says nothing
                # the host's own clock on both sides: what it saw before we looked counts
                credit = max(0.0, unit.observed - since) if since is not None else 0.0
                work.good, work.run = self._now - credit, unit.run
            if work.step.host not in self._silent:
                self._healthy_enough(work)
            return
        work.good = None
        if work.asked is not None or work.attempt > 1 and unit == work.before:
            return
        if unit.state == _COMPLETE and unit.health == NO_CHECK:
            self._finish(work, note="it completed", seen=unit)
        elif reasons.hopeless(unit, work.base):
            self._fail(work, self._unhealthy(work, unit), unit)

    def _fell(self, work: Work, unit: Unit) -> bool:
        """Has the run ended that was given data? (Who resumes after that accepts another run.)"""
        before = work.before.run if work.before is not None else unit.run
        return unit.run > self._runs.get(unit.unit, before) or unit.state in (State.FAILED, State.COMPLETE)

    def _healthy_enough(self, work: Work) -> None:
        assert work.good is not None
        if "data" in work.step.args:
            due = work.good + float(work.step.args["for"])
        else:
            due = work.good + self._healthy_for.get(service_path(work.step.instance), HEALTHY_FOR)
        if due <= self._now:
            self._finish(work, seen=self._units.get(work.step.unit))
        else:
            heappush(self._alarms, (due, work.index))

    def _ring(self) -> None:
        """Alarms that are due: steps that may have been healthy for long enough."""
        alarms = self._alarms
        while alarms and alarms[0][0] <= self._now:
            work = self._running.get(heappop(alarms)[1])
            if work is not None and work.good is not None and work.step.host not in self._silent:
                self._healthy_enough(work)

    def _finish(self, work: Work, note: str = "", seen: Unit | None = None) -> None:
        self._drop(work)
        step, i = work.step, work.index
        kind = step.kind
        self._graph.state[i] = _DONE
        self._graph.settle(i)
        self.done_count += 1
        if kind == ACTIVATE and (unit := self._units.get(step.unit)) is not None:
            self._runs[step.unit] = int(work.data.get("run") or unit.run)
        if self._tells:
            self._out.append(StepChanged(step.id, DONE, note, work.attempt, seen))
        if kind != PREPARE and kind != START:
            self._moved = self._now
        if self._notes and kind == HEALTHY:
            self._remark(f"{self._name(step.instance)} is healthy on {step.host}")

    def _drop(self, work: Work) -> None:
        """The step runs no more."""
        del self._running[work.index]
        if work.asked is not None:
            self._by_task.pop(work.task, None)
        step = work.step
        if step.unit:
            works = self._by_unit.pop(step.unit)
            if works is not work and isinstance(works, list) and (others := [w for w in works if w is not work]):
                self._by_unit[step.unit] = others if len(others) > 1 else others[0]
        if step.kind in BULK:
            self._bulk -= 1

    def _unhealthy(self, work: Work, unit: Unit | None, seconds: float | None = None) -> str:
        return reasons.unhealthy(self._name(work.step.instance), unit, seconds, work.step.host, work.base)

    def _remark(self, text: str) -> None:
        if self._notes:
            self._out.append(Remark(text))
