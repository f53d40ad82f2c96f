from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screens import format as f

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=60).map(f.clean)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (-3, "0s"), (0, "0s"), (14.9, "14s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (47 * 3600, "47h"),
     (48 * 3600, "2d"), (5 * 86400 + 5, "5d")],
)
def test_age(seconds: float | None, words: str) -> None:
    assert f.age(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (48.7, "0:48"), (723, "12:03"), (3723, "1:02:03")])
def test_span(seconds: float, words: str) -> None:
    assert f.span(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (19.6, "20 s"), (119, "119 s"), (120, "2 min"), (150, "2 min 30 s"), (3600, "1 h"),
     (3900, "1 h 5 min")],
)
def test_lasting(seconds: float, words: str) -> None:
    assert f.lasting(seconds) == words


@pytest.mark.parametrize(
    ("text", "width", "words"),
    [("take the old one", 20, "take the old one"), ("take the old sudoku/3", 16, "take the old…"),
     ("take the old sudoku/3", 13, "take the old…"), ("first, sudoku/3 then", 10, "first…"),
     ("sudoku/3-with-a-long-name x", 12, "sudoku/3-wi…"), ("", 3, "")],
)
def test_a_sentence_is_cut_between_words(text: str, width: int, words: str) -> None:
    assert f.cut_words(text, width, "…") == words


@given(TEXTS, st.integers(min_value=1, max_value=30))
def test_a_cut_sentence_fits(text: str, width: int) -> None:
    assert f.cells(f.cut_words(text, width, "…")) <= width


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (41_000_000, "39.1 MiB"), (3 << 40, "3072.0 GiB")],
)
def test_size(count: int, words: str) -> None:
    assert f.size(count) == words


def test_a_log_line_cannot_move_the_cursor() -> None:
    evil = "ok\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m\rgone\x00\x9b5A\u202ereversed\u200b"
    assert f.clean(evil) == "okredgone5Areversed"


def test_chinese_text_is_two_cells_a_character() -> None:
    assert f.cells("数独-1") == 6
    assert f.fit("数独", 5) == "数独 "
    assert f.cut("数独服务", 5, "…") == "数独…"
    assert f.cells(f.cut("a数独服务", 4, "…")) <= 4


def test_a_very_long_line_is_sliced_before_it_is_measured() -> None:
    assert len(f.clean("数" * 1_000_000)) == 4096


@given(TEXTS, st.integers(0, 40), st.booleans())
def test_fit_is_exact(text: str, width: int, right: bool) -> None:
    fitted = f.fit(text, width, "…", right)
    assert f.cells(fitted) == width
    if f.cells(text) <= width:
        assert text in fitted


@given(st.text(alphabet="ab 数", max_size=80), st.integers(4, 30))
def test_wrap_loses_nothing_and_is_never_too_wide(text: str, width: int) -> None:
    lines = f.wrap(text, width, 1000)
    assert all(f.cells(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text(alphabet="ab ", max_size=80), st.integers(4, 30), st.integers(1, 3))
def test_wrap_marks_what_it_leaves_out(text: str, width: int, count: int) -> None:
    lines = f.wrap(text, width, count, "…")
    assert len(lines) <= count
    assert all(f.cells(line) <= width for line in lines)
    assert (lines[-1:] != [] and lines[-1].endswith("…")) == (len(f.wrap(text, width, 1000)) > count)


def test_short_names_are_the_shortest_that_are_unique() -> None:
    names = f.short_names(["a", "a.web", "b.web", "b", "b.solver", "a.web.deep"])
    assert names == {
        "a": "a",
        "a.web": "a.web",
        "b.web": "b.web",
        "b": "b",
        "b.solver": "solver",
        "a.web.deep": "deep",
    }


@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join), max_size=12))
def test_short_names_never_meet(paths: set[str]) -> None:
    short = f.short_names(paths)
    assert len(set(short.values())) == len(paths)
    assert all(path == name or path.endswith("." + name) for path, name in short.items())


@pytest.mark.parametrize(
    ("done", "total", "drawn"), [(0, 4, "...."), (1, 4, "#..."), (4, 4, "####"), (9, 4, "####"), (1, 0, "....")]
)
def test_bar(done: int, total: int, drawn: str) -> None:
    assert f.bar(done, total, 4, "#", ".") == drawn
