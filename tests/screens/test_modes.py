"""Sizes and kinds of terminals: what is sent there, and what fits. Pictures are few; most is asserted in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from screens.look import Look
from screens.places import PLACES
from screens.widgets.lines import Lines
from tests.bench.terminal import Terminal, terminal
from tests.screens.canned import CannedSession
from tests.screens.drive import driven, make_app, until
from tests.screens.test_pictures import WAYS, reach, session

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}
THEMES = sorted(Look.names()) if hasattr(Look, "names") else ["ansi16", "dark", "light", "mono"]
STYLED = re.compile(rb"\x1b\[([0-9;]+)m")


def kinds(data: bytes) -> set[str]:
    """Which codes for colours are in it."""
    out: set[str] = set()
    for each in STYLED.findall(data):
        numbers = iter(each.split(b";"))
        for number in numbers:
            if number in (b"38", b"48"):
                deep = next(numbers) == b"2"
                out.add("24 bit" if deep else "256")
                for _ in range(3 if deep else 1):
                    next(numbers)
            elif 30 <= int(number or 0) <= 47 and number not in (b"39",) or 90 <= int(number or 0) <= 107:
                out.add("16")
    return out


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        ({"COLORTERM": "truecolor"}, {"24 bit"}),
        ({"COLORTERM": ""}, {"256"}),
        ({"COLORTERM": "", "TERM": "tmux-256color"}, {"256"}),
        ({"COLORTERM": "", "TERM": "xterm"}, {"16"}),
        ({"COLORTERM": "", "TERM": "linux"}, {"16"}),
        ({"NO_COLOR": "1"}, set()),
        ({"COCKPIT_THEME": "mono"}, set()),
    ],
    ids=["truecolor", "256", "tmux", "16", "console", "NO_COLOR", "mono"],
)
def test_what_colours_go_to_the_terminal(environment: dict[str, str], allowed: set[str], tmp_path: Any) -> None:
    """Of the whole program on a terminal of each kind, from its first byte to a table that stands."""
    homes = {"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    args = ["-m", "tests.bench.grid_program", "--stay", "200", "0", "choose"]
    with terminal(args, **(homes | environment)) as screen:
        seen = shown(screen, "cart/0")
    assert kinds(seen) <= allowed and bool(kinds(seen)) == bool(allowed)


def shown(screen: Terminal, words: str) -> bytes:
    screen.wait(words, 30)
    screen.quiet(0.2)
    return screen.seen


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("ascii", [False, True], ids=["glyphs", "ascii"])
async def test_every_screen_fits_every_size(size: tuple[int, int], ascii: bool) -> None:
    """No line is wider than the terminal or higher than it, its last line has keys, and ASCII is ASCII."""
    async with driven(size, ascii=ascii) as d:
        for name in opened():
            await d.app.goto([name], quiet=True)
            await d.settled()
            await until(lambda: not any(lines._timer_on for lines in d.app.screen.query(Lines)), f"{name} is painted")
            lines = [
                "".join(segment.text for segment in strip) for strip in d.app.screen._compositor.render_strips()
            ]
            widths = {strip.cell_length for strip in d.app.screen._compositor.render_strips()}
            assert len(lines) == size[1] and widths == {size[0]}, name
            assert "Esc" in lines[-1] or "? " in lines[-1] or "/" in lines[-1], f"{name}: {lines[-1]!r}"
            if ascii:
                assert "\n".join(lines).isascii(), f"{name}: {[line for line in lines if not line.isascii()]}"
            await d.app.goto(["overview"])


def opened() -> Iterator[str]:
    """Screens that open without a name behind them."""
    needs = {"host", "node", "action", "compare", "then", "revision", "artifact", "logs", "past", "between", "quit"}
    return (name for name in PLACES if name not in needs and name != "overview")


@pytest.mark.parametrize("size", ["120x40", "200x60"])
@pytest.mark.parametrize("name", ["overview", "explain", "plan"])
def test_larger_terminals(snap_compare: Any, name: str, size: str) -> None:
    """The three screens that use room in most different ways; every one is at 80x24 and 160x50 already."""
    assert name in WAYS
    assert snap_compare(make_app(session(name)), terminal_size=SIZES[size], run_before=reach(name))


@pytest.mark.parametrize("theme", [t for t in THEMES if t not in ("dark", "light", "ansi16", "mono")] or ["dark"])
def test_each_theme_in_words(theme: str) -> None:
    """A theme that has no picture of its own is still whole: every mark has a style that is not the text's."""
    look = Look(theme=theme, ascii=False)
    plain = look.style("text")
    assert all(look.style(mark) != plain for mark in ("drift", "failed", "unknown", "changing"))


def test_a_reader_sees_it_on_every_terminal(snap_compare: Any) -> None:
    app = make_app(CannedSession(read_only="this is the view socket"), theme="ansi16", ascii=True)
    assert snap_compare(app, terminal_size=SIZES["80x24"], run_before=reach("overview"))
