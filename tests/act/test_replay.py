"""Replaying: a recorded session comes to the same end, and the first difference stops it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cockpit.act import journal
from cockpit.act import messages as ex
from cockpit.act.journal import Entry, Journal
from cockpit.act.replay import Hold, Item, Line, anchored, dry_run, intent_of, replay, schedule
from cockpit.act.targets import SessionTarget, TwinTarget
from cockpit.act.twin import Act, Twin, versions
from cockpit.model.view import ActionRow, Delta, Head, InstanceRow, Snapshot
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from tests.act.hand import make_plan, roll
from tests.act.worlds import expected, recorded, running, twin
from tests.helpers import PATIENCE


class Recorder(Twin):
    """A twin that writes a journal as the controller does."""

    log: Journal

    def submit(self, plan: Plan, holds: Iterable[Any] = (), *, undo: bool = False) -> str:
        revision = self.revision + 1 if plan.changes else None
        body = journal.intent(f"#{self._next}", plan.intent, plan, revision=revision)
        self.log.append(body, now=self.now)
        return super().submit(plan, holds, undo=undo)

    def _rarer(self, act: Act, command: ex.Command) -> None:
        if isinstance(command, ex.Anchored):
            body = journal.control(
                act.row.id, command.what, command.step, command.by, command.reason,
                undo=act.undo and command.what == ex.ABORT,
                at=next((s for s in act.plan.steps if s.id == command.step), None),
            )  # fmt: skip
            self.log.append(body, now=self.now)
        elif isinstance(command, ex.Finished):
            now = versions(act.plan.locks, self.fleet.units.values())
            self.log.append(journal.outcome(act.row.id, command.outcome, command.reason, now), now=self.now)
        super()._rarer(act, command)


Story = Callable[[Recorder], None]


def session(tmp_path: Path, story: Story) -> tuple[list[Entry], dict[str, Any]]:
    e = expected()
    t = Recorder(e, running(e), durations=recorded(), revision=1, stable={"a.web": "1.0.0"}, seed=5, now=1000.0)
    t.log = Journal.open(tmp_path / "journal.jsonl")
    story(t)
    t.log.close()
    return journal.read(tmp_path / "journal.jsonl")[0], t.end_state()


def do(t: Recorder, verb: str, target: str, holds: Iterable[Any] = (), undo: bool = False, **params: Any) -> str:
    id = t.submit(t.plan(Intent(verb=verb, targets=(target,), params=params, author="li")), holds, undo=undo)
    t.run()
    return id


def gate(t: Recorder, version: str, n: int) -> str:
    """Id of the nth health step that a deploy would have."""
    plan = t.plan(Intent(verb="deploy", targets=("a.web",), params={"version": version}))
    return [s.id for s in plan.steps if s.kind == "healthy"][n]


def everything(t: Recorder) -> None:
    """A good deploy with a pause, a bad one that returns, an abort, a migrate, a scale."""
    id = do(t, "deploy", "a.web", [ex.Pause("li", gate(t, "1.1.0", 1))], version="1.1.0")
    t.now += 60.0
    t.send(id, ex.Resume("wang"))
    t.run()
    do(t, "deploy", "a.web", version="1.2.0")
    do(t, "deploy", "a.web", [ex.Abort("li", gate(t, "1.0.0", 1))], version="1.0.0")
    do(t, "rollback", "a.web", action="#4")
    do(t, "migrate", "a.web/1")
    do(t, "scale", "a.web", count=6)


async def test_a_session_replays_on_the_twin_to_the_same_end(tmp_path: Path) -> None:
    entries, end = session(tmp_path, everything)
    items = schedule(entries)
    assert [(i.intent.verb, i.word) for i in items] == [
        ("deploy", "done"), ("deploy", "returned"), ("deploy", "aborted"), ("rollback", "done"), ("migrate", "done"),
        ("scale", "done"),
    ]  # fmt: skip
    assert [len(i.derived) for i in items] == [0, 1, 0, 0, 0, 0]
    assert [h.what for i in items for h in i.holds] == ["pause", "resume", "abort"]
    again = twin(seed=77, actions=10)
    said: list[Line] = []
    report = await replay(items, TwinTarget(again), say=said.append)
    assert report.differs == "" and [x.now for x in report.lines] == [i.word for i in items]
    assert tuple(said) == report.lines
    assert again.end_state() == end
    assert len(again.acts) == 7, "what followed by itself was not submitted again"


async def test_an_abort_with_undo_replays(tmp_path: Path) -> None:
    def story(t: Recorder) -> None:
        do(t, "deploy", "a.web", [ex.Abort("li", gate(t, "1.1.0", 0))], undo=True, version="1.1.0")

    entries, end = session(tmp_path, story)
    items = schedule(entries)
    assert [(i.word, len(i.derived)) for i in items] == [("returned", 1)]
    again = twin()
    assert (await replay(items, TwinTarget(again))).differs == "" and again.end_state() == end


async def test_it_stops_at_the_first_outcome_that_differs(tmp_path: Path) -> None:
    entries, _ = session(tmp_path, everything)
    good = recorded()
    good._dump.health["a.web|cc"].ok = 1
    report = await replay(schedule(entries), TwinTarget(twin(durations=good)))
    assert [x.same for x in report.lines] == [True, False]
    assert report.differs.endswith("#2 deploy web 1.2.0: it is done now; recorded was returned")


async def test_versions_are_compared(tmp_path: Path) -> None:
    entries, _ = session(tmp_path, lambda t: (do(t, "deploy", "a.web", version="1.1.0"), None)[1])
    item = schedule(entries)[0]
    other = replace(item, versions=item.versions | {"a.web/2": "9.9.9"})
    report = await replay([other], TwinTarget(twin()))
    assert "a.web/2 runs 1.1.0 now; recorded was 9.9.9" in report.differs


async def test_what_is_refused_now_differs(tmp_path: Path) -> None:
    entries, _ = session(tmp_path, lambda t: (do(t, "deploy", "a.web", version="1.1.0"), None)[1])
    t = twin()
    del t.fleet.artifacts["web/1.1.0"]
    report = await replay(schedule(entries), TwinTarget(t))
    assert "it is refused now: artifact web has no version '1.1.0'" in report.differs
    assert report.lines[0].now == "refused"


async def test_from_to_step_and_speed(tmp_path: Path) -> None:
    entries, _ = session(tmp_path, everything)
    items = schedule(entries)
    assert schedule(entries, items[1].seq, items[3].seq) == items[1:4]
    assert schedule(entries, items[1].seq + 1) == items[2:]
    asked: list[str] = []

    async def ask(item: Item, plan: Plan) -> bool:
        asked.append(f"{item.action} {len(plan.steps) > 0}")
        return len(asked) < 3

    report = await replay(items, TwinTarget(twin()), ask=ask)
    assert report.stopped and asked == ["#1 True", "#2 True", "#4 True"] and len(report.lines) == 2

    class Slow(TwinTarget):
        slept: list[float] = []  # noqa: RUF012

        async def sleep(self, seconds: float) -> None:
            self.slept.append(seconds)

    slow = Slow(twin())
    await replay(items[:2], slow, speed=2.0)
    assert [round(s, 3) for s in slow.slept] == [round((items[0].holds[1].at - items[0].holds[0].at) / 2, 3), 0.0]


async def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    entries, _ = session(tmp_path, everything)
    t = twin()
    before = (t.end_state(), t.revision, t.doc)
    report = await dry_run(schedule(entries), TwinTarget(t).plan)
    assert (t.end_state(), t.revision, t.doc) == before and not t.acts
    notes = [(x.same, x.now) for x in report.lines]
    assert notes[0][0] and notes[0][1].endswith(" steps")
    assert notes[3] == (False, "impossible"), "nothing to roll back today"
    assert report.lines[3].note.startswith("no action '#4'")


def test_an_unfinished_action_has_no_outcome(tmp_path: Path) -> None:
    entries, _ = session(tmp_path, lambda t: (do(t, "deploy", "a.web", version="1.1.0"), None)[1])
    items = schedule(entries[:-1])
    assert [i.word for i in items] == [""]


def test_an_intent_that_is_none_is_bad() -> None:
    entry = Entry(seq=3, time=0.0, kind="intent", body={"action": "#1", "verb": 5}, prev="")
    with pytest.raises(Bad, match="entry 3 holds no intent"):
        schedule([entry])


def test_migrate_goes_where_placement_sent_it() -> None:
    item = Item(seq=1, action="#1", at=0.0, intent=Intent(verb="migrate", targets=("a/0",)), placement={"a/0": "h9"})
    assert intent_of(item).params == {"host": "h9"}
    assert intent_of(replace(item, intent=Intent(verb="restart"))).params == {}
    back = replace(item, intent=Intent(verb="rollback", params={"action": "4"}))
    assert intent_of(back, {"#4": "#14"}).params == {"action": "#14"}


def test_an_anchor_is_found_by_kind_and_instance() -> None:
    hold = Hold(what="pause", step="s99", by="li", at=0.0, kind="start", instance="a.web/1")
    plan = make_plan([*roll(0), *roll(1)])
    assert anchored(hold, plan).step == "i1s"
    assert anchored(replace(hold, kind=""), plan).step == "s99"


class LiveTwin:
    """A session as screens know it, in front of a twin: answers only come with the changes."""

    def __init__(self, t: Twin) -> None:
        self.t = t
        self.known: dict[str, ActionRow] = {}

    async def plan(self, intent: Intent) -> Plan:
        return self.t.plan(intent)

    async def submit(self, intent: Intent, *, digest: str = "", confirm: str = "") -> ActionRow:
        if intent.verb in ("pause", "resume", "abort"):
            act = self.t.acts[intent.targets[0]]
            if intent.verb == "abort" and confirm != act.row.id.lstrip("#"):
                raise Refused("unconfirmed")
            act.undo = act.undo or bool(intent.params.get("undo"))
            after = intent.params.get("after", "")
            events: dict[str, ex.Event] = {
                "pause": ex.Pause("me", after), "resume": ex.Resume("me"), "abort": ex.Abort("me", after),
            }  # fmt: skip
            self.t.send(act.row.id, events[intent.verb])
            return act.row
        plan = self.t.plan(intent)
        assert plan.digest == digest and plan.confirm == confirm
        return self.t.acts[self.t.submit(plan)].row

    async def snapshot(self) -> Snapshot:
        self.known = {i: a.row for i, a in self.t.acts.items()}
        rows = versions(self.t.expected.placement, self.t.fleet.units.values())
        return Snapshot(head=self.head, actions=dict(self.known), instances={
            i: InstanceRow(id=i, service="a.web", slot=0, host="", version_expected="", version_actual=v, state="",
                           desired="") for i, v in rows.items()
        })  # fmt: skip

    @property
    def head(self) -> Head:
        return Head(cluster="c", revision=1, digest="", now=self.t.now)

    def news(self) -> dict[str, ActionRow | None]:
        return {i: a.row for i, a in self.t.acts.items() if self.known.get(i) != a.row}

    async def changes(self) -> AsyncIterator[Delta]:
        while True:
            self.t.run(lambda: bool(self.news()))
            news = self.news()
            if not news:
                await asyncio.Event().wait()
            self.known.update({k: r for k, r in news.items() if r is not None})
            yield Delta(head=self.head, actions=news)


async def test_a_session_replays_through_a_session(tmp_path: Path) -> None:
    entries, end = session(tmp_path, everything)
    t = twin(seed=3, actions=10)
    live: Any = LiveTwin(t)
    async with asyncio.timeout(PATIENCE):
        report = await replay(schedule(entries), SessionTarget(live))
    assert report.differs == ""
    t.run()
    assert t.end_state() == end
