"""What happens after an action ends, decided in one place for the controller and the twin."""

from __future__ import annotations

from collections.abc import Mapping

from cockpit.act.messages import ABORTED, DONE, FAILED
from cockpit.plan.steps import Intent, Plan

RETURNED = "returned"


def policy(plan: Plan) -> str:
    """`return`, `pause` or `continue`. A return that fails pauses: it never returns again."""
    return "pause" if plan.intent.cause and plan.on_failure == "return" else plan.on_failure


def followup(plan: Plan, outcome: str, action: str, *, undo: bool = False) -> Intent | None:
    """The derived intent to submit when `action` ended so, or None.

    A failed action whose plan says `return`, and an abort with `undo`, is rolled back by its
    inverse, unless it wrote nothing that could be undone. `cockpit.plan.undo.return_plan` plans it,
    with the versions of `return_versions`.
    """
    if not (outcome == FAILED and policy(plan) == "return" or outcome == ABORTED and undo):
        return None
    if not plan.changes:
        return None
    return Intent(
        verb="rollback", targets=plan.intent.targets, params={"action": action},
        author=plan.intent.author, cause=action,
    )  # fmt: skip


def return_versions(plan: Plan, stable: Mapping[str, str]) -> dict[str, str]:
    """Service -> version to return to, where that is not simply the one before.

    `stable` is each service's last version that an action finished with; the version before may
    never have been healthy.
    """
    return {
        s: stable[s] for s, old, new in version_changes(plan) if stable.get(s) not in (None, "", old, new)
    }


def version_changes(plan: Plan) -> list[tuple[str, str, str]]:
    """(service, version before, version after) of every service whose version the plan writes."""
    found = []
    for c in plan.changes:
        if c.path[0] != "services":
            continue
        if len(c.path) == 3 and c.path[2] == "version":
            found.append((c.path[1], str(c.old or ""), str(c.new or "")))
        elif len(c.path) == 2:
            old, new = ((x if isinstance(x, dict) else {}).get("version", "") for x in (c.old, c.new))
            if old != new:
                found.append((c.path[1], old, new))
    return found


def made_stable(plan: Plan, outcome: str) -> dict[str, str]:
    """Service -> version that this action proved: everything it changed became healthy."""
    return {s: new for s, _, new in version_changes(plan) if new} if outcome == DONE else {}


def conclude(outcome: str, derived: str | None) -> str:
    """The state word of an action from its own outcome and that of its automatic return."""
    return RETURNED if outcome in (FAILED, ABORTED) and derived == DONE else outcome


def return_sentence(plan: Plan, stable: Mapping[str, str] | None = None) -> str:
    """`Returned to 1.1.0.`, or what else the return restored."""
    changed = {s: old for s, old, _ in version_changes(plan) if old}
    changed |= return_versions(plan, stable or {})
    versions = set(changed.values())
    if not versions:
        versions = {f"{name} {old}" for name, old in _data_before(plan)}
    return f"Returned to {versions.pop()}." if len(versions) == 1 else "Returned to what was before."


def _data_before(plan: Plan) -> list[tuple[str, str]]:
    """(data name, version before) of every data artifact whose version the plan writes."""
    return [
        (c.path[3], str(c.old)) for c in plan.changes
        if len(c.path) == 5 and c.path[0] == "services" and c.path[2] == "data" and c.path[4] == "version" and c.old
    ]
