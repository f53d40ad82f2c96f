"""The service tree: a grid whose order is the flattened tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from screens.look import Piece
from screens.widgets.columns import Column
from screens.widgets.grid import Grid


class Tree(Grid[Any]):
    """Rows by key, and for each key its children. Groups fold; instances are leaves."""

    def __init__(
        self, columns: Sequence[Column], *, haystack: Callable[[Any], str], title: str,
        key_of: Callable[[Any], str], mark_of: Callable[[Any], str], id: str | None = None,
    ) -> None:
        super().__init__(columns, haystack=haystack, title=title, id=id)
        self.children_of: dict[str, list[str]] = {}
        """Parent key -> child keys in order; the roots are under the empty key."""
        self.depth: dict[str, int] = {}
        self.closed: set[str] = set()
        self._key_of = key_of
        self._mark_of = mark_of

    def plant(self, rows: Mapping[str, Any], children: dict[str, list[str]]) -> None:
        """Show another tree; what was closed stays closed."""
        self._grow(children)
        self.load(rows)

    def graft(self, changes: Mapping[str, Any], children: dict[str, list[str]] | None) -> None:
        """Rows that changed; `children` when some came or went."""
        if children is not None:
            self._grow(children)
        self.update(changes)

    def _grow(self, children: dict[str, list[str]]) -> None:
        self.children_of = children
        self.depth = {}
        level = [(key, 0) for key in children.get("", ())]
        while level:
            key, depth = level.pop()
            self.depth[key] = depth
            level += [(child, depth + 1) for child in children.get(key, ())]

    def arranged(self) -> list[str]:
        out: list[str] = []
        stack = list(reversed(self.children_of.get("", ())))
        wanted = self._wanted() if self.sieve.part else None
        while stack:
            key = stack.pop()
            if key not in self.rows or (wanted is not None and key not in wanted):
                continue
            out.append(key)
            if wanted is not None or key not in self.closed:
                stack += reversed(self.children_of.get(key, ()))
        return out

    def _wanted(self) -> set[str]:
        """Keys that pass the filter, with everything above them."""
        parents = {child: key for key, children in self.children_of.items() for child in children}
        out: set[str] = set()
        for key in self._passing(self.rows):
            if self.sieve.inverse and self.children_of.get(key):
                continue
            while key and key not in out:
                out.add(key)
                key = parents.get(key, "")
        return out

    def fold(self, shut: bool) -> None:
        """Close the node under the cursor (or go to its parent), open it (or go to its first child)."""
        key = self.key
        if key is None:
            return
        branch = bool(self.children_of.get(key))
        if shut and branch and key not in self.closed:
            self.closed.add(key)
        elif not shut and branch and key in self.closed:
            self.closed.discard(key)
        elif shut:
            for index in range(self.cursor - 1, -1, -1):
                if self.depth[self.order[index]] < self.depth[key]:
                    self.go(index, back=True)
                    return
            return
        else:
            if branch:
                self.move("down")
            return
        self._versions[key] = self._versions.get(key, 0) + 1
        self.settle()
        self._arrange()

    def filter(self, text: str) -> None:
        # ancestors of a match are shown too, so a narrower filter cannot start from what is shown
        if text != self.sieve.text:
            self.settle()
            self.sieve = type(self.sieve)(text)
            self._arrange()
            self.refresh_header()

    def indent(self, row: Any) -> int:
        return 2 * self.depth.get(self._key_of(row), 0) + 2

    def lead(self, key: str) -> Sequence[Piece]:
        pad = (" " * (2 * self.depth.get(key, 0)), "text")
        if self.children_of.get(key):
            sign = self.look.sign("closed" if key in self.closed and not self.sieve.part else "open")
            return (pad, (sign + " ", "muted"))
        mark = self._mark_of(self.rows[key])
        return (pad, (self.look.glyph(mark) + " ", mark))
