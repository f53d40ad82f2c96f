"""Recorded durations and health."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from cockpit.act.duration import ASSUMED, KEPT, Durations, version_key
from cockpit.model.view import StepRow
from cockpit.plan.steps import Plan
from tests.act.hand import make_plan, roll, step

PLAN = make_plan([step("f", "fetch", name="web", version="2"), *roll(0)])
ARTIFACTS = {"web/2": "bb"}


def rows(plan: Plan, *, healthy: str = "done") -> list[StepRow]:
    return [
        StepRow(id=s.id, kind=s.kind, text="", state=healthy if s.kind == "healthy" else "done", started=10.0 * n,
                ended=10.0 * n + n, instance=s.instance, note="http 503" if healthy != "done" else "")
        for n, s in enumerate(plan.steps)
    ]  # fmt: skip


def test_it_learns_from_finished_steps() -> None:
    d = Durations()
    d.record(PLAN, rows(PLAN), "done", ARTIFACTS, {"a.web": "web"})
    assert d.draw("fetch", "web", "bb", 0.0) == (0.0, False)
    assert d.draw("start", "a.web", "bb", 0.5) == (2.0, False)
    assert d.draw("stop", "a.web", "", 0.5) == (5.0, False), "the old one's version is not known"
    found = d.healthy("a.web", "bb")
    assert found is not None and (found.ok, found.failed) == (1, 0)
    assert d.by_service() == {"a.web": 66.0 - 10.0}


def test_the_time_it_had_to_stay_healthy_does_not_count() -> None:
    plan = make_plan([replace(s, args={"for": 2.5}) if s.kind == "healthy" else s for s in PLAN.steps])
    d = Durations()
    d.record(plan, rows(plan), "done", ARTIFACTS)
    assert d.draw("healthy", "a.web", "2", 0.0) == (0.5, False)


def test_a_failure_is_remembered_with_its_reason() -> None:
    d = Durations()
    d.record(PLAN, rows(PLAN, healthy="failed"), "failed", ARTIFACTS, {"a.web": "web"})
    found = d.healthy("a.web", "bb")
    assert found is not None and (found.ok, found.failed, found.reason) == (0, 1, "http 503")
    assert d.by_service() == {}


def test_unfinished_and_unknown_steps_are_left_out() -> None:
    d = Durations()
    half = [replace(r, ended=None) for r in rows(PLAN)]
    d.record(PLAN, [*half, StepRow(id="zz", kind="start", text="", state="done", started=1.0, ended=2.0)], "done", {})
    assert d.dump() == Durations().dump()


@pytest.mark.parametrize("u", [0.0, 0.3, 0.999])
def test_what_is_unknown_is_assumed_within_reason(u: float) -> None:
    d = Durations()
    seconds, assumed = d.draw("fetch", "web", "bb", u)
    assert assumed and ASSUMED["fetch"] * 0.5 <= seconds < ASSUMED["fetch"] * 1.5
    d.add("fetch", "web", "aa", 7.0)
    assert d.draw("fetch", "web", "bb", u) == (7.0, True), "another version is the next best"
    d.add("fetch", "web", "bb", 3.0)
    assert d.draw("fetch", "web", "bb", u) == (3.0, False)


def test_only_the_newest_samples_are_kept_and_a_dump_comes_back() -> None:
    d = Durations()
    for n in range(KEPT + 5):
        d.add("start", "a", "1", float(n))
    d.judge("a", "1", True)
    again = Durations.load(json.loads(json.dumps(d.dump())))
    assert again.dump() == d.dump()
    assert again.draw("start", "a", "1", 0.0) == (36.0, False), "the first of the middle half of the newest"
    assert Durations.load(None).dump() == Durations().dump()
    with pytest.raises(ValueError, match="damaged"):
        Durations.load({"steps": 5})


def test_version_keys() -> None:
    assert version_key("web", "2", ARTIFACTS) == "bb"
    assert version_key("web", "3", ARTIFACTS) == "3"
    assert version_key(None, "2", ARTIFACTS) == "2"
