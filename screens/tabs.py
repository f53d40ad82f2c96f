"""Tabs: each keeps its stack of screens with filter, scroll and selection. One that is not in sight does nothing.

A tab is a mode of Textual. A tab that was restored from the last run is only its addresses until it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from screens.address import Address, write
from screens.aim import NOTHING
from screens.base import ClusterScreen
from screens.command import Go, parse
from screens.format import cells
from screens.look import Piece
from screens.memory import TABS, Layout, Spot, Tab
from screens.overview import OverviewScreen
from screens.spots import spot_of

if TYPE_CHECKING:
    from screens.app import CockpitApp

FIRST = "1"
"""The mode the app begins in."""
WIDE = 28
"""Cells of a tab's name at most."""


class Tabs:
    """The tabs of one app, in their order on the line."""

    def __init__(self, app: CockpitApp) -> None:
        self._app = app
        self._made = 1
        self.order: list[str] = [FIRST]
        self._asleep: dict[str, Tab] = {}
        self._titles: dict[str, str] = {}
        """Of tabs that are not in sight: these change nothing."""

    @property
    def at(self) -> int:
        return self.order.index(self._app.current_mode)

    def stack(self, mode: str) -> list[ClusterScreen]:
        """The cluster screens of a tab, the lowest first."""
        return [s for s in self._app.stack_of(mode) if isinstance(s, ClusterScreen)]

    async def open(self) -> bool:
        """A new tab behind this one, and go there; false when there are as many as have a digit."""
        if len(self.order) >= TABS:
            return False
        self.order.insert(self.at + 1, self._new())
        await self.show(self.at + 1)
        return True

    async def add(self, lines: Sequence[str]) -> None:
        """A tab for each address behind this one, and go to the first; one that is open is not opened again."""
        app = self._app
        addresses = []
        for line in lines:
            try:
                asked = parse(line, app.board, NOTHING)
                if not isinstance(asked, Go):
                    raise ValueError(f"{line} is a verb, not a screen")
            except ValueError as error:
                app.tell(str(error))
                return
            addresses.append(write(Address(asked.words, asked.filter), app.board))
        there = {self.title(mode): mode for mode in self.order}
        new = [a for a in dict.fromkeys(addresses) if a not in there]
        room = TABS - len(self.order)
        if len(new) > room:
            app.tell(f"That needs {len(new)} more tabs, and there is room for {room}: at most {TABS}.", "paused")
            return
        at = self.at + 1
        for number, address in enumerate(new):
            mode = there[address] = self._new()
            self.order.insert(at + number, mode)
            base = (Spot(address="overview"),) if address.partition(" ")[0] != "overview" else ()
            self._asleep[mode] = Tab((*base, Spot(address=address)))
        await self.show(self.order.index(there[addresses[0]]))
        app.show_tabs()

    def _new(self) -> str:
        self._made += 1
        mode = str(self._made)
        self._app.add_mode(mode, OverviewScreen)
        return mode

    async def show(self, number: int) -> None:
        """Go to a tab by its place, 0 the first."""
        mode = self.order[number]
        if mode == self._app.current_mode:
            return
        self._titles[self._app.current_mode] = self.title(self._app.current_mode)
        self._titles.pop(mode, None)
        await self._app.switch_mode(mode)
        asleep = self._asleep.pop(mode, None)
        if asleep is not None:
            await self._wake(asleep)
        self._app.show_tabs()

    async def close(self) -> None:
        """Close this one; the one before it comes into sight. There are at least two."""
        at, gone = self.at, self._app.current_mode
        await self.show(at - 1 if at else 1)
        self.order.remove(gone)
        await self._app.remove_mode(gone)
        self._app.show_tabs()

    # kept for the next run

    def layout(self) -> Layout:
        tabs = []
        for mode in self.order:
            asleep = self._asleep.get(mode)
            spots = (spot_of(screen) for screen in self.stack(mode))
            tabs.append(asleep or Tab(tuple(s for s in spots if s is not None)))
        return Layout(tuple(tabs), self.at)

    async def restore(self, layout: Layout) -> None:
        """The tabs of the last run in place of the one that there is; only the one in sight is made."""
        tabs = layout.tabs[:TABS]
        if not tabs:
            return
        at = min(max(0, layout.at), len(tabs) - 1)
        here = self._app.current_mode
        self.order = [here if n == at else self._new() for n in range(len(tabs))]
        self._asleep = {mode: tab for mode, tab in zip(self.order, tabs, strict=True) if mode != here}
        await self._wake(tabs[at])
        self._app.show_tabs()

    async def _wake(self, tab: Tab) -> None:
        for number, spot in enumerate(tab.stack):
            if number == 0 and spot.address == "overview":
                base = self._app.screen
                if isinstance(base, ClusterScreen):
                    base.stand(spot)
                continue
            if not await self._app.open(spot.address, spot, quiet=True):
                return  # what stood on top of it would stand on something else

    # the line

    def pieces(self, width: int) -> tuple[list[Piece], dict[int, str]]:
        """The line of tabs, and which piece leads to which; nothing when there is one tab only."""
        if len(self.order) < 2:
            return [], {}
        look = self._app.look
        most = max(6, min(WIDE, (width - 1) // len(self.order) - 5))
        pieces: list[Piece] = [(" ", "text")]
        doors: dict[int, str] = {}
        for number, mode in enumerate(self.order):
            here = number == self.at
            name = look.text(self.title(mode))
            if cells(name) > most:
                while cells(name) > most - 1:
                    name = name[:-1]
                name += look.sign("more")
            doors[len(pieces)] = f"tab:{number}"
            sign = look.sign("head") if here else " "
            pieces.append((f"{sign}{number + 1} {name} ", "strong" if here else "muted"))
            pieces.append((look.sign("bar") if number < len(self.order) - 1 else "", "faint"))
        return pieces, doors

    def title(self, mode: str) -> str:
        asleep = self._asleep.get(mode)
        if asleep is not None:
            return asleep.stack[-1].address if asleep.stack else "overview"
        if mode in self._titles:
            return self._titles[mode]
        screens = self.stack(mode)
        return self._app.address_of(screens[-1]) if screens else "overview"


# keys


async def begin_new(screen: ClusterScreen) -> None:
    if not await screen.cockpit.tabs.open():
        close = screen.key_of("tab.close")
        screen.say(f"There are {TABS} tabs, as many as there are digits; {close} closes one.", "paused")


async def begin_close(screen: ClusterScreen) -> None:
    tabs = screen.cockpit.tabs
    if len(tabs.order) < 2:
        screen.say(f"This is the only tab; {screen.key_of('quit')} leaves.", "paused")
    else:
        await tabs.close()


async def begin_before(screen: ClusterScreen) -> None:
    await _step(screen, -1)


async def begin_after(screen: ClusterScreen) -> None:
    await _step(screen, 1)


async def _step(screen: ClusterScreen, way: int) -> None:
    tabs = screen.cockpit.tabs
    if len(tabs.order) < 2:
        _only(screen)
    else:
        await tabs.show((tabs.at + way) % len(tabs.order))


async def begin_number(screen: ClusterScreen) -> None:
    """The key's place among the keys of this binding is the number of the tab."""
    tabs = screen.cockpit.tabs
    keys = screen.keys_of("tab.number")
    number = keys.index(screen.pressed) if screen.pressed in keys else 0
    if len(tabs.order) < 2:
        _only(screen)
    elif number >= len(tabs.order):
        screen.say(f"There is no tab {number + 1}; there are {len(tabs.order)}.", "paused")
    else:
        await tabs.show(number)


def _only(screen: ClusterScreen) -> None:
    screen.say(f"There is one tab; {screen.key_of('tab.new')} opens another.", "paused")


