"""The regions, rolled up: hosts, expected and actual instances, what differs, and the worst mark of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from cockpit.explain.wrong import BAD
from cockpit.model.states import UP
from cockpit.model.view import BADNESS, DRIFT, FAILED, OK, UNKNOWN
from screens.aim import NOTHING, Aim
from screens.board import Board, Changed
from screens.look import Look, Piece
from screens.rows import lead, quiet
from screens.summary import REGION
from screens.table import TableScreen
from screens.widgets.columns import Column
from screens.widgets.grid import Grid


class RegionRow(msgspec.Struct, frozen=True):
    name: str
    hosts: int = 0
    up: int = 0
    want: int = 0
    have: int = 0
    """Instances that live there, by the last that was heard."""
    drift: int = 0
    """Instances that are not as they should be."""
    relays: int = 0
    mark: str = OK


def region_rows(board: Board) -> dict[str, RegionRow]:
    """Every region that has a host or a relay, by name."""
    sums: dict[str, list[int]] = {}
    marks: dict[str, str] = {}

    def worse(region: str, mark: str) -> None:
        if BADNESS[mark] > BADNESS[marks.get(region, OK)]:
            marks[region] = mark

    for host in board.hosts.values():
        one = sums.setdefault(host.region, [0] * 6)
        one[0] += 1
        one[1] += host.presence == UP
        one[2] += host.want
        one[3] += host.instances
        worse(host.region, host.mark if not host.trouble or host.mark != OK else DRIFT)
    for relay in board.relays.values():
        sums.setdefault(relay.region, [0] * 6)[5] += 1
        if relay.mark in BAD:
            worse(relay.region, relay.mark)
    for mark in (FAILED, DRIFT, UNKNOWN):
        for id in board.marked.get(mark, ()):
            home = board.hosts.get(board.instances[id].host)
            if home is not None:
                sums[home.region][4] += 1
                worse(home.region, mark)
    return {
        name: RegionRow(name, hosts, up, want, have, drift, relays, marks.get(name, OK))
        for name, (hosts, up, want, have, drift, relays) in sorted(sums.items())
    }


def region_columns(board: Board, look: Look) -> list[Column]:
    def up(row: RegionRow) -> Piece:
        return str(row.up), "muted" if row.up == row.hosts else row.mark

    def have(row: RegionRow) -> Piece:
        return str(row.have), "muted" if row.have == row.want else (row.mark if row.mark != OK else DRIFT)

    def number(field: str) -> Any:
        return lambda r: (str(getattr(r, field) or ""), "muted")

    return [
        Column("name", "REGION", lambda r: (r.name or "none", quiet(r.mark)), most=40),
        Column("hosts", "HOSTS", number("hosts"), right=True, sort=lambda r: r.hosts),
        Column("up", "UP", up, right=True, sort=lambda r: r.up),
        Column("want", "WANT", number("want"), right=True, leave=2, sort=lambda r: r.want),
        Column("have", "HAVE", have, right=True, leave=1, sort=lambda r: r.have),
        Column("drift", "DRIFT", lambda r: (str(r.drift or ""), r.mark), right=True, sort=lambda r: -r.drift),
        Column("relays", "RELAYS", number("relays"), right=True, leave=3, sort=lambda r: r.relays),
        Column("mark", "WORST", lambda r: ("" if r.mark == OK else r.mark, r.mark), most=12),
    ]


class RegionsScreen(TableScreen):
    NAME = "regions"
    KIND = REGION
    HINTS: ClassVar[tuple[str, ...]] = ("open", "filter", "sort", "explain", "go.hosts", "command")

    def make_grid(self) -> Grid[Any]:
        look = self.look
        return Grid(
            region_columns(self.board, look), haystack=lambda r: f"{r.name} {r.mark}",
            lead=lead(look, lambda r: r.mark), id="grid",
        )  # fmt: skip

    def rows(self) -> Mapping[str, Any]:
        return region_rows(self.board)

    def sync(self, changed: Changed) -> None:
        if changed.whole:
            self.grid.load(self.rows())
        self.show_title()

    def tick(self) -> None:
        """Once a second is enough for sums over every host."""
        rows = self.rows()
        gone: dict[str, Any] = {k: None for k in self.grid.rows if k not in rows}
        changes = gone | {k: r for k, r in rows.items() if self.grid.rows.get(k) != r}
        if changes:
            self.grid.update(changes)
        super().tick()

    def heading(self) -> list[Piece]:
        rows = self.grid.rows.values()
        want, have = sum(r.want for r in rows), sum(r.have for r in rows)
        return [("REGIONS", "strong"), (f"   want {want}  have {have}", "muted" if want == have else DRIFT)]

    def aim(self) -> Aim:
        row = self.grid.current
        return Aim(REGION, (row.name,)) if row is not None else NOTHING

    async def action_open(self) -> None:
        """Its hosts."""
        row = self.grid.current
        if row is not None:
            await self.cockpit.goto(("hosts",))
            here: Any = self.app.screen
            if here.panes:
                here.set_filter(row.name)
