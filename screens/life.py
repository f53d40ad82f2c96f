"""The life of one object as a list: states, runs, versions, actions, revisions, and where nobody looked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cockpit.model.view import OK
from cockpit.model.why_rows import Life, Moment, timeline
from screens.aim import NOTHING, Aim
from screens.base import ClusterScreen
from screens.board import Board, Changed
from screens.explain import aim_of, kind_of
from screens.format import age, date, when
from screens.look import Look, Piece
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid

AGAIN, SOON = 5.0, 1.0
"""Seconds between two questions while nothing changes, and at least."""
MOST = 1000


def life_columns(board: Board, look: Look) -> list[Column]:
    def what(row: Moment) -> Piece:
        return look.text(board.shorten(row.text)), "text" if row.mark == OK else row.mark

    return [
        Column("at", "WHEN", lambda r: (when(r.at, board.now), "muted"), sort=lambda r: r.at),
        Column("age", "AGO", lambda r: (age(board.now - r.at), "muted"), right=True, leave=2, sort=lambda r: -r.at),
        Column("kind", "KIND", lambda r: (r.kind, "muted"), leave=3),
        Column("what", "WHAT", what, grow=True, least=30, most=400),
        Column("source", "FROM", lambda r: (r.source, "faint"), leave=4),
    ]


def keyed(moments: Sequence[Moment]) -> dict[str, Moment]:
    """Keys that stay the same while more moments come."""
    out: dict[str, Moment] = {}
    for moment in moments:
        key = f"{moment.at} {moment.source} {moment.text}"
        while key in out:
            key += "+"
        out[key] = moment
    return out


def put(grid: Grid[Any], rows: Mapping[str, Any]) -> None:
    """Other rows in another order; those that are new wait until the operator moves, at their place."""
    known = grid.rows
    gone: dict[str, Any] = {k: None for k in known if k not in rows}
    changes = gone | {k: r for k, r in rows.items() if known.get(k) != r}
    if not changes:
        return
    # rows at their place first, so that the grid sees whether what is new would move others
    grid.waiting |= {k for k in rows if k not in known}
    grid.rows = {k: known.get(k, r) for k, r in rows.items()} | {k: known[k] for k in gone}
    grid.update(changes)


class LifeScreen(TableScreen):
    """`name`: an instance, a node, a host, a relay, an action; nothing: the cluster."""

    NAME = "life"
    HINTS: ClassVar[tuple[str, ...]] = ("open", "filter", "sort.turn", "sort", "explain", "logs", "wide", "command")

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.object = name
        self.life: Life | None = None
        self.newest_first = True
        self._asked = 0.0
        self._stale = True

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.object) if self.object else (self.NAME,)

    def make_grid(self) -> Grid[Any]:
        board, look = self.board, self.look

        def haystack(row: Moment) -> str:
            return f"{date(row.at)} {row.kind} {row.text} {row.source} {row.mark}"

        def lead(row: Moment) -> tuple[Piece, ...]:
            return ((look.glyph(row.mark) + " ", row.mark),)

        return Grid(life_columns(board, look), haystack=haystack, lead=lead, id="grid")

    def rows(self) -> Mapping[str, Any]:
        moments = self.life.moments if self.life is not None else ()
        return keyed(moments[::-1] if self.newest_first else moments)

    def sync(self, changed: Changed) -> None:
        self._stale = self._stale or changed.whole or self._mine(changed)
        self._look()
        self.show_title()

    def _mine(self, changed: Changed) -> bool:
        name = self.object
        ids = (*changed.instances, *changed.hosts, *changed.relays, *changed.actions)
        return any(not name or i == name or i.startswith(name) for i in ids[:5000]) or bool(changed.actions)

    def tick(self) -> None:
        self._look()
        super().tick()

    def _look(self) -> None:
        if time.monotonic() - self._asked > (SOON if self._stale else AGAIN):
            self._asked, self._stale = time.monotonic(), False
            self.run_worker(self._fetch(), name="life", exclusive=True)

    async def _fetch(self) -> None:
        found = await self.ask(
            f"asking for the life of {self.object or 'the cluster'}", timeline(self.session, self.object, limit=MOST)
        )
        if found is None or not self.is_attached:
            return
        before, self.life = self.life, found
        rows = self.rows()
        if before is None:
            self.grid.load(rows)
        else:
            put(self.grid, rows)
        self.show_title()

    def heading(self) -> list[Piece]:
        name = self.look.text(self.board.short(self.object)) if self.object else "the cluster"
        out: list[Piece] = [(f"LIFE of {name}", "strong")]
        life = self.life
        if life is None:
            return [*out, (f"   asking{self.look.sign('more')}", "changing")]
        out.append(("   newest first" if self.newest_first else "   oldest first", "muted"))
        gaps = sum(1 for m in life.moments if m.kind == "gap")
        if gaps:
            out.append((f"   {gaps} gap{'' if gaps == 1 else 's'}", "unknown"))
        if life.left_out:
            out.append((f"   {life.left_out} older left out", "muted"))
        out += [(f"   {self.look.text(words)}", "unknown") for words in life.unknown]
        return out

    def subject(self) -> Aim:
        kind = kind_of(self.board, self.object)
        return aim_of(kind, (self.object,)) if kind else NOTHING

    def aim(self) -> Aim:
        row = self.grid.current
        if row is not None and row.door[:1] == ("action",):
            return aim_of("action", (row.door[1],))
        if row is not None and aim_of(row.kinds[0], (row.kinds[1],)) and row.kinds[1]:
            return aim_of(row.kinds[0], (row.kinds[1],))
        kind = kind_of(self.board, self.object)
        return aim_of(kind, (self.object,)) if self.object and kind else NOTHING

    def door(self) -> Sequence[str]:
        row = self.grid.current
        return row.door if row is not None else ()

    async def action_open(self) -> None:
        row = self.grid.current
        words = self.door()
        if row is not None and not words:
            self.say(self.look.text(row.text), row.mark)
        else:
            await super().action_open()

    def action_sort(self, turn: bool = False) -> None:
        if turn and not self.grid.sort_by:
            self.newest_first = not self.newest_first
            self.grid.load({})
            self.grid.load(self.rows())
            self.show_title()
        else:
            super().action_sort(turn)


async def begin(screen: ClusterScreen) -> None:
    """`L`: the life of the thing under the cursor; of the cluster where there is none."""
    aim = screen.aim()
    if len(aim.ids) > 1:
        screen.say(f"life: one thing at a time; {len(aim.ids)} are marked, <back> takes the marks away")
        return
    if aim and kind_of(screen.board, aim.ids[0]):
        await screen.cockpit.goto(("life", aim.ids[0]))
    elif aim:
        screen.say(f"life: nothing is recorded of {aim.kind} {aim.ids[0]}")
    else:
        await screen.cockpit.goto(("life",))
