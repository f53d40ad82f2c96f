"""The accounting is tested by lies: each must be found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import schedule
from tests.faults.account import lost
from tests.faults.facts import Done, Ended, Facts, Kill, Life, Record, Request, Tap, Window, lives, records

KEEPER, OTHER = 50, 51


def life(run: int = 1, **more: object) -> Life:
    made = Life("h1", "app.web/0:1", "app.web/0", run, 100 + run, 1, KEEPER, 10.0 * run)
    for key, value in more.items():
        setattr(made, key, value)
    return made


def record(run: int = 1, **more: object) -> Record:
    facts: dict[str, object] = {"code": 7, "signal": None, "reason": ""}
    return Record("h1", run, "app.web/0:1", run, **(facts | more))  # type: ignore[arg-type]


def honest() -> Facts:
    """One crash, one kill, one stop by a plan, and one that runs on another host."""
    return Facts(
        lives=[
            life(1, code=7, ended=15.0), life(2), life(3, told_by=KEEPER, told_at=35.0, code=0, ended=35.1),
            Life("h2", "app.web/1:1", "app.web/1", 1, 200, 1, KEEPER, 5.0, alive=True),
        ],
        keepers={("h1", KEEPER), ("h2", KEEPER)},
        records=[record(1), record(2, code=None, signal=9), record(3, code=0, reason="stopped")],
        kills=[Kill("service", "h1", 102, 25.0)],
        requests=10,
        steps=[
            Done("#1", "start", "app.web/0", "h1", 9.0), Done("#1", "start", "app.web/1", "h2", 4.0),
            Done("#2", "stop", "app.web/0", "h1", 34.0),
        ],
        actions=[Ended("#1", "deploy", "done", ""), Ended("#2", "stop", "failed", "no answer")],
    )  # fmt: skip


def test_the_truth_is_no_loss() -> None:
    assert lost(honest()) == []


def _set(n: int, **more: object) -> Callable[[Facts], None]:
    def change(f: Facts) -> None:
        for key, value in more.items():
            setattr(f.lives[n], key, value)

    return change


def _record(n: int, **more: object) -> Callable[[Facts], None]:
    return lambda f: f.records.__setitem__(n, replace(f.records[n], **more))  # type: ignore[arg-type]


REQUEST = Request("h2", 20.0, 20.1, "app.web/0", "refused")

LIES: dict[str, tuple[str, Callable[[Facts], object]]] = {
    "a process is gone without a word": ("a", _set(0, code=None, ended=0.0)),
    "somebody else told it to end": ("a", _set(2, told_by=999)),
    "the keeper ended it and no plan wanted that": ("a", lambda f: f.steps.pop(2)),
    "a kill that the runner does not own up to": ("a", lambda f: f.kills.clear()),
    "an exit without a record": ("b", lambda f: f.records.pop(0)),
    "an exit with two": ("b", lambda f: f.records.append(record(1))),
    "an invented code": ("b", _record(0, code=0)),
    "a kill told as an exit": ("b", _record(1, code=137, signal=None)),
    "unknown, though its keeper lived": ("b", _record(0, code=None)),
    "the exit of one that runs": ("b", _set(0, alive=True, ended=0.0)),
    "never begun, though it ran": ("b", _record(0, rejected=True)),
    "an exit of nobody": ("b", lambda f: f.records.append(record(9))),
    "a unit on two hosts": ("c", _set(3, unit="app.web/0:1", host="h3")),
    "a run number twice": ("c", _set(1, run=1)),
    "two at a time": ("c", _set(0, ended=22.0)),
    "a start that no step wanted": ("c", lambda f: f.steps.pop(0)),
    "started again after a stop": ("c", lambda f: f.lives.append(life(4, alive=True))),
    "a request failed": ("d", lambda f: f.failed.append(REQUEST)),
    "nobody asked": ("d", lambda f: setattr(f, "requests", 0)),
    "an action still runs": ("e", lambda f: f.actions.append(Ended("#3", "deploy", "running", ""))),
    "failed without a reason": ("e", lambda f: f.actions.append(Ended("#3", "deploy", "failed", ""))),
    "late": ("e", lambda f: f.actions.append(Ended("#3", "deploy", "done", "", late=True))),
    "the journal": ("f", lambda f: setattr(f, "journal", "entry 3: altered")),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(lie: str) -> None:
    kind, tell = LIES[lie]
    facts = honest()
    tell(facts)
    assert kind in {one.kind for one in lost(facts)}, lost(facts)


def test_unknown_is_true_when_the_keeper_was_dead_and_an_invented_code_is_not() -> None:
    facts = honest()
    facts.kills.append(Kill("keeper", "h1", KEEPER, 12.0))
    facts.records[0] = record(1, code=None)
    assert lost(facts) == []
    facts.kills.pop()
    facts.lives[0].keeper = 1  # it died before the process had said its first word
    assert lost(facts) == []
    facts.records[0] = record(1)
    assert lost(facts) == [], "the kernel may tell the next keeper"
    facts.records[0] = record(1, code=1)
    assert [one.kind for one in lost(facts)] == ["b"]


@pytest.mark.parametrize(
    ("window", "counts"),
    [
        (Window("cut", "h2", 10, 30, "cut"), 0),
        (Window("cut", "h1", 10, 30, "another host's clients"), 1),
        (Window("cut", "h2", 10, 19, "over before"), 1),
        (Window("kill", "h1", 10, 30, "that instance", clients=False, instance="app.web/0"), 0),
        (Window("kill", "h1", 10, 30, "another", clients=False, instance="app.web/1"), 1),
    ],
)
def test_what_a_fault_excuses(window: Window, counts: int) -> None:
    facts = honest()
    facts.failed.append(REQUEST)
    facts.windows.append(window)
    assert len(lost(facts)) == counts


def test_one_that_was_stopped_before_its_first_word() -> None:
    facts = honest()
    facts.records.append(record(9, code=None, signal=15, reason="stopped"))
    assert lost(facts) == []


def test_the_truth_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "truth"
    path.write_text(
        '{"what":"start","pid":7,"ticks":1,"at":1.0,"host":"h1","unit":"a/0:1","instance":"a/0","run":1,"ppid":5}\n'
        '{"what":"term","pid":7,"ticks":1,"at":2.0,"by":5}\n{"what":"end","pid":7,"ticks":1,"at":3.0,"code":0,"signal":null}\n'
    )
    (one,) = lives(path)
    assert (one.told_by, one.code, one.ended, one.alive) == (5, 0, 3.0, False)


def test_a_journal_that_is_rewritten_is_read_to_its_end_first(tmp_path: Path) -> None:
    def line(seq: int) -> bytes:
        return b'{"seq":%d,"event":"exit","unit":"a/0:1","exit":{"run":%d,"code":1,"signal":null,"reason":""}}\n' % (
            seq, seq,
        )  # fmt: skip

    path = tmp_path / "journal"
    tap = Tap(path)
    tap.look()
    path.write_bytes(line(1) + line(2)[:20])
    tap.look()
    with path.open("ab") as f:
        f.write(line(2)[20:])
    new = tmp_path / "new"
    new.write_bytes(line(2) + line(3))
    new.rename(path)
    tap.look()
    tap.close()
    assert [r.run for r in records("h1", tap.lines)] == [1, 2, 3]


def test_a_schedule_is_its_seed_and_every_kind_comes_before_any_comes_twice() -> None:
    made = schedule.rounds(7, 12, each=2)
    assert made == schedule.rounds(7, 12, each=2) != schedule.rounds(8, 12, each=2)
    kinds = [f.kind for r in made for f in r.faults]
    assert set(kinds[: len(schedule.KINDS)]) == set(schedule.KINDS)
    for one in made:
        assert one.verb == "deploy" or "fetch" not in {f.moment for f in one.faults}
