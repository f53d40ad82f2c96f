"""What each picture costs: CPU time from the end of one to the end of the next, and what it was spent on.

Only with COCKPIT_FRAMES=FILE in the environment; without it this module is never imported. FILE gets JSON lines:
{"at", "ms": [...], "deltas", "rows", "screens"} every few seconds, and {"at", "slow": {...}} for a picture that took
longer than COCKPIT_FRAMES_SLOW milliseconds (50): screen, keys since the last picture, milliseconds of each phase,
modules loaded. A phase is the time in its own functions without the phases called from there; `other` is the rest.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.css.stylesheet import Stylesheet
from textual.screen import Screen

from screens.board import Board
from screens.slices import Steps
from screens.widgets.grid import Grid

BATCH = 200
"""Pictures that are written as one line."""
SECONDS = 5.0
"""A line is written at least so often, when there are pictures."""
PHASES: tuple[tuple[Any, str, str], ...] = (
    (Board, "load", "data"),
    (Grid, "_arrange", "arrange"),
    (Stylesheet, "update_nodes", "style"),
    (Screen, "_refresh_layout", "layout"),
    (Screen, "_compositor_refresh", "paint"),
)


class Frames:
    """Notes of one app."""

    def __init__(self, app: Any, out: Path, slow: float) -> None:
        self.app = app
        self.slow = slow
        self.file = os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w")
        self.costs: list[float] = []
        self.deltas = self.rows = 0
        self.screens: dict[str, int] = {}
        """Pictures of each."""
        self.keys: list[str] = []
        self.phases: dict[str, float] = {}
        self.inner: list[float] = []
        """Time of phases inside the one that runs, for each that is open."""
        self.modules = len(sys.modules)
        self.mark = time.process_time()
        self.written = time.monotonic()
        self.first = True

    def note(self, phase: str, seconds: float) -> None:
        if self.inner:
            self.inner[-1] += seconds
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def timed(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            self.inner.append(0.0)
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                inside = self.inner.pop()
                took = time.process_time() - start
                self.phases[phase] = self.phases.get(phase, 0.0) + took - inside
                if self.inner:
                    self.inner[-1] += took

        return wrapper

    def stepped(self, steps: Steps[Any], phase: str) -> Steps[Any]:
        """Work in steps, each of them timed."""
        step = self.timed(steps.__next__, phase)
        while True:
            try:
                done = step()
            except StopIteration as found:
                return found.value
            yield done

    def collected(self, step: str, info: dict[str, int]) -> None:
        """Called by Python's collector."""
        if step == "start":
            self.begun = time.process_time()
        else:
            self.note(f"gc{info['generation']}", time.process_time() - self.begun)

    def painted(self) -> None:
        """A picture went to the terminal."""
        now = time.process_time()
        cost, self.mark = (now - self.mark) * 1e3, now
        if self.first:  # imports, and everything until the first one
            self.first = False
            self._line({"start": round(cost, 1)})
        else:
            self.costs.append(round(cost, 2))
            self.screens[self.screen] = self.screens.get(self.screen, 0) + 1
            if cost > self.slow:
                self._line({"slow": self._slow(cost)})
        self.keys.clear()
        self.phases.clear()
        self.modules = len(sys.modules)
        if len(self.costs) >= BATCH or time.monotonic() > self.written + SECONDS:
            self.flush()

    @property
    def screen(self) -> str:
        return type(self.app.screen).__name__ if self.app.screen_stack else ""

    def _slow(self, cost: float) -> dict[str, Any]:
        parts = {phase: round(seconds * 1e3, 1) for phase, seconds in self.phases.items() if seconds > 5e-4}
        parts["other"] = round(cost - sum(parts.values()), 1)
        return {
            "ms": round(cost, 1), "screen": self.screen, "keys": self.keys[-20:], "phases": parts,
            "modules": len(sys.modules) - self.modules,
        }  # fmt: skip

    def flush(self) -> None:
        if self.costs or self.deltas:
            self._line({"ms": self.costs, "deltas": self.deltas, "rows": self.rows, "screens": self.screens})
            self.costs, self.deltas, self.rows, self.screens = [], 0, 0, {}
        self.written = time.monotonic()

    def _line(self, entry: dict[str, Any]) -> None:
        self.file.write(json.dumps({"at": round(time.time(), 2), **entry}) + "\n")
        self.file.flush()


def watch(app: Any, out: Path) -> Frames:
    """Measure this app from now on, until the process ends. OSError when the file cannot be written."""
    frames = Frames(app, out, float(os.environ.get("COCKPIT_FRAMES_SLOW", "50")))
    for owner, name, phase in PHASES:
        setattr(owner, name, frames.timed(getattr(owner, name), phase))
    display, event, applying = app._display, app.on_event, app.board.applying

    def shown(*args: Any) -> None:
        display(*args)
        if len(args) > 1 and args[1] is not None:
            frames.painted()

    async def arrived(what: Any) -> None:
        if key := getattr(what, "key", ""):
            frames.keys.append(key)
        await event(what)

    def applied(delta: Any) -> Any:
        frames.deltas += 1
        frames.rows += len(delta.instances) + len(delta.hosts)
        return frames.stepped(applying(delta), "data")

    app._display, app.on_event, app.board.applying = shown, arrived, applied
    gc.callbacks.append(frames.collected)
    atexit.register(frames.flush)
    return frames
