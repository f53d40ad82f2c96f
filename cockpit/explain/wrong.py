"""What is wrong, kept row by row: instances in groups of the same trouble, silent hosts, odd differences.

The screens ask on every change, with 100,000 instances on the board: so nothing here walks over what is well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cockpit.model.states import UP
from cockpit.model.view import (
    BADNESS,
    CHANGING,
    DRAINING,
    DRIFT,
    FAILED,
    OK,
    PAUSED,
    UNKNOWN,
    DriftRow,
    HostRow,
    InstanceRow,
)

CALM = frozenset({OK, CHANGING, PAUSED, DRAINING})
"""Marks of hosts and relays that need nobody."""
BAD = frozenset({FAILED, DRIFT, UNKNOWN})
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")
_LONG = 200


class Sort(NamedTuple):
    """What instances with the same trouble share."""

    service: str
    word: str
    version: str
    shape: str
    """The reason without its numbers."""


def silent(row: InstanceRow) -> bool:
    """Nothing is known of it because nothing is heard of its host."""
    return row.mark == UNKNOWN and bool(row.host)


def shape(reason: str) -> str:
    """A reason without its numbers: what is the same of two reasons that say the same."""
    return _NUMBERS.sub("#", reason[:_LONG].partition(";")[0])


def sort_of(row: InstanceRow) -> Sort:
    return Sort(row.service, row.word or row.state.lower(), row.version_actual, shape(row.reason))


class Group:
    """Instances of one sort. `since` and `first` are those of the longest and of the smallest id."""

    __slots__ = ("ids", "_first", "_since", "_mark")

    def __init__(self) -> None:
        self.ids: dict[str, tuple[float | None, str]] = {}
        """Id -> since and mark."""
        self._first: str | None = None
        self._since: tuple[float | None] | None = None
        self._mark: str | None = None

    def put(self, id: str, since: float | None, mark: str) -> None:
        if id in self.ids:
            self.drop(id)
        self.ids[id] = (since, mark)
        if self._first is not None:
            self._first = min(self._first, id)
        if self._since is not None and since is not None:
            old = self._since[0]
            self._since = (since if old is None else min(old, since),)
        if self._mark is not None and BADNESS[mark] > BADNESS[self._mark]:
            self._mark = mark

    def drop(self, id: str) -> None:
        since, mark = self.ids.pop(id)
        if id == self._first:
            self._first = None
        if self._since is not None and since == self._since[0]:
            self._since = None
        if mark == self._mark:
            self._mark = None

    @property
    def first(self) -> str:
        if self._first is None:
            self._first = min(self.ids)
        return self._first

    @property
    def since(self) -> float | None:
        if self._since is None:
            self._since = (min((s for s, _ in self.ids.values() if s is not None), default=None),)
        return self._since[0]

    @property
    def mark(self) -> str:
        if self._mark is None:
            self._mark = max((m for _, m in self.ids.values()), key=lambda m: BADNESS[m])
        return self._mark


class Wrong:
    """The index. `instance`, `host` and `drift` are its only writers; rows may come in any order."""

    def __init__(self) -> None:
        self.groups: dict[Sort, Group] = {}
        self.sorts: dict[str, set[Sort]] = {}
        """Service -> sorts of trouble that it has."""
        self.silent: dict[str, set[str]] = {}
        """Host -> instances nothing is known of."""
        self.silent_of: dict[str, dict[str, int]] = {}
        """Service -> host -> number of such instances."""
        self.hosts: set[str] = set()
        """Hosts that are not heard, or that have something to tell."""
        self.odd: set[str] = set()
        """Keys of differences that belong to no instance."""
        self._held: dict[str, Sort | tuple[str, str]] = {}

    @property
    def nothing(self) -> bool:
        """Is nothing at all wrong with instances, hosts and differences?"""
        return not (self.groups or self.silent or self.hosts or self.odd)

    @classmethod
    def of(
        cls, instances: Mapping[str, InstanceRow], hosts: Mapping[str, HostRow], drift: Mapping[str, DriftRow]
    ) -> Wrong:
        made = cls()
        made.load(instances.items(), hosts.items(), drift.items())
        return made

    def load(
        self, instances: Iterable[tuple[str, InstanceRow]], hosts: Iterable[tuple[str, HostRow]],
        drift: Iterable[tuple[str, DriftRow]],
    ) -> None:
        for key, row in instances:
            if row.mark in BAD:
                self.instance(key, row)
        for key, host in hosts:
            self.host(key, host)
        for key, one in drift:
            self.drift(key, one)

    def change(self, table: str, key: str, row: Any) -> None:
        """A row of a table of the board is another one now (None: gone)."""
        if table == "instances":
            self.instance(key, row)
        elif table == "hosts":
            self.host(key, row)
        elif table == "drift":
            self.drift(key, row)

    def instance(self, key: str, row: InstanceRow | None) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._take(key, held)
        if row is None or row.mark not in BAD:
            return
        if silent(row):
            self._held[key] = (row.service, row.host)
            self.silent.setdefault(row.host, set()).add(key)
            by_host = self.silent_of.setdefault(row.service, {})
            by_host[row.host] = by_host.get(row.host, 0) + 1
            return
        sort = sort_of(row)
        self._held[key] = sort
        self.sorts.setdefault(row.service, set()).add(sort)
        self.groups.setdefault(sort, Group()).put(key, row.since, row.mark)

    def _take(self, key: str, held: Sort | tuple[str, str]) -> None:
        if isinstance(held, Sort):
            group = self.groups[held]
            group.drop(key)
            if not group.ids:
                del self.groups[held]
                self.sorts[held.service].discard(held)
                if not self.sorts[held.service]:
                    del self.sorts[held.service]
            return
        service, host = held
        self.silent[host].discard(key)
        if not self.silent[host]:
            del self.silent[host]
        by_host = self.silent_of[service]
        by_host[host] -= 1
        if not by_host[host]:
            del by_host[host]
            if not by_host:
                del self.silent_of[service]

    def host(self, key: str, row: HostRow | None) -> None:
        bad = row is not None and (unheard(row) or bool(row.trouble) or row.mark == DRIFT)
        (self.hosts.add if bad else self.hosts.discard)(key)

    def drift(self, key: str, row: DriftRow | None) -> None:
        target = key.partition("|")[2]
        if row is None:
            self.odd.discard(key)
        elif "/" not in target or target.rpartition("/")[2].isdigit() is False:
            self.odd.add(key)

    def held(self, instance: str) -> Sort | tuple[str, str] | None:
        """Its sort of trouble, or service and host when nothing is known of it; None: it is well."""
        return self._held.get(instance)


def unheard(row: HostRow) -> bool:
    return row.presence != UP and row.mark not in CALM
