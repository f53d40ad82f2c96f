"""What screens are told of the store's artifacts: rows, and everything about one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.artifacts import details, patches
from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.patch import PatchUnavailable
from cockpit.artifacts.sign import judged
from cockpit.artifacts.store import Record
from cockpit.controller.origin import OriginError
from cockpit.model.names import near
from cockpit.model.topology import Expected
from cockpit.model.view import DRIFT, OK, ArtifactDetail, ArtifactRow
from cockpit.plan.signing import Demands, Signatures, accepted, demands, missing
from cockpit.plan.steps import Bad
from cockpit.swarm.layout import swarm_id

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

Installed = Mapping[str, tuple[str, ...]]
"""`name/version` -> hosts where it is installed, sorted."""


def rows(
    records: Mapping[str, Record], expected: Expected, signed: Signatures, installed: Installed
) -> tuple[ArtifactRow, ...]:
    """One for each version, by name, newest first."""
    wanted = demands(expected)
    found = [row(id, r, expected, signed, installed, wanted) for id, r in records.items()]
    return tuple(sorted(found, key=lambda r: (r.name, -r.added, r.version)))


def row(
    id: str, record: Record, expected: Expected, signed: Signatures, installed: Installed, wanted: Demands
) -> ArtifactRow:
    name, version = record["name"], record["version"]
    users: dict[str, list[str]] = {}
    for path, s in expected.services.items():
        uses = ((s.artifact, s.version), *((d.artifact, d.version) for d in s.data.values()))
        users[path] = [v for n, v in uses if n == name]
    needed = any(version in versions for versions in users.values())
    lacks = missing(expected, id, signed, wanted)
    return msgspec.structs.replace(
        details.row(record), signed=tuple(sorted(accepted(expected, id, signed))), missing=lacks,
        services=tuple(sorted(path for path, versions in users.items() if versions)), wanted=needed,
        hosts=len(installed.get(id, ())), mark=DRIFT if lacks and needed else OK,
    )


class Shelf:
    """Answers about the store, for sessions."""

    def __init__(self, controller: Controller) -> None:
        self.c = controller

    async def rows(self) -> tuple[ArtifactRow, ...]:
        c = self.c
        return rows(c.catalog.records, c.world.expected, c.catalog.signed, self._installed())

    async def detail(self, id: str, base: str = "") -> ArtifactDetail:
        """Raises Bad for what is not in the store, or cannot be read there."""
        c = self.c
        expected, installed = c.world.expected, self._installed()
        record, other = self._pair(id, base, installed)
        try:
            version = str(other["version"]) if other is not None else ""
            difference = await asyncio.to_thread(details.difference, c.artifacts, record, version)
        except (Damaged, OSError) as e:
            raise Bad(f"{id} cannot be compared: {e}") from None
        signatures = judged(record, c.catalog.signatures(record["name"], record["version"]), expected.signers)
        return ArtifactDetail(
            row=row(id, record, expected, c.catalog.signed, installed, demands(expected)), md5=record["md5"],
            build=record.get("build"), signatures=tuple(signatures), diff=difference,
            hosts=installed.get(id, ()),
        )

    async def patch(self, id: str, base: str = "") -> dict[str, Any]:
        """Make a patch: {base, sha256, layout, size, packed, chunks}; `chunks` is what moves without it.

        Raises Bad when there is nothing to start from, or it cannot be made.
        """
        record, other = self._pair(id, base, self._installed())
        if other is None:
            raise Bad(f"no host has another version of {record['name']}: name one with --base")
        try:
            made = await asyncio.to_thread(patches.make, self.c.artifacts, other, record)
            moved = await asyncio.to_thread(details.difference, self.c.artifacts, record, str(other["version"]))
        except PatchUnavailable as e:
            raise Bad(str(e)) from None
        except (Damaged, OSError) as e:
            raise Bad(f"the patch to {id} cannot be made: {e}") from None
        await self.c.catalog.refresh()
        return {"base": other["version"], "chunks": moved.to_move, **made}

    async def withdraw(self, before: Mapping[str, Record]) -> None:
        """Serve no more what was deleted since `before`: an open pack would also keep its room on the disk."""
        for id in before.keys() - self.c.catalog.records.keys():
            swarm = swarm_id(before[id]["sha256"], before[id]["layout"])
            if self.c.origin.published(swarm):
                with contextlib.suppress(OriginError):  # it ended, and is told only what is left
                    await self.c.origin.withdraw(swarm)

    def _pair(self, id: str, base: str, installed: Installed) -> tuple[Record, Record | None]:
        """The version, and the one it is compared with: `base`, or what most hosts have. Raises Bad."""
        records = self.c.catalog.records
        record = records.get(id)
        if record is None:
            raise Bad(f"no artifact {id!r}" + near(id, records))
        other = records.get(f"{record['name']}/{base}") if base else self._commonest(record, installed)
        if base and other is None:
            known = {r["version"] for r in records.values() if r["name"] == record["name"]}
            raise Bad(f"no version {base!r} of {record['name']}" + near(base, known))
        return record, other

    def _installed(self) -> Installed:
        found: dict[str, list[str]] = {}
        for name, host in self.c.world.hosts.items():
            for id in host.releases:
                found.setdefault(id, []).append(name)
        return {id: tuple(sorted(hosts)) for id, hosts in found.items()}

    def _commonest(self, record: Record, installed: Installed) -> Record | None:
        """The version that runs on most hosts, or else that most hosts have, of those in the store."""
        records, services = self.c.catalog.records, self.c.world.expected.services
        users = {path for path, s in services.items() if s.artifact == record["name"]}
        runs = Counter(
            unit.version for units in self.c.world.units.values() for unit in units.values()
            if unit.instance.rpartition("/")[0] in users
        )
        others = [
            id for id in installed
            if id in records and records[id]["name"] == record["name"] and id != _id(record)
        ]
        best = max(others, key=lambda i: (runs[records[i]["version"]], len(installed[i]), i), default=None)
        return records[best] if best is not None else None


def _id(record: Record) -> str:
    return f"{record['name']}/{record['version']}"
