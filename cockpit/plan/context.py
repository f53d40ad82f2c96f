"""What every verb's plan is made from, and how a draft becomes a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from cockpit.act.table import CHANGE, DESTRUCTIVE
from cockpit.model.actual import Actual
from cockpit.model.judge import Digests, active, heard
from cockpit.model.names import resolve, short_names
from cockpit.model.patch import diff
from cockpit.model.states import UNKNOWN
from cockpit.model.topology import Doc, Expected, service_path, slot_of, to_doc
from cockpit.model.view import RevisionRow
from cockpit.plan.blast import estimate, lowest_ready, touches
from cockpit.plan.data import check_versions, data_ids
from cockpit.plan.rollout import rollout
from cockpit.plan.signing import Signatures, require_signed
from cockpit.plan.steps import Intent, Plan, Step

PIECE = 1000
"""Items that are encoded in one go."""
GOES_ON = "on_failure is continue: what does not get well is left so and the rest is still replaced; fewer may serve"
"""Said by plans that may end with less than the rules of their services promise."""


class PlanContext(msgspec.Struct, frozen=True, kw_only=True):
    """The world at one moment, as planning sees it. Nothing in it is changed."""

    doc: Doc
    """The head's document, canonical; `expected` is its typed view."""
    expected: Expected
    revision: int
    actual: Actual
    now: float
    artifacts: Mapping[str, Any] = {}
    """`name/version` of every artifact the store holds -> what it knows of it."""
    signed: Signatures | None = {}
    """Genuine signatures of these artifacts. None: a simulated copy without a store, where none are asked for."""
    durations: Mapping[str, float] | None = None
    """Service -> recorded seconds of one instance's turn (its first step to its last)."""
    gen_floor: Mapping[str, int] = {}
    """Instance -> highest gen ever used, also by units that are gone."""
    revisions: tuple[RevisionRow, ...] = ()
    """Recent ones, for rollback."""
    last_import: Doc | None = None
    """Topology part of the last imported file, for three-way apply."""

    @property
    def presence(self) -> dict[str, str]:
        """Host -> presence, of every declared host."""
        seen = self.actual.hosts
        return {name: seen[name].presence if name in seen else UNKNOWN for name in self.expected.hosts}


class Draft(msgspec.Struct, kw_only=True):
    """What a verb decides; `finish` does the rest."""

    title: str
    after: Expected
    instances: Collection[str] = ()
    """Instances that are brought to what is expected."""
    forced: Collection[str] = ()
    steps: tuple[Step, ...] | None = None
    """Steps of verbs that make their own (push, upgrade); None: by rollout."""
    gates: Mapping[str, tuple[str, ...]] = {}
    """Of those steps."""
    canary: bool = False
    pinned_too: bool = False
    risk: str = CHANGE
    confirm: str = ""
    undo: str = ""
    on_failure: str = "pause"
    """`service`: as the services that are replaced say, `pause` when they differ."""
    warnings: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()


def finish(ctx: PlanContext, intent: Intent, draft: Draft) -> Plan:
    """The whole plan of a draft: patch, steps, digest, blast radius. Raises Bad for data that is not there."""
    changes = diff(ctx.doc, to_doc(draft.after)) if draft.after is not ctx.expected else ()
    check_versions(ctx.expected, draft.after, ctx.artifacts, ctx.actual.kinds)
    warnings = list(draft.warnings)
    replaced: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    gates: dict[str, tuple[str, ...]] = {}
    if draft.steps is None:
        made = rollout(
            draft.after, ctx.actual, draft.instances, forced=draft.forced, canary=draft.canary,
            gen_floor=ctx.gen_floor, pinned_too=draft.pinned_too,
        )  # fmt: skip
        steps, gates, replaced, skipped = made.steps, made.gates, made.replaced, made.skipped
        warnings += made.warnings
    else:
        steps, gates = draft.steps, dict(draft.gates)
    signed_touches: tuple[str, ...] = ()
    if ctx.signed is not None:
        signed_touches, unsigned = require_signed(ctx.expected, draft.after, steps, ctx.signed)
        warnings += unsigned
    services = draft.after.services
    moved = {service_path(s.instance) for s in steps if s.instance}
    locks = {s.instance for s in steps if s.instance} | set(draft.locks)
    locks |= {c.path[1] for c in changes if len(c.path) > 1 and c.path[0] not in ("regions", "signers")}
    on_failure = _on_failure(draft, replaced, moved, bool(changes))
    if replaced and on_failure == "continue":
        warnings.append(GOES_ON)
    low = lowest_ready(ctx.actual, steps, gates)
    plan = Plan(
        intent=intent,
        base=ctx.revision,
        changes=changes,
        steps=steps,
        gates=gates,
        title=draft.title,
        risk=draft.risk,
        confirm=draft.confirm if draft.risk == DESTRUCTIVE else "",
        on_failure=on_failure,
        deadline=max((services[p].update.deadline for p in moved if p in services), default=60.0),
        touches=(*touches(draft.after, low), *signed_touches),
        ready=low,
        warnings=tuple(dict.fromkeys(warnings)),
        skipped=skipped,
        undo=_undo(draft, bool(changes)),
        estimate=estimate(steps, ctx.durations),
        locks=tuple(sorted(locks)),
    )
    return replace(plan, digest=plan_digest(ctx, plan, draft.instances))


def _undo(draft: Draft, patched: bool) -> str:
    """Never empty. What writes no revision has no inverse, whatever its verb says of one that does."""
    if patched:
        return draft.undo or "u undoes it"
    own = "" if draft.undo.startswith("u ") else draft.undo
    return own or "nothing to undo: what is expected stays as it is"


def _on_failure(draft: Draft, replaced: Collection[str], moved: Iterable[str], patched: bool) -> str:
    """Without a patch there is nothing to return to; where nothing is replaced nothing is at stake."""
    if draft.on_failure != "service":
        return draft.on_failure
    services = draft.after.services
    if not patched and not replaced:
        return "continue"
    judges = {service_path(i) for i in replaced} or set(moved)
    words = {services[p].update.on_failure for p in judges if p in services}
    word = words.pop() if len(words) == 1 else "pause"
    return "pause" if word == "return" and not patched else word


def plan_digest(ctx: PlanContext, plan: Plan, instances: Collection[str]) -> str:
    """Hash over the intent (not its author), what the plan saw of its targets, its patch and steps.

    Pids, times, health and the revision number are not in it: what does not change the plan does
    not change the digest.
    """
    seen = sorted({*instances, *(s.instance for s in plan.steps if s.instance)})
    digests = Digests(ctx.expected)
    units: list[Any] = []
    hosts = {s.host for s in plan.steps}
    for instance in seen:
        expected_host = ctx.expected.placement.get(instance)
        service = ctx.expected.services.get(service_path(instance))
        if expected_host:
            hosts.add(expected_host)
        units.append([
            instance, expected_host, digests.of(instance), service.version if service else "",
            ctx.expected.stopped.get(instance, False),
            [
                [
                    u.unit, u.version, u.config, u.data, active(u), bool(u.pinned),
                    ctx.actual.where.get(u.unit, ""),
                ]
                for u in ctx.actual.units.get(instance, ())
            ],
        ])  # fmt: skip
    parts = [
        plan.intent.verb, plan.intent.targets, plan.intent.params, units,
        [[h, heard(ctx.actual, h), ctx.expected.modes.get(h, "")] for h in sorted(hosts)],
        plan.changes, plan.steps, plan.gates,
    ]  # fmt: skip
    return _hash(parts)


def _hash(parts: Sequence[Any]) -> str:
    """SHA-256 over the canonical encoding of a list, piece by piece: the encoder lets nobody else run meanwhile."""
    found = hashlib.sha256(b"[")
    for n, part in enumerate(parts):
        found.update(b"," if n else b"")
        if not isinstance(part, list | tuple):
            found.update(msgspec.json.encode(part, order="sorted"))
            continue
        found.update(b"[")
        for at in range(0, len(part), PIECE):
            found.update(b"," if at else b"")
            found.update(memoryview(msgspec.json.encode(part[at : at + PIECE], order="sorted"))[1:-1])
        found.update(b"]")
    found.update(b"]")
    return found.hexdigest()


def affected(before: Expected, after: Expected) -> tuple[str, ...]:
    """Instances whose desired run differs: host, version, data, configuration, stopped, added, gone."""
    old, new = Digests(before), Digests(after)

    def want(expected: Expected, digests: Digests, instance: str) -> Any:
        service = expected.services.get(service_path(instance))
        if instance not in expected.placement or service is None:
            return None
        stopped = expected.stopped.get(instance, False)
        data = data_ids(service) if service.data else None
        return expected.placement[instance], service.version, data, digests.of(instance), stopped

    every = {*before.placement, *after.placement}
    return in_order(i for i in every if want(before, old, i) != want(after, new, i))


def in_order(instances: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(instances), key=lambda i: (service_path(i), slot_of(i))))


def nodes_of(expected: Expected) -> set[str]:
    """Every path of the service tree: services, groups and what lies above them."""
    result: set[str] = set()
    for path in (*expected.services, *expected.groups):
        parts = path.split(".")
        result.update(".".join(parts[:n]) for n in range(1, len(parts) + 1))
    return result


def short(ctx: PlanContext, name: str) -> str:
    """The short name of a service, node or instance."""
    names = nodes_of(ctx.expected) | {service_path(i) for i in ctx.actual.units}
    base, slash, slot = name.partition("/")
    return short_names(names | {base})[base] + slash + slot


def shorts(ctx: PlanContext, names: Iterable[str]) -> str:
    """`web/0`, `web/0,web/1`, or how many they are."""
    every = list(names)
    return ",".join(short(ctx, n) for n in every) if len(every) <= 3 else str(len(every))


def resolve_targets(
    ctx: PlanContext, targets: Iterable[str], *, seen_too: bool = False, hosts: bool = False
) -> tuple[str, ...]:
    """Full names of tree nodes and instances; of hosts too when the verb takes them. Raises Bad.

    `seen_too`: instances that are not expected but run count as well.
    """
    known = nodes_of(ctx.expected) | set(ctx.expected.placement)
    if seen_too:
        known |= set(ctx.actual.units) | {service_path(i) for i in ctx.actual.units}
    names = set(ctx.expected.hosts) if hosts else set()
    result = [t if t in names else resolve(t, known | names, "target") for t in targets]
    return tuple(dict.fromkeys(result))


def expand(ctx: PlanContext, targets: Iterable[str], *, seen_too: bool = False) -> tuple[str, ...]:
    """The instances of resolved targets, in order."""
    every = set(ctx.expected.placement)
    if seen_too:
        every |= {i for i, units in ctx.actual.units.items() if units}
    chosen: set[str] = set()
    for target in targets:
        if "/" in target:
            chosen |= {target} & every
        else:
            chosen |= {i for i in every if i.startswith((target + "/", target + "."))}
    return in_order(chosen)
