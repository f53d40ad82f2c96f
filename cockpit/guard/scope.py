"""What a plan touches: names with the hosts they are on, and what it does besides its own verb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cockpit.act.table import DIRECT
from cockpit.model.constraints import host_meets
from cockpit.model.signals import SIGNALS
from cockpit.model.topology import Expected, service_path
from cockpit.model.view import Change
from cockpit.plan.steps import Plan


class Touched(NamedTuple):
    name: str
    """A path, an instance, a host, `name/version` of an artifact, or a section such as `guards`."""
    host: str = ""
    acted: bool = False
    """Something is done to it; else it only belongs to what is changed, and does not count as bulk."""


def touched(plan: Plan, expected: Expected, where: Mapping[str, str] | None = None) -> tuple[Touched, ...]:
    """Everything, each once. `expected` is the head that the plan was made from; `where`: unit -> its host."""
    if plan.intent.verb in DIRECT:
        return _direct(plan, expected, where or {})
    at: dict[str, list[str]] = {}
    if any(c.path[0] == "services" for c in plan.changes):
        for instance in expected.placement:
            at.setdefault(service_path(instance), []).append(instance)
    found: dict[tuple[str, str], bool] = {}

    def note(name: str, host: str = "", acted: bool = False) -> None:
        found[name, host] = found.get((name, host), False) or acted

    before = ("", "")
    for step in plan.steps:
        if step.instance:
            here = (step.instance, step.host)
            if here != before:  # the steps of one stand together
                found[here] = True
                before = here
            continue
        release = "/".join(str(step.args[k]) for k in ("name", "version") if k in step.args)
        note(release or step.host, step.host)
        note(step.host, step.host, True)
    for instance in plan.skipped:
        note(instance, expected.placement.get(instance, ""), True)
    for target in plan.intent.targets:
        if target in expected.hosts:
            note(target, target)
        elif not target.startswith("#"):
            note(target, expected.placement.get(target, ""))
    for change in plan.changes:
        _change(change, expected, at, note)
    return tuple(Touched(name, host, acted) for (name, host), acted in found.items())


def _direct(plan: Plan, expected: Expected, where: Mapping[str, str]) -> tuple[Touched, ...]:
    """What runs on a host can reach all that is placed or runs there; a shell or a copy of an instance is its."""
    hosts = frozenset(plan.intent.targets)
    params = plan.intent.params
    instance, named = params.get("instance", ""), params.get("plugin", "") or params.get("artifact", "")
    if instance:
        return tuple(Touched(instance, host, True) for host in hosts)
    found = dict.fromkeys(Touched(host, host, True) for host in plan.intent.targets)
    if named:
        found |= dict.fromkeys(Touched(named, host) for host in plan.intent.targets)
    found |= dict.fromkeys(Touched(name, host) for name, host in expected.placement.items() if host in hosts)
    found |= dict.fromkeys(
        Touched(unit.rpartition(":")[0], host) for unit, host in where.items() if host in hosts
    )
    return tuple(found)


def _change(change: Change, expected: Expected, at: dict[str, list[str]], note: Any) -> None:
    section, name = change.path[0], change.path[1] if len(change.path) > 1 else ""
    if section == "placement":
        for host in (change.old, change.new):
            if isinstance(host, str):
                note(name, host, True)
    elif section == "stopped":
        note(name, expected.placement.get(name, ""), True)
    elif section in ("hosts", "modes"):
        note(name, name, section == "modes")
    elif section == "services":
        note(name)
        for instance in at.get(name, ()):
            note(instance, expected.placement[instance])
    elif section == "regions":
        note(name)
        for host, facts in expected.hosts.items():
            if facts.region == name:
                note(host, host)
    elif section == "schedules":
        note(f"schedules/{name}")
        met = {
            host for schedule in _constraints(change) for host, facts in expected.hosts.items()
            if all(host_meets(host, facts, need) for need in schedule)
        }
        for host in sorted(met):
            note(f"schedules/{name}", host)
        if _runs(change):  # as a program that runs at once: it can reach all that is there
            for instance, host in expected.placement.items():
                if host in met:
                    note(instance, host)
    elif section == "signers":
        note(f"signers/{name}")
    else:  # groups, relays, guards, name
        note(name or section)


def _runs(change: Change) -> bool:
    """Does something else run by the clock, or elsewhere, or at another time? A schedule that only goes does not."""
    return change.path[0] == "schedules" and (len(change.path) > 2 or change.new is not None)


def _constraints(change: Change) -> Iterable[tuple[str, ...]]:
    """Of a schedule that comes or goes; of one that changes in parts, every host is touched."""
    if len(change.path) > 2:
        yield ()
        return
    for value in (change.old, change.new):
        if isinstance(value, dict):
            yield tuple(value.get("hosts", ()))


def implied(plan: Plan, expected: Expected) -> frozenset[str]:
    """The plan's verb, and what it does by the back door: a file with a new version is a deploy, too, and a signal
    that ends a process a restart."""
    verbs = {plan.intent.verb}
    if plan.intent.verb == "signal":
        sent = SIGNALS.get(str(plan.intent.params.get("signal")))
        if sent is not None and sent.takes:  # the keeper starts what ended again; what is frozen stays so
            verbs.add("stop" if sent.name == "STOP" else "restart")
    if plan.intent.verb == "copy":
        verbs.add("shell")  # who may not type there, may not bring or take files either
    if plan.intent.verb != "apply" or not expected.services:
        return frozenset(verbs)
    for change in plan.changes:
        section, rest = change.path[0], change.path[2:]
        if section == "services":
            if not rest or rest[0] in ("version", "data"):
                verbs.add("deploy")
            if change.new is None and not rest:
                verbs.add("stop")
            if not rest or rest[0] == "instances":
                verbs.add("scale")
        elif section == "placement":
            verbs |= {"migrate"} if change.old and change.new else {"scale"}
        elif section == "stopped":
            verbs.add("stop" if change.new else "start")
        elif section == "modes":
            verbs.add("drain" if change.new else "start")
        elif _runs(change):
            verbs.add("exec")
        elif section == "hosts" and not rest and change.new is None:
            verbs.add("drain")
    return frozenset(verbs)
