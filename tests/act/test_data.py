"""Data that a running unit gets: the executor's rules, the twin, and a journal that is replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cockpit.act import journal
from cockpit.act import messages as ex
from cockpit.act.duration import Durations
from cockpit.act.followup import followup, return_sentence
from cockpit.act.journal import Entry, Journal
from cockpit.act.replay import replay, schedule
from cockpit.act.targets import TwinTarget
from cockpit.act.twin import Twin
from cockpit.cli.replaying import learn
from cockpit.model.actual import Actual, Exit, Unit
from cockpit.model.states import FAILING, State
from cockpit.model.topology import Data, Expected
from cockpit.model.view import Change, StepRow
from cockpit.plan.blast import estimate
from cockpit.plan.steps import Intent, Plan
from tests.act.hand import Hand, make_plan, step, unit
from tests.act.test_replay import Recorder, do
from tests.act.worlds import expected, recorded, running

U = "a.web/0:1"
GIVE = {"data": "words", "artifact": "words", "version": "5"}
STORE = {"words/4": "w4", "words/5": "w5", "words/6": "w6"}


def serving(**more: Any) -> Unit:
    facts: dict[str, Any] = {"health": "ok", "health_since": 0.0, "observed": 999.0, "data": {"words": "4"}}
    return unit(U, State.RUNNING, **facts | more)


def given(signal: str = "HUP", seconds: float = 3.0, **more: Any) -> Hand:
    """One unit that is about to get words 5."""
    steps = [step("a", "activate", U, signal=signal, **GIVE)]
    if signal:
        args: dict[str, Any] = {"for": seconds, "data": {"words": "words/5"}}
        steps.append(step("h", "healthy", U, "a", **args))
    hand = Hand(make_plan(steps, **more), units=[serving()], hosts={"h1": "up"})
    hand.go()
    return hand


def test_it_is_asked_once_seen_and_then_watched_from_now_on() -> None:
    h = given()
    sent = h.last[-1] if h.sent() else None
    assert h.sent() == [("activate", "#7/a")]
    command = next(c for c in h.last if getattr(c, "word", "") == "activate")
    assert command.args == {**GIVE, "signal": "HUP", "instance": "a.web/0"}  # type: ignore[union-attr]
    assert sent is not None
    h.seen(serving(data={"words": "5"}, observed=1000.0))
    assert h.state["a"] == "running", "seen alone says nothing of the signal"
    h.answer("#7/a", {"run": 1}, after=0.5)
    assert h.state == {"a": "done", "h": "running"}
    h.tick(2.9)
    assert h.state["h"] == "running", "health before the signal does not count"
    h.tick(0.2)
    assert h.state["h"] == "done" and h.finished() is not None and h.finished().outcome == "done"  # type: ignore[union-attr]


def test_the_answer_alone_is_not_enough() -> None:
    h = given()
    h.answer("#7/a", {"run": 1})
    assert h.state["a"] == "running"
    h.seen(serving(data={"words": "5"}, observed=1001.0))
    assert h.state["a"] == "done"


def test_what_is_there_already_needs_no_word_unless_a_signal_is_due() -> None:
    for signal, words in (("", []), ("HUP", [("activate", "#7/a")])):
        hand = Hand(
            make_plan([step("a", "activate", U, signal=signal, **GIVE)]),
            units=[serving(data={"words": "5"})], hosts={"h1": "up"},
        )  # fmt: skip
        hand.go()
        assert hand.sent() == words and hand.state["a"] == ("running" if signal else "done")


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (serving(data={"words": "5"}, run=2, restarts=1, exit=Exit(run=1, signal=1)), "signal 1"),
        (unit(U, State.FAILED, exit=Exit(run=1, code=3), next_start=1005.0, data={"words": "5"}), "exit 3"),
    ],
)
def test_a_run_that_ends_has_failed(seen: Unit, text: str) -> None:
    h = given()
    h.seen(serving(data={"words": "5"}, observed=1000.0))
    h.answer("#7/a", {"run": 1})
    h.seen(replace(seen, observed=1001.0))
    h.tick(6.0)
    end = h.finished()
    assert end is not None and end.outcome == "failed"
    assert end.reason.startswith(f"web/0 did not live on with words/5: {text}")


def test_a_run_that_ended_before_the_answer_came_has_failed_too() -> None:
    h = given()
    h.seen(serving(data={"words": "5"}, run=2, restarts=1, observed=1000.0, exit=Exit(run=1, signal=1)))
    h.answer("#7/a", {"run": 1})
    assert h.state["h"] == "failed"


def test_who_resumes_after_that_accepts_another_run() -> None:
    h = given(on_failure="pause")
    h.seen(serving(data={"words": "5"}, observed=1000.0))
    h.answer("#7/a", {"run": 1})
    gone = unit(U, State.FAILED, exit=Exit(run=1, signal=1), data={"words": "5"})
    h.seen(replace(gone, observed=1001.0))
    h.answer("#7/h/tail", {"lines": []})
    assert h.executor.paused and h.state["h"] == "failed"
    h.feed(ex.Resume("li"))
    assert h.sent() == [("start", "#7/h/2")]
    h.seen(serving(data={"words": "5"}, observed=1002.0, run=2), after=1.0)
    h.answer("#7/h/2", {"run": 2})
    h.tick(3.1)
    assert h.state["h"] == "done"


def test_bad_health_breaks_the_watch_and_the_deadline_decides() -> None:
    h = given()
    h.seen(serving(data={"words": "5"}, observed=1000.0))
    h.answer("#7/a", {"run": 1})
    h.seen(serving(data={"words": "5"}, observed=1001.0, health=FAILING, health_reason="http 503"), after=1.0)
    h.tick(10.0)
    assert h.state["h"] == "running"
    h.tick(10.0)
    h.tick(6.0)
    end = h.finished()
    assert end is not None and end.outcome == "failed" and "http 503" in end.reason


def test_an_agent_that_refuses_and_a_unit_that_goes() -> None:
    h = given()
    h.refuse("#7/a", "altered", "release words/5: x has other content than was installed")
    assert h.state["a"] == "failed"
    end = h.finished()
    assert end is None or end.reason.startswith("could not give web/0 on h1 words-5: release words/5")
    h = given()
    h.refuse("#7/a", "missing", "a.web/0:1 is not on this host")
    assert h.state["a"] == "failed"


# the twin


def world(change: str = "signal", version: str = "4", **update: Any) -> Expected:
    e = expected(**update)
    words = Data(artifact="words", version=version, on_change=change)  # type: ignore[arg-type]
    return replace(e, services={"a.web": replace(e.services["a.web"], data={"words": words})})


def having(e: Expected) -> Actual:
    have = running(e)
    return replace(
        have, artifacts=have.artifacts | STORE, kinds=dict.fromkeys(STORE, "data"),
        hosts={n: replace(h, releases=(*h.releases, "words/4")) for n, h in have.hosts.items()},
        units={i: tuple(replace(u, data={"words": "4"}) for u in us) for i, us in have.units.items()},
    )  # fmt: skip


def known() -> Durations:
    """words/6 was never seen to be good."""
    d = recorded()
    d.judge("a.web", "w5", True)
    d.judge("a.web", "w6", False, "no such word")
    return d


def a_twin(kind: type[Twin] = Twin, change: str = "signal", **more: Any) -> Any:
    e = world(change)
    options: dict[str, Any] = {"durations": known(), "revision": 1, "stable": {"a.web": "1.0.0"}} | more
    return kind(e, having(e), **options)


def words(version: str) -> Intent:
    return Intent(verb="deploy", targets=("a.web",), params={"version": version, "data": "words"}, author="li")


def data_of(t: Twin) -> list[str]:
    return [row["data words"] for row in t.end_state()["instances"].values()]


@pytest.mark.parametrize("change", ["nothing", "signal", "restart"])
def test_a_deploy_of_data_comes_to_its_end(change: str) -> None:
    t = a_twin(change=change)
    result = t.rehearse(t.plan(words("5")))
    assert (result.outcome, result.reason) == ("done", "")
    assert data_of(t) == ["5"] * 4
    runs = {u.run for u in t.fleet.units.values()} | {u.gen for u in t.fleet.units.values()}
    assert runs == ({1, 2} if change == "restart" else {1}), "nothing is started anew unless it is asked for"
    assert t.plan(Intent(verb="converge")).steps == ()
    assert t.expected.services["a.web"].data["words"].version == "5" and t.revision == 2


def test_a_new_run_with_bad_data_is_not_healthy_either() -> None:
    t = a_twin(change="restart")
    before = t.end_state()
    result = t.rehearse(t.plan(words("6")))
    assert result.outcome == "returned" and "no such word" in result.reason and t.end_state() == before


def test_bad_data_returns_by_itself() -> None:
    t = a_twin()
    before = t.end_state()
    result = t.rehearse(t.plan(words("6")))
    assert result.outcome == "returned" and result.reason.endswith("no such word. Returned to words 4.")
    assert t.end_state() == before
    assert [i for i, us in t.fleet.actual().units.items() if us[0].gen > 1] == ["a.web/3"], "the canary"


def test_rollback_of_data() -> None:
    t = a_twin()
    before = t.end_state()
    t.rehearse(t.plan(words("5")))
    result = t.rehearse(t.plan(Intent(verb="rollback", targets=("a.web",), params={}, author="li")))
    assert result.outcome == "done" and t.end_state() == before


async def test_a_journal_with_deploys_of_data_replays_to_the_same_end(tmp_path: Path) -> None:
    t = a_twin(Recorder, seed=5, now=1000.0)
    t.log = Journal.open(tmp_path / "journal.jsonl")
    do(t, "deploy", "a.web", version="5", data="words")
    do(t, "deploy", "a.web", version="6", data="words")
    do(t, "deploy", "a.web", version="1.1.0")
    do(t, "scale", "a.web", count=5)
    do(t, "rollback", "a.web", action="#1")
    t.log.close()
    items = schedule(journal.read(tmp_path / "journal.jsonl")[0])
    assert [i.word for i in items] == ["done", "returned", "done", "done", "done"]
    assert items[0].intent.params == {"version": "5", "data": "words"}
    again = a_twin(seed=77, actions=10)
    report = await replay(items, TwinTarget(again))
    assert report.differs == "" and again.end_state() == t.end_state()
    assert data_of(again) == ["4"] * 5


# what is remembered


def rows(plan: Plan, outcome: str = "done") -> list[StepRow]:
    return [
        StepRow(
            id=s.id, kind=s.kind, host=s.host, instance=s.instance, text="", state="done", started=float(n),
            ended=n + 1.0,
        ) for n, s in enumerate(plan.steps)
    ]  # fmt: skip


def test_it_is_recorded_apart_from_turns_and_versions() -> None:
    t = a_twin()
    plan = t.plan(words("5"))
    d = Durations()
    d.record(plan, rows(plan), "done", STORE, {"a.web": "web"})
    assert list(d.by_service()) == ["a.web data"]
    good = d.healthy("a.web", "w5")
    assert good is not None and good.ok == 4 and d.healthy("a.web", "aa") is None
    assert d.draw("healthy", "a.web", "bb", 0.5) == (1.0, True), "time spent well is no time of a start"
    assert estimate(plan.steps, {"a.web": 99.0}) is None
    assert estimate(plan.steps, d.by_service()) == pytest.approx(4 * d.by_service()["a.web data"], abs=0.1)


def test_a_gate_says_which_data_it_decided_on() -> None:
    gate = journal.gate("#1", step("h", "healthy", U, data={"words": "words/5"}), "done", "", serving())
    assert gate["data"] == {"words": "words/5"} and gate["observed"]["data"] == {"words": "4"}
    plain = journal.gate("#1", step("h", "healthy", U), "done", "", serving(data={}))
    assert "data" not in plain and "data" not in plain["observed"]


def test_a_journal_teaches_a_fresh_twin_what_its_gates_said() -> None:
    words_of = {"artifact": "words", "version": "4", "on_change": "restart"}
    document = {"services": {"a.web": {"artifact": "web", "data": {"words": words_of}}}}
    facts: dict[str, Any] = {"instance": "a.web/0", "note": "no such word"}
    bodies: list[dict[str, Any]] = [
        {"kind": "intent", "params": {"document": document}},
        {"kind": "gate", **facts, "state": "done", "observed": {"version": "1.0.0", "data": {"words": "4"}}},
        {"kind": "gate", **facts, "state": "failed", "observed": {"version": "1.0.0"}, "data": {"words": "words/5"}},
        {"kind": "gate", **facts, "state": "failed", "observed": {"version": "1.0.0", "data": {"words": "6"}}},
    ]
    entries = [
        Entry(seq=n, time=0.0, kind=b["kind"], body={k: v for k, v in b.items() if k != "kind"}, prev="")
        for n, b in enumerate(bodies)
    ]
    d = Durations()
    learn(d, entries, {"web/1.0.0": "aa"} | STORE)
    judged = {key: d.healthy("a.web", key) for key in ("aa", "w4", "w5", "w6")}
    assert {k: (h.ok, h.failed) for k, h in judged.items() if h is not None} == {
        "aa": (1, 0), "w4": (1, 0), "w5": (0, 1), "w6": (0, 1),
    }  # fmt: skip


def test_what_follows_a_failure() -> None:
    path = ("services", "a.web", "data", "words", "version")
    plan = make_plan([], changes=(Change(path=path, old="4", new="5"),), on_failure="return")
    assert return_sentence(plan) == "Returned to words 4."
    derived = followup(plan, "failed", "#7")
    assert derived is not None and derived.verb == "rollback"
