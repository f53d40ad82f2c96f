"""Sentences of the executor: what happened, to what, why. Pure functions over observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cockpit.model.actual import Unit
from cockpit.model.states import LIVE, NO_CHECK, State
from cockpit.plan.steps import (
    ACTIVATE,
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
    Step,
)

RESTARTS = 3
"""So many restarts of an awaited unit mean that it will not become healthy."""

MAX_LOG = 200
SHOWN = 8
"""Pids that a note names."""

_COMPLETE, _FAILED = State.COMPLETE, State.FAILED  # looking one up costs more than the comparison
_GONE = frozenset({State.REJECTED, State.SHUTDOWN, State.REMOVE})

_TIMES = (
    "never", "once", "twice", "three times", "four times", "five times", "six times", "seven times",
    "eight times", "nine times", "ten times",
)


def short(path: str) -> str:
    """`puzzle.web/2` -> `web/2`: the last name of a full path."""
    service, slash, slot = path.partition("/")
    return service.rpartition(".")[2] + slash + slot


def times(n: int) -> str:
    return _TIMES[n] if 0 <= n < len(_TIMES) else f"{n} times"


def hopeless(unit: Unit, restarts_before: int = 0) -> bool:
    """The unit cannot become healthy any more (or has shown that it does not)."""
    state = unit.state
    if state in _GONE:
        return True
    if state == _COMPLETE:
        return unit.health != NO_CHECK
    if state == _FAILED and unit.next_start is None:
        return unit.exit is None or unit.exit.run >= unit.run  # else the next run is just being forked
    return unit.restarts - restarts_before >= RESTARTS  # a lower count than before says nothing


def cause(unit: Unit | None, restarts_before: int = 0) -> str:
    """`http 503 (exit 1 three times)`, `exec: ENOENT ./x`, `stopped on the host`."""
    if unit is None:
        return "no word of it"
    if unit.state == State.REJECTED:
        return unit.altered or (unit.exit.words() if unit.exit is not None else "rejected")
    if unit.state == State.SHUTDOWN:
        return f"stopped on the host ({unit.pinned})" if unit.pinned else "it was stopped"
    why = unit.health_reason
    if unit.exit is not None and (unit.restarts > restarts_before or unit.state not in LIVE):
        count = max(1, unit.restarts - restarts_before)
        ends = unit.exit.words() + (f" {times(count)}" if count > 1 else "")
        return f"{why} ({ends})" if why else ends
    if why:
        return why
    return f"it is {unit.state.name}" + (f", {unit.health}" if unit.health != NO_CHECK else "")


def unhealthy(
    name: str, unit: Unit | None, seconds: float | None, host: str, restarts_before: int = 0
) -> str:
    """`sudoku/3 did not become healthy in 20 s: http 503 (exit 1 three times)`."""
    if unit is not None and unit.state == State.REJECTED:
        return f"{name} was rejected by {host}: {cause(unit)}"
    after = f" in {seconds:.0f} s" if seconds is not None else ""
    return f"{name} did not become healthy{after}: {cause(unit, restarts_before)}"


def fell(name: str, unit: Unit, data: Iterable[str]) -> str:
    """`web/0 did not live on with words/5: signal 1`."""
    why = unit.exit.words() if unit.exit is not None else f"it is {unit.state.name}"
    return f"{name} did not live on with {', '.join(data)}: {why}"


def silent(host: str, seconds: float) -> str:
    return f"no answer from {host} for {seconds:.0f} s"


_DOES = {
    FETCH: "fetch {thing} to {host}",
    WARM: "warm {host} with {thing}",
    PREPARE: "prepare {name} on {host}",
    START: "start {name} on {host}",
    HEALTHY: "wait for {name} to be healthy",
    DRAIN: "drain {name} on {host}",
    STOP: "stop {name} on {host}",
    ACTIVATE: "give {name} on {host} {thing}",
    REMOVE: "remove {name} from {host}",
    UPGRADE: "upgrade {host} to {thing}",
    SIGNAL: "send {signal} to {name} on {host}",
}


def words(step: Step, name: str) -> str:
    """`start sudoku/3 on bj-2`: the step in the imperative."""
    thing = f"{step.args.get('name') or step.args.get('artifact', '')}-{step.args.get('version', '')}"
    signal = step.args.get("signal", "")
    return _DOES.get(step.kind, step.kind + " {name}").format(name=name, host=step.host, thing=thing, signal=signal)


def sent(data: Mapping[str, Any]) -> str:
    """What the host answered to a signal: `pid 4242`, and who did not listen."""
    pids = data.get("pids")
    numbers = [str(p) for p in pids.values()] if isinstance(pids, dict) else []
    others = data.get("others")
    numbers += [str(p) for p in others] if isinstance(others, list) else []
    note = f"pid {', '.join(numbers[:SHOWN])}" + (f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else "")
    return note + (f"; {data['note']}" if data.get("note") else "")


def last_log(lines: Sequence[Any]) -> str:
    """The last line with something in it, cut to a readable length; a line is text or [..., text]."""
    for line in reversed(lines):
        if isinstance(line, list | tuple):
            line = line[-1] if line else ""
        text = str(line)
        text = "".join(c if c.isprintable() else " " for c in text).strip()
        if text:
            return text if len(text) <= MAX_LOG else text[: MAX_LOG - 1] + "…"
    return ""


def with_log(reason: str, lines: Sequence[Any]) -> str:
    line = last_log(lines)
    return f'{reason}. Last log: "{line}"' if line else reason
