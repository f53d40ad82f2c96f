"""Every action: running, paused, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.model.view import ActionRow
from screens.aim import ACTION
from screens.board import ENDED
from screens.keys import verb_keys
from screens.look import Piece
from screens.rows import action_columns, action_door, action_mark, lead
from screens.table import TableScreen
from screens.widgets.grid import Grid


class ActionsScreen(TableScreen):
    NAME = "actions"
    KIND = ACTION
    TABLE = "actions"
    VERB_NAMES = ("pause", "resume", "abort", "rollback")
    BINDINGS: ClassVar[list[BindingType]] = verb_keys("pause", "resume", "abort", "rollback")
    HINTS = ("open", "verb.pause", "verb.resume", "verb.abort", "verb.rollback", "filter", "sort", "wide", "command")

    def make_grid(self) -> Grid[Any]:
        def haystack(row: ActionRow) -> str:
            return f"{row.id} {row.verb} {row.title} {row.state} {row.author} {' '.join(row.targets)} {row.note}"

        look = self.look
        return Grid(action_columns(self.board, look), haystack=haystack, lead=lead(look, action_mark), id="grid")

    def rows(self) -> Mapping[str, Any]:
        rows = self.board.actions.items()
        return dict(sorted(rows, key=lambda i: (i[1].state in ENDED, -i[1].started)))

    def heading(self) -> list[Piece]:
        running = len(self.board.running())
        return [("ACTIONS", "strong"), (f"   {running} not ended", "changing" if running else "muted")]

    def door(self) -> Sequence[str]:
        return action_door(self.grid.current, self.board) if self.grid.current is not None else ()
