"""A plan on the twin as a timeline, with failures that somebody wished for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.act import rehearsal, timeline
from cockpit.act.rehearsal import Stopped, rehearse
from cockpit.act.seed import Line, Order, Seed
from cockpit.act.twin import Twin
from cockpit.model.rehearsal_rows import Fault, Forecast
from cockpit.model.topology import to_doc
from cockpit.plan.steps import Bad, Intent, Plan
from tests.act.worlds import ARTIFACTS, expected, recorded, running, twin

DEPLOY = Intent(verb="deploy", targets=("a.web",), params={"version": "1.1.0"}, author="li")


def bad(**params: Any) -> Intent:
    return msgspec.structs.replace(DEPLOY, params={"version": "1.2.0"}, **params)


def foretell(intent: Intent = DEPLOY, *faults: Fault, **world: Any) -> tuple[Plan, Forecast]:
    t = twin(**world)
    plan = t.plan(intent)
    return plan, rehearse(t, plan, faults)


def step_of(plan: Plan, kind: str, number: int = 0) -> str:
    return [s.id for s in plan.steps if s.kind == kind][number]


def test_a_good_deploy_is_told_step_by_step() -> None:
    plan, f = foretell()
    assert (f.outcome, f.steps, f.total, f.back, f.digest) == ("done", 27, 27, "", plan.digest)
    assert f.whole == f.seconds > 4
    assert {k: n for k, (n, _) in f.kinds.items()} == {
        "fetch": 3, "prepare": 4, "start": 4, "healthy": 4, "drain": 4, "stop": 4, "remove": 4}
    assert [(r.before, r.lowest) for r in f.ready] == [(4, 4)]
    assert [b.number for b in f.batches] == [0, 1, 2, 3]
    begins = [b.begin for b in f.batches]
    assert begins == sorted(begins, key=lambda b: b or 0.0) and None not in begins
    assert sum(len(b.parts) for b in f.bars) == 27
    assert f.curve[0] == 0 and f.curve[-1] == f.seconds and list(f.curve) == sorted(f.curve)


def test_stop_first_tells_when_it_is_lowest() -> None:
    _, f = foretell(expected=expected(order="stop-first"))
    (ready,) = f.ready
    assert (ready.before, ready.lowest) == (4, 3) and 0 <= ready.at < f.seconds


def test_a_version_known_to_be_bad_returns_by_itself() -> None:
    _, f = foretell(bad())
    assert f.outcome == "returned" and f.back and f.back_outcome == "done"
    assert f.back_at is not None and f.seconds <= f.back_at <= f.whole
    assert [b.begin for b in f.batches if not b.back and b.number > 0] == [None, None, None]
    assert any(p.state == "failed" for b in f.bars for p in b.parts)


def test_a_step_that_fails_and_what_follows() -> None:
    plan, _ = foretell()
    start = step_of(plan, "start", 1)
    _, f = foretell(DEPLOY, Fault(step=start))
    assert f.outcome == "returned" and "as this rehearsal was asked for" in f.reason and f.missed == ()
    assert f.back_kinds, "what was replaced is put back"


def test_a_health_step_that_fails_runs_into_the_deadline() -> None:
    plan, good = foretell()
    _, f = foretell(DEPLOY, Fault(step=step_of(plan, "healthy", 1)))
    assert f.outcome == "returned" and "did not become healthy in 20 s" in f.reason
    assert f.seconds > 20 and f.steps < good.steps


def test_a_host_that_falls_silent() -> None:
    _, f = foretell(DEPLOY, Fault(host="h1"))
    assert f.outcome == "returned" and "no answer from h1" in f.reason and f.missed == ()


def test_a_service_that_pauses_waits_for_somebody() -> None:
    world = {"expected": expected(on_failure="pause")}
    plan, _ = foretell(**world)
    _, f = foretell(DEPLOY, Fault(step=step_of(plan, "healthy")), **world)
    assert (f.outcome, f.back) == ("paused", "")
    assert any("wait for somebody" in c for c in timeline.consequences(f))


def test_a_fault_that_hits_nothing_is_said() -> None:
    plan, _ = foretell()
    late = Fault(step=step_of(plan, "stop", 3))
    _, f = foretell(DEPLOY, Fault(step=step_of(plan, "start")), late)
    assert f.missed == (late,) and any("nothing to hit" in c for c in timeline.consequences(f))


@pytest.mark.parametrize(("fault", "words"), [
    (Fault(step="s99"), "no step 's99'"), (Fault(host="h9"), "nothing on host 'h9'"), (Fault(), "a step that fails"),
    (Fault(step="s1", host="h1"), "a step that fails"),
])  # fmt: skip
def test_unknown_faults_are_refused(fault: Fault, words: str) -> None:
    with pytest.raises(Bad, match=words):
        foretell(DEPLOY, fault)


def test_who_looks_on_can_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "LOOK", 10)
    t = twin()
    told: list[tuple[int, int]] = []

    def tell(over: int, total: int, seconds: float) -> bool:
        told.append((over, total))
        return len(told) < 3

    with pytest.raises(Stopped):
        rehearse(t, t.plan(DEPLOY), (), tell)
    assert len(told) == 3 and told[-1][0] <= 27 == told[-1][1]


def test_the_lines_that_failed_are_never_left_out() -> None:
    t = twin(expected=expected(count=12, deadline=20.0))
    plan = t.plan(DEPLOY)
    last = step_of(plan, "healthy", 9)
    f = rehearse(t, plan, (Fault(step=last),), bars=5)
    assert len(f.bars) == 5 and f.left_out > 0
    assert any(p.step == last and p.state != "done" for b in f.bars for p in b.parts if not b.back)


def test_a_process_of_its_own_foretells_the_same() -> None:
    e = expected()
    actual = running(e)
    seed = Seed(
        doc=to_doc(e), revision=1, now=1000.0, hosts=actual.hosts, artifacts=ARTIFACTS, durations=recorded().dump(),
    )
    pairs = [(u, actual.where[u.unit]) for us in actual.units.values() for u in us]
    order = msgspec.json.encode(Order(seed=seed, intent=DEPLOY, faults=(Fault(host="h1"),)))
    lines = [order, *(msgspec.json.encode(Line(units=pairs[n : n + 3])) for n in range(0, len(pairs), 3))]
    out = subprocess.run(
        [sys.executable, "-m", "cockpit.act.worker"], input=b"\n".join(lines) + b"\n", capture_output=True,
        check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    found = msgspec.convert(msgspec.json.decode(out[-1])["forecast"], Forecast)
    t = seed.twin(pairs)
    assert isinstance(t, Twin) and found == rehearse(t, t.plan(DEPLOY), (Fault(host="h1"),))
    wrong = msgspec.json.encode(Order(seed=seed, intent=msgspec.structs.replace(DEPLOY, targets=("a.wbe",))))
    said = subprocess.run(
        [sys.executable, "-m", "cockpit.act.worker"], input=wrong + b"\n", capture_output=True, check=True,
        timeout=60,
    ).stdout.splitlines()  # fmt: skip
    assert "a.wbe" in msgspec.json.decode(said[-1])["wrong"]


# drawn


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 200), which=st.sampled_from(["good", "bad", "silent"]))
def test_every_line_has_its_width_and_every_failure_a_cell(width: int, which: str) -> None:
    _, f = {"good": lambda: foretell(), "bad": lambda: foretell(bad()),
            "silent": lambda: foretell(DEPLOY, Fault(host="h1"))}[which]()
    for bar in f.bars:
        drawn = timeline.cells(bar.parts, f.whole, width)
        assert sum(c.width for c in drawn) == width
        if any(p.state == "failed" for p in bar.parts):
            assert timeline.FAIL in {c.letter for c in drawn}
    assert len(timeline.axis(f.whole, width)) <= width


def test_the_text_says_what_happens() -> None:
    _, f = foretell(bad())
    said = timeline.text(f, 80)
    assert "It would fail after" in said and "Automatic return:" in said and "then the automatic return" in said
    assert "first: 1 instance from" in said and "never begins" in said and "! fails" in said
    _, f = foretell()
    assert timeline.text(f).startswith("It would be done in")
