"""Work that grows with the cluster is done in pieces; what begins or ends is seen as one, by readers and on disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.act import messages as ex
from cockpit.act import seed
from cockpit.act.duration import AT_ONCE, Durations
from cockpit.act.executor import Executor
from cockpit.act.journal import read
from cockpit.act.progress import Eta, Readiness
from cockpit.controller import board as boards
from cockpit.controller import names
from cockpit.controller.board import Board, touched
from cockpit.controller.core import Controller
from cockpit.controller.ledger import ActionRecord, Begun, waiting
from cockpit.controller.names import NamesFeed
from cockpit.controller.runner import Running, _skipped
from cockpit.controller.world import World
from cockpit.link.messages import Hello
from cockpit.model.actual import Unit
from cockpit.model.patch import apply, diff
from cockpit.model.states import State
from cockpit.model.topology import Expected, from_doc, revised, to_doc
from cockpit.model.view import ActionRow, Who
from cockpit.naming.registry import Registry
from cockpit.plan.steps import Intent, Plan, Refused, Step
from cockpit.ports import Write
from tests.controller.fakes import agent, engine, topology
from tests.helpers import PATIENCE, until
from tests.plan.world import expected, service

WHO = Who(author="li@here", role="operator")


def turns(work: Coroutine[Any, Any, Any]) -> tuple[int, Any]:
    """How often it lets others have their turn, and what it returns."""
    for n in range(100_000):
        try:
            assert work.send(None) is None, "it waits for something"
        except StopIteration as end:
            return n, end.value
    raise AssertionError("it never ends")


def chains(count: int) -> Plan:
    """`count` instances, two steps each."""
    steps: list[Step] = []
    for n in range(count):
        unit = {"instance": f"a.web/{n}", "unit": f"a.web/{n}:2", "host": "h1"}
        steps += [
            Step(id=f"p{n}", kind="prepare", **unit), Step(id=f"s{n}", kind="start", needs=(f"p{n}",), **unit),
        ]  # fmt: skip
    return Plan(intent=Intent(verb="deploy"), base=1, steps=tuple(steps), parallel=4)


# a new revision


def placed(count: int, **facts: Any) -> Expected:
    placement = {f"p.{name}/{n}": f"h-{n % 7}" for n in range(count) for name in ("web", "db")}
    return Expected(
        name="c", services={"p.web": service(count=count), "p.db": service(count=count)}, placement=placement, **facts
    )


def plainly(before: Expected, after: Expected, instances: Sequence[str]) -> set[str]:
    """What `touched` finds, one by one."""
    def seen(e: Expected, i: str) -> Any:
        return e.hosts, e.groups, e.services.get(i.rpartition("/")[0]), e.placement.get(i), e.stopped.get(i)

    return {i for i in instances if seen(before, i) != seen(after, i)}


def revisions() -> Iterator[tuple[str, Expected]]:
    one = placed(20)
    web = msgspec.structs.replace(one.services["p.web"], version="9")
    yield "nothing", msgspec.structs.replace(one)
    yield "a service", msgspec.structs.replace(one, services=one.services | {"p.web": web})
    yield "a place", msgspec.structs.replace(one, placement=one.placement | {"p.db/3": "h-9"})
    yield "stopped", msgspec.structs.replace(one, stopped={"p.db/4": True})
    yield "hosts", msgspec.structs.replace(one, hosts=dict(expected({}, 2).hosts))


@pytest.mark.parametrize(("what", "after"), revisions(), ids=lambda v: v if isinstance(v, str) else "")
def test_a_revision_is_compared_some_instances_at_a_time(
    what: str, after: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "COMPARED", 7)
    before = placed(20)
    instances = [*before.placement, "gone.x/1"]
    pieces = list(touched(before, after, boards._cut(instances)))
    assert set().union(*pieces) == plainly(before, after, instances)
    assert len(pieces) == (0 if what == "nothing" else 6)  # 41 instances
    assert all(len(p) <= 7 for p in pieces)


def test_rows_wait_for_the_rest_of_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "COMPARED", 5)
    before = placed(10)
    world = World(Registry())
    world.set_expected(to_doc(before), 1)
    board = Board(world)
    board.refresh(1.0)
    for number, version in ((2, "9"), (3, "10")):  # the second comes while the first is looked through
        web = msgspec.structs.replace(before.services["p.web"], version=version)
        world.set_expected(to_doc(msgspec.structs.replace(before, services=before.services | {"p.web": web})), number)
        assert board.refresh(2.0, 1)
    looks = 1
    while board.refresh(3.0, 1):
        looks += 1
    assert looks >= 2 * (4 + 4)  # 20 rows, and as many places
    assert {r.version_expected for i, r in board.tables["instances"].items() if "web" in i} == {"10"}
    assert board.tables["nodes"]["p.web"].version == "10"
    whole = Board(world)
    whole.tables["drift"].update(board.tables["drift"])  # what is known of when it began
    world.everything = True
    whole.refresh(3.0)
    assert whole.tables["instances"] == board.tables["instances"] and whole.tables["nodes"] == board.tables["nodes"]


def test_a_revision_shares_what_it_does_not_touch() -> None:
    before = placed(5, hosts=dict(expected({}, 2).hosts), stopped={"p.db/1": True})
    doc = to_doc(before)
    typed = from_doc(doc)
    web = msgspec.structs.replace(before.services["p.web"], version="9")
    after = msgspec.structs.replace(before, services=before.services | {"p.web": web}, stopped={})
    patched = apply(doc, diff(doc, to_doc(after)))
    made = revised(patched, doc, typed)
    assert made == from_doc(patched) == after
    assert made.placement is typed.placement and made.hosts is typed.hosts
    assert made.services is not typed.services and made.stopped == {}


def test_what_a_beginning_needs_is_as_it_would_be_made_at_once() -> None:
    plan = chains(3)
    begun = Begun.of(plan, {"name": "c"}, Expected(name="c"))
    assert begun.gens == {f"a.web/{n}": 2 for n in range(3)} and begun.head is None
    assert begun.steps == waiting(plan)
    here, there = Executor(plan, "#1", 1.0, made=begun.graph), Executor(plan, "#1", 1.0)
    assert here.handle(ex.Go(), 1.0) == there.handle(ex.Go(), 1.0)


# names


class Links:
    """What the hub was told to tell."""

    def __init__(self) -> None:
        self.links: dict[str, Any] = {}
        self.told: list[Any] = []

    def greet(self, text: str) -> None:
        self.told.append(json.loads(text))

    tell = greet


def named(count: int) -> tuple[World, NamesFeed, Links]:
    world, hub = World(Registry()), Links()
    feed = NamesFeed(hub, world, ())  # type: ignore[arg-type]
    for n in range(count):
        seen(world, n)
    return world, feed, hub


def seen(world: World, n: int, health: str = "ok", port: int = 8080) -> None:
    unit = Unit(
        unit=f"p.s{n}/0:1", instance=f"p.s{n}/0", gen=1, state=State.RUNNING, wanted=True, run=1, health=health,
        ports={"http": port},
    )  # fmt: skip
    world.registry.observe(unit, f"h-{n}", "127.0.0.1", f"p.s{n}", {"zone": "ü"}, 1000.0)


def test_names_are_written_a_service_at_a_time_and_only_those_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    world, feed, hub = named(6)
    written: list[str] = []
    published = Registry.published

    def counted(self: Registry, service: str) -> list[dict[str, Any]]:
        written.append(service)
        return published(self, service)

    with monkeypatch.context() as m:
        m.setattr(Registry, "published", counted)
        assert turns(feed.ready())[0] == 6
        feed.send()
        assert len(written) == 6, "sending writes nothing anew"
        seen(world, 2, port=8081)
        assert turns(feed.ready())[0] == 1
        seen(world, 3, port=8081)  # after the look: left to `send`
        feed.send()
        feed.greeting()
        assert written[6:] == ["p.s2", "p.s3"]
    first, second = hub.told
    assert first["full"] is True and len(first["services"]) == 6
    version, changed = world.registry.delta_since(first["version"])
    assert second == {"t": "names", "version": version, "full": False, "services": changed}
    assert changed.keys() == {"p.s2", "p.s3"}
    greeting = feed.greeting()
    assert json.loads(greeting or "") == {
        "t": "names", "version": version, "full": True, "services": world.registry.services(),
    }  # fmt: skip
    assert feed.greeting() is greeting, "who connects at the same time is told the same text"


def test_names_that_do_not_fit_into_a_frame_are_not_told_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    world, feed, hub = named(3)
    feed.send()
    whole = len(feed.greeting() or "")
    monkeypatch.setattr(names, "MOST", whole + 50)
    seen(world, 3)
    assert feed.send() == world.registry.version
    assert len(hub.told) == 1 and not feed.out(world.registry.version), "hosts keep the names of before"
    assert feed.greeting() is None
    assert "names are not told any more, hosts keep those they know" in feed.notices()[0]
    assert world.registry.forget("p.s3/0:1")
    feed.send()
    assert hub.told[1]["services"].keys() >= {"p.s3"} and feed.out(world.registry.version)
    assert feed.notices() == [] and len(feed.greeting() or "") < whole + 100


def test_names_count_as_applied_when_every_host_that_is_heard_has_them() -> None:
    world, feed, _ = named(0)
    hosts = [f"h-{n}" for n in range(50)]
    assert not feed.applied(0), "there is no host"
    for host in hosts:
        world.connected(host, Hello(host=host, uuid=host, protocol=1), 1.0)
    looked = 0

    class Looked(list[Any]):
        def __reversed__(self) -> Any:
            nonlocal looked
            for host in super().__reversed__():
                looked += 1
                yield host

    class Counted(dict[str, Any]):
        def values(self) -> Any:
            return Looked(super().values())

    world.hosts = Counted(world.hosts)
    for host in hosts:
        assert not feed.applied(3)
        world.host_fact(host, names_applied=3)
    assert feed.applied(3) and not feed.applied(4)
    assert looked <= 2 * len(hosts), "not at all hosts for each that answers"
    world.down("h-7", "it goes", 2.0)
    for host in set(hosts) - {"h-7"}:
        world.host_fact(host, names_applied=4)
    assert feed.applied(4)


def test_several_are_let_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def books() -> tuple[Registry, list[str]]:
        registry, units = Registry(), [f"p.web/{n}:1" for n in range(9)]
        for n, id in enumerate(units):
            unit = Unit(
                unit=id, instance=f"p.web/{n}", gen=1, state=State.RUNNING, wanted=True, run=1,
                health="failing" if n % 2 else "ok", ports={"http": 8000},
            )  # fmt: skip
            registry.observe(unit, "h", "127.0.0.1", "p.web", {}, 1000.0)
        registry.drain_all(units[:6], "li", "deploy", 1001.0)
        return registry, units

    one, units = books()
    each, _ = books()
    for id in units[:6]:
        each.undrain(id, 1002.0)
    decided: list[str] = []
    settle = Registry._settle_service
    monkeypatch.setattr(Registry, "_settle_service", lambda s, p, now: decided.append(p) or settle(s, p, now))
    assert one.undrain_all([*units[:6], "p.unknown/1:1"], 1002.0)
    assert decided == ["p.web"]
    assert one.endpoints == each.endpoints


# an action's end


def running_plan(plan: Plan) -> Running:
    row = ActionRow(id="#1", verb="deploy", state="running", author="li")
    record = ActionRecord(row=row, plan=plan, steps=waiting(plan))
    return Running(record, Executor(plan, "#1", 1.0), Readiness((), ()), Eta(1.0, None))


def test_what_never_began_is_marked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed, "CHUNK", 10)
    running = running_plan(chains(32))
    running.skipped = [ex.StepChanged(f"s{n}", ex.SKIPPED) for n in range(32)]
    pieces, rows = turns(_skipped(running))
    assert pieces == 4
    assert {r.state for r in rows.values()} == {"skipped"} and rows.keys() == {f"s{n}" for n in range(32)}
    assert {s.state for s in running.record.steps.values()} == {"waiting"}, "nobody sees it before the end"


def test_durations_are_taken_in_by_pieces_that_come_to_the_same() -> None:
    plan = chains(AT_ONCE)
    rows = [
        msgspec.structs.replace(r, state="done", started=1.0 + n, ended=1.5 + n + n % 3)
        for n, r in enumerate(waiting(plan).values())
    ]
    whole, pieces = Durations(), Durations()
    whole.record(plan, rows, "done", {})
    assert sum(1 for _ in pieces.recording(plan, rows, "done", {})) == 2 + 2
    assert pieces.dump() == whole.dump() != Durations().dump()


MANY = """\
cockpit: 1
name: many
regions: {sh: }
hosts:
  a-1: {region: sh, address: 127.0.9.1}
tree:
  shop:
    cluster: true
    children:
      web: {version: 1.0.0, command: [serve], instances: 30, update: {healthy_for: 50ms, parallel: 3}}
"""


class Kept:
    """What each commit wrote, and the kinds of the journal's entries by then."""

    def __init__(self, c: Controller) -> None:
        self.commits: list[tuple[dict[tuple[str, str], Any], list[str]]] = []
        self._path, self._commit = c.state / "journal.jsonl", c.store.commit
        c.store.commit = self.commit  # type: ignore[method-assign]

    async def commit(self, writes: Sequence[Write]) -> None:
        kinds = [e.kind for e in read(self._path)[0]]
        self.commits.append(({(table, key): value for table, key, value in writes}, kinds))
        await self._commit(writes)

    def with_key(self, table: str, key: str = "") -> list[tuple[dict[tuple[str, str], Any], list[str]]]:
        return [c for c in self.commits if any(t == table and k.startswith(key) for t, k in c[0])]


async def test_an_action_begins_and_ends_as_one(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed, "CHUNK", 5)
    monkeypatch.setattr(boards, "COMPARED", 4)
    async with engine(short_dir, topology(MANY)) as c:
        a = await agent(c, short_dir, "a-1")
        session = c.session(WHO)
        first = await session.submit(Intent(verb="converge"))
        await asyncio.wait_for(c.runner.ended[first.id].wait(), PATIENCE)
        kept, id, before = Kept(c), f"#{c.ledger.begun}", c.world.revision
        ended = 0

        def look() -> None:
            """As a reader would, whenever the loop gives it a turn."""
            nonlocal ended
            record, row = c.ledger.actions.get(id), c.board.tables["actions"].get(id)
            assert (c.world.revision > before) == (row is not None) == (id in c.runner.ended)
            if record is None or row is None:
                return
            skipped = [s for s in record.steps.values() if s.state == "skipped" and s.started is None]
            assert (record.row.ended is None) == (row.ended is None) == (not skipped)
            if row.ended is not None:
                ended += 1
                assert not [s for s in record.steps.values() if s.state == "waiting"]

        async def looking() -> None:
            while True:
                look()
                c.runner.unit_gone("gone.x/1:1")  # what is heard late changes nothing
                await asyncio.sleep(0)

        reader = asyncio.create_task(looking())
        row = await session.submit(Intent(verb="deploy", targets=("shop.web",), params={"version": "2.0.0"}))
        assert {s.state for s in c.ledger.actions[id].steps.values()} == {"waiting"}, "steps begin in the next turn"
        await until(lambda: c.runner.running[id].executor.steps_running())
        await session.submit(Intent(verb="abort", targets=(id,)), confirm=id.lstrip("#"))
        await asyncio.wait_for(c.runner.ended[row.id].wait(), PATIENCE)
        await until(lambda: ended or reader.done())
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        record = c.ledger.actions[id]
        assert row.id == id and record.row.state == "aborted"
        states = [s.state for s in record.steps.values() if s.started is None]
        assert len(states) > 100 and set(states) == {"skipped"}

        (written, kinds), = kept.with_key("plan", id)
        assert {("revision", f"{before + 1:09d}"), ("meta", "head"), ("action", id)} <= written.keys()
        assert written["action", id].row.state == "running" and kinds[-1] == "intent"
        never = {f"{id}|{s.id}" for s in record.steps.values() if s.started is None}
        for written, kinds in kept.with_key("step", id):
            marked = {k for t, k in written if t == "step"} & never
            assert marked in (set(), never), "all of them, or none"
            assert bool(marked) == (written["action", id].row.state == "aborted") == (kinds[-1] == "outcome")
        await a.stop()


async def test_an_interrupted_action_is_ended_once(short_dir: Path) -> None:
    async with engine(short_dir, topology(MANY)) as c:
        a, session = await agent(c, short_dir, "a-1"), c.session(WHO)
        a.silent = True
        row = await session.submit(Intent(verb="converge"))
        running = c.runner.running.pop(row.id)
        if running.wake is not None:
            running.wake.cancel()
        c.runner.interrupted()
        assert c.ledger.actions[row.id].row.state == "interrupted"
        abort = Intent(verb="abort", targets=(row.id,))
        answers = await asyncio.gather(
            *(session.submit(abort, confirm=row.id.lstrip("#")) for _ in range(2)), return_exceptions=True
        )
        assert sorted(type(a).__name__ for a in answers) == ["ActionRow", "Refused"], answers
        assert "ends just now" in str(next(a for a in answers if isinstance(a, Refused)))
        kinds = [e.kind for e in read(c.state / "journal.jsonl")[0]]
        assert kinds.count("abort") == kinds[kinds.index("abort") :].count("outcome") == 1
        await a.stop()
