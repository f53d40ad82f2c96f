"""Jump mode: a letter on every line in sight where the cursor may rest. It goes there; as a capital it opens."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget

from screens.base import ClusterScreen
from screens.keys import KeyScreen, key
from screens.look import Look
from screens.widgets.lines import Lines

LETTERS = "asdfghjklqwertyuiopzxcvbnm"


class Target(NamedTuple):
    pane: Lines
    line: int
    x: int
    y: int


def targets(screen: ClusterScreen) -> list[Target]:
    """Lines in sight of every list, top down."""
    out: list[Target] = []
    for pane in screen.panes:
        if not pane.display or not pane.size.height:
            continue
        region = pane.region
        for index in range(pane.top, min(pane.count(), pane.top + pane.page)):
            if pane.can_rest(index):
                out.append(Target(pane, index, region.x, region.y + pane.header + index - pane.top))
    return out


def labels(count: int) -> list[str]:
    """As many different words of one length, short and easy ones first; no more than there are pairs of letters."""
    if count <= len(LETTERS):
        return list(LETTERS[:count])
    return [a + b for a in LETTERS for b in LETTERS][:count]


class Picture(Widget):
    """What the screen showed, with the letters on it."""

    def __init__(self, strips: list[Strip], marks: dict[int, list[tuple[int, str]]], look: Look) -> None:
        super().__init__()
        self._strips = strips
        self._marks = marks
        self._look = look
        self.typed = ""

    def render_line(self, y: int) -> Strip:
        if y >= len(self._strips):
            return Strip([Segment(" " * self.size.width, self._look.style("text"))], self.size.width)
        strip = self._strips[y]
        for x, label in self._marks.get(y, ()):
            if label.startswith(self.typed):
                rest = label[len(self.typed):]
                over = Strip([Segment(rest, self._look.style("caret"))], len(rest))
                strip = Strip.join([strip.crop(0, x), over, strip.crop(x + len(rest), self.size.width)])
        return strip


class JumpScreen(ModalScreen[None], KeyScreen[None], inherit_bindings=False):
    DEFAULT_CSS = "JumpScreen { background: $background; } JumpScreen Picture { width: 100%; height: 100%; }"
    TYPING = True
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "no", "no", "Stay where the cursor is.", "jump.no"),
    ]

    def __init__(self, origin: ClusterScreen, found: list[Target]) -> None:
        super().__init__()
        self.origin = origin
        self._by_label = dict(zip(labels(len(found)), found, strict=False))
        marks: dict[int, list[tuple[int, str]]] = {}
        for label, target in self._by_label.items():
            marks.setdefault(target.y, []).append((target.x, label))
        self.picture = Picture(origin._compositor.render_strips(), marks, origin.look)

    def compose(self) -> ComposeResult:
        yield self.picture

    def on_resize(self, event: events.Resize) -> None:
        if event.size.height != len(self.picture._strips):
            self.app.pop_screen()  # the letters would stand elsewhere

    async def take_key(self, event: events.Key) -> bool:
        if event.key in ("ctrl+c", "ctrl+q") or any(name == event.key for name, _ in self.live_bindings()):
            return False
        letter = (event.character or "").lower()
        typed = self.picture.typed + letter
        target = self._by_label.get(typed)
        if target is not None:
            await self._go(target, (event.character or "").isupper())
        elif letter and any(label.startswith(typed) for label in self._by_label):
            self.picture.typed = typed
            self.picture.refresh()
        else:
            await self.action_no()
            self.origin.say("No such letter was there.", "paused")
        return True

    async def _go(self, target: Target, open: bool) -> None:
        await self.app.pop_screen()
        self.origin.use_pane(target.pane)
        if target.line < target.pane.count():
            target.pane.go(target.line)
            if open:
                await self.origin.action_open()

    async def action_no(self) -> None:
        await self.app.pop_screen()


async def begin(screen: ClusterScreen) -> None:
    for pane in screen.panes:
        pane.paint()  # letters stand on what is there now, not on what a timer would paint soon
    found = targets(screen)
    if not found:
        screen.say("There is nothing in sight to jump to.", "paused")
        return
    await screen.app.push_screen(JumpScreen(screen, found))
