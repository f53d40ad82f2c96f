"""`apply`: a topology file becomes the next revision, three-way against the last imported one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from cockpit.model.patch import Clash, dotted, three_way
from cockpit.model.patch import apply as patched
from cockpit.model.states import UP
from cockpit.model.topology import Doc, Expected, from_doc, service_path, slot_of, to_doc
from cockpit.plan.context import Draft, PlanContext, affected, finish, nodes_of
from cockpit.plan.placement import misplaced, place
from cockpit.plan.steps import Bad, Intent, Plan, Refused

TOPOLOGY = ("name", "regions", "hosts", "relays", "signers", "schedules", "guards", "groups", "services")
"""What a file says. Placement, stopped instances and modes are the operators' and stay."""


def topology_part(doc: Doc) -> Doc:
    """The part of a revision's document that a file can hold."""
    return {key: doc[key] for key in TOPOLOGY if key in doc}


def apply(intent: Intent, ctx: PlanContext) -> Plan:
    document = intent.params["document"]
    source = str(intent.params.get("source") or "the file")
    if not isinstance(document, dict):
        raise Bad(f"{source} is not a topology document")
    theirs = topology_part(_canonical(document, source))
    head = topology_part(ctx.doc)
    base = head if ctx.last_import is None else ctx.last_import
    if "base" in intent.params:  # an edit of the head: against that, whatever was imported before
        base = _edited(intent.params["base"], ctx, head)
    take, clashes = three_way(base, head, theirs)
    if clashes:
        raise Bad(f"{source} conflicts with what was changed here since its last import: {_tell(clashes)}")
    try:
        merged = from_doc(patched(ctx.doc, take))
    except msgspec.ValidationError as error:
        raise Bad(f"{source} does not fit what was changed here meanwhile: {error}") from None
    _sound(merged, source)
    after, moved = settle(merged, ctx)
    instances = affected(ctx.expected, after)
    gone = [i for i in ctx.expected.placement if i not in after.placement]
    warnings = [f"{len(gone)} instance{'s' if len(gone) != 1 else ''} will be removed"] if gone else []
    warnings += [f"{i} moves to {after.placement[i]}: its place does not fit any more" for i in moved]
    replaces = any(i in ctx.expected.placement and i in after.placement for i in instances)
    draft = Draft(
        title=source if "base" in intent.params else f"apply {source}", after=after, instances=instances, canary=True,
        on_failure="service" if replaces else "continue",
        undo=f"u returns to revision {ctx.revision}" if ctx.revision else "a first import cannot be undone",
        warnings=tuple(warnings),
    )  # fmt: skip
    return finish(ctx, intent, draft)


def _edited(base: Any, ctx: PlanContext, head: Doc) -> Doc:
    """The document that was edited. Raises Refused when it is not the head any more, naming who changed it."""
    if base != ctx.revision:
        last = max(ctx.revisions, key=lambda r: r.number, default=None)
        who = f" by {last.author}" + (f" ({last.action})" if last.action else "") if last is not None else ""
        raise Refused(
            f"what is expected has moved from revision {base} to {ctx.revision}{who} meanwhile: edit it again"
        )
    return head


def _canonical(document: Mapping[str, Any], source: str) -> Doc:
    try:
        return to_doc(from_doc(topology_part(dict(document))))
    except msgspec.ValidationError as error:
        raise Bad(f"{source}: {error}") from None


def _tell(clashes: tuple[Clash, ...]) -> str:
    def word(value: Any) -> str:
        if value is None:
            return "absent"
        text = msgspec.json.encode(value).decode()
        return text if len(text) <= 40 else text[:37] + "..."

    lines = [
        f"{dotted(c.path)}: was {word(c.base)}, here {word(c.head)}, in the file {word(c.theirs)}"
        for c in clashes[:10]
    ]
    if len(clashes) > 10:
        lines.append(f"and {len(clashes) - 10} more")
    return "; ".join(lines)


def _sound(expected: Expected, source: str) -> None:
    """References that two sides can break together, each being right alone."""
    wrong = [
        f"host {n} is in region {h.region}, which is gone"
        for n, h in expected.hosts.items() if expected.regions and h.region not in expected.regions
    ]  # fmt: skip
    wrong += [
        f"{p} depends on {d}, which is gone"
        for p, s in expected.services.items() for d in s.depends if d not in expected.services
    ]  # fmt: skip
    both = nodes_of(replace(expected, services={})) & set(expected.services)
    wrong += [f"{p} is a service and a group" for p in sorted(both)]
    if wrong:
        raise Bad(f"{source} and what was changed here do not fit together: {'; '.join(wrong[:10])}")


def settle(expected: Expected, ctx: PlanContext) -> tuple[Expected, tuple[str, ...]]:
    """Placement, stopped and modes made to fit: slots come and go, what may not stay moves.

    Returns the result and the instances that had to move. Hosts that were never heard may take
    instances (their agents are still to come); hosts that were lost may not. Raises Bad.
    """
    def wanted(instance: str) -> bool:
        service = expected.services.get(service_path(instance))
        return service is not None and slot_of(instance) < service.instances.size

    keep = {i: h for i, h in expected.placement.items() if wanted(i)}
    expected = replace(
        expected,
        placement=keep,
        stopped={i: v for i, v in expected.stopped.items() if wanted(i)},
        modes={h: m for h, m in expected.modes.items() if h in expected.hosts},
    )
    moving = set(misplaced(expected))
    expected = replace(expected, placement={i: h for i, h in keep.items() if i not in moving})
    presence = {
        name: seen.presence if (seen := ctx.actual.hosts.get(name)) is not None and seen.uuid else UP
        for name in expected.hosts
    }
    slots = {path: range(service.instances.size) for path, service in expected.services.items()}
    found = place(expected, slots, presence=presence)
    return replace(expected, placement=found), tuple(sorted(moving))
