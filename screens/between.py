"""What changed between two moments, as a list: by kind, worst first, each line a door."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from cockpit.history.when import moment
from cockpit.model import history_rows
from cockpit.model.history_rows import KINDS, Between, Difference
from cockpit.plan.steps import Bad, Refused
from screens.aim import ACTION, HOST, INSTANCE, NODE, NOTHING, Aim
from screens.board import Changed
from screens.format import date, plural
from screens.look import Piece
from screens.rows import lead, quiet
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid

AIMS = {"instances": INSTANCE, "hosts": HOST, "nodes": NODE, "actions": ACTION}


class BetweenScreen(TableScreen):
    """`:between A B`; without B until now, or until the moment that is looked at."""

    NAME = "between"
    HINTS = ("open", "filter", "sort", "wide", "past", "command")

    def __init__(self, start: str = "-1h", *more: str) -> None:
        super().__init__()
        self.words = halves((start, *more))
        self.found: Between | None = None
        self.trouble = ""

    def address(self) -> tuple[str, ...]:
        return (self.NAME, *filter(None, self.words))

    def make_grid(self) -> Grid[Any]:
        def haystack(row: Difference) -> str:
            return f"{KINDS[row.table]} {row.name} {row.how} {row.before} {row.after} {row.mark}"

        look, board = self.look, self.board

        def name(row: Difference) -> Piece:
            return (look.text(board.short(row.name)), "strong")

        columns = [
            Column("name", "WHAT", name), Column("kind", "KIND", lambda r: (KINDS[r.table], "muted"), leave=2),
            Column("how", "HOW", lambda r: (r.how, quiet(r.mark)), leave=1),
            Column("before", "BEFORE", lambda r: (look.text(r.before), "text"), grow=True),
            Column("after", "AFTER", lambda r: (look.text(r.after), "text"), grow=True),
        ]
        return Grid(columns, haystack=haystack, lead=lead(look, lambda r: str(r.mark)), id="grid")

    def on_mount(self) -> None:
        super().on_mount()
        self.run_worker(self._fetch(), name="between")

    async def _fetch(self) -> None:
        try:
            start, end = self._times()
            with self.waiting("comparing the two moments"):
                self.found = await history_rows.between(self.session, start, end)
        except (ValueError, Bad, Refused) as error:
            self.trouble = str(error)
        except ConnectionError as error:
            self.trouble = f"no answer: {error}"
        self.board_changed(Changed(whole=True))

    def _times(self) -> tuple[float, float]:
        travel, board = self.cockpit.travel, self.board
        now = travel.live_now if travel is not None else board.now

        def action(id: str) -> float | None:
            row = board.actions.get(id)
            return row.started if row is not None else None

        here = board.now if travel is not None else now
        return moment(self.words[0], now, action), moment(self.words[1], now, action) if self.words[1] else here

    def rows(self) -> Mapping[str, Any]:
        return {f"{r.table}|{r.key}": r for r in self.found.rows} if self.found is not None else {}

    def sync(self, changed: Changed) -> None:
        if changed.whole:
            self.grid.load(self.rows())
        self.show_title()

    def heading(self) -> list[Piece]:
        look = self.look
        if self.trouble:
            return [("BETWEEN", "strong"), (f"   {look.text(self.trouble)}", "failed")]
        if self.found is None:
            return [("BETWEEN", "strong"), (f"   asking{look.sign('more')}", "changing")]
        found = self.found
        out: list[Piece] = [("BETWEEN", "strong"), (f"   {date(found.start)} and {date(found.end)}", "text")]
        before, after = found.revisions
        out.append((f"   rev {before} {look.sign('to')} {after}" if before != after else f"   rev {after}", "muted"))
        if not found.rows:
            out.append(("   nothing differs", "ok"))
        if found.left_out:
            out.append((f"   {found.left_out} more are left out", "drift"))
        if found.gaps:
            missing = plural(len(found.gaps), "gap")
            out.append((f"   {look.glyph('unknown')} {missing} in the record", "unknown"))
        return out

    def aim(self) -> Aim:
        grid = self.grid
        row = grid.current
        if row is None or row.table not in AIMS:
            return NOTHING
        marked = tuple(grid.rows[k].key for k in grid.order if k in grid.marked and grid.rows[k].table == row.table)
        return Aim(AIMS[row.table], marked or (row.key,))

    def door(self) -> Sequence[str]:
        row = self.grid.current
        if row is None:
            return ()
        match row.table:
            case "instances":
                return ("node", row.key)
            case "nodes":
                return ("instances", row.key)
            case "hosts":
                return ("host", row.key)
            case "actions":
                return ("action", row.key)
            case "drift":
                return ("node", row.name) if "/" in row.name else ("host", row.name)
            case "endpoints":
                return ("naming",)
            case "alerts":
                return ("alerts",)
        return ("relays",) if row.table == "relays" else ("pushes",)


def halves(words: Sequence[str]) -> tuple[str, str]:
    """Words as two moments; the second is empty when they are one (a day and its time of day are one)."""
    whole = " ".join(words)
    if not _reads(whole):
        for n in range(1, len(words)):
            if _reads(first := " ".join(words[:n])) and _reads(second := " ".join(words[n:])):
                return first, second
    return whole, ""


def _reads(text: str) -> bool:
    """Is it a moment? Which one is asked later."""
    try:
        moment(text, time.time(), lambda id: 0.0)
    except ValueError as error:
        return "still to come" in str(error)
    return True
