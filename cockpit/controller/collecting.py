"""Python's cyclic collector in a process that holds a whole cluster in memory.

A full run looks at every object there is: a quarter of a second at 100,000 instances, in which nothing else happens.
Nearly all of it is rows that stay, and rows have no cycles. So what has survived a long run is set aside, and the
next ones look at what came since.
"""

from __future__ import annotations

import gc
import time

LONG = 0.02
"""Seconds of CPU from which a full run is long."""
AGAIN = 6 * 3600.0
"""Seconds after which all is looked at once more: a cycle that was set aside whole can only be found then."""


class Collecting:
    """Takes part in the collector from `start` to `stop`. One for a process."""

    def __init__(self) -> None:
        self.aside = 0
        """How often something was set aside."""
        self._since = 0.0
        self._all = time.monotonic()

    def start(self) -> None:
        gc.callbacks.append(self._told)

    def stop(self) -> None:
        gc.callbacks.remove(self._told)
        gc.unfreeze()

    def _told(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._since = time.thread_time()
        else:
            self.ran(time.thread_time() - self._since, time.monotonic())

    def ran(self, seconds: float, now: float) -> None:
        """A full run is over."""
        if now - self._all >= AGAIN:
            self._all = now
            gc.unfreeze()
        elif seconds >= LONG:
            gc.freeze()
            self.aside += 1
