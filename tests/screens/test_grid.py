"""The grid and the tree: what is shown, what waits, and what is drawn again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from screens.format import cells
from screens.look import CURSOR, CURSOR_OFF, PLAIN, THEMES, Look, Piece
from screens.widgets.columns import GAP, Column, header, place
from screens.widgets.grid import Grid
from screens.widgets.tree import Tree
from tests.screens.drive import until


@dataclass(frozen=True)
class Row:
    name: str
    host: str
    count: int
    mark: str = "ok"


COLUMNS = [
    Column("name", "NAME", lambda r: (r.name, "text")),
    Column("host", "HOST", lambda r: (r.host, "muted"), leave=1),
    Column("count", "COUNT", lambda r: (str(r.count), "muted"), right=True, leave=2, sort=lambda r: r.count),
]


class Counting(Grid[Row]):
    """Remembers which keys were drawn."""

    def __init__(self) -> None:
        super().__init__(COLUMNS, haystack=lambda r: f"{r.name} {r.host}", id="grid")
        self.drawn: list[str] = []

    def draw(self, index: int, width: int) -> Any:
        self.drawn.append(self.order[index])
        return super().draw(index, width)


class Host(App[None]):
    look = Look()

    def __init__(self, widget: Any) -> None:
        super().__init__()
        self.widget = widget

    def compose(self) -> ComposeResult:
        yield self.widget


@asynccontextmanager
async def shown(widget: Any, size: tuple[int, int] = (40, 12)) -> AsyncIterator[Pilot[None]]:
    async with Host(widget).run_test(size=size) as pilot:
        await pilot.pause()
        yield pilot


def rows(count: int) -> dict[str, Row]:
    return {f"r{i:06}": Row(f"r{i:06}", f"h{i % 7}", (i * 7919) % 1000) for i in range(count)}


async def painted(grid: Any, pilot: Pilot[None]) -> None:
    await until(lambda: not grid._timer_on, "the repaint timer")
    await pilot.pause()


async def test_100k_rows_are_filtered_and_sorted_and_only_the_seen_ones_drawn() -> None:
    grid = Counting()
    data = rows(100_000)
    async with shown(grid) as pilot:
        grid.use(True)
        grid.load(data)
        await painted(grid, pilot)
        assert len(grid.order) == 100_000
        assert 0 < len(set(grid.drawn)) <= grid.page
        grid.filter("0042")
        await until(lambda: not grid.busy, "the first look at every row")
        assert grid.order == [k for k, r in data.items() if "0042" in f"{r.name} {r.host}"]
        grid.filter("00421")
        assert grid.order == [k for k in data if "00421" in k]
        grid.filter("!h3")
        assert grid.order == [k for k, r in data.items() if r.host != "h3"]
        grid.filter("")
        assert grid.order == list(data)
        grid.sort_by, grid.descending = "count", True
        grid._arrange()
        assert grid.order == sorted(data, key=lambda k: data[k].count, reverse=True)
        grid.move("end")
        assert grid.key == grid.order[-1] and grid.top == 100_000 - grid.page


async def test_a_change_draws_its_own_line_and_no_other() -> None:
    grid = Counting()
    async with shown(grid) as pilot:
        grid.load(rows(1000))
        await painted(grid, pilot)
        grid.drawn.clear()
        grid.update({"r000003": Row("r000003", "h9", 1)})
        await painted(grid, pilot)
        assert grid.drawn == ["r000003"]
        grid.drawn.clear()
        grid.update({"r000500": Row("r000500", "h9", 1)})
        await painted(grid, pilot)
        assert grid.drawn == []
        grid.update({"r000003": Row("r000003", "h9", 1)})
        await painted(grid, pilot)
        assert grid.drawn == [], "an equal row is not drawn again"


async def test_a_cursor_move_draws_two_lines() -> None:
    grid = Counting()
    async with shown(grid) as pilot:
        grid.use(True)
        grid.load(rows(100))
        await painted(grid, pilot)
        grid.drawn.clear()
        grid.move("down")
        await pilot.pause()
        assert sorted(grid.drawn) == ["r000000", "r000001"]


async def test_blanks_cost_no_colours_of_their_own() -> None:
    grid = Counting()
    async with shown(grid) as pilot:
        grid.load(rows(20))
        grid.use(True)
        await painted(grid, pilot)
        for y in range(3):
            strip = grid.render_line(y)
            assert cells(strip.text) == 40
            ground = {segment.style.bgcolor for segment in strip if segment.style}
            assert len(ground) == 1
            assert len(list(strip)) <= 2, "name; host and count, muted both; blanks go with their neighbours"
            assert not any(segment.text.isspace() for segment in strip)


@pytest.mark.parametrize("row", [CURSOR, CURSOR_OFF, PLAIN])
@pytest.mark.parametrize("theme", THEMES)
def test_merging_moves_no_character_and_no_ground(theme: str, row: int) -> None:
    look = Look(theme)
    words = sorted(look.data["styles"])
    pieces = [(text, word) for word in words for text in (word[:3], "  ")]

    class Fixed(Counting):
        @property
        def look(self) -> Look:
            return look

    strip = Fixed().strip(pieces, 400, row)
    place = 0
    plain = "".join(text for text, _ in pieces)
    assert strip.text.rstrip() == plain.rstrip() and cells(strip.text) == 400
    styles = [style for segment in strip for style in [segment.style] * len(segment.text)]
    for text, word in pieces:
        for offset, char in enumerate(text):
            want, found = look.style(word, row), styles[place + offset]
            assert found is want or (char == " " and found.bgcolor == want.bgcolor and not (
                found.reverse or found.underline or want.reverse or want.underline)), (word, char)
        place += len(text)


async def test_a_new_width_draws_every_line_anew() -> None:
    grid = Counting()
    async with shown(grid, (60, 12)) as pilot:
        grid.load(rows(5))
        await painted(grid, pilot)
        grid.styles.width = 12
        await pilot.pause()
        await until(lambda: grid.size.width == 12)
        await pilot.pause()
        lines = [strip.text for strip in pilot.app.screen._compositor.render_strips()][:6]
        assert not any("h1" in line for line in lines), "the host has left every line, not only the header"


async def test_rows_that_come_wait_until_the_operator_moves() -> None:
    grid = Counting()
    async with shown(grid) as pilot:
        grid.use(True)
        grid.load(rows(20))
        grid.sort_by = "name"
        grid._arrange()
        grid.go(5)
        here, before = grid.key, list(grid.order)
        grid.update({"r000002x": Row("r000002x", "h1", 1)})
        assert grid.order == before and grid.key == here
        assert ("1 new", "changing") in grid.state_words()
        grid.move("down")
        assert grid.order[3] == "r000002x"
        assert grid.key == "r000006", "the cursor moved from where it was, not from where the rows slid to"
        assert grid.state_words() == [("21", "muted")]
        await pilot.pause()


async def test_a_row_that_comes_last_moves_nothing_and_is_shown_at_once() -> None:
    grid = Counting()
    async with shown(grid):
        grid.use(True)
        grid.load(rows(3))
        grid.update({"z": Row("z", "h", 1)})
        assert grid.order[-1] == "z" and not grid.waiting


async def test_a_row_that_went_stays_as_gone_until_the_operator_moves() -> None:
    grid = Counting()
    async with shown(grid):
        grid.use(True)
        grid.load(rows(5))
        grid.go(1)
        grid.update({"r000001": None})
        assert grid.order[1] == "r000001" and grid.current is None
        assert ("1 gone", "absent") in grid.state_words()
        grid.move("down")
        assert "r000001" not in grid.order


async def test_a_list_that_is_not_in_use_takes_changes_at_once_and_keeps_its_cursor() -> None:
    grid = Counting()
    async with shown(grid):
        grid.load(rows(20))
        grid.sort_by = "name"
        grid._arrange()
        grid.go(5)
        grid.update({"r000002x": Row("r000002x", "h1", 1), "r000001": None})
        assert "r000002x" in grid.order and "r000001" not in grid.order
        assert grid.key == "r000005"


async def test_marks_follow_the_rows_and_go_with_them() -> None:
    grid = Counting()
    async with shown(grid):
        grid.load(rows(5))
        grid.mark()
        grid.mark()
        assert grid.marked == {"r000000", "r000001"} and grid.cursor == 2
        grid.update({"r000000": None})
        grid.settle()
        assert grid.marked == {"r000001"}
        assert grid.unmark() and not grid.unmark()


async def test_narrow_columns_leave_in_their_order_and_wide_shows_all() -> None:
    grid = Counting()
    async with shown(grid, (14, 8)) as pilot:
        grid.load(rows(5))
        await painted(grid, pilot)
        assert [c.id for c, _ in grid._placed] == ["name", "host"]
        grid.widen()
        assert [c.id for c, _ in grid._placed] == ["name", "host", "count"]
        grid.shift(6)
        await pilot.pause()
        assert grid.render_line(1).text.startswith(" r000000"), "the name stays while the rest is scrolled"


async def test_columns_come_back_when_the_room_is_free_and_the_operator_moves() -> None:
    grid = Counting()
    async with shown(grid, (26, 8)):
        grid.use(True)
        grid.load({"r1": Row("r1", "h1", 5), "r2": Row("r2", "h2", 7)})
        assert [c.id for c, _ in grid._placed] == ["name", "host", "count"]
        grid.update({"r1": Row("r1", "h1 and then a much longer one", 5)})
        assert [c.id for c, _ in grid._placed] != ["name", "host", "count"]
        grid.update({"r1": Row("r1", "h1", 5)})
        assert len(grid._placed) < 3, "nothing moves by itself"
        grid.move("down")
        assert [c.id for c, _ in grid._placed] == ["name", "host", "count"]


async def test_a_cell_that_became_empty_leaves_no_sign_alone() -> None:
    grid = Counting()
    async with shown(grid, (40, 8)):
        grid.load({"r1": Row("r1", "h1", 5)})
        grid.update({"r1": Row("r1", "h2", 5)})
        sign = grid.look.sign("changed")
        assert sign in "".join(t for t, _ in grid.draw(0, 40))
        grid.update({"r1": Row("r1", "", 5)})
        assert sign not in "".join(t for t, _ in grid.draw(0, 40))


async def test_a_long_and_a_chinese_cell_keep_the_line_as_wide_as_the_screen() -> None:
    grid = Counting()
    async with shown(grid, (30, 8)) as pilot:
        grid.load({"a": Row("数独" * 40, "h", 1), "b": Row("x" * 100_000, "h", 2)})
        await painted(grid, pilot)
        for y in range(8):
            strip = grid.render_line(y)
            assert strip.cell_length == 30 == sum(cells(s.text) for s in strip)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 120),
)
def test_columns_always_fit_and_the_name_never_leaves(shape: list[tuple[int, int, bool]], room: int) -> None:
    columns = [Column("name", "N", lambda r: ("", "text"))]
    columns += [
        Column(f"c{n}", "C", lambda r: ("", "text"), leave=leave, grow=grow)
        for n, (_, leave, grow) in enumerate(shape)
    ]
    wants = {"name": 9} | {f"c{n}": width for n, (width, _, _) in enumerate(shape)}
    placed = place(columns, wants, room)
    assert placed[0][0].id == "name" and placed[0][1] >= 1
    assert sum(w for _, w in placed) + GAP * (len(placed) - 1) <= max(room, 1)
    gone = [c.leave for c in columns if c not in [p for p, _ in placed]]
    kept = [c.leave for c, _ in placed if c.leave]
    assert not gone or not kept or min(gone) >= max(kept)


# the tree

CHILDREN = {"": ["a"], "a": ["a.b", "a.c"], "a.b": ["a.b/0", "a.b/1"], "a.c": ["a.c/0"]}


def tree() -> Tree:
    def name(row: Row) -> Piece:
        return row.name, "text"

    return Tree(
        [Column("name", "NAME", name)],
        haystack=lambda r: r.name,
        title="TREE",
        key_of=lambda r: r.name,
        mark_of=lambda r: r.mark,
    )


TREE_ROWS = {n: Row(n, "h", 1) for n in ("a", "a.b", "a.c", "a.b/0", "a.b/1", "a.c/0")}


async def test_a_tree_is_flattened_folded_and_opened() -> None:
    widget = tree()
    async with shown(widget) as pilot:
        widget.use(True)
        widget.plant(TREE_ROWS, CHILDREN)
        assert widget.order == ["a", "a.b", "a.b/0", "a.b/1", "a.c", "a.c/0"]
        widget.go(3)
        widget.fold(True)
        assert widget.key == "a.b", "closing on a leaf goes to its parent"
        widget.fold(True)
        assert widget.order == ["a", "a.b", "a.c", "a.c/0"] and widget.key == "a.b"
        widget.plant(dict(TREE_ROWS), CHILDREN)
        assert widget.order == ["a", "a.b", "a.c", "a.c/0"], "what was closed stays closed"
        widget.fold(False)
        assert "a.b/1" in widget.order
        await pilot.pause()


async def test_a_filter_on_a_tree_shows_the_way_to_every_match() -> None:
    widget = tree()
    async with shown(widget):
        widget.plant(TREE_ROWS, CHILDREN)
        widget.closed.add("a.c")
        widget.filter("c/0")
        assert widget.order == ["a", "a.c", "a.c/0"]
        widget.filter("!b")
        assert widget.order == ["a", "a.c", "a.c/0"]
        widget.filter("")
        assert widget.order == ["a", "a.b", "a.b/0", "a.b/1", "a.c"]


async def test_a_new_instance_in_the_tree_waits_for_the_operator() -> None:
    widget = tree()
    async with shown(widget):
        widget.use(True)
        widget.plant(TREE_ROWS, CHILDREN)
        widget.go(4)
        more = {**CHILDREN, "a.b": ["a.b/0", "a.b/1", "a.b/2"]}
        widget.graft({"a.b/2": Row("a.b/2", "h", 1)}, more)
        assert widget.key == "a.c" and widget.cursor == 4 and "a.b/2" not in widget.order
        widget.graft({"a.c": replace(TREE_ROWS["a.c"], mark="drift")}, None)
        assert widget.rows["a.c"].mark == "drift"
        widget.move("up")
        assert widget.key == "a.b/2"


@pytest.mark.parametrize("theme", ["dark", "light", "ansi16", "mono"])
async def test_the_header_names_the_sorted_column(theme: str) -> None:
    grid = Counting()
    async with shown(grid) as pilot:
        Host.look = Look(theme=theme)
        try:
            grid.load(rows(3))
            grid.sort()
            grid.sort(True)
            await painted(grid, pilot)
            assert grid.render_line(0).text.startswith(" ↓NAME")
        finally:
            Host.look = Look()


def test_the_sign_of_the_order_cuts_no_title() -> None:
    placed = [
        (Column("name", "NAME", lambda r: ("x", "text")), 4), (Column("have", "HAVE", lambda r: ("", "text")), 4),
        (Column("want", "WANT", lambda r: ("", "text"), right=True), 4),
        (Column("age", "AGE", lambda r: ("", "text"), right=True), 5),
    ]  # fmt: skip

    def text(by: str, left: int = 0) -> str:
        return "".join(t for t, _ in header(placed, "", by, "^", left))

    assert text("") == " NAME  HAVE  WANT    AGE"
    assert text("name") == "^NAME  HAVE  WANT    AGE"
    assert text("have") == " NAME ^HAVE  WANT    AGE"
    assert text("want") == " NAME  HAVE ^WANT    AGE"
    assert text("age") == " NAME  HAVE  WANT   ^AGE"
    assert text("want", 6) == " NAME ^WANT    AGE"
