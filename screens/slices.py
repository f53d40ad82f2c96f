"""Long work a little at a time, so that a key waits for one slice of it at most. No terminal."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Steps = Generator[float, None, T]
"""Yields how much is done (0 to 1) after each little piece; returns what was worked out."""
MANY = 10_000
"""From so many rows on, what takes long for each is done in slices."""
SLICE = 0.004  # seconds; a key waits for one at most
REST = 0.001
CHUNK = 500
"""Rows between two looks at the clock."""
PART = 5000
"""The same, where each takes very little."""
HEAPS = 32
"""Parts that are sorted one after the other."""


async def in_slices(steps: Steps[T], told: Callable[[float], None] = lambda done: None) -> T:
    """What the steps return; `told` hears how much is done."""
    from cockpit.history.patience import resting  # not before the first picture

    with resting():
        while True:
            end = time.perf_counter() + SLICE
            try:
                told(next(steps))
                while time.perf_counter() < end:
                    told(next(steps))
            except StopIteration as found:
                result: T = found.value
                return result
            await asyncio.sleep(REST)


def at_once(steps: Steps[T]) -> T:
    """The same in one piece, where there is little."""
    while True:
        try:
            next(steps)
        except StopIteration as found:
            result: T = found.value
            return result


def sorting(keys: Sequence[T], value: Callable[[T], Any], descending: bool = False) -> Steps[list[T]]:
    """`sorted(keys, key=value, reverse=descending)` in steps: equal values keep their order here too."""
    count = max(1, len(keys))
    values: list[Any] = []
    for start in range(0, len(keys), CHUNK):
        values += [value(key) for key in keys[start : start + CHUNK]]
        yield 0.5 * start / count
    of = values.__getitem__
    edges = sorted(values[:: count // (8 * HEAPS) + 1])[::8]
    heaps: list[list[int]] = [[] for _ in range(2 * len(edges) + 1)]
    for start in range(0, len(values), CHUNK):
        for place, mine in enumerate(values[start : start + CHUNK], start):
            edge = bisect_left(edges, mine)  # what equals an edge is in a heap of its own
            heaps[2 * edge + (edge < len(edges) and edges[edge] == mine)].append(place)
        yield 0.5 + 0.3 * start / count
    out: list[T] = []
    for number in reversed(range(len(heaps))) if descending else range(len(heaps)):
        heap = heaps[number]
        if number % 2 == 0:
            heap.sort(key=of, reverse=descending)
        for start in range(0, len(heap), PART):
            out += [keys[place] for place in heap[start : start + PART]]
            yield 0.8 + 0.2 * len(out) / count
    return out
