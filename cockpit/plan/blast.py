"""What a plan touches, before it runs: dependents, the lowest ready count, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from cockpit.model.actual import Actual
from cockpit.model.judge import heard
from cockpit.model.names import short_names
from cockpit.model.signals import SIGNALS
from cockpit.model.topology import Expected, service_path
from cockpit.plan.steps import ACTIVATE, DRAIN, HEALTHY, SIGNAL, STOP, Step

DATA = " data"
"""Behind a service: the turns in which its instances only get data are recorded apart."""

_NONE: list[int] = []
"""No follower. Never written to."""


def ready_now(actual: Actual, services: Collection[str]) -> dict[str, set[str]]:
    """Instance of these services -> its units that serve, on hosts that are heard."""
    return {
        instance: ready
        for instance, units in actual.units.items()
        if service_path(instance) in services
        and (ready := {u.unit for u in units if u.serving and heard(actual, actual.where.get(u.unit))})
    }


def takes(step: Step) -> bool:
    """Does its unit serve no more after it?"""
    return step.kind in (DRAIN, STOP) or step.kind == SIGNAL and SIGNALS[step.args["signal"]].takes


def lowest_ready(
    actual: Actual, steps: Sequence[Step], gates: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, tuple[int, int]]:
    """Service -> (ready instances at the worst moment, ready now), for services that lose any on the way.

    Walks the graph in the worst order: whatever takes readiness goes first, what gives it last.
    """
    ready = ready_now(actual, {service_path(s.instance) for s in steps if takes(s)})
    count: Counter[str] = Counter(service_path(i) for i in ready)
    before = dict(count)
    low = dict(count)
    lost: set[str] = set()
    index = {id: n for n, id in enumerate([*(s.id for s in steps), *(gates or ())])}
    needs = [*(s.needs for s in steps), *(gates or {}).values()]
    missing = [len(n) for n in needs]
    after: list[list[int]] = [_NONE] * len(needs)
    for n, ids in enumerate(needs):
        for id in ids:
            before_it = index[id]
            if after[before_it] is _NONE:
                after[before_it] = [n]
            else:
                after[before_it].append(n)
    taking: list[int] = []
    neutral: list[int] = []
    giving: list[int] = []
    queue_of = {HEALTHY: giving}
    queues = [taking if takes(s) else queue_of.get(s.kind, neutral) for s in steps] + [taking] * len(gates or ())
    for n in range(len(needs) - 1, -1, -1):
        if not missing[n]:
            queues[n].append(n)
    while taking or neutral or giving:
        n = (taking or neutral or giving).pop()
        if n < len(steps):
            step = steps[n]
            if takes(step):
                units = ready.get(step.instance)
                if units and step.unit in units:
                    service = service_path(step.instance)
                    units.discard(step.unit)
                    lost.add(service)
                    if not units:
                        count[service] -= 1
                        low[service] = min(low[service], count[service])
            elif step.kind == HEALTHY:
                service = service_path(step.instance)
                units = ready.setdefault(step.instance, set())
                if not units:
                    count[service] += 1
                    low.setdefault(service, 0)
                units.add(step.unit)
        for follower in after[n]:
            missing[follower] -= 1
            if not missing[follower]:
                queues[follower].append(follower)
    return {s: (low[s], before.get(s, 0)) for s in sorted(lost)}


def touches(expected: Expected, low: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Sentences: who depends on what is touched, and how few of it are ready at the worst moment (`lowest_ready`)."""
    if not low:
        return ()
    short = short_names({*expected.services, *low})
    size = Counter(service_path(i) for i in expected.placement)
    result: list[str] = []
    for path, (least, now) in low.items():
        users = [p for p, s in expected.services.items() if path in s.depends]
        for user in sorted(users):
            n = size[user]
            use = "instance uses" if n == 1 else "instances use"
            worst = f"never below {least} ready" if least else "none of it will be ready meanwhile"
            result.append(f"{short[user]} ({n} {use} {short[path]}, {worst})")
        if not users:
            worst = f"never below {least} of {now} ready" if least else "none will be ready meanwhile"
            result.append(f"{short[path]} (nothing depends on it, {worst})")
    return tuple(result)


def estimate(steps: Iterable[Step], durations: Mapping[str, float] | None) -> float | None:
    """Seconds: turns of a service one after the other x recorded seconds of one turn; the longest counts.

    None when a touched service has no record.
    """
    if not durations:
        return None
    turns: dict[str, set[int]] = {}
    given = {s.instance for s in steps if s.kind == ACTIVATE}
    for step in steps:
        if step.instance:
            path = service_path(step.instance)
            turns.setdefault(path + DATA if step.instance in given else path, set()).add(step.batch)
    if not turns or any(path not in durations for path in turns):
        return None
    return round(max(len(batches) * durations[path] for path, batches in turns.items()), 1)
