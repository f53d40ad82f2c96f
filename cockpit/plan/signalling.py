"""A signal for processes that run: to whom it goes, and what may come of it. Nothing that is expected changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from cockpit.act.table import CHANGE, DESTRUCTIVE
from cockpit.model.actual import Unit, serving_unit
from cockpit.model.judge import heard
from cockpit.model.names import near
from cockpit.model.problems import Wrong
from cockpit.model.signals import Signal, signal_of
from cockpit.model.states import LIVE
from cockpit.model.topology import Service, service_path
from cockpit.model.units import format_duration, plural
from cockpit.plan.context import Draft, PlanContext, expand, finish, resolve_targets, short, shorts
from cockpit.plan.steps import SIGNAL, Bad, Intent, Plan, Refused, Step

MANAGERS = ("systemd", "supervisord", "pidfile")
ONE = MANAGERS[1:]
"""Those that know one process of a service."""
NAMED = 8
"""Instances whose pids are told one by one; all of them stand in the steps."""


def signal(intent: Intent, ctx: PlanContext) -> Plan:
    """Raises Bad, and Refused when nothing of it runs.

    The run that was seen stands in each step, so a preview of a process that was restarted since is void, and the
    host refuses it as well. Nothing is locked: a signal is wanted most while some action hangs.
    """
    try:
        sent = signal_of(str(intent.params["signal"]))
    except Wrong as wrong:
        raise Bad(f"{wrong}" + (f"; did you mean {wrong.hint}?" if wrong.hint else "")) from None
    process, every = str(intent.params.get("process") or ""), bool(intent.params.get("all"))
    if process and every:
        raise Bad("--all is every process of the instance, --process one: give one of them")
    targets = resolve_targets(ctx, intent.targets, seen_too=True)
    instances = expand(ctx, targets, seen_too=True)
    reached, warnings, left = _reached(ctx, instances, process, every)
    if not reached:
        raise Refused("; ".join(warnings[:NAMED]) or f"nothing of {shorts(ctx, targets)} is placed")
    steps = tuple(
        _step(ctx, n, sent, unit, _process(ctx, unit, process, every), every) for n, unit in enumerate(reached, 1)
    )
    name = shorts(ctx, targets)
    draft = Draft(
        title=f"signal {sent.name} {name}", after=ctx.expected, steps=steps, on_failure="continue",
        risk=DESTRUCTIVE if sent.takes else CHANGE, confirm=name, warnings=(*warnings, *_effects(ctx, sent, reached)),
        undo="signal CONT lets it go on" if sent.name == "STOP" else "nothing undoes a signal",
    )  # fmt: skip
    params: dict[str, Any] = {"signal": sent.name}
    params |= ({"process": process} if process else {}) | ({"all": True} if every else {})
    plan = finish(ctx, replace(intent, targets=targets, params=params), draft)
    touches = (_pids(steps), *([_unhandled(sent)] if sent.deadly and not sent.takes else ()), *plan.touches)
    # a turn of its service is nothing to go by: a signal is sent, and not waited for
    return replace(plan, touches=touches, skipped=left, locks=(), estimate=None)


def _reached(
    ctx: PlanContext, instances: Iterable[str], process: str, every: bool
) -> tuple[list[Unit], list[str], tuple[str, ...]]:
    """The unit of each instance that runs, why others get nothing, and those others. Raises Bad."""
    reached: list[Unit] = []
    warnings: list[str] = []
    left: list[str] = []
    known: set[str] = set()
    for instance in instances:
        unit = serving_unit(ctx.actual.units.get(instance, ()))
        host = ctx.actual.where.get(unit.unit, "") if unit is not None else ""
        names = _names(ctx, unit) if unit is not None else []
        known.update(names)
        why = ""
        if unit is None or unit.state not in LIVE:
            why = "does not run"
        elif not heard(ctx.actual, host):
            why = f"is on {host}, which gives no answer"
        elif process and process not in names:
            why = f"has no process {process}"
        elif every and (manager := _manager(ctx.expected.services.get(service_path(instance)))) in ONE:
            why = f"is run by {manager}, which knows its main process only (leave out --all)"
        if why or unit is None:
            left.append(instance)
            warnings.append(f"{short(ctx, instance)} {why}: nothing is sent to it")
        else:
            reached.append(unit)
    if process and known and process not in known:
        raise Bad(f"no process {process!r}" + near(process, known))
    return reached, warnings, tuple(left)


def _manager(service: Service | None) -> str:
    """Who runs it when the keeper does not; empty: the keeper, or nobody knows."""
    runtime = service.runtime if service is not None else None
    return next((k for k in MANAGERS if runtime is not None and getattr(runtime, k)), "")


def _names(ctx: PlanContext, unit: Unit) -> list[str]:
    """Processes of a unit, in the order of the topology; of a service of another manager its main one."""
    service = ctx.expected.services.get(service_path(unit.instance))
    order = [n for n in (service.processes if service is not None else ()) if n in unit.pids]
    return [*order, *(n for n in unit.pids if n not in order)] or ["main"]


def _process(ctx: PlanContext, unit: Unit, process: str, every: bool) -> str:
    """The one that is meant; empty: all of them, or its only one."""
    names = _names(ctx, unit)
    if every or len(names) < 2:
        return ""
    return process or ("main" if "main" in names else names[0])


def _step(ctx: PlanContext, n: int, sent: Signal, unit: Unit, process: str, every: bool) -> Step:
    host, who = ctx.actual.where[unit.unit], short(ctx, unit.instance)
    text = f"send {sent.name} to {who} on {host}: {_whom(unit, process, every)}"
    args = {"signal": sent.name, "process": process, "all": every, "run": unit.run}
    return Step(id=f"s{n}", kind=SIGNAL, host=host, instance=unit.instance, unit=unit.unit, text=text, args=args)


def _whom(unit: Unit, process: str, every: bool) -> str:
    """`pid 4242`, `pid 4242 (main)`, or `every process (pid 4242, 4243 and what they started)`."""
    pids = unit.pids or ({"main": unit.pid} if unit.pid else {})
    if every:
        numbers = ", ".join(str(p) for p in pids.values())
        return f"every process (pid {numbers} and what they started)" if numbers else "every process"
    if process:
        return f"pid {pids[process]} ({process})" if process in pids else process
    return f"pid {next(iter(pids.values()))}" if pids else "its main process"


def _pids(steps: tuple[Step, ...]) -> str:
    each = [step.text.partition(" to ")[2] for step in steps[:NAMED]]
    more = [f"and {len(steps) - NAMED} more: see the steps"] if len(steps) > NAMED else []
    return "; ".join([*each, *more])


def _unhandled(sent: Signal) -> str:
    return f"a program that does not handle {sent.name} ends of it"


def _effects(ctx: PlanContext, sent: Signal, reached: list[Unit]) -> tuple[str, ...]:
    """What follows, by service. One that only reads its configuration anew needs no warning."""
    if not sent.takes:
        return ()
    paths = list(dict.fromkeys(service_path(u.instance) for u in reached))
    out = []
    for path in paths:
        mine, service = [u for u in reached if service_path(u.instance) == path], ctx.expected.services.get(path)
        hosts = {ctx.actual.where[u.unit] for u in mine}
        kept = any(ctx.expected.hosts[h].connection != "ssh" for h in hosts if h in ctx.expected.hosts)
        effect = _frozen(service) if sent.name == "STOP" else _ended(service, sent, kept)
        out.append(f"{short(ctx, path)} ({plural(len(mine), 'instance')}): {effect}")
    return tuple(out)


def _ended(service: Service | None, sent: Signal, kept: bool) -> str:
    how = "ends at once" if sent.name == "KILL" else "may end"
    cut = "and its connections are cut (`restart` drains first)"
    return f"{how} without a drain, {cut}; {_then(service, sent, kept)}"


def _then(service: Service | None, sent: Signal, kept: bool) -> str:
    """Who starts it again. `kept`: there is a keeper."""
    if service is None:
        return "it is not expected, and whether its keeper starts it again is as it was prepared"
    manager = _manager(service)
    if manager in ("systemd", "supervisord"):
        return f"{manager} may start it again"
    if manager or not kept:
        return "nothing starts it again but `restart`"
    counts = "it counts as a restart"
    match service.restart.mode:
        case "never":
            return "nothing starts it again but `restart` (restart: never)"
        case "on-failure" if sent.name != "KILL":
            return f"the keeper starts it again unless it ends with 0 (restart: on-failure); {counts}"
    return f"the keeper starts it again (restart: {service.restart.mode}); {counts}"


def _frozen(service: Service | None) -> str:
    check = service.check if service is not None else None
    if check is None or check.notify:
        return "freezes, and no health check tells: traffic still goes there until CONT"
    notice = check.fall * (check.interval + check.timeout)
    return f"freezes: its health fails within about {format_duration(notice)}; CONT lets it go on"

