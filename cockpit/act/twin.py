"""A simulated copy of a cluster: the real planner and executor, simulated hosts, virtual time.

Nothing here sleeps: a heap of events jumps from one to the next. The same seed gives the same run.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import Any

import msgspec
from msgspec.structs import replace

from cockpit.act import messages as ex
from cockpit.act.duration import Durations
from cockpit.act.executor import Executor
from cockpit.act.fleet import NAMES, Fleet
from cockpit.act.followup import conclude, followup, made_stable, return_sentence, return_versions
from cockpit.act.stepper import HEARD
from cockpit.model.actual import Actual, Unit, serving_unit
from cockpit.model.patch import apply
from cockpit.model.rehearsal_rows import Fault
from cockpit.model.states import UNKNOWN
from cockpit.model.topology import Doc, Expected, digest, from_doc, service_path, to_doc
from cockpit.model.view import ActionRow, RevisionRow
from cockpit.plan import verbs
from cockpit.plan.context import PlanContext
from cockpit.plan.steps import ACTIVATE, HEALTHY, PREPARE, SIGNAL, Bad, Intent, Plan, Refused
from cockpit.plan.undo import return_plan

STUCK = 30 * 86400.0
"""Virtual seconds after which a run counts as stuck."""

Planner = Callable[[Intent, PlanContext], Plan]


class Moment(msgspec.Struct, frozen=True, gc=False):
    """A step's state changed."""

    at: float
    action: str
    step: str
    state: str


class TwinResult(msgspec.Struct, frozen=True, kw_only=True):
    outcome: str
    """State word of the action: done, failed, returned, aborted; paused when it waits for somebody."""
    reason: str = ""
    seconds: float = 0.0
    """Virtual, automatic return included."""
    timeline: tuple[Moment, ...] = ()
    lowest_ready: dict[str, int] = {}
    """Service -> the smallest number of units that took traffic at a time."""
    assumed: tuple[str, ...] = ()
    """What was never recorded: `healthy puzzle.sudoku 1.1.0`."""
    events: int = 0


class Faults:
    """What goes wrong with one plan, as somebody wished it: its steps that fail, hosts that fall silent."""

    def __init__(self, plan: Plan, faults: Iterable[Fault] = ()) -> None:
        self.plan = plan
        self.hit: set[Fault] = set()
        self._steps = {f.step: f for f in faults if f.step}
        self._hosts = {f.host: f for f in faults if f.host}
        self._units = {s.unit: self._steps[s.id] for s in plan.steps if s.kind == HEALTHY and s.id in self._steps}
        self.any = bool(self._steps or self._hosts)

    def silences(self, send: ex.Send) -> bool:
        """The host of this command falls silent now."""
        fault = self._hosts.pop(send.host, None)
        if fault is not None:
            self.hit.add(fault)
        return fault is not None

    def fails(self, send: ex.Send) -> bool:
        """This command is answered with a failure."""
        fault = self._steps.get(send.step.id)
        if fault is not None:
            self.hit.add(fault)
        return fault is not None

    def sickens(self, unit: str) -> bool:
        """What has just been started (or given data) never gets healthy."""
        fault = self._units.get(unit)
        if fault is not None:
            self.hit.add(fault)
        return fault is not None


WISHED = "as this rehearsal was asked for"


class Act:
    """One action of the twin."""

    def __init__(self, row: ActionRow, plan: Plan, undo: bool) -> None:
        self.row = row
        self.plan = plan
        self.undo = undo
        """An abort returns to what was before."""
        self.executor: Executor
        self.wake = 0.0
        self.returns = ""
        """Id of the derived action."""
        self.ended: float | None = None
        """When its own steps were over, or it paused."""


Effect = Callable[[Act, Any], None]


class Twin:
    """Starts as `expected` and `actual` are. `now` is virtual Unix time.

    Hosts that are not heard stay silent. `planner` is `cockpit.plan.verbs.plan` but in tests.
    """

    def __init__(
        self, expected: Expected, actual: Actual, *, seed: int = 0, durations: Durations | None = None,
        now: float = 0.0, revision: int = 0, revisions: Iterable[RevisionRow] = (), actions: int = 0,
        gens: Mapping[str, int] | None = None, last_import: Doc | None = None,
        stable: Mapping[str, str] | None = None, trace: bool = True, planner: Planner = verbs.plan,
    ) -> None:
        self.now = now
        self.revision = revision
        self.events = 0
        self.timeline: list[Moment] = []
        self.acts: dict[str, Act] = {}
        self.stable = dict(stable or {})
        """Service -> last version that an action finished with."""
        self.expected = expected
        self.doc: Doc = to_doc(expected)
        self.durations = durations or Durations()
        self.fleet = Fleet(expected, actual, self.durations, seed)
        self._planner = planner
        self.watch: Callable[[float, str, str, str], None] | None = self._note if trace else None
        """Told of every change of a step: time, action, step, state."""
        self.faults: Faults | None = None
        self._fallen: set[str] = set()
        """Hosts that fell silent."""
        self._revisions = list(revisions)
        self._last_import = last_import
        self._gens = dict(gens or {})
        self._next = actions + 1
        self._queue: list[tuple[float, int, Effect | None, Act, Any]] = []
        """What happens when, to which action; None is its timer."""
        self._order = 0

    # asking

    def context(self) -> PlanContext:
        return PlanContext(
            doc=self.doc, expected=self.expected, revision=self.revision, actual=self.fleet.actual(),
            now=self.now, artifacts=self.fleet.artifacts, durations=self.durations.by_service(),
            gen_floor=dict(self._gens), revisions=tuple(self._revisions), last_import=self._last_import, signed=None,
        )  # fmt: skip

    def plan(self, intent: Intent) -> Plan:
        """Raises Bad or Refused."""
        return self._planner(intent, self.context())

    @property
    def assumed(self) -> tuple[str, ...]:
        return tuple(" ".join(part for part in key if part) for key in self.fleet.assumed)

    def end_state(self) -> dict[str, Any]:
        return end_state(self.expected, self.fleet.actual(configs=False))

    # acting

    def submit(
        self, plan: Plan, holds: Iterable[ex.Pause | ex.Abort] = (), *, undo: bool = False
    ) -> str:
        """Begin; returns the action's id. Time goes on in `run`. Raises Conflict, Bad.

        `holds` are pauses and aborts that take effect when their `after` step has started.
        """
        id, self._next = f"#{self._next}", self._next + 1
        intent, revision = plan.intent, None
        if plan.changes:
            doc = apply(self.doc, plan.changes)
            self._set_expected(doc)
            self.revision += 1
            revision = self.revision
            self._revisions.append(RevisionRow(
                number=revision, mark=digest(doc), author=intent.author, time=self.now, action=id,
                changes=plan.changes, undo=intent.verb == "rollback",
            ))  # fmt: skip
        if intent.verb == "apply" and "base" not in intent.params:
            self._last_import = intent.params.get("document")
        for step in plan.steps:
            if step.kind == PREPARE:
                gen = int(step.unit.rpartition(":")[2])
                self._gens[step.instance] = max(gen, self._gens.get(step.instance, 0))
        row = ActionRow(
            id=id, verb=intent.verb, state="running", author=intent.author, targets=intent.targets,
            title=plan.title, started=self.now, total=len(plan.steps), cause=intent.cause, revision=revision,
        )
        fleet = self.fleet
        act = self.acts[id] = Act(row, plan, undo)
        act.executor = Executor(
            plan, id, self.now, notes=False, tells=self.watch is not None,
            healthy_for={p: s.update.healthy_for for p, s in self.expected.services.items()},
            units=fleet.units, hosts={n: h.presence for n, h in fleet.hosts.items()},
        )  # fmt: skip
        for hold in holds:
            self._feed(act, hold)
        self._feed(act, ex.Go())
        return id

    def send(self, id: str, event: ex.Event) -> None:
        """Pause, resume or abort an action now."""
        self._feed(self.acts[id], event)

    def run(self, until: Callable[[], bool] | None = None) -> bool:
        """Go on until the condition holds (True), or until nothing more happens (False)."""
        queue = self._queue
        limit = self.now + STUCK
        with _uncollected():
            while until is None or not until():
                if not queue or queue[0][0] > limit:
                    return False
                at, _, do, act, what = heappop(queue)
                self.events += 1
                if do is not None:
                    self.now = at
                    do(act, what)
                elif at == act.wake and not act.executor.over:  # else an earlier one took its place
                    self.now = at
                    self._feed(act, ex.Tick())
            return True

    def rehearse(self, plan: Plan) -> TwinResult:
        """Carry out one plan, and what follows from it, to the end."""
        with _uncollected():
            began, events, first = self.now, self.events, len(self.timeline)
            self.fleet.watch_lowest(lambda: self.now)
            act = self.acts[self.submit(plan)]
            self.run()
            last = max((a.row.ended or self.now for a in self.acts.values()), default=self.now)
            return TwinResult(
                outcome=act.row.state, reason=act.row.note, seconds=last - began,
                timeline=tuple(self.timeline[first:]), assumed=self.assumed, events=self.events - events,
                lowest_ready={s: n for s, (n, _) in self.fleet.lowest.items()},
            )  # fmt: skip

    # the executor's commands

    def _note(self, at: float, action: str, step: str, state: str) -> None:
        self.timeline.append(Moment(at, action, step, state))

    def _feed(self, act: Act, event: ex.Event) -> None:
        for command in act.executor.handle(event, self.now):
            if type(command) is ex.Send:
                if self.faults is not None and self.faults.plan is act.plan and self.faults.silences(command):
                    self._push(self.now, self._falls, act, command.host)
                seconds = self.fleet.seconds(command)
                if seconds is not None:
                    self._push(self.now + seconds, self._arrived, act, command)
            elif type(command) is ex.StepChanged:
                if self.watch is not None:
                    self.watch(self.now, act.row.id, command.step, command.state)
            elif type(command) is ex.WakeAt:
                act.wake = command.at
                self._push(command.at, None, act, None)
            elif type(command) is ex.SetDraining:
                self.fleet.drain(command.unit, True)
                self._push(self.now + NAMES, self._named, act, command.step)
            else:
                self._rarer(act, command)

    def _rarer(self, act: Act, command: ex.Command) -> None:
        match command:
            case ex.ClearDraining(unit=unit):
                self.fleet.drain(unit, False)
            case ex.Anchored(what=ex.PAUSE, reason=reason):
                act.row = replace(act.row, state="paused", note=reason)
                act.ended = self.now
            case ex.Anchored(what=ex.RESUME):
                act.row = replace(act.row, state="running", note="")
            case ex.Finished(outcome=outcome, reason=reason):
                self._finished(act, outcome, reason)

    def _push(self, at: float, do: Effect | None, act: Act, what: Any) -> None:
        self._order += 1
        heappush(self._queue, (at, self._order, do, act, what))

    def _arrived(self, act: Act, send: ex.Send) -> None:
        step = send.step
        if self._fallen and send.host in self._fallen:
            return
        faults, word = self.faults, send.word
        if faults is not None and not (faults.any and faults.plan is act.plan):
            faults = None
        if faults is not None and faults.fails(send):
            self._feed(act, ex.Answer(send.task, False, {}, "rehearsed", WISHED))
            return
        event = self.fleet.effects[word](send, self.now)
        if faults is not None and word in ("start", ACTIVATE) and faults.sickens(step.unit):
            event = self.fleet.sicken(step.unit, self.now, WISHED) or event
        if word in ("start", SIGNAL) and (found := self.fleet.warm_up(step)) is not None:
            # told when it has been so for long enough: one event instead of two
            good = self.now + found[0]
            service = self.expected.services.get(service_path(step.instance))
            late = service.update.healthy_for if service is not None else 0.0
            self._push(good + late, self._healthy, act, (step.unit, found[1], good))
        if word in (ACTIVATE, SIGNAL) and (unit := self.fleet.units.get(step.unit)) is not None:
            self._feed(act, ex.UnitSeen(unit, send.host))  # as agents do: first the report, then the answer
        self._feed(act, event)

    def _falls(self, act: Act, host: str) -> None:
        """No word from this host any more."""
        self._fallen.add(host)
        known = self.fleet.hosts.get(host)
        if known is not None and known.presence in HEARD:
            self.fleet.hosts[host] = replace(known, presence=UNKNOWN, reason=WISHED)
        for each in list(self.acts.values()):
            if not each.executor.over:
                self._feed(each, ex.HostSeen(host, UNKNOWN))

    def _healthy(self, act: Act, what: tuple[str, int, float]) -> None:
        if self._fallen and self.fleet.where.get(what[0]) in self._fallen:
            return
        event = self.fleet.become_healthy(*what, self.now)
        if event is not None:
            for each in list(self.acts.values()):  # one that ends can bring the next
                if not each.executor.over:
                    self._feed(each, event)

    def _named(self, act: Act, step: str) -> None:
        self._feed(act, ex.NamesSet(step, 0))

    # ends

    def _set_expected(self, doc: Doc) -> None:
        self.doc = doc
        self.expected = from_doc(doc)
        self.fleet.set_expected(self.expected)

    def _finished(self, act: Act, outcome: str, reason: str) -> None:
        act.row = replace(act.row, state=outcome, note=reason, ended=self.now)
        act.ended = self.now
        self.stable.update(made_stable(act.plan, outcome))
        cause = self.acts.get(act.row.cause)
        if cause is not None and cause.returns == act.row.id:
            cause.row = replace(cause.row, state=conclude(cause.row.state, outcome))
        derived = followup(act.plan, outcome, act.row.id, undo=act.undo)
        if derived is not None:
            back = return_versions(act.plan, self.stable)
            try:
                plan = return_plan(self.context(), derived, act.plan.changes, act.executor.touched(), stable=back)
            except (Bad, Refused) as e:
                act.row = replace(act.row, note=f"{reason}. Could not return by itself: {e}")
                return
            act.row = replace(act.row, note=f"{reason}. {return_sentence(act.plan, self.stable)}")
            act.returns = self.submit(plan)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the cycle collector: nothing in here is a cycle, and there are millions of it."""
    collect = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collect:
            gc.enable()


def versions(instances: Iterable[str], units: Iterable[Unit]) -> dict[str, str]:
    """Instance -> version of the unit whose row is shown. Names of other things are left out."""
    wanted = set(instances)
    found: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.instance in wanted:
            found.setdefault(unit.instance, []).append(unit)
    shown = {i: serving_unit(tuple(us)) for i, us in sorted(found.items())}
    return {i: u.version for i, u in shown.items() if u is not None}


def end_state(expected: Expected, actual: Actual) -> dict[str, Any]:
    """What two equal end states share: instance, host, version, data, desired, state, and endpoints.

    Without pid, port, time and address; endpoints that are gone are left out. JSON all the way.
    """
    instances: dict[str, dict[str, str]] = {}
    for id in sorted({*expected.placement, *(i for i, us in actual.units.items() if us)}):
        unit = serving_unit(actual.units.get(id, ()))
        wanted = id in expected.placement and not expected.stopped.get(id)
        instances[id] = {
            "host": actual.where.get(unit.unit, "") if unit is not None else "",
            "version": unit.version if unit is not None else "",
            "desired": "RUNNING" if wanted else "SHUTDOWN",
            "state": unit.state.name if unit is not None else "ABSENT",
        }
        for name, version in sorted(unit.data.items()) if unit is not None else ():
            instances[id][f"data {name}"] = version
    endpoints = sorted(
        [e.service, e.instance, e.host, e.name, e.state, *(f"{k}={v}" for k, v in sorted(e.attributes.items()))]
        for e in actual.endpoints
        if e.state != "gone"
    )
    return {"instances": instances, "endpoints": endpoints}
