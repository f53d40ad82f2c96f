"""A moment in words, in the zone of this machine. What is of another day never reads like today's."""

from __future__ import annotations

import time


def clock(at: float) -> str:
    """The time of day: `14:03:22`."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def date(at: float) -> str:
    """`2026-11-20 14:03:22`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def when(at: float, now: float, room: int = 19) -> str:
    """Of today the time of day; else date and time, or in fewer cells than 19: month, day and time (11; of another
    year the date), in fewer than 11 the date (10)."""
    there, here = time.localtime(at), time.localtime(now)
    if there[:3] == here[:3]:
        return clock(at)
    if room >= 19:
        return date(at)
    return date(at)[5:16] if room >= 11 and there[0] == here[0] else date(at)[:10]
