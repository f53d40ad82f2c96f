"""Which instances of which service are on which host, kept change by change. No terminal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from cockpit.model.view import BADNESS, OK, InstanceRow
from screens.slices import CHUNK, Steps, at_once

NOWHERE = ""
"""The host of instances that are on none."""
EACH = 50
"""Hosts between two looks at the clock."""
_KIND = attrgetter("service", "mark")


class Cells:
    """Host -> service -> instances with their marks, and the counts of each region.

    Opening it only sorts rows by host; a host's cells are made when they are first asked for, so that 1,000 hosts
    with 200 services cost what is seen of them.
    """

    def __init__(self, regions: Mapping[str, str], rows: Iterable[InstanceRow] = ()) -> None:
        self.regions = dict(regions)
        """Host -> region."""
        self.names = sorted(self.regions, key=lambda host: (self.regions[host], host))
        self.by_host: dict[str, dict[str, InstanceRow]] = {}
        """Host -> instance id -> its row."""
        self._rows: dict[str, InstanceRow] = {}
        self._tables: dict[str, dict[str, dict[str, str]]] = {}
        """Host -> service -> instance id -> mark; of hosts that were asked for."""
        self._totals: dict[str, Counter[tuple[str, str]]] = {}
        """Region -> (service, mark) -> instances."""
        self._marks: dict[tuple[str, str], dict[str, int]] = {}
        """(Region, service) -> mark -> instances; of those that were asked for."""
        self._bad: dict[str, InstanceRow] = {}
        """Instances that are not ok."""
        self._troubled: tuple[frozenset[str], frozenset[str]] | None = None
        """Hosts and services of these, until one comes, changes or goes."""
        self._services = Counter[str]()
        at_once(self.filling(list(rows)))

    def filling(self, rows: Sequence[InstanceRow]) -> Steps[None]:
        """Take all of them in, where there were none, in steps."""
        of: defaultdict[str, list[InstanceRow]] = defaultdict(list)
        for start in range(0, len(rows), CHUNK):
            for row in rows[start : start + CHUNK]:
                of[row.host].append(row)
            yield 0.3 * start / len(rows)
        for number, (host, mine) in enumerate(of.items()):
            known = self.by_host[host] = {row.id: row for row in mine}
            self._rows.update(known)
            self._totals.setdefault(self.regions.get(host, ""), Counter()).update(map(_KIND, mine))
            self._bad.update((row.id, row) for row in mine if row.mark != OK)
            if number % EACH == 0:
                yield 0.3 + 0.7 * number / len(of)
        for totals in self._totals.values():
            for (service, _), count in totals.items():
                self._services[service] += count

    def put(self, id: str, row: InstanceRow | None) -> set[str]:
        """A row that came, changed or went (None). Hosts whose cells look different now."""
        old = self._rows.get(id)
        if (
            old is not None and row is not None
            and old.host == row.host and old.service == row.service and old.mark == row.mark
        ):  # fmt: skip
            return set()
        touched: set[str] = set()
        if old is not None:
            del self._rows[id]
            mine = self.by_host[old.host]
            del mine[id]
            if not mine:
                del self.by_host[old.host]
            self._count(old, -1)
            touched.add(old.host)
        if row is not None:
            self._rows[id] = row
            self.by_host.setdefault(row.host, {})[id] = row
            self._count(row, 1)
            touched.add(row.host)
        if row is not None and row.mark != OK:
            self._bad[id] = row
        else:
            self._bad.pop(id, None)
        return touched

    def _count(self, row: InstanceRow, by: int) -> None:
        region, service = self.regions.get(row.host, ""), row.service
        self._tables.pop(row.host, None)
        self._marks.pop((region, service), None)
        totals, kind = self._totals.setdefault(region, Counter()), (service, row.mark)
        totals[kind] += by
        if not totals[kind]:
            del totals[kind]
        self._services[service] += by
        if not self._services[service]:
            del self._services[service]
        if row.mark != OK:
            self._troubled = None

    def _table(self, host: str) -> dict[str, dict[str, str]]:
        table = self._tables.get(host)
        if table is None:
            table = self._tables[host] = {}
            for row in self.by_host.get(host, {}).values():
                table.setdefault(row.service, {})[row.id] = row.mark
        return table

    def cell(self, host: str, service: str) -> Mapping[str, str]:
        """Instance id -> mark."""
        return self._table(host).get(service, {})

    def total(self, region: str, service: str) -> Mapping[str, int]:
        """Mark -> instances of a region."""
        marks = self._marks.get((region, service))
        if marks is None:
            known: Mapping[tuple[str, str], int] = self._totals.get(region, {})
            marks = {mark: count for mark in BADNESS if (count := known.get((service, mark), 0))}
            self._marks[region, service] = marks
        return marks

    def services(self) -> set[str]:
        return set(self._services)

    def troubled(self) -> tuple[frozenset[str], frozenset[str]]:
        """Hosts and services with an instance that is not ok."""
        if self._troubled is None:
            bad = self._bad.values()
            self._troubled = frozenset(r.host for r in bad), frozenset(r.service for r in bad)
        return self._troubled

    def troubled_services(self) -> frozenset[str]:
        return self.troubled()[1]

    def troubled_hosts(self) -> frozenset[str]:
        return self.troubled()[0]


def worst(marks: Iterable[str]) -> str:
    return max(marks, key=lambda m: BADNESS.get(m, 0), default=OK)
