"""The application: one session, one board, a stack of screens."""

from __future__ import annotations

from cockpit.homes import screens_home

from screens import opening  # isort: skip  (before Textual)

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widget import AwaitMount
from textual.worker import Worker

from cockpit.locales import charset
from cockpit.memory import one_arena, trimming
from cockpit.model.view import Snapshot
from cockpit.plan.steps import Bad, Refused
from cockpit.ports import Session
from screens import mouse
from screens.address import Address, write
from screens.aim import NOTHING, Aim
from screens.base import ClusterScreen
from screens.bell import Bell
from screens.board import Board, Changed
from screens.colourless import NoColours
from screens.colours import dumb
from screens.comfort import Comfort
from screens.command import Go, parse
from screens.commandline import CommandLine
from screens.driver import AskingDriver, driver
from screens.forwarding import Forwards
from screens.grounds import QUESTION, Ground
from screens.keys import KeyScreen, personal_keys
from screens.look import Look, choose_ascii
from screens.memory import Memory, Spot
from screens.overview import OverviewScreen
from screens.places import PLACES, made_by
from screens.preload import Preload
from screens.remarks import Messages
from screens.sent import Sent, only_new
from screens.slices import in_slices
from screens.starting import begin_verb
from screens.sweeping import Sweeping
from screens.tabs import FIRST, Tabs
from screens.taste import Taste
from screens.watch import Watch
from screens.widgets.bars import TopLine, lay, top_parts

if TYPE_CHECKING:
    from screens.past import Travel
    from screens.transfer import Under

RETRY = 1.0
"""Seconds between two tries to reach a controller that does not answer."""
PROBE = "●▲"
SOON = 0.05
"""Seconds that the first picture waits for the cluster; then it says that the controller is asked."""
DEEPEST = 30
"""Screens on the stack; the oldest above the overview is left out when there would be more."""


class CockpitApp(App[int], inherit_bindings=False):
    """The screens on one session."""

    ENABLE_COMMAND_PALETTE = False
    mouse_off = False
    """Has the operator given the mouse back to the terminal?"""
    _begun = False
    """Has the first address been opened? Before that nothing is kept."""
    DEFAULT_MODE = FIRST
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {FIRST: OverviewScreen}
    copy: Under | None = None
    """The copy of a file that is under way."""
    away = False
    """The terminal is another program's: nothing may be written to it."""
    pressed_at = 0.0
    """time.monotonic() of the last key."""
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
        memory: Memory | None = None,
        keys: Mapping[str, tuple[str, ...]] | None = None,
        taste: Taste | None = None,
    ) -> None:
        """`address` empty: where the last run ended. `memory` and `taste` keep nothing unless they have a
        directory.
        `keys`: a person's own, as `keymap.load` gives them."""
        self.comfort = Comfort(taste or Taste(), theme)
        super().__init__(driver_class=driver(self.comfort.guessed))
        self.session = session
        self._probing = ascii is None
        encoding = charset(os.environ, sys.__stdout__.encoding) if sys.__stdout__ else "ascii"
        self.comfort.write_in(encoding)
        self.look = Look(
            theme=self.comfort.theme, words=self.comfort.words, ascii=choose_ascii(ascii, encoding)
        )  # fmt: skip
        self.board = Board(clock)
        self._read_only = read_only_reason
        self._address: str | None = address
        self._first: asyncio.Task[Snapshot] | None = None
        self._loaded: Changed | None = None
        self._retry = retry
        self.expecting: Worker[None] | None = None
        self.board.expected.ask = self._look_behind_expected
        self.sticky = ""
        """A filter that holds on every list."""
        self.memory = memory or Memory()
        self.messages = Messages()
        self.sent = Sent()
        self.line = CommandLine(self)
        self.tabs = Tabs(self)
        self._feeder: Any = None
        self.own_keys = dict(keys or {})
        self.prompt_keys: dict[str, str] | None = None
        self.set_keymap({id: ",".join(each) for id, each in self.own_keys.items()})
        self._bell = Bell()
        self.watched = Watch()
        self.forwards = Forwards(self)
        self.travel: Travel | None = None
        """A stay in the past."""
        self.comfort.begin(self)
        self._nothing_coloured = NoColours()

    def get_line_filters(self) -> Sequence[LineFilter]:
        # our styles hold no ANSI colours that would need translating: nothing to filter but in mono
        return [self._nothing_coloured] if self.look.colourless else []

    def on_ready(self) -> None:
        opening.work(keep=True)
        if not self.is_headless:
            self._preload = Preload(self)
            self.run_worker(trimming(), name="trimming")

    async def on_mount(self) -> None:
        self._feeder = self.run_worker(self._feed(), name="feed")
        self.set_interval(1.0, self._tick)
        if not self.is_headless:
            self._sweeping = Sweeping(self)
        mouse.quiet(self)
        self.app_resume_signal.subscribe(self, lambda _: self._resumed())  # after a shell or an editor
        if self._probing and not self.look.ascii and self._driver is not None:
            # on our own screen, before the first paint: the answer comes as an event
            self._driver.write(f"\r{PROBE}\x1b[6n\r\x1b[2K")
        if isinstance(self._driver, AskingDriver):
            self._driver.write(QUESTION)

    def _resumed(self) -> None:
        mouse.quiet(self)
        self.sent.forget()
        self.screen.refresh()

    def on_cursor_position(self, event: events.CursorPosition) -> None:
        """The terminal's answer: where it stands after two status glyphs.

        Terminals for East Asian text may draw them two cells wide, and those without UTF-8 show each of their bytes;
        then only ASCII keeps lines straight.
        """
        if self._probing and event.x >= 2 * len(PROBE):
            self._probing = False
            self.look.ascii = True
            self._look_changed()

    def on_ground(self, event: Ground) -> None:
        self.comfort.ground(event.reply)

    def _look_changed(self) -> None:
        """Draw everything anew."""
        self.look.generation += 1
        self.sent.forget()
        for screen in self._seen():  # the others look when they are seen again
            screen.look_again()
            screen.board_changed(Changed(whole=True))

    # data

    def use(self, session: Session) -> None:
        """Show another session from now on: the past, or live again."""
        self._feeder.cancel()
        self.session = session
        self._feeder = self.run_worker(self._feed(), name="feed")

    async def ask_first(self) -> None:
        """Ask for the cluster before anything is drawn. One that is told at once is in the first picture."""
        self._first = asyncio.ensure_future(self.session.snapshot())
        await asyncio.wait([self._first], timeout=SOON)
        if self._first.done() and self._first.exception() is None:
            self._loaded = self.board.load(self._first.result())

    async def _whole(self) -> Changed:
        """The cluster as it is now, on the board."""
        first, loaded, self._first, self._loaded = self._first, self._loaded, None, None
        return loaded or self.board.load(await (first or self.session.snapshot()))

    async def _feed(self) -> None:
        """Snapshot, then changes, for ever: whatever breaks is begun again."""
        while True:
            why = "the connection was closed"
            try:
                self._show(await self._whole())
                async for delta in self.session.changes():
                    self._show(await in_slices(self.board.applying(delta)))
            except (ConnectionError, OSError, Bad, Refused) as error:
                why = str(error) or why
            self.board.lose(why)
            self._show(Changed())
            await asyncio.sleep(self._retry)

    def _show(self, changed: Changed) -> None:
        """Hand changes to every screen that can be seen."""
        if self.look.fade(self.board.lost is not None):
            self._look_changed()
        quiet = self.travel is not None or self.away
        if (changed.alerts or changed.whole) and self._driver is not None and not quiet:
            self._driver.write(self._bell.news(self.board.alerts, self.board.short))
        if self.watched.things and self.board.lost is None and not quiet:
            self._tell_watched(self.watched.news(self.board))
        for screen in self._seen():
            screen.board_changed(changed)
        if changed.whole and self._address is not None and self.board.head is not None:
            text, self._address = self._address, None
            self.memory.open(self.board.head.cluster)
            self.line.begin(self.board.head.cluster)
            self.run_worker(self._begin(text), name="address")

    def _tell_watched(self, news: list[tuple[str, str]]) -> None:
        for words, mark in news:
            self.tell(words, mark)
        if news and self._driver is not None:
            more = f" and {len(news) - 1} more" if len(news) > 1 else ""
            self._driver.write(self._bell.ring(news[-1][0] + more))

    async def _begin(self, address: str) -> None:
        """Go where the caller asked to begin, or where the last run ended."""
        if address == "overview":
            pass  # it is there, and the operator may have gone on
        elif address:
            await self.open(address)
        else:
            await self.tabs.restore(self.memory.layout)
        self._begun = True
        self.comfort.opened()
        self.show_complaints()

    async def open(self, address: str, spot: Spot | None = None, *, quiet: bool = False) -> bool:
        """Open an address; it never carries out a verb. False, and a remark unless `quiet`, when it cannot be."""
        own = self.line.own
        if address in own.workspaces:
            await self.tabs.add([own.expand(line) for line in own.workspaces[address]])
            return True
        try:
            asked = parse(own.expand(address), self.board, NOTHING)
            if not isinstance(asked, Go):
                raise ValueError(f"{address!r} is a verb, not a screen")
        except ValueError as error:
            if not quiet:
                self.tell(str(error))
            return False
        deep = len(self.screen_stack)
        await self.goto(asked.words, asked.filter, quiet=quiet)
        screen = self.screen
        if spot is not None and isinstance(screen, ClusterScreen):
            screen.stand(spot)
        return not quiet or len(self.screen_stack) > deep

    def address_of(self, screen: ClusterScreen) -> str:
        """The line that leads to this view again."""
        filter = screen.filter_text() if screen.panes else ""
        return write(Address(screen.address(), filter), self.board)

    def show_complaints(self) -> None:
        """What the memory could not read or write."""
        for words in self.memory.complaints:
            self.tell(words)
        self.memory.complaints.clear()

    def stack_of(self, mode: str) -> list[Screen[Any]]:
        """Screens of a tab, also of one that is not in sight."""
        return self._screen_stacks.get(mode, [])

    @property
    def open_screens(self) -> int:
        """Of all tabs."""
        return sum(len(stack) for stack in self._screen_stacks.values())

    def show_tabs(self) -> None:
        for screen in self._seen():
            screen.show_top()

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
        if self.board.expected.wanted:
            self._look_behind_expected()
        self.comfort.tick()
        self._keep()

    def _look_behind_expected(self) -> None:
        from screens import expecting

        expecting.look(self)

    def _keep(self) -> None:
        if self._begun:
            self.memory.keep(self.tabs.layout())

    @property
    def read_only(self) -> str:
        """Why nothing may be changed; empty when it may."""
        return self._read_only or self.session.who.read_only

    def draw_top(self, bar: TopLine, width: int) -> None:
        if self.travel is not None:
            self.travel.draw_top(bar, width)
        elif width:
            left, right = top_parts(self.board, self.session.who, self.read_only, self.look)
            pieces, doors = lay(left, [*self.forwards.parts(self.look), *right], width)
            strip, tabs = self.tabs.pieces(width)
            lines = [pieces, strip] if strip else [pieces]
            bar.show(lines, {(0, n): d for n, d in doors.items()} | {(1, n): d for n, d in tabs.items()})

    def _get_screen(self, screen: Screen[Any] | str) -> tuple[Screen[Any], AwaitMount]:
        found, mounted = super()._get_screen(screen)
        if found._css_update_count < 0:  # new: its style sheets were just read, with the colours as they are
            found._css_update_count = self._css_update_count
        return found, mounted

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        super()._display(screen, only_new(self.sent, renderable, self.size.width))

    # keys, one after the other

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Resize):
            self.sent.forget()
        elif isinstance(event, events.Key):
            self.pressed_at = time.monotonic()
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
        self.leave()

    def leave(self) -> None:
        """End the screens; where they stand is kept."""
        self._keep()
        self.exit(0)

    # going places

    @property
    def deep(self) -> bool:
        return len(self.screen_stack) > 1

    async def goto(self, words: Sequence[str], filter: str = "", *, quiet: bool = False) -> None:
        """Open a screen on top of this one. Esc comes back to exactly here."""
        name, rest = words[0], tuple(words[1:])
        here = self.screen
        from screens.doing import do

        if await do(self, name, rest, filter):
            return
        if name == "overview":
            while self.deep:
                await self.pop_screen()
            here = self.screen
        if isinstance(here, ClusterScreen) and here.address() == (name, *rest):
            here.narrow(filter)
            return
        try:
            make = made_by(name)
            screen = make(*rest) if name != "help" else make(here)
        except KeyError:
            why = f"no screen {name!r}"
        except TypeError:
            why = f"{name} does not take {' '.join(rest)}: it shows {PLACES[name].about}" if rest else (
                f"{name} needs a name, for example an instance or an action; Tab completes it")
        else:
            why = ""
            if len(self.screen_stack) > DEEPEST:
                why = "That is deep enough; <back> goes back, :overview goes to the start."
        if why:
            if not quiet:
                self.tell(why)
            return
        await self.push_screen(screen)
        screen.narrow(filter)

    async def back(self) -> None:
        if self.deep:
            await self.pop_screen()
        else:
            here = self.screen
            key = here.key_of("quit") if isinstance(here, ClusterScreen) else ""
            self.tell(f"This is the overview; {key or ':quit'} leaves.", "paused")

    def tell(self, text: str, mark: str = "drift") -> None:
        """A remark on the screen that is seen."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, ClusterScreen):
                screen.say(text, mark)
                break

    async def begin_verb(
        self, screen: ClusterScreen, name: str, aim: Aim, given: tuple[str, ...] = (),
        values: dict[str, Any] | None = None,
    ) -> None:
        """From a key or a command to the plan: say why not, ask what is missing, show the plan."""
        await begin_verb(self, screen, name, aim, given, values)


async def run_async(
    session: Session, *, read_only_reason: str = "", theme: str | None = None, ascii: bool | None = None,
    address: str = "",
) -> int:
    """Show the screens until the operator leaves; the exit code. `address` empty: where the last run ended.

    Raises ValueError for an unknown theme, and for a file of keys that cannot be used.
    """
    if dumb(os.environ):
        from screens.plain import overview_text

        written = charset(os.environ, sys.stdout.encoding)
        text = overview_text(await session.snapshot(), ascii=choose_ascii(ascii, written))
        sys.stdout.write(text)
        sys.stderr.write("TERM is dumb: this is the overview as text; the screens need a real terminal.\n")
        return 0
    one_arena()  # before the terminal's threads
    keys = personal_keys()
    opening.rest()
    try:
        app = CockpitApp(
            session, read_only_reason=read_only_reason, theme=theme, ascii=ascii, address=address,
            memory=Memory(screens_home()), keys=keys, taste=Taste(screens_home()),
        )
        app.mouse_off = not mouse.wanted(os.environ)
        if measured := os.environ.get("COCKPIT_FRAMES"):
            from screens import frames

            frames.watch(app, Path(measured))
        await app.ask_first()
        code = await app.run_async(mouse=not app.mouse_off)
    finally:
        opening.work()
    return code if code is not None else (app.return_code or 0)


def run(
    session: Session, *, read_only_reason: str = "", theme: str | None = None, ascii: bool | None = None,
    address: str = "",
) -> int:
    """`run_async` in a loop of its own."""
    return asyncio.run(
        run_async(session, read_only_reason=read_only_reason, theme=theme, ascii=ascii, address=address)
    )


opening.work(keep=True)
