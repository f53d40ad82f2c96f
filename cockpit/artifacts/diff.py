"""What one version would change on a host that has another. Pure."""

from __future__ import annotations

from typing import NamedTuple

from cockpit.swarm.layout import Pieces
from cockpit.swarm.manifest import Chunks, Entry, Manifest


class FileDiff(NamedTuple):
    """Paths of files and links, each in the order of a manifest."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


class Moves(NamedTuple):
    """Pieces of a layout that a host with the base lacks, and their bytes as packed."""

    pieces: int
    bytes: int


def files(new: Manifest, base: Manifest | None) -> FileDiff:
    had, has = _files(base), _files(new)
    return FileDiff(
        added=tuple(p for p in has if p not in had), removed=tuple(p for p in had if p not in has),
        changed=tuple(p for p, e in has.items() if p in had and _facts(e) != _facts(had[p])),
    )


def _files(manifest: Manifest | None) -> dict[str, Entry]:
    return {e.path: e for e in manifest.entries if e.kind != "d"} if manifest else {}


def _facts(entry: Entry) -> tuple[str, int, bytes, str]:
    return entry.kind, entry.mode, entry.sha256, entry.target


def moves(new: Manifest, plan: Pieces, table: list[list[int]], base: Chunks | None) -> Moves:
    """A piece is moved when one of its chunks is missing."""
    count = size = 0
    for piece in range(len(plan)):
        if base is None or any(base.find(new.chunks.digest(c)) < 0 for c in plan.chunks_of(piece)):
            count += 1
            size += table[piece][1]
    return Moves(count, size)
