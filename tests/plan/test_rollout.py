"""The rollout: safety by property, sequences by table."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.model.actual import Actual
from cockpit.model.drift import drift_of
from cockpit.model.judge import heard, settled
from cockpit.model.states import FAILING, UP, State
from cockpit.model.topology import Expected, Instances, Update, service_path
from cockpit.plan.blast import lowest_ready
from cockpit.plan.placement import fixed_ports
from cockpit.plan.rollout import DIRECT, rollout
from cockpit.plan.steps import DRAIN, FETCH, HEALTHY, PREPARE, START, Step
from tests.plan.world import KINDS, actual, carry_out, expected, kinds, running, service, unit, worlds

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def every(world: Expected, have: Actual) -> set[str]:
    return {*world.placement, *have.units}


@SETTINGS
@given(worlds(), st.data())
def test_any_order_of_the_steps_ends_as_expected(pair: tuple[Expected, Actual], data: st.DataObject) -> None:
    world, have = pair
    forced = {i for i in world.placement if data.draw(st.integers(0, 3)) == 0}
    canary = data.draw(st.booleans())
    with mock.patch("cockpit.plan.rollout.DIRECT", data.draw(st.sampled_from([0, 1, DIRECT]))):
        made = rollout(world, have, every(world, have), forced=forced, canary=canary)
    end = carry_out(world, have, made.steps, data.draw(st.integers(0, 99)), made.gates)

    for path, (least, _) in lowest_ready(have, made.steps, made.gates).items():
        assert end.lowest.get(path, 0) >= least, "fewer ready than promised"
    for path, s in world.services.items():
        if s.update.order == "start-first" and not fixed_ports(s):
            stays = {
                i for i, units in have.units.items()
                if service_path(i) == path and i in world.placement and not world.stopped.get(i)
                and heard(have, world.placement[i])
                and any(u.serving and heard(have, have.where[u.unit]) for u in units)
                and not any(settled(u, s) for u in units)  # a job that is done needs no successor
            }  # fmt: skip
            assert end.lowest.get(path, 0) >= len(stays), "start-first lost an instance on the way"

    end.arrive()
    left = drift_of(world, end.actual(), 0.0)
    assert {r.target for r in left.values() if r.kind != "unknown"} <= set(made.skipped)
    assert all(not heard(have, world.placement.get(r.target, r.target)) for r in left.values()
               if r.kind == "unknown")  # fmt: skip
    again = rollout(world, end.actual(), every(world, end.actual()))
    assert again.steps == ()


@SETTINGS
@given(worlds(), st.booleans())
def test_graph_is_sound_and_the_same_every_time(pair: tuple[Expected, Actual], canary: bool) -> None:
    world, have = pair
    made = rollout(world, have, every(world, have), canary=canary)
    seen: set[str] = set()
    for step in made.steps:
        assert seen.issuperset(step.needs), "not in topological order"
        seen.add(step.id)
        assert step.kind in KINDS and step.host in world.hosts and step.text
        assert heard(have, step.host)
    assert len(seen) == len(made.steps)
    assert made == rollout(world, have, reversed(sorted(every(world, have))), canary=canary)


@SETTINGS
@given(worlds())
def test_nothing_to_do_when_all_is_right(pair: tuple[Expected, Actual]) -> None:
    world, _ = pair
    assert rollout(world, running(world), world.placement).steps == ()


def one(count: int = 1, **more: object) -> Expected:
    return expected({"p.web": service("2.0.0", count, **more)}, 3)


def old(world: Expected, **more: object) -> Actual:
    """Every instance on its host with the version before."""
    before = {p: replace(s, version="1.0.0") for p, s in world.services.items()}
    have = running(replace(world, services=before))
    return replace(have, units={i: tuple(replace(u, **more) for u in us) for i, us in have.units.items()})


def test_start_first() -> None:
    world = one(artifact="web")
    made = rollout(world, old(world), world.placement)
    assert kinds(made.steps) == [
        "fetch 2.0.0", "prepare p.web/0:2", "start p.web/0:2", "healthy p.web/0:2",
        "drain p.web/0:1", "stop p.web/0:1", "remove p.web/0:1",
    ]  # fmt: skip
    assert [s.text for s in made.steps] == [
        "push web-2.0.0 to sh-1", "prepare web/0 (2.0.0) on sh-1", "start web/0 beside the old one on sh-1",
        "wait until web/0 on sh-1 is healthy for 1 s",
        "take the old web/0 on sh-1 out of naming and let its connections end",
        "stop the old web/0 on sh-1", "forget the old web/0 on sh-1",
    ]  # fmt: skip
    assert [s.args for s in made.steps if s.kind in ("drain", "stop")] == [
        {"timeout": 10.0}, {"signal": "TERM", "grace": 10.0},
    ]  # fmt: skip


@pytest.mark.parametrize("more", [{"update": Update(order="stop-first")}, {"ports": {"main": 9000}}])
def test_stop_first_by_strategy_or_by_a_fixed_port(more: dict[str, object]) -> None:
    world = one(**more)
    assert kinds(rollout(world, old(world), world.placement).steps) == [
        "prepare p.web/0:2", "drain p.web/0:1", "stop p.web/0:1", "start p.web/0:2",
        "healthy p.web/0:2", "remove p.web/0:1",
    ]  # fmt: skip


def test_a_release_is_fetched_once_per_host_and_not_when_it_is_there() -> None:
    world = one(6, artifact="web")
    have = old(world)
    have = replace(
        have, hosts={**have.hosts, "sh-1": replace(have.hosts["sh-1"], releases=("web/2.0.0",))}
    )
    fetched = [s.host for s in rollout(world, have, world.placement).steps if s.kind == FETCH]
    assert sorted(fetched) == ["sh-2", "sh-3"]


def starts(steps: tuple[Step, ...]) -> list[tuple[int, str]]:
    return [(s.batch, s.instance) for s in steps if s.kind == START]


def test_canary_is_the_highest_slot_then_batches() -> None:
    world = one(5, update=Update(canary=1, parallel=2))
    made = rollout(world, old(world), world.placement, canary=True)
    assert starts(made.steps) == [
        (0, "p.web/4"), (1, "p.web/0"), (1, "p.web/1"), (2, "p.web/2"), (2, "p.web/3"),
    ]  # fmt: skip
    by_id = {s.id: s for s in made.steps}
    for step in made.steps:
        if step.kind == PREPARE and step.batch:
            before = {by_id[n].batch for n in step.needs}
            assert before == {step.batch - 1}
    assert starts(rollout(world, old(world), world.placement).steps)[0] == (0, "p.web/0")


def test_fresh_start_of_a_whole_system_goes_callees_first_all_at_once() -> None:
    world = expected({
        "p.web": service(count=3, depends=("p.sudoku",)), "p.sudoku": service(count=4), "q.batch": service(),
    })  # fmt: skip
    made = rollout(world, actual([], world.hosts), world.placement, canary=True)
    by_id = {s.id: s for s in made.steps}
    for step in made.steps:
        if step.kind == START:
            calls = {by_id[n].instance for n in step.needs if by_id[n].kind == HEALTHY}
            want = {f"p.sudoku/{n}" for n in range(4)} if step.instance.startswith("p.web") else set()
            assert calls == want


def test_missing_instances_wait_for_the_canary_of_a_deploy() -> None:
    world = one(4, update=Update(canary=1))
    have = old(world)
    have = replace(have, units={i: u for i, u in have.units.items() if i != "p.web/1"})
    made = rollout(world, have, world.placement, canary=True)
    canary = {s.id for s in made.steps if s.batch == 0}
    missing = next(s for s in made.steps if s.kind == PREPARE and s.instance == "p.web/1")
    assert missing.batch == 1 and set(missing.needs) <= canary and missing.needs


def test_move_to_another_host_starts_there_first() -> None:
    world = one(update=Update(order="stop-first"))
    have = running(world)
    moved = replace(world, placement={"p.web/0": "sh-3"})
    assert [(s.kind, s.host) for s in rollout(moved, have, ["p.web/0"]).steps] == [
        ("prepare", "sh-3"), ("start", "sh-3"), ("healthy", "sh-3"),
        ("drain", "sh-1"), ("stop", "sh-1"), ("remove", "sh-1"),
    ]  # fmt: skip


def test_two_instances_that_swap_hosts_with_a_fixed_port() -> None:
    world = expected({"p.web": service(count=2, ports={"main": 9000})}, 2)
    have = running(world)
    swapped = replace(world, placement={"p.web/0": world.placement["p.web/1"], "p.web/1": world.placement["p.web/0"]})
    made = rollout(swapped, have, swapped.placement)
    for seed in range(20):
        end = carry_out(swapped, have, made.steps, seed)
        assert drift_of(swapped, end.actual(), 0.0) == {}


def test_extra_units_are_ended_and_the_good_one_stays() -> None:
    world = one()
    have = actual(
        [(unit("p.web/0", 3, version="2.0.0"), "sh-1"), (unit("p.web/0", 2, version="1.0.0"), "sh-2")],
        world.hosts,
    )
    assert kinds(rollout(world, have, ["p.web/0"]).steps) == [
        "drain p.web/0:2", "stop p.web/0:2", "remove p.web/0:2",
    ]  # fmt: skip


def test_an_old_one_serves_until_the_starting_one_is_healthy() -> None:
    world = one()
    have = actual(
        [
            (unit("p.web/0", 1, version="1.0.0"), "sh-1"),
            (unit("p.web/0", 2, State.STARTING, version="2.0.0"), "sh-1"),
        ],
        world.hosts,
    )
    made = rollout(world, have, ["p.web/0"])
    assert kinds(made.steps)[:2] == ["healthy p.web/0:2", "drain p.web/0:1"]
    assert made.steps[1].needs == (made.steps[0].id,)


def test_stop_keeps_one_unit_and_start_uses_it_again() -> None:
    world = one()
    world = replace(world, services={"p.web": service("1.0.0", 1)})
    stopped = replace(world, stopped={"p.web/0": True})
    assert kinds(rollout(stopped, running(world), ["p.web/0"]).steps) == ["drain p.web/0:1", "stop p.web/0:1"]
    assert kinds(rollout(world, running(stopped), ["p.web/0"]).steps) == ["start p.web/0:1", "healthy p.web/0:1"]


@pytest.mark.parametrize(
    ("update", "want"),
    [
        ("start-first", ["prepare p.web/0:2", "start p.web/0:2", "healthy p.web/0:2", "drain p.web/0:1",
                         "stop p.web/0:1", "remove p.web/0:1"]),
        ("stop-first", ["drain p.web/0:1", "stop p.web/0:1", "start p.web/0:1", "healthy p.web/0:1"]),
    ],
)  # fmt: skip
def test_restart(update: str, want: list[str]) -> None:
    world = expected({"p.web": service(count=1, update=Update(order=update))})  # type: ignore[arg-type]
    assert kinds(rollout(world, running(world), ["p.web/0"], forced={"p.web/0"}).steps) == want


def test_unhealthy_is_restarted_but_a_crash_loop_keeps_its_unit() -> None:
    world = expected({"p.web": service(count=1)})
    failing = actual([(unit("p.web/0", health=FAILING), "sh-1")], world.hosts)
    assert "start p.web/0:2" in kinds(rollout(world, failing, ["p.web/0"]).steps)
    looping = actual([(unit("p.web/0", 1, State.FAILED, wanted=True), "sh-1")], world.hosts)
    assert kinds(rollout(world, looping, ["p.web/0"]).steps) == [
        "drain p.web/0:1", "stop p.web/0:1", "start p.web/0:1", "healthy p.web/0:1",
    ]  # fmt: skip
    rejected = actual([(unit("p.web/0", 1, State.REJECTED), "sh-1")], world.hosts)
    assert kinds(rollout(world, rejected, ["p.web/0"]).steps) == [
        "prepare p.web/0:2", "start p.web/0:2", "healthy p.web/0:2", "remove p.web/0:1",
    ]  # fmt: skip


def test_gen_is_above_every_one_known() -> None:
    world = one()
    made = rollout(world, old(world), ["p.web/0"], gen_floor={"p.web/0": 9})
    assert any(s.unit == "p.web/0:10" for s in made.steps)


def test_a_job_that_is_done_is_not_drift() -> None:
    from cockpit.model.topology import Restart

    world = expected({"p.job": service(count=1, restart=Restart(mode="never"))})
    have = actual([(unit("p.job/0", 1, State.COMPLETE), "sh-1")], world.hosts)
    assert rollout(world, have, ["p.job/0"]).steps == () and drift_of(world, have, 0.0) == {}
    assert kinds(rollout(world, have, ["p.job/0"], forced=["p.job/0"]).steps) == [
        "start p.job/0:1", "healthy p.job/0:1",
    ]  # fmt: skip


def test_silent_hosts_are_left_alone_with_a_warning() -> None:
    world = one(2)
    have = old(world)
    host = world.placement["p.web/0"]
    have = replace(have, hosts={**have.hosts, host: replace(have.hosts[host], presence="unknown")})
    made = rollout(world, have, world.placement)
    assert {s.instance for s in made.steps} == {"p.web/1"}
    assert made.warnings == (f"{host} gives no answer: nothing is done for web/0",)
    away = replace(world, placement={**world.placement, "p.web/0": "sh-3"})
    made = rollout(away, have, ["p.web/0"])
    assert kinds(made.steps) == ["prepare p.web/0:2", "start p.web/0:2", "healthy p.web/0:2"]
    assert made.warnings == (f"{host} gives no answer: the web/0 there is left as it is",)


def test_pinned_units_are_left_alone_unless_named() -> None:
    world = one()
    have = old(world, pinned="uid 1000 14:03 stop")
    made = rollout(world, have, ["p.web/0"])
    assert made.steps == () and "pinned on its host (uid 1000 14:03 stop)" in made.warnings[0]
    assert rollout(world, have, ["p.web/0"], pinned_too=True).steps


def test_removed_instances_end_in_parallel() -> None:
    world = one(3)
    fewer = replace(
        world, services={"p.web": service("2.0.0", instances=Instances(count=1))},
        placement={"p.web/0": world.placement["p.web/0"]},
    )  # fmt: skip
    made = rollout(fewer, running(world), world.placement)
    assert [s.unit for s in made.steps if s.kind == DRAIN and not s.needs] == ["p.web/1:1", "p.web/2:1"]
    assert all(have.presence == UP for have in running(world).hosts.values())


def test_edges_grow_with_the_steps_and_not_with_their_square() -> None:
    """A batch waits for the batch before by one gate, a caller's instances for all of the callee's."""
    world = expected({
        "p.web": service(count=40, depends=("p.sudoku",)),
        "p.sudoku": service("2.0.0", 60, update=Update(parallel=20)),
    })  # fmt: skip
    have = running(expected({"p.sudoku": service("1.0.0", 60)}))
    made = rollout(world, have, world.placement)
    assert [len(members) for members in made.gates.values()] == [20, 20]
    assert sum(len(s.needs) for s in made.steps) < 2 * len(made.steps)
    by_id = {s.id: s for s in made.steps}
    for step in made.steps:
        if step.kind == PREPARE and step.batch:
            (gate,) = step.needs
            assert {by_id[n].batch for n in made.gates[gate]} == {step.batch - 1}
    fresh = rollout(world, actual([], world.hosts), world.placement)
    ready = {s.id for s in fresh.steps if s.kind == HEALTHY and s.instance.startswith("p.sudoku/")}
    waits = [s for s in fresh.steps if s.kind == START and s.instance.startswith("p.web/")]
    assert len(waits) == 40
    for step in waits:
        assert [set(fresh.gates[n]) for n in step.needs if n in fresh.gates] == [ready]
