"""A version of the store as the screens and commands show it."""

from __future__ import annotations

from cockpit.artifacts import diff
from cockpit.artifacts.store import Record, Store
from cockpit.model.view import ArtifactDetail, ArtifactDiff, ArtifactRow
from cockpit.swarm.layout import pieces
from cockpit.swarm.manifest import Manifest


def row(record: Record) -> ArtifactRow:
    """Without what only a controller knows: signatures that count, services and hosts."""
    return ArtifactRow(
        id=f"{record['name']}/{record['version']}", name=record["name"], version=record["version"],
        platform=record["platform"], kind=record["kind"], sha256=record["sha256"], size=record["size"],
        packed=record["packed"], files=record["files"], added=record["added"],
    )


def before(store: Store, record: Record) -> str:
    """The version that was added last before this one; empty when it is the first."""
    older = [r for r in store.versions(record["name"]) if r["added"] < record["added"]]
    return str(older[0]["version"]) if older else ""


def difference(store: Store, record: Record, base: str) -> ArtifactDiff:
    """Against version `base` of the same name (empty: nothing).

    Raises FileNotFoundError when the store has no such base, packed.Damaged, OSError.
    """
    new = store.manifest(record["sha256"])
    old: Manifest | None = None
    patch = None
    if base:
        other = store.need(record["name"], base)
        old = store.manifest(other["sha256"])
        patch = store.patch(other["sha256"], record["sha256"])
    plan = store.layout(new, record["layout"])
    files = diff.files(new, old)
    moved = diff.moves(new, pieces(plan, new.chunks), store.table(new, plan), old.chunks if old else None)
    return ArtifactDiff(
        artifact=f"{record['name']}/{record['version']}", base=base, added=files.added, removed=files.removed,
        changed=files.changed, to_move=moved.bytes, pieces=moved.pieces,
        patch=int(patch["size"]) if patch else None, size=record["size"],
    )


def detail(store: Store, record: Record, base: str) -> ArtifactDetail:
    """Signatures are listed unchecked. Raises as `difference` does."""
    return ArtifactDetail(
        row=row(record), md5=record["md5"], build=record["build"],
        signatures=tuple(store.signatures(record["name"], record["version"])),
        diff=difference(store, record, base),
    )
