"""Drift: each kind by table, incremental and full agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from cockpit.model.actual import Actual, Exit
from cockpit.model.drift import drift_key, drift_of, drift_of_host, drift_of_instance
from cockpit.model.judge import Digests
from cockpit.model.states import FAILING, State
from cockpit.model.topology import Check, Expected, Restart, Stop, Update
from tests.plan.world import actual, expected, running, service, unit, worlds

WORLD = expected({"p.web": service("1.1.0", 1, attributes={"role": "master"})}, 2)


def kinds(have: Actual, world: Expected = WORLD) -> dict[str, str]:
    return {key: row.reason for key, row in drift_of(world, have, 100.0).items()}


def one(state: State = State.RUNNING, host: str = "sh-1", **more: Any) -> Actual:
    more.setdefault("version", "1.1.0")
    return actual([(unit("p.web/0", 1, state, **more), host)], WORLD.hosts)


def test_calm() -> None:
    assert kinds(running(WORLD)) == {}


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (actual([], WORLD.hosts), {"missing|p.web/0": ""}),
        (one(State.SHUTDOWN), {"missing|p.web/0": ""}),
        (one(version="1.0.0"), {"wrong version|p.web/0": ""}),
        (one(config="f00d"), {"wrong config|p.web/0": ""}),
        (one(host="sh-2"), {"wrong host|p.web/0": ""}),
        (one(probe={"role": "slave"}), {"wrong role|p.web/0": ""}),
        (one(probe={"role": "master"}), {}),
        (one(altered="sha256 differs"), {"altered binary|p.web/0": "sha256 differs"}),
        (one(health=FAILING, health_reason="tcp refused"), {"unhealthy|p.web/0": "tcp refused"}),
        (one(State.STARTING, health="starting"), {"unhealthy|p.web/0": "not healthy yet"}),
        (one(State.FAILED, restarts=3, next_start=5.0, exit=Exit(run=3, code=1)),
         {"unhealthy|p.web/0": "exit 1, restarted 3 times; tries again"}),
        (one(State.REJECTED, exit=Exit(run=1, reason="exec: ENOENT ./x")),
         {"unhealthy|p.web/0": "could not run: exec: ENOENT ./x"}),
        (one(State.SHUTDOWN, pinned="uid 1000 14:03 stop"),
         {"missing|p.web/0": "pinned on the host: uid 1000 14:03 stop"}),
        (actual([], WORLD.hosts, sh_1="unknown"),
         {"unknown|p.web/0": "sh-1 gives no answer", "unknown|sh-1": "no answer"}),
        (Actual(), {"unknown|p.web/0": "sh-1 gives no answer", "unknown|sh-1": "never heard",
                    "unknown|sh-2": "never heard"}),
    ],
)  # fmt: skip
def test_kinds(have: Actual, want: dict[str, str]) -> None:
    assert kinds(have) == want


def test_two_units_of_one_instance() -> None:
    have = actual(
        [(unit("p.web/0", 1, version="1.0.0"), "sh-1"), (unit("p.web/0", 2, version="1.1.0"), "sh-1")], WORLD.hosts
    )
    (row,) = drift_of(WORLD, have, 1.0).values()
    assert (row.kind, row.expected, row.actual) == ("extra", "one unit", "p.web/0:1 RUNNING on sh-1")
    lost = replace(have, hosts={"sh-2": have.hosts["sh-2"], "sh-1": replace(have.hosts["sh-1"], presence="down")})
    assert set(kinds(lost)) == {"unknown|p.web/0", "unknown|sh-1"}


def test_stopped_and_unexpected() -> None:
    stopped = replace(WORLD, stopped={"p.web/0": True})
    assert kinds(running(stopped), stopped) == {} == kinds(actual([], WORLD.hosts), stopped)
    assert set(kinds(running(WORLD), stopped)) == {"extra|p.web/0"}
    loop = one(State.FAILED, wanted=True)
    assert set(kinds(loop, stopped)) == {"extra|p.web/0"}
    stray = actual([(unit("x.y/0"), "sh-2")], WORLD.hosts)
    (row,) = [r for r in drift_of(WORLD, stray, 1.0).values() if r.target == "x.y/0"]
    assert (row.kind, row.expected, row.action) == ("extra", "nothing", "converge x.y/0")


def test_a_finished_job_is_fine() -> None:
    job = expected({"p.job": service(count=1, restart=Restart(mode="on-failure"))})
    done = actual([(unit("p.job/0", 1, State.COMPLETE), "sh-1")], job.hosts)
    assert drift_of(job, done, 1.0) == {}
    assert set(kinds(one(State.COMPLETE))) == {"missing|p.web/0"}


def test_since_is_kept_from_the_row_before() -> None:
    have = one(version="1.0.0")
    first = drift_of(WORLD, have, 10.0)
    again = drift_of(WORLD, have, 20.0, before=first)
    assert first == again and next(iter(first.values())).since == 10.0
    assert next(iter(drift_of(WORLD, one(health=FAILING, health_since=7.0), 10.0).values())).since == 7.0


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_incremental_agrees_with_full(pair: tuple[Expected, Actual]) -> None:
    world, have = pair
    digests = Digests(world)
    every = {*world.placement, *have.units}
    rows = [r for i in every for r in drift_of_instance(i, world, have, 1.0, digests=digests)]
    rows += [r for h in world.hosts for r in drift_of_host(h, world, have, 1.0)]
    assert {drift_key(r.kind, r.target): r for r in rows} == drift_of(world, have, 1.0)
    assert len({drift_key(r.kind, r.target) for r in rows}) == len(rows)


@pytest.mark.parametrize(
    ("change", "restarts"),
    [
        ({"version": "9"}, False),
        ({"attributes": {"a": "b"}}, False),
        ({"update": Update(parallel=3)}, False),
        ({"stop": Stop(drain=99.0)}, False),
        ({"depends": ("p.db",)}, False),
        ({"stop": Stop(grace=99.0)}, True),
        ({"env": {"A": "1"}}, True),
        ({"ports": {"main": 9000}}, True),
        ({"check": Check(tcp="")}, True),
        ({"artifact": "other"}, True),
    ],
)
def test_what_the_config_digest_covers(change: dict[str, Any], restarts: bool) -> None:
    other = replace(WORLD, services={"p.web": replace(WORLD.services["p.web"], **change)})
    before, after = Digests(WORLD).of("p.web/0"), Digests(other).of("p.web/0")
    assert (before != after) is restarts and len(before) == 16
    assert Digests(WORLD).of("p.web/9") == ""


def test_the_config_digest_is_the_same_in_every_process() -> None:
    """A pinned value: when it changes, an upgraded controller restarts everything."""
    assert Digests(WORLD).of("p.web/0") == "15e20dea74c21c3e"
