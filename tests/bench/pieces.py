"""What each callback of a loop costs: a key that comes meanwhile waits for one of them."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

CALM = 1.5
"""Milliseconds of a piece that something does."""


class Pieces:
    """Milliseconds of CPU of callbacks of the loop, from `reset` on."""

    def __init__(self) -> None:
        self.reset()
        self.last = 0.0
        """time.monotonic() after the last piece of CALM milliseconds."""
        plain = self._plain = asyncio.events.Handle._run  # type: ignore[attr-defined]

        def run(handle: Any) -> None:
            before = time.thread_time()
            plain(handle)
            spent = (time.thread_time() - before) * 1e3
            self.total += spent
            if spent > CALM:
                self.last = time.monotonic()
            if spent > self.piece:
                self.piece, self.what = spent, named(handle)

        asyncio.events.Handle._run = run  # type: ignore[attr-defined]
        gc.callbacks.append(self._collected)

    def end(self) -> None:
        asyncio.events.Handle._run = self._plain  # type: ignore[attr-defined]
        gc.callbacks.remove(self._collected)

    def reset(self) -> None:
        self.total, self.piece, self.what, self.gc = 0.0, 0.0, "", 0.0

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._since = time.thread_time()
        else:
            self.gc = max(self.gc, (time.thread_time() - self._since) * 1e3)


def named(handle: Any) -> str:
    """The coroutine at work, or the function."""
    task = getattr(handle._callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return str(task.get_coro().__qualname__)
    return str(getattr(handle._callback, "__qualname__", handle._callback))
