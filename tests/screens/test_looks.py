"""Themes, glyphs and colours as data."""

from __future__ import annotations

from typing import Any

import pytest
from rich.color import Color, ColorSystem
from rich.style import Style

from cockpit.model.view import MARKS
from screens import colours, themes
from screens.format import cells
from screens.look import THEMES, Look, choose_ascii


@pytest.mark.parametrize("theme", THEMES)
def test_every_theme_has_every_style_and_every_mark_looks_like_itself(theme: str) -> None:
    words = set(Look("dark").data["styles"])
    look = Look(theme)
    assert set(look.data["styles"]) == words
    for word in [*words, *(f"top_{m}" for m in MARKS)]:
        for row in (0, 1, 2):
            assert isinstance(look.style(word, row), Style)


@pytest.mark.parametrize("ascii", [False, True])
def test_every_mark_has_a_glyph_of_its_own_one_cell_wide(ascii: bool) -> None:
    glyphs = [Look(ascii=ascii).glyph(m) for m in MARKS]
    assert len(set(glyphs)) == len(MARKS) and all(cells(g) == 1 for g in glyphs)
    assert "".join(glyphs).isascii() == ascii
    assert len(Look(ascii=ascii).sign("box")) == 16
    if ascii:
        assert "".join(glyphs) == "oc!x?.=v"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_marks_can_be_read_on_their_ground(theme: str) -> None:
    look = Look(theme)
    for word in [*MARKS, "text", "strong", "muted", "head", "key"]:
        for row in (0, 1, 2):
            style = look.style(word, row)
            assert style.color and style.bgcolor
            assert contrast(style.color, style.bgcolor) >= 3.0, (word, row)
        assert contrast(look.style(word).color, look.style(word).bgcolor) >= 4.5, word


def contrast(a: Any, b: Any) -> float:
    def light(color: Color) -> float:
        parts = [
            (c / 255) / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4
            for c in color.get_truecolor()
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_are_the_same_in_256() -> None:
    for theme in ("dark", "light"):
        for word in Look(theme).data["styles"]:
            for color in (Look(theme).style(word).color, Look(theme).style(word).bgcolor):
                if color is not None:
                    poorer = color.downgrade(ColorSystem.EIGHT_BIT).get_truecolor()
                    # one step of the grey ramp is what the rounding may cost
                    assert all(abs(a - b) <= 10 for a, b in zip(poorer, color.get_truecolor(), strict=True)), (
                        theme,
                        word,
                    )


def test_mono_has_no_colour_at_all() -> None:
    look = Look("mono")
    assert all(
        look.style(w, r).color is None and look.style(w, r).bgcolor is None
        for w in look.data["styles"]
        for r in (0, 1, 2)
    )


@pytest.mark.parametrize(
    ("asked", "environ", "theme"),
    [
        (None, {"COLORTERM": "truecolor"}, "dark"), ("light", {}, "light"), (None, {"TERM": "xterm"}, "ansi16"),
        (None, {"TERM": "linux"}, "ansi16"), (None, {"TERM": "xterm-256color"}, "dark"),
        (None, {"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "light"), ("light", {"NO_COLOR": "1"}, "mono"),
        (None, {"COCKPIT_THEME": "ansi16", "COLORTERM": "truecolor"}, "ansi16"),
    ],
)
def test_the_theme_follows_the_terminal(asked: str | None, environ: dict[str, str], theme: str) -> None:
    assert colours.choose(asked, environ, themes.read)[0] == theme


@pytest.mark.parametrize(
    ("asked", "encoding", "ascii"),
    [(None, "UTF-8", False), (None, "ANSI_X3.4-1968", True), (True, "utf8", True), (False, "ascii", False)],
)
def test_ascii_follows_the_locale(asked: bool | None, encoding: str, ascii: bool) -> None:
    assert choose_ascii(asked, encoding) == ascii


def test_a_sentence_is_spelled_in_ascii_where_nothing_else_can_be_drawn() -> None:
    assert Look(ascii=True).text("1.1.0 → 1.2.0 … “x” ≥ 3") == '1.1.0 -> 1.2.0 ... "x" >= 3'
