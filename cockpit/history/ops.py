"""The ops of the history: `moments`, `past`, `past_step`, `between`, `lives`. They only look."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cockpit.history.lives import life
from cockpit.history.reading import History
from cockpit.history.recording import Recorder
from cockpit.model.view import Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

T = TypeVar("T")
PART = 500
"""Rows of one item of a state: some 2 ms of the loop."""
LIMIT = 20_000


class Archive:
    """Questions about the past, one at a time, in a thread."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.history = History(recorder.directory)
        self._turn = asyncio.Lock()

    async def ask(self, question: Callable[[History], T]) -> T:
        """What happened until now is part of the answer."""
        await self.recorder.flush()
        async with self._turn:
            return await asyncio.to_thread(calm, lambda: question(self.history))

    async def run(self) -> None:
        """Lets memory go when nobody looks any more."""
        while True:
            await asyncio.sleep(30.0)
            async with self._turn:
                self.history.rest()


def calm(question: Callable[[], T]) -> T:
    """Without the cyclic collector: it would look at a hundred thousand new rows over and over; none has cycles."""
    on = gc.isenabled()
    gc.disable()
    try:
        return question()
    finally:
        if on:
            gc.enable()


class Moments(msgspec.Struct):
    start: float
    end: float
    resolution: float = 60.0


class Past(msgspec.Struct):
    at: float


class PastStep(msgspec.Struct):
    at: float
    to: float | None = None
    way: int = 0


class Between(msgspec.Struct):
    start: float
    end: float
    limit: int = 5000


class Lives(msgspec.Struct):
    kind: str
    name: str
    start: float = 0.0
    end: float | None = None
    limit: int = 500


def operations(c: Controller) -> dict[str, Any]:
    async def moments(who: Who, args: dict[str, Any]) -> Any:
        asked = _asked(args, Moments)
        return _plain(await c.archive.ask(lambda h: h.moments(asked.start, asked.end, asked.resolution)))

    async def past_step(who: Who, args: dict[str, Any]) -> Any:
        asked = _asked(args, PastStep)
        return _plain(await c.archive.ask(lambda h: h.step(asked.at, to=asked.to, way=asked.way)))

    async def between(who: Who, args: dict[str, Any]) -> Any:
        asked = _asked(args, Between)
        return _plain(await c.archive.ask(lambda h: h.between(asked.start, asked.end, _limit(asked.limit))))

    async def lives(who: Who, args: dict[str, Any]) -> Any:
        asked = _asked(args, Lives)
        return _plain(await c.archive.ask(lambda h: life(
            h, asked.kind, asked.name, start=asked.start, end=asked.end, limit=_limit(asked.limit)
        )))

    return {"moments": moments, "past_step": past_step, "between": between, "lives": lives}


def streams(c: Controller) -> dict[str, Any]:
    async def past(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
        """First the head and the notices, then rows by table, some at a time."""
        asked = _asked(args, Past)
        head, notices, tables = await c.archive.ask(lambda h: h.state(asked.at))
        yield {"head": msgspec.to_builtins(head), "notices": list(notices)}
        for table, rows in tables.items():
            keys = list(rows)
            for start in range(0, len(keys), PART):
                yield {"table": table, "rows": _plain({k: rows[k] for k in keys[start : start + PART]})}
                await asyncio.sleep(0)

    return {"past": past}


def _asked(args: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(args, kind, strict=False)
    except msgspec.ValidationError as e:
        raise Bad(str(e)) from None


def _limit(asked: int) -> int:
    return max(1, min(LIMIT, asked))


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)
