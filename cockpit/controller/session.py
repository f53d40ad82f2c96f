"""The engine's side of the session protocol: one object per person."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.model.view import (
    ActionDetail,
    ActionRow,
    ArtifactDetail,
    ArtifactRow,
    Delta,
    InstanceDetail,
    LogLine,
    RevisionRow,
    Snapshot,
    Who,
)
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from cockpit.session.ops import permit

if TYPE_CHECKING:
    from cockpit.controller.board import Subscriber
    from cockpit.controller.core import Controller


class EngineSession:
    """Implements `cockpit.ports.Session` on a controller in this process."""

    def __init__(self, controller: Controller, who: Who) -> None:
        self._controller = controller
        self._who = who
        self._waiting: Subscriber | None = None
        """Collects what follows the last snapshot until `changes` takes it over."""
        self._open: set[Subscriber] = set()

    @property
    def who(self) -> Who:
        return self._who

    async def snapshot(self) -> Snapshot:
        board = self._controller.board
        await board.drawn()
        snapshot = board.snapshot(time.time())
        for subscriber in self._open:  # what they have not read yet is in the snapshot
            subscriber.clear()
        if self._waiting is None:
            self._waiting = board.subscribe()
        self._waiting.clear()
        return snapshot

    async def changes(self) -> AsyncIterator[Delta]:
        """From the last snapshot on; a further stream without one of its own begins now."""
        subscriber = self._waiting or self._controller.board.subscribe()
        self._waiting = None
        self._open.add(subscriber)
        try:
            async for delta in subscriber.deltas():
                yield delta
        finally:
            self._open.discard(subscriber)
            subscriber.close()

    async def plan(self, intent: Intent) -> Plan:
        await self._controller.looked()
        return await self._controller.desk.plan(self._signed(intent), self._who)

    async def submit(self, intent: Intent, *, digest: str = "", confirm: str = "") -> ActionRow:
        await self._controller.looked()
        signed = self._signed(intent)
        try:
            return await self._controller.desk.submit(signed, self._who, digest=digest, confirm=confirm)
        except Refused as e:
            self._controller.refusals.note(signed, self._who, e)
            raise

    async def action(self, id: str) -> ActionDetail:
        return await self._controller.desk.detail(id)

    async def instance(self, id: str) -> InstanceDetail:
        return await self._controller.instance_detail(id)

    async def revisions(self, limit: int = 50) -> Sequence[RevisionRow]:
        return tuple(self._controller.ledger.revisions[-max(1, limit):][::-1])

    async def artifacts(self) -> dict[str, dict[str, Any]]:
        return dict(self._controller.catalog.records)

    async def artifact(self, id: str, base: str = "") -> ArtifactDetail:
        return await self._controller.shelf.detail(id, base)

    async def artifact_rows(self) -> Sequence[ArtifactRow]:
        return await self._controller.shelf.rows()

    async def logs(
        self, instances: Sequence[str], *, lines: int = 200, follow: bool = True, since: float = 0.0,
        until: float = 0.0, streams: Sequence[str] = (), previous: int = 0, grep: str = "", before: int = 0,
        after: int = 0,
    ) -> AsyncIterator[LogLine]:
        known = self._controller.board.tables["instances"]
        for instance in instances:
            if instance not in known:
                raise Bad(f"no instance {instance}")
        async for line in self._controller.logs.follow(
            instances, lines=lines, follow=follow, since=since, until=until, streams=streams, previous=previous,
            grep=grep, before=before, after=after,
        ):
            yield line

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        permit(op, self._who)
        found = self._controller.operations.get(op)
        if found is None:
            raise Bad(f"no op {op!r}")
        return await found(self._who, args or {})

    def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        permit(op, self._who)
        found = self._controller.streams.get(op)
        if found is None:
            raise Bad(f"no stream {op!r}")
        return found(self._who, args or {})

    async def close(self) -> None:
        """Ends its streams too."""
        for subscriber in [*self._open, *filter(None, [self._waiting])]:
            subscriber.close()
        self._waiting = None

    def narrowed(self, why: str) -> EngineSession:
        """A session of the same person in which nothing may be changed."""
        return EngineSession(self._controller, msgspec.structs.replace(self._who, read_only=why))

    def _signed(self, intent: Intent) -> Intent:
        """The author is who the kernel says it is, whatever the intent claims."""
        return Intent(
            verb=intent.verb, targets=intent.targets, params=intent.params, author=self._who.author
        )
