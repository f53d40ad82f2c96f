"""Every verb of the table: patch, steps, risk, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.act.table import VERBS
from cockpit.model.actual import Actual
from cockpit.model.drift import drift_of
from cockpit.model.patch import apply, diff, inverse
from cockpit.model.states import State
from cockpit.model.topology import Expected, Instances, Update, from_doc, to_doc
from cockpit.model.view import Change, RevisionRow
from cockpit.plan.context import PlanContext
from cockpit.plan.importing import topology_part
from cockpit.plan.steps import Bad, Plan, Refused
from cockpit.plan.undo import return_plan
from cockpit.plan.verbs import plan
from tests.plan.world import actual, carry_out, context, expected, intent, kinds, running, service, unit, worlds

ARTIFACTS = {"web/1.0.0": {}, "web/1.1.0": {}, "sudoku/1.0.0": {}, "sudoku/1.1.0": {}}


def puzzle(**more: Any) -> Expected:
    update = Update(canary=1)
    return expected({
        "puzzle.web": service(artifact="web", depends=("puzzle.sudoku",), update=update),
        "puzzle.sudoku": service(count=4, artifact="sudoku", update=update),
    }, 6, **more)  # fmt: skip


def ctx(world: Expected | None = None, have: Actual | None = None, **more: Any) -> PlanContext:
    more.setdefault("artifacts", ARTIFACTS)
    return context(world or puzzle(), have, **more)


def after(c: PlanContext, p: Plan) -> Expected:
    return from_doc(apply(c.doc, p.changes))


def changed(p: Plan) -> dict[str, Any]:
    return {"/".join(c.path): c.new for c in p.changes}


def submit(c: PlanContext, p: Plan, action: str = "#1", author: str = "li@jump-1", **more: Any) -> PlanContext:
    """The world after the plan was carried out."""
    new = after(c, p)
    row = RevisionRow(
        number=c.revision + 1, mark="", author=author, time=0.0, action=action, changes=p.changes,
        undo=p.intent.verb == "rollback")  # fmt: skip
    end = carry_out(new, c.actual, p.steps)
    return replace(
        c, doc=to_doc(new), expected=new, revision=c.revision + bool(p.changes), actual=end.actual(),
        revisions=(*c.revisions, row) if p.changes else c.revisions, **more,
    )  # fmt: skip


def test_every_verb_with_a_plan_is_here() -> None:
    for verb in VERBS.values():
        if verb.target == "action":
            with pytest.raises(Bad, match="has no plan"):
                plan(intent(verb.name, "#118"), ctx())
    with pytest.raises(Bad, match="did you mean deploy"):
        plan(intent("deplay", "web"), ctx())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (intent("deploy", version="1.1.0"), "deploy needs a target"),
        (intent("deploy", "web"), "deploy needs version"),
        (intent("deploy", "web", "sudoku", version="1"), "takes one target, not 2"),
        (intent("deploy", "wep", version="1.1.0"), "no service 'wep'; did you mean puzzle.web"),
        (intent("deploy", "puzzle", version="1.1.0"), "puzzle is a group; name one of its services"),
        (intent("deploy", "web", version="9"), "has no version '9'; known: 1.0.0, 1.1.0"),
        (intent("deploy", "web", version="1.1.0", colour="red"), "no parameter 'colour'"),
        (intent("scale", "web", count=-1), "count must be a whole number"),
        (intent("scale", "web", count=True), "count must be a whole number"),
        (intent("migrate", "web/0", host="sh-99"), "no host 'sh-99'"),
        (intent("migrate", "web/7"), "no instance 'web/7'"),
        (intent("push", "web/7"), "no artifact 'web/7'"),
        (intent("drain", "moon"), "no host 'moon'"),
        (intent("restart", "nothing"), "no target 'nothing'"),
        (intent("rollback"), "nothing to undo"),
        (intent("rollback", action="#9"), "no action '#9'"),
        (intent("apply"), "apply needs document"),
        (intent("apply", document={"name": "x", "hots": {}, "services": {"w": {}}}), "processes"),
    ],
)
def test_bad_input_says_what_is_wrong(asked: Any, says: str) -> None:
    with pytest.raises(Bad, match=says):
        plan(asked, ctx())


def test_deploy() -> None:
    c = ctx()
    p = plan(intent("deploy", "sudoku", version="1.1.0"), c)
    assert p.intent.targets == ("puzzle.sudoku",) and p.title == "deploy sudoku 1.1.0"
    assert changed(p) == {"services/puzzle.sudoku/version": "1.1.0"}
    assert [s.instance for s in p.steps if s.kind == "start"] == [
        "puzzle.sudoku/3", "puzzle.sudoku/0", "puzzle.sudoku/1", "puzzle.sudoku/2",
    ]  # fmt: skip
    assert p.touches == ("web (2 instances use sudoku, never below 4 ready)",)
    assert (p.undo, p.on_failure, p.risk, p.confirm) == ("u returns to 1.0.0", "return", "change", "")
    assert {"puzzle.sudoku", "puzzle.sudoku/0"} <= set(p.locks)
    done = submit(c, p)
    assert drift_of(done.expected, done.actual, 0.0) == {}
    assert plan(intent("deploy", "sudoku", version="1.1.0"), done).empty


def test_deploy_of_a_label_restarts() -> None:
    c = ctx(expected({"p.web": service(count=1)}))
    assert changed(plan(intent("deploy", "web", version="blue"), c)) == {"services/p.web/version": "blue"}
    p = plan(intent("deploy", "web", version="1.0.0"), c)
    assert p.changes == () and any(s.kind == "start" for s in p.steps)


def test_restart_stop_start() -> None:
    c = ctx()
    p = plan(intent("restart", "web/0"), c)
    assert p.changes == () and {s.instance for s in p.steps} == {"puzzle.web/0"}
    p = plan(intent("stop", "web"), c)
    assert (p.risk, p.confirm, p.title) == ("destructive", "web", "stop web")
    assert changed(p) == {"stopped/puzzle.web/0": True, "stopped/puzzle.web/1": True}
    stopped = submit(c, p)
    assert {u.state for i in ("puzzle.web/0", "puzzle.web/1") for u in stopped.actual.units[i]} == {State.SHUTDOWN}
    with pytest.raises(Bad, match="web is stopped; start it"):
        plan(intent("restart", "web"), stopped)
    assert "web/0 is stopped and stays so" in plan(intent("restart", "puzzle"), stopped).warnings
    p = plan(intent("start", "web/0"), stopped)
    assert changed(p) == {"stopped/puzzle.web/0": None}
    assert kinds(p.steps) == ["start puzzle.web/0:1", "healthy puzzle.web/0:1"]


def test_scale() -> None:
    c = ctx()
    p = plan(intent("scale", "sudoku", count=6), c)
    assert p.risk == "change" and {s.instance for s in p.steps} == {"puzzle.sudoku/4", "puzzle.sudoku/5"}
    more = submit(c, p)
    p = plan(intent("scale", "sudoku", count="1"), more)
    assert (p.risk, p.confirm, p.undo) == ("destructive", "sudoku", "u scales back to 6")
    assert set(after(more, p).placement) == {"puzzle.sudoku/0", "puzzle.web/0", "puzzle.web/1"}
    assert {s.kind for s in p.steps} == {"drain", "stop", "remove"}
    fixed = ctx(expected({"p.web": service(instances=Instances(hosts=("sh-1",)))}))
    with pytest.raises(Bad, match="explicit host list of 1"):
        plan(intent("scale", "web", count=2), fixed)
    with pytest.raises(Bad, match="sh-1 gives no answer"):
        w = expected({"p.web": service(count=1, ports={"main": 9000})}, 2)
        plan(intent("scale", "web", count=2), ctx(w, running(w, sh_1="unknown", sh_2="unknown")))


def test_migrate() -> None:
    c = ctx()
    old = c.expected.placement["puzzle.web/1"]
    p = plan(intent("migrate", "web/1"), c)
    new = after(c, p).placement["puzzle.web/1"]
    assert new != old and p.title == f"migrate web/1 to {new}" and p.undo == f"u moves it back to {old}"
    assert p.risk == "change"
    with pytest.raises(Bad, match="is on .* already"):
        plan(intent("migrate", "web/1", host=old), c)
    with pytest.raises(Refused, match="sh-6 gives no answer"):
        plan(intent("migrate", "web/0", host="sh-6"), ctx(have=running(puzzle(), sh_6="down")))
    one = ctx(expected({"p.web": service(count=1)}))
    p = plan(intent("migrate", "web/0", host="sh-2"), one)
    assert (p.risk, p.confirm) == ("destructive", "web/0")
    assert "web/0 is the only serving instance of web" in p.warnings


def test_migrate_and_drain_keep_explicit_lists_true() -> None:
    c = ctx(expected({"p.web": service(instances=Instances(hosts=("sh-1", "sh-2")))}))
    p = plan(intent("migrate", "web/0", host="sh-4"), c)
    assert changed(p) == {"placement/p.web/0": "sh-4", "services/p.web/instances/hosts": ["sh-4", "sh-2"]}
    p = plan(intent("drain", "sh-1"), c)
    assert after(c, p).services["p.web"].instances.hosts == (after(c, p).placement["p.web/0"], "sh-2")
    assert "the host list of web changes" in p.warnings


def test_drain_and_back() -> None:
    c = ctx()
    p = plan(intent("drain", "sh-1"), c)
    assert (p.risk, p.confirm) == ("destructive", "sh-1") and "sh-1" in p.locks
    gone = submit(c, p)
    assert "sh-1" not in gone.expected.placement.values() and gone.expected.modes == {"sh-1": "draining"}
    assert "sh-1" not in {gone.actual.where[u.unit] for us in gone.actual.units.values() for u in us}
    p = plan(intent("start", "sh-1"), gone)
    assert changed(p) == {"modes/sh-1": None} and p.steps == ()
    tight = ctx(expected({"p.web": service(count=4, ports={"main": 9000})}))
    with pytest.raises(Bad, match=r"sh-2 cannot be drained: web wants 4 instances, 3 hosts allow at most 3"):
        plan(intent("drain", "sh-2"), tight)


def test_drain_of_a_dead_host_starts_elsewhere() -> None:
    w = puzzle()
    p = plan(intent("drain", "sh-1"), ctx(w, running(w, sh_1="down")))
    assert p.steps and all(s.host != "sh-1" for s in p.steps)
    assert any("sh-1 gives no answer" in line for line in p.warnings)


def test_push() -> None:
    c = ctx()
    p = plan(intent("push", "web/1.1.0"), c)
    assert {s.host for s in p.steps} == {h for i, h in c.expected.placement.items() if "web" in i}
    assert p.changes == () and p.on_failure == "continue"
    p = plan(intent("push", "web/1.1.0", hosts="sh-1, sh-2"), c)
    assert [(s.kind, s.host) for s in p.steps] == [("fetch", "sh-1"), ("fetch", "sh-2")]


def test_converge() -> None:
    w = puzzle()
    have = running(w)
    assert plan(intent("converge"), ctx(w)).empty
    extra = actual([(unit("puzzle.web/9"), "sh-1"), (unit("other.x/0"), "sh-2")], w.hosts)
    have = replace(have, units={**have.units, **extra.units}, where={**have.where, **extra.where})
    p = plan(intent("converge", "web"), ctx(w, have))
    assert {s.instance for s in p.steps} == {"puzzle.web/9"} and p.on_failure == "continue"
    assert plan(intent("restart", "web"), ctx(w)).on_failure == "pause"
    assert {s.instance for s in plan(intent("converge"), ctx(w, have)).steps} == {"puzzle.web/9", "other.x/0"}


def test_adopt() -> None:
    w = puzzle()
    have = running(w)
    moved = "sh-6" if w.placement["puzzle.web/0"] != "sh-6" else "sh-5"
    have.where["puzzle.web/0:1"] = moved
    units = {i: tuple(replace(u, version="1.1.0") for u in us) if "web" in i else us for i, us in have.units.items()}
    units["puzzle.sudoku/0"] = (replace(units["puzzle.sudoku/0"][0], state=State.SHUTDOWN, wanted=False),)
    units["puzzle.sudoku/4"] = (unit("puzzle.sudoku/4"),)
    have = replace(have, units=units, where={**have.where, "puzzle.sudoku/4:1": "sh-1"})
    c = ctx(w, have)
    p = plan(intent("adopt"), c)
    assert changed(p) == {
        "placement/puzzle.web/0": moved, "placement/puzzle.sudoku/4": "sh-1", "stopped/puzzle.sudoku/0": True,
        "services/puzzle.web/version": "1.1.0", "services/puzzle.sudoku/instances/count": 5,
    }  # fmt: skip
    left = {row.kind for row in drift_of(after(c, p), have, 0.0).values()}
    assert left <= {"wrong config"} and p.steps == ()
    units["puzzle.web/1"] = (replace(units["puzzle.web/1"][0], version="1.0.0"),)
    with pytest.raises(Bad, match=r"several versions.*1.0.0 \(1\), 1.1.0 \(1\)"):
        plan(intent("adopt", "web"), ctx(w, have))


def document(world: Expected) -> dict[str, Any]:
    return topology_part(to_doc(world))


def test_apply_to_an_empty_cluster_places_everything_and_starts_it() -> None:
    w = puzzle()
    empty = Expected(name="")
    c = context(empty, actual([], w.hosts), revision=0)
    p = plan(intent("apply", document=document(w), source="topology.yaml"), c)
    assert after(c, p).placement.keys() == w.placement.keys() and p.title == "apply topology.yaml"
    assert len([s for s in p.steps if s.kind == "start"]) == 6 and p.on_failure == "continue"
    silent = plan(intent("apply", document=document(w)), replace(c, actual=Actual()))
    assert len(after(c, silent).placement) == 6 and silent.steps == ()


def test_apply_is_three_way() -> None:
    w = puzzle()
    c = ctx(w, last_import=document(w))
    c = submit(c, plan(intent("deploy", "sudoku", version="1.1.0"), c))
    edited = replace(w, services={**w.services, "puzzle.web": replace(w.services["puzzle.web"], env={"A": "1"})})
    assert plan(intent("apply", document=document(w)), c).empty
    p = plan(intent("apply", document=document(edited)), c)
    assert changed(p) == {"services/puzzle.web/env": {"A": "1"}}
    assert {s.instance for s in p.steps if s.instance} == {"puzzle.web/0", "puzzle.web/1"}
    newer = replace(w.services["puzzle.sudoku"], version="1.2.0")
    clash = replace(w, services={**w.services, "puzzle.sudoku": newer})
    with pytest.raises(Bad, match=r'puzzle.sudoku > version: was "1.0.0", here "1.1.0", in the file "1.2.0"'):
        plan(intent("apply", document=document(clash)), c)


def test_apply_moves_only_what_may_not_stay() -> None:
    w = expected({"p.web": service(count=3), "p.db": service(count=1)}, 4)
    c = ctx(w, last_import=document(w))
    fewer = replace(
        w, hosts={h: v for h, v in w.hosts.items() if h != w.placement["p.web/1"]},
        services={"p.web": service(count=3)},
    )  # fmt: skip
    p = plan(intent("apply", document=document(fewer)), c)
    new = after(c, p).placement
    assert set(new) == {"p.web/0", "p.web/1", "p.web/2"}
    assert [i for i in new if new[i] != w.placement[i]] == ["p.web/1"]
    assert "1 instance will be removed" in p.warnings


def test_rollback_undoes_the_last_and_then_the_one_before() -> None:
    c = ctx()
    c = submit(c, plan(intent("scale", "web", count=3), c), "#1")
    c = submit(c, plan(intent("deploy", "sudoku", version="1.1.0"), c), "#2")
    p = plan(intent("rollback", "sudoku"), c)
    assert plan(intent("rollback", "#2"), c).changes == p.changes
    assert p.title == "rollback #2 (sudoku)" and changed(p) == {"services/puzzle.sudoku/version": "1.0.0"}
    back = submit(c, p, "#3")
    assert drift_of(back.expected, back.actual, 0.0) == {}
    assert plan(intent("rollback"), back).title == "rollback #1"
    with pytest.raises(Bad, match="nothing to undo: no recent action changed sudoku"):
        plan(intent("rollback", "sudoku"), back)
    assert plan(intent("rollback", action="3"), back).changes == inverse(p.changes)


def test_rollback_is_refused_when_somebody_changed_it_since() -> None:
    c = ctx()
    c = submit(c, plan(intent("deploy", "web", version="1.1.0"), c), "#1")
    c = submit(c, plan(intent("deploy", "web", version="1.0.0"), c), "#2", author="wang@jump-2")
    c = submit(c, plan(intent("deploy", "web", version="1.1.0"), c), "#3")
    assert plan(intent("rollback", action="#3"), c)
    says = r"#2 cannot be undone: .*version has been changed since by li@jump-1 \(revision 45, #3\)"
    with pytest.raises(Refused, match=says):
        plan(intent("rollback", action="#2"), c)


def test_return_goes_to_the_stable_version_and_only_what_was_touched() -> None:
    c = ctx()
    p = plan(intent("deploy", "sudoku", version="1.1.0"), c)
    new = after(c, p)
    canary = [s for s in p.steps if s.batch == 0][:4]
    end = carry_out(new, c.actual, [replace(s, needs=()) for s in canary])
    middle = replace(c, doc=to_doc(new), expected=new, actual=end.actual(), revision=43)
    back = return_plan(
        middle, replace(intent("rollback"), cause="#7"), p.changes, {s.instance for s in canary if s.instance}
    )
    assert back.changes == inverse(p.changes) and back.on_failure == "pause" and back.title == "return #7"
    assert {s.instance for s in back.steps} <= {"puzzle.sudoku/3"}
    returned = carry_out(after(middle, back), middle.actual, back.steps)
    assert drift_of(after(middle, back), returned.actual(), 0.0) == {}
    stable = return_plan(middle, intent("rollback"), p.changes, (), stable={"puzzle.sudoku": "0.9"})
    assert changed(stable) == {"services/puzzle.sudoku/version": "0.9"}
    other = (Change(path=("services", "puzzle.web", "version"), old="1.0.0", new="9"),)
    with pytest.raises(Refused):
        return_plan(middle, intent("rollback"), other, ())


@pytest.mark.parametrize(("word", "said"), [("continue", True), ("return", False), ("pause", False)])
def test_a_plan_that_goes_on_after_failures_says_so(word: str, said: bool) -> None:
    w = puzzle()
    service = w.services["puzzle.sudoku"]
    update = replace(service.update, on_failure=word)
    w = replace(w, services={**w.services, "puzzle.sudoku": replace(service, update=update)})
    p = plan(intent("deploy", "sudoku", version="1.1.0"), ctx(w))
    assert p.on_failure == word and any("is left so and the rest" in each for each in p.warnings) == said


def test_digest_follows_the_targets_only() -> None:
    w = puzzle()
    have = running(w)
    asked = intent("deploy", "sudoku", version="1.1.0")

    def digest(instance: str, host: str = "", **more: Any) -> str:
        units = {**have.units, instance: (replace(have.units[instance][0], **more),)}
        return plan(replace(asked, author="wang"), ctx(w, replace(have, units=units), revision=50)).digest

    base = plan(asked, ctx(w)).digest
    assert digest("puzzle.sudoku/0", pid=7, observed=5.0, health_since=3.0, connections=4) == base
    assert digest("puzzle.web/0", version="0.1") == base
    assert digest("puzzle.sudoku/0", version="0.1") != base
    assert digest("puzzle.sudoku/0", state=State.SHUTDOWN, wanted=False) != base
    assert plan(intent("deploy", "sudoku", version="1.0.0"), ctx(w)).digest != base


def test_estimate_from_recorded_turns() -> None:
    asked = intent("deploy", "sudoku", version="1.1.0")
    assert plan(asked, ctx(durations={"puzzle.sudoku": 2.5})).estimate == 10.0
    assert plan(asked, ctx()).estimate is None


VERB = st.sampled_from(["converge", "deploy", "restart", "stop", "start", "scale", "migrate", "drain", "adopt"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), VERB, st.data())
def test_any_verb_on_any_world(pair: tuple[Expected, Actual], verb: str, data: st.DataObject) -> None:
    """A verb is refused with a sentence, or its steps can be carried out and its patch undone."""
    world, have = pair
    params: dict[str, Any] = {}
    if verb == "deploy":
        params["version"] = "3.0.0"
    if verb == "scale":
        params["count"] = data.draw(st.integers(0, 4))
    choices = {"drain": list(world.hosts), "migrate": list(world.placement)}.get(verb, list(world.services))
    if not choices:
        return
    target = data.draw(st.sampled_from(choices))
    c = context(world, have, artifacts={f"{s.artifact}/3.0.0": {} for s in world.services.values()})
    try:
        p = plan(intent(verb, target, **params), c)
    except (Bad, Refused) as error:
        assert len(str(error)) > 10
        return
    assert p == plan(intent(verb, target, **params), c) and p.digest and p.title
    new = after(c, p)
    assert to_doc(new) == apply(c.doc, p.changes)
    assert apply(to_doc(new), inverse(p.changes)) == c.doc and diff(c.doc, to_doc(new)) == p.changes
    carry_out(new, have, p.steps, data.draw(st.integers(0, 9)))
    assert {s.instance for s in p.steps if s.instance} <= set(p.locks)
    assert set(new.placement) == {f"{path}/{n}" for path, s in new.services.items() for n in range(s.instances.size)}
