"""Revisions of what is expected: who changed what, by which action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.model.changes import describe, headline
from cockpit.model.view import RevisionRow
from screens.aim import ACTION, NOTHING, Aim
from screens.board import Board, Changed
from screens.filled import SheetScreen
from screens.format import date, since, wrap
from screens.item import Item, line, text
from screens.keys import key, verb_keys
from screens.look import Look, Piece
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid

LIMIT = 200
KEPT = 100_000
"""More revisions than there will be."""


def revision_columns(board: Board, look: Look) -> list[Column]:
    def what(row: RevisionRow) -> Piece:
        if not row.changes:
            return "the beginning" if row.number == 1 else "", "muted"
        undo = "undo: " if row.undo else ""
        return undo + look.text(headline(row.changes, board.short, look.sign("to"))), "text"

    return [
        Column("number", "REV", lambda r: (str(r.number), "strong"), right=True, sort=lambda r: r.number),
        Column("time", "WHEN", lambda r: (date(r.time), "muted"), leave=5, sort=lambda r: r.time),
        Column(
            "age", "AGE", lambda r: (since(r.time, board.now), "muted"), right=True, leave=1, sort=lambda r: -r.time
        ),
        Column("author", "BY", lambda r: (r.author, "muted"), leave=3, most=24),
        Column("action", "ACTION", lambda r: (r.action, "muted"), leave=2),
        Column("what", "WHAT", what, grow=True, least=44, most=120),
        Column("mark", "MARK", lambda r: (r.mark[:12], "muted"), leave=6),
    ]


class RevisionsScreen(TableScreen):
    NAME = "revisions"
    HINTS = ("open", "revisions.compare", "mark", "verb.rollback", "filter", "sort", "command")
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys("rollback"),
        key("=", "compare", "compare", "Two marked revisions with each other, or one with now.", "revisions.compare"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, RevisionRow] = {}
        self._head = 0

    def make_grid(self) -> Grid[Any]:
        def haystack(row: RevisionRow) -> str:
            return f"{row.number} {row.author} {row.action} {' '.join('.'.join(c.path) for c in row.changes)}"

        return Grid(revision_columns(self.board, self.look), haystack=haystack, id="grid")

    def rows(self) -> Mapping[str, Any]:
        return self._rows

    def sync(self, changed: Changed) -> None:
        head = self.board.head.revision if self.board.head else 0
        if head != self._head:
            self._head = head
            self.run_worker(self._fetch(), name="revisions", exclusive=True)
        self.show_title()

    async def _fetch(self) -> None:
        rows = await self.ask("asking for the revisions", self.session.revisions(LIMIT))
        if rows is not None:
            self._rows = {str(r.number): r for r in sorted(rows, key=lambda r: -r.number)}
            self.grid.load(self._rows)
            self.show_title()

    def heading(self) -> list[Piece]:
        return [("REVISIONS", "strong"), (f"   of what is expected, now {self._head}", "muted")]

    def aim(self) -> Aim:
        row = self.grid.current
        return Aim(ACTION, (row.action,)) if row is not None and row.action else NOTHING

    async def action_open(self) -> None:
        row = self.grid.current
        if row is not None:
            await self.app.push_screen(RevisionScreen(str(row.number), row))

    async def action_compare(self) -> None:
        marked = sorted(int(k) for k in self.grid.marked)
        if len(marked) > 2:
            self.say(f"compare takes two revisions, {len(marked)} are marked; <back> takes the marks away")
            return
        if not marked and self.grid.current is not None:
            marked = [self.grid.current.number]
        if len(marked) == 1 and marked[0] == self._head:
            self.say("That is the revision of now; put the cursor on an earlier one, or mark two.", "paused")
        elif marked:
            last = str(marked[1]) if len(marked) > 1 else "now"
            await self.cockpit.goto(("compare", str(marked[0]), last))


class RevisionScreen(SheetScreen):
    """Every path one revision changed."""

    NAME = "revision"
    HINTS = ("open", "revisions.compare", "verb.rollback", "command")
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys("rollback"),
        key("=", "compare", "compare", "This revision with now.", "revisions.compare"),
    ]

    def __init__(self, number: str, row: RevisionRow | None = None) -> None:
        super().__init__()
        self.number = number.removeprefix("rev").strip()
        self.row = row
        self._why = ""

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.number)

    async def action_compare(self) -> None:
        head = self.board.head.revision if self.board.head else 0
        if self.number == str(head):
            self.say("That is the revision of now: nothing differs.", "paused")
        else:
            await self.cockpit.goto(("compare", self.number, "now"))

    async def _fetch(self) -> None:
        rows = await self.ask("asking for the revisions", self.session.revisions(KEPT))
        self.row = next((r for r in rows or () if str(r.number) == self.number), None)
        if rows is not None and self.row is None:
            self._why = f"there is no revision {self.number}; v lists those that there are"
        if self.is_attached:
            self.sync(Changed())

    def sync(self, changed: Changed) -> None:
        row, look, width = self.row, self.look, max(40, self.size.width)
        if row is None:
            if changed.whole and not self._why:
                self.run_worker(self._fetch(), name="revision", exclusive=True)
            words = look.text(self._why) or f"asking{look.sign('more')}"
            self.sheet.fill([text(f" {words}", "failed" if self._why else "changing")])
            return
        items = [
            line(
                (f" REVISION {row.number}", "strong"),
                (f"   {date(row.time)}   by {row.author}   mark {row.mark[:12]}", "muted"),
            ),
        ]
        if row.action:
            items.append(
                Item(((f"   by action {row.action}", "text"),), "action", True, ("action", row.action), self.aim())
            )
        items.append(text(" WHAT CHANGED", "head"))
        for sentence in describe(row.changes, self.board.short, look.sign("to")):
            words = look.text(sentence, 20_000)
            items += [
                text(("   " if n == 0 else "     ") + p)
                for n, p in enumerate(wrap(words, width - 6, 12, look.sign("more")))
            ]
        self.sheet.fill(items)

    def aim(self) -> Aim:
        return Aim(ACTION, (self.row.action,)) if self.row is not None and self.row.action else NOTHING

    def door(self) -> Sequence[str]:
        item = self.sheet.current
        return item.door if item else ()
