"""The rows of a grid, and which of them are shown in what order. No terminal.

Rows change much more often than somebody looks, so an order is made once and then mended: what changed
since is taken out, tested again and put back where it belongs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from screens.look import Piece
from screens.query import NOTHING, Query, describe, needy, parse
from screens.slices import CHUNK, Steps, sorting
from screens.typed import Schema, natural_key, sort_key
from screens.widgets.columns import Column

T = TypeVar("T")
NATURAL = ""
"""Sort by the order in which the rows were given."""
MANY = 5_000
"""When so many rows are others, what was kept about each is thrown away as a whole."""
MANY_CHANGES = 500
"""More changes than this are not mended one by one."""


@dataclass(frozen=True)
class GridState:
    """What an operator made of a grid: enough to come back to exactly there."""

    filter: str = ""
    key: str | None = None
    height: int = 0
    """Lines between the first one that was seen and the cursor."""
    marked: tuple[str, ...] = ()
    sort_by: str = NATURAL
    descending: bool = False
    wide: bool = False
    left: int = 0
    only_needy: bool = False
    only_marked: bool = False


class Shelf(Generic[T]):
    """Rows by key; `order` holds the keys that are shown. `waiting` and `gone` are what the operator's next
    move takes over."""

    def __init__(self, columns: Sequence[Column], haystack: Callable[[T], str]) -> None:
        self.every = list(columns)
        """All columns there are; `columns` are those that are on, in their order."""
        self.columns = [c for c in columns if not c.off]
        self.own: set[str] = set()
        """Ids of columns that the operator made (screens/owncolumns.py)."""
        self.haystack = haystack
        self.schema = Schema()
        self.rows: dict[str, T] = {}
        self.order: list[str] = []
        self.marked: set[str] = set()
        self.sieve = NOTHING
        """The filter of this list."""
        self.sticky = NOTHING
        """A filter that holds on every list."""
        self.only_needy = False
        self.only_marked = False
        self.sort_by = NATURAL
        self.descending = False
        self.waiting: set[str] = set()
        """Keys of rows that came, or pass the filter now, and are not in the order yet."""
        self.gone: set[str] = set()
        self._moot: dict[str, T] = {}
        """Rows as they were when the order was made, of keys whose place in it may be another one now."""
        self.wrong = ""
        """Why the text that was typed last is not in force."""
        self.done = 0.0
        """How much is found while it is `busy`."""
        self._whole = NOTHING
        self._hay: dict[str, str] = {}
        self._unread: set[str] = set()
        self._all_read = False
        self._rank: dict[str, int] = {}
        self._next = 0
        self._seen: set[str] | None = None
        self._kept: tuple[list[str], set[str]] | None = None
        self._picked: tuple[list[str], int, set[str], tuple[str, ...]] = ([], 0, set(), ())

    # rows

    def put(self, rows: Mapping[str, T]) -> list[str]:
        """These rows instead; the keys of those that were there before and are others now."""
        old = self.rows
        other = [k for k, row in rows.items() if old.get(k) is not row] if old else []
        left = [k for k in old if k not in rows]
        if len(other) + len(left) > MANY:
            self._hay = {}
        for key in (*other, *left) if self._hay else ():
            self._hay.pop(key, None)
        self._unread.clear()
        self._all_read = False
        self.marked &= rows.keys()
        self.rows = dict(rows)
        self.gone.clear()
        self.waiting.clear()
        self._moot.clear()
        self._rank = {}
        return other

    def change(self, key: str, row: T | None) -> bool:
        """One row that came, changed (then it is another one) or went; true when the order waits for it."""
        if self._all_read:
            self._unread.add(key)
        if row is None:
            if key in self.rows and self._sifts and key not in self._in_order():
                self._drop(key)
            elif key in self.rows:
                self.gone.add(key)
                return True
            return False
        fresh = key not in self.rows
        old = self.rows.get(key, row)
        self.rows[key] = row
        if fresh:
            if self._rank:
                self._rank[key] = self._next
                self._next += 1
            if self._shows(key):
                self.waiting.add(key)
                return True
            self._moot.setdefault(key, old)
            return False
        self.gone.discard(key)
        if key in self.waiting:
            return True
        if self.sort_by or self._sifts:
            if not self._rank:
                self._ranks()  # now, not when a key waits for it
                self._in_order()
            self._moot.setdefault(key, old)
            if self._sifts and key not in self._in_order() and self._shows(key):
                self.waiting.add(key)
                return True
        return False

    def _shows(self, key: str) -> bool:
        return not self._sifts or bool(self._passing((key,)))

    def picked(self) -> tuple[str, ...]:
        """The marked keys that are shown, in order."""
        order, marked = self.order, self.marked
        of, count, those, found = self._picked
        if of is not order or count != len(order) or those != marked:
            found = tuple([k for k in order if k in marked])
            self._picked = (order, len(order), set(marked), found)
        return found

    def _in_order(self) -> set[str]:
        if self._seen is None:
            self._seen = set(self.order)
        return self._seen

    def drop_gone(self) -> None:
        for key in self.gone:
            self._drop(key)
        self.gone.clear()

    def _drop(self, key: str) -> None:
        self.rows.pop(key, None)
        self.marked.discard(key)
        self.waiting.discard(key)
        self._moot.pop(key, None)
        self._hay.pop(key, None)
        self._rank.pop(key, None)

    # which

    @property
    def _sifts(self) -> bool:
        """Are there rows that may not be shown?"""
        return bool(self._whole) or self.only_marked

    def compose_filter(self) -> None:
        """Put together what rows have to pass."""
        whole = self.sieve.also(self.sticky)
        if self.only_needy:
            whole = whole.also(needy(self.schema))
        self._whole = Query(self.sieve.text, whole.terms, self.schema.now)

    def asked(self, text: str) -> Query:
        """The query of a text. Raises query.Bad."""
        return parse(text, self.schema)

    def asks(self, field: str) -> bool:
        """Does a filter in force compare this field?"""
        return any(t.kind == "field" and re.match(rf"{re.escape(field)}\W", t.word) for t in self._whole.terms)

    def asks_behind(self, name: str) -> bool:
        """Does a filter in force go through this name to what lies behind it?"""
        return any(t.kind == "field" and f".{name}." in f".{t.word}" for t in self._whole.terms)

    def narrows(self, query: Query) -> bool:
        """Is everything that passes this one, and what else is in force, in the order already?"""
        return not any(t.timed for t in self._whole.terms) and query.narrows(self.sieve)

    def hay(self) -> dict[str, str]:
        """The text each row is searched by, in small letters, made once per version of the row."""
        haystack, hay, rows = self.haystack, self._hay, self.rows
        if not self._all_read:
            for key, row in rows.items():
                if key not in hay:
                    hay[key] = haystack(row).lower()
            self._all_read = True
        for key in self._unread:
            if key in rows:
                hay[key] = haystack(rows[key]).lower()
        self._unread.clear()
        return hay

    def _passing(self, keys: Iterable[str]) -> list[str]:
        if self.only_marked:
            keys = [k for k in keys if k in self.marked]
        whole = self._whole
        if not whole:
            return list(keys)
        if not whole.reads:
            return whole.passing(keys, self.rows, {})
        keys = list(keys)
        if len(keys) < len(self.rows) and not self._all_read:
            return whole.passing(keys, self.rows, {k: self.haystack(self.rows[k]).lower() for k in keys})
        return whole.passing(keys, self.rows, self.hay())

    def slow(self, in_order: bool = False) -> bool:
        """Does it take long for each row to find what passes, and to order it unless it is?"""
        whole = self._whole
        return whole.heavy or (whole.reads and not self._all_read) or (not in_order and self.value() is not None)

    def arranging(self, keys: list[str], in_order: bool) -> Steps[list[str]]:
        """`arranged()` in steps, of these keys; `in_order`: they stand as they shall already."""
        rows = dict(self.rows)  # as they are now: some may go meanwhile
        found = (yield from self.sifted(keys)) if self._sifts else keys
        return found if in_order else (yield from self.laying(found, rows))

    def meanwhile(self, order: list[str], count: int) -> tuple[list[str], set[str]]:
        """An order that was made in steps, begun with so many rows, without those that went since; and the keys of
        rows that were looked at as they were then, or not at all. Where those are few they are not in the order."""
        self.drop_gone()
        rows = self.rows
        late = {k for k in (*self.waiting, *self._moot) if k in rows}
        if late or len(rows) != count:
            out = late if len(late) <= MANY_CHANGES else ()
            order = [k for k in order if k in rows and k not in out]
        return order, late

    def put_late(self, late: set[str]) -> bool:
        """These have another place in the order that is; false: they are left to the next move."""
        if len(late) > MANY_CHANGES:
            self._moot = {k: self.rows[k] for k in late}
            return False
        self.waiting = late
        return True

    def sifted(self, keys: Sequence[str]) -> Steps[list[str]]:
        """What passes, found a little at a time."""
        out: list[str] = []
        reads, hay = self._whole.reads, self._hay
        for start in range(0, len(keys), CHUNK):
            chunk = [k for k in keys[start: start + CHUNK] if k in self.rows]
            if reads:
                for key in chunk:
                    if key not in hay or key in self._unread:
                        hay[key] = self.haystack(self.rows[key]).lower()
                        self._unread.discard(key)
            if self.only_marked:
                chunk = [k for k in chunk if k in self.marked]
            out += self._whole.passing(chunk, self.rows, hay)
            yield start / len(keys)
        if reads and len(keys) == len(self.rows):
            self._all_read = self.rows.keys() <= hay.keys()
        return out

    # in what order

    def arranged(self) -> list[str]:
        """Keys that pass the filters, in order."""
        return self.laid(self._passing(self.rows))

    def laid(self, keys: list[str]) -> list[str]:
        """What is shown when these keys, given in the natural order, are all that pass."""
        return self.sorted(keys)

    def laying(self, keys: list[str], rows: Mapping[str, T]) -> Steps[list[str]]:
        """`laid` in steps, by these rows."""
        value = self.value()
        return keys if value is None else (yield from sorting(keys, lambda k: value(rows[k]), self.descending))

    def value(self) -> Callable[[T], Any] | None:
        """Row -> what it is sorted by; None for the natural order."""
        column = next((c for c in self.every if c.id == self.sort_by), None)
        if column is None:
            return None
        if column.sort is not None:
            return column.sort
        field, cell = self.schema.field(column.id), column.cell
        return sort_key(field) if field is not None else lambda row: natural_key(cell(row)[0])

    def sorted(self, keys: list[str]) -> list[str]:
        value, rows = self.value(), self.rows
        return keys if value is None else sorted(keys, key=lambda k: value(rows[k]), reverse=self.descending)

    def _ranks(self) -> dict[str, int]:
        """Key -> its place in the natural order."""
        if not self._rank:
            self._rank = {k: n for n, k in enumerate(self.rows)}
            self._next = len(self._rank)
        return self._rank

    def settled(self) -> list[str]:
        """Take over what waits: the order as `arranged()` makes it, where no clock is asked."""
        if len(self.waiting) + len(self._moot) + len(self.gone) > MANY_CHANGES:
            self.drop_gone()
            return self.arranged()
        order, rows, moot = self.order, self.rows, self._moot
        seen = self._in_order()
        out: list[int] = []
        for key in moot.keys() | self.gone:
            if key in seen:
                place = self._place(order, key, moot.get(key, rows[key]), moot)
                if place >= len(order) or order[place] != key:  # the order was not what the rows say
                    self.drop_gone()
                    return self.arranged()
                out.append(place)
        fresh = self._in_turn((self.waiting | moot.keys()) - self.gone)
        base = list(order)
        for place in sorted(out, reverse=True):
            del base[place]
        for key in fresh:
            base.insert(self._place(base, key, rows[key], {}), key)
        seen.difference_update(moot, self.gone)
        seen.update(fresh)
        self._kept = (base, seen)
        self.drop_gone()
        return base

    def _in_turn(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that pass, in order."""
        ranks = self._ranks()
        return self.sorted(sorted(self._passing([k for k in keys if k in self.rows]), key=ranks.__getitem__))

    def _place(self, order: Sequence[str], key: str, row: T, then: Mapping[str, T]) -> int:
        """Where a key stands, or would, in an order that was made when the rows of `then` were as they are there.

        Equal values keep the natural order.
        """
        ranks, value, rows, back = self._ranks(), self.value(), self.rows, self.descending
        rank = ranks[key]
        mine = value(row) if value is not None else None
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            other = order[middle]
            later = ranks[other] >= rank
            if value is not None:
                theirs = value(then[other] if other in then else rows[other])
                if theirs != mine:
                    later = bool(theirs < mine if back else mine < theirs)
            if later:
                high = middle
            else:
                low = middle + 1
        return low

    def tail(self) -> list[str] | None:
        """The rows that wait, when all of them stand after the last one and nothing else waits."""
        if self.gone:
            return None
        fresh = self._in_turn(self.waiting)
        if fresh and self._place(self.order, fresh[0], self.rows[fresh[0]], self._moot) < len(self.order):
            return None
        return fresh

    def append(self, tail: list[str]) -> None:
        self.order += tail
        if self._seen is not None:
            self._seen.update(tail)
        for key in self.waiting:
            self._moot.pop(key, None)
        self.waiting.clear()

    def took_over(self, order: list[str]) -> None:
        """This is the order now, and nothing waits."""
        self._seen = self._kept[1] if self._kept is not None and self._kept[0] is order else None
        self._kept = None
        self.order = order
        self.waiting.clear()
        self._moot.clear()

    # what to say about it

    @property
    def busy(self) -> bool:
        """Is it still looking for what passes?"""
        return False

    def state_words(self) -> list[Piece]:
        """Filter, count, marks and rows that wait, for the line above the grid."""
        out: list[Piece] = []
        if self.sieve.text:
            out.append((f"/{self.sieve.text}", "strong"))
        if self.sticky.text:
            out.append((f"F/{self.sticky.text}", "strong"))
        if self.only_needy:
            out.append(("! needs attention", "drift"))
        if self.only_marked:
            out.append(("only marked", "picked"))
        sifted = bool(out)
        if self.busy:
            out.append((f"looking {self.done:.0%}", "changing"))
        out.append((f"{len(self.order)} of {len(self.rows)}" if sifted else f"{len(self.rows)}", "muted"))
        if self.marked:
            out.append((f"{len(self.marked)} marked", "picked"))
        if self.waiting:
            out.append((f"{len(self.waiting)} new", "changing"))
        if self.gone:
            out.append((f"{len(self.gone)} gone", "absent"))
        return out

    def advice(self, text: str) -> str:
        """The line below a filter that is being typed: what is wrong with it; what may be typed."""
        return self.wrong or ("" if text else describe(self.schema))

