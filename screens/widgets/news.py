"""Which cells changed a moment ago, and in which direction. Pure: the time comes in."""

from __future__ import annotations

from collections.abc import Sequence

from screens.look import Piece
from screens.widgets.columns import Column

FOR = 10.0
"""Seconds a change is marked."""
CHANGED, UP, DOWN = "changed", "up", "down"
"""Names of the signs."""
CLOCKS = frozenset({"age", "seen", "since", "took"})
"""Columns whose text changes by itself: no news."""
MOST = 20_000
"""Rows remembered at most; beyond that the oldest change is forgotten first."""


def direction(column: Column, old: str, new: str) -> str:
    """The sign for a change of text."""
    if column.amount:
        try:
            one, other = float(old.strip() or 0), float(new.strip() or 0)
        except ValueError:
            return CHANGED
        if one != other:
            return UP if other > one else DOWN
    return CHANGED


class News:
    """Row key -> column id -> (until when, sign)."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, tuple[float, str]]] = {}

    def note(
        self, key: str, columns: Sequence[Column], old: Sequence[Piece], new: Sequence[Piece], now: float
    ) -> None:
        """Compare the cells of a row before and after; the first column is the name and never new."""
        for number, column in enumerate(columns):
            if number and column.paint is None and column.id not in CLOCKS and old[number][0] != new[number][0]:
                cells = self._of.pop(key, {})
                cells[column.id] = (now + FOR, direction(column, old[number][0], new[number][0]))
                self._of[key] = cells  # the latest last
        if len(self._of) > MOST:
            del self._of[next(iter(self._of))]

    def sign(self, key: str, column: str) -> str:
        cells = self._of.get(key)
        return cells[column][1] if cells and column in cells else ""

    def expire(self, now: float) -> list[str]:
        """Forget what is old; the keys of rows that look different now."""
        out = []
        for key in list(self._of):
            cells = self._of[key]
            old = [id for id, (until, _) in cells.items() if until <= now]
            if not old:
                if min(until for until, _ in cells.values()) - now > FOR - 1:
                    break  # they are kept in the order of their latest change
                continue
            for id in old:
                del cells[id]
            if not cells:
                del self._of[key]
            out.append(key)
        return out

    def forget(self, key: str) -> None:
        self._of.pop(key, None)

    def clear(self) -> None:
        self._of.clear()
