"""Driving the app in tests: start it on a canned session, press keys, wait for what must become true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot

from cockpit.act.table import VERBS
from screens.app import CockpitApp
from tests.helpers import PATIENCE
from tests.screens.canned import NOW, CannedSession

SMALL, LARGE = (80, 24), (160, 50)


def make_app(session: CannedSession | None = None, **options: Any) -> CockpitApp:
    options.setdefault("clock", lambda: NOW)
    options.setdefault("ascii", False)
    options.setdefault("retry", 0.02)
    return CockpitApp(session or CannedSession(), **options)


async def until(condition: Callable[[], Any], what: str = "", seconds: float = PATIENCE) -> None:
    """Wait until it is true; fails with what it waited for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never came true: {what or condition}"
        await asyncio.sleep(0.01)


class Driver:
    """The running app, with a few short words for tests."""

    def __init__(self, app: CockpitApp, pilot: Pilot[int], session: Any) -> None:
        self.app = app
        self.pilot = pilot
        self.session = session

    async def press(self, *keys: str) -> None:
        """Keys by name or as their character, all at once; returns when they were handled."""
        for key in keys:
            char = key if len(key) == 1 else {"space": " "}.get(key)
            self.app.post_message(events.Key(_character_to_key(key) if len(key) == 1 else key, char))
        await self.settled()

    async def settled(self) -> None:
        """The app, then the screen on top, have handled everything that was posted before."""
        done = asyncio.Event()
        self.app.call_later(done.set)
        await asyncio.wait_for(done.wait(), PATIENCE)
        done = asyncio.Event()
        self.app.screen.call_after_refresh(done.set)
        await asyncio.wait_for(done.wait(), PATIENCE)

    async def type(self, text: str) -> None:
        await self.press(*text)

    def text(self) -> str:
        """What is on the terminal: the active screen and what shines through."""
        out = []
        for strip in self.app.screen._compositor.render_strips():
            out.append("".join(segment.text for segment in strip).rstrip())
        return "\n".join(out)

    @property
    def name(self) -> str:
        return type(self.app.screen).__name__

    async def sees(self, words: str) -> None:
        await until(lambda: words in self.text(), f"{words!r} on the screen:\n{self.text()}")

    async def at(self, name: str) -> None:
        await until(lambda: self.name == name, f"screen {name}, not {self.name}")


@asynccontextmanager
async def driven(
    size: tuple[int, int] = SMALL, session: CannedSession | None = None, **options: Any
) -> AsyncIterator[Driver]:
    session = session or CannedSession()
    app = make_app(session, **options)
    async with app.run_test(size=size) as pilot:
        driver = Driver(app, pilot, session)
        await until(lambda: app.board.head is not None or app.board.lost is not None, "a first answer")
        if app.board.head is not None:
            first: Any = app.screen_stack[0]
            await until(lambda: first.panes and first.panes[0].count(), "the first rows")
        yield driver


def keyed(verb: str) -> str:
    """The key of a verb, from the table."""
    return VERBS[verb].key


async def to(driver: Driver, key: str) -> None:
    """Put the cursor of the overview's tree on a row."""
    screen: Any = driver.app.screen
    assert screen.tree_list.seek(key)
    await driver.settled()
