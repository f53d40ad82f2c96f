"""One instance: what is expected beside what is, and what led here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from cockpit.explain.wrong import BAD
from cockpit.model.metrics_rows import Numbers, numbers
from cockpit.model.states import LIVE
from cockpit.model.view import OK, InstanceDetail, InstanceRow, NodeRow
from cockpit.plan.steps import Bad, Refused
from screens.aim import ACTION, INSTANCE, NODE, Aim
from screens.board import Board, Changed
from screens.filled import FactsScreen
from screens.format import cells, cut, fit, plural, since
from screens.item import BLANK, Item, line, text
from screens.keys import key, verb_keys
from screens.look import Look, Piece
from screens.overview import VERB_NAMES
from screens.rows import action_mark, heard, instance_word, lately_unwell, quiet
from screens.widgets.spark import process_items, spark_items

LIVE_NAMES = frozenset(state.name for state in LIVE)
AGAIN = 2.0
"""Seconds between two looks at the last log lines while the screen is open."""


def detail_items(detail: InstanceDetail, board: Board, look: Look, width: int) -> list[Item]:
    """Expected beside actual, then runs, exits, health, dependencies, actions and the last log lines."""
    out = _diffs(detail, board, look, width)
    row = detail.row
    more = look.sign("more")
    if row.runs:
        out.append(text(" RUNS", "head"))
        for run in row.runs[:12]:
            began = f", {since(run.started, board.now)} ago" if run.started else ""
            pid = f"  pid {run.pid}" if run.pid else ""
            words = f"   #{run.run} {run.state.lower()}  {run.version}  on {run.host}{pid}{began}"
            # a run that lives has no end: what is known is how the one before it ended
            ended = ("  the one before: " if run.state in LIVE_NAMES else "  ") + look.text(run.exit)
            out.append(line((words, "text"), (ended if run.exit else "", "muted")))
    if detail.exits:
        out.append(text(" EXITS", "head"))
        out += [text("   " + look.text(words)) for words in detail.exits[:8]]
    if detail.depends:
        out.append(text(" CALLS", "head"))
        for node in detail.depends:
            out.append(Item((
                ("   " + look.glyph(node.mark) + " ", node.mark), (board.short(node.path), "text"),
                (f"   {node.have} of {node.want} healthy{_differs(node)}", "muted" if node.mark == OK else node.mark),
            ), f"node {node.path}", True, ("instances", node.path), Aim(NODE, (node.path,))))
    users = board.users(row.service)
    if users:
        out.append(text(" CALLED BY", "head"))
        for path in users:
            out.append(
                Item(
                    (("   " + board.short(path), "text"),),
                    f"user {path}",
                    True,
                    ("instances", path),
                    Aim(NODE, (path,)),
                )
            )
    if detail.probe:
        out.append(text(" IT SAYS OF ITSELF", "head"))
        out.append(text("   " + look.text("  ".join(f"{k} {v}" for k, v in sorted(detail.probe.items())))))
    if detail.actions:
        out.append(text(" ACTIONS", "head"))
        for action in detail.actions[:8]:
            mark = action_mark(action)
            title = board.shorten(look.text(action.title or action.verb))
            out.append(Item((
                ("   " + look.glyph(mark) + " ", mark), (f"{action.id} {cut(title, 60, more)}", "text"),
                (f"  {action.state}  by {action.author}", "muted" if mark == OK else mark),
            ), f"action {action.id}", True, ("action", action.id), Aim(ACTION, (action.id,))))
    out.append(text(" LAST LOG LINES", "head"))
    if detail.last_lines:
        for number, words in enumerate(detail.last_lines[-10:]):
            out.append(
                Item(
                    (("   " + look.text(words), "text"),),
                    f"log {number}",
                    True,
                    ("logs", row.id),
                    Aim(INSTANCE, (row.id,)),
                )
            )
    else:
        out.append(text("   none", "muted"))
    return out


def _differs(node: NodeRow) -> str:
    if node.mark == OK:
        return ""
    return f", {plural(node.drift, 'difference') if node.drift else node.mark}"


def _fresh(host: str, board: Board) -> str:
    row = board.hosts.get(host)
    if row is None:
        return ""
    old = heard(row, board)
    return ", live" if old == "live" else f", {old} ago" if old else ", no answer"


def _expected(by: str, room: int) -> str:
    """`EXPECTED (rev 42, li@jump-1, 14:02)` with as many of its parts as fit."""
    parts = by.split(", ") if by else []
    while parts and cells(words := f"EXPECTED ({', '.join(parts)})") > room:
        parts.pop()
    return words if parts else "EXPECTED"


def _diffs(detail: InstanceDetail, board: Board, look: Look, width: int) -> list[Item]:
    room = max(20, width - 3 - 12 - 2)
    left = min(max([20, *(cells(look.text(d.expected)) for d in detail.diffs)]) + 2, room // 2)
    right = room - left
    more = look.sign("more")
    host = detail.row.host or "nowhere"
    actual = f"ACTUAL ({host}{_fresh(host, board)})"
    left = max(left, min(cells(f"EXPECTED ({detail.expected_by})") + 2, room // 2))
    right = room - left
    by = _expected(detail.expected_by, left - 2)
    out = [line((" " * 15, "head"), (fit(by, left), "head"), (cut(actual, right, more), "head"))]
    for diff in detail.diffs:
        mark = "ok" if diff.same else (detail.row.mark if detail.row.mark != OK else "drift")
        sign = " " if diff.same else look.glyph(mark)
        expected, found = look.text(diff.expected), look.text(diff.actual)
        note = look.text(diff.note)
        if note and cells(found) + 3 + cells(note) <= right:
            found, note = f"{found}   {note}", ""
        pieces: tuple[Piece, ...] = (
            (f" {sign} ", mark), (fit(diff.field, 12), "muted" if diff.same else "strong"),
            (fit(expected, left - 2, more) + "  ", "muted" if diff.same else "text"),
            (cut(found, right, more), "text" if diff.same else mark),
        )
        out.append(Item(pieces))
        if note:
            out.append(line((" " * (15 + left), "text"), (cut(note, right, more), mark)))
    told = "\n".join(f"{d.actual}\n{d.note}" for d in detail.diffs)
    for drift in detail.drift:
        if drift.reason and drift.reason not in told:
            out.append(
                line((f" {look.glyph('drift')} ", "drift"), (f"{drift.kind}: {look.text(drift.reason)}", "drift"))
            )
    out.append(BLANK)
    return out


class NodeScreen(FactsScreen):
    NAME = "node"
    VERB_NAMES = tuple(n for n in VERB_NAMES if n != "drain")
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys(*VERB_NAMES),
        key("=", "then", "earlier", "What was expected of it at earlier revisions.", "node.then"),
    ]
    HINTS = (
        "logs",
        "verb.restart",
        "verb.migrate",
        "verb.converge",
        "verb.stop",
        "verb.start",
        "verb.deploy",
        "verb.adopt",
        "verb.signal",
        "open",
        "explain",
        "life",
        "node.then",
        "command",
    )

    def __init__(self, id: str) -> None:
        super().__init__()
        self.instance = id
        self.detail: InstanceDetail | None = None
        self.numbers: Numbers | None = None
        self._asked = 0.0
        self._gone = ""

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.instance)

    def sync(self, changed: Changed) -> None:
        if changed.whole or self.instance in changed.instances:
            self._look_again()
        self.fill()

    def tick(self) -> None:
        if time.monotonic() - self._asked > AGAIN:
            self._look_again()
        self.fill()
        super().tick()

    def _look_again(self) -> None:
        self._asked = time.monotonic()
        self.run_worker(self._fetch(), name="node", exclusive=True)

    async def _fetch(self) -> None:
        try:
            with self.waiting(f"asking for {self.board.short(self.instance)}"):
                self.detail = await self.session.instance(self.instance)
            self._gone = ""
        except (Bad, Refused) as error:
            self._gone = str(error)
        except ConnectionError:
            return  # the top line says that nobody answers
        try:
            self.numbers = await numbers(self.session, "instance", self.instance)
        except (Bad, Refused, ConnectionError):
            self.numbers = None
        if self.is_attached:
            self.fill()

    def fill(self) -> None:
        width = self.size.width
        if not width or not self.facts.is_mounted:
            return
        row = self.board.instances.get(self.instance) or (self.detail.row if self.detail else None)
        self.facts.show([self._facts(row)])
        if self.detail is not None:
            items = detail_items(self.detail, self.board, self.look, width)
            if self.numbers is not None:
                at = next((n for n, i in enumerate(items) if i.pieces == ((" LAST LOG LINES", "head"),)), len(items))
                items[at:at] = [
                    *spark_items(self.numbers, self.look, width), *process_items(self.numbers.processes, self.look),
                ]
            self.sheet.fill(items)
        elif self._gone:
            self.sheet.fill([text(f" {self.look.text(self._gone)}", "failed")])

    def _facts(self, row: InstanceRow | None) -> list[Piece]:
        look = self.look
        out: list[Piece] = [(" " + self.board.short(self.instance), "strong")]
        if row is None:
            return [*out, ("   not there any more" if self._gone else f"   asking{look.sign('more')}", "changing")]
        out.append((f" on {row.host}" if row.host else " on no host", "text"))
        old = since(row.since, self.board.now)
        out.append((f"   {look.glyph(row.mark)} {instance_word(row)}{' ' + old if old else ''}", quiet(row.mark)))
        count = sum(1 for d in self.detail.diffs if not d.same) if self.detail else 0
        if count:
            out.append((f"   {plural(count, 'difference')}", row.mark if row.mark != OK else "drift"))
        if row.desired == "SHUTDOWN":
            out.append(("   stopped on purpose", "muted"))
        if row.pinned:
            out.append((f"   held on the host: {look.text(row.pinned)}", "paused"))
        return out

    def subject(self) -> Aim:
        return self.aim()

    def aim(self) -> Aim:
        return Aim(INSTANCE, (self.instance,))

    def door(self) -> Sequence[str]:
        item = self.sheet.current
        return item.door if item else ()

    async def action_then(self) -> None:
        head = self.board.head.revision if self.board.head else 0
        if head < 2:
            self.say("There is one revision only.", "paused")
        else:
            await self.cockpit.goto(("then", self.instance))

    async def action_explain(self) -> None:
        """Why it is not well; of what is well, this is all there is to say."""
        row = self.board.instances.get(self.instance)
        if row is not None and (row.mark in BAD or lately_unwell(self.board, row.id)):
            await self.cockpit.goto(("explain", self.instance))
        else:
            self.say("Nothing to explain: this is expected beside actual.", "ok")
