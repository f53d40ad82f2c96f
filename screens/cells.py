"""Which instances of which service are on which host, kept change by change. No terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from cockpit.model.view import BADNESS, OK, InstanceRow

NOWHERE = ""
"""The host of instances that are on none."""


class Cells:
    """Host -> service -> instances with their marks, and the counts of each region."""

    def __init__(self, regions: Mapping[str, str], rows: Iterable[InstanceRow] = ()) -> None:
        self.regions = dict(regions)
        """Host -> region."""
        self.by_host: dict[str, dict[str, dict[str, str]]] = {}
        self._home: dict[str, tuple[str, str]] = {}
        self._totals: dict[str, dict[str, Counter[str]]] = {}
        """Region -> service -> mark -> instances."""
        for row in rows:
            place = (row.host, row.service)
            table = self.by_host.get(row.host)
            if table is None:
                table = self.by_host[row.host] = {}
            cell = table.get(row.service)
            if cell is None:
                cell = table[row.service] = {}
            cell[row.id] = row.mark
            self._home[row.id] = place
        for host, table in self.by_host.items():
            totals = self._totals.setdefault(self.regions.get(host, ""), {})
            for service, cell in table.items():
                totals.setdefault(service, Counter()).update(cell.values())

    def put(self, id: str, row: InstanceRow | None) -> set[str]:
        """A row that came, changed or went (None). Hosts whose cells look different now."""
        touched: set[str] = set()
        old = self._home.get(id)
        if old is not None:
            host, service = old
            cell = self.by_host[host][service]
            if row is not None and (row.host, row.service) == old and cell[id] == row.mark:
                return touched
            self._count(host, service, cell.pop(id), -1)
            if not cell:
                del self.by_host[host][service]
            del self._home[id]
            touched.add(host)
        if row is not None:
            self._home[id] = (row.host, row.service)
            self.by_host.setdefault(row.host, {}).setdefault(row.service, {})[id] = row.mark
            self._count(row.host, row.service, row.mark, 1)
            touched.add(row.host)
        return touched

    def _count(self, host: str, service: str, mark: str, by: int) -> None:
        marks = self._totals.setdefault(self.regions.get(host, ""), {}).setdefault(service, Counter())
        marks[mark] += by
        if not marks[mark]:
            del marks[mark]

    def cell(self, host: str, service: str) -> Mapping[str, str]:
        """Instance id -> mark."""
        return self.by_host.get(host, {}).get(service, {})

    def total(self, region: str, service: str) -> Mapping[str, int]:
        """Mark -> instances of a region."""
        return self._totals.get(region, {}).get(service, {})

    def services(self) -> set[str]:
        return {s for table in self._totals.values() for s, marks in table.items() if marks}

    def troubled_services(self) -> set[str]:
        return {s for table in self._totals.values() for s, marks in table.items() if marks.keys() - {OK}}

    def troubled_hosts(self) -> set[str]:
        return {
            host for host, table in self.by_host.items()
            if any(mark != OK for cell in table.values() for mark in cell.values())
        }


def worst(marks: Iterable[str]) -> str:
    return max(marks, key=lambda m: BADNESS.get(m, 0), default=OK)
