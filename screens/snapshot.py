"""One view without a terminal: as linear text, as data, or as a picture of the screen.

The real app runs headless on a real session, so every place and every filter works as it does for an operator.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import msgspec

from cockpit.model.names import near
from cockpit.plan.steps import Bad
from cockpit.ports import Session
from screens import past
from screens.aim import NOTHING
from screens.app import CockpitApp
from screens.base import ClusterScreen
from screens.command import Go, parse
from screens.linear import Spoken, data_of, lists_of, text_of
from screens.places import PLACES
from screens.portrait import html, svg
from screens.widgets.grid import Grid

FORMATS = ("text", "json", "svg", "html")
PAUSE = 0.03
"""Seconds between two looks at whether everything has come."""
QUIET = 6
"""Looks in a row that must find nothing under way and the same picture."""
STREAM = 1.0
"""Seconds that the first item of a stream is waited for: a log that says nothing never ends."""
SPOKEN_SIZE = (500, 60)
"""Text and data are read from the widgets; so wide that no sentence is cut for want of room."""
NO_VIEWS = {
    "quit": "it leaves", "past": "say --at MOMENT with a view", "theme": "say --theme NAME with a view",
    "cp": "it copies a file: `cockpit cp`",
    "page": "the output of this command is it", "save": "say -o FILE with a view",
    "columns": "it is a choice, kept for each view",
    "language": "it is a choice, for the screens alone", "tour": "it leads from view to view",
    "forward": "it is cockpit forward", "forwards": "each running screen has its own; cockpit forward prints its own",
}  # fmt: skip


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A view as it was taken."""

    text: str
    """The whole output in the format asked for."""
    address: str
    """The line that leads there again."""
    wanting: str = ""
    """What had not come when time was up; empty: everything had."""
    remark: str = ""
    """What the screen said, where something was wrong."""


class _Watched:
    """A session that knows what it is waiting for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._open: dict[object, tuple[str, float]] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        if name in ("changes", "who", "close") or not callable(found):
            return found
        return self._stream(name, found) if name in ("logs", "stream") else self._call(name, found)

    def waits(self) -> list[str]:
        """Names of what was asked for and has not come; streams count until their first item, a moment long."""
        now = time.monotonic()
        return [name for name, begun in self._open.values() if not begun or now - begun < STREAM]

    def _call(self, name: str, ask: Any) -> Any:
        async def asked(*args: Any, **named: Any) -> Any:
            mine = object()
            self._open[mine] = (str(args[0]) if name == "call" and args else name, 0.0)
            try:
                return await ask(*args, **named)
            finally:
                self._open.pop(mine, None)

        return asked

    def _stream(self, name: str, ask: Any) -> Any:
        async def asked(*args: Any, **named: Any) -> AsyncIterator[Any]:
            mine = object()
            self._open[mine] = (str(args[0]) if name == "stream" and args else name, time.monotonic())
            try:
                async for item in ask(*args, **named):
                    self._open.pop(mine, None)
                    yield item
            finally:
                self._open.pop(mine, None)

        return asked


async def take(
    session: Session, view: str, *, format: str = "text", size: tuple[int, int] = (120, 40),
    theme: str | None = None, ascii: bool = False, at: str = "", wait: float = 10.0, title: str = "",
) -> Taken:
    """The view of an address as it is typed behind `:`, waiting at most `wait` seconds for its data.

    Raises Bad for an address or a moment that cannot be, ConnectionError when nobody answers, ValueError for a
    theme that does not exist.
    """
    if format not in FORMATS:
        raise Bad(f"no format {format!r}: {', '.join(FORMATS)}")
    name = view.split(" ", 1)[0]
    if name in NO_VIEWS:
        raise Bad(f"{name} is no view: {NO_VIEWS[name]}")
    end = time.monotonic() + wait
    watched = _Watched(session)
    spoken = format in ("text", "json")
    app = CockpitApp(cast(Session, watched), theme=theme, ascii=ascii or spoken, read_only_reason="a snapshot")
    if spoken:
        app.look = Spoken(theme=app.look.theme, ascii=True)
    async with app.run_test(size=SPOKEN_SIZE if spoken else size):
        await _until(lambda: app.board.head is not None or app.board.lost is not None, end)
        if app.board.head is None:
            raise ConnectionError(app.board.lost_why or f"no answer in {wait:g} s")
        if at:
            await _travel(app, at, end)
        screen = await _open(app, view)
        wanting = await _settled(app, screen, watched, end)
        remark = screen._remark
        address = app.address_of(screen)
        taken = Taken(
            text=_written(app, screen, format, address, title), address=address, wanting=wanting,
            remark=remark.text if remark is not None and remark.mark in ("failed", "unknown", "drift") else "",
        )  # fmt: skip
    return taken


async def _travel(app: CockpitApp, at: str, end: float) -> None:
    here = cast(ClusterScreen, app.screen)
    await past.go(app, at.split())
    await _until(lambda: app.travel is not None or here._remark is not None, end)
    if app.travel is None:
        raise Bad(here._remark.text if here._remark is not None else f"no answer about {at}")


async def _open(app: CockpitApp, view: str) -> ClusterScreen:
    """Goes there. Raises Bad with what the app would have said."""
    try:
        asked = parse(view, app.board, NOTHING)
    except ValueError as error:
        name = view.split(" ", 1)[0]
        known = [p for p in PLACES if p not in NO_VIEWS]
        raise Bad(f"no view {name!r}" + near(name, known) if name not in PLACES else str(error)) from None
    if not isinstance(asked, Go):
        raise Bad(f"{view.split(' ', 1)[0]} is a verb, not a view; `cockpit {view}` carries it out")
    before = app.screen
    await app.goto(asked.words, asked.filter)
    screen = app.screen
    if not isinstance(screen, ClusterScreen) or asked.words[0] != screen.NAME:
        said = before._remark.text if isinstance(before, ClusterScreen) and before._remark else ""
        raise Bad(said or f"{view} cannot be opened")
    pane = screen.pane if screen.panes else None
    if asked.filter and isinstance(pane, Grid) and (pane.wrong or pane.sieve.text != asked.filter):
        raise Bad(f"{view}: {pane.wrong or (screen._remark.text if screen._remark else 'the filter does not hold')}")
    return screen


async def _settled(app: CockpitApp, screen: ClusterScreen, watched: _Watched, end: float) -> str:
    """Waits until nothing is under way and the picture stays; else what is wanting at `end`."""
    quiet, last = 0, -1
    while quiet < QUIET:
        waits = [*watched.waits(), *(what for what, _ in screen._waits)]
        waits += ["rows being sifted" for w in screen.query(Grid) if w.busy]
        counts = hash(tuple(w.count() for w in lists_of(screen)))
        quiet = quiet + 1 if not waits and counts == last else 0
        last = counts
        if time.monotonic() > end:
            return ", ".join(dict.fromkeys(waits)) or "the rows still changed"
        await asyncio.sleep(PAUSE)
    for widget in screen.query(Grid):
        widget.settle()
    return ""


async def _until(condition: Any, end: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, end - time.monotonic())):
            while not condition():
                await asyncio.sleep(PAUSE)


def _written(app: CockpitApp, screen: ClusterScreen, format: str, address: str, title: str) -> str:
    head = app.board.head
    assert head is not None
    words = title or f"cockpit: {head.cluster}, {address}"
    if format == "text":
        told = text_of(screen)
        if screen._remark is not None:
            told += ["", f"[{screen._remark.mark}] {screen._remark.text}"]
        return "\n".join([words, *told]) + "\n"
    if format == "json":
        data = {
            "view": address, "cluster": head.cluster, "revision": head.revision, "at": head.now,
            "past": app.travel is not None, **data_of(screen),
        }
        return msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n"
    return svg(app, words) if format == "svg" else html(app, words)
