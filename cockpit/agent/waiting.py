"""Waiting with a time limit that never loses a cancellation."""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Optional, TypeVar

T = TypeVar("T")


async def within(work: Awaitable[T], seconds: Optional[float]) -> T:
    """The result of `work`; it is cancelled, and asyncio.TimeoutError raised, after `seconds`.

    `asyncio.wait_for` before Python 3.12 swallows a cancellation that comes in the same round as the
    result, and a loop around it then never ends.
    """
    task: "asyncio.Future[Any]" = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        task.add_done_callback(seen)
        raise
    if done:
        result: T = task.result()
        return result
    task.cancel()
    task.add_done_callback(seen)
    await asyncio.wait({task})  # its `finally` parts are done before we go on
    raise asyncio.TimeoutError


def seen(task: "asyncio.Future[Any]") -> None:
    """It may fail in the moment in which nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
