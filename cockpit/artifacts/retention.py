"""Which versions may go. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

NEWEST = 5
"""Versions of each name that stay, whatever their age."""
DAYS = 30.0
"""Younger versions stay."""
DAY = 86400.0


def superfluous(
    records: Iterable[Mapping[str, Any]], roots: Collection[str], *, now: float, newest: int = NEWEST,
    days: float = DAYS,
) -> list[str]:
    """`name/version` of every record that may be deleted, sorted.

    `roots` are those that must stay: whatever a host runs, has installed, or a service could roll back to.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_name.setdefault(record["name"], []).append(record)
    gone = []
    for name, versions in by_name.items():
        versions.sort(key=lambda r: (r["added"], r["version"]), reverse=True)
        for rank, record in enumerate(versions):
            id = f"{name}/{record['version']}"
            if rank >= newest and now - record["added"] >= days * DAY and id not in roots:
                gone.append(id)
    return sorted(gone)
