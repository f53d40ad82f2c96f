"""What a key costs on a grid of 100,000 rows: CPU until painted, and bytes to the terminal."""

from __future__ import annotations

import functools
import json

from tests.bench.keeper import place
from tests.bench.table import Figure, measures
from tests.bench.terminal import terminal

NEEDS = ("screens.rows", "screens.widgets.grid")


@functools.cache
def figures() -> dict[str, float]:
    with place() as where, terminal(["-m", "tests.bench.grid_program", str(where / "figures")]) as screen:
        try:
            screen.process.wait(120)
            return dict(json.loads((where / "figures").read_text()))
        except FileNotFoundError:
            raise RuntimeError(screen.seen.decode(errors="replace")[-3000:]) from None


@measures("filter", NEEDS)
def filter_keystroke() -> Figure:
    found = figures()
    return Figure(found["filter"], note=f"CPU; the first reads every row: {found['filter-first']:.0f} ms")


@measures("update", NEEDS)
def update() -> Figure:
    return Figure(figures()["update"], note="CPU")


@measures("cursor", NEEDS)
def cursor() -> Figure:
    return Figure(figures()["cursor"], note="CPU")


@measures("cursor-bytes", NEEDS)
def cursor_bytes() -> Figure:
    return Figure(figures()["cursor-bytes"] / 1e3)


@measures("repaint-bytes", NEEDS)
def repaint_bytes() -> Figure:
    return Figure(figures()["repaint-bytes"] / 1e3)
