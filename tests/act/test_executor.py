"""The executor by table: one story per test, told with hand-fed events."""

from __future__ import annotations

from typing import Any

import pytest

from cockpit.act import messages as ex
from cockpit.act.executor import SETTLE, TAIL_LIMIT, Executor
from cockpit.model.states import State
from cockpit.plan.steps import Bad, Plan
from tests.act.hand import Hand, failed, make_plan, roll, step, unit

OLD = unit("a.web/0:1", State.RUNNING, health="ok")


def one(**more: Any) -> Plan:
    return make_plan(roll(0), **more)


def test_an_instance_is_replaced_start_first() -> None:
    h = Hand(one(), units=[OLD])
    h.go()
    assert h.sent() == [("prepare", "#7/i0p")]
    h.answer("#7/i0p", {"ports": {}})
    assert h.state["i0p"] == "running", "an answer is not an observation"
    h.seen(unit("a.web/0:2", State.READY))
    assert h.state["i0p"] == "done" and h.sent() == [("start", "#7/i0s")]
    h.seen(unit("a.web/0:2", State.STARTING, health="starting"))
    assert h.state["i0s"] == "done" and h.state["i0h"] == "running" and not h.sent()
    h.seen(unit("a.web/0:2", State.RUNNING, health="ok"))
    assert h.of(ex.WakeAt)[0].at == h.now + 1.0
    h.tick(0.5)
    assert h.state["i0h"] == "running"
    h.tick(0.5)
    assert h.state["i0h"] == "done"
    assert h.of(ex.SetDraining) == [ex.SetDraining("a.web/0:1", "i0d")] and not h.sent()
    h.feed(ex.NamesSet("i0d", 42))
    assert h.of(ex.Send)[0].args == {"timeout": 10.0, "names": 42}
    h.answer("#7/i0d", {"remaining": 3})
    done = next(c for c in h.of(ex.StepChanged) if c.step == "i0d")
    assert done.note == "3 connections remain"
    assert h.sent() == [("stop", "#7/i0x")]
    assert h.of(ex.Send)[0].args == {"signal": "TERM", "grace": 10.0}
    h.seen(unit("a.web/0:1", State.SHUTDOWN))
    assert h.sent() == [("remove", "#7/i0r")]
    h.answer("#7/i0r")
    assert h.finished() is None
    h.feed(ex.UnitGone("a.web/0:1"))
    assert h.finished() == ex.Finished("done")
    assert not any(isinstance(c, ex.ClearDraining) for c in h.all)
    assert h.feed(ex.Tick(), 100.0) == [], "nothing after the end"


def test_what_is_already_so_is_not_asked_for_again() -> None:
    new = unit("a.web/0:2", State.RUNNING, health="ok", health_since=10.0, observed=60.0)
    gone = unit("a.web/0:1", State.SHUTDOWN)
    h = Hand(one(), units=[new, gone])
    h.go()
    assert h.state["i0h"] == "done", "50 s of health that the host saw count"
    assert [w for w, _ in h.sent()] == []
    h.feed(ex.NamesSet("i0d", 1))
    assert h.state["i0d"] == "done" and h.state["i0x"] == "done"
    assert h.sent() == [("remove", "#7/i0r")]


def test_a_break_in_health_begins_the_wait_anew() -> None:
    h = Hand(one(), healthy_for={"a.web": 5.0})
    h.go()
    h.until_started()
    good = unit("a.web/0:2", State.RUNNING, health="ok")
    h.seen(good)
    h.seen(unit("a.web/0:2", State.RUNNING, health="failing"), after=4.0)
    h.seen(good, after=0.5)
    h.tick(1.0)
    assert h.state["i0h"] == "running"
    h.tick(4.0)
    assert h.state["i0h"] == "done"


def test_another_run_begins_the_wait_anew() -> None:
    h = Hand(one(), healthy_for={"a.web": 5.0})
    h.go()
    h.until_started()
    h.seen(unit("a.web/0:2", State.RUNNING, health="ok", run=1))
    h.seen(unit("a.web/0:2", State.RUNNING, health="ok", run=2), after=4.0)
    h.tick(1.0)
    assert h.state["i0h"] == "running"


@pytest.mark.parametrize("kind", ["prepare", "start", "fetch"])
def test_a_refused_command_fails_the_action(kind: str) -> None:
    args = {"name": "web", "version": "2"} if kind == "fetch" else {}
    h = Hand(make_plan([step("s1", kind, "" if kind == "fetch" else "a.web/0:2", **args)]))
    h.go()
    h.refuse("#7/s1", "bad", "no space left")
    end = h.finished()
    assert end is not None and end.outcome == "failed" and end.reason.endswith(": no space left")
    assert end.reason.startswith(f"could not {kind} ")


@pytest.mark.parametrize("kind", ["stop", "remove", "drain"])
def test_what_is_missing_need_not_go(kind: str) -> None:
    h = Hand(make_plan([step("s1", kind, "a.web/0:1")]))
    h.go()
    if kind == "drain":
        h.feed(ex.NamesSet("s1", 1))
    h.refuse("#7/s1", "missing")
    assert h.finished() == ex.Finished("done")


FATAL = [
    (unit("a.web/0:2", State.REJECTED, altered="", exit=failed("a:1").exit), "was rejected by h1: exit 1"),
    (failed("a.web/0:2", next_start=None), "did not become healthy: exit 1"),
    (failed("a.web/0:2", restarts=3, next_start=5.0), "did not become healthy: exit 1 three times"),
    (unit("a.web/0:2", State.STARTING, run=4, restarts=3, exit=failed("a:1").exit, health="failing",
          health_reason="http 503"), "did not become healthy: http 503 (exit 1 three times)"),
    (unit("a.web/0:2", State.SHUTDOWN, pinned="uid 1000 14:03 stop"), "stopped on the host (uid 1000 14:03 stop)"),
    (unit("a.web/0:2", State.COMPLETE, health="starting", exit=failed("a:1").exit), "did not become healthy: exit 1"),
]  # fmt: skip


@pytest.mark.parametrize(("end", "words"), FATAL)
def test_what_cannot_succeed_fails_at_once_with_its_last_words(end: Any, words: str) -> None:
    h = Hand(one())
    h.go()
    h.until_started()
    h.seen(end)
    assert h.state["i0h"] == "failed" and h.finished() is None
    assert h.sent() == [("tail", "#7/i0h/tail")]
    h.answer("#7/i0h/tail", {"lines": [[1, "stdout", "main", "hello"], [1, "stderr", "main", "no port\n"], ""]})
    done = h.finished()
    assert done is not None and done.failed_instance == "a.web/0" and done.outcome == "failed"
    assert done.reason.startswith("web/0 ") and words in done.reason
    assert done.reason.endswith('. Last log: "no port"')
    assert h.state["i0d"] == "skipped"


@pytest.mark.parametrize("state", [
    failed("a.web/0:2", next_start=5.0), failed("a.web/0:2", restarts=2, next_start=5.0),
    unit("a.web/0:2", State.FAILED, run=3, restarts=2, exit=failed("a:1", restarts=1).exit, next_start=None),
])  # fmt: skip
def test_what_may_still_succeed_does_not_fail(state: Any) -> None:
    h = Hand(one())
    h.go()
    h.until_started()
    h.seen(state)
    assert h.state["i0h"] == "running"


def test_a_job_without_a_check_may_complete() -> None:
    h = Hand(make_plan([step("s1", "start", "a.job/0:1"), step("s2", "healthy", "a.job/0:1", "s1")]))
    h.go()
    h.answer("#7/s1", {"run": 1, "pid": 5})
    h.seen(unit("a.job/0:1", State.COMPLETE))
    assert h.finished() == ex.Finished("done")


def test_the_reason_comes_without_a_log_when_nobody_sends_one() -> None:
    h = Hand(one())
    h.go()
    h.until_started()
    h.seen(failed("a.web/0:2"))
    h.tick(TAIL_LIMIT)
    end = h.finished()
    assert end is not None and end.reason == "web/0 did not become healthy: exit 1"


def test_the_deadline_moves_on_with_each_healthy_instance() -> None:
    h = Hand(make_plan([*roll(0), *roll(1)], deadline=20.0))
    h.go()
    h.until_started(0)
    h.until_started(1)
    h.tick(15.0)
    h.seen(unit("a.web/0:2", State.RUNNING, health="ok", health_since=1.0, observed=3.0))
    assert h.executor.gives_up is not None and h.executor.gives_up >= h.now + 20.0
    h.tick(10.0)
    assert h.state["i1h"] == "running"
    h.feed(ex.NamesSet("i0d", 1))
    h.refuse("#7/i0d", "missing")
    h.seen(unit("a.web/1:2", State.STARTING, health="failing", health_reason="http 503"))
    h.tick(15.0)
    assert h.state["i1h"] == "running", "a finished drain is progress too"
    h.tick(5.0)
    assert h.state["i1h"] == "failed"
    h.answer("#7/i1h/tail", {"lines": []})
    h.refuse("#7/i0x", "missing")
    end = h.finished()
    assert end is not None and end.reason == "web/1 did not become healthy in 45 s: http 503"
    assert end.failed_instance == "a.web/1"


def test_a_failure_lets_running_commands_settle() -> None:
    h = Hand(make_plan([*roll(0), *roll(1)]))
    h.go()
    h.until_started(0)
    assert h.state["i1p"] == "running"
    h.seen(failed("a.web/0:2"))
    h.answer("#7/i0h/tail", {"lines": []})
    assert h.finished() is None
    h.seen(unit("a.web/1:2", State.READY))
    assert h.state["i1p"] == "done" and h.state["i1s"] == "skipped"
    assert h.finished() is not None and not h.sent()


def test_settling_has_an_end() -> None:
    h = Hand(make_plan([*roll(0), *roll(1)]))
    h.go()
    h.until_started(0)
    h.seen(failed("a.web/0:2"))
    h.tick(TAIL_LIMIT)
    h.tick(SETTLE)
    assert h.finished() is not None
    assert h.state["i1p"] == "failed"
    assert [c.note for c in h.of(ex.StepChanged) if c.step == "i1p"] == ["still running when the action ended"]


def test_a_drained_unit_that_is_not_stopped_takes_traffic_again() -> None:
    h = Hand(one(), units=[OLD])
    h.go()
    h.until_started()
    h.seen(unit("a.web/0:2", State.RUNNING, health="ok", health_since=1.0, observed=3.0))
    h.feed(ex.NamesSet("i0d", 1))
    h.feed(ex.Abort("li"))
    assert h.finished() is None, "the drain is still running"
    h.answer("#7/i0d", {"remaining": 0})
    assert h.of(ex.ClearDraining) == [ex.ClearDraining("a.web/0:1")]
    end = h.finished()
    assert end is not None and (end.outcome, end.reason) == ("aborted", "aborted by li")


def test_pause_holds_before_the_next_step_and_resume_goes_on() -> None:
    h = Hand(one())
    h.go()
    h.feed(ex.Pause("li"))
    assert h.of(ex.Anchored) == [ex.Anchored("pause", "i0p", "li")]
    h.seen(unit("a.web/0:2", State.READY), after=500.0)
    assert h.state["i0p"] == "done" and h.state["i0s"] == "waiting" and h.executor.gives_up is None
    assert h.finished() is None
    h.feed(ex.Resume("wang"))
    assert h.of(ex.Anchored) == [ex.Anchored("resume", "i0p", "wang")]
    assert h.sent() == [("start", "#7/i0s")] and h.executor.gives_up == h.now + 20.0


def test_a_pause_can_wait_for_its_step() -> None:
    h = Hand(one())
    h.feed(ex.Pause("li", "i0s"))
    h.go()
    assert h.state["i0p"] == "running" and not h.of(ex.Anchored)
    h.seen(unit("a.web/0:2", State.READY))
    assert h.of(ex.Anchored) == [ex.Anchored("pause", "i0s", "li")] and h.sent() == [("start", "#7/i0s")]
    h.seen(unit("a.web/0:2", State.STARTING))
    assert h.state["i0s"] == "done" and h.state["i0h"] == "waiting"


def test_an_abort_does_not_wait_for_health() -> None:
    h = Hand(one())
    h.go()
    h.until_started()
    h.feed(ex.Abort("li"))
    assert h.finished() == ex.Finished("aborted", "aborted by li")
    assert h.state["i0h"] == "skipped"


def test_with_pause_a_failed_step_is_tried_again() -> None:
    h = Hand(one(on_failure="pause"))
    h.go()
    h.refuse("#7/i0p", "bad", "disk full")
    assert h.executor.paused
    assert h.of(ex.Anchored) == [ex.Anchored("pause", "i0p", "", "could not prepare web/0 on h1: disk full")]
    h.feed(ex.Resume("li"))
    assert h.sent() == [("prepare", "#7/i0p/2")], "a new try is a new task"
    h.seen(unit("a.web/0:2", State.READY))
    assert h.state["i0p"] == "done"


def test_a_unit_that_the_keeper_gave_up_is_started_again_on_resume() -> None:
    h = Hand(one(on_failure="pause"))
    h.go()
    h.until_started()
    gone = failed("a.web/0:2")
    h.seen(gone)
    h.answer("#7/i0h/tail", {"lines": ["boom"]})
    assert h.of(ex.Anchored)[0].reason.endswith('Last log: "boom"')
    h.feed(ex.Resume("li"))
    assert h.sent() == [("start", "#7/i0h/2")]
    h.seen(gone)
    assert h.state["i0h"] == "running", "the same observation again says nothing"
    h.answer("#7/i0h/2", {"run": 2})
    h.seen(unit("a.web/0:2", State.RUNNING, run=2, health="ok", health_since=1.0, observed=9.0))
    assert h.state["i0h"] == "done"


def test_with_pause_lost_time_keeps_the_task() -> None:
    h = Hand(one(on_failure="pause"))
    h.go()
    h.tick(20.0)
    assert h.executor.paused and h.state["i0p"] == "running"
    assert h.of(ex.Anchored)[0].reason == "still running after 20 s: prepare web/0 on h1"
    h.feed(ex.Resume("li"))
    assert h.sent() == [("prepare", "#7/i0p")], "the first answer may still come"


def test_a_failure_during_a_pause_waits_for_the_operator() -> None:
    h = Hand(one())
    h.go()
    h.until_started()
    h.feed(ex.Pause("li"))
    h.seen(failed("a.web/0:2"))
    h.answer("#7/i0h/tail", {"lines": []})
    assert h.executor.paused and h.finished() is None
    h.feed(ex.Resume("li"))
    end = h.finished()
    assert end is not None and end.outcome == "failed"


def test_continue_gives_one_instance_up_and_goes_on() -> None:
    steps = [*roll(0), *roll(1, gate=("i0r",))]
    h = Hand(make_plan(steps, on_failure="continue"), units=[OLD])
    h.go()
    h.until_started(0)
    h.seen(failed("a.web/0:2"))
    assert [h.state[f"i0{k}"] for k in "hdxr"] == ["failed", "skipped", "skipped", "skipped"]
    assert ("prepare", "#7/i1p") in h.sent()
    h.answer("#7/i0h/tail", {"lines": ["boom"]})
    h.until_started(1)
    h.seen(unit("a.web/1:2", State.RUNNING, health="ok", health_since=1.0, observed=3.0))
    h.feed(ex.NamesSet("i1d", 1))
    for task in ("#7/i1d", "#7/i1x", "#7/i1r"):
        h.refuse(task, "missing")
    end = h.finished()
    assert end is not None and end.outcome == "failed" and end.failed_instance == "a.web/0"
    assert end.reason == 'web/0 did not become healthy: exit 1. Last log: "boom"'


def test_continue_a_failed_fetch_takes_the_instances_that_need_it() -> None:
    steps = [
        step("f1", "fetch", name="web", version="2"), step("f2", "fetch", host="h2", name="web", version="2"),
        *roll(0, gate=("f1",)), *roll(1, host="h2", gate=("f2",)),
    ]  # fmt: skip
    h = Hand(make_plan(steps, on_failure="continue"))
    h.go()
    h.refuse("#7/f1", "bad", "digest")
    assert all(h.state[s.id] == "skipped" for s in roll(0))
    h.answer("#7/f2")
    assert h.sent() == [("prepare", "#7/i1p")]


def test_a_silent_host_is_neither_failed_nor_running() -> None:
    h = Hand(one())
    h.go()
    h.feed(ex.HostSeen("h1", "suspect"), after=1.0)
    h.tick(9.0)
    assert h.of(ex.Progress)[0].note == "no answer from h1 for 9 s"
    h.feed(ex.HostSeen("h1", "up"), after=1.0)
    assert h.sent() == [("prepare", "#7/i0p")], "the same task is asked again"
    h.feed(ex.HostSeen("h1", "unknown"))
    h.feed(ex.Answer("#7/i0p", False, {}, ex.NO_ANSWER))
    assert h.state["i0p"] == "running"
    h.tick(30.0)
    end = h.finished()
    assert end is not None
    assert end.reason == "no answer from h1 for 30 s; it had to prepare web/0 on h1"
    assert [c.note for c in h.of(ex.StepChanged) if c.step == "i0p"][-1] == "no answer from h1"


def test_health_is_not_concluded_of_a_silent_host() -> None:
    h = Hand(one())
    h.go()
    h.until_started()
    good = unit("a.web/0:2", State.RUNNING, health="ok", health_since=50.0, observed=50.1)
    h.seen(good)
    h.feed(ex.HostSeen("h1", "suspect"))
    h.tick(5.0)
    assert h.state["i0h"] == "running"
    h.seen(unit("a.web/0:2", State.RUNNING, health="ok", health_since=50.0, observed=55.0))
    h.feed(ex.HostSeen("h1", "up"))
    assert h.state["i0h"] == "done"


def test_an_older_observation_of_a_run_changes_nothing() -> None:
    h = Hand(make_plan([step("s1", "stop", "a.web/0:1")]), units=[OLD])
    h.go()
    h.seen(unit("a.web/0:1", State.SHUTDOWN, run=1, observed=9.0))
    assert h.finished() is not None
    h = Hand(one())
    h.go()
    h.seen(unit("a.web/0:2", State.RUNNING, run=1, health="ok", observed=9.0))
    h.seen(unit("a.web/0:2", State.STARTING, run=1, observed=8.0))
    h.tick(1.0)
    assert h.state["i0h"] == "done"


def test_parallel_bounds_what_runs() -> None:
    h = Hand(make_plan([s for n in range(5) for s in roll(n)], parallel=2))
    h.go()
    assert h.executor.steps_running() == ["i0p", "i1p"]
    h.seen(unit("a.web/0:2", State.READY))
    assert h.executor.steps_running() == ["i1p", "i0s"], "what was begun goes first"


def test_resumption_skips_what_is_done_and_repeats_the_task() -> None:
    h = Hand(one(), done=["i0p", "i0s", "i0h", "i0d"], attempts={"i0x": 2}, units=[OLD])
    h.go()
    assert h.sent() == [("stop", "#7/i0x/2")] and h.executor.done_count == 4
    h = Hand(one(), done=["i0p", "i0s", "i0h", "i0d"], units=[OLD])
    h.feed(ex.Abort("li"))
    assert h.of(ex.ClearDraining), "it was drained in its earlier life"
    fetches = [step(f"f{n}", "fetch", host=f"h{n}", name="web", version="2") for n in range(3)]
    h = Hand(make_plan(fetches, parallel=1), done=["f1"])
    h.go()
    assert h.sent() == [("fetch", "#7/f0"), ("fetch", "#7/f2")], "pushes begin together, those that are over do not"


def test_an_early_tick_asks_again() -> None:
    h = Hand(one())
    h.go()
    assert h.of(ex.WakeAt) == [ex.WakeAt(h.now + 20.0)]
    h.tick(19.99)
    assert h.of(ex.WakeAt) == [ex.WakeAt(h.now + 0.01)]


def test_a_disappeared_unit_fails() -> None:
    h = Hand(one())
    h.go()
    h.until_started()
    h.feed(ex.UnitGone("a.web/0:2"))
    h.tick(TAIL_LIMIT)
    end = h.finished()
    assert end is not None and end.reason == "web/0 disappeared from h1"


def test_working_moves_the_deadline() -> None:
    h = Hand(make_plan([step("f", "fetch", name="web", version="2")]))
    h.go()
    for _ in range(5):
        h.feed(ex.Working("#7/f", {"bytes": 1}), after=15.0)
    assert h.state["f"] == "running"
    h.tick(20.0)
    assert h.finished() is None, "still running is not failed"
    h.tick(SETTLE)
    end = h.finished()
    assert end is not None and end.reason == "still running after 95 s: fetch web-2 to h1"


def test_an_empty_plan_is_done() -> None:
    h = Hand(make_plan([]))
    h.go()
    assert h.finished() == ex.Finished("done")


@pytest.mark.parametrize(("steps", "word"), [
    ([step("a", "stop", "x/0:1", "b")], "needs b"), ([step("a", "stop"), step("a", "stop")], "same id"),
    ([step("a", "dance", "x/0:1")], "unknown kind 'dance'"),
])  # fmt: skip
def test_a_plan_that_is_no_graph_is_bad(steps: list[Any], word: str) -> None:
    with pytest.raises(Bad, match=word):
        Executor(make_plan(steps), "#7", 0.0)


def test_a_circle_ends() -> None:
    h = Hand(make_plan([step("a", "stop", "x/0:1", "b"), step("b", "stop", "x/1:1", "a")]))
    h.go()
    end = h.finished()
    assert end is not None and "wait for each other" in end.reason
