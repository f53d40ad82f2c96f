"""One host: how it is reached, what is not available there, what it holds, what was done to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from cockpit.model.metrics_rows import Numbers, numbers
from cockpit.model.view import OK, HostRow, InstanceRow
from cockpit.plan.steps import Bad, Refused
from screens.aim import ACTION, HOST, INSTANCE, Aim
from screens.board import Board, Changed
from screens.filled import FactsScreen
from screens.format import cut, fit, latency, pairs, plural, since, wrap
from screens.item import Item, line, text
from screens.keys import verb_keys
from screens.look import Look, Piece
from screens.rows import PRESENT, action_mark, heard, host_word, instance_word, quiet
from screens.widgets.spark import spark_items

FIELD = 10
"""Cells of the names of fields."""
FEW = 8
AGAIN = 5.0
"""Seconds between two looks at its numbers while the screen is open."""
CONNECTIONS = {
    "agent": "its agent dials in", "local": "started here by the controller", "ssh": "no agent: entered by SSH",
}  # fmt: skip


def host_items(row: HostRow, board: Board, look: Look, width: int) -> list[Item]:
    out: list[Item] = []
    for number, words in enumerate(row.trouble):
        parts = wrap(look.text(words), max(20, width - 6), 3, look.sign("more"))
        out.append(Item(((f" {look.glyph('drift')} ", "drift"), (parts[0], "drift")), f"trouble {number}", True))
        out += [text("   " + part, "drift") for part in parts[1:]]
    out += _link(row, board, look, width)
    if row.missing:
        out.append(text(" NOT AVAILABLE HERE", "head"))
        for words in row.missing:
            out += [text("   " + part, "muted") for part in wrap(look.text(words), max(20, width - 4), 3)]
    out += _instances(row, board, look)
    out += _actions(row, board, look)
    if row.releases:
        out.append(text(" RELEASES", "head"))
        out += [text("   " + part, "muted") for part in wrap("  ".join(row.releases), max(20, width - 4), 6)]
    return out


def _field(name: str, words: str, look: Look, width: int, style: str = "text") -> Item:
    shown = cut(look.text(words), max(20, width - FIELD - 4), look.sign("more"))
    return Item((("   " + fit(name, FIELD), "muted"), (shown, style)), f"field {name}", True)


def _link(row: HostRow, board: Board, look: Look, width: int) -> list[Item]:
    out = [text(" LINK", "head")]
    way = CONNECTIONS.get(row.connection, row.connection)
    out.append(_field("reached", f"{way}{_by(row)}", look, width))
    old = heard(row, board)
    ping = f", ping {latency(row.latency)} ms" if row.latency is not None else ""
    words = f"{old}{ping}" if old == "live" else f"last {old} ago" if old else "never"
    out.append(_field("heard", words, look, width, "text" if row.presence in PRESENT else row.mark))
    out.append(_field("address", f"{row.address}   region {row.region}   {pairs(row.labels)}".rstrip(), look, width))
    if row.agent_version or row.agent_pid:
        new = f" {look.sign('to')} {row.upgrading} is being started" if row.upgrading else ""
        pid = f"  pid {row.agent_pid}" if row.agent_pid else ""
        out.append(_field("agent", f"{row.agent_version}{new}{pid}", look, width, "changing" if new else "text"))
    if row.keeper_pid:
        out.append(_field("keeper", f"{row.keeper_version}  pid {row.keeper_pid}".strip(), look, width))
    if row.boot_id:
        out.append(_field("boot", row.boot_id, look, width, "muted"))
    return out


def _by(row: HostRow) -> str:
    parts = [row.transport] if row.transport else []
    if row.path:
        parts.append("through " + ", then ".join(row.path))
    return f" ({' '.join(parts)})" if parts else ""


def _instances(row: HostRow, board: Board, look: Look) -> list[Item]:
    mine: list[InstanceRow] = sorted((i for i in board.instances.values() if i.host == row.name), key=lambda i: i.id)
    here = ("instances", row.name)
    head: list[Piece] = [(" INSTANCES", "head"), (f"   {row.instances} here, {row.want} wanted", "muted")]
    out = [Item(tuple(head), "all", True, here)]
    for each in mine[:FEW]:
        words = f"   {instance_word(each)}  {each.version_actual}  {since(each.since, board.now)}".rstrip()
        out.append(Item((
            (f"   {look.glyph(each.mark)} ", each.mark), (board.short(each.id), quiet(each.mark)),
            (words, "muted" if each.mark == OK else each.mark),
        ), f"instance {each.id}", True, ("node", each.id), Aim(INSTANCE, (each.id,))))  # fmt: skip
    if len(mine) > FEW:
        out.append(Item(((f"   {len(mine) - FEW} more", "muted"),), "more", True, here))
    return out


def _actions(row: HostRow, board: Board, look: Look) -> list[Item]:
    mine = sorted((a for a in board.actions.values() if row.name in a.targets), key=lambda a: -a.started)
    if not mine:
        return []
    out = [text(" ACTIONS", "head")]
    for action in mine[:FEW]:
        mark, title = action_mark(action), board.shorten(look.text(action.title or action.verb))
        out.append(Item((
            (f"   {look.glyph(mark)} ", mark), (f"{action.id} {cut(title, 60, look.sign('more'))}", "text"),
            (f"  {action.state}  by {action.author}", "muted" if mark == OK else mark),
        ), f"action {action.id}", True, ("action", action.id), Aim(ACTION, (action.id,))))  # fmt: skip
    return out


class HostScreen(FactsScreen):
    NAME = "host"
    VERB_NAMES = ("drain", "start")
    BINDINGS: ClassVar[list[BindingType]] = verb_keys("drain", "start")
    HINTS = ("open", "verb.drain", "verb.start", "logs", "go.hosts", "command")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.host = name
        self.numbers: Numbers | None = None
        self._asked = 0.0

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.host)

    def sync(self, changed: Changed) -> None:
        if changed.whole:
            self._asked = 0.0
        self.fill()

    def tick(self) -> None:
        if time.monotonic() - self._asked > AGAIN:
            self._asked = time.monotonic()
            self.run_worker(self._fetch(), name="metrics", exclusive=True)
        self.fill()
        super().tick()

    async def _fetch(self) -> None:
        try:
            self.numbers = await numbers(self.session, "host", self.host)
        except (Bad, Refused, ConnectionError):
            self.numbers = None
        if self.is_attached:
            self.fill()

    def fill(self) -> None:
        width = self.size.width
        if not width or not self.facts.is_mounted:
            return
        row = self.board.hosts.get(self.host)
        if row is None:
            self.facts.show([[(f" {self.host}", "strong"), ("   is not a host of this cluster", "failed")]])
            self.sheet.fill([line((" :hosts shows those that are.", "muted"))])
            return
        self.facts.show([self._facts(row)])
        items = host_items(row, self.board, self.look, width)
        if self.numbers is not None:
            at = next((n for n, i in enumerate(items) if i.key == "all"), len(items))
            items[at:at] = spark_items(self.numbers, self.look, width)
        self.sheet.fill(items)

    def _facts(self, row: HostRow) -> list[Piece]:
        look = self.look
        old = since(row.since, self.board.now)
        out: list[Piece] = [(f" {row.name}", "strong")]
        out.append((f"   {look.glyph(row.mark)} {host_word(row)}{' for ' + old if old else ''}", quiet(row.mark)))
        if row.reason:
            out.append((f"   {look.text(row.reason)}", "muted" if row.mark == OK else row.mark))
        if row.trouble:
            out.append((f"   {plural(len(row.trouble), 'trouble')}", "drift"))
        return out

    CARD = True

    def subject(self) -> Aim:
        return Aim(HOST, (self.host,))

    def aim(self) -> Aim:
        item = self.sheet.current
        return item.aim if item and item.aim else Aim(HOST, (self.host,))

    def door(self) -> Sequence[str]:
        item = self.sheet.current
        return item.door if item else ()

    async def action_explain(self) -> None:
        from screens.explain import unwell

        aim = self.aim()
        if unwell(self.board, aim.kind, aim.ids[0]):
            await self.cockpit.goto(("explain", aim.ids[0]))
        else:
            self.say("Nothing to explain: this is all that is known of the host.", "ok")
