"""Laying out a graph of 200 services and 300 dependencies."""

from __future__ import annotations

import random

from tests.bench.table import Figure, measures, median, timed

NODES, EDGES = 200, 300


@measures("graph", needs=["screens.widgets.layout"])
def layout() -> Figure:
    from screens.widgets.layout import lay_out

    chance = random.Random(7)
    labels = {f"s{n}": 14 for n in range(NODES)}
    edges: set[tuple[str, str]] = set()
    while len(edges) < EDGES:  # towards higher numbers, and mostly to near ones
        a = chance.randrange(NODES - 1)
        edges.add((f"s{a}", f"s{min(NODES - 1, a + 1 + int(chance.expovariate(1 / 20)))}"))
    drawn = lay_out(labels, sorted(edges))
    runs = timed(lambda: lay_out(labels, sorted(edges)), 7)
    return Figure(median(runs), note=f"{EDGES} edges, {drawn.width}x{drawn.height} cells")
