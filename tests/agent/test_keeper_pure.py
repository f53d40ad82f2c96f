"""The keeper's decisions and formats, without a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.agent import ctl
from cockpit.agent.keeper import cores, launch, notify, policy, proc, wire
from cockpit.agent.keeper.journal import SLACK, Journal
from cockpit.agent.keeper.spec import RESTART, check_spec, file_name, signal_number
from cockpit.agent.keeper.unit import Unit
from cockpit.agent.keeper.wire import Lines, Reject, TooLong
from cockpit.model.states import State
from cockpit.model.topology import Restart, Stop
from tests.agent.keeper_host import KEEPER


def test_the_words_are_those_of_the_model() -> None:
    for name in ("READY", "STARTING", "RUNNING", "COMPLETE", "SHUTDOWN", "FAILED", "REJECTED"):
        assert getattr(policy, name) == State[name]
        assert ctl.WORDS[State[name]] == name
    r, s = Restart(), Stop()
    assert {f: getattr(r, f) for f in RESTART} == RESTART
    assert check_spec(minimal())["stop"] == {"signal": s.signal, "grace": s.grace}


def minimal(**fields: Any) -> dict[str, Any]:
    return {"unit": "a.b/0:1", "processes": [{"argv": ["x"]}], **fields}


@pytest.mark.parametrize(
    ("clean", "mode", "state", "again"),
    [
        (True, "always", policy.FAILED, True),
        (False, "always", policy.FAILED, True),
        (True, "on-failure", policy.COMPLETE, False),
        (False, "on-failure", policy.FAILED, True),
        (True, "never", policy.COMPLETE, False),
        (False, "never", policy.FAILED, False),
    ],
)
def test_modes(clean: bool, mode: str, state: int, again: bool) -> None:
    d = policy.after_exit(
        {**RESTART, "mode": mode}, clean=clean, lived=1.0, tries=0, times=[], now=1000.0
    )
    assert (d.state, d.next_start == 1000.0, d.held) == (state, again, "")


def test_back_off_doubles_from_the_second_restart_and_resets() -> None:
    waits, tries = [], 0
    for lived in (1, 1, 1, 1, 1, 11, 1):
        d = policy.after_exit(
            {**RESTART, "delay": 0.5, "max_delay": 3.0}, clean=False, lived=lived, tries=tries, times=[], now=0.0
        )
        waits.append(d.next_start)
        tries = d.tries
    assert waits == [0, 0.5, 1.0, 2.0, 3.0, 0, 0.5]


@given(
    attempts=st.integers(0, 6), ages=st.lists(st.floats(0, 1200)), tries=st.integers(0, 10_000),
    lived=st.floats(0, 30), delay=st.floats(0, 10), longest=st.floats(0, 60),
)
def test_never_more_restarts_in_the_window_than_attempts(
    attempts: int, ages: list[float], tries: int, lived: float, delay: float, longest: float
) -> None:
    rule = {**RESTART, "attempts": attempts, "delay": delay, "max_delay": longest}
    times = [5000.0 - a for a in ages]
    d = policy.after_exit(rule, clean=False, lived=lived, tries=tries, times=times, now=5000.0)
    recent = sum(1 for t in times if t > 5000.0 - 600)
    assert (d.next_start is None) == (recent >= attempts) == bool(d.held)
    if d.next_start is not None:
        assert 5000.0 <= d.next_start <= 5000.0 + longest + 1e-6


@given(st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b)), st.integers(1, 9))
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], step: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    cutter = Lines(64)
    got = [line for n in range(0, len(data), step) for line in cutter.feed(data[n : n + step])]
    assert got == lines


@pytest.mark.parametrize("data", [b"x" * 64, b"x" * 64 + b"\n", b"ok\n" + b"x" * 64])
def test_a_line_over_the_limit_is_refused(data: bytes) -> None:
    with pytest.raises(TooLong):
        Lines(64).feed(data)


def test_raw_answers_are_the_same_json() -> None:
    line = wire.answer(3, wire.Raw({"seq": 2}, {"units": [b'{"a":1}', b"2"], "events": []}))
    assert json.loads(line) == {"id": 3, "ok": True, "seq": 2, "units": [{"a": 1}, 2], "events": []}
    assert json.loads(wire.answer(1, {"ok": False, "code": "bad"}))["ok"] is False


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"unit": "a.b/0"}, "unit: `<instance>:<gen>`"),
        ({"unit": ":1"}, "unit:"),
        ({"unit": "a b:1"}, "unit:"),
        ({"unit": "x" * 300 + ":1"}, "unit:"),
        ({"processes": []}, "spec.processes"),
        ({"processes": [{"argv": []}]}, "spec.processes[0].argv"),
        ({"processes": [{"argv": ["a\0b"]}]}, "spec.processes[0].argv"),
        ({"processes": [{"argv": ["a"]}, {"argv": ["b"]}]}, "spec.processes[1].name"),
        ({"processes": [{"argv": ["a"], "cwd": "here"}]}, "absolute path"),
        ({"processes": [{"argv": ["a"], "env": {"A=B": "c"}}]}, "spec.processes[0].env"),
        ({"processes": [{"argv": ["a"], "argw": 1}]}, "spec.processes[0].argw: unknown; known are name"),
        ({"restart": {"mode": "sometimes"}}, "spec.restart.mode"),
        ({"restart": {"delay": -1}}, "delay"),
        ({"restart": {"delay": float("nan")}}, "delay"),
        ({"stop": {"signal": "KILLALL"}}, "spec.stop.signal"),
        ({"limits": {"nofile": "many"}}, "spec.limits.nofile"),
        ({"limits": {"files": 1}}, "spec.limits.files: unknown"),
        ({"uid": -1}, "spec.uid"),
        ({"guard": [["x", 1]]}, "spec.guard[0]"),
        ({"log_dir": "logs"}, "spec.log_dir"),
        ({"processe": 1}, "spec.processe: unknown"),
    ],
)
def test_a_wrong_spec_is_told_where(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Reject) as e:
        check_spec(minimal(**fields))
    assert e.value.code == "bad" and said in e.value.text


def test_a_checked_spec_stays_as_it_is() -> None:
    once = check_spec(minimal(meta={"any": [1]}))
    assert check_spec(json.loads(json.dumps(once))) == once


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_file_names_of_units_differ(a: str, b: str) -> None:
    assert "/" not in file_name(a)
    assert (file_name(a) == file_name(b)) == (a == b)


@pytest.mark.parametrize(("value", "number"), [("TERM", 15), ("SIGHUP", 1), (9, 9), ("USR1", 10)])
def test_signals(value: object, number: int) -> None:
    assert signal_number(value) == number


@pytest.mark.parametrize("value", ["_DFL", "SIG_IGN", "term", "", 0, 65, True, None, "NONE"])
def test_no_signals(value: object) -> None:
    with pytest.raises(Reject):
        signal_number(value)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("core", "core", True),
        ("core", "core.7", False),
        ("core.%p", "core.7", True),
        ("core.%p", "core.77", False),
        ("%e-%p-%t", "web-7-1700000000", True),
        ("%e-%p-%t", "web-8-1700000000", False),
        ("%e.%s.100%%", "x.11.100%", True),
        ("core-%e", "cor", False),
    ],
)
def test_core_names(pattern: str, name: str, fits: bool) -> None:
    assert cores.matches(name, cores.pieces(pattern, 7, 11)) is fits


def test_a_core_that_is_a_link_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "core").symlink_to("secret")
    assert cores.find("core", str(tmp_path), 7, 11, 0.0, 0) is None
    (tmp_path / "core").unlink()
    (tmp_path / "core").hardlink_to(tmp_path / "secret")
    assert cores.find("core", str(tmp_path), 7, 11, 0.0, 0) is None
    (tmp_path / "core").unlink()
    (tmp_path / "core").write_text("x")
    uid = (tmp_path / "core").stat().st_uid
    assert cores.find("core", str(tmp_path), 7, 11, 0.0, uid) == str(tmp_path / "core")
    assert cores.find("core", str(tmp_path), 7, 11, 1e12, uid) is None  # older than the run


def test_notify_lines() -> None:
    assert notify.parse(b"READY=1\nSTATUS=a=b\nnonsense\n=x") == {"READY": "1", "STATUS": "a=b"}


def test_transient_failures() -> None:
    assert launch.transient("fork: EAGAIN") and launch.transient("exec: ETXTBSY ./x")
    assert not launch.transient("exec: ENOENT ./EAGAIN") and not launch.transient("altered: /x")


def read(path: Path) -> tuple[Journal, list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    journal = Journal(str(path))
    journal.load(found.append)
    return journal, found


def test_journal_survives_a_torn_and_a_damaged_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal, _ = read(path)
    for n in range(3):
        journal.event("start", unit="u", n=n)
    assert [d["n"] for d in journal.commit()] == [0, 1, 2]
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0garbage\n" + lines[1] + lines[2][:-9])
    journal, found = read(path)
    assert [d["n"] for d in found] == [0, 1] and journal.damaged == 2
    assert journal.event("start", unit="u", n=9)["seq"] == 3  # the torn one never reached anybody
    journal.commit()
    assert [d["n"] for d in read(path)[1]] == [0, 1, 9]


def test_nothing_is_to_be_pushed_before_it_is_on_disk(tmp_path: Path) -> None:
    journal, _ = read(tmp_path / "journal")
    journal.event("exit", unit="u")
    journal.passing("notify", unit="u")
    assert read(tmp_path / "journal")[1] == []
    assert [d["event"] for d in journal.commit()] == ["exit", "notify"]
    assert journal.commit() == []
    assert [d["event"] for d in read(tmp_path / "journal")[1] if "event" in d] == ["exit"]


def test_a_full_disk_holds_events_back_until_there_is_room(tmp_path: Path) -> None:
    journal, _ = read(tmp_path / "journal")
    room, full = journal._fd, os.open("/dev/full", os.O_WRONLY)
    journal._fd = full
    journal.event("exit", unit="u", n=1)
    assert journal.commit() == [] and "No space left" in journal.trouble
    journal.event("exit", unit="u", n=2)
    assert journal.commit() == []
    journal._fd = room
    os.close(full)
    assert [d["n"] for d in journal.commit()] == [1, 2] and journal.trouble == ""
    assert [d["n"] for d in read(tmp_path / "journal")[1]] == [1, 2]


def test_numbers_never_come_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    last = 0
    for _ in range(4):
        journal, _ = read(path)
        for make in (journal.event, journal.passing, journal.passing, journal.event):
            seq = make("x", unit="u")["seq"]
            assert seq > last
            last = seq
        journal.commit()
        journal.ack(last)
        journal.rewrite([])
        journal.close()


def test_a_rewrite_keeps_what_nobody_acknowledged(tmp_path: Path) -> None:
    journal, _ = read(tmp_path / "journal")
    for n in range(3000):
        journal.event("exit", unit="u", n=n, text="x" * 100)
    journal.commit()
    assert (tmp_path / "journal").stat().st_size > SLACK and journal.worth_rewriting()
    journal.ack(2990)
    journal.rewrite([{"note": "unit", "unit": "u", "is": {"run": 5}}])
    assert not journal.worth_rewriting()
    journal.event("exit", unit="u", n=3000)
    journal.commit()
    journal.close()
    journal, found = read(tmp_path / "journal")
    assert [d["n"] for d in found if "event" in d] == list(range(2990, 3001))
    events, more = journal.unacked(10_000_000)
    assert [json.loads(e)["n"] for e in events] == list(range(2990, 3001)) and not more
    events, more = journal.unacked(300, since=2999)
    assert [json.loads(e)["n"] for e in events] == [2999, 3000][: len(events)] and len(events) < 3
    assert journal.unacked(1)[1]


STEPS = st.sampled_from(["fork", "start", "exit", "peer", "rejected", "hold", "ready", "fresh", "removed"])


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=30), st.integers(0, 30))
def test_a_checkpoint_is_worth_the_lines_before_it(steps: list[str], cut: int) -> None:
    lines = [{**LINES[s], "unit": "a.b/0:1", "at": 10.0 * n} for n, s in enumerate(steps)]
    whole, first, second = (Unit(check_spec(minimal(notify=True))) for _ in range(3))
    for line in lines:
        whole.apply(line)
    for line in lines[:cut]:
        first.apply(line)
    second.apply(json.loads(json.dumps(first.checkpoint())))
    for line in lines[cut:]:
        second.apply(line)
    assert second.checkpoint() == whole.checkpoint() and len(whole.exits) <= 20


RECORD = {"process": "main", "code": 1}
LINES: dict[str, dict[str, Any]] = {
    "fork": {"note": "fork", "run": 2, "ids": {"main": [5, 6]}, "boot": "b"},
    "start": {"event": "start", "policy": True},
    "exit": {"event": "exit", "exit": RECORD, "state": 704, "next_start": 3.0, "tries": 1},
    "peer": {"event": "exit", "exit": RECORD, "state": 704, "next_start": 3.0, "tries": 1, "cause": False},
    "rejected": {"event": "rejected", "exit": RECORD, "altered": "/x"},
    "hold": {"event": "hold", "reason": "r"},
    "ready": {"note": "ready"},
    "fresh": {"note": "fresh"},
    "removed": {"note": "removed"},
}


def test_this_process_is_found_in_proc() -> None:
    seen = proc.stat(os.getpid())
    assert seen is not None and seen.ppid == os.getppid() and not seen.dead
    assert proc.table()[os.getpid()].start == seen.start
    handle = proc.Handle.open(os.getpid(), seen.start)
    assert handle is not None and handle.alive() and not handle.ended()
    handle.close()
    assert proc.Handle.open(os.getpid(), seen.start + 1) is None
    assert proc.peak_rss(os.getpid()) > 1000


def test_the_keeper_imports_little() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1].rpartition('/')[0]); import keeper.service;"
        "print(*sorted(m for m in sys.modules if m.partition('.')[0] in "
        "('asyncio','ssl','threading','logging','subprocess','dataclasses','typing','ctypes','cockpit','pathlib')))"
    )
    argv = [sys.executable, "-I", "-S", "-c", code, KEEPER]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
