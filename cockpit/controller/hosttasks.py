"""What commands on hosts have in common that go on until somebody ends them: shells, copies, forwards, programs."""

from __future__ import annotations

import asyncio
import collections
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from cockpit.controller.world import World
from cockpit.link.hub import Answer, Hub
from cockpit.model.actual import serving_unit
from cockpit.model.names import near
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

BEGIN = 30.0
"""Seconds that a host may take to begin one."""


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


def host_of(world: World, host: str, instance: str, what: str) -> str:
    """The host of a request that names it or an instance. Raises Bad."""
    if bool(host) == bool(instance):
        raise Bad(f"{what} wants a host or an instance")
    host = host or place_of(world, instance)[0]
    if host not in world.expected.hosts:
        raise Bad(f"no host {host!r}{near(host, world.expected.hosts)}")
    return host


def size_of(text: str) -> int:
    """Bytes of what is base64."""
    return len(text) * 3 // 4 - text[-2:].count("=")


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
        future.exception()


class Talk:
    """One command on a host, and what goes both ways while it runs: a shell, a copy."""

    kind: ClassVar[str]
    LAST_BYTES: ClassVar[float]
    """Seconds in which what is still on its way comes, once the host has answered."""

    def __init__(self, controller: Controller, host: str, who: Who) -> None:
        self.c = controller
        self.task = f"{self.kind}-{uuid.uuid4().hex}"
        self.host = host
        self.who = who
        self.user = ""
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._held = 0
        """Bytes that came and that its person did not take yet."""
        self._begun = asyncio.Event()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._turn = asyncio.Lock()
        """Of what the person sends."""
        self._over = False

    @property
    def begun(self) -> bool:
        return self._begun.is_set()

    async def run(self, args: dict[str, Any], timeout: float) -> Answer:
        """Raises ConnectionError, TimeoutError."""
        try:
            args = {"task": self.task, **args}
            return await self.c.hub.command(self.host, self.kind, args, task=self.task, timeout=timeout)
        finally:
            self._wake.set()

    async def items(self, work: asyncio.Task[Answer]) -> AsyncIterator[dict[str, Any]]:
        """What comes, until the far side has answered and all it said is here."""
        limit: float | None = time.monotonic() + BEGIN
        wanted = -1
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._begun.is_set() and not work.done():
                limit = None
            if work.done() and wanted < 0:
                answer = None if work.exception() is not None else work.result()
                wanted = int(answer.data.get("bytes") or 0) if answer is not None and answer.ok else 0
                limit = time.monotonic() + self.LAST_BYTES
            if self._whole(wanted):
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(None if limit is None else max(0.0, limit - time.monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                if wanted < 0:
                    text = f"no {self.kind} on {self.host} within {BEGIN:g} s: the host is silent"
                    raise ConnectionError(text) from None
                self._cut_off()
                return

    def _whole(self, wanted: int) -> bool:
        """Is all here? `wanted` bytes were sent; -1: it still runs."""
        raise NotImplementedError

    def _cut_off(self) -> None:
        """Not all came that was sent."""

    def taken(self, count: int) -> None:
        """Credit for as much; never for more than what came."""
        count = max(0, min(count, self._held))
        self._held -= count
        if count:
            self.tell({"credit": count})

    def tell(self, data: dict[str, Any]) -> None:
        self.c.hub.send(self.host, {"t": "input", "task": self.task, "data": data})

    def end(self) -> None:
        end_there(self.c.hub, self.host, self.task, f"{self.kind}-end")

    def closed(self) -> None:
        """Whoever sends has nobody to wait for any more."""
        self._over = True
        self._begun.set()
        self._room.set()
