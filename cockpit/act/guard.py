"""The one place that decides whether an intent may run. What it does not know, it refuses."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from cockpit.act.table import CHANGE, DESTRUCTIVE, OBSERVE, VERBS, Verb
from cockpit.model.guard_rows import CONFIRM
from cockpit.model.view import Who
from cockpit.plan.steps import Intent, Plan, Refused
from cockpit.times import when

OPERATOR = "operator"

_RISKS = (OBSERVE, CHANGE, DESTRUCTIVE)

Holder = tuple[Collection[str], str, float, str]
"""Locks, author, start (Unix time) and title of a running action."""


def risk_of(verb: Verb, plan: Plan | None = None) -> str:
    """The graver one of what the table and the plan say; an unknown word counts as destructive."""
    words = [verb.risk] if plan is None else [verb.risk, plan.risk]
    if any(w not in _RISKS for w in words):
        return DESTRUCTIVE
    return max(words, key=_RISKS.index)


def may(who: Who, verb: Verb) -> str:
    """Why this person may not use this verb now; empty when they may. For keys that are disabled."""
    if verb.risk == OBSERVE:
        return ""
    if who.read_only:
        return f"{verb.name} is off: {who.read_only}"
    if who.role != OPERATOR:
        return f"{verb.name} is off: {who.author or 'you'} may look, not change (role {who.role or 'none'})"
    return ""


def check(intent: Intent, who: Who, verb: Verb | None, plan: Plan | None = None, confirm: str = "") -> None:
    """Raises Refused with a sentence unless the intent may run.

    Without a plan only the person's right is decided (nobody reads a plan to learn that they may
    not run it); before anything runs it must be called with the plan. A destructive one needs its
    plan's `confirm`, or a short form of that name.
    """
    if verb is None or VERBS.get(intent.verb) is not verb:
        raise Refused(f"{intent.verb!r} is not an action of the table, so it is refused")
    why = may(who, verb)
    if why:
        raise Refused(why)
    if plan is None or risk_of(verb, plan) != DESTRUCTIVE and not named(plan):
        return
    name = needed(intent, plan)
    if confirms(confirm, name):
        return
    got = f"{confirm!r} is not the name to confirm; " if confirm else ""
    how = f"{got}add --confirm {short(name)} to run it"
    asks = "is destructive" if risk_of(verb, plan) == DESTRUCTIVE or plan.guard is None else plan.guard.words()
    raise Refused(f"{plan.title or intent.verb}: {asks}; {how}" if named(plan) else
                  f"{plan.title or intent.verb} {asks}: {how}")


def named(plan: Plan) -> bool:
    """Does a guard ask for the typed name?"""
    return plan.guard is not None and plan.guard.effect == CONFIRM


def needed(intent: Intent, plan: Plan) -> str:
    """The name that confirms: the plan's, else the first target's, else the verb's."""
    return plan.confirm or (intent.targets[0] if intent.targets else intent.verb)


def short(name: str) -> str:
    """`puzzle.sudoku/3` -> `sudoku/3`, `#118` -> `118` (so that no shell needs quotes)."""
    path, slash, slot = name.lstrip("#").partition("/")
    return path.rpartition(".")[2] + slash + slot


def confirms(given: str, name: str) -> bool:
    """The name itself, a suffix of it that starts at a dot or after the `#`, or a longer form of it."""
    if not given:
        return False
    return given == name or name.endswith("." + given) or given.endswith("." + name) or name == "#" + given


def conflicts(locks: Collection[str], running: Mapping[str, Holder]) -> None:
    """Raises Refused, naming who and since when, if a running action holds one of the locks."""
    mine = set(locks)
    for id, (held, author, since, title) in running.items():
        common = sorted(mine.intersection(held))
        if common:
            what = ", ".join(short(n) for n in common[:3])
            if len(common) > 3:
                what += f" and {len(common) - 3} more"
            clock = when(since, time.time())
            raise Refused(
                f"{what}: {id} {title} works on it since {clock} (by {author}); "
                f"wait for it, or abort {id}"
            )
