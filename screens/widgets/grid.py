"""Rows by key in columns, with cursor, marks, filter and sort, whatever their number."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from screens.format import cells, cut_words, drop, fit
from screens.look import Piece
from screens.query import Bad, Part
from screens.slices import MANY, in_slices
from screens.widgets.columns import GAP, Column, Placed, chosen, header, place, present, renewed, row_cells, titled
from screens.widgets.lines import Lines
from screens.widgets.news import News
from screens.widgets.shelf import MANY_CHANGES, NATURAL, GridState, Shelf

T = TypeVar("T")
SAMPLE = 400
"""So many rows are measured for the widths of columns; later ones widen them as they change, a few at a time."""
KEPT = 4096
"""Rows whose cells are remembered as text."""
Query = Part  # the filter of lists without columns


class Grid(Shelf[T], Lines):
    """The grid. While the operator is in it, rows that come or go wait until the cursor is moved."""

    header = 1

    def __init__(
        self, columns: Sequence[Column], *, haystack: Callable[[T], str], title: str = "",
        lead: Callable[[T], tuple[Piece, ...]] | None = None, id: str | None = None,
    ) -> None:
        Lines.__init__(self, id=id)
        Shelf.__init__(self, columns, haystack)
        self.title = title
        self._lead = lead
        self.wide = False
        self.clock = time.monotonic
        self._news = News()
        self._serial = 0
        self._versions: dict[str, int] = {}
        self._texts: dict[str, tuple[Piece, ...]] = {}
        self._wants: dict[str, int] = {}
        self._stretched = False
        self._placed: list[Placed] = []
        self._job: asyncio.Task[None] | None = None
        self._later: GridState | None = None

    # data

    def load(self, rows: Mapping[str, T]) -> None:
        """Show these rows instead. The cursor stays on its key, at its height; equal rows are not redrawn."""
        here = self.key
        fresh = not self.rows
        self._stop()
        other = self.put(rows)
        if len(other) > KEPT:
            self._texts.clear()
            self._strips.clear()
            self._news.clear()
        else:
            for key in other:
                self._forget(key)
        self._measure(list(self.rows.values())[:SAMPLE])
        if self.order and self._long():
            self._arrange([k for k in self.order if k in self.rows])
            self._sift()
        else:
            self._arrange()
        self.refresh()
        if self._later is not None and self.rows:
            self.restore(self._later)
        if fresh or here is None:
            self.moved()

    def update(self, changes: Mapping[str, T | None], quiet: bool = False) -> None:
        """Rows that changed (None: gone). Only those lines are painted; `quiet`: cells get no sign of it."""
        held = wider = False
        now = self.clock()
        near = set(self.order[max(0, self.top - self.page): self.top + 2 * self.page])
        looked = changes if len(changes) <= MANY_CHANGES else near.union(list(changes)[:SAMPLE])
        for key, row in changes.items():
            old = self.rows.get(key)
            if row is not None and old == row and key not in self.gone:
                self.rows[key] = row
                continue
            held |= self.change(key, row)
            self._forget(key)
            if row is not None and key in looked:
                texts = self._cells(row)
                wider |= self._widen_for(row, texts)
                if old is not None and key in near and not quiet:
                    self._news.note(key, self.columns, self._cells(old), texts, now)
        if wider:
            self._stretched = True
            self.resized()
            self.touch_all()
        touched = changes.keys()
        for index in range(self.top, min(len(self.order), self.top + self.page)):
            if self.order[index] in touched:
                self.touch(index)
        if self.key in touched:
            self.moved()
        if held and not self.busy:
            self.refresh_header()
            if not self.in_use or not self.order:
                self.settle()
            elif (tail := self.tail()) is not None:
                self.append(tail)
                self.touch_all()

    def settle(self) -> None:
        """Take over rows that waited for the operator to move; room that nothing needs any more is given back."""
        if self._stretched and len(self.rows) <= SAMPLE:
            self._stretched = False
            self._wants.clear()
            self._measure(self.rows.values())
        if self.busy or not (self.waiting or self.gone or self._moot):
            return
        if len(self.waiting) + len(self._moot) + len(self.gone) > MANY_CHANGES and self._long():
            self._sift()
            return
        self._arrange(self.settled())

    def drop_gone(self) -> None:
        for key in self.gone:
            self._versions.pop(key, None)
            self._news.forget(key)
        super().drop_gone()

    def _long(self, in_order: bool = False) -> bool:
        """Is it too much for one piece to arrange the rows?"""
        return len(self.order if in_order else self.rows) >= MANY and self.is_running and self.slow(in_order)

    def _forget(self, key: str) -> None:
        self._serial += 1
        self._versions[key] = self._serial
        self._texts.pop(key, None)

    def _arrange(self, keys: list[str] | None = None) -> None:
        here, offset = self.key, self.cursor - self.top
        old, seen = self.cursor, self.order[self.top: self.top + self.page]
        self.took_over(self.arranged() if keys is None else keys)
        try:
            self.cursor = self.order.index(here) if here is not None else 0
        except ValueError:
            self.cursor = max(0, min(old, len(self.order) - 1))
        self.top = max(0, min(self.cursor - offset, len(self.order) - self.page))
        self._show(self.cursor)
        if self.order[self.top: self.top + self.page] != seen or self.cursor - self.top != offset:
            self.refresh()
        else:
            self.refresh_header()
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
        try:
            self.go(self.order.index(key))
        except ValueError:
            return False
        return True

    def filter(self, text: str) -> str:
        """Show only what passes; what is wrong with the text, then the filter that was stays in force: of a word
        that was plain text until it became wrong (`restarts`, `restarts>`) what stood before it."""
        self.wrong = ""
        try:
            query = self.asked(text)
        except Bad as error:
            self.wrong = str(error)
            before = text[: error.begin].rstrip()
            if not text.startswith(self.sieve.text):
                return self.wrong
            try:
                query = self.asked(before)
            except Bad:
                return self.wrong
        if query.text != self.sieve.text:
            self.settle()
            narrows = self.can_narrow and not self.busy and self.narrows(query)
            self.sieve = query
            self._sift(self.order if narrows else None)
        return self.wrong

    def stick(self, text: str) -> str:
        """A filter that holds beside this list's own; why it cannot be asked here, then it does not hold."""
        try:
            query, why = self.asked(text), ""
        except Bad as error:
            query, why = self.asked(""), str(error)
        if query.text != self.sticky.text:
            self.settle()
            self.sticky = query
            self._sift()
        return why

    def only(self, *, needy: bool | None = None, marked: bool | None = None) -> None:
        """Only what needs attention, only what is marked."""
        self.settle()
        self.only_needy = self.only_needy if needy is None else needy
        self.only_marked = self.only_marked if marked is None else marked
        self._sift()

    def sift_again(self) -> None:
        self.settle()
        self._sift()

    can_narrow = True
    """May a narrower filter begin with what is shown?"""

    def _sift(self, keys: list[str] | None = None) -> None:
        """Find what passes, in slices where that would take long."""
        self._stop()
        self.compose_filter()
        if self._long(keys is not None):
            source = self.rows if keys is None else self.order
            self.work(self._in_slices(list(source), keys is not None))
        else:
            self._arrange(None if keys is None else self._passing(keys))
        self.refresh_header()

    async def _in_slices(self, keys: list[str], in_order: bool) -> None:
        count = len(self.rows)
        order = await in_slices(self.arranging(keys, in_order), self.told)
        self._job = None
        order, late = self.meanwhile(order, count)
        self._arrange(order)
        if self.put_late(late):
            self.settle()
        self.refresh_header()
        self.moved()

    def work(self, job: Coroutine[Any, Any, None]) -> None:
        """Be busy with this, which calls `told`, until rows are loaded or something else is asked."""
        self._stop()
        self._job = asyncio.create_task(job)

    def told(self, done: float) -> None:
        self.done = done

    def _stop(self) -> None:
        self.done = 0.0
        if self._job is not None:
            self._job.cancel()
            self._job = None

    @property
    def busy(self) -> bool:
        return self._job is not None

    def on_unmount(self) -> None:
        self._stop()

    def sort(self, backwards: bool = False) -> None:
        """Sort by the next column, or turn the direction around."""
        if backwards:
            self.descending = not self.descending
        else:
            ids = [NATURAL, *(c.id for c, _ in self._placed)]
            at = ids.index(self.sort_by) if self.sort_by in ids else 0
            self.sort_by = ids[(at + 1) % len(ids)]
            self.descending = False
        self.sift_again()

    def order_by(self, column: str, descending: bool = False) -> None:
        """Sort by a column, by its id; the natural order when it is empty."""
        self.sort_by, self.descending = column, descending
        self.sift_again()

    def click_header(self, x: int) -> None:
        """Sort by the column at this cell, the other way round at the second time, naturally at the third."""
        edge = 1
        for number, (column, room) in enumerate(self._placed):
            edge += room + (GAP if number else 0)
            if x < edge:
                again, turned = column.id == self.sort_by, self.descending
                self.order_by(NATURAL if again and turned else column.id, again and not turned)
                return

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
        if self.only_marked:
            self.only(marked=False)
        if had:
            self._strips.clear()
            self.refresh()
            self.moved()
        return had

    def state(self) -> GridState:
        """What to come back to."""
        return GridState(
            self.sieve.text, self.key, self.cursor - self.top, tuple(sorted(self.marked)), self.sort_by,
            self.descending, self.wide, self.left, self.only_needy, self.only_marked,
        )  # fmt: skip

    def restore(self, state: GridState) -> None:
        """Make it what it was; before there are rows, as soon as there are some."""
        self._later = None if self.rows else state
        self.wide, self.left = state.wide, state.left
        self.sort_by, self.descending = state.sort_by, state.descending
        self.marked = set(state.marked) & self.rows.keys()
        self.only_needy = state.only_needy
        self.only_marked = state.only_marked and bool(self.marked)
        try:
            self.sieve, self.wrong = self.asked(state.filter), ""
        except Bad as error:
            self.wrong = str(error)
        self.compose_filter()
        self.resized()
        self._arrange()
        if state.key is not None and self.seek(state.key):
            self.scroll_top(max(0, min(self.cursor - state.height, len(self.order) - self.page)))
        self.refresh()

    # columns

    def widen(self) -> None:
        """All columns, scrolled sideways behind the name; or only those that fit."""
        self.wide = not self.wide
        self.left = 0
        self.resized()
        self.refresh()

    def choose(self, ids: Sequence[str] | None) -> None:  # None: those that are on by themselves
        self._columns_are(chosen(self.every, ids))

    def relabel(self, columns: Sequence[Column]) -> None:
        """Other columns over the same rows."""
        self.every, shown = renewed(columns, self.every, self.columns, self.own)
        self._columns_are(shown)

    def _columns_are(self, columns: list[Column]) -> None:
        self.columns = columns
        self._texts.clear()
        self._wants.clear()
        self._news.clear()
        self._measure(list(self.rows.values())[:SAMPLE])
        self._strips.clear()
        self.resized()
        self.refresh()

    def look_changed(self) -> None:
        super().look_changed()
        self._columns_are(self.columns)

    def tick(self) -> None:
        old_news = set(self._news.expire(self.clock()))
        for key in old_news:
            if key in self.rows:
                self._serial += 1
                self._versions[key] = self._serial
        for index in range(self.top, min(len(self.order), self.top + self.page)):
            key = self.order[index]
            old = self._texts.pop(key, None)
            if old is not None and old != self.texts(key):
                self._forget(key)
                self.touch(index)
            elif key in old_news:
                self.touch(index)

    def _cells(self, row: T) -> tuple[Piece, ...]:
        return row_cells(self.columns, row, self.look.words)

    def texts(self, key: str) -> tuple[Piece, ...]:
        found = self._texts.get(key)
        if found is None:
            if len(self._texts) >= KEPT:
                self._texts.clear()
            found = self._texts[key] = self._cells(self.rows[key])
        return found

    def _measure(self, rows: Iterable[T]) -> None:
        wider = False
        for row in rows:
            wider |= self._widen_for(row, self._cells(row))
        if wider:
            self.resized()
            self.touch_all()

    def _widen_for(self, row: T, texts: Sequence[Piece]) -> bool:
        wider = False
        wants = self._wants
        for number, (column, (text, _)) in enumerate(zip(self.columns, texts, strict=True)):
            width = cells(text) + (0 if number else self.indent(row))
            if width > wants.get(column.id, 0):
                wants[column.id] = width
                wider = True
        return wider

    @property
    def natural(self) -> int:
        """Cells that all columns would like."""
        wants = self._wants
        return sum(min(c.most, max(cells(c.title), wants.get(c.id, 0))) + GAP for c in present(self.columns))

    def indent(self, row: T) -> int:
        """Cells that `lead` takes."""
        return sum(cells(text) for text, _ in self._lead(row)) if self._lead else 0

    def resized(self) -> None:
        room = 10_000 if self.wide else self.size.width - 1
        columns = titled(present(self.columns), self.look.words)
        placed = place(columns, self._wants, room) if self.size.width else []
        if placed != self._placed:
            self._placed = placed
            self._strips.clear()
            if self.is_mounted:
                self.refresh()  # Textual has drawn the new size before it told us

    # drawing

    def count(self) -> int:
        return len(self.order)

    def version(self, index: int) -> Hashable:
        key = self.order[index]
        return (key, self._versions.get(key, 0), key in self.marked, key in self.gone)

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
            sign = self._news.sign(key, column.id)
            if number == 0:
                lead = [(t, "faint" if gone else w) for t, w in self.lead(key)]
                pieces += lead
                room -= sum(cells(t) for t, _ in lead)
            if column.paint is not None:
                drawn = column.paint(self.rows[key], room)
                pieces.append((" " * (GAP if number else 0), "text"))
                pieces += [(t, "faint" if gone else w) for t, w in drawn]
                pieces.append((" " * (room - sum(cells(t) for t, _ in drawn)), "text"))
                continue
            if column.grow:
                text = cut_words(text, room, more)
            shown = fit(text, room, more, column.right)
            if number:
                before = " " * GAP
                if sign and text:  # right before the text, in blanks that are there anyway
                    blank = len(shown) - len(shown.lstrip(" ")) if column.right else 0
                    before, shown = before + shown[:blank], shown[blank:]
                    pieces += [(before[:-1], "text"), (self.look.sign(sign), "strong")]
                else:
                    pieces.append((before, "text"))
            pieces.append((shown, "faint" if gone else word))
            if number == 0 and self.left:
                pieces = self._sideways(pieces, texts)
                break
        return pieces

    def _sideways(self, pieces: list[Piece], texts: Mapping[str, Piece]) -> list[Piece]:
        """The name stays; the rest is moved to the left by whole cells."""
        more = self.look.sign("more")
        rest = "".join(" " * GAP + fit(texts[c.id][0], room, more, c.right) for c, room in self._placed[1:])
        return [*pieces, (drop(rest, self.left), "text")]

    def draw_header(self, line: int, width: int) -> Sequence[Piece]:
        sign = self.look.sign("down" if self.descending else "up")
        return header(self._placed, self.look.words.say(self.title), self.sort_by, sign, self.left)
