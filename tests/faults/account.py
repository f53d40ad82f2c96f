"""What was lost in a run: pure, from the facts to a list. Nothing that Cockpit says of itself is believed alone.

    a  a service process ended, and neither it, nor a plan, nor the runner ended it
    b  an exit without exactly one record, or with an invented code; a record of an exit that never was
    c  something was done twice: a unit on two hosts, two processes of one unit at a time, a run number or a start
       that no step asked for
    d  a request failed that nothing excuses
    e  an action that has come to no end, or says no reason; a cluster that did not become calm
    f  the controller's journal does not verify
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.faults.facts import Ended, Facts, Kill, Life, Record, Request

KINDS = {
    "a": "service processes ended by nobody", "b": "exits not recorded once and truly", "c": "things done twice",
    "d": "requests failed", "e": "actions without an end", "f": "journals that do not verify",
}  # fmt: skip
SLACK = 0.05
"""Seconds by which two clocks of one machine, read one after the other, may seem to differ."""
ENDS = ("done", "failed", "aborted", "returned")


@dataclass(frozen=True)
class Lost:
    kind: str
    what: str


def lost(facts: Facts) -> list[Lost]:
    return [
        *_ended(facts), *_recorded(facts), *_twice(facts), *_requests(facts), *_actions(facts.actions),
        *(Lost("e", text) for text in facts.rest), *([Lost("f", facts.journal)] if facts.journal else ()),
    ]  # fmt: skip


def name(life: Life) -> str:
    return f"{life.unit} run {life.run} (pid {life.pid} on {life.host}, started {life.at:.2f})"


def killed(facts: Facts) -> dict[int, Kill]:
    return {k.pid: k for k in facts.kills}


def _ended(facts: Facts) -> Iterable[Lost]:
    mine = killed(facts)
    stops = Counter(s.instance for s in facts.steps if s.kind == "stop")
    for life in facts.lives:
        if life.alive or life.pid in mine:
            continue
        if life.told_by:
            if (life.host, life.told_by) not in facts.keepers:
                yield Lost("a", f"{name(life)} was told to end by pid {life.told_by}, which is no keeper of its host")
            else:
                stops[life.instance] -= 1
                if stops[life.instance] < 0:
                    yield Lost("a", f"{name(life)} was told to end by its keeper, and no step of a plan wanted that")
        elif not life.ended:
            yield Lost("a", f"{name(life)} is gone without a word")


def _recorded(facts: Facts) -> Iterable[Lost]:
    mine = killed(facts)
    dead = {k.pid for k in facts.kills if k.what == "keeper"}
    known: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    for record in facts.records:
        known[record.host, record.unit, record.run].append(record)
    for life in facts.lives:
        found = known.pop((life.host, life.unit, life.run), [])
        if life.alive:
            if found:
                yield Lost("b", f"{name(life)} runs, and its exit is recorded: {found}")
            continue
        if len(found) != 1:
            yield Lost("b", f"{name(life)} ended, and has {len(found)} records {found}")
            continue
        record = found[0]
        if record.rejected:
            yield Lost("b", f"{name(life)} ran, and is recorded as never begun: {record}")
        told = (record.code, record.signal)
        if life.pid not in mine and not life.ended:
            continue  # it is in (a) already
        true = (None, 9) if life.pid in mine else (life.code, life.signal)
        # only who gave birth to a process is told how it ended
        orphan = life.keeper in dead or (life.host, life.keeper) not in facts.keepers
        if told != true and not (orphan and told == (None, None)):
            yield Lost("b", f"{name(life)} ended with code {true[0]}, signal {true[1]}; recorded is {record}")
    for key, found in known.items():
        for record in found:
            # one that was ended before it could say its first word
            early = record.reason.startswith(("stopped", "ended")) and record.code is None
            if not record.rejected and not early:
                yield Lost("b", f"{key} never ran, and its exit is recorded: {record}")


def _twice(facts: Facts) -> Iterable[Lost]:
    mine = killed(facts)
    starts = Counter(s.instance for s in facts.steps if s.kind == "start")
    units: dict[str, list[Life]] = defaultdict(list)
    for life in sorted(facts.lives, key=lambda one: one.at):
        units[life.unit].append(life)
    for unit, found in units.items():
        hosts = {life.host for life in found}
        if len(hosts) > 1:
            yield Lost("c", f"the unit {unit} ran on {', '.join(sorted(hosts))}")
        runs = Counter(life.run for life in found)
        for run, times in runs.items():
            if times > 1:
                yield Lost("c", f"{unit} run {run} was begun {times} times")
        before: Life | None = None
        for life in found:
            if before is not None:
                kill = mine.get(before.pid)
                end = kill.at if kill else before.ended
                if before.alive or (end and end > life.at + SLACK):
                    yield Lost("c", f"{name(life)} was begun while {name(before)} ran")
            # a policy starts again what ended by itself or was killed; all else wants a step
            if before is None or (before.told_by and before.pid not in mine):
                starts[life.instance] -= 1
                if starts[life.instance] < 0:
                    yield Lost("c", f"{name(life)} was begun, and no step of a plan wanted that")
            before = life


def excused(request: Request, facts: Facts) -> str:
    """Why a failed request does not count; empty: it does."""
    for w in facts.windows:
        if request.begin <= w.end and request.end >= w.begin:
            if w.clients and request.host == w.host:
                return w.why
            if not w.clients and request.instance == w.instance:
                return w.why
    return ""


def _requests(facts: Facts) -> Iterable[Lost]:
    for request in facts.failed:
        if not excused(request, facts):
            whom = request.instance or "nobody"
            yield Lost("d", f"from {request.host} to {whom} at {request.begin:.2f}: {request.why}")
    if not facts.requests:
        yield Lost("d", "nothing was asked at all")


def _actions(actions: Iterable[Ended]) -> Iterable[Lost]:
    for action in actions:
        if action.late or action.state not in ENDS:
            yield Lost("e", f"{action.id} {action.title} is still {action.state}: {action.note or 'no reason'}")
        elif action.state != "done" and not action.note:
            yield Lost("e", f"{action.id} {action.title} is {action.state} and says no reason")
