"""Questions that a person answers: passwords, second factors, passphrases. Answers stay in this process's memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

MAX_TEXT = 500
PATIENCE = 100.0
"""Seconds; servers close the connection of somebody who has not logged in after 120."""


class Prompts:
    """Each question is asked once at a time; `remember` keeps an answer until it turns out to be wrong."""

    def __init__(self, put: Callable[[dict[str, Any]], None]) -> None:
        self._put = put
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[dict[str, Any], asyncio.Future[str | None]]] = {}
        self._same: dict[tuple[str, str], asyncio.Future[str | None]] = {}
        self._kept: dict[tuple[str, str], str] = {}

    @property
    def waiting(self) -> set[str]:
        """Hosts that somebody has to answer for."""
        return {str(frame["host"]) for frame, _ in self._open.values()}

    async def ask(self, host: str, who: str, text: str, *, secret: bool, remember: bool) -> str | None:
        """None: nobody answered, or the question was declined."""
        key = (who, text)
        if remember and key in self._kept:
            return self._kept[key]
        if remember and key in self._same:
            return await asyncio.shield(self._same[key])
        number = next(self._numbers)
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        frame = {"t": "prompt", "id": number, "host": host, "text": text[:MAX_TEXT], "secret": secret}
        self._open[number] = (frame, future)
        if remember:
            self._same[key] = future
        self._put(frame)
        answer: str | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await asyncio.shield(future)
        except TimeoutError:
            pass
        finally:
            del self._open[number]
            self._same.pop(key, None)
            if not future.done():
                future.set_result(None)
        if answer is not None and remember:
            self._kept[key] = answer
        return answer

    def answer(self, number: int, text: str | None) -> None:
        """Of the controller. The first one counts."""
        found = self._open.get(number)
        if found is not None and not found[1].done():
            found[1].set_result(text)

    def wrong(self, who: str) -> None:
        """What was answered for `who` did not open it."""
        for key in [k for k in self._kept if k[0] == who]:
            del self._kept[key]

    def again(self) -> None:
        """For a controller that has just come: everything that waits."""
        for frame, _ in self._open.values():
            self._put(frame)
