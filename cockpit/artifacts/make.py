"""From a directory tree to a manifest, and to the pack of its chunks in the order of a layout.

Content is read twice: once to cut and hash it, once to pack it, and checked against the manifest the second
time. Memory stays bounded by a few pieces, whatever the size of the artifact.
"""

from __future__ import annotations

import collections
import hashlib
import os
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from cockpit.artifacts.chunker import Lengths, cut
from cockpit.artifacts.tree import Item, TreeError, changed, extents, open_file
from cockpit.swarm.content import RAW, ZLIB
from cockpit.swarm.layout import GROUPS, Pieces
from cockpit.swarm.manifest import MAX_CHUNKS, Chunks, Entry, Manifest, ManifestError, parse, split_extents, text

LEVEL = 6
PROBE = 4096
PAYS = 0.95
"""A piece is sent compressed when that is at most this share of it."""
EARLIER = 4
"""Versions that the groups of a layout tell apart; 2 to the power of it are at most GROUPS."""
AHEAD = 8
"""Pieces that are compressed at the same time or wait to be written."""
ZEROS = bytes(1024 * 1024)

assert 2**EARLIER <= GROUPS

Table = list[list[int]]
"""[encoding, length] of each piece."""


class Source:
    """Where the content of a manifest's chunks can be read: files below `root`."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        count = len(manifest.chunks)
        self._files = array("i", [-1]) * count
        self._offsets = array("q", [0]) * count
        for number, entry in enumerate(manifest.entries):
            for chunk, offset, _ in split_extents(entry, manifest.chunks):
                if chunk >= 0 and self._files[chunk] < 0:
                    self._files[chunk], self._offsets[chunk] = number, offset

    def piece(self, order: Iterable[int]) -> Iterator[bytes]:
        """The chunks one after the other. Raises TreeError when a file is not what it was, OSError."""
        opened, fd = -1, -1
        try:
            for chunk in order:
                number = self._files[chunk]
                if number != opened:
                    if fd >= 0:
                        os.close(fd)
                        fd = -1
                    entry = self.manifest.entries[number]
                    fd = open_file(self.root, Item(entry.path, "f", entry.mode, entry.size))
                    opened = number
                data = os.pread(fd, self.manifest.chunks.lengths[chunk], self._offsets[chunk])
                if hashlib.sha256(data).digest() != self.manifest.chunks.digest(chunk):
                    raise changed(self.manifest.entries[number].path)
                yield data
        finally:
            if fd >= 0:
                os.close(fd)


def describe(
    root: Path, items: Sequence[Item], name: str, version: str, platform: str, kind: str, *,
    lengths: Lengths | None = None,
) -> tuple[Manifest, str]:
    """The manifest of a scanned tree, and its list of MD5 sums (see `md5_list`).

    Raises TreeError, also for what no reader of manifests would take, and OSError.
    """
    chunks = Chunks()
    entries: list[Entry] = []
    sums: list[str] = []
    count = 0
    for item in items:
        if item.kind == "f":
            entry, md5 = _file(root, item, chunks, lengths)
            sums.append(md5_line(md5, item.path))
            count += len(entry.extents)
            if count > MAX_CHUNKS:
                raise TreeError(f"{item.path}: more than {MAX_CHUNKS} chunks")
        else:
            entry = Entry(item.kind, item.path, target=item.target)
        entries.append(entry)
    manifest = Manifest(name, version, platform, kind, entries, chunks)
    try:
        parse(text(manifest))
    except ManifestError as e:
        raise TreeError(f"{root}: no host would take it: {e}") from None
    return manifest, "".join(sums)


def md5_line(md5: str, path: str) -> str:
    """A line of what `md5sum` prints; like it, a line with a backslash or a line break in the path is escaped."""
    plain = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if plain != path else ''}{md5}  {plain}\n"


def _file(root: Path, item: Item, chunks: Chunks, lengths: Lengths | None) -> tuple[Entry, str]:
    sha, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    found = array("q")
    fd = open_file(root, item)
    try:
        done = 0
        for extent in extents(fd, item.size):
            if extent.hole:
                zeros(sha.update, extent.length)
                zeros(md5.update, extent.length)
                found.append(-extent.length)
            else:
                for chunk in cut(_reader(fd, extent.offset, extent.length), lengths=lengths):
                    sha.update(chunk)
                    md5.update(chunk)
                    found.append(chunks.add(hashlib.sha256(chunk).digest(), len(chunk)))
                    done += len(chunk)
            done += extent.length if extent.hole else 0
    finally:
        os.close(fd)
    if done != item.size:
        raise changed(item.path)
    return Entry("f", item.path, mode=item.mode, size=item.size, sha256=sha.digest(), extents=found), md5.hexdigest()


def _reader(fd: int, offset: int, length: int) -> Callable[[int], bytes]:
    at, end = offset, offset + length

    def read(size: int) -> bytes:
        nonlocal at
        block = os.pread(fd, min(size, end - at), at)
        at += len(block)
        return block

    return read


def sums_of(root: Path, manifest: Manifest) -> str:
    """The list of MD5 sums of files below `root`. Raises TreeError, OSError."""
    found = []
    for entry in manifest.entries:
        if entry.kind == "f":
            with os.fdopen(open_file(root, Item(entry.path, "f", entry.mode, entry.size)), "rb") as f:
                found.append(md5_line(hashlib.file_digest(f, "md5").hexdigest(), entry.path))
    return "".join(found)


def zeros(update: Callable[[bytes], object], length: int) -> None:
    while length > 0:
        update(ZEROS if length >= len(ZEROS) else ZEROS[:length])
        length -= len(ZEROS)


def groups(chunks: Chunks, earlier: Sequence[Chunks]) -> list[int]:
    """The group of each chunk: bit n is set when the n-th of the last EARLIER versions has it too."""
    found = [0] * len(chunks)
    for bit, held in enumerate(earlier[:EARLIER]):
        for index in range(len(chunks)):
            if held.find(chunks.digest(index)) >= 0:
                found[index] |= 1 << bit
    return found


def write_pack(source: Source, pieces: Pieces, out: BinaryIO) -> Table:
    """Write the encoded pieces; returns their table. Raises TreeError, OSError."""
    table: Table = []
    waiting: collections.deque[Future[tuple[int, bytes]]] = collections.deque()

    def write() -> None:
        encoding, data = waiting.popleft().result()
        table.append([encoding, len(data)])
        out.write(data)

    with ThreadPoolExecutor(os.cpu_count() or 1, "pack") as pool:
        try:
            for piece in range(len(pieces)):
                content = b"".join(source.piece(pieces.chunks_of(piece)))
                waiting.append(pool.submit(encode, content))
                if len(waiting) >= AHEAD:
                    write()
            while waiting:
                write()
        finally:
            for future in waiting:
                future.cancel()
    return table


def encode(content: bytes) -> tuple[int, bytes]:
    """(RAW or ZLIB, bytes): compressed where it pays. A few samples tell what needs no try."""
    step = max(len(content) // 4, PROBE)
    sample = b"".join(content[at : at + PROBE] for at in range(0, len(content), step))
    if len(zlib.compress(sample, 1)) < PAYS * len(sample):
        packed = zlib.compress(content, LEVEL)
        if len(packed) <= PAYS * len(content):
            return ZLIB, packed
    return RAW, content

