"""All relays: what each carries, how it is reached, where it stands in the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cockpit.model.states import UP
from cockpit.model.view import OK, RelayRow
from screens.board import Board, Changed
from screens.format import latency, since
from screens.look import Look, Piece
from screens.rows import lead, quiet
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid

RELAY = "relay"
"""Kind of aim of a row; no verb is for it."""


def relay_columns(board: Board, look: Look) -> list[Column]:
    def presence(row: RelayRow) -> Piece:
        return row.presence if row.links else "artifacts", "muted" if row.mark == OK else row.mark

    def way(row: RelayRow) -> Piece:
        """The relays above it that it goes by now; before it was heard: those it should."""
        above = row.path[1:] if row.path else (row.upstream,) if row.upstream else ()
        return ", then ".join(above) or "controller", "muted"

    def agents(row: RelayRow) -> Piece:
        return str(row.agents) if row.links else "", "text"

    return [
        Column("name", "RELAY", lambda r: (r.name, quiet(r.mark)), most=40),
        Column("presence", "PRESENCE", presence),
        Column("region", "REGION", lambda r: (r.region, "muted"), leave=2, most=20),
        Column("agents", "AGENTS", agents, leave=1, right=True, sort=lambda r: r.agents),
        Column("above", "ABOVE IT", way, leave=3, most=40),
        Column("since", "SINCE", lambda r: (since(r.since, board.now), "muted"), leave=4, right=True,
               sort=lambda r: r.since or 0),
        Column("latency", "PING ms", lambda r: (latency(r.latency), "muted"), leave=6, right=True,
               sort=lambda r: r.latency or 0),
        Column("transport", "LINK", lambda r: (r.transport, "muted"), leave=7),
        Column("address", "ADDRESS", lambda r: (r.address, "muted"), leave=8, most=40),
        Column("version", "VERSION", lambda r: (r.version, "muted"), leave=9, most=24),
        Column("why", "WHY", lambda r: (look.text(r.reason), "muted" if r.mark == OK else r.mark), leave=5,
               grow=True, least=30, most=120),
    ]  # fmt: skip


class RelaysScreen(TableScreen):
    NAME = "relays"
    KIND = RELAY
    TABLE = "relays"
    HINTS: ClassVar[tuple[str, ...]] = ("filter", "open", "sort", "wide", "go.hosts", "command")

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self._seek = name

    def sync(self, changed: Changed) -> None:
        super().sync(changed)
        if self._seek and self.grid.seek(self._seek):
            self._seek = ""

    def make_grid(self) -> Grid[Any]:
        def haystack(row: RelayRow) -> str:
            return f"{row.name} {row.region} {row.address} {row.presence} {row.mark} {row.upstream} {row.reason}"

        look = self.look
        return Grid(relay_columns(self.board, look), haystack=haystack, lead=lead(look, lambda r: r.mark), id="grid")

    def rows(self) -> Mapping[str, Any]:
        return dict(sorted(self.board.relays.items(), key=lambda item: (item[1].region, item[0])))

    def heading(self) -> list[Piece]:
        rows = self.board.relays.values()
        carrying = [r for r in rows if r.links]
        up = sum(1 for r in carrying if r.presence == UP)
        agents = sum(r.agents for r in carrying)
        words = f"   {up} of {len(carrying)} that carry links up   {agents} agents" if carrying else ""
        return [("RELAYS", "strong"), (words, "muted")]

    def door(self) -> Sequence[str]:
        """The hosts behind it are those of its region."""
        row = self.grid.current
        return ("hosts", row.region) if row is not None else ()
