"""What the terminal shows already is not sent again, and what it shows is always the picture."""

from __future__ import annotations

import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip

from screens.sent import Sent, only_new, pieces_of
from tests.helpers import wait_for
from tests.house.tree import ROOT
from tests.screens.drive import driven
from tests.screens.test_recorded import tool

WIDTH = 12
CONSOLE = Console(color_system="truecolor", force_terminal=True, width=WIDTH)
STYLES = (Style.parse("#c6c6c6"), Style.parse("bold #ff5f5f"), Style.parse("on #3a3a3a"))
TOKEN = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|(.)", re.DOTALL)
HIGH = 14


class Paper:
    """A terminal of a few lines: column -> (character, its style as it was set)."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[str, str]] = {}

    def take(self, data: str) -> None:
        y = x = 0
        style = ""
        top, bottom = 0, HIGH - 1
        for numbers, command, char in TOKEN.findall(data):
            if command == "H":
                y, x = (int(n) - 1 for n in numbers.split(";"))
            elif command == "m":
                style = "" if numbers in ("", "0") else numbers
            elif command == "r":
                top, bottom = (int(n) - 1 for n in numbers.split(";")) if numbers else (0, HIGH - 1)
            elif command in ("S", "T"):
                by = int(numbers) * (1 if command == "S" else -1)
                old = dict(self.cells)
                for line in range(top, bottom + 1):
                    for column in range(WIDTH):
                        self.cells.pop((line, column), None)
                        if top <= line + by <= bottom and (line + by, column) in old:
                            self.cells[line, column] = old[line + by, column]
            else:
                assert not command, f"CSI {numbers} {command}"
                self.cells[y, x] = (char, style)
                if ord(char) > 0x2E80:  # two cells wide
                    self.cells[y, x + 1] = ("", style)
                    x += 1
                x += 1


def strip(words: list[tuple[str, int]]) -> Strip:
    """Exactly WIDTH cells."""
    made = Strip([Segment(text, STYLES[n]) for text, n in words])
    return made.adjust_cell_length(WIDTH, STYLES[0])


words = st.lists(st.tuples(st.text("ab你 ", min_size=1, max_size=4), st.integers(0, 2)), max_size=4).map(strip)
cut = st.integers(0, WIDTH)
update = st.one_of(
    st.tuples(st.just("full"), st.lists(words, min_size=2, max_size=2), cut),
    st.tuples(st.just("line"), st.lists(words, min_size=1, max_size=1), cut),
)


def parts(kind: str, strips: list[Strip], at: int) -> list[tuple[int, int, Strip]]:
    """Lines whole, or the second line in two pieces."""
    if kind == "full":
        return [(y, 0, s) for y, s in enumerate(strips)]
    left, right = strips[0].crop(0, at), strips[0].crop(at, WIDTH)
    return [(1, x, s) for x, s in ((0, left), (at, right)) if s.cell_length]


@given(st.lists(update, max_size=8))
def test_the_terminal_shows_what_it_would_show_without_it(updates: list[Any]) -> None:
    sent, ours, plain = Sent(), Paper(), Paper()
    for kind, strips, at in updates:
        pieces = parts(kind, strips, at)
        ours.take(sent.fresh(pieces, CONSOLE))
        plain.take("".join(f"\x1b[{y + 1};{x + 1}H{s.render(CONSOLE)}" for y, x, s in pieces))
        assert ours.cells == plain.cells


@given(
    st.lists(words, min_size=40, max_size=40), st.lists(st.integers(0, 26), min_size=1, max_size=6), st.data()
)
def test_a_list_that_scrolls_is_moved_and_always_right(rows: list[Strip], tops: list[int], data: Any) -> None:
    """A window on a list, at one place after the other, with a cursor on one line and a line that is two pieces."""
    sent, ours, plain = Sent(), Paper(), Paper()
    sent.width = WIDTH
    for top in tops:
        pieces = [(y, 0, row) for y, row in enumerate(rows[top : top + HIGH])]
        cursor = data.draw(st.integers(0, HIGH - 1))
        pieces[cursor] = (cursor, 0, strip([("cursor", 2)]))
        if data.draw(st.booleans()):
            y, _, row = pieces[-1]
            pieces[-1:] = [(y, 0, row.crop(0, 5)), (y, 5, row.crop(5, WIDTH))]
        ours.take(sent.fresh(pieces, CONSOLE))
        plain.take("".join(f"\x1b[{y + 1};{x + 1}H{s.render(CONSOLE)}" for y, x, s in pieces))
        assert ours.cells == plain.cells


def test_one_line_further_costs_one_line() -> None:
    sent = Sent()
    sent.width = WIDTH
    rows = [strip([(f"row{n}", 0)]) for n in range(30)]
    sent.fresh([(y, 0, row) for y, row in enumerate(rows[:HIGH])], CONSOLE)
    again = sent.fresh([(y, 0, row) for y, row in enumerate(rows[1 : HIGH + 1])], CONSOLE)
    assert again.startswith(f"\x1b[1;{HIGH}r\x1b[1S\x1b[r") and f"row{HIGH}" in again
    assert again.count("row") == 1
    back = sent.fresh([(y, 0, row) for y, row in enumerate(rows[:HIGH])], CONSOLE)
    assert "\x1b[1T" in back and back.count("row") == 1


def test_only_runs_that_differ_are_written() -> None:
    sent = Sent()
    first, second = strip([("abc", 0), ("12", 1), ("xyz", 2)]), strip([("abc", 0), ("13", 1), ("xyz", 2)])
    assert "abc" in sent.fresh([(0, 0, first)], CONSOLE)
    assert sent.fresh([(0, 0, first)], CONSOLE) == ""
    again = sent.fresh([(0, 0, second)], CONSOLE)
    assert again.startswith("\x1b[1;4H") and "13" in again and "abc" not in again and "xyz" not in again
    sent.forget()
    assert "abc" in sent.fresh([(0, 0, second)], CONSOLE)


def test_what_is_no_picture_makes_the_terminal_unknown() -> None:
    sent = Sent()
    line = strip([("abc", 0)])
    sent.fresh([(0, 0, line)], CONSOLE)
    assert only_new(sent, None, WIDTH) is None
    assert sent.fresh([(0, 0, line)], CONSOLE) == ""
    only_new(sent, "a renderable of somebody else", WIDTH)
    assert sent.fresh([(0, 0, line)], CONSOLE) != ""


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_real_terminal_shows_the_same_as_after_drawing_all_anew(tmp_path: Path) -> None:
    """Scrolled, filtered, opened and left screens in tmux, each beside itself after ctrl+l."""
    argv = [sys.executable, "-m", "tests.bench.grid_program", "--stay", "300", "0"]
    player = tool("play")
    with player.stage(["env", f"PYTHONPATH={ROOT}", *argv], (100, 30)) as at:
        wait_for(lambda: "cart/0" in at.text())
        for keys in (["NPage", "j", "j", "j"], ["k"] * 40, ["End", "k"], ["o"], ["?"], ["Escape"]):
            for key in keys:
                at.keys(key)
            assert still(at, keys) == anew(at, keys)


def still(at: Any, what: object) -> list[str]:
    """The picture without its clock, once it is the same for a while."""
    seen: list[list[str]] = []

    def same() -> bool:
        seen.append(at.coloured().split("\n")[1:])
        return len(seen) > 4 and all(each == seen[-1] for each in seen[-4:])

    wait_for(same, what=f"the picture after {what} stands")
    return seen[-1]


def anew(at: Any, what: object) -> list[str]:
    at.keys("C-l")
    return still(at, what)


async def test_it_takes_apart_what_textual_draws() -> None:
    """Every cell of a full picture is in exactly one piece; a part of it says the same."""
    async with driven() as d:
        compositor = d.app.screen._compositor
        full = compositor.render_full_update()
        lines: dict[int, str] = {}
        for y, x, piece in pieces_of(full):
            assert x == sum(map(len, [lines.get(y, "")])) or not lines.get(y, "").isascii()
            lines[y] = lines.get(y, "") + piece.text
        assert [lines[y].rstrip() for y in sorted(lines)] == d.text().split("\n")
        compositor._dirty_regions.add(Region(0, 1, 30, 2))
        some = compositor.render_partial_update()
        assert some is not None
        found = list(pieces_of(some))
        assert {y for y, _, _ in found} == {1, 2}
        for (y, x, piece), (after, at, _) in pairwise(found):
            assert (after, at) >= (y + 1, 0) or at >= x + piece.cell_length


async def test_a_key_draws_everything_anew() -> None:
    async with driven() as d:
        d.app.sent.fresh([(0, 0, strip([("abc", 0)]))], CONSOLE)
        await d.press("ctrl+l")
        assert d.app.sent.fresh([(0, 0, strip([("abc", 0)]))], CONSOLE) != ""
