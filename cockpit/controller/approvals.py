"""A second person: what waits for one, and what they decide. Durable, journalled, compared by uid and by plan."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from cockpit.act.guard import may
from cockpit.act.table import DIRECT, VERBS
from cockpit.controller.guarding import Beside, enforce
from cockpit.model.guard_rows import APPROVED, EXPIRED, REFUSED, VOID, WAITING, Request, RequestRow
from cockpit.model.patch import Conflict
from cockpit.model.view import PAUSED, ActionRow, Who
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from cockpit.ports import Write
from cockpit.session.server import user_groups

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

MOST_WAITING = 100
KEPT = 200
"""Requests that are remembered after they were decided."""
LOOK = 1.0
LONGEST_REASON = 500


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it stands in the state."""

    row: RequestRow
    intent: Intent
    text: str = ""
    glass: str = ""


class Approvals:
    """Requests of one controller."""

    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self.kept: dict[str, Kept] = {}
        self._next = 1
        self._deciding: set[str] = set()

    def load(self, tables: dict[str, dict[str, Any]]) -> None:
        for key, raw in tables.get("request", {}).items():
            self.kept[key] = msgspec.convert(raw, Kept)
        last = int(tables.get("meta", {}).get("last_request", 0))
        self._next = 1 + max([last, *(_number(k) for k in self.kept)])
        for key, kept in sorted(self.kept.items(), key=lambda item: _number(item[0])):
            self.c.board.set_request(key, kept.row)

    async def run(self) -> None:
        """What nobody decided in time expires."""
        while True:
            await self.sweep(time.time())
            await asyncio.sleep(LOOK)

    async def sweep(self, now: float) -> None:
        for id, kept in list(self.kept.items()):
            if kept.row.state == WAITING and kept.row.expires <= now and id not in self._deciding:
                await self._decide(id, EXPIRED, note="nobody approved it in time", kind="expire")
            elif unused(kept.row) and kept.row.expires <= now:
                note = f"{kept.row.by} approved it, and it was not run in time"
                await self._decide(id, EXPIRED, note=note, kind="expire")

    def rows(self) -> list[RequestRow]:
        """The latest first."""
        return [k.row for _, k in sorted(self.kept.items(), key=lambda item: -_number(item[0]))]

    async def ask(self, plan: Plan, who: Who, beside: Beside) -> ActionRow:
        """A request for this plan; the one that waits already when the same person asked for the same."""
        verdict = plan.guard
        assert verdict is not None
        if who.uid is None:
            raise Refused(f"{plan.title} needs a second person, and it is not known who you are (no uid)")
        waiting = [k.row for k in self.kept.values() if k.row.state == WAITING]
        same = next((r for r in waiting if r.uid == who.uid and r.digest == plan.digest), None)
        if same is None:
            if len(waiting) >= MOST_WAITING:
                raise Refused(f"{MOST_WAITING} requests wait for a second person already; see cockpit approvals")
            now = time.time()
            id, self._next = f"a{self._next}", self._next + 1
            same = RequestRow(
                id=id, verb=plan.intent.verb, title=plan.title, author=who.author, uid=who.uid, digest=plan.digest,
                asked=now, expires=now + verdict.expires, targets=plan.intent.targets, rule=verdict.rule,
                reason=verdict.reason,
            )
            note = {"kind": "request", "request": id, "author": who.author, "uid": who.uid, "verb": plan.intent.verb,
                    "targets": list(plan.intent.targets), "title": plan.title, "plan": plan.digest, "base": plan.base,
                    "rule": verdict.rule, "why": list(verdict.why)}
            await self._keep(Kept(row=same, intent=plan.intent, text=beside.text, glass=beside.glass), note)
        return ActionRow(
            id=same.id, verb=same.verb, state="asked", author=same.author, targets=same.targets, title=same.title,
            started=same.asked, mark=PAUSED, gives_up=same.expires,
            note=f"{verdict.words()}. Nothing was done yet: somebody with another uid says cockpit approve {same.id}"
            + (", then the same runs once" if same.verb in DIRECT else ""),
        )

    async def approve(self, who: Who, id: str, digest: str) -> RequestRow:
        """Carry it out, as it was asked for. Raises Bad, Refused."""
        kept = self._open(id, who)
        row = kept.row
        if who.uid is None or who.uid == row.uid:
            you = f"uid {who.uid} asked for it" if who.uid is not None else "it is not known who you are (no uid)"
            raise Refused(f"{row.id} {row.title} needs a second person: {you}, whatever the name")
        if digest != row.digest:
            raise Refused(f"look at {row.id} first: what you approve is the plan that was asked for, by its digest")
        self._deciding.add(row.id)
        try:
            return await self._carry_out(kept, who)
        finally:
            self._deciding.discard(row.id)

    async def _carry_out(self, kept: Kept, who: Who) -> RequestRow:
        row = kept.row
        author = Who(author=row.author, role="operator", uid=row.uid, groups=user_groups(row.uid))
        try:
            plan = await self._plan(kept, author, firm=True)
            if plan.digest != row.digest:
                raise Bad("the plan would be another one now")
        except (Bad, Refused, Conflict) as e:
            made = await self._decide(row.id, VOID, by=who, note=f"{e}; it must be asked for anew", kind="refuse")
            raise Refused(f"{row.id} {row.title} cannot be approved any more: {made.note}") from None
        if row.verb in DIRECT:  # whoever asked is there when it runs, to read and to type
            enforce(plan)
            until = time.time() + row.expires - row.asked
            return await self._decide(row.id, APPROVED, by=who, kind="approve", expires=until)
        self.c.desk.admit(plan)
        beside = Beside(uid=row.uid, text=kept.text, glass=kept.glass, request=replace(row, by=who.author))
        action = await self.c.desk.begin(plan, beside)
        return await self._decide(row.id, APPROVED, by=who, action=action.id, kind="approve")

    async def refuse(self, who: Who, id: str, reason: str) -> RequestRow:
        """No; the author may take it back so. Raises Bad, Refused."""
        row = self._open(id, who).row
        reason = " ".join(reason.split())[:LONGEST_REASON]
        own = who.uid is not None and who.uid == row.uid
        note = ("withdrawn" if own else "refused") + (f": {reason}" if reason else "")
        return await self._decide(row.id, REFUSED, by=who, note=note, kind="refuse")

    async def look(self, id: str) -> Request:
        """With the plan as it would be now. Raises Bad."""
        kept = self._find(id)
        author = Who(author=kept.row.author, role="operator", uid=kept.row.uid, groups=user_groups(kept.row.uid))
        try:
            plan = await self._plan(kept, author)
        except (Bad, Refused, Conflict) as e:
            return Request(row=kept.row, intent=kept.intent, trouble=str(e))
        return Request(row=kept.row, intent=kept.intent, plan=plan, same=plan.digest == kept.row.digest)

    async def _plan(self, kept: Kept, author: Who, *, firm: bool = False) -> Plan:
        """As it would be now. Raises Bad, Refused, Conflict."""
        if kept.row.verb in DIRECT:
            return self.c.direct.again(kept.intent, author, kept.glass)
        return await self.c.desk.judged_plan(kept.intent, author, kept.glass, firm=firm)

    async def use(self, plan: Plan, who: Who, run: str) -> RequestRow | None:
        """The approved request for this very plan, which is used up by that; None: there is none. `run`: its id."""
        for id, kept in self.kept.items():
            row = kept.row
            if unused(row) and row.uid == who.uid and row.digest == plan.digest and row.expires > time.time():
                self.kept[id] = replace(kept, row=replace(row, action=run))
                self.c.board.set_request(id, self.kept[id].row)
                await self.c.ledger.commit([("request", id, self.kept[id])])
                return row
        return None

    def _find(self, id: str) -> Kept:
        kept = self.kept.get(id)
        if kept is None:
            waiting = ", ".join(k for k, v in self.kept.items() if v.row.state == WAITING) or "none"
            raise Bad(f"no request {id!r}; waiting: {waiting}")
        return kept

    def _open(self, id: str, who: Who) -> Kept:
        kept = self._find(id)
        why = may(who, VERBS.get(kept.row.verb) or DIRECT[kept.row.verb])
        if why:
            raise Refused(why)
        row = kept.row
        if row.state != WAITING or id in self._deciding:
            raise Refused(f"{id} {row.title} is {row.state if row.state != WAITING else 'being decided'}"
                          + (f" (by {row.by})" if row.by else ""))
        if row.expires <= time.time():
            raise Refused(f"{id} {row.title} has expired: it must be asked for anew")
        return kept

    async def _decide(
        self, id: str, state: str, *, kind: str, by: Who | None = None, note: str = "", action: str = "",
        expires: float = 0.0,
    ) -> RequestRow:
        kept = self.kept[id]
        row = replace(
            kept.row, state=state, by=by.author if by else "", by_uid=by.uid if by else None, decided=time.time(),
            note=note, action=action, expires=expires or kept.row.expires,
        )
        entry = {"kind": kind, "request": id, "by": row.by, "uid": row.by_uid, "state": state, "plan": row.digest,
                 "action": action, "reason": note}
        await self._keep(replace(kept, row=row, text=""), entry)
        return row

    async def _keep(self, kept: Kept, entry: dict[str, Any]) -> None:
        row = kept.row
        self.kept[row.id] = kept
        self.c.board.set_request(row.id, row)
        writes: list[Write] = [("request", row.id, kept), ("meta", "last_request", self._next - 1)]
        decided = sorted(
            (k for k, v in self.kept.items() if v.row.state != WAITING and not unused(v.row)), key=_number
        )
        for old in decided[: max(0, len(decided) - KEPT)]:
            del self.kept[old]
            self.c.board.set_request(old, None)
            writes.append(("request", old, None))
        self.c.ledger.note(entry)
        await self.c.ledger.commit(writes)


def unused(row: RequestRow) -> bool:
    """Somebody may run it once."""
    return row.state == APPROVED and row.verb in DIRECT and not row.action


def operations(c: Controller) -> dict[str, Any]:
    async def approvals(who: Who, args: dict[str, Any]) -> Any:
        return c.approvals.rows()

    async def approval(who: Who, args: dict[str, Any]) -> Any:
        await c.looked()
        return await c.approvals.look(str(args["id"]))

    async def approve(who: Who, args: dict[str, Any]) -> Any:
        await c.looked()
        return await c.approvals.approve(who, str(args["id"]), str(args.get("digest", "")))

    async def refuse(who: Who, args: dict[str, Any]) -> Any:
        return await c.approvals.refuse(who, str(args["id"]), str(args.get("reason", "")))

    return {"approvals": approvals, "approval": approval, "approve": approve, "refuse": refuse}


def _number(id: str) -> int:
    return int(id[1:]) if id[1:].isdigit() else 0
