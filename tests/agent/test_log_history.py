"""Stored log lines: their times, windows, searches with context, and their bounds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.agent import log_history, log_match, logs, rotate
from cockpit.agent.log_history import Found, look
from cockpit.agent.log_marks import MOST, RECORD, SUFFIX, Marker, Marks, paths_of, read, thinned
from cockpit.agent.log_match import Matcher, TooSlow
from cockpit.agent.log_query import BadQuery, Context, Pattern, query_of
from cockpit.session.log_text import Around


def write(path: Path, data: bytes, when: float, marks: bool = True) -> None:
    """Append, at that time, and note it as the agent does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as f:
        f.write(data)
    os.utime(path, (when, when))
    if marks:
        Marker().look([str(path)])


def ask(dirs: list[Path], **args: object) -> Found:
    query = query_of(args)
    matcher = Matcher(query.grep)
    try:
        return look([str(d) for d in dirs], query, matcher)
    finally:
        matcher.close()


def texts(found: Found) -> list[str]:
    return [line[3] for _, (_, line, _) in found.lines]


# times


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(1, 1000)), max_size=30), st.integers(0, 1100))
def test_a_line_has_the_time_of_the_first_look_that_saw_all_of_it(marks: list[tuple[float, int]], end: int) -> None:
    made = Marks(marks)
    when = made.at(end)
    assert made.times == sorted(made.times) and made.ends == sorted(set(made.ends))
    if marks and end <= made.ends[-1]:
        first = min(e for e in made.ends if e >= end)
        assert when == made.times[made.ends.index(first)]
    elif not marks:
        assert when == 0.0
    for moment in made.times:
        assert all(made.at(e) < moment for e in made.ends if e <= made.before(moment))


def test_marks_are_written_when_a_file_has_grown(tmp_path: Path) -> None:
    path, marker = tmp_path / "1.main.out", Marker()
    assert marker.look([str(path)]) == 0
    path.write_bytes(b"one\n")
    os.utime(path, (100, 100))
    assert marker.look([str(path)]) == 1 and marker.look([str(path)]) == 0
    assert Marker().look([str(path)]) == 0, "another agent goes on where this one was"
    with open(path, "ab") as f:
        f.write(b"two\n")
    os.utime(path, (200, 200))
    assert marker.look([str(path)]) == 1
    assert read(str(path)) == [(100.0, 4), (200.0, 8)]
    assert (tmp_path / ("1.main.out" + SUFFIX)).stat().st_mode & 0o777 == 0o600
    with open(str(path) + SUFFIX, "ab") as f:
        f.write(b"torn")
    assert read(str(path)) == [(100.0, 4), (200.0, 8)]
    write(path, b"three\n", 300)
    assert read(str(path)) == [(100.0, 4), (200.0, 8), (300.0, 14)]


def test_marks_stay_bounded_and_get_coarser_with_age(tmp_path: Path) -> None:
    path = tmp_path / "1.main.out"
    full = MOST // RECORD.size
    Path(str(path) + SUFFIX).write_bytes(b"".join(RECORD.pack(n, n + 1) for n in range(full)))
    write(path, b"x" * (full + 10), full + 5)
    found = read(str(path))
    assert len(found) < full * 0.8 and found[-1] == (full + 5.0, full + 10)
    assert thinned([(1.0, 1), (2.0, 2), (3.0, 3), (4.0, 4)]) == [(1.0, 1), (3.0, 3), (4.0, 4)]


def test_times_go_with_their_file(tmp_path: Path) -> None:
    for run in (1, 2, 3):
        write(tmp_path / f"{run}.main.out", b"x" * 8192, run)
    rotate.tidy(str(tmp_path), 3, runs=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3.main.out", "3.main.out" + SUFFIX]


def test_the_files_of_a_run(tmp_path: Path) -> None:
    for name in ("4.main.out", "4.main.err", "4.access.log", "4.main.out.times", "14.main.out", "4.main.out.9.gz"):
        (tmp_path / name).touch()
    found = sorted(os.path.basename(p) for p in paths_of(str(tmp_path), 4))
    assert found == ["4.access.log", "4.main.err", "4.main.out"]
    assert paths_of(str(tmp_path / "none"), 4) == []


# what is stored


def history(tmp_path: Path) -> Path:
    """Two runs; stdout and stderr of the second one take turns."""
    dir = tmp_path / "logs/p.web_0_1"
    write(dir / "1.main.out", b"start\nERROR one\nend\n", 1000)
    for n in range(10):
        write(dir / "2.main.out", b"out %d\n" % n, 2000 + 10 * n)
        write(dir / "2.main.err", b"err %d\n" % n, 2005 + 10 * n)
    return dir


def test_streams_of_a_run_are_put_together_by_time(tmp_path: Path) -> None:
    dir = history(tmp_path)
    found = ask([dir], lines=4)
    assert [(when, line[3]) for _, (when, line, _) in found.lines] == [
        (2080.0, "out 8"), (2085.0, "err 8"), (2090.0, "out 9"), (2095.0, "err 9"),
    ]  # fmt: skip
    assert found.left == 0 and texts(ask([dir], lines=100))[:3] == ["start", "ERROR one", "end"]


def test_a_run_that_serves_on_beside_a_newer_one_is_there_in_its_turn(tmp_path: Path) -> None:
    """A canary that failed is the newest run, and what serves wrote before, meanwhile and after."""
    dir = tmp_path / "logs/p.web_0_1"
    for n in range(6):
        write(dir / "1.main.out", b"serves %d\n" % n, 1000 + 10 * n)
    write(dir / "2.main.out", b"canary a\n", 1015)
    write(dir / "2.main.out", b"canary b\n", 1025)
    os.utime(dir / "1.main.out", (1050, 1050))
    assert texts(ask([dir], lines=100)) == [
        "serves 0", "serves 1", "canary a", "serves 2", "canary b", "serves 3", "serves 4", "serves 5",
    ]  # fmt: skip
    assert texts(ask([dir], lines=2)) == ["serves 4", "serves 5"]
    assert texts(ask([dir], lines=100, since=1035.0)) == ["serves 4", "serves 5"]
    assert texts(ask([dir], lines=100, since=1035.0, grep={"text": "serves"})) == ["serves 4", "serves 5"]


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ({"since": 2084.0}, ["err 8", "out 9", "err 9"]),
        ({"since": 2070.0, "until": 2080.0}, ["out 7", "err 7", "out 8"]),
        ({"until": 1500.0}, ["start", "ERROR one", "end"]),
        ({"streams": ["stderr"], "lines": 2}, ["err 8", "err 9"]),
        ({"previous": 1}, ["start", "ERROR one", "end"]),
        ({"previous": 2}, []),
        ({"grep": {"text": "error"}}, ["ERROR one"]),
        ({"grep": {"text": "Error"}}, []),
        ({"grep": {"text": "r [89]$", "regex": True}}, ["err 8", "err 9"]),
        ({"grep": {"text": "r", "inverse": True}, "until": 1500.0}, ["end"]),
        ({"grep": {"text": "out 3"}, "before": 1, "after": 1}, ["out 2", "out 3", "out 4"]),
        ({"grep": {"text": "out"}, "lines": 2}, ["out 8", "out 9"]),
    ],
)
def test_windows_runs_streams_and_searches(tmp_path: Path, args: dict[str, object], wanted: list[str]) -> None:
    found = ask([history(tmp_path)], **args)
    assert texts(found) == wanted
    if args.get("lines") == 2 and "grep" in args:
        assert found.left == 8
    if args.get("previous") == 2:
        assert "no run 2 before the newest" in found.note


def test_segments_are_searched_too_and_bounds_are_said(tmp_path: Path) -> None:
    path = tmp_path / "u/1.main.out"
    for n in range(40):
        write(path, b"".join(b"line %d %s\n" % (n * 100 + i, b"z" * 50) for i in range(100)), 1000 + n)
        if n == 20:
            assert rotate.rotate(str(path), 0, limit=50_000, keep=20_000)
    assert texts(ask([path.parent], grep={"text": "line 7 "})) == ["line 7 " + "z" * 50]
    assert len(texts(ask([path.parent], lines=3500))) == 3500
    window = [t for _, (t, _, _) in ask([path.parent], since=1003.5, until=1006.0, lines=9999).lines]
    assert len(window) == 300 and {*window} == {1004.0, 1005.0, 1006.0}
    found = ask([path.parent], grep={"text": "line 7 "}, scan_bytes=60_000)
    assert texts(found) == [] and "searched; older lines were not" in found.note
    found = look([str(path.parent)], query_of({"lines": 4000}), Matcher(None), most_bytes=10_000)
    assert 50 < len(found.lines) < 150 and found.left == 4000 - len(found.lines) and "answer is full" in found.note


@given(st.lists(st.integers(0, 30), max_size=50), st.integers(1, 60))
def test_where_the_last_lines_begin(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], lines: int) -> None:
    path = tmp_path_factory.getbasetemp() / "1.main.out"
    path.write_bytes(b"".join(b"x" * n + b"\n" for n in lengths))
    start = log_history.start_of_last(str(path), [], path.stat().st_size, lines)
    file = logs.LogFile(1, "main", "out", str(path))
    got = [len(line[3]) for _, line, _ in log_history.lines_of(file, [], start, path.stat().st_size)]
    assert got == lengths[-lines:]


# context


@settings(max_examples=60)
@given(st.lists(st.booleans(), max_size=40), st.integers(0, 3), st.integers(0, 3))
def test_context_is_that_of_grep(fits: list[bool], before: int, after: int) -> None:
    text = "".join(f"{n} {'hit' if f else 'no'}\n" for n, f in enumerate(fits))
    done = subprocess.run(
        ["grep", *([f"-B{before}", f"-A{after}"] if before or after else []), "hit"],
        input=text, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    for kind in (Context(before, after), Around[str](before, after)):
        out: list[str] = []
        for line, good in zip(text.splitlines(), fits, strict=True):
            for each, mark in kind.feed(line, good):
                out += (["--"] if mark == "g" else []) + [each]
                assert mark == "g" or (mark == "") == ("hit" in each)
        assert out == done.stdout.splitlines()


# expressions


def test_an_expression_that_takes_for_ever_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    matcher = Matcher(Pattern("(a+)+$", regex=True))
    monkeypatch.setattr(log_match, "PATIENCE", 60.0)  # it has to start, too
    assert matcher.fits(["aaa", "b"]) == [True, False]
    monkeypatch.setattr(log_match, "PATIENCE", 0.5)
    child = matcher._child
    assert child is not None
    with pytest.raises(TooSlow, match="a simpler one is wanted"):
        matcher.fits(["a" * 60 + "!"])
    assert child.returncode is not None
    with pytest.raises(TooSlow):
        matcher.fits(["a"])


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"grep": {"text": "(", "regex": True}}, "no regular expression"), ({"grep": {"text": ""}}, "wants a text"),
        ({"grep": "x"}, "wants a text"), ({"since": "1"}, "a number is wanted"), ({"streams": "x"}, "a list"),
        ({"since": 5, "until": 4}, "ends before it begins"), ({"grep": {"text": "x" * 500}}, "400 is the most"),
    ],
)
def test_bad_queries_say_what_is_wrong(args: dict[str, object], text: str) -> None:
    with pytest.raises(BadQuery, match=text):
        query_of(args)


def test_long_lines_say_their_length_and_bytes_are_spelled(tmp_path: Path) -> None:
    path = tmp_path / "1.main.out"
    path.write_bytes("é".encode() * 10_000 + b"\n\x00\xff ok\n")
    long, odd = texts(ask([tmp_path], lines=5))
    assert long == "é" * 8192 + " [cut: 20000 bytes in all]" and odd == "\x00\\xff ok"
