"""Ports of instances that are forwarded to this machine, by these screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from screens.board import Board, Changed
from screens.format import plural, since, size
from screens.forwarding import ForwardRow
from screens.keys import key
from screens.look import Look, Piece
from screens.rows import lead
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid

FORWARD = "forward"
"""Kind of aim of a row; no verb is for it."""


def forward_columns(board: Board, look: Look) -> list[Column]:
    return [
        Column("local", "HERE", lambda r: (f"127.0.0.1:{r.local}" if r.local else "", "strong")),
        Column("state", "STATE", lambda r: (r.state, r.mark)),
        Column("instance", "INSTANCE", lambda r: (board.short(r.instance), "text"), most=40),
        Column("port", "PORT", lambda r: (look.text(r.port), "text"), right=True, most=20),
        Column("host", "HOST", lambda r: (r.host, "muted"), leave=3, most=24),
        Column("open", "OPEN", lambda r: (str(r.open), "text"), right=True, sort=lambda r: r.open),
        Column("total", "TOTAL", lambda r: (str(r.connections), "muted"), leave=4, right=True,
               sort=lambda r: r.connections),
        Column("sent", "TO IT", lambda r: (size(r.sent), "muted"), leave=2, right=True, sort=lambda r: r.sent),
        Column("received", "FROM IT", lambda r: (size(r.received), "muted"), leave=2, right=True,
               sort=lambda r: r.received),
        Column("since", "AGE", lambda r: (since(r.since, board.now), "muted"), leave=5, right=True,
               sort=lambda r: -r.since),
        Column("why", "WHY", lambda r: (look.text(r.why), r.mark), leave=1, grow=True, least=24, most=120),
    ]  # fmt: skip


class ForwardsScreen(TableScreen):
    NAME = "forwards"
    KIND = FORWARD
    BINDINGS: ClassVar[list[BindingType]] = [
        key("ctrl+d", "end", "end", "End this forward, and every connection through it.", "forwards.end"),
    ]
    HINTS: ClassVar[tuple[str, ...]] = ("open", "forwards.end", "filter", "sort", "go.instances", "command")

    def make_grid(self) -> Grid[Any]:
        def haystack(row: ForwardRow) -> str:
            return f"{row.local} {row.state} {row.instance} {row.port} {row.host} {row.why}"

        marked = lead(self.look, lambda r: r.mark)
        return Grid(forward_columns(self.board, self.look), haystack=haystack, lead=marked, id="grid")

    def rows(self) -> Mapping[str, Any]:
        return self.cockpit.forwards.rows()

    def sync(self, changed: Changed) -> None:
        """They are no table of the board: what the screens themselves hold is looked at."""
        rows = self.rows()
        if rows.keys() != self.grid.rows.keys():
            self.grid.load(rows)
        else:
            self.grid.update(rows)
        self.show_title()

    def tick(self) -> None:
        self.sync(Changed())
        super().tick()

    def heading(self) -> list[Piece]:
        count = len(self.cockpit.forwards.running())
        words = "   nothing is forwarded" if not count else f"   {plural(count, 'port')}, until the screens end"
        return [("FORWARDS", "strong"), (words, "muted")]

    def door(self) -> Sequence[str]:
        row: ForwardRow | None = self.grid.current
        return ("node", row.instance) if row is not None and row.instance in self.board.instances else ()

    async def action_end(self) -> None:
        keys = [k for k in self.grid.order if k in self.grid.marked] or [self.grid.key or ""]
        said = [words for k in keys if (words := self.cockpit.forwards.end(k))]
        if not said:
            self.say("There is no forward under the cursor.", "paused")
            return
        self.sync(Changed())
        self.say(said[0] if len(said) == 1 else f"{len(said)} forwards are closed.", "ok")
