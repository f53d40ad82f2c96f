"""The service tree: a grid whose order is the flattened tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from screens.look import Piece
from screens.slices import PART, Steps, at_once
from screens.widgets.columns import Column
from screens.widgets.grid import Grid
from screens.widgets.shelf import MANY_CHANGES

Children = dict[str, list[str]]
"""Parent key -> child keys in order; the roots are under the empty key."""


class Shape(NamedTuple):
    """A tree without its rows; several widgets may have the same one."""

    children: Children
    depth: dict[str, int]
    above: dict[str, str]
    """Key -> parent."""
    flat: list[str]
    """All keys in the order of a tree with nothing closed."""


def shaped(children: Children) -> Shape:
    shape = Shape(children, {}, {}, [])
    stack = [(key, 0) for key in reversed(children.get("", ()))]
    while stack:
        key, depth = stack.pop()
        shape.depth[key] = depth
        shape.flat.append(key)
        below = children.get(key)
        if not below:
            continue
        shape.above.update(dict.fromkeys(below, key))
        if children.keys().isdisjoint(below):  # leaves, and there may be very many
            shape.depth.update(dict.fromkeys(below, depth + 1))
            shape.flat.extend(below)
        else:
            stack += [(child, depth + 1) for child in reversed(below)]
    return shape


class Tree(Grid[Any]):
    """Rows by key, and for each key its children. Groups fold; instances are leaves."""

    def __init__(
        self, columns: Sequence[Column], *, haystack: Callable[[Any], str], title: str,
        key_of: Callable[[Any], str], mark_of: Callable[[Any], str], id: str | None = None,
    ) -> None:
        super().__init__(columns, haystack=haystack, title=title, id=id)
        self.children_of, self.depth, self._above, self._flat = Shape({}, {}, {}, [])
        self._passed: set[str] = set()
        self._grown = False
        """Is it another tree than the order was made for?"""
        self.closed: set[str] = set()
        self._key_of = key_of
        self._mark_of = mark_of

    def plant(self, rows: Mapping[str, Any], children: Children | Shape) -> None:
        """Show another tree; what was closed stays closed."""
        self._grow(children)
        self.load(rows)

    def graft(self, changes: Mapping[str, Any], children: Children | Shape | None) -> None:
        """Rows that changed; `children` when some came or went."""
        if children is not None:
            self._grow(children)
        self.update(changes)

    def _grow(self, children: Children | Shape) -> None:
        shape = children if isinstance(children, Shape) else shaped(children)
        self.children_of, self.depth, self._above, self._flat = shape
        self._grown = True

    def value(self) -> None:
        """A tree has one order."""

    def slow(self, in_order: bool = False) -> bool:
        return self._sifts

    def laying(self, keys: list[str], rows: Mapping[str, Any]) -> Steps[list[str]]:
        if not self._sifts:
            return self.laid(keys)
        self._passed = set(keys)
        return (yield from self._with_ways(self._passed))

    can_narrow = False  # what stands above a match is shown too

    def settled(self) -> list[str]:
        changed = self.waiting | self._moot.keys()
        if not self._sifts or len(changed) > MANY_CHANGES:
            self.drop_gone()
            return self.arranged()
        was = self._passed & (changed | self.gone)
        self.drop_gone()
        now = set(self._passing([k for k in changed if k in self.rows]))
        if was == now and not self._grown:
            self._kept = (self.order, self._in_order())
            return self.order
        self._passed.difference_update(was)
        self._passed.update(now)
        return at_once(self._with_ways(self._passed))

    def tail(self) -> list[str] | None:
        if self.gone or self._sifts or self.closed or not self.order:
            return None
        last = self.order[-1]
        after: set[str] = set()
        for key in reversed(self._flat):
            if key == last:
                return [k for k in self._flat[-len(after):] if k in self.rows] if self.waiting <= after else None
            after.add(key)
            if len(after) > len(self.waiting):
                break
        return None

    def laid(self, keys: list[str]) -> list[str]:
        if self._sifts:
            self._passed = set(keys)
            return at_once(self._with_ways(self._passed))
        rows, closed, depth = self.rows, self.closed, self.depth
        if not closed:
            whole = len(rows) >= len(self._flat) and depth.keys() <= rows.keys()
            return list(self._flat) if whole else [k for k in self._flat if k in rows]
        out: list[str] = []
        hidden = 1 << 30
        for key in self._flat:
            if depth[key] <= hidden and key in rows:
                hidden = depth[key] if key in closed else 1 << 30
                out.append(key)
        return out

    def _with_ways(self, passed: set[str]) -> Steps[list[str]]:
        """What passes the filter, with everything above it, in steps."""
        above, below, rows, flat = self._above, self.children_of, self.rows, self._flat
        wanted = {k for k in passed if not below.get(k)} if self._whole.only_excludes else set(passed)
        yield 0.8
        for key in set(map(above.get, wanted)):  # leaves have few parents
            while key and key not in wanted and key in rows:
                wanted.add(key)
                key = above.get(key)
        out: list[str] = []
        for start in range(0, len(flat), PART):
            yield 0.8 + 0.2 * start / len(flat)
            out += [k for k in flat[start : start + PART] if k in wanted]
        self._grown = False
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

    def indent(self, row: Any) -> int:
        return 2 * self.depth.get(self._key_of(row), 0) + 2

    def lead(self, key: str) -> Sequence[Piece]:
        pad = (" " * (2 * self.depth.get(key, 0)), "text")
        if self.children_of.get(key):
            sign = self.look.sign("closed" if key in self.closed and not self._sifts else "open")
            return (pad, (sign + " ", "muted"))
        mark = self._mark_of(self.rows[key])
        return (pad, (self.look.glyph(mark) + " ", mark))
