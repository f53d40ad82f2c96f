"""The base of screens that are one grid over one table of the board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual.app import ComposeResult

from screens.aim import NOTHING, Aim
from screens.base import ClusterScreen
from screens.board import Changed
from screens.format import cells
from screens.look import Piece
from screens.slices import MANY
from screens.widgets.bars import Bar
from screens.widgets.grid import Grid


class TableScreen(ClusterScreen):
    """A title line and a grid. A subclass gives the grid, its rows, and what the title says."""

    DEFAULT_CSS = "TableScreen #title { height: 1; }"
    KIND: ClassVar[str] = ""
    """Kind of aim of a row."""
    TABLE: ClassVar[str] = ""
    """Table of the board the rows come from."""

    grid: Grid[Any]
    _loaded = -1
    """Version of the board that the grid shows."""

    def make_grid(self) -> Grid[Any]:
        raise NotImplementedError

    def heading(self) -> list[Piece]:
        return [(self.NAME.upper(), "strong")]

    def body(self) -> ComposeResult:
        self.grid = self.make_grid()
        self.panes = [self.grid]
        self.title_bar = Bar(id="title")
        yield self.title_bar
        yield self.grid

    def rows(self) -> Mapping[str, Any]:
        """Every row to show, in the natural order."""
        return dict(getattr(self.board, self.TABLE))

    def wanted(self, key: str, row: Any) -> bool:
        """Does a row that came belong here?"""
        return True

    def sync(self, changed: Changed) -> None:
        version = self.board.version
        if changed.whole:
            if self._loaded != version and not self._caught_up():
                self.grid.load(self.rows())
            self._loaded = version
        else:
            if self._loaded == version - 1:  # else some changes came while this was covered
                self._loaded = version
            table = getattr(self.board, self.TABLE)
            keys = getattr(changed, self.TABLE)
            known = self.grid.rows
            if self.cockpit.travel is not None and any(k not in known and k in table for k in keys):
                # a step in the past is another picture: nothing waits behind what was there before
                self.grid.load(self.rows())
                self.show_title()
                return
            changes = {k: table.get(k) for k in keys if k in known or (k in table and self.wanted(k, table[k]))}
            if changes:
                self.grid.update(changes)
        self.show_title()

    def _caught_up(self) -> bool:
        """Of many rows only those that changed meanwhile are taken over; false when they have to be read anew."""
        missed, known = self.board.since(self._loaded), self.grid.rows
        if missed.whole or len(known) < MANY:
            return False
        table = getattr(self.board, self.TABLE)
        rows = {k: table.get(k) for k in getattr(missed, self.TABLE)}
        here = {k: row if row is not None and self.wanted(k, row) else None for k, row in rows.items()}
        if any(k not in known and row is not None for k, row in here.items()):
            return False  # where those stand only all of them tell
        self.grid.update({k: row for k, row in here.items() if k in known}, quiet=True)
        self.grid.settle()
        return True

    def show_title(self) -> None:
        name, *more = self.heading()
        pieces: list[Piece] = [(" ", "text"), name]
        for words, style in self.grid.state_words():
            pieces += [("   ", "text"), (words, style)]
        # what does not fit leaves whole, from the end
        room = self.size.width - sum(cells(words) for words, _ in pieces)
        for words, style in more:
            room -= cells(words)
            if room < 0:
                break
            pieces.append((words, style))
        self.title_bar.show([pieces])

    def show_bottom(self, width: int = 0) -> None:
        super().show_bottom(width)
        if self.title_bar.is_mounted:
            self.show_title()

    def aim(self) -> Aim:
        grid = self.grid
        if grid.marked:
            return Aim(self.KIND, grid.picked())
        key = grid.key
        return NOTHING if key is None or grid.current is None else Aim(self.KIND, (key,))
