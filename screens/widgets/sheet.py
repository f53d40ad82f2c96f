"""A list of ready-made lines: for panels and pages whose lines differ from one another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from screens.item import Item
from screens.look import Piece
from screens.widgets.lines import Lines


class Sheet(Lines):
    """Shows items. New content keeps the cursor on the line with the same key, at the same height."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.items: list[Item] = []
        self._untouched = True
        """Nobody was in it yet: the cursor waits on the first line that can be chosen, whatever comes."""

    def count(self) -> int:
        return len(self.items)

    def version(self, index: int) -> Hashable:
        return self.items[index].pieces

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        return self.look.words.pieces(self.items[index].pieces)

    def can_rest(self, index: int) -> bool:
        return self.items[index].pick

    @property
    def current(self) -> Item | None:
        if 0 <= self.cursor < len(self.items) and self.items[self.cursor].pick:
            return self.items[self.cursor]
        return None

    def fill(self, items: list[Item]) -> None:
        """Show these. Only lines that differ from what is shown are painted."""
        old, self.items = self.items, items
        here = old[self.cursor].key if self.cursor < len(old) else ""
        if self._untouched and old:
            first = self._find("")
            if items and first != self.cursor:
                self.touch_all()
            self.cursor, here = first, items[first].key if items else ""
        if len(old) == len(items) and (not here or items[self.cursor].key == here):
            for index, (was, now) in enumerate(zip(old, items, strict=True)):
                if was.pieces != now.pieces:
                    self.touch(index)
        else:
            moved = self._find(here) - self.cursor
            self.cursor += moved
            # what stands under a cursor in use keeps its height; otherwise the head stays in sight
            kept = moved if here and self.in_use else 0
            self.top = max(0, min(self.top + kept, len(items) - self.page)) if old else 0
            self.touch_all()
        if items and not self.can_rest(min(self.cursor, len(items) - 1)):
            self.cursor = self._find("")
        if self.is_mounted and (not old or self.in_use):
            self.moved()

    def _find(self, key: str) -> int:
        picks = [i for i, item in enumerate(self.items) if item.pick]
        for index in picks:
            if key and self.items[index].key == key:
                return index
        if not picks:
            return 0
        return min(picks, key=lambda i: abs(i - self.cursor)) if key else picks[0]

    def use(self, on: bool) -> None:
        if on:
            self._untouched = False
        super().use(on)

    def move(self, how: str) -> None:
        picks = [i for i, item in enumerate(self.items) if item.pick]
        if picks:
            super().move(how)
            # headings above the first line and lines below the last one come into view with it
            if self.cursor == picks[0]:
                self.scroll_top(0)
            elif self.cursor == picks[-1]:
                self.scroll_top(max(self.top, min(self.cursor, self.count() - self.page)))
            return
        top = {"up": self.top - 1, "down": self.top + 1, "pageup": self.top - self.page,
               "pagedown": self.top + self.page, "home": 0, "end": self.count()}[how]
        self.scroll_top(max(0, min(top, self.count() - self.page)))
