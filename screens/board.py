"""What the screens know: the last snapshot with every change since, and how old it is. No terminal."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cockpit.explain.wrong import Wrong
from cockpit.model.guard_rows import RequestRow
from cockpit.model.units import shorten
from cockpit.model.view import (
    OK,
    TABLES,
    UNKNOWN,
    ActionRow,
    AlertRow,
    Delta,
    DriftRow,
    EndpointRow,
    Head,
    HostRow,
    InstanceRow,
    NodeRow,
    PushRow,
    RelayRow,
    Snapshot,
)
from screens.format import age, short_names
from screens.slices import CHUNK, Steps, at_once

if TYPE_CHECKING:
    from cockpit.model.topology import Host, Relay, Service

T = TypeVar("T")
ENDED = frozenset({"done", "failed", "aborted", "returned", "refused"})
REMEMBERED = 20_000
"""Keys of changes that are remembered for who comes back and asks what it missed."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a host while we looked."""

    at: float
    mark: str
    text: str
    host: str


class Changed(msgspec.Struct, kw_only=True):
    """Keys that a delta touched, by table; `whole` after a new snapshot."""

    nodes: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    drift: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    pushes: frozenset[str] = frozenset()
    relays: frozenset[str] = frozenset()
    requests: frozenset[str] = frozenset()
    alerts: frozenset[str] = frozenset()
    whole: bool = False


class ExpectedNow:
    """What is expected in full, for columns and filters that look behind `expected`; see screens/expecting.py."""

    def __init__(self) -> None:
        self.wanted = False
        """Somebody looks."""
        self.ask: Callable[[], None] = lambda: None
        """Called when somebody begins to look; the app asks the controller."""
        self.revision = -1
        self.services: dict[str, Service] = {}
        self.hosts: dict[str, Host] = {}
        self.relays: dict[str, Relay] = {}

    def want(self) -> None:
        self.wanted = True
        self.ask()


class Board:
    """The client's copy of the tables. `load` and `apply` are its only writers."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.head: Head | None = None
        self.nodes: dict[str, NodeRow] = {}
        self.instances: dict[str, InstanceRow] = {}
        self.hosts: dict[str, HostRow] = {}
        self.drift: dict[str, DriftRow] = {}
        self.endpoints: dict[str, EndpointRow] = {}
        self.actions: dict[str, ActionRow] = {}
        self.pushes: dict[str, PushRow] = {}
        self.relays: dict[str, RelayRow] = {}
        self.requests: dict[str, RequestRow] = {}
        self.alerts: dict[str, AlertRow] = {}
        self.loads: dict[str, dict[str, dict[str, float]]] = {}
        """Kind (host, instance) -> name -> latest numbers, while a list that shows them is looked at."""
        self.load_fields: dict[str, frozenset[str]] = {}
        """Kind -> fields that had a number of anything, ever since."""
        self.notices: tuple[str, ...] = ()
        self.events: deque[Event] = deque(maxlen=50)
        self.marked: dict[str, set[str]] = {}
        """Instances by mark, for every mark but ok: what is wrong is found without a look at what is not."""
        self.expected = ExpectedNow()
        self.wrong = Wrong()
        """Troubles in groups, kept row by row: see `cockpit.explain`."""
        self.version = 0
        """Grows with every message: equal versions hold equal rows."""
        self._changes: deque[tuple[int, dict[str, frozenset[str]]]] = deque()
        """The version that each of the last changes made, and the keys it touched."""
        self._remembered = 0
        self._since = 0
        """The version from which on every change is there."""
        self.lost: float | None = None
        """Our time of the moment the controller stopped answering."""
        self.lost_why = ""
        self.heard: float | None = None
        """Our time of the last message from the controller."""
        self._skew = 0.0
        self._names: dict[str, str] = {}
        self._children: dict[str, list[str]] = {}
        self._slots: dict[str, list[str]] = {}
        self._shaped = False
        self._worked_out: dict[str, Any] = {}
        """What was worked out of which rows there are, until some come or go."""

    def load(self, snapshot: Snapshot) -> Changed:
        for table in TABLES:
            setattr(self, table, dict(getattr(snapshot, table)))
        self.notices = snapshot.notices
        self.marked = {}
        for key, row in self.instances.items():
            if row.mark != OK:
                self.marked.setdefault(row.mark, set()).add(key)
        self.wrong = Wrong.of(self.instances, self.hosts, self.drift)
        self._heard(snapshot.head)
        self._shaped = False
        self.forget()
        return Changed(whole=True)

    def apply(self, delta: Delta) -> Changed:
        return at_once(self.applying(delta))

    def applying(self, delta: Delta) -> Steps[Changed]:
        """`apply` in steps: what is on the board meanwhile is partly before and partly after."""
        touched: dict[str, frozenset[str]] = {}
        for table in TABLES:
            changes: dict[str, Any] = getattr(delta, table)
            if not changes:
                continue
            mine: dict[str, Any] = getattr(self, table)
            for number, (key, row) in enumerate(changes.items(), 1):
                if number % CHUNK == 0:
                    yield 0.0
                if table == "hosts":
                    self._note(mine.get(key), row, delta.head.now)
                elif table == "instances":
                    self._mark(key, mine.get(key), row)
                self.wrong.change(table, key, row)
                if (row is None) == (key in mine):
                    if table == "nodes":
                        self._shaped = False
                    elif table == "instances":
                        self._slot(key, mine.get(key) or row)
                if row is None:
                    mine.pop(key, None)
                else:
                    mine[key] = row
                    if table == "instances" and "in order" in self._worked_out:
                        self._worked_out["in order"][key] = row
            touched[table] = frozenset(changes)
        self.notices = delta.notices
        self._heard(delta.head)
        self._changes.append((self.version, touched))
        self._remembered += sum(map(len, touched.values())) + 1
        while self._remembered > REMEMBERED:
            self._since, oldest = self._changes.popleft()
            self._remembered -= sum(map(len, oldest.values())) + 1
        return msgspec.convert(touched, Changed)

    def forget(self) -> None:
        """Whoever asks what changed until now is told that everything did."""
        self._changes = deque()  # another one: the past and live each have their own
        self._remembered, self._since = 0, self.version

    def since(self, version: int) -> Changed:
        """What changed after a version; `whole` when that is not known any more."""
        if not self._since <= version <= self.version:
            return Changed(whole=True)
        found: dict[str, set[str]] = {}
        for made, touched in reversed(self._changes):
            if made <= version:
                break
            for table, keys in touched.items():
                found.setdefault(table, set()).update(keys)
        return msgspec.convert({table: frozenset(keys) for table, keys in found.items()}, Changed)

    def lose(self, why: str) -> None:
        """The controller does not answer any more; the first such moment is kept."""
        if self.lost is None:
            self.lost = self.clock()
        self.lost_why = why

    def _heard(self, head: Head) -> None:
        self.version += 1
        self.head = head
        self.heard = self.clock()
        self._skew = head.now - self.heard
        self.lost = None

    def _mark(self, key: str, old: InstanceRow | None, new: InstanceRow | None) -> None:
        if old is not None and old.mark != OK:
            self.marked[old.mark].discard(key)
        if new is not None and new.mark != OK:
            self.marked.setdefault(new.mark, set()).add(key)

    def _note(self, old: HostRow | None, new: HostRow | None, now: float) -> None:
        if old is None or new is None or old.presence == new.presence:
            return
        away = "" if old.since is None else f" after {age((new.since or now) - old.since)}"
        text = {
            "up": f"host {new.name} back{away}",
            "draining": f"host {new.name} is being drained",
            "maintenance": f"host {new.name} is in maintenance",
        }.get(new.presence, f"host {new.name} {new.presence}" + (f": {new.reason}" if new.reason else ""))
        mark = OK if new.presence == "up" else new.mark
        self.events.appendleft(Event(at=new.since or now, mark=mark, text=text, host=new.name))

    @property
    def now(self) -> float:
        """The controller's time now, as far as we know; stands still when it does not answer."""
        return (self.clock() if self.lost is None else self.lost) + self._skew

    @property
    def stale_for(self) -> float | None:
        """Seconds since the data was true; None while the controller answers."""
        return None if self.lost is None or self.heard is None else self.clock() - self.heard

    # names and shape, worked out again after rows came or went

    def _shape(self) -> None:
        if self._shaped:
            return
        self._shaped = True
        self._worked_out = {}
        self._names = short_names(self.nodes)
        self._children = {}
        self._slots = {}
        for path in sorted(self.nodes):
            parent = path.rpartition(".")[0]
            while parent and parent not in self.nodes:
                parent = parent.rpartition(".")[0]
            self._children.setdefault(parent, []).append(path)
        for key, row in self.instances.items():
            self._slots.setdefault(row.service, []).append(key)
        for keys in self._slots.values():
            keys.sort(key=lambda k: (self.instances[k].slot, k))

    def _slot(self, key: str, row: InstanceRow) -> None:
        """An instance comes, or goes while it is still in the table."""
        self._worked_out = {}
        if not self._shaped:
            return
        keys, rows = self._slots.setdefault(row.service, []), self.instances
        place = bisect_left(keys, (row.slot, key), key=lambda k: (rows[k].slot, k))
        if keys[place : place + 1] == [key]:
            del keys[place]
        else:
            keys.insert(place, key)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What follows from which nodes and instances there are, made once for as long as these are the same."""
        self._shape()
        if what not in self._worked_out:
            self._worked_out[what] = make()
        found: T = self._worked_out[what]
        return found

    def short_instances(self) -> list[str]:
        """The short names of all instances, in the order of the table."""

        def make() -> list[str]:
            names = self._names
            return [names.get(row.service, row.service) + k[len(row.service) :] for k, row in self.instances.items()]

        return self.once("short", make)

    def in_order(self) -> dict[str, InstanceRow]:
        """All instances in tree order; not to be changed."""
        return self.once("in order", lambda: {k: self.instances[k] for k in self.under("") or self.instances})

    def children(self, path: str) -> list[str]:
        """Nodes right under a path; the roots under the empty one."""
        self._shape()
        return self._children.get(path, [])

    def slots(self, service: str) -> list[str]:
        """Instance ids of one service, by slot."""
        self._shape()
        return self._slots.get(service, [])

    def under(self, path: str) -> list[str]:
        """Instance ids of a node and everything below it, in tree order; all when it is empty."""
        out = list(self.slots(path))
        for child in self.children(path):
            out += self.under(child)
        return out

    def services(self) -> list[NodeRow]:
        return [row for path, row in sorted(self.nodes.items()) if row.kind == "service"]

    def short(self, name: str) -> str:
        """The shortest unique name of a node or an instance; anything else as it is."""
        self._shape()
        path, slash, slot = name.partition("/")
        return self._names.get(path, path) + slash + slot

    def shorten(self, text: str) -> str:
        return shorten(text, self.short)

    def full(self, name: str) -> str:
        """The full path of a short name when exactly one fits; else the name as it was given."""
        path, slash, slot = name.partition("/")
        if path in self.nodes:
            return name
        fits = [p for p in self.nodes if p.endswith("." + path)]
        return fits[0] + slash + slot if len(fits) == 1 else name

    def users(self, service: str) -> list[str]:
        """Services that depend on this one."""
        return sorted(p for p, row in self.nodes.items() if service in row.depends)

    # counts of the top line

    def counts(self) -> dict[str, int]:
        """Instances by mark, for everything that is not calm."""
        out = {mark: len(keys) for mark, keys in self.marked.items() if keys}
        lost = sum(1 for row in self.hosts.values() if row.mark in (UNKNOWN, "failed"))
        if lost and UNKNOWN not in out:
            out[UNKNOWN] = lost
        return out

    def running(self) -> list[ActionRow]:
        """Actions that have not ended, oldest first."""
        return sorted((a for a in self.actions.values() if a.state not in ENDED), key=lambda a: a.started)

    def ended(self) -> list[ActionRow]:
        """Actions that have, latest first."""
        rows = (a for a in self.actions.values() if a.state in ENDED)
        return sorted(rows, key=lambda a: a.ended or a.started, reverse=True)

    def receivers(self, action: str) -> dict[str, PushRow]:
        """Who gets something by the push of this action, by key."""
        return {key: row for key, row in self.pushes.items() if row.action == action}

    def action_on(self, instance: str) -> ActionRow | None:
        """The unfinished action that works on an instance, when its targets say so."""
        service = instance.rpartition("/")[0]
        for row in self.running():
            for target in row.targets:
                if instance == target or service == target or service.startswith(target + "."):
                    return row
        return None

