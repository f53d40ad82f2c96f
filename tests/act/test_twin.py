"""The twin: the real planner and executor on simulated hosts."""

from __future__ import annotations

from typing import Any

import pytest

from cockpit.act import messages as ex
from cockpit.act.twin import Twin, TwinResult, end_state
from cockpit.model.actual import Actual, Endpoint
from cockpit.plan.steps import Intent
from tests.act.worlds import expected, running, twin


def deploy(t: Twin, version: str) -> TwinResult:
    return t.rehearse(t.plan(Intent(verb="deploy", targets=("a.web",), params={"version": version}, author="li")))


def versions(state: dict[str, Any]) -> set[str]:
    return {row["version"] for row in state["instances"].values()}


def test_a_good_version_is_rolled_out() -> None:
    t = twin()
    result = deploy(t, "1.1.0")
    assert (result.outcome, result.reason) == ("done", "")
    assert versions(t.end_state()) == {"1.1.0"} and t.expected.services["a.web"].version == "1.1.0"
    assert {(r["state"], r["desired"]) for r in t.end_state()["instances"].values()} == {("RUNNING", "RUNNING")}
    assert [e[:5] for e in t.end_state()["endpoints"]] == [
        ["a.web", f"a.web/{n}", f"h{n % 3}", "http", "ready"] for n in range(4)
    ]
    assert result.lowest_ready == {"a.web": 4}, "start-first: never fewer than before"
    assert 4 * 1.8 < result.seconds < 60
    assert result.assumed == ()
    assert t.revision == 2 and t.stable == {"a.web": "1.1.0"}


def test_stop_first_has_one_less() -> None:
    t = twin(expected=expected(order="stop-first"))
    assert deploy(t, "1.1.0").lowest_ready == {"a.web": 3}


def test_a_version_known_to_be_bad_fails_and_returns_as_it_would_live() -> None:
    t = twin()
    before = t.end_state()
    result = deploy(t, "1.2.0")
    assert result.outcome == "returned"
    assert result.reason.startswith("web/3 did not become healthy in 2")
    assert result.reason.endswith("s: http 503. Returned to 1.0.0.")
    assert t.end_state() == before
    own, back = t.acts["#1"], t.acts["#2"]
    assert (own.row.state, back.row.cause, back.row.state) == ("returned", "#1", "done")
    failed = [s.instance for s in own.plan.steps if own.executor.state_of(s.id) == "failed"]
    assert failed == ["a.web/3"], "the canary"
    assert t.revision == 3 and t.stable == {"a.web": "1.0.0"}


def test_it_returns_to_the_last_stable_version() -> None:
    t = twin()
    plan = t.plan(Intent(verb="deploy", targets=("a.web",), params={"version": "1.1.0"}))
    t.submit(plan, [ex.Abort("li", plan.steps[1].id)])
    t.run()
    assert t.acts["#1"].row.state == "aborted" and t.expected.services["a.web"].version == "1.1.0"
    result = deploy(t, "1.2.0")
    assert result.reason.endswith("Returned to 1.0.0.")
    assert t.expected.services["a.web"].version == "1.0.0"


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    twins = [twin(seed=s) for s in (1, 1, 2)]
    one, same, other = (deploy(t, "1.1.0") for t in twins)
    assert one == same
    assert one.seconds != other.seconds and twins[0].end_state() == twins[2].end_state()


def test_what_was_never_seen_is_marked_assumed() -> None:
    result = deploy(twin(durations=None), "1.1.0")
    assert result.outcome == "done"
    assert {"healthy a.web bb", "fetch web bb", "health a.web 1.1.0"} <= set(result.assumed)


def test_a_silent_host_is_not_waited_for_for_ever() -> None:
    t = twin()
    plan = t.plan(Intent(verb="deploy", targets=("a.web",), params={"version": "1.1.0"}))
    quiet = Twin(t.expected, running(t.expected, silent=("h0",)), durations=t.durations, stable=t.stable)
    result = quiet.rehearse(plan)
    assert result.outcome in ("failed", "returned") and "no answer from h0" in result.reason


def test_pause_holds_it_and_resume_lets_it_go_on() -> None:
    t = twin()
    plan = t.plan(Intent(verb="deploy", targets=("a.web",), params={"version": "1.1.0"}))
    canary = next(s for s in plan.steps if s.kind == "healthy")
    id = t.submit(plan, [ex.Pause("li", canary.id)])
    t.run()
    assert t.acts[id].row.state == "paused"
    assert sorted(versions(t.end_state())) == ["1.0.0", "1.1.0"]
    t.send(id, ex.Resume("li"))
    t.run()
    assert t.acts[id].row.state == "done" and versions(t.end_state()) == {"1.1.0"}


def test_an_abort_with_undo_goes_back() -> None:
    t = twin()
    before = t.end_state()
    plan = t.plan(Intent(verb="deploy", targets=("a.web",), params={"version": "1.1.0"}))
    canary = next(s for s in plan.steps if s.kind == "healthy")
    id = t.submit(plan, [ex.Abort("li", canary.id)], undo=True)
    t.run()
    assert t.acts[id].row.state == "returned" and t.end_state() == before


@pytest.mark.parametrize(("verb", "targets", "params"), [
    ("scale", ("a.web",), {"count": 7}), ("scale", ("a.web",), {"count": 1}),
    ("migrate", ("a.web/1",), {"host": "h2"}), ("drain", ("h0",), {}), ("restart", ("a.web",), {}),
    ("stop", ("a.web/0",), {}), ("push", ("web/1.1.0",), {}),
])  # fmt: skip
def test_every_verb_ends_where_its_plan_says(verb: str, targets: tuple[str, ...], params: dict[str, Any]) -> None:
    t = twin()
    result = t.rehearse(t.plan(Intent(verb=verb, targets=targets, params=params)))
    assert result.outcome == "done", result.reason
    rows = t.end_state()["instances"]
    assert {i: r["host"] for i, r in rows.items()} == t.expected.placement
    for id, row in rows.items():
        wanted = "SHUTDOWN" if t.expected.stopped.get(id) else "RUNNING"
        assert (row["desired"], row["state"]) == (wanted, wanted)
    again = t.plan(Intent(verb="converge"))
    assert again.steps == (), "nothing is left to do"


def test_a_cluster_starts_from_nothing() -> None:
    e = expected()
    t = Twin(e, Actual(artifacts={"web/1.0.0": "aa"}))
    result = t.rehearse(t.plan(Intent(verb="converge")))
    assert result.outcome == "done" and len(t.end_state()["endpoints"]) == 4


def test_an_end_state_leaves_pid_port_and_time_out() -> None:
    e = expected(count=1)
    actual = running(e)
    state = end_state(e, actual)
    assert state == {
        "instances": {"a.web/0": {"host": "h0", "version": "1.0.0", "desired": "RUNNING", "state": "RUNNING"}},
        "endpoints": [],
    }
    gone = Endpoint(
        service="a.web", instance="a.web/0", unit="a.web/0:1", host="h0", name="http", address="x", port=1,
        state="gone",
    )  # fmt: skip
    from msgspec.structs import replace

    ready = replace(gone, state="ready", port=7, attributes={"weight": "1"})
    moved = replace(ready, port=8, address="y", since=5.0)
    ends = [end_state(e, replace(actual, endpoints=es)) for es in ((gone, ready), (moved,))]
    assert ends[0] == ends[1] != state


def test_a_larger_roll_stays_cheap_in_events() -> None:
    e = expected(hosts=20, count=400, parallel=20)
    t = twin(expected=e)
    plan = t.plan(Intent(verb="deploy", targets=("a.web",), params={"version": "1.1.0"}))
    result = t.rehearse(plan)
    assert result.outcome == "done" and result.lowest_ready == {"a.web": 400}
    assert result.events < 9 * 400, "a handful per instance, whatever the size"


@pytest.mark.parametrize("verb, target", [("migrate", "a.web/1"), ("drain", "h1")])
def test_an_end_that_brings_a_return_is_met_at_any_event(verb: str, target: str) -> None:
    """An abort with undo may end while something turns healthy: the return begins within that event."""
    t = twin()
    before = t.end_state()
    plan = t.plan(Intent(verb=verb, targets=(target,)))
    t.submit(plan, [ex.Abort("li", plan.steps[len(plan.steps) // 2].id)], undo=True)
    t.run()
    assert [a.row.state for a in t.acts.values()] == ["returned", "done"]
    rows = t.end_state()["instances"]
    assert {i: (r["host"], r["version"]) for i, r in rows.items()} == {
        i: (r["host"], r["version"]) for i, r in before["instances"].items()
    }
