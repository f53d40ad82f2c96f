"""The board's tables, kept change by change, are those that would be made from scratch."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from cockpit.controller.board import BACKLOG, TABLES, Board, Subscriber
from cockpit.controller.world import SUSPECT_FOR, World
from cockpit.link.messages import Full, Hello
from cockpit.model.actual import Unit
from cockpit.model.states import OK, State
from cockpit.model.topology import Doc, to_doc
from cockpit.model.view import ActionRow, Delta, Snapshot
from cockpit.naming.registry import Registry
from tests.plan.world import expected, service

DOCS: list[Doc] = [
    to_doc(expected({"p.web": service(count=2), "p.db": service(count=1)}, 3)),
    to_doc(expected({"p.web": service("2.0.0", 3, depends=("p.db",)), "p.db": service(count=1)}, 3)),
    to_doc(expected({"p.web": service(count=1), "q.batch": service(count=2)}, 2)),
    to_doc(msgspec.structs.replace(expected({"p.web": service(count=2)}, 3), modes={"sh-1": "draining"})),
    to_doc(msgspec.structs.replace(
        expected({"p.web": service(count=2)}, 3), stopped={"p.web/0": True}, modes={"sh-1": "draining"}
    )),
]  # fmt: skip
HOSTS = ("sh-1", "sh-2", "sh-3")
INSTANCES = ("p.web/0", "p.web/1", "p.db/0", "q.batch/0", "gone.x/3")
STATES = (State.READY, State.STARTING, State.RUNNING, State.FAILED, State.SHUTDOWN)

units = st.builds(
    lambda instance, gen, state, version, run, seen: Unit(
        unit=f"{instance}:{gen}", instance=instance, gen=gen, state=state, version=version, run=run, observed=seen,
        health=OK if state == State.RUNNING else "none", wanted=state in (State.STARTING, State.RUNNING),
        ports={"main": 20000 + gen}, pid=100 + gen if state == State.RUNNING else None,
    ),
    st.sampled_from(INSTANCES), st.integers(1, 2), st.sampled_from(STATES), st.sampled_from(["1.0.0", "2.0.0"]),
    st.integers(1, 3), st.floats(1, 9),
)  # fmt: skip
hosts = st.sampled_from(HOSTS)
changes = st.one_of(
    st.tuples(st.just("unit"), hosts, units),
    st.tuples(st.just("unit"), hosts, units),
    st.tuples(st.just("gone"), hosts, units.map(lambda u: u.unit)),
    st.tuples(st.just("full"), hosts, st.lists(units, max_size=4, unique_by=lambda u: u.unit)),
    st.tuples(st.just("lost"), hosts),
    st.tuples(st.just("late")),
    st.tuples(st.just("connected"), hosts),
    st.tuples(st.just("expected"), st.integers(0, len(DOCS) - 1)),
    st.tuples(st.just("busy"), st.sets(st.sampled_from([*INSTANCES, "sh-1"]), max_size=2)),
    st.tuples(st.just("drain"), units.map(lambda u: u.unit)),
    st.tuples(st.just("action"), st.integers(1, 3), st.sampled_from(["running", "done"])),
    st.tuples(st.just("look"), st.sampled_from([None, None, 1, 2])),
)


class Desk:
    """One world, its board, and the clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.world = World(Registry())
        self.board = Board(self.world)
        self.world.set_expected(DOCS[0], 1)

    def do(self, change: tuple[Any, ...]) -> None:
        self.now += 1.0
        world, board, now = self.world, self.board, self.now
        match change:
            case ("unit", host, unit):
                world.unit(host, unit, now)
            case ("gone", host, unit):
                world.gone(host, unit, now)
            case ("full", host, reported):
                world.full(host, Full(units=tuple(reported), releases=("web/1.0.0",), names=3), now)
            case ("lost", host):
                world.lost(host, "connection closed", now)
            case ("late",):
                self.now += SUSPECT_FOR
                world.age(self.now)
            case ("connected", host):
                world.connected(host, Hello(host=host, uuid="u", boot_id="b", agent_pid=7), now)
            case ("expected", number):
                world.set_expected(DOCS[number], world.revision + 1)
            case ("busy", instances):
                board.touch(dict.fromkeys(instances, "#1"))
            case ("drain", unit):
                world.registry.drain(unit, "li", "deploy", now)
            case ("action", number, state):
                board.set_action(ActionRow(id=f"#{number}", verb="restart", state=state, author="li"))
            case ("look", limit):
                board.refresh(now, limit)

    def afresh(self) -> Board:
        """A board that looks at this world for the first time."""
        world = self.world
        world.everything = True
        board = Board(world)
        board.busy = self.board.busy
        board.tables["drift"].update(self.board.tables["drift"])  # what is known of when it began
        board.tables["actions"].update(self.board.tables["actions"])
        board.refresh(self.now)
        return board


def apply(tables: dict[str, dict[str, Any]], delta: Delta) -> None:
    for name in TABLES:
        for key, row in getattr(delta, name).items():
            if row is None:
                tables[name].pop(key, None)
            else:
                tables[name][key] = row


def tables_of(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    return {name: dict(getattr(snapshot, name)) for name in TABLES}


async def read(subscriber: Subscriber) -> list[Delta]:
    """Everything that is waiting there."""
    subscriber.close()
    return [delta async for delta in subscriber.deltas()]


@given(st.lists(changes, max_size=30))
@settings(max_examples=150, deadline=None)
def test_tables_are_those_made_from_scratch(history: list[tuple[Any, ...]]) -> None:
    desk = Desk()
    for change in history:
        desk.do(change)
    desk.board.refresh(desk.now)
    afresh = desk.afresh()
    found = {key for keys in afresh._by_target.values() for key in keys}
    afresh.tables["drift"] = {key: row for key, row in afresh.tables["drift"].items() if key in found}
    assert desk.board.tables == afresh.tables


@given(st.lists(changes, max_size=25), st.lists(changes, max_size=25), st.data())
@settings(max_examples=100, deadline=None)
def test_deltas_turn_an_old_snapshot_into_the_new_one(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]], data: DataObject
) -> None:
    desk = Desk()
    for change in before:
        desk.do(change)
    tables = tables_of(desk.board.snapshot(desk.now))
    subscriber = desk.board.subscribe()
    for change in after:
        desk.do(change)
        if data.draw(st.booleans()):
            desk.board.refresh(desk.now)
    new = desk.board.snapshot(desk.now)
    for delta in asyncio.run(read(subscriber)):
        apply(tables, delta)
    assert tables == tables_of(new)


@given(st.lists(changes, min_size=1, max_size=25))
@settings(max_examples=50, deadline=None)
def test_there_is_no_delta_when_nothing_changed(history: list[tuple[Any, ...]]) -> None:
    desk = Desk()
    for change in history:
        desk.do(change)
    desk.board.refresh(desk.now)
    subscriber = desk.board.subscribe()
    desk.board.refresh(desk.now + 1)
    desk.world.everything = True  # a look at everything finds what is there already
    desk.board.refresh(desk.now + 2)
    assert not any(getattr(d, name) for d in asyncio.run(read(subscriber)) for name in TABLES)


async def test_a_slow_reader_skips_moments_and_no_row() -> None:
    desk = Desk()
    tables = tables_of(desk.board.snapshot(desk.now))
    subscriber = desk.board.subscribe()
    rounds = BACKLOG * 2 + 5
    for n in range(rounds):
        name = f"p.web/{n % 2}"
        unit = Unit(unit=f"{name}:1", instance=name, gen=1, state=State.STARTING, run=n, restarts=n)
        desk.do(("unit", "sh-1", unit))
        desk.board.refresh(desk.now)
    assert len(subscriber._deltas) <= BACKLOG
    deltas = await read(subscriber)
    assert len(deltas) == 1
    apply(tables, deltas[0])
    assert tables == desk.board.tables
    assert {i.restarts for i in tables["instances"].values() if i.service == "p.web"} == {rounds - 1, rounds - 2}


@pytest.mark.parametrize(
    "unit",
    [
        Unit(unit="web:1", instance="web", gen=1), Unit(unit="p.web/x:1", instance="p.web/x", gen=1),
        Unit(unit="p.web/0:2", instance="p.web/0", gen=1), Unit(unit="", instance="", gen=0),
        Unit(unit="/0:1", instance="/0", gen=1), Unit(unit="p.web/²:1", instance="p.web/²", gen=1),
        Unit(unit=f"p.web/{'9' * 5000}:1", instance=f"p.web/{'9' * 5000}", gen=1),
    ],
    ids=lambda u: repr(u.unit[:20]),
)
def test_a_damaged_report_does_not_reach_the_tables(unit: Unit) -> None:
    desk = Desk()
    desk.board.refresh(desk.now)
    before = {name: dict(rows) for name, rows in desk.board.tables.items()}
    desk.do(("unit", "sh-1", unit))
    desk.do(("full", "sh-2", [unit]))
    desk.board.refresh(desk.now)
    assert desk.board.tables["instances"] == before["instances"]


def test_a_host_that_comes_back_empty_no_longer_looks_silent() -> None:
    desk = Desk()
    desk.board.refresh(desk.now)
    assert desk.board.tables["drift"].keys() >= {"unknown|p.web/0", "unknown|p.web/1"}
    for host in HOSTS:
        desk.do(("connected", host))
        desk.do(("full", host, []))
    desk.board.refresh(desk.now)
    assert {r.kind for r in desk.board.tables["drift"].values()} == {"missing"}


def test_who_says_that_it_goes_is_down_and_who_falls_silent_is_unknown() -> None:
    desk = Desk()
    gone, silent = HOSTS[0], HOSTS[1]
    for host in (gone, silent):
        desk.do(("connected", host))
        desk.do(("full", host, []))
    desk.world.down(gone, "the machine was shut down", desk.now)
    for host in (gone, silent):
        desk.world.lost(host, "connection closed", desk.now)
    desk.world.age(desk.now + 60)
    desk.board.refresh(desk.now + 60)
    hosts = desk.board.tables["hosts"]
    assert (hosts[gone].presence, hosts[gone].mark) == ("down", "failed")
    assert hosts[gone].reason == "the machine was shut down"
    assert (hosts[silent].presence, hosts[silent].mark) == ("unknown", "unknown")
    reasons = {r.target: r.reason for r in desk.board.tables["drift"].values()}
    assert reasons[gone] == "the machine was shut down"
    assert f"{gone} is down" in reasons.values() and f"{gone} gives no answer" not in reasons.values()
    desk.do(("connected", gone))
    desk.board.refresh(desk.now + 61)
    assert desk.board.tables["hosts"][gone].presence == "up"


def test_a_lock_on_a_host_leaves_its_drift_alone() -> None:
    desk = Desk()
    desk.board.refresh(desk.now)
    before = dict(desk.board.tables["drift"])
    assert "unknown|sh-1" in before
    desk.do(("busy", {"sh-1", "p.web"}))
    desk.board.refresh(desk.now)
    assert desk.board.tables["drift"] == before


@given(st.lists(changes, max_size=25), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_tables_made_in_slices_are_the_same(history: list[tuple[Any, ...]], limit: int) -> None:
    whole, sliced = Desk(), Desk()
    for change in history:
        whole.do(change)
        sliced.do(change)
    whole.board.refresh(whole.now)
    while sliced.board.refresh(sliced.now, limit):
        pass
    assert sliced.board.tables == whole.board.tables
