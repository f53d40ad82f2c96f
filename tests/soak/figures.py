"""What the numbers of a soak say. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

FLAT = 5.0
"""Percent that memory may grow from the minute it counts to the end."""
COUNTS_FROM = 600.0
"""Seconds: until then caches fill. Shorter runs count from a third on."""
FRAME = 100.0
"""Milliseconds of CPU that 999 pictures of 1,000 may take at most."""
ENOUGH_MEMORY, ENOUGH_FRAMES = 300.0, 1000
"""Seconds of a run, and pictures, below which nothing is judged."""


class Sample(NamedTuple):
    at: float
    """Seconds since the beginning."""
    mib: float


class Growth(NamedTuple):
    percent: float
    """By a line through the samples that count, from its beginning to its end."""
    first: float
    last: float
    """MiB on that line."""


def growth(samples: Sequence[Sample], seconds: float) -> Growth:
    """ValueError for less than two samples that count."""
    start = COUNTS_FROM if seconds >= 2 * COUNTS_FROM else seconds / 3
    counted = [s for s in samples if s.at >= start]
    if len(counted) < 2:
        raise ValueError(f"{len(counted)} samples after {start:.0f} s are too few")
    slope, base = statistics.linear_regression([s.at for s in counted], [s.mib for s in counted])
    first, last = base + slope * counted[0].at, base + slope * counted[-1].at
    return Growth((last - first) / first * 100, first, last)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not pass."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def cause(slow: dict[str, Any]) -> str:
    """Why a picture took long: its largest phase, in words, with what else is known of it."""
    phases: dict[str, float] = slow["phases"]
    words = {
        "data": "changes taken over", "arrange": "rows put in order", "style": "widgets styled", "layout": "laid out",
        "paint": "drawn", "other": "keys and messages handled", "gc0": "garbage collected (young)",
        "gc1": "garbage collected (middle)", "gc2": "garbage collected (all)",
    }  # fmt: skip
    largest = sorted(phases.items(), key=lambda each: -each[1])[:2]
    out = ", ".join(f"{words.get(name, name)} {ms:.0f} ms" for name, ms in largest)
    if slow["modules"]:
        out += f"; first visit, {slow['modules']} modules loaded"
    return out
