"""The terminal's bell when an alert begins to fire."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from cockpit.model.alert_rows import FIRING
from cockpit.model.view import AlertRow
from screens.format import clean


class Bell:
    """Rings the terminal when an alert begins to fire. COCKPIT_NOTIFY: `bell`, `osc9` (a notice on the desktop of
    terminals that can), both with a comma, or `none`; a bell where it says nothing."""

    def __init__(self, ways: str | None = None) -> None:
        words = os.environ.get("COCKPIT_NOTIFY", "bell") if ways is None else ways
        self.ways = {w.strip() for w in words.split(",")}
        self._heard: set[str] | None = None

    def news(self, alerts: Mapping[str, AlertRow], shown: Callable[[str], str]) -> str:
        """What to write to the terminal now; empty when nothing has begun."""
        firing = {id: row for id, row in alerts.items() if row.state == FIRING}
        heard, self._heard = self._heard, set(firing)
        fresh = [row for id, row in firing.items() if heard is not None and id not in heard]
        if not fresh:
            return ""
        more = f" and {len(fresh) - 1} more" if len(fresh) > 1 else ""
        return self.ring(f"{fresh[0].when} of {shown(fresh[0].group)}: {fresh[0].text}{more}")

    def ring(self, words: str) -> str:
        """What to write to the terminal so that somebody looks."""
        out = "\a" if "bell" in self.ways else ""
        return out + (f"\x1b]9;{clean(f'cockpit: {words}', 200)}\x07" if "osc9" in self.ways else "")
