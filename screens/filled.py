"""The bases of screens of sheets, and of those whose lines are laid out for their width."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult

from screens.base import ClusterScreen
from screens.widgets.bars import Bar
from screens.widgets.sheet import Sheet


class SheetScreen(ClusterScreen):
    """One sheet."""

    def body(self) -> ComposeResult:
        self.sheet = Sheet(id="sheet")
        self.panes = [self.sheet]
        yield self.sheet


class FilledScreen(SheetScreen):
    """A subclass gives `fill`, which does nothing while there is no width yet; it is called when that changes."""

    def fill(self) -> None:
        raise NotImplementedError

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self.fill)


class FactsScreen(FilledScreen):
    """A line of facts above the sheet."""

    def body(self) -> ComposeResult:
        self.facts = Bar(id="facts")
        yield self.facts
        yield from super().body()


class HeadScreen(FilledScreen):
    """Two lines above the sheet."""

    DEFAULT_CSS = "HeadScreen #head { height: 2; }"

    def body(self) -> ComposeResult:
        self.head = Sheet(id="head")
        yield self.head
        yield from super().body()
