"""What the first picture did not need is imported while nobody presses a key: the first use of it is then quick.

An import holds the interpreter, whichever thread does it: so one module at a time, and none soon after a key.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextvars import Context
from importlib import import_module
from typing import TYPE_CHECKING

from screens.everywhere import KEYS
from screens.places import PLACES

if TYPE_CHECKING:
    from screens.app import CockpitApp

AFTER = 1.0
"""Seconds without a key, also from the first picture on, before the first module."""
APART = 0.05
"""Seconds between two modules: what came meanwhile is drawn."""
FIRST = (
    "cockpit.explain.asked", "cockpit.explain.causes", "screens.ask", "screens.plan", "yaml", "zoneinfo",
    "cockpit.model.kinds", "cockpit.model.check", "cockpit.model.fields", "screens.palette",
)  # fmt: skip
"""Before all screens: what is pressed most, and the large pieces that screens stand on, each by itself."""


def modules() -> list[str]:
    """Everything that a key or an address may need, the likeliest first."""
    places = [place.where for place in PLACES.values()]
    keys = [each.run for each in KEYS.values()]
    return list(dict.fromkeys([*FIRST, *(where.partition(":")[0] for where in (*places, *keys) if where)]))


class Preload:
    def __init__(self, app: CockpitApp) -> None:
        self._app = app
        self.left = modules()[::-1]
        """Modules to come, the next one at the end."""
        self._later(AFTER)

    def _step(self) -> None:
        if not self._app.is_running:
            return
        calm = time.monotonic() - self._app.pressed_at
        if calm < AFTER:
            self._later(AFTER - calm)
            return
        while self.left and self.left[-1] in sys.modules:
            self.left.pop()
        if self.left:
            import_module(self.left.pop())
            self._later(APART)
        else:
            self._app.board.in_order()  # of very many instances the first look takes as long as a picture

    def _later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._step, context=Context())
