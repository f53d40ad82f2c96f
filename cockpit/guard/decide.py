"""The decision: a plan, who asks, the world, the moment -> a verdict.

For each thing that the plan touches the first guard that holds decides; the strictest of these decisions is
that of the plan. A plan that touches one thing is decided by the first guard that holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase, translate
from functools import lru_cache

import msgspec

from cockpit.act.table import DIRECT
from cockpit.guard import windows
from cockpit.guard.scope import Touched, implied, touched
from cockpit.guard.weaken import weakened
from cockpit.model.actual import Actual
from cockpit.model.constraints import host_meets
from cockpit.model.guard_rows import ALLOW, APPROVE, DENY, RANK, Verdict
from cockpit.model.topology import Expected, Guard, service_path
from cockpit.plan.blast import lowest_ready
from cockpit.plan.steps import Plan

CONTROL = frozenset({"pause", "resume", "abort"})
"""Holding and ending must work always: only a guard that names them holds for them."""
UNNAMED = CONTROL | frozenset(DIRECT)
"""A guard that names no verb does not hold for these: looking at a host by hand is how most trouble is understood."""
NOTHING = Touched("")


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    author: str
    """`li@jump-1`."""
    groups: tuple[str, ...] = ()


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What does not depend on the guard."""

    verbs: frozenset[str]
    risk: str
    subject: Subject
    expected: Expected
    now: float
    low: Callable[[], dict[str, tuple[int, int]]]
    """Service -> (ready at the worst moment, ready now)."""


def decide(
    plan: Plan, subject: Subject, expected: Expected, actual: Actual, now: float, *, verb: str = "", glass: str = "",
    ready: dict[str, tuple[int, int]] | None = None,
) -> Verdict:
    """What the guards of `expected` (the head, not what the plan would write) say.

    `verb` replaces the plan's own: pausing, resuming, aborting touches what the action touches. `glass`: the reason
    with which guards that allow it are passed. `ready`: that of a plan made from `actual`; else worked out.
    """
    guards = expected.guards
    if not guards:
        return Verdict()
    if verb and not any(verb in g.verbs for g in guards):
        return Verdict()  # at once, however much the action touches
    held: list[dict[str, tuple[int, int]]] = [] if ready is None else [ready]

    def low() -> dict[str, tuple[int, int]]:
        if not held:
            held.append(lowest_ready(actual, plan.steps, plan.gates))
        return held[0]

    verbs = frozenset({verb}) if verb else implied(plan, expected)
    facts = Facts(verbs=verbs, risk=plan.risk, subject=subject, expected=expected, now=now, low=low)
    things = touched(plan, expected, actual.where)
    verdicts = [*_verdicts(guards, things, facts), *(() if verb else weakened(guards, plan.changes))]
    if glass:
        verdicts = [
            msgspec.structs.replace(v, effect=ALLOW, broken=glass) if v.break_glass else v for v in verdicts
        ]
    best = Verdict()
    for verdict in verdicts:
        if not best.rule or _weight(verdict) > _weight(best):
            best = verdict
    return best


def _weight(verdict: Verdict) -> tuple[int, bool]:
    return RANK.get(verdict.effect, RANK[DENY]), bool(verdict.broken)


def _verdicts(guards: Sequence[Guard], things: Sequence[Touched], facts: Facts) -> list[Verdict]:
    left: list[Touched] = list(things) or [NOTHING]
    out: list[Verdict] = []
    for n, guard in enumerate(guards):
        if not left:
            break
        place = f"guard {n + 1} of {len(guards)}"
        try:
            why = _general(guard, facts)
        except (KeyError, OSError, ValueError):  # a time zone that was known where the file was checked
            return [*out, Verdict(
                effect=DENY, rule=guard.name, place=place,
                reason=f"its time zone is not known on this machine ({guard.reason})",
            )]
        if why is None:
            continue
        mine, rest = _split(guard, left, facts.expected)
        found = _bulk(guard, mine, facts)
        if not mine or found is None:
            continue
        why += found
        if guard.below:
            services, said = _floor(guard, mine, facts)
            if not services:
                continue
            falling = [t for t in mine if service_path(t.name) in services or t.name in services]
            taken = set(falling)
            rest += [t for t in mine if t not in taken]
            mine = falling
            why += said
        out.append(_verdict(guard, place, mine, why))
        left = rest
    return out


def _general(guard: Guard, facts: Facts) -> list[str] | None:
    """What holds whatever is touched: verb, risk, person, time. None: it does not hold. Raises KeyError."""
    why = []
    if guard.verbs:
        named = sorted(facts.verbs & set(guard.verbs))
        if not named:
            return None
        why.append(", ".join(named))
    elif facts.verbs <= UNNAMED:
        return None
    if guard.risk:
        if facts.risk not in guard.risk:
            return None
        why.append(facts.risk)
    if guard.authors:
        author = facts.subject.author
        if not any(fnmatchcase(author, p) or fnmatchcase(author.partition("@")[0], p) for p in guard.authors):
            return None
        why.append(f"asked by {author}")
    if guard.groups:
        common = [g for g in guard.groups if g in facts.subject.groups]
        if not common:
            return None
        why.append(f"{facts.subject.author} is in {', '.join(common)}")
    for window, inside in ((guard.inside, True), (guard.outside, False)):
        if window is not None:
            if windows.holds(window, facts.now) is not inside:
                return None
            where = "inside" if inside else "outside"
            why.append(f"{windows.now_words(window, facts.now)} is {where} {windows.words(window)}")
    return why


@lru_cache(maxsize=256)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One of these, or what is below one of them in the tree."""
    parts = "|".join(re.sub(r"\\[Zz]$", "", translate(p)) for p in patterns)
    return re.compile(f"(?:{parts})(?:[./].*)?", re.DOTALL)


def _split(guard: Guard, things: Sequence[Touched], expected: Expected) -> tuple[list[Touched], list[Touched]]:
    """Those where the guard looks, and the others. Each name and host is looked at once."""
    hosts = {t.host for t in things}
    if guard.regions or guard.hosts:
        hosts = {h for h in hosts if _placed(guard, h, expected)}
        if not hosts:
            return [], list(things)
    if not guard.targets:
        return _parted(things, lambda t: t.host in hosts)
    match = _pattern(guard.targets).fullmatch
    # most patterns say nothing of slots: then instances are looked at by their service
    coarse = all(re.fullmatch(r"[^/*?\[]*\*?", t) for t in guard.targets)
    keys = [t.name.partition("/")[0] for t in things] if coarse else [t.name for t in things]
    names = {k for k in set(keys) if match(k)}
    named = {h for h in hosts if h and match(h)}
    if not names and not named:
        return [], list(things)
    mine: list[Touched] = []
    rest: list[Touched] = []
    for key, thing in zip(keys, things, strict=True):
        there = (key in names or thing.host in named) and thing.host in hosts
        (mine if there else rest).append(thing)
    return mine, rest


def _parted(things: Sequence[Touched], there: Callable[[Touched], bool]) -> tuple[list[Touched], list[Touched]]:
    mine = [t for t in things if there(t)]
    return mine, [] if len(mine) == len(things) else [t for t in things if not there(t)]


def _placed(guard: Guard, name: str, expected: Expected) -> bool:
    host = expected.hosts.get(name)
    if host is None or guard.regions and host.region not in guard.regions:
        return False
    return all(host_meets(name, host, need) for need in guard.hosts)


def _counts(mine: Sequence[Touched]) -> tuple[int, int]:
    """Instances and hosts that something is done to."""
    instances = {t.name for t in mine if t.acted and t.name != t.host}
    return len(instances), len({t.host for t in mine if t.acted and t.host})


def _bulk(guard: Guard, mine: Sequence[Touched], facts: Facts) -> list[str] | None:
    """None: fewer are touched than it asks for."""
    if guard.over_instances is None and guard.over_hosts is None:
        return []
    instances, hosts = _counts(mine)
    why = []
    if guard.over_instances is not None and instances > guard.over_instances:
        why.append(f"{instances} instances, more than {guard.over_instances}")
    if guard.over_hosts is not None and hosts > guard.over_hosts:
        why.append(f"{hosts} hosts, more than {guard.over_hosts}")
    return why or None


def _floor(guard: Guard, mine: Sequence[Touched], facts: Facts) -> tuple[set[str], list[str]]:
    """Touched services that would fall below the floor."""
    services = {service_path(t.name) if "/" in t.name else t.name for t in mine}
    found: set[str] = set()
    why = []
    for path, (least, before) in facts.low().items():
        if path not in services:
            continue
        service = facts.expected.services.get(path)
        floor = float(guard.below.rstrip("%"))
        if guard.below.endswith("%"):
            floor = floor / 100 * (service.instances.size if service is not None else before)
        if least < floor:
            found.add(path)
            why.append(f"{path} would fall to {least} ready of {before}, below {guard.below}")
    return found, why


def _verdict(guard: Guard, place: str, mine: Sequence[Touched], why: list[str]) -> Verdict:
    effect: str = guard.effect
    if guard.max is not None:
        instances, hosts = _counts(mine)
        count, what = (instances, "instances") if instances else (hosts, "hosts")
        if count > guard.max:
            effect = DENY
            why = [*why, f"{count} {what}, at most {guard.max} at once: choose fewer"]
    return Verdict(
        effect=effect, rule=guard.name, place=place, reason=guard.reason, why=tuple(why),
        break_glass=guard.break_glass and effect in (APPROVE, DENY), expires=guard.expires,
    )
