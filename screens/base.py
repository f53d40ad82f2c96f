"""The base of every screen: keys, remarks, what is waited for, and the way from a verb to its plan."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType

from cockpit.plan.steps import Bad, Refused
from screens import everywhere, finding, foot, userkeys
from screens.aim import NOTHING, Aim
from screens.board import Changed
from screens.format import wrap
from screens.general import GENERAL
from screens.keys import KeyScreen
from screens.look import Piece
from screens.memory import Spot
from screens.prompt import prompt_ids, prompt_note
from screens.remarks import Message
from screens.sentences import spelled
from screens.spots import stand
from screens.widgets import actionbar
from screens.widgets.bars import Bottom, Hint, TopLine, field_line, remark_lines
from screens.widgets.field import Field
from screens.widgets.grid import Grid
from screens.widgets.lines import Lines

T = TypeVar("T")
BUSY_AFTER = 0.3
"""Seconds of silence before the screen says what it waits for."""
SAY_FOR = 20.0
"""Seconds a remark stays when no key is pressed."""


class ClusterScreen(KeyScreen[None]):
    """Top line, lists, key line. A subclass gives `body`, `sync` and what a row aims at."""

    DEFAULT_CSS = "ClusterScreen { background: $background; color: $foreground; overflow: hidden; }"

    BINDINGS: ClassVar[list[BindingType]] = GENERAL
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
        self._remark: Message | None = None
        self._said = 0.0
        self._drawn_for = -1
        self.pressed = ""
        """The last key, for a binding whose keys mean different things."""
        self._waits: list[tuple[str, float]] = []
        self._field_kind = ""
        self.top_line = TopLine(id="top")
        self.bottom = Bottom(id="bottom")
        self.loads_asked: frozenset[str] | None = None
        """Names whose numbers come (see `loading`); None: all."""

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
        self._drawn_for = self.look.generation
        self.use_pane(self.panes[0])
        self.sync(Changed(whole=True))
        self.show_top()
        self.show_bottom()

    def on_screen_resume(self) -> None:
        if self.panes and self.panes[0].is_mounted:
            finding.stick(self)
            self.look_again()
            self.board_changed(Changed(whole=True))

    def look_again(self) -> None:
        """Theme, glyphs or age of the data changed while this was not seen, or now."""
        if self._drawn_for != self.look.generation:
            self._drawn_for = self.look.generation
            for lines in self.query(Lines):
                lines.look_changed()

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
        if self._remark is not None and time.monotonic() - self._said > SAY_FOR:
            self._remark = None  # an error that nobody saw stays counted
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

    def subject(self) -> Aim:
        """The one thing that the whole screen is about; none on most lists."""
        return NOTHING

    CARD: ClassVar[bool] = False
    """Is the subject meant even when the cursor is on a line of something else?"""

    def door(self) -> Sequence[str]:
        """Where Enter leads."""
        return ()

    def on_lines_moved(self, event: Lines.Moved) -> None:
        self.show_bottom()

    def on_lines_opened(self, event: Lines.Opened) -> None:
        self.app.call_later(self.action_open)  # not by this screen itself: it may go away

    # top and bottom line

    def show_top(self, width: int = 0) -> None:
        if self.top_line.is_attached:  # the clock may tick once more while a screen goes
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
            lines += remark_lines(self._remark.text, self._remark.mark, width, self.look)
        if self.cockpit.comfort.tour is not None:
            lines += self.cockpit.comfort.tour.lines(self, width)
        if (under := self.cockpit.copy) is not None:
            lines.append(under.line(self.look, width))
        if (running := actionbar.for_screen(self, width)) is not None:
            lines.append(running)
        if self.field is not None:
            sign = {"filter": "/", "command": ":"}.get(self._field_kind) or self.field_sign()
            lines += self.field_lines(width)
            lines.append(field_line(sign, self.field, width, self.field_note()))
            self.bottom.show(lines)
            return
        pieces, doors = foot.keys(self, width)
        self.bottom.show([*lines, pieces], {(len(lines), number): what for number, what in doors.items()})

    def field_sign(self) -> str:
        """What stands before the line that is typed, where it is neither a filter nor a command."""
        return ""

    def field_note(self) -> str:
        if self._field_kind == "filter" and isinstance(self.pane, Grid):
            found = f"{len(self.pane.order)} of {len(self.pane.rows)}   "
            return found + prompt_note(self.cockpit, self._field_kind)
        return prompt_note(self.cockpit, self._field_kind)

    def field_lines(self, width: int) -> list[list[Piece]]:
        if self._field_kind == "filter" and self.field is not None:
            return finding.advice(self, self.field.text, width)
        if self._field_kind != "command" or self.field is None:
            return []
        found = self.cockpit.line.complete(self.field.text)
        text = "   ".join(found[:8]) + (self.look.sign("more") if len(found) > 8 else "")
        about = wrap(self.cockpit.line.help(self.field.text), width - 2, 2, self.look.sign("more"))
        return [*([(" " + part, "muted")] for part in about), [("  " + text, "text")]]

    def hints(self) -> list[Hint]:
        return self._hints(self.HINTS)

    def _hints(self, ids: Iterable[str]) -> list[Hint]:
        return foot.hints(self, ids)

    def last_hints(self) -> list[Hint]:
        return foot.last_hints(self)

    def hint_label(self, id: str, label: str) -> str:
        return label

    # remarks and waiting

    def say(self, text: str, mark: str = "drift") -> None:
        """A sentence above the keys, until the next key; `;` shows it again."""
        app = self.cockpit
        text = spelled(self.look.words.say(text), app.own_keys, self.keys_of)
        self._remark = app.messages.say(text, mark, app.board.now, app.address_of(self))
        self._said = time.monotonic()
        self.show_bottom()

    def murmur(self, text: str) -> None:
        """Like `say`, but nothing to read again."""
        app = self.cockpit
        text = spelled(self.look.words.say(text), app.own_keys, self.keys_of)
        self._remark = Message(text, "paused", app.board.now, "", time.monotonic(), 1, True)
        self._said = time.monotonic()
        self.show_bottom()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
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

    async def ask(self, what: str, call: Awaitable[T]) -> T | None:
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
        self.pressed = event.key
        if self._remark is not None:
            self.cockpit.messages.seen(self._remark)
            self._remark = None
            self.show_bottom()
        if self.cockpit.comfort.tour is not None:
            from screens import tour

            if await tour.take_key(self, event):
                return True
        if self.field is None:
            if self.cockpit.travel is not None and await self.cockpit.travel.take_key(self, event):
                return True
            if event.key in self.active_bindings:
                return False
            if await userkeys.take(self, event):
                return True
            from screens.unbound import words

            self.murmur(words(self, event))
            return False
        if event.key in ("ctrl+c", "ctrl+q"):
            return False
        id = prompt_ids(self.cockpit).get(event.key, "")
        if id == "prompt.drop":
            await self.end_field(False)
        elif id == "prompt.keep":
            await self.end_field(True)
        elif self._field_kind == "command" and id:
            self.cockpit.line.recall(self.field, id.removeprefix("prompt."))
            self.show_bottom()
        elif self.field.take(event.key, event.character):
            self.typed()
        elif self._field_kind == "filter" and event.key in ("up", "down", "pageup", "pagedown"):
            self.pane.move(event.key)
        return True

    def take_paste(self, text: str) -> None:
        if self.field is None:
            self.say(
                "Pasted text runs nothing here. Press <command> or <filter> first to paste into a line.", "paused"
            )
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

    def narrow(self, filter: str) -> None:
        """The filter of an address, when it has one."""
        if filter:
            self.set_filter(filter)
            if isinstance(self.pane, Grid) and self.pane.wrong:
                self.say(f"The filter {filter} does not hold: {self.pane.wrong}")
                self.pane.wrong = ""
            self.show_top()
            self.show_bottom()

    def stand(self, spot: Spot) -> None:
        """Stand where the operator stood in another run."""
        stand(self, spot)

    async def open_door(self, what: str) -> None:
        """What a click on a figure, a tab or a key leads to."""
        await foot.open_door(self, what)

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
            await self.cockpit.line.run(self, field.text)

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
        self.cockpit.line.look()
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
            if turn and not self.pane.sort_by:
                self.say("The rows are in their usual order; <sort> sorts by a column.", "paused")
                return
            self.pane.sort(turn)
            self.show_bottom()
        else:
            self.say("These lines have one order only.", "paused")

    def action_wide(self) -> None:
        if isinstance(self.pane, Grid):
            self.pane.widen()

    async def action_everywhere(self, id: str) -> None:
        await everywhere.carry_out(id, self)

    def action_quit(self) -> None:
        self.cockpit.leave()

    async def action_verb(self, name: str) -> None:
        """A verb's key: say why not, or ask what is missing and show the plan."""
        await self.cockpit.begin_verb(self, name, self.aim())
