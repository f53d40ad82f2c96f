"""How well a forecast was: the live run beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from cockpit.act.messages import DONE, FAILED
from cockpit.model.rehearsal_rows import Forecast, Lowest, Score
from cockpit.model.units import seconds_text
from cockpit.model.view import ActionRow, StepRow


def score(
    forecast: Forecast, steps: Iterable[StepRow], outcome: str, seconds: float, lowest: Mapping[str, int],
    held: str = "",
) -> Score:
    """`held`: why its time says nothing (it was paused, or the controller was away)."""
    ran: dict[str, list[float]] = {}
    tried: dict[str, None] = {}
    for row in steps:
        if row.state in (DONE, FAILED) and row.started is not None:
            tried[row.kind] = None
            if row.state == DONE and row.ended is not None:
                ran.setdefault(row.kind, []).append(row.ended - row.started)
    foretold = own_outcome(forecast.outcome)
    why = held or (f"it {outcome}, and {foretold} was foretold" if outcome != foretold else "")
    return Score(
        predicted=forecast.seconds, seconds=round(seconds, 3),
        error=round(abs(seconds - forecast.seconds) / seconds, 4) if not why and seconds > 0 else None, why=why,
        steps=sum(len(xs) for xs in ran.values()), steps_predicted=forecast.steps,
        unforeseen=tuple(sorted(tried.keys() - forecast.kinds.keys())),
        absent=tuple(sorted(forecast.kinds.keys() - tried.keys())),
        lowest=tuple(
            Lowest(service=r.service, predicted=r.lowest, actual=lowest[r.service])
            for r in forecast.ready if r.service in lowest
        ),
        phases={
            kind: (forecast.kinds[kind][1] if kind in forecast.kinds else 0.0, round(median(xs), 4))
            for kind, xs in sorted(ran.items())
        },
        outcome=outcome, outcome_predicted=foretold,
    )  # fmt: skip


def own_outcome(state: str) -> str:
    """What an action's own steps ended with, before its return changed the word."""
    return FAILED if state == "returned" else state


def sentences(found: Score) -> list[str]:
    """For people: the time, the steps, the lowest ready counts."""
    lines = [f"Took {found.seconds:.1f} s, {found.predicted:.1f} s were foretold"]
    lines[0] += f": {found.error:.0%} off." if found.error is not None else f"; not compared: {found.why}."
    steps = f"{found.steps} steps done, {found.steps_predicted} foretold"
    if found.unforeseen:
        steps += f"; not foretold: {', '.join(found.unforeseen)}"
    if found.absent:
        steps += f"; foretold and not needed: {', '.join(found.absent)}"
    lines.append(steps + ".")
    for low in found.lowest:
        same = "as foretold" if low.predicted == low.actual else f"{low.predicted} foretold"
        lines.append(f"{low.service}: never below {low.actual} ready, {same}.")
    return lines


def last_of_kind(actions: Iterable[ActionRow], verb: str, targets: Iterable[str], count: int = 3) -> list[ActionRow]:
    """The latest finished actions of this verb on these targets, the newest first."""
    wanted = tuple(targets)
    found = [
        a for a in actions
        if a.verb == verb and a.state == DONE and a.ended is not None and a.total and not a.cause
        and len(a.targets) == len(wanted) and all(same_name(x, y) for x, y in zip(a.targets, wanted, strict=True))
    ]  # fmt: skip
    return sorted(found, key=lambda a: a.started, reverse=True)[:count]


def same_name(a: str, b: str) -> bool:
    """Two names of one thing: a path, and an ending of it."""
    return a == b or a.endswith("." + b) or b.endswith("." + a)


def experience(rows: list[ActionRow], verb: str, name: str, expect: float | None) -> str:
    """`Last 3 deploys of sudoku: 38 s, 41 s, 40 s. Expect about 45 s.`"""
    parts = []
    if rows:
        noun = {"deploy": "deploys", "push": "pushes"}.get(verb, f"{verb}s")
        what = f"Last {len(rows)} {noun}" if len(rows) > 1 else f"Last {verb}"
        parts.append(f"{what} of {name}: {', '.join(seconds_text((r.ended or 0.0) - r.started) for r in rows)}.")
    if expect is not None:
        parts.append(f"Expect about {seconds_text(expect)}.")
    elif not rows:
        parts.append("How long it takes is not known yet: no run of it was recorded.")
    return " ".join(parts)
