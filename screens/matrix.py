"""Hosts against services: how many instances of what are where, and what is wrong in which corner."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from cockpit.model.view import BADNESS, OK
from screens.aim import HOST, INSTANCE, NOTHING, Aim
from screens.base import ClusterScreen
from screens.board import Changed
from screens.cells import NOWHERE, Cells, worst
from screens.format import plural
from screens.keys import key, verb_keys
from screens.look import Piece
from screens.overview import VERB_NAMES
from screens.query import equals
from screens.rows import host_word, quiet
from screens.slices import MANY, at_once, in_slices
from screens.widgets.bars import Bar
from screens.widgets.matrix import Matrix, Row

ALL, FIRST, ONLY = "all", "trouble first", "only trouble"
ORDERS = (ALL, FIRST, ONLY)
REGION = "\0"
"""In front of the key of a region's row."""


async def begin(screen: ClusterScreen) -> None:
    await screen.cockpit.goto(("matrix",))


class MatrixScreen(ClusterScreen):
    NAME = "matrix"
    DEFAULT_CSS = "MatrixScreen #title { height: 1; } MatrixScreen #cell { height: 1; dock: bottom; }"
    VERB_NAMES = VERB_NAMES
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys(*VERB_NAMES),
        key("exclamation_mark", "order", "trouble", "What is wrong first; again: only that; again: all.",
            "matrix.trouble"),
        key("less_than_sign", "jump(-1)", "page left", "A page of columns to the left.", "matrix.left"),
        key("greater_than_sign", "jump(1)", "page right", "A page of columns to the right.", "matrix.right"),
    ]  # fmt: skip
    HINTS = (
        "open", "matrix.trouble", "filter", "wide", "explain", "matrix.right", "logs", "verb.restart", "verb.migrate",
        "go.hosts", "command",
    )  # fmt: skip

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.sought = text
        self.ordering = ALL
        self.data = Cells({})
        self._versions: dict[str, int] = {}
        self._stale = False
        self._loaded = -1
        """Version of the board that the books hold."""
        self._book = 0
        self.reading = False
        """The books are being made."""

    def body(self) -> ComposeResult:
        self.title_bar = Bar(id="title")
        self.cell_bar = Bar(id="cell-words")
        self.matrix = Matrix(
            head=self.head, cell=self.cell, name=self.name_of, version_of=self.version_of, id="matrix"
        )
        self.panes = [self.matrix]
        yield self.title_bar
        yield self.matrix
        yield self.cell_bar

    # data

    def sync(self, changed: Changed) -> None:
        board = self.board
        late = board.since(self._loaded) if changed.whole or self._loaded < board.version - 1 else changed
        if not self.reading:
            self._follow(late)
        self.show_title()
        self.show_cell()

    def _follow(self, changed: Changed) -> None:
        if changed.whole or self._other_hosts(changed):
            self._read()
            return
        self._loaded = self.board.version
        touched: set[str] = set(changed.hosts)
        for id in changed.instances:
            touched |= self.data.put(id, self.board.instances.get(id))
        self._touch(touched)

    def _read(self) -> None:
        """Make the books anew; those of many instances in slices, with keys between them."""
        board = self.board
        rows, data = list(board.instances.values()), Cells({h: r.region for h, r in board.hosts.items()})
        self._loaded = board.version
        if len(rows) < MANY:
            at_once(data.filling(rows))
            self._take(data)
            return
        self.reading = True

        async def read() -> None:
            with self.waiting("reading the instances"):
                await in_slices(data.filling(rows))
            self.reading = False
            self._take(data)
            self.sync(Changed(whole=True))  # what changed meanwhile

        self.run_worker(read(), name="cells", exclusive=True)

    def _take(self, data: Cells) -> None:
        self._book += 1
        self.data, self._versions = data, {}
        self.regroup()
        self.matrix.touch_all()

    def _other_hosts(self, changed: Changed) -> bool:
        regions, hosts = self.data.regions, self.board.hosts
        return any((h in hosts) != (h in regions) or (h in hosts and hosts[h].region != regions[h])
                   for h in changed.hosts)  # fmt: skip

    def _touch(self, hosts: set[str]) -> None:
        if not hosts:
            return
        self._stale = True
        keys = hosts | {REGION + self.data.regions.get(h, "") for h in hosts}
        for each in keys:
            self._versions[each] = self._versions.get(each, 0) + 1
        matrix = self.matrix
        for index in range(matrix.top, min(matrix.count(), matrix.top + matrix.page)):
            if matrix.rows[index].key in keys:
                matrix.touch(index)

    def tick(self) -> None:
        """Rows in trouble come and go here, not with every change: nothing jumps."""
        if self._stale and self.ordering == ALL and not self.sought:
            # only rows and columns that did not exist are of interest: cheap to see
            if set(self.matrix.columns) != self.data.services():
                self.regroup()
            self._stale = False
        elif self._stale:
            self._stale = False
            self.show_title()
        super().tick()

    def regroup(self) -> None:
        """Rows by region and name, columns by path; narrowed by what is sought and by trouble."""
        board, data = self.board, self.data
        services = sorted(data.services())
        names = list(data.names)
        if data.by_host.get(NOWHERE):
            names.append(NOWHERE)
        for word in self.sought.lower().split():
            fit_hosts = [h for h in names if word in h.lower() or word in data.regions.get(h, "").lower()]
            fit_services = [s for s in services if word in s.lower()]
            if fit_hosts or not fit_services:
                names = fit_hosts
            else:
                services = fit_services
        if self.ordering != ALL:
            bad_hosts = data.troubled_hosts() | {h for h, r in board.hosts.items() if r.mark != OK} | {NOWHERE}
            bad_services = data.troubled_services()
            if self.ordering == ONLY:
                names = [h for h in names if h in bad_hosts]
                services = [s for s in services if s in bad_services] or services
            else:
                names.sort(key=lambda h: h not in bad_hosts)
                services.sort(key=lambda s: s not in bad_services)
        rows: list[Row] = []
        region = None
        for host in names:
            own = data.regions.get(host, "")
            if self.ordering != FIRST and own != region:
                region = own
                rows.append(Row(REGION + own, True))
            rows.append(Row(host))
        self.matrix.load(rows, services, f" {plural(len(names), 'host')}")

    # drawing

    def version_of(self, key: str) -> Hashable:
        return self._book, self._versions.get(key, 0)

    def head(self, key: str) -> Sequence[Piece]:
        if key.startswith(REGION):
            region = key.removeprefix(REGION)
            return ((f" {region or 'no region'}", "head"),)
        row = self.board.hosts.get(key)
        if row is None:
            return ((f" {self.look.glyph('failed')} ", "failed"), ("on no host", "failed"))
        word = "" if row.mark == OK else f" {host_word(row)}"
        return ((f" {self.look.glyph(row.mark)} ", row.mark), (row.name, quiet(row.mark)), (word, row.mark))

    def cell(self, key: str, service: str) -> Piece:
        """Glyph of the worst, and the count; glyph, bad ones and all where some are bad."""
        if key.startswith(REGION):
            marks = self.data.total(key.removeprefix(REGION), service)
            count, mark = sum(marks.values()), worst(marks)
            return (str(count), "head" if mark == OK else mark) if count else ("", "faint")
        found = self.data.cell(key, service)
        if not found:
            return self.look.sign("dot"), "faint"
        mark = worst(found.values())
        glyph = self.look.glyph(mark)
        return f"{glyph}{len(found) if len(found) > 1 else ''}", mark

    def name_of(self, service: str) -> Piece:
        return self.board.short(service), "head"

    def heading(self) -> list[Piece]:
        if self.reading and not self.matrix.rows:  # of what is not read yet nothing is said
            return [(" MATRIX", "strong"), ("   ", "text"), ("reading the instances", "changing")]
        hosts = self.board.hosts.values()
        bad = sum(1 for h in hosts if h.mark != OK)
        out: list[Piece] = [(" MATRIX", "strong"), (f"   {plural(len(self.matrix.columns), 'service')}", "muted")]
        first, last = self.matrix.seen()
        if last - first < len(self.matrix.columns):
            out.append((f"   columns {first + 1} to {last}", "changing"))
        if self.ordering != ALL:
            out.append((f"   {self.ordering}", "changing"))
        if self.sought:
            out.append((f"   /{self.sought}", "strong"))
        wrong = len(self.data.troubled_services())
        if bad or wrong:
            parts = [plural(n, word) for n, word in ((bad, "host"), (wrong, "service")) if n]
            verb = "needs" if bad + wrong == 1 else "need"
            out.append((f"   {self.look.glyph('drift')} {' and '.join(parts)} {verb} a look", "drift"))
        else:
            out.append(("   all as expected", "muted"))
        return out

    def show_title(self) -> None:
        self.title_bar.show([self.heading()])

    def show_bottom(self, width: int = 0) -> None:
        super().show_bottom(width)
        if self.cell_bar.is_mounted:
            self.show_title()
            self.show_cell()

    def show_cell(self) -> None:
        """The chosen cell in words."""
        host, service = self.matrix.key, self.matrix.chosen
        if not service or not self.matrix.rows:
            self.cell_bar.show([[("" if self.reading else " nothing to show", "muted")]])
            return
        where, marks = self._counts(host, service)
        words = ", ".join(f"{n} {m}" for m, n in sorted(marks.items(), key=lambda i: -BADNESS.get(i[0], 0)))
        self.cell_bar.show([[
            (f" {self.board.short(service)} on {where}  ", "strong"),
            (words or "none", "text" if worst(marks) == OK else worst(marks)),
        ]])  # fmt: skip

    def _counts(self, host: str, service: str) -> tuple[str, dict[str, int]]:
        if host.startswith(REGION):
            region = host.removeprefix(REGION)
            return f"region {region}" if region else "no region", dict(self.data.total(region, service))
        marks: dict[str, int] = {}
        for mark in self.data.cell(host, service).values():
            marks[mark] = marks.get(mark, 0) + 1
        return host or "no host", marks

    # what the operator does

    def instances(self) -> list[str]:
        return sorted(self.data.cell(self.matrix.key, self.matrix.chosen))

    def aim(self) -> Aim:
        if not self.matrix.rows or self.matrix.key.startswith(REGION):
            return NOTHING
        ids = self.instances()
        return Aim(INSTANCE, tuple(ids)) if ids else Aim(HOST, (self.matrix.key,))

    def subject(self) -> Aim:
        region = self.matrix.key.removeprefix(REGION)
        return Aim("region", (region,)) if self.matrix.key.startswith(REGION) and region else NOTHING

    async def action_open(self) -> None:
        host, service = self.matrix.key, self.matrix.chosen
        where, marks = self._counts(host, service)
        if not marks:
            name = self.board.short(service)
            self.say(f"There is no instance of {name} on {where}; <explain> opens the host.", "paused")
            return
        ids = [] if host.startswith(REGION) else self.instances()
        if len(ids) == 1:
            await self.cockpit.goto(("node", ids[0]))
            return
        if host.startswith(REGION):
            where = equals("region", host.removeprefix(REGION))
        else:
            where = equals("host", host)
        await self.cockpit.goto(("instances", service), where)

    async def action_explain(self) -> None:
        host = self.matrix.key
        if host in self.board.hosts:
            await self.cockpit.goto(("host", host))
        elif host.startswith(REGION):
            await self.cockpit.goto(("hosts", host.removeprefix(REGION)))

    def log_instances(self) -> list[str]:
        return self.instances()

    def action_side(self, way: int) -> None:
        self.matrix.side(way)

    def action_jump(self, way: int) -> None:
        self.matrix.page_column(way)

    def action_wide(self) -> None:
        self.matrix.turn()

    def hint_label(self, id: str, label: str) -> str:
        return "names lying" if id == "wide" and self.matrix.upright else "names upright" if id == "wide" else label

    def action_order(self) -> None:
        self.ordering = ORDERS[(ORDERS.index(self.ordering) + 1) % len(ORDERS)]
        self.regroup()
        self.matrix.move("home")
        self.show_title()

    def action_filter(self) -> None:
        self.begin_field("filter", self.sought)

    def set_filter(self, text: str) -> None:
        self.sought = text
        self.regroup()
        self.show_title()

    def filter_text(self) -> str:
        return self.sought

    def field_note(self) -> str:
        if self._field_kind == "filter":
            return "words of hosts, regions and services   Enter keep   Esc all"
        return super().field_note()
