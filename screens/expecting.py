"""What is expected in full, asked for once for each revision while a column or a filter looks behind `expected`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.model.topology import Host, Relay, Service
from cockpit.plan.steps import Bad, Refused
from screens.widgets.grid import Grid

if TYPE_CHECKING:
    from screens.app import CockpitApp

AGAIN = 5.0
"""Seconds until what was not answered is asked for again."""


class Part(msgspec.Struct):
    """Of the exported revision; the rest is passed over."""

    services: dict[str, Service] = {}
    hosts: dict[str, Host] = {}
    relays: dict[str, Relay] = {}


def look(app: CockpitApp) -> None:
    """Called with every change: is what somebody looks at that of this revision? Else it is asked for."""
    now, head = app.board.expected, app.board.head
    if not now.wanted or head is None or app.expecting is not None:
        return
    if app.travel is not None:
        if now.revision != -1:  # what is expected now is not what was expected then
            _take(app, Part(), -1)
        return
    if now.revision != head.revision and app.board.lost is None:
        app.expecting = app.run_worker(_ask(app, head.revision), name="expected", exit_on_error=False)


async def _ask(app: CockpitApp, revision: int) -> None:
    from screens.base import ClusterScreen

    try:
        screen = next(s for s in reversed(app.screen_stack) if isinstance(s, ClusterScreen))
        with screen.waiting("asking for what is expected"):
            document = await app.session.call("export")
        part = await asyncio.to_thread(msgspec.convert, document, Part)
        if app.travel is None:
            _take(app, part, revision)
    except ConnectionError:
        await asyncio.sleep(AGAIN)
    except (Bad, Refused, msgspec.ValidationError) as error:
        app.tell(f"Columns behind `expected` stay empty: {error}")
        _take(app, Part(), revision)
    finally:
        app.expecting = None


def _take(app: CockpitApp, part: Part, revision: int) -> None:
    now = app.board.expected
    now.services, now.hosts, now.relays, now.revision = part.services, part.hosts, part.relays, revision
    for screen in app.screen_stack:
        for grid in screen.query(Grid):
            again(grid)


def again(grid: Grid[Any]) -> None:
    """Read the rows anew, where they are looked at behind `expected`."""
    if any(c.id.partition(".")[0] == "expected" or ".expected." in c.id for c in grid.columns):
        grid.choose([c.id for c in grid.columns])
    if grid.asks_behind("expected"):
        grid.sift_again()
