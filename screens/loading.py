"""The latest numbers of hosts and instances, asked for only while a list that shows them is on the screen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cockpit.model.metrics_rows import loads
from cockpit.plan.steps import Bad, Refused
from screens.widgets.columns import Column
from screens.widgets.spark import number

if TYPE_CHECKING:
    from screens.base import ClusterScreen
    from screens.board import Board

AGAIN = 2.0
"""Seconds until a broken stream is asked for again."""
TITLES = {
    "host": (("cpu", "CPU %"), ("memory", "MEM MiB"), ("disk", "DISK %"), ("load", "LOAD"), ("io", "IO kiB/s"),
             ("received", "IN kiB/s"), ("sent", "OUT kiB/s")),
    "instance": (("cpu", "CPU cores"), ("memory", "MEM MiB")),
}  # fmt: skip
LEAVE = 20
"""They are the first to leave when it gets narrow."""


def follow(screen: ClusterScreen, kind: str) -> None:
    """Begin, or go on, to keep `board.loads` fresh; ends with the screen, and rests while it is covered."""
    screen.run_worker(_follow(screen, kind), name=f"loads {kind}", group="loads", exclusive=True)


def rest(screen: ClusterScreen) -> None:
    screen.workers.cancel_group(screen, "loads")


async def _follow(screen: ClusterScreen, kind: str) -> None:
    while True:
        try:
            async for item in loads(screen.session, kind):
                known = screen.board.loads.setdefault(kind, {})
                for name, latest in item.items():
                    if latest is None:
                        known.pop(name, None)
                    else:
                        known[name] = latest
        except (ConnectionError, Bad, Refused):
            screen.board.loads.pop(kind, None)  # old numbers must not look like new ones
        await asyncio.sleep(AGAIN)


def load_columns(board: Board, kind: str) -> list[Column]:
    """A column for each number; empty where nothing is known. Sorted: the most first, unknown last."""

    def column(place: int, field: str, title: str) -> Column:
        def cell(row: Any) -> tuple[str, str]:
            name = row.name if kind == "host" else row.id
            return number(kind, field, board.loads.get(kind, {}).get(name)), "muted"

        def order(row: Any) -> float:
            value = board.loads.get(kind, {}).get(row.name if kind == "host" else row.id, {}).get(field)
            return float("inf") if value is None else -value

        return Column(field, title, cell, leave=LEAVE + place, right=True, sort=order, most=12)

    return [column(n, field, title) for n, (field, title) in enumerate(TITLES[kind])]
