"""What a keeper does first: takes over what an earlier one left, or begins anew after a reboot."""

from __future__ import annotations

import time

from . import policy, proc
from .handover import PLAIN
from .run import ENDING, UP, Proc, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .lives import Lives
    from .unit import Unit

    Doc = dict[str, Any]

EXEC_TIME = 2.0
"""Seconds for a child whose keeper died between its word and the exec."""


def rebooted(lives: Lives) -> None:
    """Another boot id: nothing of before runs. Every wanted unit is to be started once."""
    now = time.time()
    for unit in lives.units.values():
        for name in list(unit.ids):
            record = {
                "run": unit.run, "process": name, "code": None, "signal": None, "core": None,
                "reason": "host rebooted", "started": unit.started or 0.0, "ended": now, "peak_rss": 0,
            }
            unit.apply(lives.journal.event(
                "exit", unit=unit.unit, run=unit.run, exit=record, state=policy.FAILED, next_start=None,
                tries=0, cause=True,
            ))
        if unit.wanted and unit.state != policy.COMPLETE:
            _begin(lives, unit, "boot")


def inherited(lives: Lives, doc: Doc) -> None:
    """After an exec in place: every run goes on as it was, children of ours are still ours."""
    for name, facts in doc["units"].items():
        unit = lives.units.get(name)
        if unit is not None:
            unit.status, unit.watchdog, unit.cause = facts["status"], facts["watchdog"], facts["cause"]
    for name, facts in doc["runs"].items():
        unit = lives.units.get(name)
        if unit is None:
            continue
        procs = [_inherited(p) for p in facts["procs"]]
        run = unit.live = Run(name, facts["number"], procs, facts["by"], facts["policy"])
        for key in PLAIN:
            setattr(run, key, facts[key])
        run.reported = set(facts["reported"])
        run.told = {(pid, start) for pid, start in facts["told"]}
        for p in procs:
            if p.native:
                lives.known[p.pid] = (unit, p)
            elif p.ended is None:
                lives.watch(unit, p)


def _inherited(facts: Doc) -> Proc:
    pid, start = facts["pid"], facts["start"]
    handle = None
    if facts["ended"] is None:
        # without its start time: a child that ended meanwhile waits to be reaped, and is still itself
        handle = proc.Handle.open(pid)
        if handle is not None and handle.start != start:
            handle.close()
            handle = None
    p = Proc(facts["name"], handle or proc.Handle(pid, start, None), None, facts["floor"])
    p.native = facts["native"]
    p.peak, p.rusage, p.status = facts["peak"], facts["rusage"], facts["status"]
    p.ended, p.wait_until = facts["ended"], facts["wait_until"]
    return p


def _begin(lives: Lives, unit: Unit, cause: str) -> None:
    """To be started as soon as the keeper is up, with a fresh row of tries."""
    doc = {"note": "fresh", "unit": unit.unit, "next_start": time.time()}
    lives.journal.note(doc)
    unit.apply(doc)
    unit.cause = cause


def same_boot(lives: Lives) -> None:
    """Runs that live are watched on; of those that ended, it is learned how, if the kernel tells."""
    marks = _marks(lives)
    for unit in lives.units.values():
        if unit.ids:
            _adopt(lives, unit)
        elif unit.unit in marks:
            _adopt_marked(lives, unit, marks[unit.unit])
        if unit.live is None and unit.wanted and unit.state in (policy.READY, policy.SHUTDOWN):
            _begin(lives, unit, "keeper")  # died between the wish and the fork, or was told to `end`


def _marks(lives: Lives) -> dict[str, dict[int, dict[str, proc.Handle]]]:
    """Unit -> run -> process -> the session leader with that mark, of units with no run on record.

    Either the journal was lost, or a keeper died while it ended a run.
    """
    found: dict[str, dict[int, dict[str, proc.Handle]]] = {}
    for pid, seen in proc.table().items():
        mark = proc.mark_of(pid, lives.store.id)
        if mark is None or mark.unit not in lives.units or lives.units[mark.unit].ids:
            continue
        processes = found.setdefault(mark.unit, {}).setdefault(mark.run, {})
        if seen.session == pid:
            handle = proc.Handle.open(pid, seen.start)
            if handle is not None:
                processes[mark.process] = handle
    return found


def _adopt(lives: Lives, unit: Unit) -> None:
    procs = []
    for name, (pid, start) in unit.ids.items():
        handle = proc.Handle.open(pid, start)
        if handle is not None and not unit.begun and not _runs(handle, lives.store.id):
            handle.close()
            handle = None
        if handle is not None:
            procs.append(Proc(name, handle))
            continue
        gone = Proc(name, proc.Handle(pid, start, None))
        gone.status = proc.zombie_status(pid, start)
        gone.ended = time.time()
        procs.append(gone)
    if not unit.begun:
        if all(p.ended is not None for p in procs):
            # it never got as far as its program, or ended with the keeper that would have known
            unit.ids = {}
            if unit.wanted:
                _begin(lives, unit, "keeper")
            return
        _started(lives, unit, procs)
    _watch(lives, unit, procs)


def _adopt_marked(lives: Lives, unit: Unit, found: dict[int, dict[str, proc.Handle]]) -> None:
    number = max(found)
    names = {process["name"] for process in unit.spec["processes"]}
    leaders = found.pop(number)
    for handles in found.values():
        for handle in handles.values():
            handle.close()
    if not found and number > unit.run and set(leaders) == names:
        procs = [Proc(name, handle) for name, handle in leaders.items()]
        ids = {p.name: [p.pid, p.handle.start] for p in procs}
        doc = {"note": "fork", "unit": unit.unit, "run": number, "ids": ids, "boot": lives.boot}
        lives.journal.note(doc)
        unit.apply(doc)
        _started(lives, unit, procs)
        _watch(lives, unit, procs)
        return
    for handle in leaders.values():
        handle.close()
    # remains of a run: they end before anything else of this unit begins
    run = unit.live = Run(unit.unit, number, [], "keeper")
    run.phase, run.cause = ENDING, "peer"
    run.number_sent, run.grace = 15, unit.spec["stop"]["grace"]
    run.kill_at = time.monotonic() + run.grace
    run.deadline = time.monotonic()
    if unit.wanted and unit.state in (policy.READY, policy.SHUTDOWN):
        _begin(lives, unit, "keeper")


def _started(lives: Lives, unit: Unit, procs: list[Proc]) -> None:
    pids = {p.name: p.pid for p in procs}
    unit.apply(lives.journal.event(
        "start", unit=unit.unit, run=unit.run, pids=pids, by="adopted", policy=False
    ))


def _watch(lives: Lives, unit: Unit, procs: list[Proc]) -> None:
    run = unit.live = Run(unit.unit, unit.run, procs, "adopted")
    run.phase = UP
    for p in procs:
        if p.ended is None:
            lives.watch(unit, p)


def _runs(handle: proc.Handle, keeper: str) -> bool:
    """Does a child that was given the word reach its program? (It is a matter of microseconds.)"""
    until = time.monotonic() + EXEC_TIME
    while time.monotonic() < until:
        if proc.mark_of(handle.pid, keeper) is not None:
            return True
        if handle.ended():
            return False
        time.sleep(0.001)
    return False
