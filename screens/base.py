"""The base of every screen: keys, remarks, what is waited for, and the way from a verb to its plan."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from cockpit.act.table import VERBS
from cockpit.plan.steps import Bad, Refused
from screens import everywhere, finding, userkeys
from screens.aim import NOTHING, Aim, why_not
from screens.board import Changed
from screens.format import wrap
from screens.keys import KEY_NAMES, KeyScreen, go_key, key
from screens.look import Piece
from screens.widgets import actionbar
from screens.widgets.bars import Bottom, Hint, TopLine, field_line, key_line, remark_lines
from screens.widgets.field import Field
from screens.widgets.grid import Grid
from screens.widgets.lines import Lines

BUSY_AFTER = 0.3
"""Seconds of silence before the screen says what it waits for."""
SAY_FOR = 20.0
"""Seconds a remark stays when no key is pressed."""


class ClusterScreen(KeyScreen[None]):
    """Top line, lists, key line. A subclass gives `body`, `sync` and what a row aims at."""

    DEFAULT_CSS = "ClusterScreen { background: $background; color: $foreground; overflow: hidden; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        key("up,k", "move('up')", "up", "One line up.", "move.up"),
        key("down,j", "move('down')", "down", "One line down.", "move.down"),
        key("pageup,ctrl+b", "move('pageup')", "page up", "One page up.", "move.pageup"),
        key("pagedown,ctrl+f", "move('pagedown')", "page down", "One page down.", "move.pagedown"),
        key("home", "move('home')", "first", "To the first line.", "move.home"),
        key("end,G", "move('end')", "last", "To the last line.", "move.end"),
        key("left", "side(-1)", "close", "Close a node, or scroll to the left.", "side.left"),
        key("right", "side(1)", "open", "Open a node, or scroll to the right.", "side.right"),
        key("enter", "open", "open", "Open what is under the cursor.", "open"),
        key("space", "mark", "mark", "Mark the row for a verb; Esc takes marks away.", "mark"),
        key("escape", "back", "back", "Back to exactly where you were.", "back"),
        key("tab", "pane(1)", "other side", "To the next list on this screen.", "pane.next"),
        key("shift+tab", "pane(-1)", "other side", "To the list before on this screen.", "pane.back"),
        key("/", "filter", "filter", "Show only rows with this text; !text: rows without it.", "filter"),
        key(":", "command", "go to", "Type a screen or a verb: `instances web`, `deploy sudoku 1.1.0`.", "command"),
        key("?", "go('help')", "help", "All keys that work here, and all verbs.", "go.help"),
        key("e", "explain", "explain", "Why the row is not well; of one that is: expected beside actual.", "explain"),
        key("l", "logs", "log", "Log of the selection, as it comes.", "logs"),
        key("o", "sort", "sort", "Sort by the next column.", "sort"),
        key("O", "sort(True)", "turn", "Turn the sort direction around.", "sort.turn"),
        key("w", "wide", "wide", "All columns, scrolled by left and right; again: those that fit.", "wide"),
        go_key("g", "graph", "Who calls whom."),
        go_key("i", "instances", "All instances."),
        go_key("h", "hosts", "All hosts."),
        go_key("n", "naming", "Endpoints in the registry."),
        go_key("v", "revisions", "Revisions of what is expected."),
        go_key("a", "actions", "Actions, running and ended."),
        go_key("b", "artifacts", "Builds: versions in the store, their signatures, where they are."),
        go_key("B", "pushes", "The push that runs: pieces per host."),
        *everywhere.bindings(),
        key("q", "quit", "quit", "Leave; the cluster and its actions go on.", "quit"),
    ]
    VERB_NAMES: ClassVar[tuple[str, ...]] = ()
    """Verbs whose keys are bound on this screen."""
    HINTS: ClassVar[tuple[str, ...]] = ()
    """Ids of bindings for the key line, the most important first."""
    LAST: ClassVar[tuple[str, ...]] = ("go.help",)
    NAME: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.panes: list[Lines] = []
        self._at = 0
        self._remark: tuple[str, str, float] | None = None
        self._waits: list[tuple[str, float]] = []
        self._field_kind = ""
        self.top_line = TopLine(id="top")
        self.bottom = Bottom(id="bottom")

    # made of

    def compose(self) -> ComposeResult:
        yield self.top_line
        yield from self.body()
        yield self.bottom

    def body(self) -> ComposeResult:
        raise NotImplementedError

    def sync(self, changed: Changed) -> None:
        """Show what the board holds now; `changed` says which rows to look at."""

    def address(self) -> tuple[str, ...]:
        """The words that lead here again."""
        return (self.NAME,)

    def on_mount(self) -> None:
        finding.begin(self)
        self.use_pane(self.panes[0])
        self.sync(Changed(whole=True))
        self.show_top()
        self.show_bottom()

    def on_screen_resume(self) -> None:
        if self.panes and self.panes[0].is_mounted:
            finding.stick(self)
            self.board_changed(Changed(whole=True))

    def on_resize(self, event: events.Resize) -> None:
        self.show_top(event.size.width)
        self.show_bottom(event.size.width)

    def board_changed(self, changed: Changed) -> None:
        self.sync(changed)
        self.show_top()
        self.show_bottom()

    def tick(self) -> None:
        for pane in self.panes:
            pane.tick()
        if self._remark is not None and time.monotonic() - self._remark[2] > SAY_FOR:
            self._remark = None
        self.show_top()
        self.show_bottom()

    # lists

    @property
    def pane(self) -> Lines:
        return self.panes[self._at]

    def use_pane(self, pane: Lines) -> None:
        self._at = self.panes.index(pane)
        for each in self.panes:
            each.use(each is pane)
        self.show_bottom()

    def aim(self) -> Aim:
        """What a verb acts on: the marked rows, else the row under the cursor."""
        return NOTHING

    def door(self) -> Sequence[str]:
        """Where Enter leads."""
        return ()

    def on_lines_moved(self, event: Lines.Moved) -> None:
        self.show_bottom()

    async def on_lines_opened(self, event: Lines.Opened) -> None:
        await self.action_open()

    # top and bottom line

    def show_top(self, width: int = 0) -> None:
        self.cockpit.draw_top(self.top_line, width or self.size.width)

    def show_bottom(self, width: int = 0) -> None:
        width = width or self.size.width
        if not width or not self.bottom.is_mounted:
            return
        lines: list[list[Piece]] = []
        now = time.monotonic()
        for text, begun in self._waits[-1:]:
            if now - begun >= BUSY_AFTER:
                lines += remark_lines(text + self.look.sign("more"), "changing", width, self.look)
        if self._remark is not None:
            lines += remark_lines(self._remark[0], self._remark[1], width, self.look)
        if (running := actionbar.for_screen(self, width)) is not None:
            lines.append(running)
        if self.field is not None:
            sign = {"filter": "/", "command": ":"}.get(self._field_kind) or self.field_sign()
            lines += self.field_lines(width)
            lines.append(field_line(sign, self.field, width, self.field_note()))
        else:
            lines.append(key_line(self.hints(), self.last_hints(), width, self.look))
        self.bottom.show(lines)

    def field_sign(self) -> str:
        """What stands before the line that is typed, where it is neither a filter nor a command."""
        return ""

    def field_note(self) -> str:
        if self._field_kind == "filter" and isinstance(self.pane, Grid):
            return f"{len(self.pane.order)} of {len(self.pane.rows)}   Enter keep   Esc all"
        return "Tab complete   Enter go   Esc no"

    def field_lines(self, width: int) -> list[list[Piece]]:
        if self._field_kind == "filter" and self.field is not None:
            return finding.advice(self, self.field.text, width)
        if self._field_kind != "command" or self.field is None:
            return []
        found = self.cockpit.complete(self.field.text)
        text = "   ".join(found[:8]) + (self.look.sign("more") if len(found) > 8 else "")
        about = wrap(self.cockpit.command_help(self.field.text), width - 2, 2, self.look.sign("more"))
        return [*([(" " + part, "muted")] for part in about), [("  " + text, "text")]]

    def hints(self) -> list[Hint]:
        return self._hints(self.HINTS)

    def last_hints(self) -> list[Hint]:
        return self._hints((*(("back",) if self.cockpit.deep else ()), *self.LAST))

    def _hints(self, ids: Iterable[str]) -> list[Hint]:
        bound: dict[str, tuple[str, Binding]] = {}
        for name, binding in self.live_bindings():
            bound.setdefault(binding.id or "", (name, binding))
        out: list[Hint] = []
        for id in ids:
            if id not in bound or (self.cockpit.travel is not None and id in ("logs", "go.hosts")):
                continue  # in the past these keys step through time
            name, binding = bound[id]
            label = binding.description
            if not id.startswith("verb."):
                out.append((self.key_name(name), self.hint_label(id, label), True))
                continue
            why = why_not(VERBS[label], self.aim(), self.board, self.cockpit.read_only)
            if not why:
                out.append((self.key_name(name), label, True))
            elif self.cockpit.read_only or self.board.lost is not None:
                out.append((self.key_name(name), label, False))
        return out

    def hint_label(self, id: str, label: str) -> str:
        return label

    def key_name(self, name: str) -> str:
        if name == "enter":
            return self.look.sign("enter")
        return KEY_NAMES.get(name, name)

    # remarks and waiting

    def say(self, text: str, mark: str = "drift") -> None:
        """A sentence above the keys, until the next key."""
        self._remark = (text, mark, time.monotonic())
        self.show_bottom()

    @contextmanager
    def waiting(self, what: str) -> Any:
        """Say what is waited for when it takes longer than a moment."""
        entry = (what, time.monotonic())
        self._waits.append(entry)
        timer = self.set_timer(BUSY_AFTER + 0.02, self.show_bottom)
        try:
            yield
        finally:
            timer.stop()
            self._waits.remove(entry)
            if self.is_attached:
                self.show_bottom()

    async def ask(self, what: str, call: Any) -> Any:
        """Await an answer of the session; None, and a remark, when there is none."""
        try:
            with self.waiting(what):
                return await call
        except (Bad, Refused) as error:
            self.say(str(error), "failed")
        except ConnectionError as error:
            self.say(f"No answer: {error or 'the controller is away'}. Nothing was done.", "unknown")
        return None

    # keys

    async def take_key(self, event: events.Key) -> bool:
        if self._remark is not None:
            self._remark = None
            self.show_bottom()
        if self.field is None:
            if self.cockpit.travel is not None and await self.cockpit.travel.take_key(self, event):
                return True
            return event.key not in self.active_bindings and await userkeys.take(self, event)
        if event.key in ("ctrl+c", "ctrl+q"):
            return False
        if event.key == "escape":
            await self.end_field(False)
        elif event.key == "enter":
            await self.end_field(True)
        elif self._field_kind == "command" and event.key in ("tab", "up", "down"):
            self.cockpit.recall(self.field, event.key)
            self.show_bottom()
        elif self.field.take(event.key, event.character):
            self.typed()
        elif self._field_kind == "filter" and event.key in ("up", "down", "pageup", "pagedown"):
            self.pane.move(event.key)
        return True

    def take_paste(self, text: str) -> None:
        if self.field is None:
            self.say("Pasted text runs nothing here. Press : or / first to paste into a line.", "paused")
            return
        super().take_paste(text)

    def typed(self) -> None:
        if self._field_kind == "filter" and self.field is not None:
            self.set_filter(self.field.text)
        self.show_bottom()

    def set_filter(self, text: str) -> None:
        if isinstance(self.pane, Grid):
            self.pane.filter(text)

    def filter_text(self) -> str:
        return self.pane.sieve.text if isinstance(self.pane, Grid) else ""

    def begin_field(self, kind: str, text: str = "") -> None:
        self.field = Field(text)
        self._field_kind = kind
        self.show_bottom()

    async def end_field(self, keep: bool) -> None:
        field, self.field = self.field, None
        if self._field_kind == "filter":
            if not keep:
                self.set_filter("")
            finding.ended(self)
        self.show_bottom()
        if self._field_kind == "command" and keep and field is not None and field.text.strip():
            await self.cockpit.run_command(self, field.text)

    # actions of bindings

    def action_move(self, how: str) -> None:
        self.pane.move(how)

    def action_side(self, way: int) -> None:
        self.pane.shift(8 * way)

    async def action_open(self) -> None:
        words = self.door()
        if words:
            await self.cockpit.goto(words)

    async def action_explain(self) -> None:
        from screens.explain import begin

        await begin(self)

    def action_mark(self) -> None:
        if isinstance(self.pane, Grid):
            self.pane.mark()
        else:
            self.say("Nothing to mark here; rows of trees and grids can be marked.")

    async def action_back(self) -> None:
        pane = self.pane
        if isinstance(pane, Grid) and pane.unmark():
            return
        if self.filter_text():
            self.set_filter("")
            return
        if finding.let_go(self):
            return
        await self.cockpit.back()

    def action_pane(self, way: int) -> None:
        shown = [p for p in self.panes if p.display]
        if len(shown) < 2:
            self.say("There is one list on this screen.", "paused")
            return
        self.use_pane(shown[(shown.index(self.pane) + way) % len(shown)])

    def action_filter(self) -> None:
        if isinstance(self.pane, Grid):
            self.begin_field("filter", self.filter_text())
        else:
            self.say("There is nothing to filter here.")

    def action_command(self) -> None:
        self.begin_field("command")

    async def action_go(self, where: str) -> None:
        await self.cockpit.goto((where,))

    async def action_logs(self) -> None:
        ids = self.log_instances()
        if ids:
            await self.cockpit.goto(("logs", *ids))
        else:
            self.say("log: no instance is under the cursor.")

    def log_instances(self) -> list[str]:
        """Instances whose logs `l` opens."""
        aim = self.aim()
        if aim.kind == "node":
            return [i for path in aim.ids for i in self.board.under(path)]
        if aim.kind == "host":
            return [i for i, row in self.board.instances.items() if row.host in aim.ids]
        return list(aim.ids) if aim.kind == "instance" else []

    def action_sort(self, turn: bool = False) -> None:
        if isinstance(self.pane, Grid):
            self.pane.sort(turn)
        else:
            self.say("These lines have one order only.", "paused")

    def action_wide(self) -> None:
        if isinstance(self.pane, Grid):
            self.pane.widen()

    async def action_everywhere(self, id: str) -> None:
        await everywhere.carry_out(id, self)

    def action_quit(self) -> None:
        self.app.exit(0)

    async def action_verb(self, name: str) -> None:
        """A verb's key: say why not, or ask what is missing and show the plan."""
        await self.cockpit.begin_verb(self, name, self.aim())
