"""The order of an artifact's chunks for the way, and the pieces it is cut into (docs/artifacts.md).

Chunks are grouped by which earlier versions hold them, so that a host with one of these versions has each
piece either wholly or not at all.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from typing import List, Sequence, Tuple

from cockpit.swarm.manifest import HEX, Chunks

SMALLEST = 64 * 1024
LARGEST = 1024 * 1024
AIM = 256
"""Pieces a group is cut into when it is neither small nor large."""
GROUPS = 256
MAX_BYTES = 16 * 1024 * 1024


class LayoutError(ValueError):
    """The document is not a layout of this manifest."""


class Layout:
    """`runs`: (group, number of chunks), in the order of the manifest's distinct chunks."""

    def __init__(self, manifest: str, runs: Sequence[Tuple[int, int]]) -> None:
        self.manifest = manifest
        self.runs = list(runs)
        doc = {"layout": 1, "manifest": manifest, "runs": [list(run) for run in self.runs]}
        self.data = json.dumps(doc, separators=(",", ":"), sort_keys=True).encode()
        self.sha256 = hashlib.sha256(self.data).hexdigest()


def layout(manifest: str, groups: Sequence[int]) -> Layout:
    """From the group of each chunk."""
    runs: List[Tuple[int, int]] = []
    for group in groups:
        if runs and runs[-1][0] == group:
            runs[-1] = (group, runs[-1][1] + 1)
        else:
            runs.append((group, 1))
    return Layout(manifest, runs)


def parse_layout(data: bytes, manifest: str, chunks: int) -> Layout:
    """Raises LayoutError when it is malformed or does not fit the manifest (its digest and chunks)."""
    if len(data) > MAX_BYTES:
        raise LayoutError(f"a layout of more than {MAX_BYTES} bytes")
    try:
        doc = json.loads(data)
        runs = [(int(group), int(count)) for group, count in doc["runs"]]
        known = doc["layout"] == 1 and doc["manifest"] == manifest and bool(HEX.fullmatch(manifest))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise LayoutError("not a layout") from None
    if not known:
        raise LayoutError("the layout is for another manifest")
    if any(not 0 <= group < GROUPS or count < 1 for group, count in runs):
        raise LayoutError("a layout with an impossible run")
    if sum(count for _, count in runs) != chunks:
        raise LayoutError("the layout does not name every chunk once")
    found = Layout(manifest, runs)
    if found.data != data:
        raise LayoutError("the layout is not in its canonical form")
    return found


class Pieces:
    """The pieces of a layout. `sizes` are bytes before encoding."""

    def __init__(self, order: array[int], starts: array[int], sizes: array[int]) -> None:
        self.order = order
        """Indices of chunks, piece after piece."""
        self.starts = starts
        """Piece i is order[starts[i]:starts[i + 1]]."""
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def chunks_of(self, piece: int) -> array[int]:
        return self.order[self.starts[piece] : self.starts[piece + 1]]

    def places(self, chunks: Chunks) -> Tuple[array[int], array[int]]:
        """For each chunk: its piece, and its offset in that piece's content."""
        where, offset = array("I", [0]) * len(chunks), array("I", [0]) * len(chunks)
        for piece in range(len(self)):
            at = 0
            for chunk in self.chunks_of(piece):
                where[chunk] = piece
                offset[chunk] = at
                at += chunks.lengths[chunk]
        return where, offset


def pieces(plan: Layout, chunks: Chunks) -> Pieces:
    """Cut the groups, ascending, into pieces of whole chunks."""
    lengths = chunks.lengths
    held: List[List[range]] = [[] for _ in range(GROUPS)]
    first = 0
    for group, count in plan.runs:
        held[group].append(range(first, first + count))
        first += count
    order, starts, sizes = array("I"), array("I", [0]), array("I")
    for group_runs in held:
        total = sum(lengths[i] for run in group_runs for i in run)
        limit = min(max(total // AIM, SMALLEST), LARGEST)
        size = 0
        for run in group_runs:
            for index in run:
                if size and size + lengths[index] > limit:
                    starts.append(len(order))
                    sizes.append(size)
                    size = 0
                order.append(index)
                size += lengths[index]
        if size:
            starts.append(len(order))
            sizes.append(size)
    return Pieces(order, starts, sizes)


def swarm_id(manifest: str, layout_sha256: str) -> str:
    """Name of the swarm that moves this layout of this manifest (hex)."""
    return hashlib.sha256(f"{manifest} {layout_sha256}\n".encode()).hexdigest()
