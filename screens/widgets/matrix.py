"""Rows against columns: both headers stay, both sides scroll, only cells that are seen are drawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from screens.format import cells, cut, fit
from screens.look import Piece
from screens.widgets.lines import Lines

GAP = 2
NARROW = 4
"""Cells of a column whose name stands upright."""
MOST_NAME, MOST_HEAD, UPRIGHT = 18, 28, 9


class Row(NamedTuple):
    key: str
    heading: bool = False


class Matrix(Lines):
    """`head` draws a row's name, `cell` one cell (at most `NARROW` cells wide when upright), `name` a column's name.

    `version_of` says when a row looks different. Up and down go over rows, left and right over columns.
    """

    def __init__(
        self, *, head: Callable[[str], Sequence[Piece]], cell: Callable[[str, str], Piece],
        name: Callable[[str], Piece], version_of: Callable[[str], Hashable], id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._head, self._cell, self._title, self._version_of = head, cell, name, version_of
        self.rows: list[Row] = []
        self.columns: list[str] = []
        self.column = 0
        """The chosen column; `left` is the first that is seen."""
        self.upright = False
        self.corner = ""
        self._head_width = 10
        self._widths: list[int] = []
        self._generation = 0

    @property
    def key(self) -> str:
        return self.rows[self.cursor].key if self.cursor < len(self.rows) else ""

    @property
    def chosen(self) -> str:
        return self.columns[self.column] if self.column < len(self.columns) else ""

    def load(self, rows: Sequence[Row], columns: Sequence[str], corner: str) -> None:
        """Show these. The cursor stays on its row and column."""
        key, chosen, height = self.key, self.chosen, self.cursor - self.top
        if list(rows) == self.rows and list(columns) == self.columns and corner == self.corner:
            return
        self.rows, self.columns, self.corner = list(rows), list(columns), corner
        places = {row.key: n for n, row in enumerate(self.rows)}
        self.cursor = places.get(key, min(self.cursor, max(0, len(rows) - 1)))
        if key not in places:
            self.cursor = next((n for n, r in enumerate(self.rows) if not r.heading), 0)
        self.column = self.columns.index(chosen) if chosen in self.columns else 0
        self.top = max(0, min(self.cursor - height, len(self.rows) - self.page))
        self.measure()
        self._show(self.cursor)
        self.show_column()
        self.touch_all()
        self.moved()

    def measure(self) -> None:
        """Widths of the row names (the first few hundred and the longest) and of the columns."""
        names = sorted((row.key for row in self.rows), key=len)[-200:]
        widest = max((sum(cells(t) for t, _ in self._head(k)) for k in names), default=0)
        self._head_width = min(MOST_HEAD, max(widest, cells(self.corner) + 1))
        titles = [cells(self._title(c)[0]) for c in self.columns]
        self.header = min(UPRIGHT, max(titles, default=1)) if self.upright else 1
        self._widths = [NARROW if self.upright else max(3, min(MOST_NAME, t)) + GAP for t in titles]
        self._generation += 1

    def turn(self) -> None:
        """Names of columns upright, so that more of them are seen; or lying, so that they can be read."""
        self.upright = not self.upright
        self.measure()
        self._show(self.cursor)
        self.show_column()
        self.refresh()

    def look_changed(self) -> None:
        self._generation += 1
        super().look_changed()

    def fitting(self, first: int) -> int:
        """How many columns are seen when `first` is the first of them; at least one."""
        room, count = self.size.width - self._head_width - GAP, 0
        for width in self._widths[first:]:
            room -= width
            if room < 0:
                break
            count += 1
        return max(1, count)

    def seen(self) -> tuple[int, int]:
        """The first column that is seen, and the first after it that is not."""
        return self.left, min(len(self.columns), self.left + self.fitting(self.left))

    def show_column(self) -> None:
        left = min(self.left, max(0, len(self.columns) - 1))
        if self.column < left:
            left = self.column
        while left < self.column and self.column >= left + self.fitting(left):
            left += 1
        if left != self.left:
            self.left = left
            self.refresh()

    def side(self, way: int) -> None:
        column = max(0, min(len(self.columns) - 1, self.column + way))
        if column != self.column:
            self.column = column
            self.show_column()
            self.touch(self.cursor)
            self.refresh_header()
            self.moved()

    def resized(self) -> None:
        self.show_column()

    def count(self) -> int:
        return len(self.rows)

    def version(self, index: int) -> Hashable:
        key = self.rows[index].key
        return (key, self._version_of(key), self.column if index == self.cursor else -1, self._generation)

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        row = self.rows[index]
        out: list[Piece] = []
        room = self._head_width
        for text, word in self._head(row.key):
            text = cut(text, room, self.look.sign("more"))
            room -= cells(text)
            out.append((text, word))
        out.append((" " * (room + GAP), "text"))
        for number in range(*self.seen()):
            text, word = self._cell(row.key, self.columns[number])
            wide = self._widths[number]
            shown = cut(text, wide - 1)
            pad = " " * (wide - cells(shown))
            if index == self.cursor and number == self.column:
                # brackets: the row has the cursor's colour already, and the glyph keeps its own
                out[-1] = (out[-1][0][:-1], "text")
                out += [("[", "strong"), (shown, word), ("]", "strong"), (pad[1:], "text")]
                continue
            out += [(shown, word), (pad, "text")]
        return out

    def draw_header(self, line: int, width: int) -> Sequence[Piece]:
        last = line == self.header - 1
        out: list[Piece] = [(fit(self.corner if last else "", self._head_width + GAP), "head")]
        for number in range(*self.seen()):
            name, word = self._title(self.columns[number])
            word = "picked" if number == self.column else word
            wide = self._widths[number]
            if self.upright:
                # the end of a long name tells more than its beginning: paths begin alike
                shown = name[-UPRIGHT:].rjust(self.header)
                out += [(fit(shown[line], wide), word)]
            else:
                out.append((fit(cut(name, wide - GAP, self.look.sign("more")), wide), word))
        return out

    def words(self, key: str) -> tuple[Sequence[Piece], list[tuple[str, str]]]:
        """A whole row, also what is not seen: its name, and each column's name with what its cell shows."""
        return self._head(key), [(self._title(c)[0], self._cell(key, c)[0]) for c in self.columns]

    def page_column(self, way: int) -> None:
        self.side(way * self.fitting(self.left))
