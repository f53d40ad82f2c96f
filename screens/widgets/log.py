"""A log that grows: follows its end until the operator scrolls, filters, and never holds everything."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from itertools import count

import msgspec

from screens.format import cells, fit
from screens.look import Piece
from screens.widgets.grid import Query
from screens.widgets.lines import Lines

KEPT = 20_000
"""Lines kept; the oldest go first."""


class Entry(msgspec.Struct, frozen=True):
    name: str
    stream: str
    text: str
    """Clean already."""
    number: int = 0


class Log(Lines):
    """Lines by time. The name of the speaker stays at the left while the text is scrolled sideways."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.entries: deque[Entry] = deque(maxlen=KEPT)
        self.shown: list[Entry] = []
        self.sieve = Query("")
        self.following = True
        self.missed = 0
        self._numbers = count()
        self._name_width = 0

    def add(self, lines: Iterable[Entry]) -> None:
        fresh = [msgspec.structs.replace(e, number=next(self._numbers)) for e in lines]
        if not fresh:
            return
        self.entries.extend(fresh)
        self._name_width = max(self._name_width, *(cells(e.name) for e in fresh))
        passing = [e for e in fresh if self._passes(e)]
        self.shown += passing
        surplus = len(self.shown) - KEPT
        if surplus > 0:
            del self.shown[:surplus]
            self.top = max(0, self.top - surplus)
        if self.following:
            self.top = max(0, len(self.shown) - self.page)
            self.touch_all()
        else:
            self.missed += len(passing)
            for index in range(max(self.top, len(self.shown) - len(passing)), len(self.shown)):
                self.touch(index)

    def _passes(self, entry: Entry) -> bool:
        return self.sieve(f"{entry.name} {entry.text}".lower())

    def filter(self, text: str) -> None:
        self.sieve = Query(text)
        self.shown = [e for e in self.entries if self._passes(e)]
        self._strips.clear()
        self.top = max(0, len(self.shown) - self.page) if self.following else 0
        self.refresh()

    def follow(self, on: bool) -> None:
        self.following = on
        if on:
            self.missed = 0
            self.scroll_top(max(0, len(self.shown) - self.page))

    # lines

    def count(self) -> int:
        return len(self.shown)

    def can_rest(self, index: int) -> bool:
        return False

    def version(self, index: int) -> Hashable:
        return (self.shown[index].number, self._name_width, self.sieve.text)

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        entry = self.shown[index]
        word = {"stderr": "text", "cockpit": "changing"}.get(entry.stream, "text")
        mark = {"stderr": "e", "cockpit": self.look.sign("head")}.get(entry.stream, " ")
        pieces: list[Piece] = [
            (" " + fit(entry.name, self._name_width), "muted"),
            (f" {mark} ", "drift" if entry.stream == "stderr" else "changing"),
        ]
        return pieces + self._found(entry.text[self.left:], word)

    def _found(self, text: str, word: str) -> list[Piece]:
        """What was searched for stands out."""
        part = self.sieve.part
        if not part or self.sieve.inverse:
            return [(text, word)]
        out: list[Piece] = []
        low, at = text.lower(), 0
        if len(low) != len(text):
            return [(text, word)]
        while (hit := low.find(part, at)) >= 0:
            out += [(text[at:hit], word), (text[hit: hit + len(part)], "found")]
            at = hit + len(part)
        return [*out, (text[at:], word)]

    def move(self, how: str) -> None:
        last = max(0, len(self.shown) - self.page)
        top = {"up": self.top - 1, "down": self.top + 1, "pageup": self.top - self.page,
               "pagedown": self.top + self.page, "home": 0, "end": last}[how]
        top = max(0, min(top, last))
        self.scroll_top(top)
        self.follow(top == last and how in ("end", "down", "pagedown"))
        self.moved()

    def resized(self) -> None:
        if self.following:
            self.top = max(0, len(self.shown) - self.page)

    def _show(self, index: int) -> bool:
        return False
