"""A log that grows: follows its end until the operator scrolls, filters, highlights, never holds everything."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from itertools import count

import msgspec
from textual import events

from cockpit.model.regexes import checked
from cockpit.session.log_text import Around, Sought, Wrong, pattern, sought
from screens.format import age, cells, clock, cut, date, fit
from screens.look import Piece
from screens.widgets.lines import Lines

KEPT = 20_000
"""Lines kept; the oldest go first."""
KEPT_TEXT = 24 * 1024 * 1024
"""Characters of them."""
COLOURS = 6
PATIENCE = 0.4
"""Seconds an expression may take for all lines; then it is put off."""
TIMES = ("off", "time", "age")


class Entry(msgspec.Struct, frozen=True, gc=False):
    name: str
    stream: str
    text: str
    """Clean already."""
    number: int = 0
    time: float = 0.0
    """0: not known."""
    mark: str = ""
    """`c`: context of what was looked for on the host; `g`: the same behind a gap."""
    colour: int = 0


class Shown(msgspec.Struct, frozen=True, gc=False):
    """One line of the screen: a part of an entry, where lines are wrapped."""

    entry: Entry
    part: int = 0
    begin: int = 0
    end: int = -1
    """Of the text, in characters; -1: to its end."""
    mark: str = ""


class Sieve:
    """What was typed, as a test of lines. An empty one lets everything pass. Raises Wrong."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.what: Sought = sought(text)
        self._limit = 4096
        if self.what.regex:
            checked(self.what.text)
            if len(re.findall(r"[*+}]", self.what.text)) > 2:
                self._limit = 512
        self.pattern = pattern(self.what) if self.what.text else None
        self.inverse = self.what.inverse
        self._part = "" if self.what.regex else self.what.text
        self._small = self._part == self._part.lower()

    def __bool__(self) -> bool:
        return self.pattern is not None

    def __call__(self, entry: Entry) -> bool:
        if self.pattern is None:
            return True
        if self._part:  # plain text: several times as quick
            line = f"{entry.name} {entry.text}"
            return (self._part in (line.lower() if self._small else line)) is not self.inverse
        found = self.pattern.search(f"{entry.name} {entry.text[: self._limit]}")
        return (found is not None) is not self.inverse

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where it stands in a text; nowhere when it is inverse."""
        if self.pattern is None or self.inverse:
            return []
        return [m.span() for m in self.pattern.finditer(text[: self._limit]) if m.end() > m.start()]


class Log(Lines):
    """Lines by time. Time and name of the speaker stay at the left while the text is scrolled sideways."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.entries: deque[Entry] = deque()
        self.shown: list[Shown] = []
        self.sieve = Sieve()
        """`&`: only lines that pass are shown."""
        self.mark = Sieve()
        """`/`: what stands out."""
        self.context = 0
        self.following = True
        self.missed = 0
        self.wrapped = False
        self.times = "time"
        self.zero = 0.0
        """The moment that ages count from."""
        self.at = -1
        """Number of the entry that n and N have found."""
        self.passed = 0
        self.complaint = ""
        """Why the filter was put off."""
        self._around: Around[Entry] = Around(0, 0)
        self._numbers = count()
        self._name_width = 0
        self._width = 0
        self._room = 80
        """Cells for text, where lines are wrapped."""
        self._kept = 0
        self.timed = False
        """Has any line a time?"""
        self.dated = False
        """Is any line of another day? Then all say theirs."""

    # what it holds

    def add(self, lines: Iterable[Entry]) -> None:
        fresh = [msgspec.structs.replace(e, number=next(self._numbers)) for e in lines]
        if not fresh:
            return
        self.entries.extend(fresh)
        self._kept += sum(len(e.text) for e in fresh)
        while len(self.entries) > KEPT or (self._kept > KEPT_TEXT and len(self.entries) > 1):
            self._kept -= len(self.entries.popleft().text)
        width = max(self._name_width, *(cells(e.name) for e in fresh))
        timed = self.timed or any(e.time for e in fresh)
        dated = self.dated or self._of_another_day((self.entries[0], *fresh))
        if (width, timed, dated) != (self._name_width, self.timed, self.dated):
            self._name_width, self.timed, self.dated = width, timed, dated
            if self.wrapped:
                self._again()
                return
        before, began = len(self.shown), time.monotonic()
        self._room = max(10, self.size.width - self._indent())
        for entry in fresh:
            self._take(entry)
        if self.sieve.what.regex and time.monotonic() - began > PATIENCE:
            self._put_off()
            return
        new = len(self.shown) - before
        self._forget()
        if self.following:
            self.top = max(0, len(self.shown) - self.page)
            self.touch_all()
        else:
            self.missed += new
            for index in range(max(self.top, len(self.shown) - new), len(self.shown)):
                self.touch(index)

    def _of_another_day(self, entries: Iterable[Entry]) -> bool:
        if not self.zero:
            return False
        year, month, day, *_ = time.localtime(self.zero)
        first = time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))
        return any(e.time and not first <= e.time < first + 90_000 for e in entries)

    def _forget(self) -> None:
        """Lines of entries that are not kept any more go from the top."""
        first = self.entries[0].number
        surplus = 0
        while surplus < len(self.shown) and self.shown[surplus].entry.number < first:
            surplus += 1
        if surplus:
            del self.shown[:surplus]
            self.top = max(0, self.top - surplus)

    def _take(self, entry: Entry) -> None:
        if not self.sieve:
            self._lay(entry, entry.mark)
            return
        fits = self.sieve(entry)
        self.passed += fits
        for each, mark in self._around.feed(entry, fits):
            self._lay(each, mark)

    def _lay(self, entry: Entry, mark: str) -> None:
        if not self.wrapped:
            self.shown.append(Shown(entry, mark=mark))
            return
        text, room, begin, part = entry.text, self._room, 0, 0
        plain = text.isascii()
        while True:
            end = begin + (room if plain else max(1, len(cut(text[begin: begin + room], room))))
            self.shown.append(Shown(entry, part, begin, end, mark))
            if end >= len(text):
                return
            begin, part = end, part + 1

    def _put_off(self) -> None:
        self.complaint = f"{self.sieve.text} takes too long for these lines: nothing is filtered"
        self.sieve = Sieve()
        self._again()

    def _again(self) -> None:
        """Lay everything anew; what was at the top stays there."""
        top = self.shown[self.top].entry.number if self.top < len(self.shown) else -1
        self.shown = []
        self.passed = 0
        self._around = Around(self.context, self.context)
        self._room = max(10, self.size.width - self._indent())
        began = time.monotonic()
        for n, entry in enumerate(self.entries):
            self._take(entry)
            if n % 64 == 0 and self.sieve.what.regex and time.monotonic() - began > PATIENCE:
                self._put_off()
                return
        self._strips.clear()
        if self.following:
            self.top = max(0, len(self.shown) - self.page)
        else:
            self.top = min(self._index(top), max(0, len(self.shown) - self.page))
        self.refresh()

    def _index(self, number: int) -> int:
        """Of the first line of that entry, or of the first after it."""
        low, high = 0, len(self.shown)
        while low < high:
            middle = (low + high) // 2
            if self.shown[middle].entry.number < number:
                low = middle + 1
            else:
                high = middle
        return low

    def empty(self) -> None:
        self.entries.clear()
        self.shown, self._kept, self.missed, self.passed, self.at, self.top = [], 0, 0, 0, -1, 0
        self._around = Around(self.context, self.context)
        self._strips.clear()
        self.refresh()

    # what is shown of it

    def filter(self, text: str) -> None:
        """Raises Wrong; then the filter is as it was."""
        self.sieve, self.complaint = Sieve(text), ""
        self._again()

    def highlight(self, text: str) -> None:
        """Raises Wrong."""
        self.mark = Sieve(text)
        self.at = -1
        self._strips.clear()
        self.refresh()

    def surround(self, lines: int) -> None:
        self.context = lines
        self._again()

    def wrap(self, on: bool) -> None:
        self.wrapped = on
        self.left = 0
        self._again()

    def stamp(self, how: str) -> None:
        self.times = how
        if self.wrapped:
            self._again()
        self._strips.clear()
        self.refresh()

    def follow(self, on: bool) -> None:
        self.following = on
        if on:
            self.missed = 0
            self.scroll_top(max(0, len(self.shown) - self.page))

    def seek(self, way: int) -> bool:
        """To the next (1) or former (-1) line with what is highlighted; False when there is none. Raises Wrong."""
        if not self.mark:
            return False
        seen = self.top if way > 0 else min(len(self.shown), self.top + self.page) - 1
        if self.at >= 0:
            seen = self._index(self.at) + way
            while 0 <= seen < len(self.shown) and self.shown[seen].entry.number == self.at:
                seen += way
        began = time.monotonic()
        while 0 <= seen < len(self.shown):
            entry = self.shown[seen].entry
            if self.mark(entry):
                self.at = entry.number
                self.following = False
                self._strips.clear()
                if not self.top <= seen < self.top + self.page:
                    self.scroll_top(max(0, min(seen - self.page // 2, len(self.shown) - self.page)))
                self.refresh()
                return True
            if self.mark.what.regex and time.monotonic() - began > PATIENCE:
                raise Wrong("the expression takes too long for these lines")
            seen += way
        return False

    def text_lines(self) -> list[str]:
        """What is shown, as plain text: one line for each entry, with its time and its name."""
        out = []
        for each in self.shown:
            if not each.part:
                entry = each.entry
                sign = {"stderr": "e", "cockpit": "#"}.get(entry.stream, " ")
                when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(entry.time)) if entry.time else "?"
                out.append(f"{when} {entry.name} {sign} {entry.text}")
        return out

    # lines

    def count(self) -> int:
        return len(self.shown)

    def can_rest(self, index: int) -> bool:
        return False

    def version(self, index: int) -> Hashable:
        each = self.shown[index]
        now = int(self.zero) if self.times == "age" else 0
        return (
            each.entry.number, each.part, each.mark, self._name_width, self.timed, self.mark.text, self.sieve.text,
            now, self.at == each.entry.number, self.times, self.dated,
        )

    def _indent(self) -> int:
        stamps = {"off": 0, "time": 15 if self.dated else 9, "age": 5}[self.times] if self.timed else 0
        return 1 + stamps + self._name_width + 3

    def _stamp(self, entry: Entry) -> str:
        if not self.timed or self.times == "off":
            return ""
        if self.times == "age":
            return fit(age(max(0.0, self.zero - entry.time)) if entry.time else "?", 4, right=True) + " "
        if self.dated:
            return fit(date(entry.time)[5:] if entry.time else "?", 14) + " "
        return fit(clock(entry.time) if entry.time else "?", 8) + " "

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        each = self.shown[index]
        entry = each.entry
        word = "changing" if entry.stream == "cockpit" else "muted" if each.mark else "text"
        sign = {"stderr": "e", "cockpit": self.look.sign("head"), "stdout": " "}.get(entry.stream, "f")
        if each.mark:
            sign = self.look.sign("up" if each.mark == "g" else "dot")
        if entry.number == self.at:
            sign = self.look.sign("picked")
        if each.part:
            lead: list[Piece] = [(" " * self._indent(), "muted")]
        else:
            lead = [
                (" " + self._stamp(entry), "muted"), (fit(entry.name, self._name_width), f"log{entry.colour}"),
                (f" {sign} ", "drift" if entry.stream == "stderr" else "changing"),
            ]
        end = len(entry.text) if each.end < 0 else each.end
        begin = each.begin if self.wrapped else self.left
        return lead + self._found(entry.text, begin, min(end, begin + width), word)

    def _found(self, text: str, begin: int, end: int, word: str) -> list[Piece]:
        """What was searched for stands out; without a search, what was filtered for."""
        out: list[Piece] = []
        at = begin
        for first, last in (self.mark or self.sieve).spans(text):
            first, last = max(first, at), min(last, end)
            if first < last:
                out += [(text[at:first], word), (text[first:last], "found")]
                at = last
        return [*out, (text[at:end], word)]

    def tick(self) -> None:
        if self.times == "age":
            self.touch_all()

    def move(self, how: str) -> None:
        last = max(0, len(self.shown) - self.page)
        top = {"up": self.top - 1, "down": self.top + 1, "pageup": self.top - self.page,
               "pagedown": self.top + self.page, "home": 0, "end": last}[how]
        top = max(0, min(top, last))
        self.scroll_top(top)
        self.follow(top == last and how in ("end", "down", "pagedown"))
        self.moved()

    def _on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.following = False
        super()._on_mouse_scroll_up(event)

    def resized(self) -> None:
        if self.wrapped and self.size.width != self._width:
            self._width = self.size.width
            self._again()
        elif self.following:
            self.top = max(0, len(self.shown) - self.page)

    def shift(self, columns: int) -> None:
        if not self.wrapped:
            super().shift(columns)

    def _show(self, index: int) -> bool:
        return False
