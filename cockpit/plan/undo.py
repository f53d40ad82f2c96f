"""Undoing: rollback on request, and the automatic return of a failed action."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from cockpit.model.names import near
from cockpit.model.patch import Conflict, dotted, inverse, overlaps
from cockpit.model.patch import apply as patched
from cockpit.model.topology import Expected, from_doc, service_path, to_doc
from cockpit.model.view import Change, RevisionRow
from cockpit.plan.context import (
    Draft,
    PlanContext,
    affected,
    expand,
    finish,
    resolve_targets,
    short,
)
from cockpit.plan.steps import Bad, Intent, Plan, Refused


def rollback(intent: Intent, ctx: PlanContext) -> Plan:
    """The inverse of one revision, then what it takes to get there.

    Refused when what it changed has been changed since, naming who. Without an action id: the last
    revision that touched the target and has not been undone.
    """
    wish = str(intent.params.get("action") or "")
    named = [t for t in intent.targets if t.startswith("#")]  # an action's id in the place of a target
    wish = wish or (named[0] if named else "")
    targets = resolve_targets(ctx, [t for t in intent.targets if t not in named], hosts=True)
    row = _named(wish, ctx.revisions) if wish else _last(ctx, targets)
    after = before_change(ctx, row)
    what = f" ({', '.join(short(ctx, t) for t in targets)})" if targets else ""
    draft = Draft(
        title=f"rollback {row.action or f'revision {row.number}'}{what}", after=after,
        instances=affected(ctx.expected, after),
        undo="u does it again" if row.action else "",
    )  # fmt: skip
    params = {"action": row.action} if row.action else {}
    return finish(ctx, replace(intent, targets=targets, params=params), draft)


def return_plan(
    ctx: PlanContext,
    intent: Intent,
    changes: Iterable[Change],
    touched: Iterable[str],
    *,
    stable: Mapping[str, str] | None = None,
) -> Plan:
    """The automatic return of a failed action: its inverse, for the instances it touched, at once.

    A service whose version the action changed returns to its `stable` version when one is given (the
    version before may never have been healthy). A return that fails pauses. Raises Refused when the
    paths have changed since.
    """
    changes = tuple(changes)
    after = _undone(ctx, changes, "the action")
    for change in changes:
        if len(change.path) == 3 and change.path[0] == "services" and change.path[2] == "version":
            path, version = change.path[1], (stable or {}).get(change.path[1])
            if version and path in after.services:
                service = replace(after.services[path], version=version)
                after = replace(after, services={**after.services, path: service})
    known = {*touched} | {i for i in affected(ctx.expected, after) if i not in ctx.expected.placement
                          or i not in after.placement}  # fmt: skip
    draft = Draft(title=f"return {intent.cause}".strip(), after=after, instances=known, pinned_too=False)
    return finish(ctx, intent, draft)


def before_change(ctx: PlanContext, row: RevisionRow) -> Expected:
    """Expected without this revision's changes. Raises Refused, naming who changed its paths since."""
    return _undone(ctx, row.changes, row.action or f"revision {row.number}", row)


def _undone(
    ctx: PlanContext, changes: tuple[Change, ...], name: str, row: RevisionRow | None = None
) -> Expected:
    if not changes:
        raise Bad(f"{name} changed nothing that is expected: there is nothing to undo")
    try:
        doc = patched(ctx.doc, inverse(changes))
        after = from_doc(doc)
        # an object that became empty is left out of the canonical document
        before = from_doc(to_doc(after))
    except Conflict as conflict:
        path = conflict.paths[0]
        who = _who(ctx.revisions, path, row)
        raise Refused(f"{name} cannot be undone: {dotted(path)} has been changed since{who}") from None
    except msgspec.ValidationError:
        raise Refused(f"{name} cannot be undone: nothing was expected before it") from None
    if not before.name:  # the first import: its inverse would end everything there is
        raise Refused(f"{name} cannot be undone: nothing was expected before it")
    return before


def _who(revisions: Iterable[RevisionRow], path: tuple[str, ...], row: RevisionRow | None) -> str:
    later = [
        r for r in revisions
        if (row is None or r.number > row.number) and any(overlaps(c.path, path) for c in r.changes)
    ]  # fmt: skip
    if not later:
        return ""
    last = max(later, key=lambda r: r.number)
    where = f"revision {last.number}" + (f", {last.action}" if last.action else "")
    return f" by {last.author or 'somebody'} ({where})"


def _named(wish: str, revisions: Iterable[RevisionRow]) -> RevisionRow:
    rows = {r.action: r for r in revisions if r.action}
    found = rows.get(wish) or rows.get(f"#{wish}")
    if found is None:
        raise Bad(f"no action {wish!r} that changed what is expected" + near(wish, rows))
    return found


def standing(revisions: Iterable[RevisionRow]) -> list[RevisionRow]:
    """Revisions that still hold, oldest first: an undoing one and what it undid cancel each other."""
    stack: list[RevisionRow] = []
    for row in sorted(revisions, key=lambda r: r.number):
        back = set_of(inverse(row.changes))
        partner = next((r for r in reversed(stack) if set_of(r.changes) == back), None)
        if partner is not None and row.undo:
            stack.remove(partner)
        else:
            stack.append(row)
    return stack


def set_of(changes: Iterable[Change]) -> frozenset[bytes]:
    return frozenset(msgspec.json.encode(c, order="sorted") for c in changes)


def _last(ctx: PlanContext, targets: tuple[str, ...]) -> RevisionRow:
    rows = [r for r in standing(ctx.revisions) if r.changes]
    if targets:
        instances = set(expand(ctx, targets))
        services = {service_path(i) for i in instances} | set(targets)
        rows = [r for r in rows if any(_touches(c, instances, services, targets) for c in r.changes)]
    if not rows:
        name = ", ".join(short(ctx, t) for t in targets) or "what is expected"
        raise Bad(f"nothing to undo: no recent action changed {name}")
    return rows[-1]


def _touches(change: Change, instances: set[str], services: set[str], targets: Iterable[str]) -> bool:
    section, name = change.path[0], change.path[1] if len(change.path) > 1 else ""
    if section in ("placement", "stopped"):
        inside = any(name.startswith((t + "/", t + ".")) for t in targets)
        return name in instances or inside
    return name in services or any(name.startswith(t + ".") for t in targets)
