"""Guard rails in force: every intent passes here when it is planned, and again when it is submitted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from cockpit.act.guard import short
from cockpit.guard.decide import CONTROL, Subject, decide
from cockpit.model.guard_rows import ALLOW, APPROVE, CONFIRM, RequestRow, Verdict
from cockpit.model.view import Who
from cockpit.plan.context import PlanContext
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from cockpit.plan.undo import before_change, standing

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.controller.ledger import ActionRecord

GLASS, TEXT = "break_glass", "text"
"""Parameters that an intent may have beside its verb's own: a reason, and of `apply` the file as it was written."""
LONGEST_REASON = 500
LONGEST_TEXT = 4 * 1024 * 1024


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What came with an intent and is no part of its plan."""

    uid: int | None = None
    glass: str = ""
    text: str = ""
    request: RequestRow | None = None
    """It was approved."""


def opened(intent: Intent, who: Who) -> tuple[Intent, Beside]:
    """The intent without what is beside it. Raises Bad."""
    params = dict(intent.params)
    glass, text = params.pop(GLASS, ""), params.pop(TEXT, "")
    if not isinstance(glass, str) or len(glass) > LONGEST_REASON:
        raise Bad(f"the reason to break the glass is a text of at most {LONGEST_REASON} characters")
    if GLASS in intent.params and not glass.strip():
        raise Bad("breaking the glass needs a reason; it is written into the journal")
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or (text and intent.verb != "apply"):
        raise Bad(f"{TEXT} is the text of a topology file, of at most 4 MiB, and goes with apply")
    beside = Beside(uid=who.uid, glass=" ".join(glass.split()), text=text)
    return (replace(intent, params=params) if len(params) != len(intent.params) else intent), beside


def judged(plan: Plan, who: Who, ctx: PlanContext, *, glass: str = "", of: Plan | None = None) -> Plan:
    """The plan with the verdict of the guards. `of`: the plan of the action that a controlling verb is for."""
    intent = plan.intent
    if not ctx.expected.guards or (plan.empty and intent.verb not in CONTROL):
        return plan
    subject = Subject(author=intent.author or who.author, groups=who.groups)
    verb = intent.verb if intent.verb in CONTROL else ""
    ready = plan.ready if of is None else None
    verdict = decide(of or plan, subject, ctx.expected, ctx.actual, ctx.now, verb=verb, glass=glass, ready=ready)
    if not verdict.rule:
        return plan
    confirm = plan.confirm
    if verdict.effect == CONFIRM and not confirm:
        confirm = short(intent.targets[0]) if len(intent.targets) == 1 else intent.verb
    return replace(plan, guard=verdict, confirm=confirm)


def enforce(plan: Plan) -> Verdict:
    """Raises Refused when the guards deny it."""
    verdict = plan.guard or Verdict()
    if verdict.effect in (ALLOW, CONFIRM, APPROVE):
        return verdict
    raise Refused(f"{plan.title or plan.intent.verb} is {verdict.words()}")


def undo_words(ctx: PlanContext, record: ActionRecord) -> str:
    """How an action can be undone now, or why it cannot."""
    row, plan = record.row, record.plan
    if not plan.changes:
        return plan.undo or "nothing to undo: it changed nothing that is expected"
    revision = next((r for r in ctx.revisions if r.action == row.id), None)
    if revision is None:
        return f"its revision is not kept any more, so {row.id} cannot be undone"
    if not revision.undo and revision not in standing(ctx.revisions):
        return f"{row.id} has been undone already"
    try:
        before_change(ctx, revision)
    except (Bad, Refused) as e:
        return str(e)
    if revision.undo:
        return f"u (rollback {row.id}) does again what it took back"
    return f"u (rollback {row.id}) returns to what was before revision {revision.number}"


def operations(c: Controller) -> dict[str, Any]:
    async def source(who: Who, args: dict[str, Any]) -> Any:
        """The head as a file, with the comments and the order of the last imported or edited one."""
        from cockpit.model.export import export_new, export_onto
        from cockpit.model.problems import BadTopology

        expected, revision = c.world.expected, c.world.revision
        kept = str(c.ledger.meta.get("text", ""))

        def work() -> str:
            try:
                return export_onto(kept, expected) if kept else export_new(expected)
            except BadTopology:  # written by another version of the program
                return export_new(expected)

        return {"text": await asyncio.to_thread(work), "revision": revision, "by": _by(c, revision)}

    return {"source": source}


def _by(c: Controller, revision: int) -> str:
    row = next((r for r in reversed(c.ledger.revisions) if r.number == revision), None)
    return f"{row.author}, {row.action}" if row else ""

