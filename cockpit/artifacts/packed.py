"""Reading a version back from its pack: every chunk is checked before it is given out."""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cockpit.artifacts.make import Table, md5_line, zeros
from cockpit.swarm.content import Spoilt, verified
from cockpit.swarm.layout import Layout, Pieces, pieces
from cockpit.swarm.manifest import Manifest, split_extents

KEEP = 24
"""Decoded pieces that are kept: a file's chunks lie in a few groups, each read forward."""


class Damaged(Exception):
    """The store's own objects are not what they should be; the message says which and how."""


def parse_table(data: bytes, plan: Pieces) -> Table:
    """Raises Damaged."""
    try:
        table = [[int(encoding), int(length)] for encoding, length in json.loads(data)]
    except (ValueError, TypeError, RecursionError):
        raise Damaged("the table of the pack cannot be read") from None
    if len(table) != len(plan) or any(length < 0 for _, length in table):
        raise Damaged("the table does not fit the layout")
    return table


class Pack:
    """An open pack. Close it after use."""

    def __init__(self, path: Path, table: Table, plan: Layout, manifest: Manifest) -> None:
        """Raises Damaged when its size is not the table's, OSError."""
        self.manifest = manifest
        self.pieces = pieces(plan, manifest.chunks)
        self._table = table
        self._starts = [0]
        for _, length in table:
            self._starts.append(self._starts[-1] + length)
        self._where, self._offset = self.pieces.places(manifest.chunks)
        self._kept: collections.OrderedDict[int, bytes] = collections.OrderedDict()
        self._file: BinaryIO = path.open("rb")
        size = self._file.seek(0, 2)
        if size != self._starts[-1]:
            self.close()
            raise Damaged(f"the pack has {size} bytes instead of {self._starts[-1]}")

    def close(self) -> None:
        self._file.close()

    def piece(self, number: int) -> bytes:
        """The content of a piece, verified. Raises Damaged."""
        content = self._kept.get(number)
        if content is not None:
            self._kept.move_to_end(number)
            return content
        encoding, length = self._table[number]
        self._file.seek(self._starts[number])
        try:
            content = bytes(verified(encoding, self._file.read(length), number, self.pieces, self.manifest.chunks))
        except Spoilt as e:
            raise Damaged(f"piece {number}: {e}") from None
        self._kept[number] = content
        if len(self._kept) > KEEP:
            self._kept.popitem(last=False)
        return content

    def chunk(self, index: int) -> bytes:
        at = self._offset[index]
        return self.piece(self._where[index])[at : at + self.manifest.chunks.lengths[index]]

    def check(self) -> Iterator[int]:
        """Verify every piece; gives the number of bytes after each. Raises Damaged."""
        for number in range(len(self.pieces)):
            yield len(self.piece(number))

    def md5_list(self) -> str:
        """What `md5sum` prints of all files, in the order of the manifest. Raises Damaged."""
        found = []
        for entry in self.manifest.entries:
            if entry.kind != "f":
                continue
            md5 = hashlib.md5(usedforsecurity=False)
            for chunk, _, length in split_extents(entry, self.manifest.chunks):
                if chunk < 0:
                    zeros(md5.update, length)
                else:
                    md5.update(self.chunk(chunk))
            found.append(md5_line(md5.hexdigest(), entry.path))
        return "".join(found)
