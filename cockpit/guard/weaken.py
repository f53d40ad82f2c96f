"""Guards guard themselves: what a change of them would take away is decided by those in force before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cockpit.model.guard_rows import ALLOW, APPROVE, CONFIRM, DENY, RANK, Verdict
from cockpit.model.topology import Guard
from cockpit.model.view import Change

SECTION = "guards"
DEMAND = {DENY: APPROVE, APPROVE: APPROVE, CONFIRM: CONFIRM}
"""What it takes to weaken a guard of this effect. One that denies could never be changed, were it taken literally."""


def effect_of(guard: Guard) -> str:
    """What it can do at the most: a maximum denies."""
    return DENY if guard.max is not None else guard.effect


def weakened(before: Sequence[Guard], changes: Iterable[Change]) -> list[Verdict]:
    """One verdict for each guard in force that a patch takes away, alters, or puts a milder one in front of."""
    after = next((_typed(c.new) for c in changes if c.path == (SECTION,)), None)
    if after is None:
        return []
    out = []
    for n, guard in enumerate(before):
        demand = DEMAND.get(effect_of(guard))
        if demand is None:
            continue
        how = _how(guard, n, before, after)
        if how:
            out.append(Verdict(
                effect=demand, rule=guard.name, place=f"guard {n + 1} of {len(before)}", reason=guard.reason,
                why=(f"this {how} a guard that says {effect_of(guard)}",), break_glass=guard.break_glass,
                expires=guard.expires,
            ))
    return out


def _how(guard: Guard, n: int, before: Sequence[Guard], after: Sequence[Guard]) -> str:
    """In which way it is weakened; empty: it is not."""
    if guard not in after:
        return "changes" if any(g.name == guard.name for g in after) else "removes"
    ahead = [g for g in after[: after.index(guard)] if g not in before[:n]]
    glass = guard.break_glass or effect_of(guard) == CONFIRM  # a reason is more than a name
    milder = [g for g in ahead if _mild(g) < RANK[effect_of(guard)] or g.break_glass and not glass]
    return f'puts "{milder[0].name}" before' if milder else ""


def _mild(guard: Guard) -> int:
    """A maximum lets pass what is not more than it, so it counts by its effect."""
    return RANK.get(guard.effect, RANK[ALLOW])


def _typed(value: Any) -> tuple[Guard, ...]:
    return msgspec.convert(value or (), tuple[Guard, ...])
