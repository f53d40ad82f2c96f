"""What takes traffic while an action runs, when it will end, and how well that was foretold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.act.messages import DONE
from cockpit.act.progress import Eta, Readiness
from cockpit.act.rehearsal import rehearse
from cockpit.act.score import experience, last_of_kind, score, sentences
from cockpit.model.actual import Unit
from cockpit.model.rehearsal_rows import Forecast, Ready
from cockpit.model.states import State
from cockpit.model.view import ActionRow, StepRow
from tests.act.test_rehearsal import DEPLOY
from tests.act.worlds import twin


def unit(n: int, *, on: bool = True, gen: int = 1) -> Unit:
    state, health = (State.RUNNING, "ok") if on else (State.STARTING, "starting")
    return Unit(unit=f"a.web/{n}:{gen}", instance=f"a.web/{n}", gen=gen, state=state, health=health)


def test_readiness_counts_what_takes_traffic() -> None:
    r = Readiness({"a.web"}, [unit(0), unit(1), unit(2, on=False)])
    assert r.ready == {"a.web": 2} and r.lowest == {"a.web": 2}
    r.seen(unit(2))
    r.drain("a.web/0:1", True)
    assert r.ready == {"a.web": 2} and r.lowest == {"a.web": 2}, "one came before one went"
    r.drain("a.web/1:1", True)
    r.drain("a.web/1:1", True)
    r.seen(unit(1, on=False))
    assert r.ready == {"a.web": 1} == r.lowest, "what drains counts no second time when it ends"
    r.drain("a.web/0:1", False)
    r.gone("a.web/2:1")
    r.seen(replace(unit(9), instance="b.other/9", unit="b.other/9:1"))
    assert r.ready == {"a.web": 1} == r.lowest
    r.gone("a.web/0:1")
    assert r.lowest == {"a.web": 0}


def test_readiness_goes_on_after_a_restart() -> None:
    assert Readiness({"a.web"}, [unit(0), unit(1)], (), {"a.web": 1}).lowest == {"a.web": 1}
    assert Readiness({"a.web"}, [unit(0), unit(1)], ("a.web/1:1",)).lowest == {"a.web": 1}


@settings(deadline=None)
@given(slow=st.floats(0.7, 1.6), noise=st.lists(st.floats(-0.04, 0.04), min_size=27, max_size=27))
def test_the_end_of_a_steady_run_does_not_jump(slow: float, noise: list[float]) -> None:
    t = twin()
    f = rehearse(t, t.plan(DEPLOY))
    eta = Eta(1000.0, f.seconds, f.curve)
    ends = sorted(p.end for b in f.bars for p in b.parts)
    said, before, last = [], eta.at or 0.0, 1000.0
    for n, (end, off) in enumerate(zip(ends, noise, strict=True), 1):
        now = last = max(last, 1000.0 + slow * end * (1 + off))
        at = eta.moved(n, len(ends), now)
        assert at is not None and at >= now
        assert abs(at - before) <= 0.35 * f.seconds, "no step moves it by more than a part of the whole"
        said.append(at)
        before = at
    end = 1000.0 + slow * f.seconds
    wrong = [abs(at - end) for at in said]
    third = len(wrong) // 3
    assert max(wrong[2 * third :]) <= max(wrong[:third]) + 0.1 * f.seconds, "it gets better, not worse"
    assert abs(said[-1] - last) <= 0.2 * f.seconds


def test_a_held_action_ends_later_by_as_much() -> None:
    eta = Eta(0.0, 10.0, tuple(n / 10 for n in range(101)))
    eta.moved(2, 10, 2.0)
    eta.hold(2.0)
    assert eta.moved(3, 10, 50.0) == eta.at, "what ends meanwhile says nothing"
    eta.resume(102.0)
    assert abs((eta.at or 0) - 110.0) < 0.5
    assert abs((eta.moved(5, 10, 105.0) or 0) - 110.0) < 0.5


def test_without_a_forecast_its_own_pace_says_something_after_a_while() -> None:
    eta = Eta(0.0, None)
    assert eta.moved(0, 10, 1.0) is None
    assert eta.moved(5, 10, 5.0) == 10.0
    eta.foretold(20.0, ())
    assert eta.at == 15.0, "what was said moves towards the forecast"


# the score

FORECAST = Forecast(
    outcome="done", seconds=10.0, whole=10.0, steps=3,
    kinds={"start": (1, 0.1), "healthy": (1, 2.0), "stop": (1, 0.3)},
    ready=(Ready(service="a.web", before=4, lowest=3),),
)  # fmt: skip


def rows(*kinds: str, state: str = DONE) -> list[StepRow]:
    return [StepRow(id=k, kind=k, text="", state=state, started=1.0, ended=2.0) for k in kinds]


def test_a_run_as_foretold() -> None:
    s = score(FORECAST, rows("start", "healthy", "stop"), "done", 11.0, {"a.web": 3})
    assert s.as_foretold and s.error == round(1 / 11, 4) and (s.unforeseen, s.absent) == ((), ())
    assert s.phases["healthy"] == (2.0, 1.0)
    assert sentences(s) == [
        "Took 11.0 s, 10.0 s were foretold: 9% off.", "3 steps done, 3 foretold.",
        "a.web: never below 3 ready, as foretold."]


def test_what_was_not_foretold_is_named() -> None:
    s = score(FORECAST, rows("start", "fetch"), "failed", 4.0, {"a.web": 2})
    assert not s.as_foretold and s.error is None
    assert (s.unforeseen, s.absent) == (("fetch",), ("healthy", "stop"))
    text = " ".join(sentences(s))
    assert "not compared: it failed, and done was foretold" in text and "never below 2 ready, 3 foretold" in text
    assert score(FORECAST, rows("start"), "done", 9.0, {}, "it was paused").why == "it was paused"
    back = replace(FORECAST, outcome="returned")
    assert score(back, rows("start"), "failed", 10.0, {}).error == 0.0, "a foretold failure is no surprise"


# experience


def action(id: str, seconds: float, **more: object) -> ActionRow:
    at = float(id[1:])
    facts = {"verb": "deploy", "state": "done", "author": "li", "targets": ("puzzle.sudoku",), "started": at,
             "ended": at + seconds, "total": 9} | more
    return ActionRow(id=id, **facts)  # type: ignore[arg-type]


def test_the_last_runs_of_the_same_kind() -> None:
    rows_ = [
        action("#1", 99), action("#2", 40), action("#3", 41, targets=("sudoku",)), action("#4", 38),
        action("#5", 1, state="failed"), action("#6", 1, verb="restart"), action("#7", 1, targets=("puzzle.web",)),
        action("#8", 1, cause="#5"), action("#9", 0, total=0),
    ]
    last = last_of_kind(rows_, "deploy", ["puzzle.sudoku"])
    assert [r.id for r in last] == ["#4", "#3", "#2"]
    said = experience(last, "deploy", "sudoku", 45)
    assert said == "Last 3 deploys of sudoku: 38 s, 41 s, 40 s. Expect about 45 s."
    assert experience(last[:1], "push", "web", None) == "Last push of web: 38 s."
    assert "not known yet" in experience([], "deploy", "sudoku", None)
