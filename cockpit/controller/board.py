"""The tables that screens and `status` show, kept up to date change by change.

`refresh` looks only at what became dirty; subscribers get the rows that really changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec

from cockpit.controller.world import World
from cockpit.model.actual import Actual
from cockpit.model.drift import drift_key, drift_of_host, drift_of_instance
from cockpit.model.guard_rows import RequestRow
from cockpit.model.judge import Digests
from cockpit.model.naming_rows import endpoint_row
from cockpit.model.relay_rows import relay_row
from cockpit.model.rows import Rollup, host_row, instance_row, placed_counts
from cockpit.model.topology import Expected
from cockpit.model.view import TABLES, ActionRow, AlertRow, Delta, DriftRow, Head, PushRow, Snapshot

SLICE = 200
"""Rows that are recomputed before the loop has its turn: some 5 ms."""
COMPARED = 5000
"""Instances that are compared with the revision before, before the loop has its turn: some 4 ms."""
TURNS = 1000
"""So many slices, and who waits for all rows waits no more for what changes meanwhile."""
BACKLOG = 200
"""Deltas a slow subscriber may lag behind before they are merged into one."""
T = TypeVar("T")


class Board:
    """Rows by table and key, and the subscribers that follow them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        self.notices: tuple[str, ...] = ()
        self.busy: Mapping[str, str] = {}
        """Instance id -> id of the action that works on it."""
        self._rollup = Rollup(world.expected)
        self._digests = Digests(world.expected)
        self._placed = placed_counts(world.expected)
        self._drawn: Expected | None = None
        """What the rows were last made from."""
        self._comparing: list[Iterator[set[str]]] = []
        """Of each new revision the instances that are still to be compared with the one before."""
        self._nodes: set[str] = set()
        """Nodes to look at when no instance is dirty any more."""
        self._by_target: dict[str, tuple[str, ...]] = {}
        """Instance id or host -> keys of its drift rows."""
        self._changed: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        self._subscribers: set[Subscriber] = set()
        self._endpoints_seen = False
        self._head: Head | None = None

    def snapshot(self, now: float) -> Snapshot:
        self.refresh(now)
        tables = {t: dict(r) for t, r in self.tables.items()}
        return Snapshot(head=self.head(now), notices=self.notices, **tables)

    def head(self, now: float) -> Head:
        w = self.world
        return Head(
            cluster=w.expected.name, revision=w.revision, digest=w.digest, now=now,
            names_version=w.registry.version, zone=time.strftime("%Z", time.localtime(now)),
        )

    def set_action(self, row: ActionRow) -> None:
        self._put("actions", row.id, row)

    def set_push(self, key: str, row: PushRow) -> None:
        """A receiver of a push; the key is `<action>|<host>`."""
        self._put("pushes", key, row)

    def set_request(self, key: str, row: RequestRow | None) -> None:
        """Something waits for a second person, or was decided; None: it is forgotten."""
        self._put("requests", key, row)

    def set_alerts(self, rows: Mapping[str, AlertRow]) -> None:
        """All that there are."""
        for key in self.tables["alerts"].keys() - rows.keys():
            self._put("alerts", key, None)
        for key, row in rows.items():
            self._put("alerts", key, row)

    def drop_push(self, key: str) -> None:
        self._put("pushes", key, None)

    def touch(self, instances: Mapping[str, str]) -> None:
        """The set of instances under an action changed."""
        changed = set(self.busy) ^ set(instances)
        self.busy = dict(instances)
        self.world.dirty |= changed & self.tables["instances"].keys()  # locks are hosts and services too

    def set_notices(self, notices: tuple[str, ...]) -> None:
        if notices != self.notices:
            self.notices = notices
            self._head = None

    def refresh(self, now: float, limit: int | None = None) -> bool:
        """Recompute dirty rows and hand the changes to subscribers.

        With a limit only so many rows: True when some are left. Then the loop should have its turn.
        """
        world = self.world
        if world.everything:
            self._rebuild()
        self._compare(limit)
        self._update(now, limit)
        changed, self._changed = self._changed, {name: {} for name in TABLES}
        head = self.head(now)
        moved = self._head is None or (head.revision, head.digest) != (self._head.revision, self._head.digest)
        if moved or any(changed.values()):
            self._head = head
            delta = Delta(head=head, notices=self.notices, **changed)
            for subscriber in self._subscribers:
                subscriber.push(delta)
        return bool(
            self._comparing or world.dirty or world.dirty_hosts or world.dirty_relays or world.registry.moved
        )

    async def drawn(self) -> None:
        """Every row is as the world is now, but for what changes meanwhile; others have their turn between."""
        for _ in range(TURNS):
            if not self.refresh(time.time(), SLICE):
                return
            await asyncio.sleep(0)
        self.refresh(time.time())

    def subscribe(self) -> Subscriber:
        subscriber = Subscriber(self)
        self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)

    def _rebuild(self) -> None:
        """A new revision: new digests and nodes; the rows that it touches are looked at again."""
        world = self.world
        world.everything = False
        before, self._drawn = self._drawn, world.expected
        self._digests = Digests(world.expected)
        self._rollup.rebase(world.expected)
        now = world.expected
        if before is None or (before.placement, before.stopped) != (now.placement, now.stopped):
            self._placed = placed_counts(world.expected)
        self._nodes.update(self.tables["nodes"], self._rollup.rows())
        # a host may have changed while a revision that was never drawn placed other instances there
        if world.dirty_hosts:
            world.dirty |= {i for i, host in world.expected.placement.items() if host in world.dirty_hosts}
        world.dirty_hosts.update(world.hosts, self.tables["hosts"])
        world.dirty_relays.update(world.relays, world.expected.relays, self.tables["relays"])
        if before is None:
            world.dirty.update(self.tables["instances"], now.placement, world.units)
        else:
            self._comparing.append(touched(before, now, self._every(now)))

    def _every(self, expected: Expected) -> Iterator[list[str]]:
        """All instances, COMPARED at a time. What is new meanwhile is dirty anyway."""
        rows = self.tables["instances"]
        yield from _cut(list(rows))
        for some in _cut(chain(expected.placement, list(self.world.units))):
            yield [i for i in some if i not in rows]

    def _compare(self, limit: int | None) -> None:
        """Find the rows that a new revision touches; with a limit only among COMPARED instances."""
        while self._comparing:
            for found in self._comparing[0]:
                self.world.dirty |= found
                if limit is not None:
                    return
            del self._comparing[0]

    def _update(self, now: float, limit: int | None) -> None:
        world = self.world
        dirty = _take(world.dirty, limit)
        actual = Actual(
            hosts=world.hosts, where=world.where,
            units={i: tuple(sorted(world.units.get(i, {}).values(), key=lambda u: u.gen)) for i in dirty},
        )
        drift, instances = self.tables["drift"], self.tables["instances"]
        for instance in dirty:
            found = drift_of_instance(
                instance, world.expected, actual, now, digests=self._digests, before=drift
            )
            row = instance_row(instance, world.expected, actual, found, busy=instance in self.busy)
            changed_nodes, changed_hosts = self._rollup.replace(instances.get(instance), row)
            self._nodes |= changed_nodes
            world.dirty_hosts |= changed_hosts
            self._drift(instance, found)
            self._put("instances", instance, row)
        if world.dirty or self._comparing:
            return  # what sums them up is looked at once, when they are done
        for path in sorted(self._nodes, key=lambda p: p.split(".")):
            self._put("nodes", path, self._rollup.row(path))
        self._nodes.clear()
        for host in _take(world.dirty_hosts, limit):
            self._host(host, actual, now)
        for name in _take(world.dirty_relays, limit):
            self._put("relays", name, relay_row(name, world.expected, world.relays.get(name)))
        self._endpoints(limit)

    def _host(self, host: str, actual: Actual, now: float) -> None:
        world = self.world
        found = drift_of_host(host, world.expected, actual, now, before=self.tables["drift"])
        self._drift(host, found)
        row = None
        if host in world.hosts or host in world.expected.hosts:
            live = self._rollup.live_on(host)
            row = host_row(host, world.expected, actual, instances=live, want=self._placed[host])
        self._put("hosts", host, row)

    def _endpoints(self, limit: int | None) -> None:
        registry = self.world.registry
        if not self._endpoints_seen:
            self._endpoints_seen = True
            registry.moved.update(registry.endpoints)
        for key in _take(registry.moved, limit):
            endpoint = registry.endpoints.get(key)
            self._put("endpoints", "|".join(key), endpoint_row(endpoint) if endpoint is not None else None)

    def _drift(self, target: str, found: tuple[DriftRow, ...]) -> None:
        rows = {drift_key(r.kind, r.target): r for r in found}
        for key in self._by_target.get(target, ()):
            if key not in rows:
                self._put("drift", key, None)
        for key, row in rows.items():
            self._put("drift", key, row)
        if rows:
            self._by_target[target] = tuple(rows)
        else:
            self._by_target.pop(target, None)

    def _put(self, table: str, key: str, row: msgspec.Struct | None) -> None:
        rows = self.tables[table]
        if row is None:
            if rows.pop(key, None) is not None:
                self._changed[table][key] = None
        elif rows.get(key) != row:
            rows[key] = row
            self._changed[table][key] = row


def touched(before: Expected, after: Expected, instances: Iterable[Iterable[str]]) -> Iterator[set[str]]:
    """Of each lot of instances those whose row may differ because another revision is expected."""
    paths = before.services.keys() | after.services.keys()
    other = {p for p in paths if before.services.get(p) != after.services.get(p)}
    old, new, was, now = before.placement, after.placement, before.stopped, after.stopped
    every = not _same(before.hosts, after.hosts) or before.groups != after.groups
    placed = _same(old, new) and was == now  # the most frequent, and much sooner looked through
    if placed and not other and not every:
        return
    for some in instances:
        if every:
            yield set(some)
        elif placed:
            yield {i for i in some if i.rpartition("/")[0] in other}
        else:
            yield {
                i for i in some
                if old.get(i) != new.get(i) or i.rpartition("/")[0] in other or was.get(i) != now.get(i)
            }


def _cut(items: Iterable[str]) -> Iterator[list[str]]:
    each = iter(items)
    while some := list(islice(each, COMPARED)):
        yield some


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Revisions share what they have in common: that need not be looked through."""
    return one is other or one == other


def _take(items: set[T], limit: int | None) -> set[T]:
    """Takes so many out of the set; all of them without a limit."""
    if limit is None or len(items) <= limit:
        taken = set(items)
        items.clear()
        return taken
    return {items.pop() for _ in range(limit)}


class Subscriber:
    """One follower's queue. When it lags, deltas are merged: it skips moments, never rows."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._deltas: list[Delta] = []
        self._wake = asyncio.Event()
        self._closed = False

    def push(self, delta: Delta) -> None:
        self._deltas.append(delta)
        if len(self._deltas) > BACKLOG:
            self._deltas = [merge(self._deltas)]
        self._wake.set()

    def clear(self) -> None:
        """Forget what is not read yet."""
        self._deltas = []

    def take(self) -> list[Delta]:
        """What came since the last look, one by one; for readers with a beat of their own."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def close(self) -> None:
        """No more follow; whoever reads `deltas` comes to their end."""
        self._closed = True
        self.board.unsubscribe(self)
        self._wake.set()

    async def deltas(self) -> AsyncIterator[Delta]:
        """Until `close`; what was pushed before it is still given out."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            deltas, self._deltas = self._deltas, []
            if deltas:
                yield merge(deltas)
            if self._closed:
                return


def merge(deltas: list[Delta]) -> Delta:
    """Several deltas as one: the later row wins."""
    if len(deltas) == 1:
        return deltas[0]
    tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    for delta in deltas:
        for name in TABLES:
            tables[name].update(getattr(delta, name))
    return Delta(head=deltas[-1].head, notices=deltas[-1].notices, **tables)
