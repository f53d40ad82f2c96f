"""What the guards say of a plan, requests for a second person, and the ops around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cockpit.model.asking import Caller


ALLOW, CONFIRM, APPROVE, DENY = "allow", "confirm", "approve", "deny"
RANK = {ALLOW: 0, CONFIRM: 1, APPROVE: 2, DENY: 3}
"""By strictness; a word that is not here counts as deny."""
WAITING, APPROVED, REFUSED, EXPIRED, VOID = "waiting", "approved", "refused", "expired", "void"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the guards in force say of one plan."""

    effect: str = ALLOW
    rule: str = ""
    """Name of the guard that decided; empty: none holds."""
    place: str = ""
    """`guard 2 of 5`."""
    reason: str = ""
    why: tuple[str, ...] = ()
    """What of the action made it hold, in words."""
    break_glass: bool = False
    """A reason, given with the request, would pass it."""
    broken: str = ""
    """The reason with which it was passed."""
    expires: float = 14400.0
    """Seconds that a request for approval waits."""

    @property
    def named(self) -> str:
        """`guard "night" (guard 1 of 3)`."""
        return f'guard "{self.rule}" ({self.place})' if self.rule else ""

    def words(self) -> str:
        """The verdict in one sentence; empty when no guard holds."""
        if not self.rule:
            return ""
        said = {
            ALLOW: f"allowed by {self.named}", CONFIRM: f"{self.named} asks for the typed name",
            APPROVE: f"{self.named} asks for a second person",
        }.get(self.effect, f"denied by {self.named}")
        if self.broken:
            said = f"the glass of {self.named} is broken ({self.broken})"
        why = f" [{'; '.join(self.why)}]" if self.why else ""
        open = self.break_glass and not self.broken
        more = ". It can be passed with a reason (--break-glass REASON)" if open else ""
        return f"{said}: {self.reason}{why}{more}"


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """An action that waits (or waited) for a second person."""

    id: str
    """`a3`."""
    verb: str
    title: str
    author: str
    uid: int
    """Who asked, by the kernel's word."""
    digest: str
    """Of the plan that was asked for; another one needs another request."""
    asked: float
    expires: float
    targets: tuple[str, ...] = ()
    state: str = WAITING
    """waiting, approved, refused (or withdrawn by its author), expired, void (the plan would differ)."""
    rule: str = ""
    reason: str = ""
    """Of the rule."""
    by: str = ""
    by_uid: int | None = None
    decided: float | None = None
    note: str = ""
    action: str = ""
    """The action it became."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request with all that it needs to be carried out. `intent` and `plan` are of `cockpit.plan.steps`."""

    row: RequestRow
    intent: Any
    plan: Any = None
    """What it would do now; None when there is no plan any more."""
    same: bool = False
    """The plan is still the one that was asked for."""
    trouble: str = ""
    """Why there is no plan."""


async def approvals(session: Caller) -> tuple[RequestRow, ...]:
    """Every request that is kept, the latest first. Raises as `Session.call` does."""
    return msgspec.convert(await session.call("approvals"), tuple[RequestRow, ...])


async def approval(session: Caller, id: str) -> Request:
    """One request, with its plan as it would be now. Raises Bad for an unknown id."""
    from cockpit.plan.steps import Intent, Plan

    raw = await session.call("approval", {"id": id})
    found = msgspec.convert(raw, Request, from_attributes=True)
    plan = msgspec.convert(found.plan, Plan, from_attributes=True) if found.plan is not None else None
    intent = msgspec.convert(found.intent, Intent, from_attributes=True)
    return msgspec.structs.replace(found, intent=intent, plan=plan)


async def approve(session: Caller, id: str, digest: str) -> RequestRow:
    """Agree to the plan with this digest, which starts it. Raises Bad, Refused."""
    return msgspec.convert(await session.call("approve", {"id": id, "digest": digest}), RequestRow)


async def direct(session: Caller, verb: str, request: dict[str, Any]) -> Any:
    """The plan of what runs at once, with the verdict. Raises Bad, Refused, ConnectionError."""
    from cockpit.plan.steps import Plan

    found = await session.call("direct", {**request, "verb": verb})
    return msgspec.convert(found, Plan, from_attributes=True)


async def refuse(session: Caller, id: str, reason: str = "") -> RequestRow:
    """Refuse a request, or withdraw one's own. Raises Bad, Refused."""
    return msgspec.convert(await session.call("refuse", {"id": id, "reason": reason}), RequestRow)
