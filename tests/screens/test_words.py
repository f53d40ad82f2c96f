"""English and Chinese: the catalogue against the code, what each screen says, widths of every kind of character."""

from __future__ import annotations

import ast
import io
import re
import string
import sys
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cockpit
import screens
from cockpit.model.view import MARKS
from screens import words
from screens.format import cells, clean, cut, drop, fit, wrap
from screens.look import Look
from screens.taste import Taste
from screens.widgets.columns import Column, place, titled
from screens.widgets.field import Field
from screens.widgets.grid import Grid
from screens.widgets.lines import Lines
from screens.words import Words, catalogue, choose, pattern_of
from tests.screens.drive import LARGE, SMALL, driven, until
from tests.screens.test_pictures import WAYS, session

ENGINE = ("explain", "plan", "model", "act", "controller")
"""Rooms of the engine whose sentences the catalogue may speak of."""


def template(node: ast.AST) -> str | None:
    """A string of the code with its holes as `{}`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(v) or "{}" if isinstance(v, ast.Constant) else "{}" for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = template(node.left), template(node.right)
        return None if left is None and right is None else (left or "{}") + (right or "{}")
    return None


def strings_of(path: Path) -> set[str]:
    return {t for n in ast.walk(ast.parse(path.read_text("utf-8"))) if (t := template(n)) is not None and t.strip()}


@cache
def code() -> str:
    """Everything the code can say, one string a line."""
    rooms = [Path(screens.__path__[0])] + [Path(cockpit.__path__[0]) / room for room in ENGINE]
    paths = [p for r in rooms for p in ([r] if r.suffix == ".py" else r.rglob("*.py"))]
    found = set().union(*(strings_of(p) for p in paths if p.exists()))
    return "\n".join(found)


def words_of(key: str) -> list[str]:
    """The fixed parts of a key of the catalogue."""
    return [p.strip(" .,:;") for p in re.split(r"\{[#w]?\}|\(s\)|\s{2,}|[,;:] ", key) if p.strip(" .,:;()x")]


def said(part: str, text: str) -> bool:
    """Is it in the code, whole or put together from two strings?"""
    each = part.split(" ")
    return any(" ".join(each[:n]) in text and " ".join(each[n:]) in text for n in range(len(each)))


@pytest.mark.parametrize("section", words.SECTIONS)
def test_every_phrase_of_the_catalogue_is_still_in_the_code(section: str) -> None:
    text = code()
    gone = [key for key in catalogue("zh")[section] if not all(said(part, text) for part in words_of(key))]
    assert not gone


def test_a_phrase_that_left_the_code_would_be_found() -> None:
    assert not all(said(part, code()) for part in words_of("no such phrase {} was ever uttered in here"))


def test_the_catalogue_is_well_formed() -> None:
    source = files("themes").joinpath("words", "zh.toml").read_text("utf-8")
    assert set(tomllib.loads(source)) == set(words.SECTIONS)
    for section, key, phrase in words.phrases("zh"):
        holes = len(re.findall(r"\{[#w]?\}", key))
        used = [f for _, f, _, _ in string.Formatter().parse(phrase) if f is not None]
        assert len(used) == holes, (section, key)
        phrase.format(*"abcdefg"[:holes])
        assert cells(phrase) == sum(2 if cells(c) == 2 else 1 for c in phrase), key
        if holes:
            pattern_of(key)
    assert set(MARKS) <= set(catalogue("zh")["states"])


def test_data_stays_as_it_is() -> None:
    zh = Words("zh")
    for name in ("puzzle.web/2", "log", "graph", "failed", "web", "sh-1", "running", "hosts"):
        assert zh.say(name) == name
        assert zh.piece((name, "text")) == (name, "text")
        assert zh.cell("name", (name, "text")) == (name, "text")
        assert zh.cell("host", (name, "text")) == (name, "text")
    assert zh.cell("state", ("running", "ok")) == ("运行中", "ok")
    assert zh.say("port range of bj-2: 3 left") == "port range of bj-2: 3 left"


def test_what_stands_in_columns_stays_in_columns() -> None:
    zh = Words("zh")
    for text, style in (("   as expected        ", "text"), (" ok          ", "ok"), ("  health     ", "muted")):
        made, _ = zh.piece((text, style))
        assert made != text and cells(made) == cells(text)


@pytest.mark.parametrize(
    ("env", "kept", "language"),
    [
        ({}, "", "en"), ({"LANG": "zh_CN.UTF-8"}, "", "zh"), ({"LANG": "en_US.UTF-8"}, "", "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "", "en"), ({"LANG": "C.UTF-8", "COCKPIT_LANG": "zh"}, "", "zh"),
        ({"LANG": "zh_CN.UTF-8", "COCKPIT_LANG": "en"}, "", "en"), ({"LANG": "zh_CN.UTF-8"}, "en", "en"),
        ({"LC_ALL": "zh_SG"}, "", "zh"), ({"LANG": "zh_TW.UTF-8"}, "", "en"), ({"LANG": "de_DE"}, "", "en"),
        ({"COCKPIT_LANG": "en"}, "zh", "en"), ({}, "zh", "zh"), ({"LANG": "zh_Hans_CN"}, "", "zh"),
    ],
)  # fmt: skip
def test_which_language(env: dict[str, str], kept: str, language: str) -> None:
    assert choose(env, kept) == language


def test_an_unknown_language_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no language 'klingon'; there are en"):
        choose({"COCKPIT_LANG": "klingon"})


async def test_the_language_is_switched_live_and_remembered(tmp_path: Path) -> None:
    async with driven(taste=Taste(tmp_path)) as d:
        await d.press("colon", *"language zh", "enter")
        await d.sees("待处理")
        await d.sees("过滤")
        assert "NEEDS YOU" not in d.text() and "sudoku/3" in d.text()
        await d.press("colon", *"language pt", "enter")
        await d.sees("no language 'pt'")
        await d.press("colon", *"language en", "enter")
        await d.sees("NEEDS YOU")
    assert Taste(tmp_path).likes.language == "en"


async def test_where_only_ascii_can_be_written_the_screens_are_english(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Terminal(io.StringIO):
        encoding = "iso-8859-1"

    monkeypatch.setenv("COCKPIT_LANG", "zh")
    async with driven() as d:
        await d.sees("待处理")
    monkeypatch.setattr(sys, "__stdout__", Terminal())
    async with driven(ascii=None) as d:
        await d.sees("NEEDS YOU")
        await d.press("colon", *"language zh", "enter")
        await d.sees("needs a UTF-8 locale")
        assert d.text().isascii()


# what each screen says

FIXED = re.compile(r"[A-Za-z]{3}.* .*[A-Za-z]{2}")
NAMES = re.compile(r"[a-z]+ +[\w./#-]+( [\d.]+)?|.*(sudoku|puzzle|batch).*")
"""Verbs with their objects, examples and data of the canned cluster."""


@cache
def fixed_strings() -> list[re.Pattern[str]]:
    """Sentences the screens themselves can say: two words or more, holes for data."""
    out = []
    for path in Path(screens.__path__[0]).rglob("*.py"):
        for text in strings_of(path):
            body = text.strip(" .:")
            plain = body.replace("{}", "")
            if "\n" not in body and FIXED.search(plain) and len(plain) > 8 and len(body) < 300:
                parts = [re.escape(p) for p in body.split("{}")]
                out.append(re.compile("(.+?)".join(parts)))
    return out


def is_fixed(text: str) -> bool:
    return any(p.fullmatch(text) for p in fixed_strings())


def heads_and_words(d: Any, zh: Words) -> tuple[set[str], set[str]]:
    """What of a screen is fixed: keys, titles, headings, whole sentences. All of it, and what has no translation."""
    screen = d.app.screen
    base = next((s for s in reversed(d.app.screen_stack) if hasattr(s, "panes")), screen)
    every: set[str] = set()
    lost: set[str] = set()

    def note(text: str, made: str) -> None:
        text = text.strip()
        if re.search("[A-Za-z]{2}", text):
            every.add(text)
            if made.strip() == text:
                lost.add(text)

    for id in (*base.HINTS, "back", "go.help"):
        for _, binding in base.live_bindings():
            if binding.id == id and not id.startswith("verb."):
                note(binding.description, zh.label(binding.description))
                note(binding.tooltip, zh.say(binding.tooltip))
    for lines in base.query(Lines):
        for column in lines.columns if isinstance(lines, Grid) else ():
            note(column.title, zh.title(column.title))
        title = getattr(lines, "title", "")
        if isinstance(title, str) and title:
            note(title, zh.say(title))
        for item in getattr(lines, "items", ()):
            for text, style in item.pieces:
                if style == "head" or (is_fixed(text.strip(" .:")) and not NAMES.fullmatch(text.strip())):
                    note(text, zh.piece((text, style))[0])
    return every, lost


ASIS = {"MiB/s", "MOVED MiB", "PID", "SHA256", "ETA", "KIND PID", "IN kiB/s", "OUT kiB/s", "IO kiB/s"}
"""Titles that are the same in both languages."""


@pytest.mark.parametrize("name", [n for n in WAYS if n not in ("crowd", "jump", "tabs", "command", "stragglers")])
async def test_nine_of_ten_fixed_phrases_of_a_screen_are_chinese(name: str) -> None:
    keys, seen = WAYS[name]
    async with driven(LARGE, session(name)) as d:
        await d.press(*keys)
        await d.sees(seen)
        every, lost = heads_and_words(d, Words("zh"))
        lost -= ASIS
        assert len(every) >= 5
        assert len(lost) <= 0.1 * len(every), (len(every), sorted(lost))


CALLS = {"say", "tell", "waiting", "ask", "key", "heading", "Everywhere", "Place", "Question", "text"}
"""Calls whose fixed words reach the screen."""
ENDED = {
    "{} asking the controller{}", "asking the controller{}", "working it out{}", ", {} new below",
    "{} in the last hour{}",
}
"""Known by what stands in their holes: `…`, nothing, or a second phrase."""
DATA = {"{} {} in the record", "{} {} of {}, {} in virtual time   Esc ends it", "{} {}: asked, it is {}"}


def fixed_words(node: ast.AST) -> list[ast.AST]:
    """Expressions of this node that are shown as they stand."""
    found: list[ast.AST] = []
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in CALLS:
            found = [*node.args[:4], *(k.value for k in node.keywords if k.arg in ("title", "label", "about"))]
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2:  # a piece: words and the word of their style
        style = node.elts[1]
        found = [node.elts[0]] if isinstance(style, ast.Constant) and isinstance(style.value, str) else []
    each: list[ast.AST] = []
    for one in found:
        if isinstance(one, ast.IfExp):
            each += [one.body, one.orelse]
        else:
            each += one.elts if isinstance(one, ast.Tuple) else [one]
    return each


def test_every_fixed_sentence_of_the_screens_has_its_chinese() -> None:
    zh = Words("zh")
    lost: set[str] = set()
    seen = 0
    for path in Path(screens.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for words_ in fixed_words(node):
                body = (template(words_) or "").strip()
                if not re.search("[A-Za-z]{3}.* .*[A-Za-z]{2}", body.replace("{}", "")):
                    continue
                seen += 1
                filled = [body.replace("{}", hole) for hole in ("7", "abc")]
                if not any(say(text) != text for text in filled for say in (zh.say, zh.label, zh.title)):
                    lost.add(body)
    assert seen > 300
    assert not lost - ENDED - DATA


@pytest.mark.parametrize("size", [SMALL, (120, 40)])
@pytest.mark.parametrize("name", ["overview", "instances", "plan", "help", "ask"])
async def test_in_chinese_every_line_is_as_wide_as_the_screen(name: str, size: tuple[int, int]) -> None:
    keys, seen = WAYS[name]
    async with driven(size, session(name)) as d:
        d.app.look.words = Words("zh")
        d.app._look_changed()
        await d.press(*keys)
        await until(lambda: re.search("[\u4e00-\u9fff]", d.text()))
        for strip in d.app.screen._compositor.render_strips():
            assert sum(cells(segment.text) for segment in strip) == size[0]


# widths

CHARS = st.sampled_from("ab z.,-é漢字过滤ｱあ한🙂🚀👍e\u0301\u200d\ufe0f\u0300👨👩👧🇩🇪─│▲●\t\x1b")
MIXED = st.text(CHARS, max_size=40)


@settings(max_examples=150, deadline=None)
@given(MIXED, st.integers(0, 30), st.booleans())
def test_no_text_is_wider_than_its_room(text: str, width: int, right: bool) -> None:
    text = clean(text)
    for more in ("", "…", "~"):
        assert cells(cut(text, width, more)) <= width
        assert cells(fit(text, width, more, right)) == width
    assert cells(drop(text, width)) == max(0, cells(text) - width)
    for line in wrap(text, max(4, width), 3, "…"):
        assert cells(line) <= max(4, width)


@settings(max_examples=150, deadline=None)
@given(MIXED)
def test_clean_text_has_only_characters_that_have_a_width(text: str) -> None:
    made = clean(text)
    assert all(cells(c) in (1, 2) for c in made) and clean(made) == made and normalize("NFC", made) == made


@settings(max_examples=100, deadline=None)
@given(MIXED, st.integers(8, 30))
def test_wrapping_loses_no_character(text: str, width: int) -> None:
    text = clean(text)
    assert "".join("".join(wrap(text, width, 100)).split()) == "".join(text.split())


def test_wide_text_breaks_where_it_may() -> None:
    assert wrap("出问题时最有用的键，说明原因。", 12, 9) == ["出问题时最有", "用的键，说明", "原因。"]
    assert wrap("按 Enter 打开 puzzle.web/0 的日志", 14, 9) == ["按 Enter 打开", "puzzle.web/0", "的日志"]


@settings(max_examples=100, deadline=None)
@given(MIXED, st.lists(st.sampled_from(["left", "right", "home", "end", "backspace", "delete"]), max_size=12),
       st.integers(8, 30))
def test_the_cursor_of_a_field_is_in_sight(text: str, keys: list[str], width: int) -> None:
    field = Field()
    field.insert(text)
    for key in keys:
        field.take(key, None)
    before, under, _ = field.pieces(width)
    assert under[1] == "caret" and cells(before[0]) + cells(under[0]) <= width
    assert 0 <= field.at <= len(field.text)


def test_columns_are_as_wide_as_their_chinese_titles() -> None:
    columns = [Column("name", "INSTANCE", lambda r: ("", "text")), Column("x", "CALLED IS", lambda r: ("", "text"))]
    made = titled(columns, Words("zh"))
    assert [width for _, width in place(made, {}, 80)] == [cells("实例"), cells("被调状态")]
    assert titled(columns, Words()) is columns


def test_sentences_of_the_engine_without_a_pattern_stay() -> None:
    look = Look(words=Words("zh"))
    odd = "sudoku/3 did not become healthy in 60s: exit 1 three times"
    assert look.text(odd) == odd
    assert look.text("waits for sudoku/3 to be healthy, gives up at 22:23:51") == "等 sudoku/3 健康，到 22:23:51 放弃"
