"""Versions in the store: how big, who signed them, where they are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.model.view import ArtifactRow
from screens.aim import ARTIFACT
from screens.board import ENDED, Changed
from screens.format import size
from screens.keys import verb_keys
from screens.look import Piece
from screens.rows import artifact_columns, artifact_mark, lead
from screens.table import TableScreen
from screens.widgets.grid import Grid

AGAIN = 5.0
"""Seconds between two looks into the store while the screen is open."""


class ArtifactsScreen(TableScreen):
    NAME = "artifacts"
    KIND = ARTIFACT
    VERB_NAMES = ("push",)
    BINDINGS: ClassVar[list[BindingType]] = verb_keys("push")
    HINTS = ("open", "verb.push", "filter", "sort", "wide", "go.pushes", "command")

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, ArtifactRow] = {}
        self._asked = 0.0

    def make_grid(self) -> Grid[Any]:
        def haystack(row: ArtifactRow) -> str:
            roles = " ".join(f"signed {r}" for r in row.signed) + " ".join(f" missing {r}" for r in row.missing)
            wanted = "wanted" if row.wanted else ""
            return f"{row.id} {row.kind} {row.platform} {wanted} {roles} {' '.join(row.services)} {row.sha256}"

        look = self.look
        return Grid(artifact_columns(self.board, look), haystack=haystack, lead=lead(look, artifact_mark), id="grid")

    def rows(self) -> Mapping[str, Any]:
        return self._rows

    def sync(self, changed: Changed) -> None:
        ended = any((row := self.board.actions.get(id)) is not None and row.state in ENDED for id in changed.actions)
        if changed.whole or ended:
            self._look_again()
        self.show_title()

    def tick(self) -> None:
        if time.monotonic() - self._asked > AGAIN and self.board.lost is None:
            self._look_again()
        super().tick()

    def _look_again(self) -> None:
        self._asked = time.monotonic()
        self.run_worker(self._fetch(), name="artifacts", exclusive=True)

    async def _fetch(self) -> None:
        rows = await self.ask("looking into the store", self.session.artifact_rows())
        if rows is None or not self.is_attached:
            return
        new = {r.id: r for r in sorted(rows, key=lambda r: (r.name, -r.added, r.id))}
        first, self._rows = not self._rows, new
        if first:
            self.grid.load(new)
        else:
            self.grid.update({**dict.fromkeys(self.grid.rows.keys() - new.keys()), **new})
        self.show_title()

    def heading(self) -> list[Piece]:
        rows = self._rows.values()
        out: list[Piece] = [("ARTIFACTS", "strong")]
        unsigned = sum(1 for r in rows if r.wanted and r.missing)
        if unsigned:
            out.append((f"   {self.look.glyph('drift')} {unsigned} wanted without a signature", "drift"))
        out.append((f"   {sum(1 for r in rows if r.wanted)} wanted", "muted"))
        out.append((f"   {size(sum(r.packed or r.size for r in rows))} in the store", "muted"))
        return out

    def door(self) -> Sequence[str]:
        return ("artifact", self.grid.key) if self.grid.current is not None and self.grid.key else ()

    def hint_label(self, id: str, label: str) -> str:
        return "the push" if id == "go.pushes" else label
