"""Asking for a rehearsal: the typed end of the op, for screens and commands."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from cockpit.model.rehearsal_rows import Fault, Forecast
from cockpit.plan.steps import Intent
from cockpit.ports import Session


class Working(msgspec.Struct, frozen=True):
    """How far it is: steps that ended, all of them (0: not known yet), virtual seconds."""

    over: int = 0
    total: int = 0
    seconds: float = 0.0
    waiting: bool = False
    """Others are rehearsed first."""


async def rehearse(
    session: Session, intent: Intent, faults: Iterable[Fault] = (), *, quick: bool = False
) -> AsyncIterator[Working | Forecast]:
    """Progress, at last the forecast. `quick`: none of both when it would take longer than a moment.

    Raises Bad, Refused, ConnectionError. To leave the loop, or to close the iterator, ends the rehearsal.
    """
    request = {
        "verb": intent.verb, "targets": list(intent.targets), "params": intent.params,
        "faults": [msgspec.to_builtins(f) for f in faults], "quick": quick,
    }
    stream: Any = session.stream("rehearse", request)
    async with contextlib.aclosing(stream):
        async for item in stream:
            if "forecast" in item:
                yield msgspec.convert(item["forecast"], Forecast)
                return
            if "waiting" in item:
                yield Working(waiting=True)
            elif "progress" in item:
                over, total, seconds = item["progress"]
                yield Working(int(over), int(total), float(seconds))


async def foretold(session: Session, intent: Intent, *, quick: bool = False) -> Forecast | None:
    """The forecast alone; None when there is none."""
    stream: Any = rehearse(session, intent, quick=quick)
    async with contextlib.aclosing(stream):
        async for item in stream:
            if isinstance(item, Forecast):
                return item
    return None
