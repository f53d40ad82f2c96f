"""Alerts: what needs somebody, who was told, who has it; acknowledged and silenced from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.model.alert_rows import ACKNOWLEDGED, ENDED, FIRING, SILENCED
from cockpit.model.view import ABSENT, PAUSED, AlertRow
from screens.base import ClusterScreen
from screens.board import Board, Changed
from screens.format import since
from screens.keys import key
from screens.look import Look, Piece
from screens.rows import lead, quiet
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid

ALERT = "alert"
HOUR = 3600.0


async def begin(screen: ClusterScreen) -> None:
    await screen.cockpit.goto(("alerts",))


def shown_mark(row: AlertRow) -> str:
    """How bad it looks: what somebody has, or nobody wants to hear, is calm."""
    return {FIRING: row.mark, ACKNOWLEDGED: PAUSED, SILENCED: ABSENT, ENDED: ABSENT}[row.state]


def alert_columns(board: Board, look: Look) -> list[Column]:
    def state(row: AlertRow) -> Piece:
        by = f" by {row.by.partition('@')[0]}" if row.by and row.state == ACKNOWLEDGED else ""
        return row.state + by, shown_mark(row) if row.state == FIRING else "muted"

    def what(row: AlertRow) -> Piece:
        note = f"{row.note}: " if row.note else ""
        return look.text(note + row.text), "text" if row.state == FIRING else "muted"

    def told(row: AlertRow) -> Piece:
        if row.trouble:
            return look.text(row.trouble[0]), "failed"
        return (f"{', '.join(row.to)} {since(row.told, board.now)} ago" if row.to and row.told else "nobody"), "muted"

    return [
        Column("group", "ALERT", lambda r: (board.short(r.group), quiet(shown_mark(r))), most=40),
        Column("when", "WHEN", lambda r: (r.when, "muted"), leave=2),
        Column("state", "STATE", state, leave=1, most=24),
        Column("since", "SINCE", lambda r: (since(r.since, board.now), "muted"), right=True, leave=3,
               sort=lambda r: r.since),
        Column("members", "OF", lambda r: (str(len(r.members)), "text"), right=True, leave=4,
               sort=lambda r: len(r.members)),
        Column("what", "WHAT", what, grow=True, least=24, most=120, leave=6),
        Column("told", "TOLD", told, leave=5, most=60),
    ]  # fmt: skip


class AlertsScreen(TableScreen):
    NAME = "alerts"
    KIND = ALERT
    TABLE = "alerts"
    HINTS: ClassVar[tuple[str, ...]] = ("open", "alert.ack", "alert.silence", "filter", "sort", "command")
    BINDINGS: ClassVar[list[BindingType]] = [
        key("K", "ack", "acknowledge", "You look after it: nobody is told again until it ends.", "alert.ack"),
        key("s", "silence", "silence 1h", "Tell nobody of this group for an hour.", "alert.silence"),
        key("S", "unsilence", "end silence", "Tell of this group again.", "alert.unsilence"),
    ]

    def make_grid(self) -> Grid[Any]:
        def haystack(row: AlertRow) -> str:
            return " ".join((row.id, row.when, row.group, row.state, *row.members, row.text))

        look = self.look
        return Grid(alert_columns(self.board, look), haystack=haystack, lead=lead(look, shown_mark), id="grid")

    def rows(self) -> Mapping[str, Any]:
        order = {FIRING: 0, ACKNOWLEDGED: 1, SILENCED: 2, ENDED: 3}
        rows = self.board.alerts.items()
        return dict(sorted(rows, key=lambda i: (order[i[1].state], -i[1].since)))

    def sync(self, changed: Changed) -> None:
        super().sync(changed)
        if changed.alerts and not changed.whole:
            self.grid.load(self.rows())

    def heading(self) -> list[Piece]:
        rows = list(self.board.alerts.values())
        firing = sum(r.state == FIRING for r in rows)
        open_ones = sum(r.state != ENDED for r in rows)
        words = f"   {firing} firing of {open_ones} open" if open_ones else "   nothing needs anybody"
        return [("ALERTS", "strong"), (words, "failed" if firing else "muted")]

    def door(self) -> Sequence[str]:
        row = self.grid.current
        if row is None:
            return ()
        first = row.members[0] if row.members else row.group
        if first in self.board.instances and len(row.members) == 1:
            return ("node", first)
        if first.startswith("#"):
            return ("action", first)
        if first in self.board.hosts:
            return ("host", first)
        return ("relays",) if first in self.board.relays else ("instances", row.group)

    async def action_ack(self) -> None:
        await self._each("alert_ack", "acknowledging", lambda r: {"id": r.id}, "acknowledged")

    async def action_silence(self) -> None:
        await self._each(
            "alert_silence", "silencing", lambda r: {"match": r.group, "seconds": HOUR},
            "silent for an hour; <alert.unsilence> ends that",
        )

    async def action_unsilence(self) -> None:
        found = await self.ask("asking for silences", self.session.call("alerts"))
        row = self.grid.current
        if found is None or row is None:
            return
        ids = [s["id"] for s in found["silences"] if s["match"] == row.group]
        for id in ids:
            await self.ask("ending a silence", self.session.call("alert_unsilence", {"id": id}))
        self.say(f"{row.group} is told of again." if ids else f"No silence is for {row.group} alone.", "ok")

    async def _each(self, op: str, doing: str, words: Any, done: str) -> None:
        if self.cockpit.read_only:
            self.say(f"{doing} is off: {self.cockpit.read_only}")
            return
        keys = [k for k in self.grid.order if k in self.grid.marked] or [self.grid.key or ""]
        rows = [r for k in keys if (r := self.board.alerts.get(k)) is not None and r.state != ENDED]
        if not rows:
            self.say("There is no open alert under the cursor.")
            return
        told = [await self.ask(doing, self.session.call(op, words(row))) for row in rows]
        good = [row.group for row, answer in zip(rows, told, strict=True) if answer is not None]
        if good:
            self.say(f"{', '.join(good)}: {done}.", "ok")
