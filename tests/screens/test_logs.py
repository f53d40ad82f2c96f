"""The logs screen: order, filter, highlight, context, times, windows, runs, saving, copying, floods."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.model.view import LogLine
from cockpit.session.log_text import Wrong
from screens.format import date
from screens.log_seam import Seam
from screens.saving import last_that_fit, save_new
from screens.widgets import log as log_module
from screens.widgets.log import Sieve
from tests.screens.canned import NOW, CannedSession
from tests.screens.drive import LARGE, SMALL, Driver, driven, until


class Asked(CannedSession):
    """Notes what was asked for."""

    def __init__(self, lines: Sequence[LogLine]) -> None:
        super().__init__()
        self.lines = list(lines)
        self.asked: list[dict[str, Any]] = []

    async def logs(self, instances: Sequence[str], **ask: Any) -> AsyncIterator[LogLine]:  # type: ignore[override]
        self.asked.append({"instances": list(instances), **ask})
        async for line in super().logs(instances, follow=ask["follow"]):
            yield line


def said(text: str, n: int = 0, instance: str = "puzzle.sudoku/3", **more: Any) -> LogLine:
    return LogLine(**{"instance": instance, "run": 1, "stream": "stdout", "text": text, "time": NOW - 99 + n, **more})


NUMBERS = [said(f"line {n}{' odd' if n % 2 else ''}", n) for n in range(60)]


async def opened(d: Driver, name: str = "sudoku/3") -> Any:
    await d.type(f":logs {name}")
    await d.press("enter")
    await d.at("LogsScreen")
    return d.app.screen


async def test_filter_and_highlight_are_two_modes() -> None:
    async with driven(session=Asked(NUMBERS)) as d:
        screen = await opened(d)
        await d.sees("line 59 odd")
        await d.type("&odd")
        await d.press("enter")
        await d.sees("30 of 60")
        assert "line 58" not in d.text()
        await d.type("/line 1")
        await d.press("enter")
        await until(lambda: screen.log_list.at == 19, "the nearest above")
        assert "line 19 odd" in d.text() and "line 58" not in d.text() and "standing still" in d.text()
        await d.press("N")
        assert screen.log_list.at == 17
        await d.press("n", "n")
        await d.sees("No more line with line 1")
        assert screen.log_list.at == 19
        await d.press("escape")
        assert not screen.log_list.sieve and screen.log_list.mark.text == "line 1"
        await d.press("escape")
        assert not screen.log_list.mark
        await d.press("escape")
        await d.at("OverviewScreen")


async def test_regex_inverse_and_context() -> None:
    async with driven(LARGE, session=Asked(NUMBERS)) as d:
        screen = await opened(d)
        await d.sees("60 lines")
        await d.type("&/line (7|30)$/")
        await d.press("enter")
        await d.sees("1 of 60")
        await d.press("+")
        texts = [s.entry.text for s in screen.log_list.shown]
        assert texts == ["line 29 odd", "line 30", "line 31 odd"]
        assert [s.mark for s in screen.log_list.shown] == ["c", "", "c"]
        await d.press("-", "&")
        await d.press("ctrl+u")
        await d.type("!odd")
        await d.press("enter")
        await d.sees("30 of 60")
        assert "odd" not in "\n".join(s.entry.text for s in screen.log_list.shown)
        await d.type("&")
        await d.press("ctrl+u")
        await d.type("/(a+)+/")
        await d.press("enter")
        await d.sees("can take for ever")


async def test_times_wrap_and_streams() -> None:
    lines = [said("x" * 100 + "END", 1), said("oops", 2, stream="stderr"), said("who knows", 0, time=0.0)]
    session = Asked(lines)
    async with driven(SMALL, session=session) as d:
        await opened(d)
        await d.sees("sudoku/3 e oops")
        assert "END" not in d.text() and d.text().count("?  ") >= 1
        await d.press("w")
        await d.sees("END")
        await d.press("t")
        await d.sees("1m sudoku/3 e oops")
        await d.press("t")
        await until(lambda: "1m" not in d.text(), "no times")
        await d.press("o", "o")
        await until(lambda: session.asked[-1]["streams"] == ["stderr"])
        await d.sees("stderr")


async def test_where_a_killed_process_was_started_again_is_said() -> None:
    session = Asked([said("one", 0, run=3), said("two", 1, run=4), said("three", 2, run=4)])
    row = session.data.instances["puzzle.sudoku/3"]
    runs = (msgspec.structs.replace(row.runs[0], run=4, exit="signal 9"),)
    rows = {**session.data.instances, row.id: msgspec.structs.replace(row, runs=runs)}
    session.data = msgspec.structs.replace(session.data, instances=rows)
    async with driven((100, 24), session=session) as d:
        await opened(d)
        await d.sees("three")
        assert d.text().count("begins") == 1
        shown = d.text()
        assert shown.index("one") < shown.index("run 4 begins; the one before: signal 9") < shown.index("two")


async def test_lines_of_another_day_say_which() -> None:
    session = Asked([said("long ago", time=NOW - 2 * 86400), said("just now", 1)])
    async with driven((100, 24), session=session) as d:
        await opened(d)
        await d.sees("long ago")
        day = date(NOW - 2 * 86400)[5:]
        await d.sees(f"{day} sudoku/3")
        assert date(NOW - 98)[5:] in d.text(), "all of them, so that they line up"
        await d.press("w")
        await d.sees(f"{day} sudoku/3")


async def test_windows_runs_and_searches_are_asked_of_the_hosts() -> None:
    session = Asked(NUMBERS)
    async with driven(LARGE, session=session) as d:
        await opened(d)
        await d.sees("60 lines")
        assert session.asked[-1]["follow"] and session.asked[-1]["since"] == 0.0
        await d.press("W", "tab", "tab")
        await d.sees("since 5m")
        await d.press("enter")
        await until(lambda: session.asked[-1]["since"] > 0)
        await d.press("W", "ctrl+u")
        await d.type("soon")
        await d.press("enter")
        await d.sees("no time: 'soon'")
        assert len(session.asked) == 2
        await d.press("W", "ctrl+u")
        await d.type("14:00 - 14:10")
        await d.press("enter")
        await until(lambda: session.asked[-1]["until"] - session.asked[-1]["since"] == 600)
        assert not session.asked[-1]["follow"]
        await d.press("W", "ctrl+u", "enter", "H")
        await d.type("/err|warn/")
        await d.press("enter")
        await until(lambda: session.asked[-1]["grep"] == "/err|warn/" and session.asked[-1]["since"] == 0.0)
        await d.press("+")
        await until(lambda: session.asked[-1]["before"] == session.asked[-1]["after"] == 1)
        await d.press("p", "p")
        await until(lambda: session.asked[-1]["previous"] == 2 and not session.asked[-1]["follow"])
        await d.sees("run 2 before the newest")
        await d.press("P")
        await until(lambda: session.asked[-1]["previous"] == 0)


async def test_groups_hosts_and_names() -> None:
    session = Asked([said("hello", n, instance=i) for n, i in enumerate(("puzzle.sudoku/2", "puzzle.sudoku/3"))])
    async with driven(LARGE, session=session) as d:
        screen = await opened(d, "sudoku")
        await d.sees("hello")
        assert len(session.asked[-1]["instances"]) == len(screen.instances()) > 1
        assert len({e.colour for e in screen.log_list.entries}) == 2, "each has its colour"
        await until(lambda: "sudoku/2" in d.text() and "sudoku/3" in d.text(), "and its name")
        host = d.app.board.instances["puzzle.sudoku/3"].host
        await d.type(f":logs {host}")
        await d.press("enter")
        await until(lambda: session.asked[-1]["instances"] != [])
        await until(lambda: all(d.app.board.instances[i].host == host for i in session.asked[-1]["instances"]))


async def test_dropped_lines_are_counted_and_the_end_is_said() -> None:
    session = CannedSession()
    session.lines = [said("first"), said("1,204 lines dropped: they came faster", stream="cockpit", dropped=1204)]
    async with driven(LARGE, session=session) as d:
        await opened(d)
        await d.sees("1,204 dropped")
        session.lines = [said("first"), said("signal 11 (SEGV), core dumped", stream="cockpit")]
        await d.press("p")
        await d.sees("ended: signal 11 (SEGV), core dumped")


async def test_what_is_shown_is_saved_for_one_person_and_never_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with driven(LARGE, session=Asked(NUMBERS)) as d:
        await opened(d)
        await d.sees("60 lines")
        await d.type("&odd")
        await d.press("enter", "s", "ctrl+u")
        await d.type("mine.log")
        await d.press("enter")
        await d.sees("Saved 30 lines")
        text = (tmp_path / "mine.log").read_text()
        assert text.count("\n") == 30 and " sudoku/3   line 1 odd\n" in text
        assert os.stat(tmp_path / "mine.log").st_mode & 0o777 == 0o600
        await d.press("s", "ctrl+u")
        await d.type("mine.log")
        await d.press("enter")
        await d.sees("is there already")
        assert (tmp_path / "mine.log").read_text() == text
        await d.press("s", "ctrl+u")
        await d.type("none/mine.log")
        await d.press("enter")
        await d.sees("nothing was saved")


async def test_copying_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven(LARGE, session=Asked([said(f"{n} " + "y" * 1000, n) for n in range(150)])) as d:
        copied: list[str] = []
        monkeypatch.setattr(d.app, "copy_to_clipboard", copied.append)
        await opened(d)
        await d.sees("150 lines")
        await d.press("y")
        await d.sees("older ones did not fit")
        assert len(copied[0].encode()) <= 96 * 1024 and copied[0].endswith("y\n") and " 149 " in copied[0]


@given(st.lists(st.text(max_size=20), max_size=20), st.integers(0, 200))
def test_the_last_that_fit(lines: list[str], most: int) -> None:
    fit, size = last_that_fit(lines, most)
    assert fit == lines[len(lines) - len(fit):] and size <= most
    assert len(fit) == len(lines) or size + len(lines[-len(fit) - 1].encode("utf-8", "replace")) + 1 > most


def test_a_link_is_no_new_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="already"):
        save_new(str(tmp_path / "link"), "x")
    assert not (tmp_path / "elsewhere").exists()


async def test_what_is_kept_is_bounded_and_what_is_looked_at_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "KEPT", 500)
    session = CannedSession()
    session.lines = [said(f"line {n}", n) for n in range(400)]
    async with driven(session=session) as d:
        screen = await opened(d)
        await d.sees("line 399")
        await d.press("pageup")
        top = screen.log_list.shown[screen.log_list.top].entry.text
        for n in range(400, 700):
            session.log_feed.put_nowait(said(f"line {n}", n))
        await d.sees("300 new below")
        assert len(screen.log_list.entries) == 500 == len(screen.log_list.shown)
        assert screen.log_list.shown[screen.log_list.top].entry.text == top
        monkeypatch.setattr(log_module, "KEPT_TEXT", 1000)
        session.log_feed.put_nowait(said("z" * 900, 701))
        await until(lambda: len(screen.log_list.entries) < 20)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.text("ab", max_size=200), st.booleans()), max_size=30), st.integers(20, 60))
def test_wrapped_lines_hold_every_character(lines: list[tuple[str, bool]], room: int) -> None:
    from screens.widgets.log import Entry, Log

    made = Log()
    made.wrapped, made._room = True, room
    for n, (text, wide) in enumerate(lines):
        made._take(Entry("x", "stdout", text + ("数" * 9 if wide else ""), n))
    for n, (text, wide) in enumerate(lines):
        parts = [s for s in made.shown if s.entry.number == n]
        assert "".join(s.entry.text[s.begin: s.end] for s in parts) == text + ("数" * 9 if wide else "")
        assert all(log_module.cells(s.entry.text[s.begin: s.end]) <= room for s in parts)


def test_sieves() -> None:
    from screens.widgets.log import Entry

    entry = Entry("web/0", "stdout", "GET /x 200")
    for text, fits in (("get", True), ("Get", False), ("!get", False), ("/2.0$/", True), ("web", True), ("", True)):
        assert Sieve(text)(entry) is fits, text
    assert Sieve("GET").spans(entry.text) == [(0, 3)] and Sieve("!x").spans(entry.text) == []
    with pytest.raises(Wrong):
        Sieve("/(/")
    assert msgspec.structs.replace(entry, text="z").text == "z"


class Written(CannedSession):
    """Gives what was written since the time that is asked for, then what is written; counts who reads."""

    def __init__(self, lines: Sequence[LogLine]) -> None:
        super().__init__()
        self.written = list(lines)
        self.asked: list[dict[str, Any]] = []
        self.reading = 0

    def write(self, line: LogLine) -> None:
        self.written.append(line)
        if self.reading:
            self.log_feed.put_nowait(line)

    async def logs(self, instances: Sequence[str], **ask: Any) -> AsyncIterator[LogLine]:  # type: ignore[override]
        self.asked.append(ask)
        while not self.log_feed.empty():
            self.log_feed.get_nowait()
        self.reading += 1
        try:
            for line in [w for w in self.written if w.time >= ask["since"]][-ask["lines"] or len(self.written):]:
                yield line
            while True:
                item = await self.log_feed.get()
                assert isinstance(item, LogLine)
                yield item
        finally:
            self.reading -= 1


async def test_a_covered_log_is_let_go_and_goes_on_without_a_gap() -> None:
    session = Written(NUMBERS)
    async with driven(session=session) as d:
        screen = await opened(d)
        await d.sees("line 59 odd")
        assert session.reading == 1
        await d.press("?")
        await d.at("HelpScreen")
        await d.press("escape")
        await d.press("h")
        await d.at("HostsScreen")
        await until(lambda: session.reading == 0, "nobody reads")
        for n in range(60, 75):
            session.write(said(f"line {n}", n))
        await d.press("escape")
        await d.sees("line 74")
        assert session.reading == 1 and session.asked[-1]["since"] > 0
        session.write(said("line 75", 75))
        await d.sees("line 75")
        assert [int(e.text.split()[1]) for e in screen.log_list.entries] == list(range(76))


async def test_a_covered_log_without_times_says_what_may_be_missing() -> None:
    session = Written([said("old", time=0.0)])
    async with driven(session=session) as d:
        screen = await opened(d)
        await d.sees("old")
        await d.press("h")
        await d.at("HostsScreen")
        await until(lambda: session.reading == 0)
        await d.press("escape")
        await d.sees("may be missing here")
        assert session.asked[-1]["lines"] == 0 and len(screen.log_list.entries) == 2


async def test_what_ends_by_itself_is_not_read_again() -> None:
    session = Asked(NUMBERS)
    async with driven(session=session) as d:
        await opened(d)
        await d.press("p")
        await d.sees("that is all")
        await d.press("h")
        await d.at("HostsScreen")
        await d.press("escape")
        await d.sees("that is all")
        assert len(session.asked) == 2


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3)), max_size=30), st.integers(0, 30))
def test_a_seam_neither_loses_nor_repeats(steps: list[tuple[str, float]], cut: int) -> None:
    """Times only grow, by a second at most, between two readings of one line; texts are all different."""
    when, lines = NOW, []
    for n, (name, gap) in enumerate(steps):
        when += gap
        lines.append(said(f"line {n}", instance=name, time=when))
    seam = Seam()
    shown = [w.text for w in lines[:cut] if seam.take(w)]
    since = seam.begin_again()
    again = [msgspec.structs.replace(w, time=w.time + 0.9) for w in lines]
    shown += [w.text for w in again if w.time >= since and seam.take(w)]
    assert sorted(shown) == sorted(w.text for w in lines)
