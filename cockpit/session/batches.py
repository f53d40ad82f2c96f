"""Items that came together go together: a message for each of a thousand lines would cost more than they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")
MOST = 500
AHEAD = 1000
"""Items that wait here for a slow reader; then their source waits."""


async def batched(items: AsyncIterator[T], most: int = MOST) -> AsyncGenerator[list[T], None]:
    """Lists of at most `most`, none of them empty. Raises what `items` raises, after what came before."""
    queue: asyncio.Queue[T] = asyncio.Queue(AHEAD)

    async def pump() -> None:
        try:
            async for item in items:
                await queue.put(item)
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()

    pumping = asyncio.create_task(pump())
    getting: asyncio.Task[T] | None = None
    try:
        while True:
            if queue.empty() and not pumping.done():
                getting = asyncio.create_task(queue.get())
                await asyncio.wait({getting, pumping}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    continue
                batch = [getting.result()]
            elif queue.empty():
                pumping.result()
                return
            else:
                batch = []
            while len(batch) < most and not queue.empty():
                batch.append(queue.get_nowait())
            yield batch
    finally:
        for task in (getting, pumping):
            if task is not None:
                task.cancel()
        await asyncio.gather(pumping, *([getting] if getting else []), return_exceptions=True)
