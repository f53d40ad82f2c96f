"""What commands on hosts have in common that go on until somebody ends them: shells, copies, forwards, programs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from cockpit.controller.world import World
from cockpit.link.hub import Hub
from cockpit.model.actual import serving_unit
from cockpit.model.names import near
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Refused


class Owned(Protocol):
    who: Who


T = TypeVar("T", bound=Owned)


def place_of(world: World, instance: str) -> tuple[str, str]:
    """The host where an instance runs, else where it is placed; the unit that serves, or "". Raises Bad."""
    unit = serving_unit(tuple(world.units.get(instance, {}).values()))
    if unit is not None:
        return world.where[unit.unit], unit.unit
    host = world.expected.placement.get(instance)
    if host is None:
        raise Bad(f"no instance {instance!r}{near(instance, world.expected.placement)}")
    return host, ""


def mine(open: Mapping[str, T], id: object, who: Who, what: str) -> T:
    """Raises Bad when it is over, Refused when another session began it."""
    found = open.get(str(id))
    if found is None:
        raise Bad(f"this {what} is over")
    if found.who is not who:  # each session has a Who of its own: another one of the same person is another
        raise Refused(f"this {what} is another session's")
    return found


def end_there(hub: Hub, host: str, task: str, word: str) -> None:
    """Tell the host to end a task; nobody waits for the answer."""
    if host in hub.links:
        hub.begin(f"{task}-end", host, word, {"task": task}).add_done_callback(seen)
        hub.forget(f"{task}-end")


def seen(future: asyncio.Future[Any]) -> None:
    """Whatever became of it."""
    if not future.cancelled():
        with contextlib.suppress(Exception):
            future.exception()
