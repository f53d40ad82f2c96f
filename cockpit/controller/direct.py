"""Guards over what runs at once (`exec`, shells, copies, plug-ins, builds): asked when shown, and before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from cockpit.act.guard import confirms
from cockpit.controller.guarding import LONGEST_REASON, Beside, enforce
from cockpit.guard.decide import Subject, decide
from cockpit.guard.scope import implied
from cockpit.model.guard_rows import APPROVE, CONFIRM, Verdict
from cockpit.model.view import Who
from cockpit.plan.direct import direct_plan, name_of
from cockpit.plan.steps import Bad, Intent, Plan, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What comes with a request beside what it asks for."""

    confirm: str = ""
    """The typed name."""
    break_glass: str = ""
    """The reason with which guards that allow it are passed."""
    digest: str = ""
    """Of the plan that was looked at."""


class Direct:
    def __init__(self, controller: Controller) -> None:
        self.c = controller

    def judged(self, plan: Plan, who: Who, glass: str = "") -> Plan:
        """The plan with the verdict of the guards, and the name to type where they ask for it. Raises Bad."""
        if len(glass) > LONGEST_REASON:
            raise Bad(f"the reason to break the glass has at most {LONGEST_REASON} characters")
        expected = self.c.world.expected
        verbs = implied(plan, expected)
        if not any(verbs.intersection(guard.verbs) for guard in expected.guards):
            return plan
        ctx = self.c.desk.context()
        subject = Subject(author=plan.intent.author or who.author, groups=who.groups)
        verdict = decide(plan, subject, expected, ctx.actual, ctx.now, glass=" ".join(glass.split()))
        if not verdict.rule:
            return plan
        return replace(plan, guard=verdict, confirm=name_of(plan.intent) if verdict.effect == CONFIRM else "")

    async def admit(self, plan: Plan, who: Who, word: Word, run: str) -> dict[str, Any]:
        """What the journal adds to the entry of this run. Raises Bad; Refused when it may not run, or not yet."""
        plan = self.judged(plan, who, word.break_glass)
        try:
            verdict = self._passed(plan, word)
        except Refused as e:
            self.c.refusals.note(plan.intent, who, e)
            raise
        facts: dict[str, Any] = {}
        if verdict.effect == APPROVE:
            request = await self.c.approvals.use(plan, who, run)
            if request is None:
                row = await self.c.approvals.ask(plan, who, Beside(uid=who.uid, glass=word.break_glass))
                raise Refused(f"{row.id} {row.title}: {row.note}")
            facts |= {"request": request.id, "approved": request.by}
        if verdict.broken:
            self.c.ledger.note({
                "kind": "glass", "action": run, "verb": plan.intent.verb, "author": who.author, "uid": who.uid,
                "rule": verdict.rule, "reason": verdict.broken, "against": verdict.reason, "why": list(verdict.why),
            })  # fmt: skip
        return facts | ({"guard": verdict.rule} if verdict.rule else {})

    def _passed(self, plan: Plan, word: Word) -> Verdict:
        """Raises Refused unless what can be decided at once lets it run."""
        if word.digest and word.digest != plan.digest:
            raise Refused(f"{plan.title}: what you looked at has changed since (other hosts, or another version)")
        verdict = enforce(plan)
        if verdict.effect == CONFIRM and not confirms(word.confirm, plan.confirm):
            got = f"{word.confirm!r} is not the name to confirm; " if word.confirm else ""
            raise Refused(f"{plan.title}: {verdict.words()}; {got}add --confirm {plan.confirm} to run it")
        return verdict

    def again(self, intent: Intent, author: Who, glass: str = "") -> Plan:
        """The plan of an intent that was asked for before, as it would be now. Raises Bad."""
        expected = self.c.world.expected
        if gone := [h for h in intent.targets if h not in expected.hosts]:
            raise Bad(f"{', '.join(gone[:5])} {'is' if len(gone) == 1 else 'are'} not declared any more")
        if intent.verb == "plugin-push":
            record = self.c.catalog.records.get(intent.params["plugin"])
            if record is None or record["sha256"] != intent.params["sha256"]:
                raise Bad(f"the store has no such {intent.params['plugin']} any more")
        return self.judged(direct_plan(intent, self.c.world.revision), author, glass)
