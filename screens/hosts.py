"""All hosts: presence, what should and does run there, how they are heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from cockpit.model.states import UP
from cockpit.model.view import HostRow
from screens import loading
from screens.aim import HOST
from screens.board import Changed
from screens.format import pairs
from screens.keys import verb_keys
from screens.look import Piece
from screens.rows import host_columns, lead
from screens.table import TableScreen
from screens.widgets.grid import Grid


class HostsScreen(TableScreen):
    NAME = "hosts"
    KIND = HOST
    TABLE = "hosts"
    VERB_NAMES = ("drain", "start")
    BINDINGS: ClassVar[list[BindingType]] = verb_keys("drain", "start")
    HINTS = (
        "filter", "open", "explain", "verb.drain", "verb.start", "logs", "sort", "wide", "go.instances", "command",
    )  # fmt: skip

    def __init__(self, name: str = "") -> None:
        """`name`: a host to stand on, or a region whose hosts are shown."""
        super().__init__()
        self._seek = name

    def on_screen_resume(self) -> None:
        loading.follow(self, "host")

    def on_screen_suspend(self) -> None:
        loading.rest(self)

    def tick(self) -> None:
        super().tick()
        loading.look(self, "host")

    def make_grid(self) -> Grid[Any]:
        def haystack(row: HostRow) -> str:
            return f"{row.name} {row.region} {row.address} {row.presence} {row.mark} {pairs(row.labels)} {row.reason}"

        look = self.look
        return Grid(host_columns(self.board, look), haystack=haystack, lead=lead(look, lambda r: r.mark), id="grid")

    def rows(self) -> Mapping[str, Any]:
        return dict(sorted(self.board.hosts.items(), key=lambda item: (item[1].region, item[0])))

    def sync(self, changed: Changed) -> None:
        super().sync(changed)
        if self._seek and self.grid.seek(self._seek):
            self._seek = ""
        elif self._seek and any(h.region == self._seek for h in self.board.hosts.values()):
            self.grid.filter(self._seek)
            self._seek = ""

    def heading(self) -> list[Piece]:
        hosts = self.board.hosts.values()
        up = sum(1 for h in hosts if h.presence == UP)
        regions: dict[str, int] = {}
        for host in hosts:
            regions[host.region] = regions.get(host.region, 0) + 1
        parts = "  ".join(f"{name} {count}" for name, count in sorted(regions.items()))
        return [("HOSTS", "strong"), (f"   {up} up   {parts}", "muted")]

    def door(self) -> Sequence[str]:
        return ("instances", self.grid.key) if self.grid.key else ()
