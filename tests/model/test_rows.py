"""Rows: marks and words by table, the roll-up against a recount."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.model import view
from cockpit.model.actual import Actual, Endpoint, Exit
from cockpit.model.details import instance_diffs
from cockpit.model.drift import drift_of_instance
from cockpit.model.judge import Digests
from cockpit.model.naming_rows import endpoint_row
from cockpit.model.rows import Rollup, host_row, instance_row, placed_counts, tree_rows
from cockpit.model.states import FAILING, LIVE, State
from cockpit.model.topology import Check, Expected, Group, HttpGet, Restart
from cockpit.model.view import InstanceRow
from tests.plan.world import actual, expected, running, service, unit, worlds

WORLD = expected({"p.web": service("1.1.0", 1)}, 2)


def row(have: Actual, instance: str = "p.web/0", world: Expected = WORLD, busy: bool = False) -> InstanceRow:
    drift = drift_of_instance(instance, world, have, 1.0, digests=Digests(world))
    made = instance_row(instance, world, have, drift, busy=busy)
    assert made is not None
    return made


def one(state: State = State.RUNNING, host: str = "sh-1", **more: Any) -> Actual:
    more.setdefault("version", "1.1.0")
    return actual([(unit("p.web/0", 1, state, **more), host)], WORLD.hosts)


@pytest.mark.parametrize(
    ("have", "state", "mark", "word", "busy_mark"),
    [
        (one(), "RUNNING", "ok", "running", "ok"),
        (one(health=FAILING), "RUNNING", "failed", "unhealthy", "failed"),
        (one(State.STARTING), "STARTING", "drift", "starting", "changing"),
        (one(State.FAILED), "FAILED", "failed", "failed", "failed"),
        (one(State.REJECTED), "REJECTED", "failed", "rejected", "failed"),
        (one(version="1.0.0"), "RUNNING", "drift", "wrong version", "changing"),
        (one(host="sh-2"), "RUNNING", "drift", "wrong host", "changing"),
        (one(State.SHUTDOWN), "SHUTDOWN", "drift", "missing", "changing"),
        (actual([], WORLD.hosts), "NEW", "drift", "missing", "changing"),
        (actual([], WORLD.hosts, sh_1="unknown"), "UNKNOWN", "unknown", "no answer", "unknown"),
        (replace(one(), hosts={}), "UNKNOWN", "unknown", "no answer", "unknown"),
    ],
)
def test_look(have: Actual, state: str, mark: str, word: str, busy_mark: str) -> None:
    made = row(have)
    assert (made.state, made.mark, made.word) == (state, mark, word)
    assert row(have, busy=True).mark == busy_mark
    assert bool(made.reason) == (mark != "ok") and made.desired == "RUNNING"


def test_a_reason_says_each_thing_once_and_leaves_out_old_runs() -> None:
    made = row(one(State.REJECTED, altered="/r/solver.py", exit=Exit(run=1, reason="altered: /r/solver.py")))
    assert made.reason.count("/r/solver.py") == 1 and made.reason.startswith("could not run: ")
    have = actual(
        [(unit("p.web/0", 1, State.REJECTED), "sh-2"), (unit("p.web/0", 2, State.REJECTED), "sh-1")], WORLD.hosts
    )
    assert "should not be" not in row(have).reason
    stray = actual([(unit("p.web/5"), "sh-2")], WORLD.hosts)
    assert row(stray, "p.web/5").reason.startswith("should not be")


def test_stopped_complete_and_extra() -> None:
    stopped = replace(WORLD, stopped={"p.web/0": True})
    made = row(running(stopped), world=stopped)
    assert (made.state, made.desired, made.mark, made.word) == ("SHUTDOWN", "SHUTDOWN", "absent", "stopped")
    job = expected({"p.job": service(count=1, restart=Restart(mode="never"))})
    done = actual([(unit("p.job/0", 1, State.COMPLETE), "sh-1")], job.hosts)
    assert row(done, "p.job/0", job).word == "complete"
    stray = actual([(unit("p.web/5"), "sh-2")], WORLD.hosts)
    made = row(stray, "p.web/5")
    assert (made.word, made.host, made.desired, made.version_expected) == ("extra", "sh-2", "SHUTDOWN", "")
    assert instance_row("p.web/6", WORLD, stray, ()) is None


def test_the_row_shows_the_serving_unit_and_all_runs() -> None:
    have = actual(
        [
            (unit("p.web/0", 1, version="1.0.0", pid=7, exit=Exit(run=1, signal=9)), "sh-2"),
            (unit("p.web/0", 2, State.STARTING, version="1.1.0", pid=8), "sh-1"),
        ],
        WORLD.hosts,
    )
    made = row(have)
    assert (made.pid, made.host, made.version_actual, made.state) == (7, "sh-2", "1.0.0", "RUNNING")
    assert [(r.unit, r.state, r.exit) for r in made.runs] == [
        ("p.web/0:2", "STARTING", ""), ("p.web/0:1", "RUNNING", "signal 9"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("presence", "modes", "want", "mark"),
    [
        ("up", {}, "up", "ok"), ("suspect", {}, "suspect", "changing"), ("unknown", {}, "unknown", "unknown"),
        ("down", {}, "down", "failed"), ("up", {"sh-1": "draining"}, "draining", "draining"),
        ("up", {"sh-1": "maintenance"}, "maintenance", "paused"), ("down", {"sh-1": "draining"}, "down", "failed"),
    ],
)  # fmt: skip
def test_host_row(presence: str, modes: dict[str, Any], want: str, mark: str) -> None:
    made = host_row("sh-1", replace(WORLD, modes=modes), actual([], WORLD.hosts, sh_1=presence), instances=1, want=2)
    assert (made.presence, made.mark, made.instances, made.want) == (want, mark, 1, 2)
    assert host_row("moon", WORLD, Actual(), instances=0, want=0).reason == "never heard"


@settings(max_examples=60, deadline=None)
@given(worlds(), worlds(), st.data())
def test_rollup_under_replacement_is_the_recount(
    first: tuple[Expected, Actual], second: tuple[Expected, Actual], data: st.DataObject
) -> None:
    world, have = first
    _, later = second
    rollup = Rollup(world)
    rows: dict[str, InstanceRow] = {}
    for now in (have, later):
        for instance in {*world.placement, *now.units, *rows}:
            drift = drift_of_instance(instance, world, now, 1.0, digests=Digests(world))
            new = instance_row(instance, world, now, drift, busy=data.draw(st.booleans()))
            nodes, _ = rollup.replace(rows.pop(instance, None), new)
            assert nodes <= {"p", "p.web", "p.sudoku", "q", "q.batch", "gone", "gone.x"}
            if new is not None:
                rows[instance] = new
    assert rollup.rows() == tree_rows(world, rows.values())
    live = Counter(r.host for i in rows.values() for r in i.runs if State[r.state] in LIVE)
    assert {h: rollup.live_on(h) for h in world.hosts} == {h: live[h] for h in world.hosts}
    for path, node in rollup.rows().items():
        below = [r for r in rows.values() if (r.service + ".").startswith(path + ".")]
        assert node.want == sum(r.desired == "RUNNING" for r in below) and 0 <= node.have <= node.want
        assert node.mark == max((r.mark for r in below), key=view.BADNESS.__getitem__, default=view.ABSENT)


def test_tree_kinds_and_placed_counts() -> None:
    world = expected({"a.b.web": service(count=2), "a.db": service(count=1)}, 2, stopped={"a.db/0": True})
    world = replace(world, groups={"a": Group(), "a.b": Group(cluster=True)})
    rows = [row(running(world), i, world) for i in world.placement]
    tree = tree_rows(world, rows)
    assert [(n.path, n.kind, n.want, n.have, n.mark) for n in tree.values()] == [
        ("a", "group", 2, 2, "absent"), ("a.b", "cluster", 2, 2, "ok"), ("a.b.web", "service", 2, 2, "ok"),
        ("a.db", "service", 0, 0, "absent"),
    ]  # fmt: skip
    assert tree["a.b.web"].versions == {"1.0.0": 2}
    assert sum(placed_counts(world).values()) == 2


def test_diffs() -> None:
    world = expected({
        "p.web": service("1.1.0", 1, check=Check(http=HttpGet(path="/health")), depends=("p.db",), artifact="web"),
        "p.db": service(count=1),
    }, 2)  # fmt: skip
    have = running(world)
    have = replace(have, artifacts={"web/1.1.0": "9f2c" * 16})
    fine = {d.field: d for d in instance_diffs("p.web/0", world, have)}
    assert all(d.same for d in fine.values())
    assert fine["command"].expected == "./serve {port}" and fine["command"].actual == "./serve 20000"
    assert fine["health"].expected == "http /health ok" and fine["depends on"].actual == "p.db (1 of 1 ready)"
    assert fine["version"].expected == "1.1.0  sha256 9f2c9f2c9f2c"
    bad = replace(have.units["p.web/0"][0], version="1.0.0", state=State.STARTING, config="x", health="starting")
    wrong = instance_diffs("p.web/0", world, replace(have, units={"p.web/0": (bad,)}))
    assert [d.field for d in wrong if not d.same] == ["version", "state", "health", "config", "depends on"]
    silent = {d.field: d for d in instance_diffs("p.web/0", world, replace(have, hosts={}))}
    assert silent["state"].actual == "UNKNOWN" and "last heard: RUNNING" in silent["state"].note


def test_endpoint_row() -> None:
    one = Endpoint(
        service="p.web", instance="p.web/0", unit="p.web/0:1", host="sh-1", name="main", address="127.0.1.1",
        port=20000, state="draining", why="drain", by="#7",
    )  # fmt: skip
    assert endpoint_row(one).why == "drain by #7"
