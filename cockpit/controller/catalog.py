"""What the store holds, in memory: plans and commands must not wait for a disk or a bucket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cockpit.artifacts.details import difference
from cockpit.artifacts.packed import Damaged
from cockpit.artifacts.sign import subject
from cockpit.artifacts.store import Files, Store
from cockpit.controller.origin import Origin
from cockpit.model.actual import Moves
from cockpit.plan.signing import Signed
from cockpit.swarm.layout import swarm_id
from cockpit.swarm.signatures import genuine

Record = dict[str, Any]
COMPARED = 3
"""Earlier versions for which it is known what a push moves."""
KNOWN = 20
"""Versions whose manifests are at hand when a push begins."""


class Catalog:
    """Records, signatures and patches by `name/version`. `refresh` after the store changed."""

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self.store = store
        self.records: dict[str, Record] = {}
        self.signed: dict[str, tuple[Signed, ...]] = {}
        """Genuine signatures; whose keys count is the topology's business."""
        self._signatures: dict[str, list[Record]] = {}
        self._patches: dict[tuple[str, str], Record] = {}
        """(digest before, digest after) -> {sha256, layout, size, packed} of the patch."""
        self.moves: dict[str, Moves] = {}
        self._compared: dict[tuple[str, str], int] = {}
        """(digest before, layout after) -> bytes to move; contents never change."""
        self._changed = changed

    async def refresh(self) -> None:
        """Read everything anew, in a thread. Raises Damaged, OSError."""
        read = await asyncio.to_thread(self._read)
        self.records, self._signatures, self.signed, self._patches, self.moves = read
        self._changed()

    def signatures(self, name: str, version: str) -> list[Record]:
        return self._signatures.get(f"{name}/{version}", [])

    def patch_for(self, record: Mapping[str, Any], releases: Iterable[str]) -> Record | None:
        """The smallest patch to this version from one of the releases of a host, for its `fetch`.

        None when going by chunks moves less.
        """
        best: Record | None = None
        known = self.moves.get(f"{record['name']}/{record['version']}")
        least = known.to_host(releases) if known is not None else 0
        for id in releases:
            base = self.records.get(id)
            patch = self._patches.get((base["sha256"], str(record["sha256"]))) if base is not None else None
            if base is not None and patch is not None and patch["packed"] <= least:
                least = patch["packed"]
                best = {**patch, "from": {"version": base["version"], "sha256": base["sha256"]}}
        return best

    def by_digest(self, sha256: str, layout: str) -> Record | None:
        """What serves a manifest in a layout: {sha256, layout} of a version or of a patch."""
        known = (*self.records.values(), *self._patches.values())
        return next((r for r in known if (r["sha256"], r["layout"]) == (sha256, layout)), None)

    async def publish(self, origin: Origin, record: Mapping[str, Any]) -> None:
        """Let the origin serve it. Raises OriginError, OSError when its files cannot be had."""
        sha256, layout = str(record["sha256"]), str(record["layout"])
        try:
            files = await asyncio.to_thread(self._files, sha256, layout, str(record.get("name", "")))
        except Damaged as e:
            raise OSError(str(e)) from None
        await origin.publish(swarm_id(sha256, layout), {
            "sha256": sha256, "layout": layout, "manifest": str(files.manifest), "layout_file": str(files.layout),
            "pack": str(files.pack), "table": str(files.table),
        })  # fmt: skip

    def _files(self, sha256: str, layout: str, name: str) -> Files:
        """With the manifests of earlier versions beside: hosts that have one get the difference only."""
        for other in self.store.versions(name)[:KNOWN] if name else ():
            with contextlib.suppress(OSError):
                self.store.objects.file(f"manifests/{other['sha256']}")
        return self.store.files(sha256, layout)

    def _read(self) -> tuple[Any, Any, Any, Any, Any]:
        records = self.store.listing()
        signatures = {id: self.store.signatures(r["name"], r["version"]) for id, r in records.items()}
        signed = {
            id: tuple(
                Signed(role=str(s["role"]), key=str(s["key"]), by=str(s.get("by", "")))
                for s in found if genuine(s, subject(records[id]))
            )
            for id, found in signatures.items() if found
        }  # fmt: skip
        patches = self._all_patches(records)
        moves = {
            id: Moves(size=r["size"], whole=r["packed"], after=self._after(r, patches)) for id, r in records.items()
        }
        return records, signatures, signed, patches, moves

    def _after(self, record: Record, patches: Mapping[tuple[str, str], Record]) -> dict[str, int]:
        """Bytes to hosts that have one of the versions before it."""
        others = self.store.versions(record["name"])
        at = next((n for n, r in enumerate(others) if r["version"] == record["version"]), len(others))
        found: dict[str, int] = {}
        for base in others[at + 1 : at + 1 + COMPARED]:
            key = (base["sha256"], record["layout"])
            if key not in self._compared:
                with contextlib.suppress(Damaged, OSError):  # it is only told before a push
                    self._compared[key] = difference(self.store, record, base["version"]).to_move
            if key in self._compared:
                patch = patches.get((base["sha256"], record["sha256"]))
                sizes = [self._compared[key], *([int(patch["packed"])] if patch else [])]
                found[f"{base['name']}/{base['version']}"] = min(sizes)
        return found

    def _all_patches(self, records: Mapping[str, Record]) -> dict[tuple[str, str], Record]:
        known = {r["sha256"] for r in records.values()}
        found: dict[tuple[str, str], Record] = {}
        for item in self.store.objects.list("patches/"):
            base, _, target = item.key.removeprefix("patches/").removesuffix(".json").partition("-")
            if base in known and target in known:
                with contextlib.suppress(Damaged):
                    patch = self.store.patch(base, target)
                    if patch is not None:
                        found[base, target] = patch
        return found
