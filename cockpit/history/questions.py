"""The questions about the past by name: arguments as plain data, answers as items that are plain data or rows."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from cockpit.history.lives import life
from cockpit.history.reading import History
from cockpit.plan.steps import Bad

T = TypeVar("T")
BYTES = 192 * 1024
"""Bytes of one part of a segment."""
LIMIT = 20_000


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


def answer(history: History, op: str, args: Mapping[str, Any]) -> Iterator[Any]:
    """One item; `past` has many. Raises Bad."""
    yield from QUESTIONS[op](history, args)


def _moments(history: History, args: Mapping[str, Any]) -> Iterator[Any]:
    asked = _asked(args, Moments)
    yield history.moments(asked.start, asked.end, asked.resolution)


def _step(history: History, args: Mapping[str, Any]) -> Iterator[Any]:
    asked = _asked(args, PastStep)
    yield history.step(asked.at, to=asked.to, way=asked.way)


def _between(history: History, args: Mapping[str, Any]) -> Iterator[Any]:
    asked = _asked(args, Between)
    yield history.between(asked.start, asked.end, _limit(asked.limit))


def _lives(history: History, args: Mapping[str, Any]) -> Iterator[Any]:
    asked = _asked(args, Lives)
    yield life(
        history, asked.kind, asked.name, start=asked.start, end=asked.end, limit=_limit(asked.limit)
    )


def _past(history: History, args: Mapping[str, Any]) -> Iterator[Any]:
    """The beginning of the segment in parts: whoever asks unpacks it."""
    name, at, data = history.excerpt(_asked(args, Past).at)
    yield {"segment": name, "at": at, "size": len(data)}
    for start in range(0, len(data), BYTES):
        yield {"part": base64.b64encode(data[start : start + BYTES]).decode()}


def _asked(args: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(args, kind, strict=False)
    except msgspec.ValidationError as e:
        raise Bad(str(e)) from None


def _limit(asked: int) -> int:
    return max(1, min(LIMIT, asked))


QUESTIONS: dict[str, Callable[[History, Mapping[str, Any]], Iterator[Any]]] = {
    "moments": _moments, "past": _past, "past_step": _step, "between": _between, "lives": _lives,
}  # fmt: skip
