"""Guards on a real controller: at plan, at submit, for derived actions, for themselves; and the second person."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.act import journal
from cockpit.controller.core import Controller
from cockpit.controller.serving import Options, controller
from cockpit.controller.session import EngineSession
from cockpit.model import guard_rows
from cockpit.model.guard_rows import APPROVE, CONFIRM, DENY
from cockpit.model.topology import to_doc
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Intent, Refused
from tests.controller.fakes import TOPOLOGY, FakeAgent, agent, engine, topology
from tests.helpers import PATIENCE

GUARDS = """\
guards:
  - {name: never, verbs: [stop], targets: [db], effect: deny, reason: it holds the money}
  - {name: soft, verbs: [scale], targets: [web], effect: deny, break_glass: true, reason: the licence is for two}
  - {name: typed, verbs: [restart], targets: [db], effect: confirm, reason: clients wait meanwhile}
  - {name: two, verbs: [restart, apply, rollback], effect: approve, expires: 1h, reason: four eyes}
  - {name: no-resume, verbs: [abort], targets: [db], effect: deny, reason: ends by itself}
"""
LI = Who(author="li@here", role="operator", uid=1001, groups=("ops",))
WU = Who(author="wu@here", role="operator", uid=1002)
ALIAS = Who(author="wu@here", role="operator", uid=1001)
RESTART = Intent(verb="restart", targets=("shop.web/0",))


@pytest.fixture
async def c(short_dir: Path) -> AsyncIterator[Controller]:
    async with engine(short_dir, topology(TOPOLOGY + GUARDS)) as made:
        agents: list[FakeAgent] = [await agent(made, short_dir, host) for host in ("a-1", "b-1")]
        row = await made.session(LI).submit(Intent(verb="converge"))
        await ended(made, row.id)
        yield made
        for each in agents:
            await each.stop()


async def ended(c: Controller, id: str) -> str:
    await asyncio.wait_for(c.runner.ended[id].wait(), PATIENCE)
    return c.ledger.actions[id].row.state


def entries(c: Controller, *kinds: str) -> list[dict[str, Any]]:
    found = journal.read(c.state / "journal.jsonl")[0]
    return [{"kind": e.kind, **e.body} for e in found if e.kind in kinds]


async def test_a_denied_action_says_by_what_before_and_when_it_is_sent(c: Controller) -> None:
    li = c.session(LI)
    stop = Intent(verb="stop", targets=("shop.db",))
    plan = await li.plan(stop)
    assert plan.guard is not None and (plan.guard.effect, plan.guard.rule) == (DENY, "never")
    before = c.journal.count
    with pytest.raises(Refused, match=r'denied by guard "never" \(guard 1 of 5\): it holds the money'):
        await li.submit(stop, digest=plan.digest, confirm="db")
    assert c.journal.count == before and c.world.revision == 1


async def test_a_typed_name(c: Controller) -> None:
    li = c.session(LI)
    intent = Intent(verb="restart", targets=("shop.db/0",))
    plan = await li.plan(intent)
    assert plan.guard is not None and plan.guard.effect == CONFIRM and plan.confirm == "db/0"
    with pytest.raises(Refused, match="clients wait meanwhile.*--confirm db/0"):
        await li.submit(intent)
    row = await li.submit(intent, confirm="db/0")
    assert await ended(c, row.id) == "done"


async def test_breaking_the_glass_is_loud(c: Controller) -> None:
    li = c.session(LI)
    intent = Intent(verb="scale", targets=("shop.web",), params={"count": 3})
    with pytest.raises(Refused, match="--break-glass"):
        await li.submit(intent)
    with pytest.raises(Bad, match="needs a reason"):
        await li.submit(msgspec.structs.replace(intent, params={"count": 3, "break_glass": " "}))
    open = msgspec.structs.replace(intent, params={"count": 3, "break_glass": "the shop\nis down"})
    assert (await li.plan(open)).digest == (await li.plan(intent)).digest, "the reason is no part of the plan"
    row = await li.submit(open)
    await ended(c, row.id)
    (glass,) = entries(c, "glass")
    assert (glass["rule"], glass["reason"], glass["uid"]) == ("soft", "the shop is down", 1001)
    assert glass["author"] == "li@here"
    assert any("GLASS BROKEN by li@here: the shop is down" in line for line in c.ledger.actions[row.id].log)
    assert "break_glass" not in c.ledger.actions[row.id].plan.intent.params
    never = Intent(verb="stop", targets=("shop.db",), params={"break_glass": "please"})
    with pytest.raises(Refused, match="never"):
        await li.submit(never, confirm="db")


async def test_a_second_person_with_another_uid(c: Controller) -> None:
    li, wu = c.session(LI), c.session(WU)
    plan = await li.plan(RESTART)
    row = await li.submit(RESTART, digest=plan.digest)
    assert (row.id, row.state) == ("a1", "asked") and "cockpit approve a1" in row.note
    assert not c.runner.running and "#3" not in c.ledger.actions
    assert (await li.submit(RESTART, digest=plan.digest)).id == "a1", "asked twice is one request"
    found = await guard_rows.approval(wu, "a1")
    assert found.same and found.plan is not None and found.plan.digest == plan.digest and found.row.uid == 1001
    for who in (LI, ALIAS):
        with pytest.raises(Refused, match="second person: uid 1001"):
            await guard_rows.approve(c.session(who), "a1", plan.digest)
    with pytest.raises(Refused, match="no uid"):
        await guard_rows.approve(c.session(Who(author="x", role="operator")), "a1", plan.digest)
    with pytest.raises(Refused, match="view-only"):
        await guard_rows.approve(c.session(msgspec.structs.replace(WU, read_only="view-only")), "a1", plan.digest)
    with pytest.raises(Refused, match="look at a1 first"):
        await guard_rows.approve(wu, "a1", "")
    done = await guard_rows.approve(wu, "a1", plan.digest)
    assert (done.state, done.by, done.by_uid) == ("approved", "wu@here", 1002)
    assert await ended(c, done.action) == "done"
    action = c.ledger.actions[done.action]
    assert action.row.author == "li@here" and any("approved by wu@here" in line for line in action.log)
    asked, approved = entries(c, "request", "approve")
    assert (asked["uid"], approved["uid"], approved["action"]) == (1001, 1002, done.action)
    intent = entries(c, "intent")[-1]
    assert (intent["uid"], intent["approved"], intent["request"]) == (1001, "wu@here", "a1")
    with pytest.raises(Refused, match="a1 restart web/0 is approved"):
        await guard_rows.approve(wu, "a1", plan.digest)
    assert c.board.tables["requests"]["a1"].state == "approved"


async def test_two_approve_at_once(c: Controller) -> None:
    plan = await c.session(LI).plan(RESTART)
    await c.session(LI).submit(RESTART)
    both = [guard_rows.approve(c.session(WU), "a1", plan.digest) for _ in range(2)]
    ends = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(e).__name__ for e in ends) == ["Refused", "RequestRow"]
    assert len([a for a in c.ledger.actions.values() if a.row.verb == "restart"]) == 1


async def test_what_changed_meanwhile_must_be_asked_for_anew(c: Controller) -> None:
    li, wu = c.session(LI), c.session(WU)
    row = await li.submit(RESTART)
    digest = c.approvals.kept[row.id].row.digest
    other = await li.submit(Intent(verb="deploy", targets=("shop.web",), params={"version": "2.0.0"}))
    await ended(c, other.id)
    assert not (await guard_rows.approval(wu, row.id)).same
    with pytest.raises(Refused, match="asked for anew"):
        await guard_rows.approve(wu, row.id, digest)
    assert c.approvals.kept[row.id].row.state == "void"
    assert (await li.submit(RESTART)).id == "a2"


async def test_refused_withdrawn_expired(c: Controller) -> None:
    li, wu = c.session(LI), c.session(WU)
    assert (await guard_rows.refuse(wu, (await li.submit(RESTART)).id, "not now")).note == "refused: not now"
    assert (await guard_rows.refuse(li, (await li.submit(RESTART)).id)).note == "withdrawn"
    await li.submit(RESTART)
    await c.approvals.sweep(time.time() + 3500)
    assert c.approvals.kept["a3"].row.state == "waiting"
    await c.approvals.sweep(time.time() + 3700)
    assert [r.state for r in await guard_rows.approvals(wu)] == ["expired", "refused", "refused"]
    assert [e["kind"] for e in entries(c, "refuse", "expire")] == ["refuse", "refuse", "expire"]
    with pytest.raises(Bad, match="waiting: none"):
        await guard_rows.refuse(wu, "a9")


async def test_requests_outlive_the_controller(c: Controller, short_dir: Path) -> None:
    await c.session(LI).submit(RESTART)
    again = Controller(c.state, c.store)
    from cockpit.controller.approvals import Approvals

    approvals = Approvals(again)
    approvals.load(await c.store.load())
    assert approvals.kept["a1"].row == c.approvals.kept["a1"].row
    assert approvals.kept["a1"].intent.verb == "restart" and approvals._next == 2


async def test_guards_are_changed_under_those_in_force(c: Controller) -> None:
    li = c.session(LI)
    bare = to_doc(topology())
    plan = await li.plan(Intent(verb="apply", params={"document": bare, "source": "t.yaml"}))
    assert plan.guard is not None and plan.guard.effect == APPROVE
    row = await li.submit(Intent(verb="apply", params={"document": bare, "source": "t.yaml"}))
    assert row.state == "asked" and c.world.expected.guards
    await guard_rows.approve(c.session(WU), row.id, c.approvals.kept[row.id].row.digest)
    assert c.world.expected.guards == () and c.ledger.last_import == bare
    assert c.ledger.revisions[-1].changes[0].path == ("guards",), "part of a revision like everything"


async def test_a_return_that_was_asked_for_beforehand_is_never_barred(c: Controller) -> None:
    """Rollbacks need a second person here; the automatic return of a failed deploy does not."""
    li = c.session(LI)
    for record in (await li.snapshot()).hosts:
        assert record
    row = await li.submit(Intent(verb="deploy", targets=("shop.db",), params={"version": "2.0.0"}))
    await asyncio.wait_for(c.runner.ended[row.id].wait(), PATIENCE)
    await li.submit(Intent(verb="rollback", targets=("shop.db",)))
    assert c.world.expected.services["shop.db"].version == "2.0.0", "asked for, not done"
    record = c.ledger.actions[row.id]
    record.undo = True
    await c.desk.follow_up(record, "aborted", "")
    back = next(a for a in c.ledger.actions.values() if a.row.cause == row.id)
    await ended(c, back.row.id)
    assert c.world.expected.services["shop.db"].version == "1.0.0"


async def test_edits_stand_on_the_head(c: Controller) -> None:
    """`base` is the revision that was edited: no import, refused when the head moved."""
    free = Controller.session(c, WU)
    source = await free.call("source")
    document = to_doc(topology(source["text"].replace('weight: "3"', 'weight: "4"')))
    intent = Intent(verb="apply", params={"document": document, "source": "edit web", "base": 1, "text": "# mine\n"})
    row = await free.submit(intent)
    await guard_rows.approve(c.session(LI), row.id, c.approvals.kept[row.id].row.digest)
    assert c.world.expected.services["shop.web"].attributes == {"weight": "4"}
    assert c.ledger.last_import == to_doc(topology(TOPOLOGY + GUARDS)), "an edit is no import"
    assert c.ledger.meta["text"] == "# mine\n" and c.ledger.actions["#3"].row.title == "edit web"
    with pytest.raises(Refused, match=r"moved from revision 1 to 2 by wu@here \(#3\)"):
        await free.plan(intent)


async def test_without_guards_nothing_changes(short_dir: Path) -> None:
    async with controller(Options(state=short_dir / "s"), topology()) as made:
        plan = await EngineSession(made, LI).plan(Intent(verb="stop", targets=("shop.web",)))
        assert plan.guard is None


async def test_an_action_says_how_it_is_undone_now(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        agents = [await agent(c, short_dir, host) for host in ("a-1", "b-1")]
        li = c.session(LI)
        first = await li.submit(Intent(verb="converge"))
        await ended(c, first.id)

        async def undo(id: str) -> str:
            return (await li.action(id)).undo

        async def done(verb: str, *targets: str, **params: Any) -> str:
            row = await li.submit(Intent(verb=verb, targets=targets, params=params))
            await ended(c, row.id)
            return row.id

        assert await undo("#1") == "#1 cannot be undone: nothing was expected before it"
        assert await undo(first.id) == "converge cannot be undone"
        deploy = await done("deploy", "shop.db", version="2.0.0")
        assert await undo(deploy) == f"u (rollback {deploy}) returns to what was before revision 2"
        later = await done("deploy", "shop.db", version="3.0.0")
        assert "has been changed since by li@here" in await undo(deploy)
        back = await done("rollback", later)
        assert await undo(later) == f"{later} has been undone already"
        assert await undo(back) == f"u (rollback {back}) does again what it took back"
        again = await done("rollback", action=back)
        assert "has been changed since by li@here" in await undo(back)
        assert await undo(again) == f"u (rollback {again}) does again what it took back"
        assert await undo(await done("restart", "shop.db")) == "a restart cannot be undone"
        for each in agents:
            await each.stop()
