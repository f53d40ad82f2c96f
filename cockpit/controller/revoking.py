"""Identities that are not believed any more: which, by whom, why, and everybody who has to know it.

A revoked UUID stays in the table until its certificate has expired by itself. Its name is free: the machine, or
another one, joins anew with a new token and gets a new UUID.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cockpit.link.pki import HOST_LIFE
from cockpit.model.names import near
from cockpit.plan.steps import Bad
from cockpit.ports import Write

MAX_WHY = 300
MAX_REVOKED = 10_000
SLACK = 3600.0
"""Seconds that a revoked UUID is kept beyond its certificate: clocks differ."""


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """One identity that is refused. Times are Unix seconds."""

    uuid: str
    kind: str
    """host or relay."""
    name: str
    by: str
    at: float
    why: str = ""
    expires: float
    """End of its last certificate."""

    def sentence(self) -> str:
        """`revoked by li 14:03`, with the day when it was not today, and why."""
        return f"revoked by {self.by.partition('@')[0]} {_clock(self.at)}" + (f": {self.why}" if self.why else "")


class Revoking:
    """The table `revoked`. `on_change` are called after each change, once it is on disk."""

    def __init__(self) -> None:
        self.rows: dict[str, Revoked] = {}
        self.on_change: list[Callable[[Revoked], None]] = []

    def load(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self.rows = {k: msgspec.convert(v, Revoked) for k, v in tables.get("revoked", {}).items()}

    def refuses(self, uuid: str) -> bool:
        return uuid in self.rows

    def frame(self) -> dict[str, Any]:
        """For agents and relays: always the whole list."""
        return {"t": "revoked", "uuids": sorted(self.rows)}

    def reason(self, name: str) -> str:
        """Why the host or relay of this name is not there; empty when it was not revoked."""
        mine = [r for r in self.rows.values() if r.name == name]
        return max(mine, key=lambda r: r.at).sentence() if mine else ""

    def writes(self, row: Revoked, now: float) -> list[Write]:
        """Note it in memory; the table's changes, those whose certificate has expired left out. Raises Bad."""
        old = [k for k, r in self.rows.items() if r.expires + SLACK < now]
        for key in old:
            del self.rows[key]
        if len(self.rows) >= MAX_REVOKED:
            raise Bad(f"{MAX_REVOKED} identities are revoked already: this cluster needs a new authority")
        self.rows[row.uuid] = row
        gone: list[Write] = [("revoked", key, None) for key in old]
        return [*gone, ("revoked", row.uuid, row)]

    def told(self, row: Revoked) -> None:
        for each in self.on_change:
            each(row)


def choose(
    name: str, uuid: str, hosts: Mapping[str, str], relays: Mapping[str, str], rows: Mapping[str, Revoked]
) -> tuple[str, str]:
    """(kind, uuid) of the identity that is meant by a name and, perhaps, a UUID or the beginning of one.

    Pure. `hosts` and `relays` hold the UUID that each name has now. Raises Bad.
    """
    kind = "relay" if name in relays else "host"
    known = relays.get(name) or hosts.get(name)
    if known is None:
        if any(r.name == name for r in rows.values()) and not uuid:
            raise Bad(f"{name} is revoked already, and nobody joined under this name since")
        if not uuid:
            raise Bad(f"no host or relay {name!r} has joined" + near(name, [*hosts, *relays]))
    if not uuid:
        assert known is not None
        return kind, known
    wanted = uuid.strip().lower()
    if known is not None and len(wanted) >= 4 and known.startswith(wanted):
        return kind, known
    if wanted in rows:
        raise Bad(f"{wanted} is revoked already ({rows[wanted].sentence()})")
    if not _whole(wanted):  # an identity of the past is named in full: nothing here knows it any more
        belongs = f"; {name} is {known} now" if known else ""
        raise Bad(f"{uuid!r} is not the UUID of {name}{belongs}: give an earlier one in full")
    return kind, wanted


def last_expiry(record: Mapping[str, Any], now: float) -> float:
    """When the certificates of a name's record end at the latest; records of before kept no dates."""
    longest = now + HOST_LIFE.total_seconds()
    known = record.get("expires")
    return float(known) if isinstance(known, (int, float)) and known > 0 else longest


def entry(row: Revoked) -> dict[str, Any]:
    """For the journal."""
    return {**msgspec.to_builtins(row), "what": row.kind, "kind": "revoked"}


def _whole(text: str) -> bool:
    parts = text.split("-")
    return [len(p) for p in parts] == [8, 4, 4, 4, 12] and all(c in "0123456789abcdef" for p in parts for c in p)


def _clock(at: float) -> str:
    then = time.localtime(at)
    today = time.localtime()
    same = (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M" if same else "%m-%d %H:%M", then)
