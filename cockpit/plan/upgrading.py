"""The agents of many hosts, a batch after the other: fetched everywhere first, then replaced side by side.

A batch begins when every host of the one before is back with the new version; one that is not holds the action.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cockpit.model.judge import heard
from cockpit.model.names import near, resolve
from cockpit.plan.context import Draft, PlanContext, finish
from cockpit.plan.rollout import DIRECT, weights
from cockpit.plan.steps import FETCH, UPGRADE, Bad, Intent, Plan, Step

ARTIFACT = "cockpit-agent"
BATCH = "10%"
TIMEOUT = 60.0
"""Seconds for a candidate's self-test."""
AGENTS = frozenset({"agent", "local"})
"""Connections of hosts that have an agent."""


def upgrade(intent: Intent, ctx: PlanContext) -> Plan:
    """Raises Bad."""
    params = intent.params
    name, version = str(params.get("artifact") or ARTIFACT), str(params["version"])
    release = f"{name}/{version}"
    if release not in ctx.artifacts:
        have = sorted(a.removeprefix(name + "/") for a in ctx.artifacts if a.startswith(name + "/"))
        known = f"known: {', '.join(have)}" if have else f"`cockpit artifact add` makes one{near(name, _names(ctx))}"
        raise Bad(f"artifact {name} has no version {version!r}; {known}")
    if ctx.actual.kinds.get(release, "release") != "release":
        raise Bad(f"{release} is no release: an agent cannot be started from it")
    targets = tuple(dict.fromkeys(resolve(t, ctx.expected.hosts, "host") for t in intent.targets))
    keeper = bool(params.get("keeper"))
    hosts, warnings, left = _hosts(ctx, targets, version, keeper)
    size = batch_size(params.get("batch") or BATCH, len(hosts))
    if params.get("pause") and len(hosts) > size:
        warnings.append(f"{len(hosts) - size} hosts wait: the same command goes on with the next batch")
        left += hosts[size:]
        hosts = hosts[:size]
    steps, gates = _steps(ctx, hosts, size, name, version, keeper)
    draft = Draft(
        title=f"upgrade {len(hosts)} agent{'s' if len(hosts) != 1 else ''} to {version}", after=ctx.expected,
        steps=steps, gates=gates, on_failure="pause", warnings=tuple(warnings),
        undo="nothing to undo: upgrade to the version before instead",
        locks=tuple(lock for h in hosts for lock in (f"{release}@{h}", f"agent@{h}")),
    )  # fmt: skip
    plan = finish(ctx, replace(intent, targets=targets, params=dict(params)), draft)
    return replace(plan, skipped=tuple(left), deadline=TIMEOUT)


def batch_size(text: Any, hosts: int) -> int:
    """`3` or `25%` of so many hosts, at least 1. Raises Bad."""
    word = str(text).strip()
    number = word.removesuffix("%")
    if not (number.isascii() and number.isdigit() and len(number) < 6) or not int(number):
        raise Bad(f"batch must be a number of hosts or a share of them (3, 25%), not {word!r}")
    if not word.endswith("%"):
        return int(number)
    if int(number) > 100:
        raise Bad(f"batch: {word} is more than all hosts")
    return max(1, hosts * int(number) // 100)


def _names(ctx: PlanContext) -> set[str]:
    return {a.partition("/")[0] for a in ctx.artifacts}


def _hosts(
    ctx: PlanContext, targets: tuple[str, ...], version: str, keeper: bool
) -> tuple[list[str], list[str], list[str]]:
    """Hosts to upgrade, why others are not, and those others."""
    hosts: list[str] = []
    warnings: list[str] = []
    left: list[str] = []
    for host in targets or tuple(ctx.expected.hosts):
        where = ctx.expected.hosts[host]
        seen = ctx.actual.hosts.get(host)
        mode = ctx.expected.modes.get(host, "")
        if where.connection not in AGENTS:
            if targets:
                raise Bad(f"{host} has no agent (connection: {where.connection})")
        elif seen is None or not heard(ctx.actual, host):
            left.append(host)
            warnings.append(f"{host} gives no answer: its agent stays as it is")
        elif mode:
            left.append(host)
            warnings.append(f"{host} is in {mode}: its agent stays as it is")
        elif seen.agent_version != version or keeper and getattr(seen, "keeper_version", "") != version:
            hosts.append(host)
    return hosts, warnings, left


def _steps(
    ctx: PlanContext, hosts: list[str], size: int, name: str, version: str, keeper: bool
) -> tuple[tuple[Step, ...], dict[str, tuple[str, ...]]]:
    steps: list[Step] = []
    gates: dict[str, tuple[str, ...]] = {}
    release = f"{name}/{version}"
    fetched: dict[str, tuple[str, ...]] = {}

    def add(kind: str, host: str, text: str, needs: tuple[str, ...], batch: int, **args: Any) -> str:
        id = f"s{len(steps) + 1}"
        args = {"name": name, "version": version, **args}
        steps.append(Step(id=id, kind=kind, host=host, text=text, needs=needs, args=args, batch=batch))
        return id

    for host in hosts:
        if release not in ctx.actual.hosts[host].releases:
            more = weights(ctx.actual, host, release)
            fetched[host] = (add(FETCH, host, f"push {name}-{version} to {host}", (), 0, **more),)
    before: tuple[str, ...] = ()
    facts = {"sha256": ctx.actual.artifacts.get(release, ""), "timeout": TIMEOUT}
    for number, start in enumerate(range(0, len(hosts), size)):
        last = []
        for host in hosts[start : start + size]:
            id = ""
            seen = ctx.actual.hosts[host]
            needs = (*fetched.get(host, ()), *before)
            if seen.agent_version != version:
                text = f"replace the agent of {host} ({seen.agent_version or 'unknown'}) by {version}"
                id = add(UPGRADE, host, text, needs, number, part="agent", **facts)
            if keeper:
                text = f"let the keeper of {host} become {version}"
                id = add(UPGRADE, host, text, (id,) if id else needs, number, part="keeper", **facts)
            last.append(id)
        before = tuple(last)
        if len(last) > DIRECT and start + size < len(hosts):
            gate = f"g{len(gates) + 1}"
            gates[gate] = before
            before = (gate,)
    return tuple(steps), gates
