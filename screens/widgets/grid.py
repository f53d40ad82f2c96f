"""Rows by key in columns, with cursor, marks, filter and sort, whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from screens.format import cells, cut_words, fit
from screens.look import Piece
from screens.widgets.columns import GAP, Column, Placed, place
from screens.widgets.lines import Lines

T = TypeVar("T")
SAMPLE = 400
"""So many rows are measured for the widths of columns; later ones widen them as they change."""
NATURAL = ""
"""Sort by the order in which the rows were given."""


class Query:
    """A filter: a part of the row's text, or `!part` for rows without it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.inverse = text.startswith("!")
        self.part = text[1:].lower() if self.inverse else text.lower()

    def __call__(self, haystack: str) -> bool:
        return (self.part in haystack) != self.inverse if self.part else True

    def narrows(self, other: Query) -> bool:
        """Does every row that passes this one pass the other too?"""
        return not self.inverse and not other.inverse and other.part in self.part


class Grid(Lines, Generic[T]):
    """The grid. While the operator is in it, rows that come or go wait until the cursor is moved."""

    header = 1

    def __init__(
        self, columns: Sequence[Column], *, haystack: Callable[[T], str], title: str = "",
        lead: Callable[[T], tuple[Piece, ...]] | None = None, id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.columns = list(columns)
        self.haystack = haystack
        self.title = title
        self._lead = lead
        self.rows: dict[str, T] = {}
        self.order: list[str] = []
        self.marked: set[str] = set()
        self.sieve = Query("")
        self.sort_by = NATURAL
        self.descending = False
        self.wide = False
        self.waiting: set[str] = set()
        """Keys of rows that came and are not in the order yet."""
        self.gone: set[str] = set()
        self._moot = False
        self._versions: dict[str, int] = {}
        self._texts: dict[str, tuple[Piece, ...]] = {}
        self._hay: dict[str, str] = {}
        self._wants: dict[str, int] = {}
        self._placed: list[Placed] = []

    # data

    def load(self, rows: Mapping[str, T]) -> None:
        """Show these rows instead. The cursor stays on its key, at its height; equal rows are not redrawn."""
        here = self.key
        fresh = not self.rows
        for key, row in rows.items():
            if self.rows.get(key) is not row:
                self._forget(key)
        for key in self.rows.keys() - rows.keys():
            self._forget(key)
            self.marked.discard(key)
        self.rows = dict(rows)
        self.gone.clear()
        self.waiting.clear()
        self._measure(list(self.rows.values())[:SAMPLE])
        self._arrange()
        if fresh or here is None:
            self.moved()

    def update(self, changes: Mapping[str, T | None]) -> None:
        """Rows that changed (None: gone). Only those lines are painted."""
        held = False
        for key, row in changes.items():
            if row is None:
                if key in self.rows:
                    self.gone.add(key)
                    self._forget(key)
                    held = True
            elif key in self.rows and key not in self.waiting:
                if self.rows[key] != row or key in self.gone:
                    self.rows[key] = row
                    self.gone.discard(key)
                    self._forget(key)
                    self._moot = True
                    self._measure((row,))
            else:
                self.rows[key] = row
                self._forget(key)
                self.waiting.add(key)
                held = True
        touched = changes.keys()
        for index in range(self.top, min(len(self.order), self.top + self.page)):
            if self.order[index] in touched:
                self.touch(index)
        if self.key in touched:
            self.moved()
        if held:
            self.refresh_header()
            if not self.in_use or not self.order or self._only_after():
                self.settle()

    def _only_after(self) -> bool:
        """Would the rows that wait all stand after the last one?"""
        if self.gone:
            return False
        return self.arranged()[: len(self.order)] == self.order

    def settle(self) -> None:
        if not (self.waiting or self.gone or (self._moot and self.sort_by)):
            return
        for key in self.gone:
            self.rows.pop(key, None)
            self.marked.discard(key)
            self._versions.pop(key, None)
        self.gone.clear()
        self.waiting.clear()
        self._measure(list(self.rows.values())[:SAMPLE])
        self._arrange()

    def _forget(self, key: str) -> None:
        self._versions[key] = self._versions.get(key, 0) + 1
        self._texts.pop(key, None)
        self._hay.pop(key, None)

    def arranged(self) -> list[str]:
        """Keys that pass the filter, in order."""
        return self._sorted(self._passing(self.rows))

    def _passing(self, keys: Iterable[str]) -> list[str]:
        if not self.sieve.part:
            return list(keys)
        hay = self.hay()
        query = self.sieve
        return [key for key in keys if query(hay[key])]

    def hay(self) -> dict[str, str]:
        """The text each row is searched by, made once per version of the row."""
        if len(self._hay) != len(self.rows):
            haystack = self.haystack
            for key, row in self.rows.items():
                if key not in self._hay:
                    self._hay[key] = haystack(row).lower()
        return self._hay

    def _sorted(self, keys: list[str]) -> list[str]:
        column = next((c for c in self.columns if c.id == self.sort_by), None)
        if column is None:
            return keys
        sort, cell, rows = column.sort, column.cell, self.rows
        value = (lambda k: sort(rows[k])) if sort is not None else (lambda k: cell(rows[k])[0])
        return sorted(keys, key=value, reverse=self.descending)

    def _arrange(self, keys: list[str] | None = None) -> None:
        here, offset = self.key, self.cursor - self.top
        old = self.cursor
        self._moot = False
        self.order = self.arranged() if keys is None else keys
        try:
            self.cursor = self.order.index(here) if here is not None else 0
        except ValueError:
            self.cursor = max(0, min(old, len(self.order) - 1))
        self.top = max(0, min(self.cursor - offset, len(self.order) - self.page))
        self._show(self.cursor)
        self.refresh()
        if self.key != here:
            self.moved()

    # what the operator does

    @property
    def key(self) -> str | None:
        return self.order[self.cursor] if 0 <= self.cursor < len(self.order) else None

    @property
    def current(self) -> T | None:
        key = self.key
        return None if key is None or key in self.gone else self.rows[key]

    def seek(self, key: str) -> bool:
        """Put the cursor on a key; false when it is not shown."""
        if key not in self.order:
            return False
        self.go(self.order.index(key))
        return True

    def filter(self, text: str) -> None:
        query = Query(text)
        if query.text == self.sieve.text:
            return
        narrows = query.narrows(self.sieve)
        self.settle()
        self.sieve = query
        self._arrange(self._passing(self.order) if narrows else None)
        self.refresh_header()

    def sort(self, backwards: bool = False) -> None:
        """Sort by the next column, or turn the direction around."""
        shown = [c for c, _ in self._placed]
        if backwards:
            self.descending = not self.descending
        else:
            ids = [NATURAL, *(c.id for c in shown)]
            at = ids.index(self.sort_by) if self.sort_by in ids else 0
            self.sort_by = ids[(at + 1) % len(ids)]
            self.descending = False
        self.settle()
        self._arrange()

    def mark(self) -> None:
        """Mark the row under the cursor or take the mark away, and go on to the next."""
        key = self.key
        if key is None or key in self.gone or not self.can_mark(key):
            return
        self.marked ^= {key}
        self.touch(self.cursor)
        self.refresh_header()
        self.go(min(len(self.order) - 1, self.cursor + 1))
        self.moved()

    def can_mark(self, key: str) -> bool:
        return True

    def unmark(self) -> bool:
        """Take all marks away; true when there were some."""
        had = bool(self.marked)
        self.marked.clear()
        if had:
            self._strips.clear()
            self.refresh()
            self.moved()
        return had

    def widen(self) -> None:
        """All columns, scrolled sideways behind the name; or only those that fit."""
        self.wide = not self.wide
        self.left = 0
        self.resized()
        self.refresh()

    # drawing

    def count(self) -> int:
        return len(self.order)

    def version(self, index: int) -> Hashable:
        key = self.order[index]
        return (key, self._versions.get(key, 0), key in self.marked, key in self.gone)

    def texts(self, key: str) -> tuple[Piece, ...]:
        found = self._texts.get(key)
        if found is None:
            row = self.rows[key]
            found = self._texts[key] = tuple(column.cell(row) for column in self.columns)
        return found

    def relabel(self, columns: Sequence[Column]) -> None:
        """Other columns over the same rows."""
        self.columns = list(columns)
        self._texts.clear()
        self._wants.clear()
        self._measure(list(self.rows.values())[:SAMPLE])
        self._strips.clear()
        self.resized()
        self.refresh()

    def look_changed(self) -> None:
        self._texts.clear()
        super().look_changed()

    def tick(self) -> None:
        for index in range(self.top, min(len(self.order), self.top + self.page)):
            key = self.order[index]
            old = self._texts.pop(key, None)
            if old is not None and old != self.texts(key):
                self._versions[key] = self._versions.get(key, 0) + 1
                self.touch(index)

    def _measure(self, rows: Iterable[T]) -> None:
        wider = False
        for row in rows:
            for number, column in enumerate(self.columns):
                width = cells(column.cell(row)[0]) + (0 if number else self.indent(row))
                if width > self._wants.get(column.id, 0):
                    self._wants[column.id] = width
                    wider = True
        if wider:
            self.resized()
            self.touch_all()

    @property
    def natural(self) -> int:
        """Cells that all columns would like."""
        wants = self._wants
        return sum(min(c.most, max(len(c.title), wants.get(c.id, 0))) + GAP for c in self.columns)

    def indent(self, row: T) -> int:
        """Cells that `lead` takes."""
        return sum(cells(text) for text, _ in self._lead(row)) if self._lead else 0

    def resized(self) -> None:
        room = 10_000 if self.wide else self.size.width - 1
        placed = place(self.columns, self._wants, room) if self.size.width else []
        if placed != self._placed:
            self._placed = placed
            self._strips.clear()
            if self.is_mounted:
                self.refresh()  # Textual has drawn the new size before it told us

    def lead(self, key: str) -> Sequence[Piece]:
        """What stands in front of the first cell of a row."""
        return self._lead(self.rows[key]) if self._lead else ()

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        key = self.order[index]
        texts = dict(zip((c.id for c in self.columns), self.texts(key), strict=True))
        gone = key in self.gone
        more = self.look.sign("more")
        pieces: list[Piece] = [(self.look.sign("picked") if key in self.marked else " ", "picked")]
        for number, (column, room) in enumerate(self._placed):
            text, word = texts[column.id]
            if number == 0:
                lead = [(t, "faint" if gone else w) for t, w in self.lead(key)]
                pieces += lead
                room -= sum(cells(t) for t, _ in lead)
            else:
                pieces.append((" " * GAP, "text"))
            if column.paint is not None:
                drawn = column.paint(self.rows[key], room)
                pieces += [(t, "faint" if gone else w) for t, w in drawn]
                pieces.append((" " * (room - sum(cells(t) for t, _ in drawn)), "text"))
                continue
            if column.grow:
                text = cut_words(text, room, more)
            pieces.append((fit(text, room, more, column.right), "faint" if gone else word))
            if number == 0 and self.left:
                pieces = self._sideways(pieces, texts)
                break
        return pieces

    def _sideways(self, pieces: list[Piece], texts: Mapping[str, Piece]) -> list[Piece]:
        """The name stays; the rest is moved to the left by whole cells."""
        rest = "".join(
            " " * GAP + fit(texts[c.id][0], room, self.look.sign("more"), c.right) for c, room in self._placed[1:]
        )
        return [*pieces, (rest[self.left:], "text")]

    def draw_header(self, line: int, width: int) -> Sequence[Piece]:
        pieces: list[Piece] = [(" ", "head")]
        for number, (column, room) in enumerate(self._placed):
            title = (self.title or column.title) if number == 0 else column.title
            if column.id == self.sort_by:
                title = self.look.sign("down" if self.descending else "up") + title
            if number:
                pieces.append((" " * GAP, "head"))
            pieces.append((fit(title, room, "", column.right), "head"))
        return pieces

    def state_words(self) -> list[Piece]:
        """Filter, count, marks and rows that wait, for the line above the grid."""
        out: list[Piece] = []
        if self.sieve.text:
            out.append((f"/{self.sieve.text}", "strong"))
        out.append((f"{len(self.order)} of {len(self.rows)}" if self.sieve.text else f"{len(self.rows)}", "muted"))
        if self.marked:
            out.append((f"{len(self.marked)} marked", "picked"))
        if self.waiting:
            out.append((f"{len(self.waiting)} new", "changing"))
        if self.gone:
            out.append((f"{len(self.gone)} gone", "absent"))
        return out
