"""The base of every list: lines drawn one at a time, only those that are seen.

A plain widget with its own offset rather than a `ScrollView`: the header row stays, no scroll
bars have to be drawn in ASCII, and one place decides what moves. A subclass says how many lines
there are, draws one as pieces, and gives each a version; strips are kept by (version, width,
cursor, generation of the look), so that what did not change is not drawn again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.cache import LRUCache
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from screens.format import cells, cut
from screens.look import CURSOR, CURSOR_OFF, PLAIN, Look, Piece

if TYPE_CHECKING:
    from screens.app import CockpitApp

REPAINT = 0.03
"""Seconds between a change of data and its picture: changes that come together are painted once."""
KEPT = 256
"""Strips that a list keeps: a few pages. Each has caches of its own (5 KiB and ten objects for the collector), and
where changes come all the time the old ones are never asked for again."""


def let_go(widget: Widget) -> None:
    """Empty what Textual keeps of a widget that goes: a cache of its own holds on to the last thousand of them,
    each with every line it has drawn, which was 2 MiB a minute."""
    widget._styles_cache.clear()


def same_ground(one: Style, other: Style) -> bool:
    """Do blanks look the same in both styles?"""
    return (
        one.bgcolor == other.bgcolor
        and not (one.reverse or other.reverse or one.underline or other.underline)
    ) or one is other


class Lines(Widget):
    """Any number of lines with a cursor. Not focusable: the screen hands keys to the list in use."""

    DEFAULT_CSS = "Lines { height: 1fr; width: 1fr; }"
    ALLOW_SELECT: ClassVar[bool] = False

    class Moved(Message):
        """The cursor rests on another line, or the line under it became another one."""

        def __init__(self, lines: Lines) -> None:
            self.lines = lines
            super().__init__()

    class Opened(Message):
        def __init__(self, lines: Lines) -> None:
            self.lines = lines
            super().__init__()

    header = 0
    """Lines at the top that do not scroll."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cursor = 0
        self.top = 0
        self.left = 0
        self.in_use = False
        self._dirty: set[int] = set()
        self._timer_on = False
        self._strips: LRUCache[Hashable, Strip] = LRUCache(KEPT)

    def on_unmount(self) -> None:
        let_go(self)
        self._strips.clear()

    # what a subclass gives

    def count(self) -> int:
        raise NotImplementedError

    def version(self, index: int) -> Hashable:
        """Equal versions look equal."""
        raise NotImplementedError

    def draw(self, index: int, width: int) -> Sequence[Piece]:
        raise NotImplementedError

    def draw_header(self, line: int, width: int) -> Sequence[Piece]:
        return ()

    def can_rest(self, index: int) -> bool:
        """May the cursor stand here?"""
        return True

    def tick(self) -> None:
        """A second went by: touch what shows an age."""

    def settle(self) -> None:
        """Take over rows that waited for the operator to move."""

    # drawing

    @property
    def look(self) -> Look:
        return cast("CockpitApp", self.app).look

    @property
    def page(self) -> int:
        return max(1, self.size.height - self.header)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < self.header:
            return self.strip(self.draw_header(y, width), width, PLAIN)
        index = self.top + y - self.header
        if index >= self.count():
            return self.strip((), width, PLAIN)
        row = PLAIN
        if index == self.cursor and self.can_rest(index):
            row = CURSOR if self.in_use else CURSOR_OFF
        key = (self.version(index), width, row, self.look.generation, self.left)
        strip = self._strips.get(key)
        if strip is None:
            strip = self.strip(self.draw(index, width), width, row)
            self._strips[key] = strip
        return strip

    def strip(self, pieces: Sequence[Piece], width: int, row: int) -> Strip:
        """Pieces on one line, cut and padded to the width; its length in cells is known, not measured."""
        look = self.look
        segments: list[Segment] = []
        run, run_style = "", look.style("text", row)
        used = 0
        for text, word in pieces:
            room = width - used
            if room <= 0:
                break
            length = cells(text)
            if length > room:
                text = cut(text, room, look.sign("more"))
                length = cells(text)
            used += length
            # neighbours of one style are one segment, and blanks take their neighbour's: colours of text
            # that is not there would be most of the bytes to the terminal
            style = look.style(word, row)
            if style is run_style or (not text.strip(" ") and same_ground(style, run_style)):
                run += text
            elif not run.strip(" ") and same_ground(style, run_style):
                run, run_style = run + text, style
            else:
                segments.append(Segment(run, run_style))
                run, run_style = text, style
        if used < width:
            blank, style = " " * (width - used), look.style("text", row)
            if same_ground(style, run_style):
                run += blank
            else:
                segments.append(Segment(run, run_style))
                run, run_style = blank, style
        if run:
            segments.append(Segment(run, run_style))
        return Strip(segments, width)

    def touch(self, index: int) -> None:
        """This line looks different now. Painted soon, and only if it is seen."""
        if self.top <= index < self.top + self.page:
            self._dirty.add(index)
            self._paint_soon()

    def touch_all(self) -> None:
        self._dirty.add(-1)
        self._paint_soon()

    def _paint_soon(self) -> None:
        if not self._timer_on and self.is_mounted:
            self._timer_on = True
            self.set_timer(REPAINT, self.paint)

    def paint(self) -> None:
        """Repaint the lines that were touched."""
        self._timer_on = False
        dirty, self._dirty = self._dirty, set()
        if -1 in dirty:
            self.refresh()
            return
        regions = [self._region(i) for i in sorted(dirty) if self.top <= i < self.top + self.page]
        if regions:
            self.refresh(*regions)

    def _region(self, index: int) -> Region:
        return Region(0, index - self.top + self.header, self.size.width, 1)

    def look_changed(self) -> None:
        """Theme or glyphs are others now: nothing kept is right."""
        self._strips.clear()
        self.refresh()

    def refresh_header(self) -> None:
        if self.header:
            self.refresh(Region(0, 0, self.size.width, self.header))

    # moving

    def use(self, on: bool) -> None:
        if self.in_use != on:
            self.in_use = on
            if on:
                self._show(self.cursor)
            self.touch(self.cursor)
            self.refresh_header()

    def move(self, how: str) -> None:
        """One of up, down, pageup, pagedown, home, end."""
        self.settle()
        last = self.count() - 1
        if last < 0:
            return
        target = {
            "up": self.cursor - 1, "down": self.cursor + 1, "pageup": self.cursor - self.page,
            "pagedown": self.cursor + self.page, "home": 0, "end": last,
        }[how]
        back = how in ("up", "pageup", "end")
        self.go(max(0, min(last, target)), back)

    def go(self, index: int, back: bool = False) -> None:
        """Put the cursor on a line, or on the nearest after (before, when `back`) where it may rest."""
        last = self.count() - 1
        step = -1 if back else 1
        spot = index
        while 0 <= spot <= last and not self.can_rest(spot):
            spot += step
        if not 0 <= spot <= last:
            spot = self.cursor if 0 <= self.cursor <= last and self.can_rest(self.cursor) else index
            if step == -1:
                self._show(0)
        old = self.cursor
        self.cursor = spot
        if not self._show(spot) and old != spot and self.is_mounted:
            self.refresh(*(self._region(i) for i in {old, spot} if self.top <= i < self.top + self.page))
        if old != spot:
            self.moved()

    def moved(self) -> None:
        if self.is_mounted:
            self.post_message(self.Moved(self))

    def _show(self, index: int) -> bool:
        """Scroll as little as needed; true when everything was repainted."""
        top = self.top
        if index < top:
            top = index
        elif index >= top + self.page:
            top = index - self.page + 1
        top = max(0, min(top, max(0, self.count() - self.page)))
        return self.scroll_top(top)

    def scroll_top(self, top: int) -> bool:
        if top == self.top:
            return False
        self.top = top
        self.refresh()
        return True

    def shift(self, columns: int) -> None:
        """Scroll sideways, where a subclass draws by `left`."""
        left = max(0, self.left + columns)
        if left != self.left:
            self.left = left
            self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self.resized()
        if self.in_use:
            self._show(self.cursor)
        else:
            self.scroll_top(max(0, min(self.top, self.count() - self.page)))

    def resized(self) -> None:
        """The width or height changed."""

    # the mouse

    def on_click(self, event: events.Click) -> None:
        index = self.top + event.y - self.header
        if event.y < self.header:
            self.click_header(event.x)
        if event.y < self.header or not 0 <= index < self.count() or not self.can_rest(index):
            return
        cast(Any, self.screen).use_pane(self)
        self.go(index)
        if event.chain > 1:
            self.post_message(self.Opened(self))

    def click_header(self, x: int) -> None:
        """A click on the lines that do not scroll."""

    def _on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.scroll_top(max(0, min(self.top + 3, self.count() - self.page)))

    def _on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.scroll_top(max(0, self.top - 3))
