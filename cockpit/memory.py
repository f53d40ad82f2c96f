"""A process that works for weeks stays as large as what it holds.

glibc gives threads arenas of their own, and keeps what is freed between blocks that are in use; where no gap fits it
takes new memory. So: one arena for all threads (Python's take turns anyway), and now and then `malloc_trim(3)`, which
returns the gaps to the system.
"""

from __future__ import annotations

import asyncio
import ctypes
from functools import cache
from typing import Any

EVERY = 60.0
"""Seconds between two trims."""
ARENA_MAX = -8
"""M_ARENA_MAX of `mallopt(3)`."""


def one_arena() -> None:
    """For all threads to come: before the first one. Nothing where the C library knows no `mallopt`."""
    if found := _known("mallopt"):
        found(ARENA_MAX, 1)


def trim() -> None:
    """Nothing where the C library knows no `malloc_trim`."""
    if found := _known("malloc_trim"):
        found(0)


@cache
def _known(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None)


async def trimming() -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        await asyncio.to_thread(trim)  # other threads wait only while their own arena is gone through
