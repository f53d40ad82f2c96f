"""What guards say of a plan, on its screen: a line, a way through the glass, a request for a second person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cockpit.model.guard_rows import ALLOW, APPROVE, CONFIRM
from cockpit.model.view import ActionRow
from cockpit.plan.steps import Plan
from screens.format import wrap
from screens.item import Item, text
from screens.look import Look

if TYPE_CHECKING:
    from screens.plan import PlanScreen

GLASS = "break_glass"
STYLES = {ALLOW: ("ok", "muted"), CONFIRM: ("drift", "drift"), APPROVE: ("paused", "paused")}
"""Effect -> glyph and style; denied looks like failed."""


def guard_items(plan: Plan | None, look: Look, room: int) -> list[Item]:
    """The verdict as lines; none when no guard holds."""
    verdict = plan.guard if plan is not None else None
    if verdict is None or not verdict.rule:
        return []
    mark, style = STYLES.get(verdict.effect, ("failed", "failed"))
    if verdict.broken:
        mark, style = "drift", "drift"
    words = look.text(f"{look.glyph(mark)} {verdict.words()}")
    parts = wrap(words, room, 5, look.sign("more"))
    return [text(("   " if n == 0 else "     ") + part, style) for n, part in enumerate(parts)]


def direct_items(plan: Plan, look: Look, room: int) -> list[Item]:
    """What will be run at once, and on what."""
    out = guard_items(plan, look, room)
    for each in (*plan.touches, *((f"Undo: {plan.undo}",) if plan.undo else ())):
        parts = wrap(look.text(each), room, 12, look.sign("more"))
        out += [text(("   " if n == 0 else "     ") + part) for n, part in enumerate(parts)]
    return out


async def barred(screen: PlanScreen) -> bool:
    """Says so when the guards deny the plan; where the glass may be broken it asks for the reason."""
    plan = screen.plan
    verdict = plan.guard if plan is not None else None
    if plan is None or verdict is None or verdict.effect in (ALLOW, CONFIRM, APPROVE):
        return False
    plain = replace(verdict, break_glass=False).words()
    screen.say(f"{plan.title or screen.intent.verb} is {plain}", "failed")
    if not verdict.break_glass:
        return True
    from screens.ask import AskScreen, Question

    async def broken(reason: str) -> None:
        screen.intent = replace(screen.intent, params={**screen.intent.params, GLASS: reason})
        screen.ask_again()

    await screen.app.push_screen(AskScreen(Question(
        title=f"break the glass: {plan.title}", label="reason:",
        about=(plain, "The reason goes into the journal with your name, for everybody to see."),
        check=lambda value: "" if value.strip() else "A reason, or Esc.",
    ), broken))
    return True


def asked(screen: PlanScreen, row: ActionRow) -> bool:
    """What was sent waits for a second person: show where."""
    if row.state != "asked":
        return False
    from screens.approvals import ApprovalsScreen

    waits = ApprovalsScreen(row.id)
    screen.app.switch_screen(waits)
    screen.app.call_after_refresh(waits.say, f"{row.id} {row.title}: {row.note}", "paused")
    return True
