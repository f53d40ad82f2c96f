"""The base of screens whose lines are laid out for their width: they are made anew when that changes."""

from __future__ import annotations

from textual import events

from screens.base import ClusterScreen


class FilledScreen(ClusterScreen):
    """A subclass gives `fill`, which does nothing while there is no width yet."""

    def fill(self) -> None:
        raise NotImplementedError

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self.fill)
