"""Time travel: every screen on a past moment, in a frame that cannot be overlooked, and the way back.

The board and the session of the app are exchanged while it lasts; the screens notice nothing. What was on the
board when it began is put back at its end, with cursor, marks and filter of the screen on top.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from textual import events

from cockpit.history.session import PastSession
from cockpit.history.when import EXAMPLES, moment
from cockpit.model import history_rows
from cockpit.model.history_rows import LifeEvent, Moments
from cockpit.plan.steps import Bad, Refused
from screens.base import ClusterScreen
from screens.board import Changed
from screens.format import cells, clock, cut, date, lasting
from screens.look import Piece
from screens.widgets.bars import TopLine
from screens.widgets.grid import Grid

if TYPE_CHECKING:
    from screens.app import CockpitApp

WIDTHS = (120.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0)
"""Seconds that the line of changes may show at once."""
FIRST_WIDTH = 2
WAITING = 4
"""Steps asked for and not yet made; more keys are not remembered."""


async def begin(screen: ClusterScreen) -> None:
    """The key: into the past, at the last change; there, to a moment that is typed."""
    if screen.cockpit.travel is not None:
        screen.begin_field("command", "past ")
    else:
        await enter(screen.cockpit, screen, None)


async def go(app: CockpitApp, words: Sequence[str]) -> None:
    """`:past 14:02`."""
    screen = app.screen
    if not isinstance(screen, ClusterScreen):
        return
    travel = app.travel
    if not words:
        await begin(screen)
        return
    board = travel.saved if travel is not None else vars(app.board)
    now = travel.live_now if travel is not None else app.board.now

    def action(id: str) -> float | None:
        row = board["actions"].get(id)
        return row.started if row is not None else None

    try:
        at = moment(" ".join(words), now, action)
    except ValueError as error:
        screen.say(str(error))
        return
    if travel is not None:
        travel.want(to=at)
    else:
        await enter(app, screen, at)


async def enter(app: CockpitApp, screen: ClusterScreen, at: float | None) -> None:
    """Into the past, or a remark why not. Without a time: to the last change."""
    if screen.NAME == "logs":
        screen.say("What instances logged has no past here. Go back from the log first, then T.")
        return
    if app.board.lost is not None:
        screen.say("The controller does not answer, and it keeps the past.", "unknown")
        return
    session = PastSession(app.session, app.board.now if at is None else at)
    if await screen.ask("asking for the state then", session.snapshot()) is None:
        return
    if at is None and await screen.ask("asking for the last change", session.go(way=-1)) is None:
        return
    if app.screen is screen and app.travel is None:
        app.travel = Travel(app, session, screen)
        app.travel.start()


class Travel:
    """One stay in the past."""

    def __init__(self, app: CockpitApp, session: PastSession, screen: ClusterScreen) -> None:
        self.app = app
        self.session = session
        self.live = app.session
        self.saved: dict[str, Any] = {**vars(app.board), "events": deque(app.board.events, app.board.events.maxlen)}
        self._clock = app.board.clock
        self._place = _place(screen)
        self._depth = len(app.screen_stack)
        self._wanted: deque[dict[str, Any]] = deque(maxlen=WAITING)
        self._awake = asyncio.Event()
        self._workers: list[Any] = []
        self._wide = FIRST_WIDTH
        self._window = (0.0, 0.0)
        self._moments: Moments | None = None

    @property
    def live_now(self) -> float:
        return float(self._clock() + self.saved["_skew"])

    # in and out

    def start(self) -> None:
        board = self.app.board
        board.events = deque(maxlen=0)  # hosts that come and go between two steps are no news
        board.clock = lambda: self.session.at
        kept = self.live_now - self.session.oldest
        self._wide = next((n for n, width in enumerate(WIDTHS[:FIRST_WIDTH]) if width >= kept), FIRST_WIDTH)
        self._centre()
        self.app.use(self.session)
        self._workers = [
            self.app.run_worker(self._work(), name="past"), self.app.run_worker(self._look(), name="density")
        ]

    async def leave(self) -> None:
        """Live again, where it was."""
        app = self.app
        for worker in self._workers:
            worker.cancel()
        app.travel = None
        while len(app.screen_stack) > max(1, self._depth):
            await app.pop_screen()
        board = app.board
        later = board.version + 1  # than whatever was shown of the past
        vars(board).update(self.saved)
        board.version = later
        board.forget()
        for screen in app.screen_stack:
            screen.styles.border = None
        top = app.screen
        if isinstance(top, ClusterScreen):
            top.board_changed(Changed(whole=True))
            _put_back(top, self._place)
            top.board_changed(Changed())
        app.use(self.live)
        self.saved = {}  # two states of a whole cluster do not wait for the collector
        self.session.forget()

    # keys

    async def take_key(self, screen: ClusterScreen, event: events.Key) -> bool:
        """Keys of the scrubber; everything else means what it always means."""
        cell = (self._window[1] - self._window[0]) / max(1, self._cells())
        match event.character or event.key:
            case "h":
                self.want(to=self.session.at - cell)
            case "l":
                self.want(to=self.session.at + cell)
            case "H":
                self.want(way=-1)
            case "L":
                self.want(way=1)
            case "+" | "-" as sign:
                self._wide = max(0, min(len(WIDTHS) - 1, self._wide + (1 if sign == "-" else -1)))
                self._centre()
            case _ if event.key == "escape" and self._home(screen):
                await self.leave()
            case _:
                return False
        return True

    def _home(self, screen: ClusterScreen) -> bool:
        """Does Esc lead back to live here?"""
        if len(self.app.screen_stack) > self._depth:
            return False
        pane = screen.pane
        mine = isinstance(pane, Grid) and bool(pane.marked or pane.sieve.text)
        return not mine or _place(screen).get("said") == self._place.get("said")

    def want(self, **step: Any) -> None:
        self._wanted.append(step)
        self._awake.set()

    async def _go(self, step: dict[str, Any]) -> None:
        """Raises Bad, Refused, ConnectionError."""
        screen = self.app.screen
        with screen.waiting("asking for the state then") if isinstance(screen, ClusterScreen) else nullcontext():
            await self.session.go(**step)

    async def _work(self) -> None:
        """Steps one after the other, however fast the keys come."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            while self._wanted:
                step = self._wanted.popleft()
                before = self.session.at
                try:
                    await self._go(step)
                except (Bad, Refused, ConnectionError) as error:
                    self.app.tell(str(error) or "the controller does not answer", "unknown")
                    continue
                if self.session.at == before and "way" in step:
                    last = "Nothing changed after this." if step["way"] > 0 else "This is the first that is kept."
                    self.app.tell(last, "paused")
                elif "to" in step and abs(self.session.at - step["to"]) > 1.0:
                    self.app.tell(f"Kept is {date(self.session.oldest)} to {date(self.session.newest)}.", "paused")
                self._keep_in_sight()
                await self._shown()
                self._show()

    async def _shown(self) -> None:
        """The board has this moment; who moves through time is not kept waiting for rows that came or went."""
        for _ in range(400):
            head = self.app.board.head
            if head is not None and head.now == self.session.at:
                break
            await asyncio.sleep(0.005)
        screen = self.app.screen
        if isinstance(screen, ClusterScreen):
            for pane in screen.panes:
                pane.settle()
            screen.board_changed(Changed())

    # the line of changes

    def _cells(self) -> int:
        return max(10, self.app.size.width - 24)

    def _centre(self) -> None:
        width = WIDTHS[self._wide]
        end = min(self.session.at + width / 2, max(self.live_now, self.session.at))
        self._window = (end - width, end)
        self._moments = None
        self._look_again()

    def _keep_in_sight(self) -> None:
        start, end = self._window
        if not start <= self.session.at <= end:
            self._centre()

    def _look_again(self) -> None:
        for worker in self._workers[1:]:
            worker.cancel()
        if self._workers:
            self._workers[1:] = [self.app.run_worker(self._look(), name="density")]

    async def _look(self) -> None:
        start, end = self._window
        try:
            self._moments = await history_rows.moments(self.live, start, end, (end - start) / self._cells())
        except (Bad, Refused, ConnectionError):
            return  # steps say what is wrong
        self._show()

    def _show(self) -> None:
        screen = self.app.screen
        if isinstance(screen, ClusterScreen):
            screen.show_top()

    def draw_top(self, bar: TopLine, width: int) -> None:
        """The frame and its head instead of the top line."""
        look = self.app.look
        screen = bar.screen
        if not screen.styles.border_top[0]:
            ground = look.style("alarm").bgcolor
            colour = "ansi_default" if ground is None or look.colourless else ground.name
            screen.styles.border = ("ascii" if look.ascii else "double", colour)
            return  # it is drawn again with the room that is left
        bar.show([self._head(width), self._density(width), self._happened(width)])

    def _head(self, width: int) -> list[Piece]:
        """What moment it is, and the keys; the cluster's name leaves first, then the last keys."""
        look, head, at = self.app.look, self.app.board.head, self.session.at
        today = date(at)[:10] == date(self.live_now)[:10]
        ago = lasting(max(0.0, self.live_now - at))
        left: list[Piece] = [
            (f" THE PAST {look.sign('dot')} {clock(at) if today else date(at)}, {ago} ago ", "alarm")
        ]
        room = width - cells(left[0][0])
        hints: list[Piece] = []
        out = "live" if len(self.app.screen_stack) <= self._depth else "back"
        for key, label in (("Esc", out), ("H L", "change"), ("h l", "step"), ("T", "moment"), ("+ -", "zoom")):
            if cells(key) + cells(label) + 3 <= room:
                hints += [(f" {key}", "topstrong"), (f" {label} ", "top")]
                room -= cells(key) + cells(label) + 3
        name = f" {look.text(head.cluster)} rev {head.revision} " if head is not None else ""
        if cells(name) <= room:
            left.append((name, "topstrong"))
            room -= cells(name)
        return [*left, (" " * max(0, room), "top"), *hints]

    def _density(self, width: int) -> list[Piece]:
        look = self.app.look
        start, end = self._window
        count = self._cells()
        size = (end - start) / count
        levels = look.sign("spark")
        found = self._moments
        most = max((m.total for m in found.moments), default=1) if found else 1
        line: list[Piece] = [(look.sign("dot"), "faint")] * count
        for gap in found.gaps if found else ():
            for n in range(max(0, int((gap.start - start) / size)), min(count, int((gap.end - start) / size) + 1)):
                line[n] = (look.glyph("unknown"), "unknown")
        for each in found.moments if found else ():
            n = int((each.at - start) / size + 0.5)
            if 0 <= n < count:
                line[n] = (levels[min(len(levels) - 1, _level(each.total, most, len(levels)))], "changing")
        at = min(count - 1, max(0, int((self.session.at - start) / size)))
        line[at] = (look.sign("here"), "alarm")
        first, last = _label(start, end - start), _label(end, end - start)
        return [(f" {first} ", "muted"), *line, (f" {last}", "muted")]

    def _happened(self, width: int) -> list[Piece]:
        look, board = self.app.look, self.app.board
        gap = self.session.gap
        if gap is not None:
            text = f"nothing was recorded {date(gap.start)} to {date(gap.end)}: {gap.why}; this is the state before"
            text = cut(look.text(text), width - 4, look.sign("more"))
            return [(f" {look.glyph('unknown')} ", "unknown"), (text, "strong")]
        out: list[Piece] = []
        room = width - 2
        for event in self.session.near:
            words = f" {look.glyph(event.mark)} {look.text(event_text(event, board.short, look.sign('to')))}  "
            if cells(words) > room and out:
                out.append((look.sign("more"), "muted"))
                break
            out.append((cut(words, room, look.sign("more")), "text"))
            room -= cells(words)
            if room <= 0:
                break
        return out or [(f" {look.sign('dot')} nothing changed at exactly this moment", "muted")]


def event_text(event: LifeEvent | history_rows.Difference, short: Any, to: str) -> str:
    name = short(event.name)
    kind = "" if event.table in ("instances", "hosts", "nodes") else f"{history_rows.KINDS[event.table]} "
    if event.how == history_rows.NEW:
        return f"{kind}{name} came: {event.after}"
    if event.how == history_rows.GONE:
        return f"{kind}{name} went: {event.before}"
    return f"{kind}{name} {event.before or 'nothing'} {to} {event.after or 'nothing'}"


def _level(total: int, most: int, levels: int) -> int:
    """By the logarithm: one change is seen beside a thousand."""
    if total <= 1 or most <= 1:
        return 0
    return int((levels - 1) * (total.bit_length() - 1) / max(1, most.bit_length() - 1))


def _label(at: float, width: float) -> str:
    return date(at)[5:16] if width > 86400 else clock(at)[:8] if width <= 600 else clock(at)[:5]


def _place(screen: ClusterScreen) -> dict[str, Any]:
    """Where the operator was: of every list its lines, cursor and marks."""
    panes = []
    for pane in screen.panes:
        spot: dict[str, Any] = {"cursor": pane.cursor, "top": pane.top, "left": pane.left}
        if isinstance(pane, Grid):
            spot |= {"key": pane.key, "marked": set(pane.marked), "filter": pane.sieve.text}
        panes.append(spot)
    said = [(p.get("filter", ""), tuple(sorted(p.get("marked", ())))) for p in panes]
    return {"panes": panes, "said": said}


def _put_back(screen: ClusterScreen, place: dict[str, Any]) -> None:
    for pane, spot in zip(screen.panes, place["panes"], strict=False):
        if isinstance(pane, Grid):
            pane.filter(spot["filter"])
            pane.marked = set(spot["marked"]) & pane.rows.keys()
            if spot["key"] is not None and pane.seek(spot["key"]):
                pane.scroll_top(max(0, pane.cursor - (spot["cursor"] - spot["top"])))
        elif spot["cursor"] < pane.count():
            pane.go(spot["cursor"])
            pane.scroll_top(spot["top"])
        pane.left = spot["left"]
        pane.refresh()


__all__ = ["EXAMPLES", "Travel", "begin", "enter", "event_text", "go"]
