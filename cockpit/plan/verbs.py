"""One pure function per verb of the table of actions: (intent, context) -> Plan.

Targets may be short names; the plan's intent has the full ones. All raise Bad for an intent that makes
no sense and Refused for one that must not happen now. Pause, resume and abort act on actions and
have no plan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from cockpit.act.table import CHANGE, DESTRUCTIVE, VERBS
from cockpit.model.judge import heard
from cockpit.model.names import near, resolve
from cockpit.model.states import State
from cockpit.model.topology import Expected, Service, service_path, slot_of
from cockpit.plan.adopt import adopt
from cockpit.plan.blast import ready_now
from cockpit.plan.context import (
    Draft,
    PlanContext,
    expand,
    finish,
    in_order,
    nodes_of,
    resolve_targets,
    short,
    shorts,
)
from cockpit.plan.data import data_named, with_version
from cockpit.plan.importing import apply
from cockpit.plan.placement import place, put_on, relocate, why_not
from cockpit.plan.rollout import weights
from cockpit.plan.signalling import signal
from cockpit.plan.steps import FETCH, WARM, Bad, Intent, Plan, Refused, Step
from cockpit.plan.undo import rollback
from cockpit.plan.upgrading import upgrade


def plan(intent: Intent, ctx: PlanContext) -> Plan:
    """What the intent would do now. Raises Bad or Refused."""
    make = _VERBS.get(intent.verb)
    if make is None:
        if intent.verb in VERBS:
            raise Bad(f"{intent.verb} acts on a running action and has no plan")
        raise Bad(f"no verb {intent.verb!r}" + near(intent.verb, VERBS))
    verb = VERBS[intent.verb]
    known = {p.name for p in verb.params}
    for name in intent.params:
        if name not in known:
            raise Bad(f"{verb.name} has no parameter {name!r}" + near(name, known))
    for param in verb.params:
        if param.required and intent.params.get(param.name) in (None, ""):
            raise Bad(f"{verb.name} needs {param.name}: {param.help}, for example: {verb.example}")
    if not intent.targets and not verb.optional and verb.target != "topology":
        raise Bad(f"{verb.name} needs a target, for example: {verb.example}")
    if len(intent.targets) > 1 and not verb.many:
        raise Bad(f"{verb.name} takes one target, not {len(intent.targets)}, for example: {verb.example}")
    return make(intent, ctx)


def _number(value: Any, name: str) -> int:
    if isinstance(value, str) and value.strip().isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Bad(f"{name} must be a whole number of 0 or more, not {value!r}")
    return value


def _service(ctx: PlanContext, name: str) -> str:
    """Full path of a service. Raises Bad, saying so when the name is a group's."""
    services = ctx.expected.services
    if name not in services and name in nodes_of(ctx.expected):
        inside = sorted(p for p in services if p.startswith(name + "."))
        raise Bad(f"{name} is a group; name one of its services: {', '.join(inside[:8])}")
    return resolve(name, services, "service")


def _with(expected: Expected, path: str, service: Service) -> Expected:
    return replace(expected, services={**expected.services, path: service})


def converge(intent: Intent, ctx: PlanContext) -> Plan:
    targets = resolve_targets(ctx, intent.targets, seen_too=True)
    if targets:
        instances = expand(ctx, targets, seen_too=True)
    else:
        instances = in_order({*ctx.expected.placement, *ctx.actual.units})
    draft = Draft(
        title=f"converge {shorts(ctx, targets) if targets else 'everything'}", after=ctx.expected,
        instances=instances, on_failure="service", undo="converge cannot be undone",
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=targets), draft)


def deploy(intent: Intent, ctx: PlanContext) -> Plan:
    path = _service(ctx, intent.targets[0])
    service = ctx.expected.services[path]
    if intent.params.get("data"):
        return _deploy_data(intent, ctx, path)
    version = str(intent.params["version"])
    name = short(ctx, path)
    if service.artifact is not None and f"{service.artifact}/{version}" not in ctx.artifacts:
        head = service.artifact + "/"
        have = sorted(a.removeprefix(head) for a in ctx.artifacts if a.startswith(head))
        known = f"known: {', '.join(have)}" if have else "it has no version yet"
        raise Bad(f"artifact {service.artifact} has no version {version!r}; {known}")
    instances = expand(ctx, [path])
    same = version == service.version
    after = ctx.expected if same else _with(ctx.expected, path, replace(service, version=version))
    draft = Draft(
        title=f"deploy {name} {version}", after=after, instances=instances, canary=True,
        on_failure="service",
        # without an artifact the version is a label, and deploying it again still means: run anew
        forced=instances if same and not service.artifact else (),
        undo="" if same else f"u returns to {service.version}" if service.version else "u undoes it",
        locks=(path,),
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=(path,)), draft)


def _deploy_data(intent: Intent, ctx: PlanContext, path: str) -> Plan:
    """Another version of one of the service's data artifacts; the release stays."""
    service, label, version = ctx.expected.services[path], short(ctx, path), str(intent.params["version"])
    name = str(intent.params["data"])
    old = data_named(service, label, name).version
    after = ctx.expected if version == old else _with(ctx.expected, path, with_version(service, name, version))
    draft = Draft(
        title=f"deploy {label} {name} {version}", after=after, instances=expand(ctx, [path]), canary=True,
        on_failure="service", undo="" if version == old else f"u returns to {name} {old}" if old else "u undoes it",
        locks=(path,),
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=(path,)), draft)


def restart(intent: Intent, ctx: PlanContext) -> Plan:
    targets = resolve_targets(ctx, intent.targets)
    instances = expand(ctx, targets)
    wanted = [i for i in instances if not ctx.expected.stopped.get(i)]
    if instances and not wanted:
        raise Bad(f"{shorts(ctx, targets)} is stopped; start it instead")
    stopped = tuple(
        f"{short(ctx, i)} is stopped and stays so" for i in instances if ctx.expected.stopped.get(i)
    )
    draft = Draft(
        title=f"restart {shorts(ctx, targets)}", after=ctx.expected, instances=wanted, forced=wanted,
        pinned_too=True, undo="a restart cannot be undone", on_failure="service", warnings=stopped,
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=targets), draft)


def stop(intent: Intent, ctx: PlanContext) -> Plan:
    targets = resolve_targets(ctx, intent.targets, seen_too=True)
    instances = expand(ctx, targets, seen_too=True)
    new = {i: True for i in instances if i in ctx.expected.placement}
    after = replace(ctx.expected, stopped={**ctx.expected.stopped, **new})
    name = shorts(ctx, targets)
    draft = Draft(
        title=f"stop {name}", after=after, instances=instances, pinned_too=True, risk=DESTRUCTIVE,
        confirm=name, undo=f"u (or start {name}) starts again what ran",
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=targets), draft)


def start(intent: Intent, ctx: PlanContext) -> Plan:
    targets = resolve_targets(ctx, intent.targets, hosts=True)
    hosts = [t for t in targets if t in ctx.expected.hosts]
    instances = expand(ctx, [t for t in targets if t not in hosts])
    after = replace(
        ctx.expected,
        stopped={i: v for i, v in ctx.expected.stopped.items() if i not in instances},
        modes={h: m for h, m in ctx.expected.modes.items() if h not in hosts},
    )
    done = {  # what ended by itself runs once more
        u.instance for i in instances for u in ctx.actual.units.get(i, ()) if u.state == State.COMPLETE
    }
    idle = tuple(f"{h} is in service already" for h in hosts if h not in ctx.expected.modes)
    names = ",".join([*hosts, *filter(None, [shorts(ctx, [t for t in targets if t not in hosts])])])
    draft = Draft(
        title=f"start {names}" if len(targets) < 4 else f"start {len(targets)} targets", after=after,
        instances=instances, forced=done, pinned_too=True, on_failure="continue",
        undo="u stops it again" if instances else "u drains it of new instances again", warnings=idle,
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=targets), draft)


def scale(intent: Intent, ctx: PlanContext) -> Plan:
    path = _service(ctx, intent.targets[0])
    count = _number(intent.params["count"], "count")
    expected, name = ctx.expected, short(ctx, path)
    service = expected.services[path]
    if service.instances.hosts is not None:
        raise Bad(
            f"{name} has an explicit host list of {len(service.instances.hosts)}; change the list in the "
            f"topology file, or give the service a count there"
        )
    have = service.instances.size
    gone = {i for i in expected.placement if service_path(i) == path and slot_of(i) >= count}
    trimmed = replace(
        expected,
        services={
            **expected.services, path: replace(service, instances=replace(service.instances, count=count)),
        },
        placement={i: h for i, h in expected.placement.items() if i not in gone},
        stopped={i: v for i, v in expected.stopped.items() if i not in gone},
    )  # fmt: skip
    found = place(trimmed, {path: range(count)}, presence=ctx.presence)
    added = {i for i in found if i not in expected.placement}
    fewer = count < have or bool(gone)
    draft = Draft(
        title=f"scale {name} to {count}", after=replace(trimmed, placement={**trimmed.placement, **found}),
        instances=gone | added, risk=DESTRUCTIVE if fewer else CHANGE, confirm=name,
        on_failure="service", undo=f"u scales back to {have}" if count != have else "", locks=(path,),
        warnings=(f"{name} will have no instance",) if not count and have else (),
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=(path,), params={"count": count}), draft)


def migrate(intent: Intent, ctx: PlanContext) -> Plan:
    expected = ctx.expected
    instance = resolve(intent.targets[0], expected.placement, "instance")
    name, old = short(ctx, instance), expected.placement[instance]
    wish = str(intent.params.get("host") or "")
    if wish:
        host = resolve(wish, expected.hosts, "host")
        if host == old:
            raise Bad(f"{name} is on {host} already")
        why = why_not(expected, instance, host)
        if why:
            raise Bad(f"{name} cannot move: {why}")
        if not heard(ctx.actual, host):
            raise Refused(f"{name} cannot move: {host} gives no answer")
        after = put_on(expected, instance, host)
    else:
        try:
            after = relocate(expected, [instance], presence=ctx.presence, avoid=[old])
        except Bad as bad:
            raise Bad(f"{name} cannot move: {bad}") from None
        host = after.placement[instance]
    path = service_path(instance)
    last = set(ready_now(ctx.actual, [path])) == {instance}
    warnings = (f"{name} is the only serving instance of {short(ctx, path)}",) if last else ()
    draft = Draft(
        title=f"migrate {name} to {host}", after=after, instances=(instance,), pinned_too=True,
        risk=DESTRUCTIVE if last else CHANGE, confirm=name, on_failure="service",
        undo=f"u moves it back to {old}", warnings=warnings,
    )  # fmt: skip
    params = {"host": host} if wish else {}
    return finish(ctx, replace(intent, targets=(instance,), params=params), draft)


def drain(intent: Intent, ctx: PlanContext) -> Plan:
    expected = ctx.expected
    host = resolve(intent.targets[0], expected.hosts, "host")
    placed = in_order(i for i, h in expected.placement.items() if h == host)
    closed = replace(expected, modes={**expected.modes, host: expected.modes.get(host, "draining")})
    try:
        after = relocate(closed, placed, presence=ctx.presence, avoid=[host]) if placed else closed
    except Bad as bad:
        raise Bad(f"{host} cannot be drained: {bad}") from None
    there = {u.instance for units in ctx.actual.units.values() for u in units
             if ctx.actual.where.get(u.unit) == host}  # fmt: skip
    lists = {service_path(i) for i in placed if expected.services[service_path(i)].instances.hosts}
    draft = Draft(
        title=f"drain {host}", after=after, instances={*placed, *there}, pinned_too=True, risk=DESTRUCTIVE,
        confirm=host, locks=(host,),
        undo=f"u moves everything back; start {host} only takes new instances again",
        warnings=tuple(f"the host list of {short(ctx, p)} changes" for p in sorted(lists)),
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=(host,)), draft)


def push(intent: Intent, ctx: PlanContext) -> Plan:
    name, slash, version = intent.targets[0].partition("/")
    release = f"{name}/{version}"
    if not slash or release not in ctx.artifacts:
        raise Bad(f"no artifact {intent.targets[0]!r}" + near(intent.targets[0], ctx.artifacts))
    wish = intent.params.get("hosts") or ()
    if isinstance(wish, str):
        wish = [h.strip() for h in wish.split(",") if h.strip()]
    hosts = [resolve(str(h), ctx.expected.hosts, "host") for h in wish]
    if not hosts:
        users = {
            p for p, s in ctx.expected.services.items()
            if s.artifact == name or any(d.artifact == name for d in s.data.values())
        }
        hosts = sorted({h for i, h in ctx.expected.placement.items() if service_path(i) in users})
        if not hosts:
            raise Bad(f"no instance of a service with artifact {name} is placed; name the hosts")
    if intent.params.get("warm"):
        return _warm(intent, ctx, name, version, hosts)
    warnings: list[str] = []
    steps: list[Step] = []
    for host in dict.fromkeys(hosts):
        if not heard(ctx.actual, host):
            warnings.append(f"{host} gives no answer: nothing is pushed there")
        elif release not in ctx.actual.hosts[host].releases:
            steps.append(Step(
                id=f"s{len(steps) + 1}", kind=FETCH, host=host, text=f"push {name}-{version} to {host}",
                args={"name": name, "version": version, **weights(ctx.actual, host, release)},
            ))  # fmt: skip
    draft = Draft(
        title=f"push {release} to {len(hosts)} host{'s' if len(hosts) != 1 else ''}", after=ctx.expected,
        steps=tuple(steps), on_failure="continue", warnings=tuple(warnings),
        undo="nothing to undo: a release on a host does not run by itself",
        locks=tuple(f"{release}@{s.host}" for s in steps),
    )  # fmt: skip
    params = {"hosts": hosts} if wish else {}
    return finish(ctx, replace(intent, targets=(release,), params=params), draft)


def _warm(intent: Intent, ctx: PlanContext, name: str, version: str, hosts: list[str]) -> Plan:
    """Only to the relays of the hosts' regions: a later push or deploy crosses no WAN."""
    regions = {ctx.expected.hosts[h].region for h in hosts}
    relays = sorted(r for r, relay in ctx.expected.relays.items() if relay.region in regions)
    bare = sorted(regions - {ctx.expected.relays[r].region for r in relays})
    if not relays:
        raise Bad(f"no relay in {', '.join(bare)}: there is nothing to warm")
    steps = tuple(
        Step(id=f"s{n}", kind=WARM, host=relay, text=f"warm {relay} with {name}-{version}",
             args={"name": name, "version": version})
        for n, relay in enumerate(relays, 1)
    )  # fmt: skip
    draft = Draft(
        title=f"warm {len(relays)} relay{'s' if len(relays) != 1 else ''} with {name}/{version}",
        after=ctx.expected, steps=steps, on_failure="continue",
        warnings=tuple(f"region {r} has no relay: its hosts will ask the source" for r in bare),
        undo="nothing to undo: a relay only keeps it ready", locks=tuple(f"{name}/{version}@{r}" for r in relays),
    )  # fmt: skip
    params = {"warm": True} | ({"hosts": hosts} if intent.params.get("hosts") else {})
    return finish(ctx, replace(intent, targets=(f"{name}/{version}",), params=params), draft)


_VERBS: dict[str, Callable[[Intent, PlanContext], Plan]] = {
    "apply": apply,
    "converge": converge,
    "deploy": deploy,
    "restart": restart,
    "stop": stop,
    "start": start,
    "scale": scale,
    "migrate": migrate,
    "drain": drain,
    "push": push,
    "rollback": rollback,
    "adopt": adopt,
    "upgrade": upgrade,
    "signal": signal,
}
