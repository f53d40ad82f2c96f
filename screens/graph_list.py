"""The edges of the graph as a list: the same data for whoever cannot follow lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cockpit.model.graph import UNDECLARED, GraphEdge
from cockpit.model.view import OK
from screens.look import Piece
from screens.widgets.columns import Column
from screens.widgets.grid import Grid

if TYPE_CHECKING:
    from screens.graph import GraphScreen


def edge_grid(screen: GraphScreen) -> Grid[GraphEdge]:
    look = screen.look

    def label(id: str) -> str:
        node = screen.by_id.get(id)
        return node.label if node is not None else id

    def state(id: str) -> Piece:
        node = screen.by_id.get(id)
        if node is None:
            return "", "muted"
        words = f"{look.glyph(node.mark)} {node.mark}"
        counts = f" {node.have}/{node.want}" if node.want else ""
        return words + counts, "muted" if node.mark == OK else node.mark

    def kind(row: GraphEdge) -> Piece:
        if row.kind == UNDECLARED:
            return f"{look.glyph('drift')} undeclared", "drift"
        return row.kind, "muted"

    def seen(row: GraphEdge) -> Piece:
        return "" if row.connections is None else str(row.connections), "muted"

    columns = [
        Column("source", "CALLER", lambda r: (label(r.source), "text"), most=40),
        Column("target", "CALLS", lambda r: (label(r.target), "text"), most=40),
        Column("kind", "KIND", kind),
        Column("seen", "CONNECTIONS", seen, leave=1, right=True, sort=lambda r: -(r.connections or 0)),
        Column("caller", "CALLER IS", lambda r: state(r.source), leave=3, most=24),
        Column("callee", "CALLED IS", lambda r: state(r.target), leave=2, most=24),
    ]

    def haystack(row: GraphEdge) -> str:
        return f"{label(row.source)} {label(row.target)} {row.kind} {state(row.source)[0]} {state(row.target)[0]}"

    return Grid(columns, haystack=haystack, id="list")
