"""Where intents arrive: plan, guard, conflict, write down, run. One way in for every face."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.act import guard, journal
from cockpit.act import messages as ex
from cockpit.act.duration import Durations
from cockpit.act.followup import RETURNED, conclude, followup, made_stable, return_sentence, return_versions
from cockpit.act.table import VERBS
from cockpit.controller.guarding import Beside, enforce, judged, opened, undo_words
from cockpit.controller.ledger import ActionRecord, Begun, number_of
from cockpit.model import view
from cockpit.model.guard_rows import APPROVE
from cockpit.model.patch import Conflict
from cockpit.model.view import ActionDetail, ActionRow, StepRow, Who
from cockpit.plan.context import PlanContext
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from cockpit.plan.undo import return_plan
from cockpit.plan.verbs import plan as make_plan
from cockpit.ports import Write

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

RETURNING = "returning"
"""Ended without success, and its automatic return runs."""

CONTROL = {
    "pause": "resume goes on", "resume": "pause holds it again",
    "abort": "an abort cannot be undone; rollback undoes what the action changed",
}
"""Verbs for actions, and how each is undone."""
NOTHING_BESIDE = Beside()
NOTHING: Mapping[str, StepRow] = MappingProxyType({})
INLINE = 1000
"""Up to so many instances a plan takes no longer than a turn of the loop may."""
TRIES = 3


class Desk:
    """Plans and submits intents for one controller."""

    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self.durations = Durations.load(controller.ledger.meta.get("durations"))
        self._beginning: dict[str, guard.Holder] = {}
        """Actions whose intent is on its way to the disk."""
        self._ending: set[str] = set()
        """Actions whose end is being worked out."""
        self.stable: dict[str, str] = dict(controller.ledger.meta.get("stable", {}))
        """Service -> the last version that an action finished with."""
        self._turn = asyncio.Lock()
        """One large plan at a time: each holds a copy of the world."""
        self._begun: Begun | None = None
        """Of the last large plan that was to begin at once."""

    def context(self) -> PlanContext:
        c = self.c
        return PlanContext(
            doc=c.world.doc, expected=c.world.expected, revision=c.world.revision,
            actual=c.world.actual(), now=time.time(),
            artifacts=c.world.artifacts.copy(), signed=c.catalog.signed, durations=self.durations.by_service(),
            gen_floor=dict(c.world.gens),
            revisions=tuple(c.ledger.revisions), last_import=c.ledger.last_import,
        )

    async def plan(self, intent: Intent, who: Who) -> Plan:
        """What it would do now, and what the guards say of it. Raises Bad or Refused; read-only people may look."""
        intent, beside = opened(intent, who)
        return await self.judged_plan(intent, who, beside.glass)

    async def judged_plan(self, intent: Intent, who: Who, glass: str = "", *, firm: bool = False) -> Plan:
        """The same for an intent that holds nothing beside its plan. `firm`: it begins at once, see `_worked_out`."""
        if intent.verb in CONTROL:  # holding and ending wait for nothing
            return self._judge(intent, who, glass, self.context())
        return await self._worked_out(lambda ctx: self._judge(intent, who, glass, ctx), firm=firm)

    async def _worked_out(self, make: Callable[[PlanContext], Plan], *, firm: bool) -> Plan:
        """A plan of the world as it is. In a large cluster it is made beside the loop; a `firm` one anew when an
        action or a revision came or went meanwhile. Raises Refused when that never ends."""
        if self._small():
            return make(self.context())
        for _ in range(TRIES if firm else 1):
            async with self._turn:
                stamp, ctx = self._stamp(), self.context()
                plan, begun = await asyncio.to_thread(_made, make, ctx, firm)
            if stamp == self._stamp() or not firm:
                self._begun = begun or self._begun
                return plan
        raise Refused("other actions and revisions come and go faster than this can be planned: try again")

    def _small(self) -> bool:
        return len(self.c.world.units) <= INLINE

    def _stamp(self) -> tuple[int, int, int]:
        """Another one after everything that actions do to what plans are made from."""
        return self.c.world.revision, self.c.ledger.begun, len(self._holders())

    def _judge(self, intent: Intent, who: Who, glass: str, ctx: PlanContext) -> Plan:
        if intent.verb in CONTROL:
            record = self._record(intent)
            plan = Plan(
                intent=intent, base=self.c.world.revision, title=f"{intent.verb} {record.row.id}",
                risk=VERBS[intent.verb].risk, confirm=record.row.id.lstrip("#") if intent.verb == "abort" else "",
                undo=CONTROL[intent.verb],
            )
            return judged(plan, who, ctx, glass=glass, of=record.plan)
        return judged(make_plan(intent, ctx), who, ctx, glass=glass)

    async def submit(self, intent: Intent, who: Who, *, digest: str = "", confirm: str = "") -> ActionRow:
        """Carry it out. Raises Bad, Refused, or OSError when the state cannot be kept."""
        verb = VERBS.get(intent.verb)
        if verb is None:
            raise Bad(f"no verb {intent.verb!r}")
        guard.check(intent, who, verb, None, confirm)
        intent, beside = opened(intent, who)
        plan = await self.judged_plan(intent, who, beside.glass, firm=True)
        verdict = enforce(plan)
        guard.check(intent, who, verb, plan, confirm)
        if intent.verb in CONTROL:
            self._broken("#" + intent.targets[0].lstrip("#"), plan, beside)
            return await self._control(intent)
        if digest and digest != plan.digest:
            raise Refused("what this plan was made from has changed since: look at it again")
        if verdict.effect == APPROVE:
            self.admit(plan)
            return await self.c.approvals.ask(plan, who, beside)
        return await self.begin(plan, beside)

    def admit(self, plan: Plan) -> None:
        """Raises Refused when the guards deny it, or a running action holds what it touches."""
        enforce(plan)
        guard.conflicts(plan.locks, self._holders())

    def _broken(self, id: str, plan: Plan, beside: Beside) -> None:
        """A guard was passed with a reason: loud, in the journal and in the action's log."""
        verdict = plan.guard
        if verdict is None or not verdict.broken:
            return
        self.c.ledger.note({
            "kind": "glass", "action": id, "verb": plan.intent.verb, "author": plan.intent.author, "uid": beside.uid,
            "rule": verdict.rule, "reason": verdict.broken, "against": verdict.reason, "why": list(verdict.why),
        })
        record = self.c.ledger.actions.get(id)
        if record is not None:
            self.c.runner.remark(
                record, f"GLASS BROKEN by {plan.intent.author}: {verdict.broken} ({verdict.named}: {verdict.reason})"
            )

    async def derived(self, intent: Intent) -> None:
        """An intent that an action brings with it."""
        plan = await self._worked_out(lambda ctx: make_plan(intent, ctx), firm=True)
        if not plan.empty:
            await self._begin(plan)

    async def follow_up(self, record: ActionRecord, outcome: str, reason: str) -> None:
        """What happens by itself after an action ended: its return, as it was asked for beforehand."""
        intent = self._followup(record, outcome)
        if intent is None:
            return
        try:
            touched = {s.instance for s in record.steps.values() if s.instance and s.started is not None}
            back = return_versions(record.plan, self.stable)
            plan = await self._worked_out(
                lambda ctx: return_plan(ctx, intent, record.plan.changes, touched, stable=back), firm=True
            )
            row = await self._begin(plan)
        except (Bad, Refused, Conflict) as e:
            self._note(record, f"{stop(reason)}Could not return by itself: {e}", **self._end(outcome))
            await self.c.ledger.commit(self.c.ledger.kept(record))
            return
        self._note(record, f"{stop(reason)}Returning by {row.id}.")
        await self.c.ledger.commit(self.c.ledger.kept(record))
        self.c.runner.spawn(self._returned(record, row.id, outcome, reason))

    def go_on_returning(self, record: ActionRecord) -> None:
        """After a restart: what was returning follows its return, or waits for a word when there is none."""
        backs = [a.row for a in self.c.ledger.actions.values() if a.row.cause == record.row.id]
        if not backs:
            note = f"{stop(record.reason)}The controller ended before its return began: abort it with undo to return"
            self._note(record, note, state="interrupted", mark=view.PAUSED)
            return
        back = backs[-1]
        ended = self.c.runner.ended.setdefault(back.id, asyncio.Event())
        if back.ended is not None:
            ended.set()
        self.c.runner.spawn(self._returned(record, back.id, record.outcome or ex.FAILED, record.reason))

    async def _returned(self, record: ActionRecord, id: str, outcome: str, reason: str) -> None:
        await self.c.runner.ended[id].wait()
        back = self.c.ledger.actions[id]
        row = back.row
        state = conclude(outcome, row.state)
        if state == RETURNED and not back.plan.skipped:
            sentence = return_sentence(record.plan, self.stable)
            self.c.runner.remark(record, sentence)
            self._note(record, f"{stop(reason)}{sentence}", **self._end(state))
        else:
            why = row.note or "; ".join(back.plan.warnings)
            self._note(record, f"{stop(reason)}The return {id} is {row.state}: {why}", **self._end(outcome))
        await self.c.ledger.commit(self.c.ledger.kept(record))

    def _followup(self, record: ActionRecord, outcome: str) -> Intent | None:
        return followup(record.plan, outcome, record.row.id, undo=record.undo)

    def _end(self, state: str) -> dict[str, Any]:
        """How the row of an ended action looks."""
        mark = {"done": view.OK, "failed": view.FAILED}.get(state, view.DRIFT)
        return {"state": state, "mark": mark, "ended": time.time()}

    def _note(self, record: ActionRecord, note: str, **facts: Any) -> None:
        record.row = msgspec.structs.replace(record.row, note=note, **facts)
        self.c.board.set_action(record.row)

    async def begin(self, plan: Plan, beside: Beside) -> ActionRow:
        """`_begin` for something that a person asked for, with what came beside it."""
        row = await self._begin(plan, beside)
        if beside.request is not None:
            record, asked = self.c.ledger.actions[row.id], beside.request
            self.c.runner.remark(record, f"asked by {asked.author} as {asked.id}, approved by {asked.by}")
        self._broken(row.id, plan, beside)
        return row

    async def _begin(self, plan: Plan, beside: Beside = NOTHING_BESIDE) -> ActionRow:
        """Intent and revision in one transaction and in the journal; then it runs."""
        now, author = time.time(), plan.intent.author
        guard.conflicts(plan.locks, self._holders())
        id = self.c.ledger.next_id()
        self._beginning[id] = (plan.locks, author, now, plan.title)
        try:
            return await self._write_down(plan, id, now, beside)
        except OSError as e:
            self.c.unkept(e)  # what is in memory is ahead of the disk now
            raise
        finally:
            del self._beginning[id]

    async def _write_down(self, plan: Plan, id: str, now: float, beside: Beside) -> ActionRow:
        c, intent = self.c, plan.intent
        writes: list[Write] = []
        begun, self._begun = self._begun, None
        if begun is None or begun.plan is not plan:
            begun = Begun.of(plan, c.world.doc, c.world.expected)
        head, revision = begun.head, None
        if head is not None:
            head, revision = c.ledger.revise(plan, head, action=id, now=now)
        for instance, gen in begun.gens.items():
            c.world.gens[instance] = max(gen, c.world.gens.get(instance, 0))
        row = ActionRow(
            id=id, verb=intent.verb, state="running", author=intent.author, targets=intent.targets,
            title=plan.title, started=now, total=len(plan.steps), cause=intent.cause,
            revision=revision.number if revision else None,
            params={k: v for k, v in intent.params.items() if k != "document"},
            eta=now + plan.estimate if plan.estimate else None,
        )
        record = ActionRecord(row=row, plan=plan, steps=begun.steps)
        if head is not None and revision is not None:
            writes += c.ledger.revision_writes(head.doc, revision)
        if intent.verb == "apply" and "base" not in intent.params:  # an edit of the head is no import
            writes += c.ledger.import_writes(intent.params["document"])
        if beside.text:
            writes += c.ledger.text_writes(beside.text)
        writes += c.ledger.action_writes(record, begun.text)
        writes.append(("meta", "gens", c.world.gens))
        mark = revision.mark if revision else c.world.digest
        foretold = c.rehearsals.foretell(plan)
        entry = journal.intent(id, intent, plan, revision=row.revision, mark=mark, uid=beside.uid)
        if plan.guard is not None:
            entry["guard"] = plan.guard
        if beside.request is not None:
            entry |= {"request": beside.request.id, "approved": beside.request.by}
        c.ledger.note(entry)
        await c.ledger.commit(writes)
        if head is not None and revision is not None and revision.number > c.world.revision:
            c.set_expected(head.doc, revision.number, head.mark, head.expected)
        c.board.set_action(row)
        c.runner.start(record, graph=begun.graph)
        c.runner.foretold(id, foretold)
        return record.row

    async def close(
        self, record: ActionRecord, outcome: str, reason: str, now: float,
        skipped: Mapping[str, StepRow] = NOTHING, failed: str = "",
    ) -> None:
        """Write down how an action ended. `skipped` are its steps that never began, as they are then; `failed` is the
        instance that it ended for.

        What takes long comes first, in pieces; then in one piece it has ended for whoever looks, and in one commit
        for whoever starts anew.
        """
        c = self.c
        names = {p: s.artifact for p, s in c.world.expected.services.items() if s.artifact}
        self._ending.add(record.row.id)
        try:
            for _ in self.durations.recording(record.plan, record.steps.values(), outcome, c.world.artifacts, names):
                await asyncio.sleep(0)
            await c.board.drawn()
        finally:
            self._ending.discard(record.row.id)
        record.steps.update(skipped)
        c.ledger.moved(record.row.id, *skipped)
        record.outcome, record.reason = outcome, reason
        end = self._end(outcome)
        if self._followup(record, outcome) is not None:
            end = {"state": RETURNING, "mark": view.CHANGING}
        record.row = msgspec.structs.replace(record.row, note=reason, gives_up=None, eta=None, **end)
        self.stable.update(made_stable(record.plan, outcome))
        rows = c.board.tables["instances"]
        versions = {i: rows[i].version_actual for i in record.plan.locks if i in rows}
        seconds = now - record.row.started
        c.runner.judge(record, outcome, seconds)
        c.ledger.note(journal.outcome(
            record.row.id, outcome, reason, versions, failed=failed, seconds=seconds, score=record.score
        ))
        c.board.set_action(record.row)
        await c.ledger.commit(
            [
                *c.ledger.kept(record), ("meta", "durations", self.durations.dump()),
                ("meta", "stable", self.stable),
            ]
        )

    async def _control(self, intent: Intent) -> ActionRow:
        record, c = self._record(intent), self.c
        id, state = record.row.id, record.row.state
        if id in self._ending:
            raise Refused(f"{id} {record.row.title} ends just now: there is nothing to {intent.verb}")
        if intent.verb == "resume" and state == "interrupted":
            return self._resume_interrupted(record, intent.author)
        if intent.verb == "abort" and state == "interrupted":
            record.undo = bool(intent.params.get("undo"))
            reason = f"aborted by {intent.author} after an interruption"
            c.ledger.note(journal.control(id, "abort", "", intent.author, undo=record.undo))
            await self.close(record, ex.ABORTED, reason, time.time())
            await self.follow_up(record, ex.ABORTED, reason)
            c.runner.ended.setdefault(id, asyncio.Event()).set()
            return record.row
        if id not in c.runner.running:
            raise Refused(f"{id} {record.row.title} is {state}: there is nothing to {intent.verb}")
        if intent.verb == "abort":
            record.undo = bool(intent.params.get("undo"))
        event = {"pause": ex.Pause, "resume": ex.Resume, "abort": ex.Abort}[intent.verb]
        after = {"after": str(intent.params["after"])} if intent.params.get("after") else {}
        c.runner.control(id, event(by=intent.author, **after))
        return record.row

    def _resume_interrupted(self, record: ActionRecord, author: str) -> ActionRow:
        """Go on after a crash: steps that were done stay done, the others are asked again."""
        guard.conflicts(record.plan.locks, self._holders())
        self._overtaken(record)
        for id, step in record.steps.items():
            if step.state in (ex.FAILED, ex.SKIPPED):  # as after a pause: they are tried once more
                record.steps[id] = msgspec.structs.replace(step, state=ex.WAITING, note="again", ended=None)
                record.attempts[id] = record.attempts.get(id, 1) + 1
                self.c.ledger.moved(record.row.id, id)
        record.row = msgspec.structs.replace(
            record.row, state="running", mark=view.CHANGING, note=f"resumed by {author}"
        )
        self.c.ledger.note(journal.control(record.row.id, "resume", "", author))
        done = frozenset(s.id for s in record.steps.values() if s.state == ex.DONE)
        self.c.board.set_action(record.row)
        self.c.runner.start(record, done=done)
        return record.row

    def _overtaken(self, record: ActionRecord) -> None:
        """Raises Refused when a later action worked on the same things: the rest of the plan is void."""
        id, mine = record.row.id, set(record.plan.locks)
        for other in reversed(self.c.ledger.actions.values()):
            common = sorted(mine & set(other.plan.locks))
            if common and number_of(other.row.id) > number_of(id) and other.row.cause != id:
                raise Refused(
                    f"{id} {record.row.title} was overtaken: {other.row.id} {other.row.title} (by "
                    f"{other.row.author}) has worked on {self.c.short(common[0])} since; abort {id}, then converge"
                )

    def _holders(self) -> dict[str, guard.Holder]:
        """Locks of what begins or runs now; what is shown as ended is in nobody's way."""
        return self._beginning | {
            id: (r.record.plan.locks, r.record.row.author, r.record.row.started, r.record.row.title)
            for id, r in self.c.runner.running.items() if r.record.row.ended is None
        }

    def _record(self, intent: Intent) -> ActionRecord:
        if len(intent.targets) != 1:
            raise Bad(f"{intent.verb} takes one action, for example #118")
        id = "#" + intent.targets[0].lstrip("#")
        record = self.c.ledger.actions.get(id)
        if record is None:
            known = ", ".join(list(self.c.ledger.actions)[-5:]) or "none yet"
            raise Bad(f"no action {id}; the latest are {known}")
        return record

    async def detail(self, id: str) -> ActionDetail:
        record = self.c.ledger.actions.get("#" + id.lstrip("#"))
        if record is None:
            raise Bad(f"no action {id}")
        ctx = self.context()
        undo = undo_words(ctx, record) if self._small() else await asyncio.to_thread(undo_words, ctx, record)
        return ActionDetail(
            row=record.row, steps=tuple(record.steps.values()), log=tuple(record.log),
            undo=undo, forecast=record.forecast, score=record.score,
        )


def _made(make: Callable[[PlanContext], Plan], ctx: PlanContext, firm: bool) -> tuple[Plan, Begun | None]:
    plan = make(ctx)
    return plan, Begun.of(plan, ctx.doc, ctx.expected) if firm else None


def stop(reason: str) -> str:
    """A reason as a sentence that another one follows."""
    return f"{reason.rstrip('.')}. " if reason else ""
