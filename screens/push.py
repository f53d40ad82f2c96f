"""A push, live: who has which pieces, how fast, and who lags behind and why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from cockpit.model.pushes import Totals, artifacts_of, standings, tail_of, totals
from cockpit.model.view import ActionRow
from screens.aim import ACTION, NOTHING, Aim
from screens.board import ENDED, Changed
from screens.filled import FilledScreen
from screens.format import cells, when
from screens.keys import key, verb_keys
from screens.look import Piece
from screens.pushing import (
    UNITS,
    Line,
    about,
    counts,
    facts,
    legend,
    line_mark,
    lines_of,
    packed,
    push_columns,
    unit_of,
)
from screens.rows import action_mark, took
from screens.widgets.bars import Bar
from screens.widgets.lines import Lines
from screens.widgets.tree import Tree

CALM = 0.5
"""Seconds between two pictures: figures that change faster cannot be read."""
MANY = 40
"""With more receivers than this, regions begin closed."""


class PushTree(Tree):
    """Regions with their receivers. The order is made anew when the cursor moves, never under it."""

    def settle(self) -> None:
        super().settle()
        if self.order != self.arranged():
            self._arrange()


class PushScreen(FilledScreen):
    """`action` is the push's action, or that of a deploy that moves bytes; the newest one without."""

    NAME = "pushes"
    DEFAULT_CSS = "PushScreen #about { height: 3; }"
    VERB_NAMES = ("pause", "resume", "abort")
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_keys("pause", "resume", "abort"),
        key("o", "sort", "stragglers first", "Those that lag behind first; again: by region.", "sort"),
        key("tab", "pane(1)", "next push", "To the next push that runs or ran lately.", "pane.next"),
        key("s", "steps", "steps", "The steps and the story of this push's action.", "push.steps"),
    ]
    HINTS = (
        "open", "verb.pause", "verb.resume", "verb.abort", "sort", "push.steps", "pane.next", "filter", "command",
    )

    def __init__(self, action: str = "") -> None:
        super().__init__()
        self.asked = f"#{action}" if action and not action.startswith("#") else action
        self.shown = self.asked
        self.flat = False
        self._columns = (UNITS[1], 0.0, 0)
        """What the columns were made for."""
        self._sums = Totals()
        self._drawn = 0.0
        self._later = False
        self._folded = ""
        """The action whose regions were folded at the beginning."""

    def address(self) -> tuple[str, ...]:
        return (self.NAME, self.shown) if self.shown else (self.NAME,)

    def body(self) -> ComposeResult:
        self.facts = Bar(id="facts")
        self.tree_list = PushTree(
            push_columns(self.look, *self._columns), haystack=self._haystack, title="RECEIVER",
            key_of=lambda r: r.key, mark_of=line_mark, id="tree",
        )
        self.about = Bar(id="about")
        self.panes = [self.tree_list]
        yield self.facts
        yield self.tree_list
        yield self.about

    @staticmethod
    def _haystack(line: Line) -> str:
        region = f"{line.row.region} {line.row.phase}" if line.row is not None else ""
        return f"{line.name} {region} {line.standing.mark} {line.standing.word} {line.standing.why}"

    # which push

    def pushes(self) -> list[str]:
        """Actions that move bytes: those that have not ended first, in each the newest first."""
        ids = {row.action for row in self.board.pushes.values()}

        def rank(id: str) -> tuple[bool, float]:
            row = self.board.actions.get(id)
            return row is None or row.state in ENDED, -(row.started if row is not None else 0.0)

        return sorted(ids, key=rank)

    @property
    def row(self) -> ActionRow | None:
        return self.board.actions.get(self.shown)

    # data

    def sync(self, changed: Changed) -> None:
        if not self.shown:
            self.shown = next(iter(self.pushes()), "")
        if changed.whole:
            self.fill()
        elif changed.pushes or self.shown in changed.actions:
            self._soon()

    def _soon(self) -> None:
        """Draw it, at most so often."""
        wait = CALM - (time.monotonic() - self._drawn)
        if wait <= 0:
            self.fill()
        elif not self._later:
            self._later = True
            self.set_timer(wait, self._now)

    def _now(self) -> None:
        self._later = False
        if self.is_attached:
            self.fill()

    def tick(self) -> None:
        self._soon()
        super().tick()

    def fill(self) -> None:
        if not self.size.width or not self.facts.is_mounted:
            return
        self._drawn = time.monotonic()
        board, tree = self.board, self.tree_list
        rows = board.receivers(self.shown)
        unit = unit_of(max((r.to_move for r in rows.values()), default=0) or 1 << 20)
        lines, children = lines_of(rows, board.now, self.flat)
        if self._folded != self.shown and rows:
            self._folded = self.shown
            tree.closed = {k for k in children if k} if len(rows) > MANY else set()
        tail = round(tail_of(rows.values()), 2)
        drawn = (unit, tail, self.size.width)
        if drawn != self._columns:
            self._columns = drawn
            tree.relabel(push_columns(self.look, *drawn))
        if tree.rows.keys() != lines.keys() and not (tree.in_use and tree.rows and tree.cursor):
            tree.plant(lines, children)
        else:
            tree.graft({**dict.fromkeys(tree.rows.keys() - lines.keys()), **lines}, children)
        self._sums = totals(list(rows.values()), standings(rows.values(), board.now))
        self.facts.show(self._facts(len(rows)))
        self.show_about()

    def _facts(self, count: int) -> list[list[Piece]]:
        look, row, width = self.look, self.row, self.size.width
        if not self.shown:
            return [[(" PUSHES", "strong"), ("   nothing is pushed now", "muted")]]
        names = ", ".join(artifacts_of(self.board.receivers(self.shown).values()))
        first: list[Piece] = [(f" PUSH {look.text(names)}", "strong"), (f"   {self.shown}", "text")]
        others = self.pushes()
        if len(others) > 1 and self.shown in others:
            first.append((f", {others.index(self.shown) + 1} of {len(others)} pushes", "muted"))
        if row is not None:
            mark = action_mark(row)
            first += [(f"   {look.glyph(mark)} {row.state}", mark), (f"   {took(row, self.board.now)}", "muted")]
        tree = self.tree_list
        if tree.sieve.text or tree.waiting or tree.gone:
            first += [(f"   {words}", style) for words, style in tree.state_words()]
        if row is not None:
            first.append((f"   by {row.author}, {when(row.started, self.board.now)}", "muted"))
        while sum(cells(words) for words, _ in first) > width and len(first) > 2:
            first.pop()  # what does not fit leaves whole
        if not count:
            words = "no receiver has begun" if row is not None else f"there is no push {self.shown}"
            return [first, [(f"   {words}", "muted")]]
        return [first, *packed(facts(self._sums), width), *packed(counts(self._sums, look), width)]

    def show_about(self) -> None:
        width = self.size.width
        if not width or not self.about.is_mounted:
            return
        line = self.tree_list.current
        rows = about(line, self.look, width) if line is not None else []
        # a long reason is worth more than the legend
        self.about.show([*rows, *[[]] * (2 - len(rows)), legend(self.look)][:3])

    def on_lines_moved(self, event: Lines.Moved) -> None:
        super().on_lines_moved(event)
        self.show_about()

    # what keys mean here

    def aim(self) -> Aim:
        return Aim(ACTION, (self.shown,)) if self.shown else NOTHING

    def door(self) -> Sequence[str]:
        line = self.tree_list.current
        if line is None or line.row is None or line.row.host not in self.board.hosts:
            return ()
        return ("hosts", line.row.host)

    async def action_open(self) -> None:
        line = self.tree_list.current
        if line is not None and line.row is None:
            self.tree_list.fold(line.key not in self.tree_list.closed)
        elif line is not None and line.row is not None and not self.door():
            what = "a relay, not a host" if line.row.relay else "no host of this cluster any more"
            self.say(f"{line.name} is {what}: there is no more to open.", "paused")
        else:
            await super().action_open()

    async def action_explain(self) -> None:
        await self.action_open()

    def action_side(self, way: int) -> None:
        if self.flat:
            super().action_side(way)
        else:
            self.tree_list.fold(way < 0)

    def action_sort(self, turn: bool = False) -> None:
        """By region, or those that lag behind first."""
        self.flat = not self.flat
        self.tree_list.settle()
        lines, children = lines_of(self.board.receivers(self.shown), self.board.now, self.flat)
        self.tree_list.plant(lines, children)
        if self.flat:
            self.tree_list.move("home")
        self.show_bottom()
        self.show_about()

    def action_mark(self) -> None:
        self.say("Verbs here are for the whole push; there is nothing to mark.", "paused")

    def action_pane(self, way: int) -> None:
        """To the next push."""
        ids = self.pushes()
        if len(ids) < 2:
            self.say("This is the only push.", "paused")
            return
        at = ids.index(self.shown) if self.shown in ids else -1
        self.shown = ids[(at + way) % len(ids)]
        self.tree_list.plant(*lines_of(self.board.receivers(self.shown), self.board.now, self.flat))
        self.tree_list.move("home")
        self.fill()
        self.show_bottom()

    async def action_steps(self) -> None:
        if self.row is not None:
            await self.cockpit.goto(("action", self.shown))
        else:
            self.say(f"The action {self.shown or 'of a push'} is not known here.")

    def hint_label(self, id: str, label: str) -> str:
        if id == "sort" and self.flat:
            return "by region"
        if id == "open":
            line = self.tree_list.current
            return "fold" if line is not None and line.row is None else "host"
        return label
