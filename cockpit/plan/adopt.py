"""`adopt`: what is actual becomes what is expected. A patch, no steps."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from cockpit.model.actual import Unit, serving_unit
from cockpit.model.judge import active, heard, settled
from cockpit.model.states import LIVE
from cockpit.model.topology import Expected, service_path, slot_of
from cockpit.plan.context import (
    Draft,
    PlanContext,
    expand,
    finish,
    in_order,
    resolve_targets,
    short,
    shorts,
)
from cockpit.plan.data import adopted
from cockpit.plan.placement import put_on
from cockpit.plan.steps import Bad, Intent, Plan


def adopt(intent: Intent, ctx: PlanContext) -> Plan:
    """Versions, hosts, stopped and extra instances are taken over; what cannot be is named in a warning.

    Raises Bad when instances of one service run different versions, or have different versions of its data.
    """
    targets = resolve_targets(ctx, intent.targets, seen_too=True)
    if targets:
        instances = expand(ctx, targets, seen_too=True)
    else:
        instances = in_order({*ctx.expected.placement, *ctx.actual.units})
    warnings: list[str] = []
    shown = {i: _shown(ctx, i) for i in instances}
    after = _grown(ctx, ctx.expected, shown, warnings)
    after = _placed(ctx, after, shown, warnings)
    after = _versions(ctx, after, shown)
    draft = Draft(
        title=f"adopt {shorts(ctx, targets) if targets else 'everything'}", after=after, steps=(),
        warnings=tuple(warnings), undo="u expects again what was expected before",
    )  # fmt: skip
    return finish(ctx, replace(intent, targets=targets), draft)


def _shown(ctx: PlanContext, instance: str) -> Unit | None:
    """The unit that speaks for the instance, among those on hosts that are heard."""
    where = ctx.actual.where
    return serving_unit(
        tuple(u for u in ctx.actual.units.get(instance, ()) if heard(ctx.actual, where.get(u.unit)))
    )


def _grown(
    ctx: PlanContext, expected: Expected, shown: dict[str, Unit | None], warnings: list[str]
) -> Expected:
    """Extra instances that continue their service's slots become expected."""
    for instance, unit in shown.items():
        if instance in expected.placement or unit is None or unit.state not in LIVE:
            continue
        path, host = service_path(instance), ctx.actual.where[unit.unit]
        service = expected.services.get(path)
        if service is None:
            warnings.append(f"{short(ctx, instance)} is left out: {path} is not in the topology")
        elif host not in expected.hosts:
            warnings.append(f"{short(ctx, instance)} is left out: {host} is not in the topology")
        elif slot_of(instance) != service.instances.size:
            warnings.append(f"{short(ctx, instance)} is left out: slot {service.instances.size} comes next")
        else:
            wants = service.instances
            more = (
                replace(wants, hosts=(*wants.hosts, host)) if wants.hosts is not None
                else replace(wants, count=wants.size + 1)
            )  # fmt: skip
            expected = replace(
                expected,
                services={**expected.services, path: replace(service, instances=more)},
                placement={**expected.placement, instance: host},
            )
    return expected


def _placed(
    ctx: PlanContext, expected: Expected, shown: dict[str, Unit | None], warnings: list[str]
) -> Expected:
    """Hosts and stopped as they are."""
    stopped = dict(expected.stopped)
    for instance, unit in shown.items():
        if instance not in expected.placement:
            continue
        host = expected.placement[instance]
        if unit is None:
            if heard(ctx.actual, host):
                stopped[instance] = True
            else:
                warnings.append(f"{short(ctx, instance)} is left as it is: {host} gives no answer")
            continue
        at = ctx.actual.where[unit.unit]
        if at != host:
            if at in expected.hosts:
                expected = put_on(expected, instance, at)
            else:
                warnings.append(f"{short(ctx, instance)} runs on {at}, which is not in the topology")
        if active(unit):
            stopped.pop(instance, None)
        elif not settled(unit, expected.services[service_path(instance)]):
            stopped[instance] = True
    return replace(expected, stopped=stopped)


def _versions(ctx: PlanContext, expected: Expected, shown: dict[str, Unit | None]) -> Expected:
    services = dict(expected.services)
    for path in {service_path(i) for i in shown} & set(services):
        found: Counter[str] = Counter()
        seen: list[Unit] = []
        for instance in expected.placement:
            if service_path(instance) == path:
                unit = shown.get(instance) or _shown(ctx, instance)
                if unit is not None and (active(unit) or instance in shown):
                    found[unit.version] += 1
                    seen.append(unit)
        if len(found) > 1:
            mix = ", ".join(f"{v or 'none'} ({n})" for v, n in sorted(found.items()))
            raise Bad(f"{short(ctx, path)} runs several versions, so none can be adopted: {mix}")
        for version in found:
            services[path] = replace(services[path], version=version)
        services[path] = adopted(services[path], short(ctx, path), seen)
    return replace(expected, services=services)
