"""The latest numbers of hosts and instances, asked for only while a list that shows them is on the screen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from cockpit.model.metrics_rows import loads
from cockpit.plan.steps import Bad, Refused
from screens.widgets.columns import Column
from screens.widgets.spark import number

if TYPE_CHECKING:
    from screens.base import ClusterScreen
    from screens.board import Board
    from screens.widgets.grid import Grid

AGAIN = 2.0
"""Seconds until a broken stream is asked for again."""
TITLES = {
    "host": (("cpu", "CPU %"), ("memory", "MEM MiB"), ("disk", "DISK %"), ("load", "LOAD"), ("io", "IO kiB/s"),
             ("received", "IN kiB/s"), ("sent", "OUT kiB/s")),
    "instance": (("cpu", "CPU cores"), ("memory", "MEM MiB")),
}  # fmt: skip
LEAVE = 20
"""They are the first to leave when it gets narrow."""


MANY = 2000
"""Rows from which on only the numbers of those that are seen are asked for."""


def follow(screen: ClusterScreen, kind: str) -> None:
    """Begin, or go on, to keep `board.loads` fresh; ends with the screen, and rests while it is covered."""
    wanted = _wanted(screen, kind)
    work: Callable[[], Awaitable[None]] = partial(_follow, screen, kind, wanted)  # not called when replaced at once
    screen.run_worker(work, name=f"loads {kind}", group="loads", exclusive=True)
    screen.loads_asked = wanted


def look(screen: ClusterScreen, kind: str) -> None:
    """Each second: are the numbers of what is seen now asked for? And are there columns for what is known?"""
    asked, wanted = screen.loads_asked, _wanted(screen, kind)
    if wanted != asked and (wanted is None or asked is None or not _seen(screen) <= asked):
        follow(screen, kind)
    _grid(screen).resized()


def _grid(screen: ClusterScreen) -> Grid[Any]:
    return cast("Grid[Any]", screen.panes[0])


def _seen(screen: ClusterScreen, around: int = 0) -> frozenset[str]:
    pane = _grid(screen)
    more = around * pane.page
    return frozenset(pane.order[max(0, pane.top - more): pane.top + pane.page + more])


def _wanted(screen: ClusterScreen, kind: str) -> frozenset[str] | None:
    """Names whose numbers are needed; None: all, since rows are few or are chosen or sorted by them."""
    pane = _grid(screen)
    if len(pane.rows) <= MANY:
        return None
    fields = [field for field, _ in TITLES[kind]]
    if pane.sort_by in fields or any(pane.asks(field) for field in fields):
        return None
    return _seen(screen, around=3)


def rest(screen: ClusterScreen) -> None:
    screen.workers.cancel_group(screen, "loads")


async def _follow(screen: ClusterScreen, kind: str, wanted: frozenset[str] | None) -> None:
    board = screen.board
    while True:
        try:
            fields: set[str] = set()
            async for item in loads(screen.session, kind, None if wanted is None else sorted(wanted)):
                known = board.loads.setdefault(kind, {})
                for name, latest in item.items():
                    if latest is None:
                        known.pop(name, None)
                    else:
                        known[name] = latest
                        fields.update(latest)
                shown = board.load_fields.get(kind)
                if fields and (shown is None or not fields <= shown):
                    board.load_fields[kind] = (shown or frozenset()) | fields
                elif not known:
                    board.load_fields[kind] = frozenset()
        except (ConnectionError, Bad, Refused):
            board.loads.pop(kind, None)  # old numbers must not look like new ones
        await asyncio.sleep(AGAIN)


def load_columns(board: Board, kind: str) -> list[Column]:
    """A column for each number; empty where nothing is known, and not there when that is so everywhere. Sorted: the
    most first, unknown last."""

    def column(place: int, field: str, title: str) -> Column:
        def cell(row: Any) -> tuple[str, str]:
            name = row.name if kind == "host" else row.id
            return number(kind, field, board.loads.get(kind, {}).get(name)), "muted"

        def order(row: Any) -> float:
            value = board.loads.get(kind, {}).get(row.name if kind == "host" else row.id, {}).get(field)
            return float("inf") if value is None else -value

        def there() -> bool:
            return field in board.load_fields.get(kind, ())

        return Column(field, title, cell, leave=LEAVE + place, right=True, sort=order, most=12, there=there)

    return [column(n, field, title) for n, (field, title) in enumerate(TITLES[kind])]
