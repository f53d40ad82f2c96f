"""The journal as a list: every entry as it comes, refusals too, and whether its chain of hashes is whole."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.model.view import OK
from cockpit.model.why_rows import JournalLine, JournalPage, journal_page
from cockpit.plan.steps import Bad, Refused
from screens.aim import ACTION, NOTHING, Aim
from screens.base import ClusterScreen
from screens.board import Board, Changed
from screens.format import when
from screens.keys import key
from screens.life import put
from screens.look import Look, Piece
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid
from screens.widgets.lines import Lines

PAGE = 300
NEAR = 20
"""Rows before the end at which older entries are asked for."""


def journal_columns(board: Board, look: Look) -> list[Column]:
    def what(row: JournalLine) -> Piece:
        return look.text(board.shorten(row.text)), "text" if row.mark == OK else row.mark

    return [
        Column("seq", "ENTRY", lambda r: (str(r.seq), "muted"), right=True, sort=lambda r: r.seq),
        Column("at", "WHEN", lambda r: (when(r.time, board.now), "muted"), leave=2, sort=lambda r: r.time),
        Column("kind", "KIND", lambda r: (r.kind, "text" if r.mark == OK else r.mark), leave=1, most=12),
        Column("action", "ACTION", lambda r: (r.action, "muted"), leave=4),
        Column("author", "BY", lambda r: (look.text(r.author), "muted"), leave=5, most=24),
        Column("what", "WHAT", what, grow=True, least=30, most=400),
        Column("hash", "HASH", lambda r: (r.hash[:12], "faint"), leave=6),
    ]


class JournalScreen(TableScreen):
    NAME = "journal"
    KIND = ACTION
    HINTS: ClassVar[tuple[str, ...]] = (
        "open", "filter", "journal.follow", "journal.verify", "sort", "wide", "command",
    )  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        key("f", "follow", "follow", "Stay on the newest entry as entries come.", "journal.follow"),
        key("V", "verify", "verify", "Check the chain of hashes from the first entry on.", "journal.verify"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, JournalLine] = {}
        """Newest first."""
        self.page: JournalPage | None = None
        """The oldest that was read."""
        self.end = -1
        self.count = 0
        self.following = False
        self.whole: bool | None = None
        self.said = ""
        self._busy = False

    def make_grid(self) -> Grid[Any]:
        look = self.look

        def haystack(row: JournalLine) -> str:
            return f"{row.seq} {row.kind} {row.action} {row.author} {row.text}"

        def lead(row: JournalLine) -> tuple[Piece, ...]:
            return ((look.glyph(row.mark) + " ", row.mark),)

        return Grid(journal_columns(self.board, look), haystack=haystack, lead=lead, id="grid")

    def rows(self) -> Mapping[str, Any]:
        return self.entries

    def sync(self, changed: Changed) -> None:
        if self.page is None and not self._busy:
            self._begin(self._first())
        self.show_title()

    def tick(self) -> None:
        if self.end >= 0:
            self._begin(self._later())
        elif self.page is None:
            self._begin(self._first())
        super().tick()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        if self._busy:
            work.close()
            return
        self._busy = True
        self.run_worker(self._alone(work), name="journal")

    async def _alone(self, work: Coroutine[Any, Any, None]) -> None:
        """One question at a time; a controller that is away is said by the top line."""
        try:
            await work
        except (Bad, Refused) as error:
            self.say(str(error), "failed")
        except ConnectionError:
            pass
        finally:
            self._busy = False
        if self.is_attached:
            self.show_title()

    async def _first(self) -> None:
        with self.waiting("reading the journal"):
            page = await journal_page(self.session, limit=PAGE, verify=True)
        self.page, self.end, self.count = page, page.end, page.count
        self.whole, self.said = page.whole, page.said
        self.entries = {str(e.seq): e for e in reversed(page.lines)}
        self.grid.load(self.entries)

    async def _later(self) -> None:
        page = await journal_page(self.session, after=self.end, limit=PAGE)
        self.count = page.count
        self.end = page.end
        if not page.lines:
            return
        new = {str(e.seq): e for e in reversed(page.lines)}
        self.entries = {**new, **self.entries}
        if self.following:
            self.grid.load(self.entries)
            self.grid.move("home")
        else:
            put(self.grid, self.entries)

    async def _older(self) -> None:
        assert self.page is not None
        with self.waiting("reading older entries"):
            page = await journal_page(self.session, before=self.page.start, limit=PAGE)
        self.page = page
        self.entries = {**self.entries, **{str(e.seq): e for e in reversed(page.lines)}}
        self.grid.load(self.entries)

    def on_lines_moved(self, event: Lines.Moved) -> None:
        super().on_lines_moved(event)
        if self.following and self.grid.cursor > 0:
            self.following = False
        more = self.page is not None and self.page.start > 0 and not self.grid.sort_by
        if more and self.grid.cursor >= self.grid.count() - NEAR:
            self._begin(self._older())

    def heading(self) -> list[Piece]:
        out: list[Piece] = [("JOURNAL", "strong")]
        if self.page is None:
            return [*out, (f"   asking{self.look.sign('more')}", "changing")]
        if self.whole is None:
            out.append(("   chain not checked", "unknown"))
        elif self.whole:
            out.append((f"   {self.look.glyph('ok')} {self.said}", "muted"))
        else:
            out.append((f"   {self.look.glyph('failed')} NOT WHOLE: {self.look.text(self.said)}", "failed"))
        if len(self.entries) < self.count:
            out.append((f"   of {self.count}", "muted"))
        if self.following:
            out.append(("   follows", "changing"))
        return out

    def aim(self) -> Aim:
        row = self.grid.current
        return Aim(ACTION, (row.action,)) if row is not None and row.action.startswith("#") else NOTHING

    def door(self) -> Sequence[str]:
        row = self.grid.current
        return ("action", row.action) if row is not None and row.action.startswith("#") else ()

    async def action_open(self) -> None:
        row = self.grid.current
        if row is not None and not self.door():
            self.say(f"{row.kind}: {self.look.text(row.text)}", row.mark)
        else:
            await super().action_open()

    def action_follow(self) -> None:
        self.following = not self.following
        if self.following:
            self.grid.load(self.entries)
            self.grid.move("home")
        self.show_title()

    def action_verify(self) -> None:
        self._begin(self._verify())

    async def _verify(self) -> None:
        with self.waiting("checking the chain"):
            page = await journal_page(self.session, limit=1, verify=True)
        self.whole, self.said = page.whole, page.said


async def begin(screen: ClusterScreen) -> None:
    """`J`: the journal."""
    await screen.cockpit.goto(("journal",))
