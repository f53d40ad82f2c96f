"""Data artifacts in plans: deploy, apply, converge, new hosts, rollback and return."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.model.actual import Actual
from cockpit.model.judge import Digests, wrong_data
from cockpit.model.states import FAILING, State
from cockpit.model.topology import Check, Data, Expected, Instances, Service, Update, from_doc, service_path, to_doc
from cockpit.model.view import RevisionRow
from cockpit.plan.context import PlanContext
from cockpit.plan.data import watch_time
from cockpit.plan.rollout import rollout
from cockpit.plan.steps import ACTIVATE, FETCH, HEALTHY, PREPARE, Bad, Plan, Step
from cockpit.plan.undo import return_plan
from cockpit.plan.verbs import plan
from tests.plan.world import actual, carry_out, context, expected, intent, running, service, unit

STORE = {f"words/{n}": f"{n}{n}" for n in (4, 5)} | {"grids/1": "g1", "grids/2": "g2", "web/1.0.0": "w1"}
KINDS = {id: "data" for id in STORE if not id.startswith("web")}


def web(change: str = "signal", version: str = "4", **more: Any) -> Service:
    words = Data(artifact="words", version=version, on_change=change)  # type: ignore[arg-type]
    return service(count=more.pop("count", 3), data={"words": words} | more.pop("data", {}), artifact="web", **more)


def world(change: str = "signal", **more: Any) -> Expected:
    return expected({"p.web": web(change, **more)})


def having(e: Expected, **presence: str) -> Actual:
    """Everything runs with the data that is expected, which is on its host."""
    have = running(e, **presence)
    units = {
        i: tuple(replace(u, data={n: d.version for n, d in e.service_of(i).data.items()}) for u in us)
        for i, us in have.units.items()
    }
    there = sorted({f"{d.artifact}/{d.version}" for s in e.services.values() for d in s.data.values()})
    hosts = {n: replace(h, releases=(*h.releases, *there)) for n, h in have.hosts.items()}
    return replace(have, units=units, hosts=hosts, artifacts=STORE, kinds=KINDS)


def ctx(e: Expected, have: Actual | None = None, **more: Any) -> PlanContext:
    return context(e, have or having(e), artifacts=STORE, **more)


def deployed(e: Expected, version: str = "5", name: str = "words", have: Actual | None = None) -> Plan:
    return plan(intent("deploy", "web", version=version, data=name), ctx(e, have))


def of(steps: tuple[Step, ...], kind: str) -> list[Step]:
    return [s for s in steps if s.kind == kind]


def test_a_deploy_of_data_writes_one_path_and_restarts_nothing() -> None:
    made = deployed(world())
    assert [(c.path, c.old, c.new) for c in made.changes] == [
        (("services", "p.web", "data", "words", "version"), "4", "5")
    ]
    assert made.title == "deploy web words 5" and made.undo == "u returns to words 4"
    assert made.intent.params == {"version": "5", "data": "words"} and made.intent.targets == ("p.web",)
    assert {s.kind for s in made.steps} == {FETCH, ACTIVATE, HEALTHY}
    assert made.on_failure == "return" and {"p.web", "p.web/0"} <= set(made.locks)
    first = of(made.steps, ACTIVATE)[0]
    assert first.args == {"data": "words", "artifact": "words", "version": "5", "signal": "HUP"}
    assert (first.instance, first.unit) == ("p.web/0", "p.web/0:1")
    assert first.text == f"give web/0 on {first.host} words-5 and send it HUP"


def test_it_is_fetched_on_every_host_first_and_given_in_batches() -> None:
    e = world(count=5, update=Update(canary=1, parallel=2))
    made = deployed(e)
    assert [s.kind for s in made.steps[:4]] == [FETCH] * 4
    assert {s.host for s in of(made.steps, FETCH)} == set(e.placement.values())
    gives = of(made.steps, ACTIVATE)
    assert [(s.instance[-1], s.batch) for s in gives] == [("4", 0), ("0", 1), ("1", 1), ("2", 2), ("3", 2)]
    watched = {s.unit: s for s in of(made.steps, HEALTHY)}
    for give in gives:
        gate = watched[give.unit]
        assert gate.needs == (give.id,) and gate.args["data"] == {"words": "words/5"}
        before = {s.id for s in watched.values() if s.batch == give.batch - 1}
        fetch = next(s.id for s in of(made.steps, FETCH) if s.host == give.host)
        assert set(give.needs) == {fetch} | before


def test_nothing_to_tell_nothing_to_wait_for() -> None:
    steps = deployed(world("nothing")).steps
    assert {s.kind for s in steps} == {FETCH, ACTIVATE} and all(s.args["signal"] == "" for s in of(steps, ACTIVATE))


def test_a_restart_is_the_usual_rolling_one() -> None:
    e = world("restart", update=Update(canary=1, parallel=1))
    made = deployed(e)
    assert {s.kind for s in made.steps} == {FETCH, PREPARE, "start", HEALTHY, "drain", "stop", "remove"}
    assert all(s.args == {"version": "1.0.0", "data": {"words": "words/5"}} for s in of(made.steps, PREPARE))
    assert [s.instance for s in of(made.steps, PREPARE)] == ["p.web/2", "p.web/0", "p.web/1"]
    end = carry_out(from_doc(patched(e, made)), having(e), made.steps, gates=made.gates)
    assert end.lowest["p.web"] == 3


def patched(e: Expected, made: Plan) -> Any:
    from cockpit.model.patch import apply

    return apply(to_doc(e), made.changes)


def test_the_same_version_again_is_nothing() -> None:
    assert deployed(world(), "4").empty


@pytest.mark.parametrize(
    ("version", "name", "text"),
    [
        ("6", "words", "p.web: data words (words) has no version '6'; did you mean words/5 or words/4?"),
        ("5", "word", "web has no data 'word'; did you mean words?"),
        ("1.0.0", "rel", "p.web: web/1.0.0 is a release, not data"),
    ],
)
def test_what_cannot_be_deployed(version: str, name: str, text: str) -> None:
    e = world(data={"rel": Data(artifact="web")})
    with pytest.raises(Bad) as error:
        deployed(e, version, name)
    assert str(error.value) == text


def test_a_service_without_data() -> None:
    with pytest.raises(Bad, match="web has no data artifacts"):
        deployed(expected({"p.web": service(artifact="web")}))


def test_only_instances_that_differ_and_can_be_reached() -> None:
    e = world()
    have = having(e)
    have = replace(have, units={**have.units, "p.web/1": tuple(
        replace(u, data={"words": "5"}) for u in have.units["p.web/1"]
    )})  # fmt: skip
    assert [s.instance for s in of(deployed(e, have=have).steps, ACTIVATE)] == ["p.web/0", "p.web/2"]
    made = deployed(e, have=having(e, sh_1="unknown"))
    assert "p.web/0" not in {s.instance for s in made.steps} and made.skipped == ("p.web/0",)


def test_an_instance_that_is_in_trouble_starts_anew_with_the_new_data() -> None:
    e = world()
    have = having(e)
    sick = tuple(replace(u, health=FAILING) for u in have.units["p.web/0"])
    made = deployed(e, have=replace(have, units={**have.units, "p.web/0": sick}))
    assert [s.kind for s in made.steps if s.instance == "p.web/0"][:2] == [PREPARE, "start"]


def test_a_stopped_instance_is_left_and_gets_it_when_it_starts() -> None:
    e = replace(world(), stopped={"p.web/0": True})
    after = replace(e, services={"p.web": web(version="5")})
    assert "p.web/0" not in {s.instance for s in deployed(e).steps}
    made = plan(intent("start", "web/0"), ctx(after, having(e)))
    assert [s.kind for s in made.steps] == [FETCH, PREPARE, "start", HEALTHY, "remove"]


def test_several_at_once_one_after_the_other_and_one_watch() -> None:
    e = world(count=1, data={"grids": Data(artifact="grids", version="1", on_change="nothing")})
    services = {"p.web": web(version="5", count=1, data={"grids": Data(artifact="grids", version="2")})}
    made = rollout(replace(e, services=services), having(e), e.placement)
    names = [(s.kind, s.args.get("data")) for s in made.steps]
    assert names[2:] == [
        (ACTIVATE, "words"), (ACTIVATE, "grids"), (HEALTHY, {"words": "words/5", "grids": "grids/2"}),
    ]  # fmt: skip
    assert made.steps[3].needs == (made.steps[2].id,)


def test_apply_with_another_version_and_one_that_is_not_there() -> None:
    e = world()
    made = plan(intent("apply", document=to_doc(replace(e, services={"p.web": web(version="5")}))), ctx(e))
    assert {s.kind for s in made.steps} == {FETCH, ACTIVATE, HEALTHY} and len(of(made.steps, ACTIVATE)) == 3
    with pytest.raises(Bad, match="has no version '7'"):
        plan(intent("apply", document=to_doc(replace(e, services={"p.web": web(version="7")}))), ctx(e))


def test_a_change_of_strategy_alone_changes_nothing_that_runs() -> None:
    e = world()
    assert plan(intent("apply", document=to_doc(world("restart"))), ctx(e)).steps == ()
    one, other = Digests(e), Digests(world("restart", version="5"))
    assert one.of("p.web/0") == other.of("p.web/0")
    assert one.of("p.web/0") != Digests(world(data={"grids": Data(artifact="grids")})).of("p.web/0")
    bare = expected({"p.web": service(count=3, artifact="web")})
    assert one.of("p.web/0") != Digests(bare).of("p.web/0")


def test_a_new_host_gets_release_and_data() -> None:
    e = expected({"p.web": web(instances=Instances(hosts=("sh-1",)))})
    have = having(e)
    have = replace(have, hosts={**have.hosts, "sh-2": replace(have.hosts["sh-2"], releases=())})
    made = plan(intent("migrate", "web/0", host="sh-2"), ctx(e, have))
    assert [(s.args["name"], s.args["version"]) for s in of(made.steps, FETCH)] == [("web", "1.0.0"), ("words", "4")]
    prepare = of(made.steps, PREPARE)[0]
    assert set(prepare.needs) == {s.id for s in of(made.steps, FETCH)}


def test_converge_gives_what_a_host_has_not_taken() -> None:
    e = world(count=1)
    have = having(e)
    odd = {"p.web/0": tuple(replace(u, data={"words": "4 (5 is linked)"}) for u in have.units["p.web/0"])}
    made = plan(intent("converge"), ctx(e, replace(have, units=odd)))
    assert [s.kind for s in made.steps] == [ACTIVATE, HEALTHY] and made.changes == ()


def test_rollback_is_the_inverse() -> None:
    e = world()
    made = deployed(e)
    after = from_doc(patched(e, made))
    row = RevisionRow(
        number=43, mark="", author="li", time=1.0, action="#5", changes=made.changes
    )  # fmt: skip
    back = plan(intent("rollback", "web"), ctx(after, revisions=(row,)))
    assert [(c.old, c.new) for c in back.changes] == [("5", "4")]
    assert [s.args["version"] for s in of(back.steps, ACTIVATE)] == ["4"] * 3


def test_a_return_gives_the_old_data_to_what_was_touched() -> None:
    e = world()
    made = deployed(e)
    after = from_doc(patched(e, made))
    have = having(e)
    touched = {"p.web/2": tuple(replace(u, data={"words": "5"}) for u in have.units["p.web/2"])}
    back = return_plan(
        ctx(after, replace(have, units={**have.units, **touched})), replace(made.intent, cause="#5"), made.changes,
        ["p.web/2"],
    )
    assert [(s.kind, s.instance) for s in back.steps] == [(ACTIVATE, "p.web/2"), (HEALTHY, "p.web/2")]
    assert back.steps[0].args["version"] == "4"


def test_adopt_takes_the_data_that_is_there() -> None:
    e = world()
    have = having(world(version="5"))
    by_hand = tuple(replace(u, data={"words": "5 (4 is linked)"}) for u in have.units["p.web/1"])
    made = plan(intent("adopt"), ctx(e, replace(have, units={**have.units, "p.web/1": by_hand})))
    assert [(c.path[2:], c.new) for c in made.changes] == [(("data", "words", "version"), "5")] and not made.steps
    mixed = {**have.units, "p.web/1": tuple(replace(u, data={"words": "4"}) for u in have.units["p.web/1"])}
    with pytest.raises(Bad, match=r"web has several versions of words, so none can be adopted: 4 \(1\), 5 \(2\)"):
        plan(intent("adopt"), ctx(e, replace(have, units=mixed)))


def test_a_push_goes_where_the_data_is_used() -> None:
    made = plan(intent("push", "words/5"), ctx(world()))
    assert len(made.steps) == 3


def test_what_is_known_of_a_plan_decides_its_digest() -> None:
    e = world()
    have = having(e)
    odd = {**have.units, "p.web/0": tuple(replace(u, data={"words": "3"}) for u in have.units["p.web/0"])}
    assert deployed(e).digest != deployed(e, have=replace(have, units=odd)).digest


@pytest.mark.parametrize(
    ("check", "update", "seconds"),
    [
        (None, Update(healthy_for=2.0), 2.0),
        (Check(notify=True), Update(), 1.0),
        (Check(tcp=""), Update(), 4.0),
        (Check(tcp="", interval=0.1, timeout=0.2), Update(healthy_for=3.0), 3.0),
        (Check(tcp="", interval=30.0), Update(deadline=20.0), 10.0),
    ],
)
def test_it_is_watched_for_as_long_as_its_check_needs(check: Check | None, update: Update, seconds: float) -> None:
    assert watch_time(web(check=check, update=update)) == seconds


@given(
    change=st.sampled_from(["nothing", "signal", "restart"]), data=st.lists(st.sampled_from(["3", "4", "5", ""])),
    states=st.lists(st.sampled_from([State.RUNNING, State.STARTING, State.SHUTDOWN, State.COMPLETE, State.READY])),
    order=st.sampled_from(["start-first", "stop-first"]), seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_afterwards_everything_has_what_is_expected(
    change: str, data: list[str], states: list[State], order: str, seed: int
) -> None:
    e = world(change, version="5", count=4, update=Update(order=order, canary=1))  # type: ignore[arg-type]
    digests = Digests(e)
    pairs = []
    for n, (instance, host) in enumerate(e.placement.items()):
        if n < len(states):
            more: dict[str, Any] = {"health": "starting"} if states[n] == State.STARTING else {}
            more["data"] = {"words": data[n]} if n < len(data) and data[n] else {}
            more["ports"] = {"main": 20000 + n}
            pairs.append((unit(instance, 1, states[n], config=digests.of(instance), **more), host))
    have = actual(pairs, e.hosts)
    made = rollout(e, have, e.placement, canary=True)
    end = carry_out(e, have, made.steps, seed, made.gates)
    for u in end.units.values():
        if u.state in (State.RUNNING, State.STARTING):
            assert not wrong_data(u, e.services[service_path(u.instance)])
    end.arrive()
    assert rollout(e, end.actual(), e.placement).steps == (), "nothing is left to do"
