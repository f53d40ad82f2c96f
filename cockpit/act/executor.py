"""Carries out one plan: a state machine without I/O. Events in, commands out, time as an argument.

Nothing here waits for ever: without progress for `plan.deadline` seconds the action fails, and
what that means is the plan's `on_failure`: `return` ends it (the driver then submits what
`cockpit.act.followup` says), `pause` holds it, `continue` gives the instance up and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cockpit.act import graph, reasons
from cockpit.act.followup import policy
from cockpit.act.messages import (
    ABORT,
    ABORTED,
    DONE,
    FAILED,
    PAUSE,
    RESUME,
    RUNNING,
    SKIPPED,
    STEP_STATES,
    WAITING,
    Abort,
    Anchored,
    Answer,
    ClearDraining,
    Command,
    Event,
    Finished,
    Go,
    HostSeen,
    NamesSet,
    Pause,
    Progress,
    Resume,
    Send,
    StepChanged,
    Tick,
    UnitGone,
    UnitSeen,
    WakeAt,
    Working,
)
from cockpit.act.stepper import Stepper, Work
from cockpit.model.actual import Unit
from cockpit.plan.steps import BULK, DRAIN, HEALTHY, Plan, Step

TAIL_LINES = 20
TAIL_LIMIT = 5.0
"""Seconds to wait for the log of a failed unit."""
SETTLE = 30.0
"""Seconds that commands already running get to end after a failure or an abort."""
NEVER = float("inf")

# phases of the action
_NEW, _GOING, _HELD, _FAILING, _ABORTING, _OVER = range(6)


class Executor(Stepper):
    """One action. Feed it events with `handle`; carry out the commands it returns, in order.

    `healthy_for` is seconds by service path. For resumption `done` names the steps finished before
    and `attempts` how often each was tried, so that task ids repeat exactly. `units` (by id) and
    `hosts` (presence) are what is known already. Without `notes` it leaves out Progress and Remark
    (rehearsals), without `tells` the beginning and the good end of steps. `made` is the graph of the
    plan, unused, where there is one already. Raises Bad when the plan's steps make no graph.
    """

    __slots__ = (
        "_announce", "_failed", "_failed_instance", "_fails", "_handlers", "_limit", "_lost", "_paused_by",
        "_phase", "_reason", "_settle", "_shown", "_tail", "_tail_until", "_woken", "outcome", "policy",
    )  # fmt: skip

    def __init__(
        self, plan: Plan, id: str, now: float, *, healthy_for: Mapping[str, float] | None = None,
        done: Iterable[str] = (), attempts: Mapping[str, int] | None = None,
        units: Mapping[str, Unit] = {}, hosts: Mapping[str, str] | None = None,
        notes: bool = True, name: Callable[[str], str] = reasons.short, tells: bool = True,
        made: graph.Graph | None = None,
    ) -> None:
        super().__init__(
            plan, id, now, healthy_for=healthy_for or {}, done=done, attempts=attempts or {}, units=units,
            hosts=hosts or {}, notes=notes, name=name, tells=tells, made=made,
        )
        self.policy = policy(plan)
        self.outcome = ""
        """done, failed or aborted once it is over."""
        self._limit = max(1, plan.parallel)
        self._phase = _NEW
        self._woken = NEVER
        self._shown: tuple[str, float | None] = ("", None)
        self._settle = NEVER
        self._failed: list[Work] = []
        """Failed steps of a paused action: a resume tries them again."""
        self._reason = ""
        self._failed_instance = ""
        self._paused_by = ""
        self._announce = False
        """A pause of our own is still to be told, when its reason is complete."""
        self._tail = ""
        self._tail_until = NEVER
        self._lost = False
        """Some instance was given up."""
        self._fails = False
        """A failure happened while an operator held the action: it takes effect on resume."""
        self._handlers: dict[type, Callable[[Any], None]] = {
            Go: self._go, UnitSeen: self._unit_seen, UnitGone: self._unit_gone, HostSeen: self._host_seen,
            Answer: self._answer, Working: self._working, NamesSet: self._names_set, Pause: self._pause,
            Resume: self._resume, Abort: self._abort, Tick: self._tick,
        }

    @property
    def over(self) -> bool:
        return self._phase == _OVER

    @property
    def paused(self) -> bool:
        return self._phase == _HELD

    @property
    def gives_up(self) -> float | None:
        """When it counts as failed without progress; None while no deadline runs."""
        if self._phase != _GOING or not self._running:
            return None
        return max(self._moved + self.plan.deadline, self._floor)

    def steps_running(self) -> list[str]:
        return [w.step.id for w in self._running.values()]

    def state_of(self, step: str) -> str:
        """State word of a step. Raises KeyError."""
        return STEP_STATES[self._graph.state[self._graph.index[step]]]

    def touched(self) -> set[str]:
        """Instances of which some step has begun."""
        begun = (graph.RUN, graph.DONE, graph.FAIL)
        steps = (s for s, state in zip(self.plan.steps, self._graph.state, strict=True) if state in begun)
        return {s.instance for s in steps if s.instance}

    def handle(self, event: Event, now: float) -> list[Command]:
        """What to do after this event. `now` is Unix (or virtual) time; it should not go back."""
        out: list[Command] = []
        if self._phase == _OVER:
            return out
        self._out = out
        if now < self._now:
            now = self._now
        else:
            self._now = now
        self._handlers[type(event)](event)
        alarms = self._alarms
        if alarms and alarms[0][0] <= now:
            self._ring()
        if self._tail and now >= self._tail_until:
            self._tell([])
        self._advance()
        if self._phase != _OVER:
            if self._notes:
                self._show()
            # while it goes on, a wish that stands is never too late: deadlines only move away
            woken = self._woken
            if (
                self._phase != _GOING or woken == NEVER or self._tail_until < woken
                or alarms and alarms[0][0] < woken
            ):
                self._wake()
        return out

    # the life of the action

    def _go(self, _: Go) -> None:
        if self._phase == _NEW:
            self._phase = _GOING
            self._moved = self._now
            # receivers of a push help each other: they begin together, however many there are
            for i in sorted(self._graph.ready):
                step = self.plan.steps[i]
                if step.kind in BULK and not step.needs and self._graph.state[i] == graph.WAIT:
                    self._begin(i)
                    if self._phase != _GOING:
                        return

    def _tick(self, _: Tick) -> None:
        self._woken = NEVER  # also when it came early: then it is asked for again

    def _advance(self) -> None:
        """Begin what may begin; notice the end, and lost time."""
        if self._phase == _GOING:
            steps, running, limit = self._graph, self._running, self._limit
            while steps.ready and len(running) - self._bulk < limit and self._phase == _GOING:
                if (i := steps.next()) is not None:
                    self._begin(i)
        if self._phase == _GOING:
            if not self._running:
                if self._tail:
                    return
                if self._graph.left:
                    self._over(FAILED, "the plan cannot go on: its steps wait for each other")
                else:
                    self._over(FAILED if self._lost else DONE)
            elif self._now >= self._floor and self._now >= self._moved + self.plan.deadline:
                self._late()
                self._advance()
        elif self._phase in (_FAILING, _ABORTING) and not self._tail and not self._unsettled():
            self._over(FAILED if self._phase == _FAILING else ABORTED)

    def _unsettled(self) -> bool:
        return self._now < self._settle and any(
            w.step.host not in self._silent and (w.asked is not None or w.step.kind != HEALTHY)
            for w in self._running.values()
        )

    def _over(self, outcome: str, reason: str = "") -> None:
        self._phase = _OVER
        self.outcome = outcome
        if outcome != DONE:
            for work in self._running.values():
                note = "still running when the action ended"
                if work.step.host in self._silent:
                    note = f"no answer from {work.step.host}"
                self._out.append(StepChanged(work.step.id, FAILED, note, work.attempt))
            self._running.clear()
            for i, step in enumerate(self._graph.steps):
                if self._graph.state[i] == graph.WAIT:
                    self._out.append(StepChanged(step.id, SKIPPED, "", self._attempts.get(step.id, 1)))
            for unit in sorted(self._draining):
                self._put_back(unit)
        self._out.append(Finished(outcome, self._reason or reason, self._failed_instance))

    # pause, resume, abort

    def _pause(self, event: Pause) -> None:
        if not self._arm(PAUSE, event.by, event.after) and self._phase in (_NEW, _GOING):
            self._hold(event.by)

    def _hold(self, by: str) -> None:
        self._phase = _HELD
        self._paused_by = by
        self._out.append(Anchored(PAUSE, self.last_started, by))
        self._remark(f"paused by {by}")

    def _resume(self, event: Resume) -> None:
        if self._phase != _HELD:
            return
        if self._tail and not self._fails:
            self._tell([])
        self._phase = _GOING
        self._paused_by = ""
        self._moved = self._now
        self._out.append(Anchored(RESUME, self.last_started, event.by))
        self._remark(f"resumed by {event.by}")
        if self._fails:
            self._begin_failing()
            return
        if not self._lost:
            self._reason = self._failed_instance = ""
        failed, self._failed = self._failed, []
        for work in failed:
            self._attempts[work.step.id] = work.attempt + 1
            self._out.append(StepChanged(work.step.id, WAITING, "again", work.attempt + 1))
            self._graph.again(work.index)
        for work in self._running.values():
            if work.asked is not None:
                self._out.append(work.asked)

    def _abort(self, event: Abort) -> None:
        if not self._arm(ABORT, event.by, event.after) and self._phase != _ABORTING:
            self._end(event.by)

    def _end(self, by: str) -> None:
        self._out.append(Anchored(ABORT, self.last_started, by))
        self._remark(f"aborted by {by}")
        self._phase = _ABORTING
        self._reason = f"aborted by {by}" + (f"; {self._reason}" if self._reason else "")
        self._tail, self._tail_until, self._announce = "", NEVER, False
        self._stand_down()

    def _arm(self, what: str, by: str, after: str) -> bool:
        """Remember a pause or abort for a step that has not started yet."""
        i = self._graph.index.get(after)
        if i is None or self._graph.state[i] != graph.WAIT or self._phase not in (_NEW, _GOING, _HELD):
            return False
        self._armed[after] = (what, by)
        return True

    def _started(self, step: Step) -> None:
        what, by = self._armed.pop(step.id)
        if what == ABORT:
            self._end(by)
        elif self._phase == _GOING:
            self._hold(by)

    # failure

    def _answer(self, event: Answer) -> None:
        if self._tail and event.task == self._tail:
            self._tell(event.data.get("lines", []) if event.ok else [])
        else:
            super()._answer(event)

    def _fail(self, work: Work, text: str, seen: Unit | None) -> None:
        self._drop(work)
        self._graph.state[work.index] = graph.FAIL
        self._out.append(StepChanged(work.step.id, FAILED, text, work.attempt, seen))
        if self._phase not in (_FAILING, _ABORTING):
            if self.policy == "continue":
                self._give_up(work)
            else:
                self._failed.append(work)
        self._blame(work, text, seen)

    def _blame(self, work: Work, text: str, seen: Unit | None) -> None:
        """What a failure (or lost time) means for the action."""
        self._remark(text)
        if self._phase in (_FAILING, _ABORTING):
            return
        first = not self._reason
        if first:
            self._reason, self._failed_instance = text, work.step.instance
        if self.policy == "return":
            if self._phase == _HELD:
                self._fails = True
            else:
                self._begin_failing()
        elif self.policy == "pause" and self._phase == _GOING:
            self._phase = _HELD
            self._announce = True
        if first:
            self._ask_tail(work, seen)

    def _late(self) -> None:
        """The deadline passed. What has been waited for fails, health first.

        A command without an answer has not failed: its step stays running, only the action fails.
        """
        works = sorted(self._running.values(), key=lambda w: (w.step.kind != HEALTHY, w.began, w.index))
        for work in works if self.policy == "continue" else works[:1]:
            if work.index in self._running:
                text, unit = self._lateness(work), self._units.get(work.step.unit)
                if work.asked is None or self.policy == "continue":
                    self._fail(work, text, unit)
                else:
                    self._out.append(StepChanged(work.step.id, RUNNING, text, work.attempt, unit))
                    self._blame(work, text, unit)
        self._moved = self._now

    def _lateness(self, work: Work) -> str:
        """No answer, still running and failed are three different words."""
        step, seconds = work.step, self._now - work.began
        name = self._name(step.instance)
        since = self._silent.get(step.host)
        if since is not None:
            return f"{reasons.silent(step.host, self._now - since)}; it had to {reasons.words(step, name)}"
        if step.kind == HEALTHY:
            return self._unhealthy(work, self._units.get(step.unit), seconds)
        if work.asked is not None:
            return f"still running after {seconds:.0f} s: {reasons.words(step, name)}"
        if step.kind == DRAIN:
            return f"the names without {name} were not applied in {seconds:.0f} s"
        return f"{reasons.words(step, name)}: answered, but its effect was not seen in {seconds:.0f} s"

    def _give_up(self, work: Work) -> None:
        """Leave the failed step's instance as it is; the others go on."""
        self._lost = True
        fallen = self._graph.doomed(work.index)
        for i in fallen:
            running = self._running.get(i)
            if running is not None:
                self._drop(running)
            self._graph.state[i] = graph.SKIP
            step = self._graph.steps[i].id
            self._out.append(StepChanged(step, SKIPPED, "given up", self._attempts.get(step, 1)))
        for i in (work.index, *fallen):
            self._graph.settle(i)
            self._put_back(self._graph.steps[i].unit)

    def _begin_failing(self) -> None:
        self._phase = _FAILING
        self._stand_down()

    def _stand_down(self) -> None:
        """No new steps; mere waiting ends now, commands on their way may settle."""
        self._settle = max(self._now + SETTLE, self._floor)
        for work in [w for w in self._running.values() if w.asked is None and not w.answered]:
            self._drop(work)
            self._graph.state[work.index] = graph.SKIP
            self._out.append(StepChanged(work.step.id, SKIPPED, "not waited for", work.attempt))

    def _ask_tail(self, work: Work, seen: Unit | None) -> None:
        """Ask for the failed unit's last words, unless it never ran or nobody answers there."""
        if seen is None or not seen.run or work.step.host in self._silent:
            self._tell([])
            return
        self._tail = f"{work.task}/tail"
        self._tail_until = self._now + TAIL_LIMIT
        args = {"unit": work.step.unit, "lines": TAIL_LINES}
        self._out.append(Send(self._tail, work.step.host, "tail", args, work.step))

    def _tell(self, lines: list[Any]) -> None:
        """The reason is complete, with the last log line or without."""
        self._tail, self._tail_until = "", NEVER
        full = reasons.with_log(self._reason, lines)
        if full != self._reason:
            self._reason = full
            self._remark(full)
        if self._announce:
            self._announce = False
            self._out.append(Anchored(PAUSE, self.last_started, "", full))

    def _put_back(self, unit: str) -> None:
        """A drained unit that is not stopped after all takes traffic again."""
        if unit in self._draining:
            self._draining.discard(unit)
            self._out.append(ClearDraining(unit))

    # what is shown, when to wake

    def _show(self) -> None:
        shown = (self._note(), self.gives_up)
        if shown != self._shown:
            self._shown = shown
            self._out.append(Progress(*shown))

    def _note(self) -> str:
        if self._phase == _HELD:
            why = f": {self._reason}" if self._reason else ""
            return f"paused by {self._paused_by}{why}" if self._paused_by else f"paused{why}"
        if self._phase in (_FAILING, _ABORTING):
            return self._reason
        works = self._running.values()
        if self._silent:
            for work in works:
                since = self._silent.get(work.step.host)
                if since is not None:
                    return reasons.silent(work.step.host, self._now - since)
        for work in works:
            step = work.step
            name = self._name(step.instance)
            return f"waits for {name} to be healthy" if step.kind == HEALTHY else reasons.words(step, name)
        return ""

    def _wake(self) -> None:
        at = min(self._alarms[0][0] if self._alarms else NEVER, self._tail_until)
        up = self.gives_up
        if up is not None:
            at = min(at, up)
            if self._silent and self._notes and any(
                w.step.host in self._silent for w in self._running.values()
            ):
                at = min(at, self._now + 1.0)  # `no answer for 9 s` counts on
        elif self._phase in (_FAILING, _ABORTING):
            at = min(at, self._settle)
        if at < self._woken:
            self._woken = at
            self._out.append(WakeAt(at))
