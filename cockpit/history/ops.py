"""The ops of the history: `moments`, `past`, `past_step`, `between`, `lives`. They only look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cockpit.model.view import Who

if TYPE_CHECKING:
    from cockpit.controller.core import Controller


def operations(c: Controller) -> dict[str, Any]:
    def op(name: str) -> Callable[[Who, dict[str, Any]], Awaitable[Any]]:
        return lambda who, args: c.archive.ask(name, args)

    return {name: op(name) for name in ("moments", "past_step", "between", "lives")}


def streams(c: Controller) -> dict[str, Any]:
    def past(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
        return c.archive.items("past", args)

    return {"past": past}
