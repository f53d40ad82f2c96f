"""Themes as data: complete, readable for everybody, told apart without red or blue, a person's own, reloaded live."""

from __future__ import annotations

import ast
import itertools
import os
import re
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.style import Style

import screens
from cockpit.model.view import MARKS
from screens import themes
from screens.look import Look
from screens.taste import Taste
from screens.themes import SHIPPED, Wrong, read
from tests.screens.drive import driven, until
from tests.screens.vision import MACHADO, contrast, distance

COLOURED = [n for n in SHIPPED if n not in ("ansi16", "mono")]
FAINT = ("faint", "dull")
"""Lines, and what does not work here."""


def ground_of(name: str) -> str:
    ground = read(name).data["background"]
    return ground if ground.startswith("#") else "#262626"  # transparent is made for dark grounds


def colours_of(name: str, depth: ColorSystem = ColorSystem.TRUECOLOR) -> dict[str, tuple[str, str]]:
    """Style word -> text and ground as `#rrggbb`, as many colours as the terminal has."""
    out = {}
    for word, text in read(name).data["styles"].items():
        style = Style.parse(f"on {ground_of(name)}") + Style.parse(text or "none")
        assert style.color is not None and style.bgcolor is not None, word
        out[word] = (
            style.color.downgrade(depth).get_truecolor().hex, style.bgcolor.downgrade(depth).get_truecolor().hex,
        )  # fmt: skip
    return out


@pytest.mark.parametrize("depth", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT], ids=["24 bit", "256"])
@pytest.mark.parametrize("name", COLOURED)
def test_every_text_can_be_read(name: str, depth: ColorSystem) -> None:
    least = 7.0 if name == "high-contrast" else 4.5
    poor = {
        word: round(contrast(*pair), 2) for word, pair in colours_of(name, depth).items()
        # the steps of 256 colours are coarse: a tenth is allowed for them
        if contrast(*pair) < (3.0 if word in FAINT and least < 7 else least) * (0.9 if depth.value == 2 else 1)
    }
    assert not poor


@pytest.mark.parametrize("name", COLOURED)
def test_the_row_under_the_cursor_can_be_read(name: str) -> None:
    over = Style.parse(read(name).data["cursor"])
    if over.bgcolor is None:
        return  # reversed: the same pair the other way round
    ground = over.bgcolor.get_truecolor().hex
    own = {w for w, s in read(name).data["styles"].items() if " on " in s}
    poor = {w: c for w, (c, _) in colours_of(name).items() if w not in (*FAINT, *own) and contrast(c, ground) < 3.0}
    assert not poor


@pytest.mark.parametrize("name", [n for n in COLOURED if n != "transparent"])
def test_256_colours_keep_the_surfaces_apart(name: str) -> None:
    data = read(name).data
    parts = [data["background"], data["panel"], data["cursor"].split()[-1], data["cursor_off"].split()[-1]]
    shown = [Style.parse(p).color.downgrade(ColorSystem.EIGHT_BIT) for p in parts]  # type: ignore[union-attr]
    # a panel never lies on the row of a list that is not in use: these two may be one colour
    assert len({c.number for c in shown}) >= 3 and len({c.number for c in (shown[0], shown[2], shown[3])}) == 3


@pytest.mark.parametrize("name", sorted(MACHADO))
def test_states_differ_for_who_sees_no_red_or_no_blue(name: str) -> None:
    colours = {mark: colours_of(name)[mark][0] for mark in MARKS}
    near = {
        (one, other): round(distance(colours[one], colours[other], name), 1)
        for one, other in itertools.combinations(MARKS, 2)
        if distance(colours[one], colours[other], name) < 18
    }
    assert not near


def test_the_usual_theme_would_not_do_for_them() -> None:
    colours = {mark: colours_of("dark")[mark][0] for mark in MARKS}
    assert min(distance(colours[a], colours[b], "deuteranopia") for a, b in itertools.combinations(MARKS, 2)) < 18


def asked_for() -> set[str]:
    """Every constant that stands where code writes a style word: the second of a pair whose first is text."""
    out: set[str] = set()
    for path in Path(screens.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "style":
                out |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant)}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "text":
                out |= {a.value for a in node.args[1:2] if isinstance(a, ast.Constant)}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "line":
                for pair in node.args:
                    if isinstance(pair, ast.Tuple) and isinstance(pair.elts[-1], ast.Constant):
                        out.add(pair.elts[-1].value)
    return {w for w in out if isinstance(w, str)}


def test_every_theme_has_every_style_word_that_code_asks_for() -> None:
    wanted = asked_for()
    assert len(wanted) > 10
    for name in SHIPPED:
        look = Look(name)
        missing = sorted(w for w in wanted if w.removeprefix("top_") not in look.data["styles"])
        assert not missing, name


# a person's own


def own(folder: Path, text: str, name: str = "mine") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_ones_own_extends_a_shipped_one(tmp_path: Path) -> None:
    own(tmp_path, 'extends = "light"\n[styles]\ndrift = "bold #870000"\n')
    data = read("mine", tmp_path).data
    assert data["styles"]["drift"] == "bold #870000" and data["background"] == read("light").data["background"]
    own(tmp_path, 'extends = "dark"\n[styles]\nok = "#ffffff"\n', "dark")
    assert read("dark", tmp_path).data["styles"]["ok"] == "#ffffff"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('extends = "dark"\n\n[styles]\ndrfit = "red"\n', r"toml:4: no style word 'drfit'; the nearest is 'drift'"),
        ('extends = "drak"\n', r"mine.toml:1: no theme 'drak'; the nearest is 'dark'"),
        ('extends = "dark"\nbackgruond = "#000000"\n', r"toml:2: no field 'backgruond'; the nearest is 'backgrou"),
        ('extends = "dark"\n[styles]\nok = "bold of"\n', r"mine.toml:3: ok: 'bold of' is no style"),
        ('extends = "dark"\nbackground = "blue"\n', r"mine.toml:2: background is a colour such as #1c1c1c"),
        ('extends = "dark"\ndark = "yes"\n', r"mine.toml:2: dark is true or false"),
        ('extends = "dark"\n[styles]\nok = 7\n', r"mine.toml:3: ok is a style such as"),
        ('extends = "dark"\n[styles\n', r"mine.toml:2: "),
        ('[styles]\nok = "red"\n', r'mine.toml:1: it lacks absent, .*extends = "dark" gives'),
        ('extends = "mine"\n', r"no theme 'mine'|extends itself"),
    ],
)
def test_mistakes_are_told_with_file_line_and_the_nearest_word(tmp_path: Path, text: str, says: str) -> None:
    own(tmp_path, text)
    with pytest.raises(Wrong) as told:
        read("mine", tmp_path)
    assert re.search(says, str(told.value)), told.value


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    for name in ("../dark", "/etc/passwd", "", "glyphs", "a/b"):
        with pytest.raises(Wrong, match="no theme"):
            read(name, tmp_path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return themes.own_folder()


async def test_the_theme_is_switched_live_and_remembered(tmp_path: Path, folder: Path) -> None:
    async with driven(taste=Taste(tmp_path)) as d:
        await d.press("colon", *"theme high-contrast", "enter")
        await d.sees("The theme is high-contrast")
        assert d.app.look.style("ok").color == Style.parse("#afffaf").color
        before = d.app.look.generation
        await d.press("colon", *"theme pnik", "enter")
        await d.sees("no theme 'pnik'")
        assert d.app.look.theme == "high-contrast" and d.app.look.generation == before
    assert Taste(tmp_path).likes.theme == "high-contrast"
    async with driven(taste=Taste(tmp_path)) as d:
        assert d.app.look.theme == "high-contrast"


async def test_a_changed_file_is_seen_and_a_wrong_one_leaves_the_theme(tmp_path: Path, folder: Path) -> None:
    path = own(folder, 'extends = "dark"\n[styles]\nok = "#ffffff"\n')
    async with driven(taste=Taste(tmp_path)) as d:
        await d.press("colon", *"theme mine", "enter")
        assert d.app.look.style("ok").color == Style.parse("#ffffff").color
        path.write_text('extends = "dark"\n[styles]\nok = "#00ff00"\n')
        os.utime(path, ns=(1, 1))
        await until(lambda: d.app.look.style("ok").color == Style.parse("#00ff00").color, "the new colour")
        path.write_text('extends = "dark"\n[styles]\nko = "#00ff00"\n')
        os.utime(path, ns=(2, 2))
        await d.sees("no style word 'ko'")
        assert d.app.look.style("ok").color == Style.parse("#00ff00").color
        path.write_text('extends = "light"\n')
        os.utime(path, ns=(3, 3))
        await until(lambda: d.app.look.data["dark"] is False, "mended")


async def test_a_remembered_theme_that_broke_is_told_and_passed_over(tmp_path: Path, folder: Path) -> None:
    own(folder, '[styles]\nok = "no colour"\n')
    Taste(tmp_path).like(theme="mine", toured=True)
    async with driven(taste=Taste(tmp_path)) as d:
        await d.sees("The usual theme is shown instead")
        assert d.app.look.theme == "dark"


@pytest.mark.parametrize("name", SHIPPED)
async def test_every_theme_draws_the_first_screen(name: str) -> None:
    async with driven(theme=name) as d:
        assert "sudoku/3" in d.text() and "drift" in d.text()
