"""The registry: every endpoint, and which version of the names each host has applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cockpit.model.states import UP
from cockpit.model.view import EndpointRow
from screens.aim import INSTANCE, NOTHING, Aim
from screens.format import pairs, plural
from screens.look import Piece
from screens.rows import endpoint_columns, endpoint_mark, lead
from screens.table import TableScreen
from screens.widgets.grid import Grid


class NamingScreen(TableScreen):
    NAME = "naming"
    TABLE = "endpoints"
    HINTS = ("filter", "open", "logs", "sort", "wide", "go.hosts", "command")

    def make_grid(self) -> Grid[Any]:
        def haystack(row: EndpointRow) -> str:
            return (
                f"{row.service} {row.instance} {row.address}:{row.port} {row.state} {pairs(row.attributes)} {row.why}"
            )

        look = self.look
        return Grid(endpoint_columns(self.board, look), haystack=haystack, lead=lead(look, endpoint_mark), id="grid")

    def rows(self) -> Mapping[str, Any]:
        return dict(sorted(self.board.endpoints.items(), key=lambda i: (i[1].service, i[1].instance, i[0])))

    def heading(self) -> list[Piece]:
        board = self.board
        version = board.head.names_version if board.head else 0
        behind = [h.name for h in board.hosts.values() if h.presence == UP and h.names_applied < version]
        out: list[Piece] = [("NAMING", "strong"), (f"   version {version}", "muted")]
        if behind:
            out.append(
                (
                    f"   {self.look.glyph('drift')} {plural(len(behind), 'host')} behind: {', '.join(behind[:4])}",
                    "drift",
                )
            )
        else:
            out.append(("   applied on every host that is up", "muted"))
        return out

    def aim(self) -> Aim:
        row = self.grid.current
        return Aim(INSTANCE, (row.instance,)) if row is not None and row.instance else NOTHING

    def door(self) -> Sequence[str]:
        row = self.grid.current
        return ("node", row.instance) if row is not None and row.instance else ()
