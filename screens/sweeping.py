"""What a closed screen leaves behind is swept up at once.

A screen with its widgets is rings of some thousand objects, which only a full run of Python's collector frees. Left
to itself that run comes after ten or twenty screens, in the middle of somebody's key, and takes as long as all of
them together. One closed screen is a few milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from contextvars import Context
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from textual.screen import Screen

    from screens.app import CockpitApp

SOON = 0.1
"""Seconds until a closed screen is looked at: it is taken apart, and what lay below it is drawn first."""
APART = 1.0
"""Seconds between two runs at least."""


class Sweeping:
    def __init__(self, app: CockpitApp) -> None:
        self._app = app
        self._top = ref(app.screen)
        self._open = app.open_screens
        self._last = -APART
        self.waits = False
        """A run comes soon."""
        self.runs = 0
        self._modules = len(sys.modules)
        app.screen_change_signal.subscribe(app, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        before, self._top = self._top, ref(screen)
        open_now = self._app.open_screens
        closed, self._open = open_now <= self._open, open_now
        if closed and not self.waits:
            self.waits = True
            self._later(max(SOON, self._last + APART - time.monotonic()), before)

    def _sweep(self, closed: ref[Screen[object]]) -> None:
        screen = closed()
        if screen is not None and screen.is_running:  # its widgets are still being told
            self._later(SOON, closed)
            return
        del screen
        self.waits = False
        self._last = time.monotonic()
        self.runs += 1
        gc.collect()
        if self._app.open_screens == 1 and self._app.travel is None and len(sys.modules) != self._modules:
            # nothing is open but the first screen: what was imported meanwhile stays, and need not be looked through;
            # a moment of the past does not stay
            self._modules = len(sys.modules)
            gc.freeze()

    def _later(self, seconds: float, closed: ref[Screen[object]]) -> None:
        """Not by a timer of Textual's: it would run in the context of the screen that closes, and keep it."""
        asyncio.get_running_loop().call_later(seconds, self._sweep, closed, context=Context())
