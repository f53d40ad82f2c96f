"""The registry: every endpoint, its service in counts, and which version of the names each host has applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult

from cockpit.model.view import EndpointRow, HostRow
from screens.aim import HOST, INSTANCE, NODE, NOTHING, Aim
from screens.board import Changed
from screens.format import pairs, plural
from screens.look import Piece
from screens.naming_rows import (
    Books,
    ServiceNames,
    applied_columns,
    behind,
    endpoint_grid_columns,
    endpoint_mark,
    host_mark,
    lagging,
    service_columns,
    state_word,
)
from screens.rows import lead
from screens.slices import MANY, at_once, in_slices
from screens.table import TableScreen
from screens.widgets.grid import Grid

ENDPOINTS, SERVICES, HOSTS = "endpoints", "services", "hosts"
LISTS = (ENDPOINTS, SERVICES, HOSTS)


class NamingScreen(TableScreen):
    """Three lists over the same books; Tab goes from one to the next. `text`: a filter to begin with."""

    NAME = "naming"
    TABLE = "endpoints"
    HINTS: ClassVar[tuple[str, ...]] = (
        "filter", "open", "pane.next", "explain", "logs", "sort", "wide", "go.hosts", "command",
    )  # fmt: skip

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._first = text
        self.books = Books()
        self.reading = False
        """The registry is being read."""
        self._late: tuple[int, list[str]] = (-1, [])
        """Version of the board, and which hosts were behind then."""
        self._relabel = False
        """The list of hosts shows an older version of the names."""

    def make_grid(self) -> Grid[Any]:
        def haystack(row: EndpointRow) -> str:
            users = " ".join(self.board.users(row.service))
            return (
                f"{row.service} {row.instance} {row.address}:{row.port} {state_word(row)} {row.state} "
                f"{pairs(row.attributes)} {row.why} {users}"
            )

        look, board = self.look, self.board
        return Grid(endpoint_grid_columns(board, look), haystack=haystack, lead=lead(look, endpoint_mark), id="grid")

    def body(self) -> ComposeResult:
        yield from super().body()
        board, look = self.board, self.look

        def version() -> int:
            return board.head.names_version if board.head else 0

        def of_host(row: HostRow) -> str:
            late = "behind lagging" if behind(row, version()) else ""
            return f"{row.name} {row.region} {row.presence} {late}"

        services: Grid[Any] = Grid(
            service_columns(board, look), haystack=lambda r: f"{r.service} {' '.join(r.counts)}",
            lead=lead(look, lambda r: r.mark), id=SERVICES,
        )
        hosts: Grid[Any] = Grid(
            applied_columns(board, look), haystack=of_host, lead=lead(look, lambda r: host_mark(r, version())),
            id=HOSTS,
        )
        self.lists: dict[str, Grid[Any]] = {ENDPOINTS: self.grid, SERVICES: services, HOSTS: hosts}
        self.shown = ENDPOINTS
        for grid in (services, hosts):
            grid.display = False
            self.panes.append(grid)
            yield grid

    def sync(self, changed: Changed) -> None:
        board, late = self.board, changed
        if changed.whole:
            late = board.since(self._loaded) if len(self.books) >= MANY else changed
            fresh = any(k not in self.books and k in board.endpoints for k in late.endpoints)
            if late.whole or fresh:  # where new ones stand only all of them tell
                self._read()
                self.show_title()
                return
        if not self.reading:
            self._follow(late, quiet=changed.whole)
        self.show_title()

    def _read(self) -> None:
        """Read the registry from the beginning; of many endpoints in slices, with keys between them."""
        board, books, mine = self.board, Books(), self.lists[ENDPOINTS]
        rows, self._loaded = dict(board.endpoints), board.version
        self.lists[HOSTS].load(dict(sorted(board.hosts.items(), key=lambda i: (i[1].region, i[0]))))
        if len(rows) < MANY:
            self._take(books, at_once(books.reading(rows)))
            return
        self.reading = True

        async def read() -> None:
            self._take(books, await in_slices(books.reading(rows), mine.told))
            self._follow(board.since(self._loaded), quiet=True)
            self.show_title()

        mine.work(read())

    def _take(self, books: Books, rows: Mapping[str, EndpointRow]) -> None:
        mine = self.lists[ENDPOINTS]
        self.reading, self.books = False, books
        mine.load(rows)
        if self._first:
            mine.filter(self._first)
            self._first = ""
        self._refill(self.lists[SERVICES], books.services())
    def _follow(self, changed: Changed, quiet: bool = False) -> None:
        """Take over what changed; `quiet`: while nobody looked."""
        board = self.board
        if changed.whole:
            self._read()
            return
        if quiet or self._loaded == board.version - 1:  # else some changes came while this was covered
            self._loaded = board.version
        hosts = self.lists[HOSTS]
        if changed.endpoints:
            rows = {k: board.endpoints.get(k) for k in changed.endpoints}
            for key, row in rows.items():
                self.books.put(key, row)
            self.lists[ENDPOINTS].update(rows, quiet)
            self._refill(self.lists[SERVICES], self.books.services())
        # a newly published version makes every host late until it says otherwise
        hosts.update({k: board.hosts.get(k) for k in changed.hosts}, quiet)
        if changed.endpoints:
            self._relabel = True
            self._label_hosts()
        if quiet:
            for grid in self.lists.values():
                grid.settle()

    def _label_hosts(self) -> None:
        if self._relabel and self.shown == HOSTS:
            self._relabel = False
            self.lists[HOSTS].look_changed()

    def _refill(self, grid: Grid[Any], rows: Mapping[str, ServiceNames]) -> None:
        if not grid.rows:
            grid.load(rows)
            return
        old = grid.rows
        changes: dict[str, Any] = {k: r for k, r in rows.items() if old.get(k) != r}
        changes.update({k: None for k in old if k not in rows})
        grid.update(changes)

    def heading(self) -> list[Piece]:
        board = self.board
        version = board.head.names_version if board.head else 0
        if self._late[0] != board.version:
            self._late = (board.version, lagging(board.hosts, version))
        late = self._late[1]
        title = {ENDPOINTS: "NAMING", SERVICES: "NAMING by service", HOSTS: "NAMES applied by hosts"}[self.shown]
        out: list[Piece] = [(title, "strong"), (f"   version {version}", "muted")]
        if late:
            names = ", ".join(late[:4]) + (self.look.sign("more") if len(late) > 4 else "")
            out.append((f"   {self.look.glyph('drift')} {plural(len(late), 'host')} behind: {names}", "drift"))
        else:
            out.append(("   applied on every host that is up", "muted"))
        held = self.books.total("damped")
        if held:
            out.append((f"   {self.look.glyph('drift')} {held} damped", "drift"))
        return out

    def action_pane(self, way: int) -> None:
        self.show_list(LISTS[(LISTS.index(self.shown) + way) % len(LISTS)])

    def show_list(self, name: str) -> None:
        for each, grid in self.lists.items():
            grid.display = each == name
        self.shown, self.grid = name, self.lists[name]
        self._label_hosts()
        self.use_pane(self.grid)
        self.show_title()

    def hint_label(self, id: str, label: str) -> str:
        following = LISTS[(LISTS.index(self.shown) + 1) % len(LISTS)]
        return f"by {following[:-1]}" if id == "pane.next" else super().hint_label(id, label)

    def aim(self) -> Aim:
        row = self.grid.current
        if isinstance(row, EndpointRow):
            return Aim(INSTANCE, (row.instance,)) if row.instance else NOTHING
        if isinstance(row, ServiceNames):
            return Aim(NODE, (row.service,))
        return Aim(HOST, (row.name,)) if row is not None else NOTHING

    def door(self) -> Sequence[str]:
        row = self.grid.current
        if isinstance(row, EndpointRow):
            return ("node", row.instance) if row.instance else ()
        return ("host", row.name) if isinstance(row, HostRow) else ()

    async def action_open(self) -> None:
        """From a service to its endpoints, from an endpoint to its instance, from a host to its card."""
        row = self.grid.current
        if isinstance(row, ServiceNames):
            self.lists[ENDPOINTS].filter(f"{row.service}/")  # as its instances are called, and no other's
            self.show_list(ENDPOINTS)
            return
        await super().action_open()

    async def action_back(self) -> None:
        """Back from a service's endpoints: to the services."""
        narrowed = self.shown == ENDPOINTS and self.grid.sieve.text.rstrip("/") in self.lists[SERVICES].rows
        await super().action_back()
        if narrowed:
            self.show_list(SERVICES)
