"""The application: one session, one board, a stack of screens."""

from __future__ import annotations

from screens import opening  # isort: skip  (before Textual)

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES, Theme

from cockpit.act.table import OBSERVE, VERBS
from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.ports import Session
from screens.aim import NOTHING, Aim, params, targets, why_not
from screens.alerts import Bell
from screens.base import ClusterScreen
from screens.board import Board, Changed
from screens.command import Go, completions, help_for, parse
from screens.keys import KeyScreen
from screens.look import Look, choose_ascii, choose_theme
from screens.overview import OverviewScreen
from screens.places import PLACES, made_by
from screens.widgets.bars import TopLine, join_parts, top_parts
from screens.widgets.field import Field
from screens.widgets.lines import Lines

if TYPE_CHECKING:
    from screens.past import Travel

RETRY = 1.0
"""Seconds between two tries to reach a controller that does not answer."""
PROBE = "●▲"
DEEPEST = 30
"""Screens on the stack; the oldest above the overview is left out when there would be more."""


@lru_cache(1024)
def _without_colour(style: Style) -> Style:
    return Style(
        bold=style.bold, dim=style.dim, italic=style.italic, underline=style.underline, reverse=style.reverse
    )


class NoColours(LineFilter):
    """Takes every colour code out, the default ones too."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(t, None if s is None else _without_colour(s), c) for t, s, c in segments]


class CockpitApp(App[int], inherit_bindings=False):
    """The screens on one session."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,ctrl+q", "leave", "quit", tooltip="Leave; the cluster and its actions go on.",
                id="leave", priority=True, show=False),
    ]

    def __init__(
        self,
        session: Session,
        *,
        read_only_reason: str = "",
        theme: str | None = None,
        ascii: bool | None = None,
        address: str = "overview",
        clock: Callable[[], float] = time.time,
        retry: float = RETRY,
    ) -> None:
        name = choose_theme(theme)
        super().__init__()
        self.session = session
        self._probing = ascii is None
        self.look = Look(
            theme=name, ascii=choose_ascii(ascii, sys.__stdout__.encoding if sys.__stdout__ else "ascii")
        )
        self.board = Board(clock)
        self._read_only = read_only_reason
        self._address = address
        self._retry = retry
        self.sticky = ""
        """A filter that holds on every list."""
        self._history: list[str] = []
        self._recalled = 0
        self._completed: tuple[str, int] = ("", -1)
        self._feeder: Any = None
        self._bell = Bell()
        self.travel: Travel | None = None
        """A stay in the past."""
        self.register_theme(self._textual_theme(name))
        self.theme = f"cockpit-{name}"
        self._nothing_coloured = NoColours()

    def _textual_theme(self, name: str) -> Theme:
        data = self.look.data
        if data["ansi"]:
            # Textual's own widgets ask for variables that only its ansi theme defines
            return replace(BUILTIN_THEMES["ansi-dark"], name=f"cockpit-{name}")
        return Theme(
            name=f"cockpit-{name}",
            primary=data["foreground"],
            foreground=data["foreground"],
            background=data["background"],
            surface=data["background"],
            panel=data["panel"],
            dark=bool(data["dark"]),
        )

    def get_line_filters(self) -> Sequence[LineFilter]:
        # our styles hold no ANSI colours that would need translating: nothing to filter but in mono
        return [self._nothing_coloured] if self.look.colourless else []

    def on_ready(self) -> None:
        opening.work(keep=True)

    def get_default_screen(self) -> Screen[Any]:
        return OverviewScreen()

    async def on_mount(self) -> None:
        self._feeder = self.run_worker(self._feed(), name="feed")
        self.set_interval(1.0, self._tick)
        if self._probing and not self.look.ascii and self._driver is not None:
            # on our own screen, before the first paint: the answer comes as an event
            self._driver.write(f"\r{PROBE}\x1b[6n\r\x1b[2K")

    def on_cursor_position(self, event: events.CursorPosition) -> None:
        """The terminal's answer: where it stands after two status glyphs.

        Terminals for East Asian text may draw them two cells wide; then only ASCII keeps lines straight.
        """
        if self._probing and event.x == 2 * len(PROBE):
            self._probing = False
            self.look.ascii = True
            self._look_changed()

    def _look_changed(self) -> None:
        """Draw everything anew."""
        self.look.generation += 1
        for each in self.screen_stack:
            for lines in each.query(Lines):
                lines.look_changed()
        for screen in self._seen():
            screen.board_changed(Changed(whole=True))

    # data

    def use(self, session: Session) -> None:
        """Show another session from now on: the past, or live again."""
        self._feeder.cancel()
        self.session = session
        self._feeder = self.run_worker(self._feed(), name="feed")

    async def _feed(self) -> None:
        """Snapshot, then changes, for ever: whatever breaks is begun again."""
        while True:
            why = "the connection was closed"
            try:
                self._show(self.board.load(await self.session.snapshot()))
                async for delta in self.session.changes():
                    self._show(self.board.apply(delta))
            except (ConnectionError, OSError, Bad, Refused) as error:
                why = str(error) or why
            self.board.lose(why)
            self._show(Changed())
            await asyncio.sleep(self._retry)

    def _show(self, changed: Changed) -> None:
        """Hand changes to every screen that can be seen."""
        if self.look.fade(self.board.lost is not None):
            self._look_changed()
        if (changed.alerts or changed.whole) and self._driver is not None and self.travel is None:
            self._driver.write(self._bell.news(self.board.alerts, self.board.short))
        for screen in self._seen():
            screen.board_changed(changed)
        if changed.whole and self._address and self.board.head is not None:
            text, self._address = self._address, ""
            self.run_worker(self._open_address(text), name="address")

    async def _open_address(self, text: str) -> None:
        """Go where the caller asked to begin; an address never carries out a verb."""
        try:
            asked = parse(text, self.board, NOTHING)
            if not isinstance(asked, Go):
                raise ValueError(f"{text!r} is a verb, not a screen")
        except ValueError as error:
            self.tell(str(error))
        else:
            await self.goto(asked.words)

    def _seen(self) -> list[ClusterScreen]:
        """The screen on top, and those below it as long as only dialogs cover them."""
        out: list[ClusterScreen] = []
        for screen in reversed(self.screen_stack):
            if isinstance(screen, ClusterScreen):
                if screen.panes and screen.panes[0].is_mounted:
                    out.append(screen)
                break
        return out

    def _tick(self) -> None:
        for screen in self._seen():
            screen.tick()

    @property
    def read_only(self) -> str:
        """Why nothing may be changed; empty when it may."""
        return self._read_only or self.session.who.read_only

    def draw_top(self, bar: TopLine, width: int) -> None:
        if self.travel is not None:
            self.travel.draw_top(bar, width)
        elif width:
            left, right = top_parts(self.board, self.session.who, self.read_only, self.look)
            bar.show([join_parts(left, right, width)])

    # keys, one after the other

    async def on_event(self, event: events.Event) -> None:
        screen = self.screen if self._screen_stack_ready else None
        if isinstance(screen, KeyScreen) and not event.is_forwarded:
            if isinstance(event, events.Key) and await screen.take_key(event):
                return
            if isinstance(event, events.Paste):
                screen.take_paste(event.text)
                return
        await super().on_event(event)

    @property
    def _screen_stack_ready(self) -> bool:
        return bool(self._screen_stacks.get(self.current_mode))

    def action_leave(self) -> None:
        self.exit(0)

    # going places

    @property
    def deep(self) -> bool:
        return len(self.screen_stack) > 1

    async def goto(self, words: Sequence[str]) -> None:
        """Open a screen on top of this one. Esc comes back to exactly here."""
        name, rest = words[0], tuple(words[1:])
        here = self.screen
        if name == "quit":
            self.exit(0)
            return
        if name == "past":
            from screens import past

            await past.go(self, rest)
            return
        if name == "overview":
            while self.deep:
                await self.pop_screen()
            return
        if isinstance(here, ClusterScreen) and here.address() == (name, *rest):
            return
        try:
            make = made_by(name)
        except KeyError:
            self.tell(f"no screen {name!r}")
            return
        try:
            screen = make(*rest) if name != "help" else make(here)
        except TypeError:
            if rest:
                self.tell(f"{name} does not take {' '.join(rest)}: it shows {PLACES[name].about}")
            else:
                self.tell(f"{name} needs a name, for example an instance or an action; Tab completes it")
            return
        if len(self.screen_stack) > DEEPEST:
            self.tell("That is deep enough; Esc goes back, :overview goes to the start.")
            return
        await self.push_screen(screen)

    async def back(self) -> None:
        if self.deep:
            await self.pop_screen()
        else:
            self.tell("This is the overview; q leaves.", "paused")

    def tell(self, text: str, mark: str = "drift") -> None:
        """A remark on the screen that is seen."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, ClusterScreen):
                screen.say(text, mark)
                break

    # the command line

    async def run_command(self, screen: ClusterScreen, text: str) -> None:
        text = text.strip()
        self._history = [*[h for h in self._history if h != text], text][-50:]
        self._recalled = 0
        try:
            asked = parse(text, self.board, screen.aim())
        except ValueError as error:
            screen.say(str(error))
            return
        if isinstance(asked, Go):
            await self.goto(asked.words)
        else:
            await self.begin_verb(screen, asked.verb, asked.aim, asked.targets, asked.params)

    def complete(self, text: str) -> list[str]:
        return [line.rpartition(" ")[2] for line in completions(text.lstrip(), self.board)]

    def command_help(self, text: str) -> str:
        return help_for(text.strip())

    def recall(self, field: Field, key: str) -> None:
        """Tab completes, over and over through what fits; up and down go through history."""
        if key == "tab":
            start, at = self._completed
            found = completions(start, self.board) if at >= 0 else []
            if not (found and field.text == found[at % len(found)]):
                start, at = field.text, -1
                found = completions(start, self.board)
            if found:
                at = (at + 1) % len(found)
                field.set(found[at])
                if len(found) == 1 and " " not in found[0] and found[0] in VERBS:
                    field.insert(" ")
            self._completed = (start, at)
            return
        step = 1 if key == "up" else -1
        self._recalled = max(0, min(len(self._history), self._recalled + step))
        field.set(self._history[-self._recalled] if self._recalled else "")

    # verbs

    async def begin_verb(
        self, screen: ClusterScreen, name: str, aim: Aim, given: tuple[str, ...] = (),
        values: dict[str, Any] | None = None,
    ) -> None:
        """From a key or a command to the plan: say why not, ask what is missing, show the plan."""
        verb = VERBS[name]
        why = why_not(verb, aim, self.board, self.read_only) if aim.kind != "name" else (
            f"{name} is off: {self.read_only}" if self.read_only and verb.risk != OBSERVE else ""
        )
        if why:
            screen.say(why)
            return
        chosen = given or targets(verb, aim, self.board)
        known = {**params(verb, aim), **(values or {})}
        from screens.ask import QUESTIONS, AskScreen

        missing = any(p.required and p.name not in known for p in verb.params)
        if verb.target == "artifact":
            missing = not chosen
        elif name in ("migrate", "abort"):
            missing = not known
        if missing and name in QUESTIONS:
            if aim.kind == "name":
                screen.say(f"{name}: nothing here is called {aim.ids[0]!r}; Tab completes names")
                return
            question = QUESTIONS[name](self, aim)

            async def answered(value: str) -> None:
                answer = {**known, **question.answer(value)}
                await self._plan(screen, name, answer.pop("targets", chosen), answer)

            await self.push_screen(AskScreen(question, answered))
            return
        await self._plan(screen, name, chosen, known)

    async def _plan(self, screen: ClusterScreen, name: str, chosen: tuple[str, ...], values: dict[str, Any]) -> None:
        intent = Intent(verb=name, targets=tuple(chosen), params=values, author=self.session.who.author)
        if name in ("pause", "resume"):
            row = await screen.ask(f"asking to {name} {chosen[0]}", self.session.submit(intent))
            if row is not None:
                screen.say(f"{name} {chosen[0]}: asked, it is {row.state}", "ok")
            return
        from screens.plan import PlanScreen

        await self.push_screen(PlanScreen(intent))


def _dumb(environ: Any) -> bool:
    return environ.get("TERM", "") in ("", "dumb")


async def run_async(
    session: Session, *, read_only_reason: str = "", theme: str | None = None, ascii: bool | None = None,
    address: str = "overview",
) -> int:
    """Show the screens until the operator leaves; the exit code. Raises ValueError for an unknown theme."""
    if _dumb(os.environ):
        from screens.plain import overview_text

        text = overview_text(await session.snapshot(), ascii=choose_ascii(ascii, sys.stdout.encoding))
        sys.stdout.write(text)
        sys.stderr.write("TERM is dumb: this is the overview as text; the screens need a real terminal.\n")
        return 0
    opening.rest()
    try:
        app = CockpitApp(session, read_only_reason=read_only_reason, theme=theme, ascii=ascii, address=address)
        code = await app.run_async(mouse=os.environ.get("COCKPIT_MOUSE") == "1")
    finally:
        opening.work()
    return code if code is not None else (app.return_code or 0)


def run(
    session: Session, *, read_only_reason: str = "", theme: str | None = None, ascii: bool | None = None,
    address: str = "overview",
) -> int:
    """`run_async` in a loop of its own."""
    return asyncio.run(
        run_async(session, read_only_reason=read_only_reason, theme=theme, ascii=ascii, address=address)
    )


opening.work()
