"""Where the operator stands on a screen, to come back to it in another run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from screens.memory import Spot
from screens.places import PLACES
from screens.widgets.grid import Grid
from screens.widgets.sheet import Sheet

if TYPE_CHECKING:
    from screens.base import ClusterScreen

UNKEPT = frozenset({"help", "quit"})
"""Screens that mean nothing without the one they were opened from."""
UNSAVED = frozenset({"marked", "only_marked"})
"""Marks are for the verb that follows: in another run they would be a surprise."""


def spot_of(screen: ClusterScreen) -> Spot | None:
    """None for a screen that has no address of its own (a plan), or no lists yet."""
    name = screen.address()[0]
    if name not in PLACES or name in UNKEPT or not screen.panes:
        return None
    pane: Any = screen.pane
    spot = Spot(
        address=screen.cockpit.address_of(screen), pane=screen.panes.index(pane), height=pane.cursor - pane.top
    )
    if not isinstance(pane, Grid):
        item = pane.current if isinstance(pane, Sheet) else None
        return _with(spot, key=item.key if item is not None else "")
    grid: Any = pane
    state = msgspec.to_builtins(grid.state()) if hasattr(grid, "state") else {}
    return _with(
        spot, key=pane.key or "", sort=pane.sort_by, turned=pane.descending, wide=pane.wide,
        state={k: v for k, v in state.items() if k not in UNSAVED},
    )


def _with(spot: Spot, **values: Any) -> Spot:
    return msgspec.structs.replace(spot, **values)


def stand(screen: ClusterScreen, spot: Spot) -> None:
    """Stand there again, as far as what was there still is."""
    if not 0 <= spot.pane < len(screen.panes):
        return
    screen.use_pane(screen.panes[spot.pane])
    pane: Any = screen.pane
    if isinstance(pane, Grid):
        grid: Any = pane
        if spot.state and hasattr(grid, "restore"):
            try:
                grid.restore(msgspec.convert(spot.state, type(grid.state())))
            except msgspec.ValidationError:
                return  # of another version
        else:
            if (spot.sort, spot.turned) != (grid.sort_by, grid.descending):
                grid.order_by(spot.sort, spot.turned)
            if spot.wide != grid.wide:
                grid.widen()
        if spot.key:
            grid.seek(spot.key)
    elif isinstance(pane, Sheet) and spot.key:
        found = next((n for n, item in enumerate(pane.items) if item.key == spot.key and item.pick), -1)
        if found >= 0:
            pane.go(found)
    pane.scroll_top(max(0, min(pane.cursor - spot.height, pane.count() - pane.page)))
