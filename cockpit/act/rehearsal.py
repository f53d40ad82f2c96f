"""One plan on the twin, told as a timeline: when what happens, what would fail, and what follows from that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median

from cockpit.act.messages import DONE, FAILED, RUNNING, SKIPPED
from cockpit.act.twin import Act, Faults, Twin
from cockpit.model.rehearsal_rows import Bar, Batch, Fault, Forecast, Part, Ready
from cockpit.model.topology import service_path
from cockpit.plan.steps import BULK, HEALTHY, Bad, Plan, Step

BARS = 1500
"""Lines of the timeline that are told at most; failed ones first."""
POINTS = 100
LOOK = 4096
"""Events between two looks at whether it is still wanted."""

Tell = Callable[[int, int, float], bool]
"""Steps that ended, all of them, virtual seconds so far; False ends the rehearsal."""


class Stopped(Exception):
    """Nobody wants the rehearsal any more."""


class _Watch:
    """When each step began and ended, by action."""

    def __init__(self) -> None:
        self.began: dict[str, dict[str, float]] = {}
        self.ended: dict[str, dict[str, tuple[float, str]]] = {}
        self.over = 0

    def note(self, at: float, action: str, step: str, state: str) -> None:
        if state == RUNNING:
            self.began.setdefault(action, {})[step] = at
        elif state in (DONE, FAILED):
            self.over += 1
            self.ended.setdefault(action, {})[step] = (at, state)
        elif state == SKIPPED and step in self.began.get(action, {}):
            self.ended.setdefault(action, {})[step] = (at, state)


def rehearse(
    twin: Twin, plan: Plan, faults: Iterable[Fault] = (), tell: Tell | None = None, *, bars: int = BARS
) -> Forecast:
    """Carry out the plan on this copy, and what follows from it. Raises Stopped, and Bad for unknown faults."""
    faults = tuple(faults)
    check(plan, faults)
    watch = _Watch()
    twin.watch = watch.note
    twin.faults = Faults(plan, faults)
    began, total = twin.now, len(plan.steps)
    before = dict(twin.fleet.ready)
    twin.fleet.watch_lowest(lambda: twin.now)
    seen = 0

    def enough() -> bool:
        nonlocal seen
        seen += 1
        if seen % LOOK == 0 and tell is not None and not tell(watch.over, total, twin.now - began):
            raise Stopped
        return False

    id = twin.submit(plan)
    twin.run(enough if tell is not None else None)
    own = twin.acts[id]
    back = twin.acts.get(own.returns)
    end = own.ended if own.ended is not None else twin.now
    ends = watch.ended.get(id, {})
    good = sorted(at - began for at, state in ends.values() if state == DONE)
    lines = [*_bars(own, watch, began, back=False), *(_bars(back, watch, began, back=True) if back else ())]
    batches = [*_batches(own, watch, began, back=False), *(_batches(back, watch, began, back=True) if back else ())]
    shown = lines if len(lines) <= bars else _worst(lines, bars)
    touched = {service_path(s.instance) for s in plan.steps if s.instance}
    lowest = twin.fleet.lowest
    return Forecast(
        outcome=own.row.state, reason=own.row.note, seconds=round(end - began, 3),
        whole=round(max(end, back.ended or twin.now if back else end) - began, 3),
        steps=len(good), total=total, kinds=_kinds(plan, watch, id), curve=_curve(good),
        back_kinds={k: n for k, (n, _) in _kinds(back.plan, watch, back.row.id).items()} if back else {},
        bars=tuple(shown), left_out=len(lines) - len(shown),
        batches=tuple(batches[:bars]),
        ready=tuple(
            Ready(service=s, before=before.get(s, 0), lowest=lowest[s][0], at=round(lowest[s][1] - began, 3))
            if s in lowest else Ready(service=s, before=before.get(s, 0), lowest=before.get(s, 0))
            for s in sorted(touched)
        ),
        back=back.plan.title if back else "", back_at=round(back.row.started - began, 3) if back else None,
        back_outcome=back.row.state if back else "", assumed=_named(twin), faults=faults,
        missed=tuple(f for f in faults if f not in twin.faults.hit), digest=plan.digest,
    )  # fmt: skip


def _named(twin: Twin) -> tuple[str, ...]:
    """What was assumed, with labels of versions for their digests."""
    labels = {sha: id.partition("/")[2] for id, sha in twin.fleet.artifacts.items()}
    return tuple(dict.fromkeys(
        " ".join(labels.get(part, part) for part in key if part) for key in twin.fleet.assumed
    ))


def check(plan: Plan, faults: Iterable[Fault]) -> None:
    """Raises Bad for faults of steps and hosts that the plan does not have."""
    steps = {s.id for s in plan.steps}
    hosts = {s.host for s in plan.steps}
    for fault in faults:
        if bool(fault.step) == bool(fault.host):
            raise Bad("a fault is a step that fails, or a host that falls silent")
        if fault.step and fault.step not in steps:
            raise Bad(f"the plan has no step {fault.step!r}; its steps are s1 to s{len(steps)}")
        if fault.host and fault.host not in hosts:
            raise Bad(f"the plan does nothing on host {fault.host!r}; it works on {', '.join(sorted(hosts)[:8])}")


def nothing(plan: Plan) -> str:
    return f"{plan.title or plan.intent.verb}: there is nothing to rehearse"


def group_of(step: Step) -> tuple[str, str, int]:
    """(name, host, batch): the line of the timeline that a step stands on."""
    if step.instance:
        return step.instance, "", step.batch
    release = "-".join(str(step.args[k]) for k in ("name", "version") if k in step.args)
    return f"{'push' if step.kind in BULK else step.kind} {release}".rstrip(), step.host, 0


def _bars(act: Act, watch: _Watch, start: float, *, back: bool) -> list[Bar]:
    began, ended = watch.began.get(act.row.id, {}), watch.ended.get(act.row.id, {})
    groups: dict[tuple[str, str, int], list[Part]] = {}
    hosts: dict[tuple[str, str, int], str] = {}
    for step in act.plan.steps:
        at = began.get(step.id)
        if at is None:
            continue
        end, state = ended.get(step.id, (act.ended if act.ended is not None else at, RUNNING))
        key = group_of(step)
        if key not in hosts or step.kind == HEALTHY:  # a move shows where it leads
            hosts[key] = step.host
        groups.setdefault(key, []).append(Part(
            step=step.id, kind=step.kind, begin=round(at - start, 3), end=round(end - start, 3), state=state,
        ))  # fmt: skip
    return [
        Bar(name=key[0], host=hosts[key], batch=key[2], back=back, parts=tuple(parts))
        for key, parts in sorted(groups.items(), key=lambda g: min(p.begin for p in g[1]))
    ]


def _worst(lines: list[Bar], room: int) -> list[Bar]:
    """Those that did not go well, then the first: in their order."""
    bad = [n for n, bar in enumerate(lines) if any(p.state != DONE for p in bar.parts)][:room]
    kept = set(bad)
    for n in range(len(lines)):
        if len(kept) >= room:
            break
        kept.add(n)
    return [lines[n] for n in sorted(kept)]


def _batches(act: Act, watch: _Watch, start: float, *, back: bool) -> list[Batch]:
    began, ended = watch.began.get(act.row.id, {}), watch.ended.get(act.row.id, {})
    found: dict[tuple[str, int], tuple[set[str], list[float], list[float]]] = {}
    for step in act.plan.steps:
        if not step.instance:
            continue
        who, begins, ends = found.setdefault((service_path(step.instance), step.batch), (set(), [], []))
        who.add(step.instance)
        if step.id in began:
            begins.append(began[step.id] - start)
        if step.id in ended:
            ends.append(ended[step.id][0] - start)
    return [
        Batch(
            service=service, number=number, instances=len(who), begin=round(min(begins), 3) if begins else None,
            end=round(max(ends), 3) if ends else None, back=back,
        )
        for (service, number), (who, begins, ends) in sorted(found.items())
    ]


def _kinds(plan: Plan, watch: _Watch, id: str) -> dict[str, tuple[int, float]]:
    began, ended = watch.began.get(id, {}), watch.ended.get(id, {})
    found: dict[str, list[float]] = {}
    for step in plan.steps:
        if (end := ended.get(step.id)) is not None and end[1] == DONE and step.id in began:
            found.setdefault(step.kind, []).append(end[0] - began[step.id])
    return {kind: (len(xs), round(median(xs), 4)) for kind, xs in found.items()}


def _curve(ends: list[float]) -> tuple[float, ...]:
    if not ends:
        return ()
    last = len(ends) - 1
    return (0.0, *(round(ends[max(0, -(-n * len(ends) // POINTS) - 1)] if n < POINTS else ends[last], 3)
                   for n in range(1, POINTS + 1)))
