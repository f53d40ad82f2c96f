"""Memory that was freed goes back to the system.

glibc keeps what is freed between blocks that are in use, and takes new memory where no gap fits: a process that
works for weeks grows though it holds no more. `malloc_trim(3)` returns those gaps.
"""

from __future__ import annotations

import asyncio
import ctypes

EVERY = 60.0
"""Seconds between two trims."""


def trim() -> None:
    """Nothing where the C library knows no `malloc_trim`."""
    found = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if found is not None:
        found(0)


async def trimming() -> None:
    """Until cancelled. In a thread: other threads wait only while their own arena is gone through."""
    while True:
        await asyncio.sleep(EVERY)
        await asyncio.to_thread(trim)
