"""A session on a past moment: the same screens, read-only, over the ops of the history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import msgspec

from cockpit.history.fetching import past
from cockpit.history.patience import calm
from cockpit.model import history_rows
from cockpit.model.history_rows import TABLES, Gap, LifeEvent, Step
from cockpit.model.view import (
    ActionDetail,
    ActionRow,
    ArtifactDetail,
    ArtifactRow,
    Delta,
    Diff,
    InstanceDetail,
    LogLine,
    RevisionRow,
    Snapshot,
    Who,
)
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from cockpit.ports import Session
from cockpit.session.ops import OBSERVING

READ_ONLY = "this is the past; Esc goes back to live"
KEPT = frozenset({"moments", "past", "past_step", "between", "lives"})
"""Ops that mean the same from every moment."""


class PastSession:
    """Implements `cockpit.ports.Session` at a moment that `go` moves. The live session stays open below it."""

    def __init__(self, live: Session, at: float) -> None:
        self.live = live
        self.at = at
        self.oldest = self.newest = at
        self.near: tuple[LifeEvent, ...] = ()
        """What changed at exactly this moment."""
        self.gap: Gap | None = None
        self._now: Snapshot | None = None
        self._deltas: asyncio.Queue[Delta] = asyncio.Queue()
        self._turn = asyncio.Lock()

    @property
    def who(self) -> Who:
        return msgspec.structs.replace(self.live.who, read_only=READ_ONLY)

    async def snapshot(self) -> Snapshot:
        """Raises Bad when nothing of the kind is kept, as every method does."""
        if self._now is None:
            async with self._turn:
                await self._load(self.at)
        assert self._now is not None
        while not self._deltas.empty():  # what it would tell is in here
            self._deltas.get_nowait()
        return self._now

    async def changes(self) -> AsyncIterator[Delta]:
        """What `go` changes."""
        while True:
            yield await self._deltas.get()

    async def go(self, *, to: float | None = None, way: int = 0) -> Step:
        """To another moment, or to the change after or before this one."""
        async with self._turn:
            found = await history_rows.step(self.live, self.at, to=to, way=way)
            before = self._now
            if found.delta is None or before is None:
                await self._load(found.at)
                now = self._now
                assert now is not None
                delta = None
                if before is not None:  # keys are heard meanwhile
                    delta = await asyncio.to_thread(calm, partial(difference, before, now))
            else:
                delta = found.delta
                self._now = applied(before, delta)
            self._stand(found)
            if delta is not None:
                self._deltas.put_nowait(delta)
            return found

    async def _load(self, at: float) -> None:
        # the controller looks up the moment while its rows are unpacked here
        found, now = await asyncio.gather(
            history_rows.step(self.live, at, to=at), past(self.live, at), return_exceptions=True
        )
        for each in (found, now):
            if isinstance(each, BaseException):
                raise each
        assert isinstance(found, Step) and isinstance(now, Snapshot)
        if found.at != now.head.now:  # the newest moment has moved on between the two
            found = await history_rows.step(self.live, now.head.now, to=now.head.now)
        self._now = now
        self._stand(found)

    def _stand(self, found: Step) -> None:
        self.at, self.near, self.gap = found.at, found.near, found.gap
        self.oldest, self.newest = found.oldest, found.newest

    # what of everything else is known of then

    async def instance(self, id: str) -> InstanceDetail:
        now = await self.snapshot()
        row = now.instances.get(id)
        if row is None:
            raise Bad(f"there was no instance {id} then")
        mine = [a for a in now.actions.values() if {id, row.service} & set(a.targets)]
        node = now.nodes.get(row.service)
        diffs = [
            Diff(field="version", expected=row.version_expected, actual=row.version_actual,
                 same=row.version_expected == row.version_actual),
            Diff(field="state", expected=row.desired, actual=row.state, same=row.desired == row.state),
            Diff(field="host", expected="not kept", actual=row.host),
            Diff(field="health", expected="not kept", actual=row.health),
        ]
        return InstanceDetail(
            row=row, diffs=tuple(diffs), expected_by=f"rev {now.head.revision}",
            drift=tuple(d for d in now.drift.values() if d.target == id),
            depends=tuple(now.nodes[d] for d in (node.depends if node else ()) if d in now.nodes),
            actions=tuple(sorted(mine, key=lambda a: -a.started)[:10]),
            exits=tuple(f"run {r.run} ({r.version}): {r.exit}" for r in row.runs if r.exit),
            last_lines=("What it logged, its command and its configuration of then are not in the history.",),
        )

    async def action(self, id: str) -> ActionDetail:
        """Its row of then; its steps as they stood then, by the times they were recorded with."""
        now = await self.snapshot()
        row = now.actions.get(id)
        if row is None:
            raise Bad(f"there was no action {id} yet, or it was forgotten since")
        try:
            steps = (await self.live.action(id)).steps
        except Bad:
            steps = ()
        then = []
        for step in steps:
            if step.started is None or step.started > self.at:
                step = msgspec.structs.replace(step, state="waiting", started=None, ended=None, note="")
            elif step.ended is not None and step.ended > self.at:
                step = msgspec.structs.replace(step, state="running", ended=None, note="")
            then.append(step)
        said = "What it said until then is not cut out here: cockpit log has all of it."
        return ActionDetail(row=row, steps=tuple(then), log=(said,))

    async def revisions(self, limit: int = 50) -> Sequence[RevisionRow]:
        return [r for r in await self.live.revisions(limit) if r.time <= self.at]

    async def artifacts(self) -> dict[str, dict[str, Any]]:
        raise Bad(missing("the store of artifacts"))

    async def artifact(self, id: str, base: str = "") -> ArtifactDetail:
        raise Bad(missing("the store of artifacts"))

    async def artifact_rows(self) -> Sequence[ArtifactRow]:
        raise Bad(missing("the store of artifacts"))

    def logs(
        self, instances: Sequence[str], *, lines: int = 200, follow: bool = True, since: float = 0.0,
        until: float = 0.0, streams: Sequence[str] = (), previous: int = 0, grep: str = "", before: int = 0,
        after: int = 0,
    ) -> AsyncIterator[LogLine]:
        raise Bad(missing("what instances logged"))

    async def plan(self, intent: Intent) -> Plan:
        raise Refused(f"{intent.verb} is refused: {READ_ONLY}")

    async def submit(self, intent: Intent, *, digest: str = "", confirm: str = "") -> ActionRow:
        raise Refused(f"{intent.verb} is refused: {READ_ONLY}")

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        self._permit(op)
        return await self.live.call(op, args)

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        self._permit(op)
        async for item in self.live.stream(op, args):
            yield item

    async def close(self) -> None:
        """The live session is its owner's."""
        self.forget()

    def forget(self) -> None:
        """Its moment, which is a state of the whole cluster."""
        self._now = None

    def _permit(self, op: str) -> None:
        if op in KEPT:
            return
        if op in OBSERVING:
            raise Bad(missing("this"))
        raise Refused(f"{op} is refused: {READ_ONLY}")


def missing(what: str) -> str:
    return f"{what} is not in the state history; Esc goes back to live"


def applied(before: Snapshot, delta: Delta) -> Snapshot:
    tables: dict[str, dict[str, Any]] = {}
    for table in TABLES:
        rows: dict[str, Any] = getattr(before, table)
        changes: dict[str, Any] = getattr(delta, table)
        if changes:
            rows = {**rows, **changes}
            for key, row in changes.items():
                if row is None:
                    del rows[key]
        tables[table] = rows
    return Snapshot(head=delta.head, notices=delta.notices, **tables)


def difference(before: Snapshot, after: Snapshot) -> Delta:
    tables: dict[str, dict[str, Any]] = {}
    for table in TABLES:
        was: dict[str, Any] = getattr(before, table)
        now: dict[str, Any] = getattr(after, table)
        tables[table] = {k: r for k, r in now.items() if was.get(k) != r} | {k: None for k in was.keys() - now.keys()}
    return Delta(head=after.head, notices=after.notices, **tables)
