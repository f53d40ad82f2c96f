"""Manifests made from dictionaries, and spools that hold their chunks."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from typing import Any

from cockpit.swarm.manifest import Chunks, Entry, Manifest, parse, text

CHUNK = 16 * 1024


class Made:
    """`files`: path -> content (bytes, or a list of bytes and of lengths of holes), None for a directory, or a string
    for the target of a link. Paths in `programs` are executable."""

    def __init__(
        self, files: dict[str, Any], version: str = "1.0.0", *, name: str = "web", kind: str = "release",
        programs: Iterable[str] = (),
    ) -> None:
        chunks = Chunks()
        self.contents: dict[bytes, bytes] = {}
        self.asked: list[int] = []
        entries = []
        for path, what in sorted(files.items(), key=lambda item: item[0].encode()):
            if what is None:
                entries.append(Entry("d", path))
            elif isinstance(what, str):
                entries.append(Entry("l", path, target=what))
            else:
                entries.append(self._file(path, what, chunks, 0o755 if path in programs else 0o644))
        made = Manifest(name, version, "any", kind, entries, chunks)
        self.manifest = parse(text(made))

    def _file(self, path: str, what: Any, chunks: Chunks, mode: int) -> Entry:
        sha = hashlib.sha256()
        extents = array("q")
        size = 0
        for part in [what] if isinstance(what, bytes) else what:
            if isinstance(part, int):
                sha.update(bytes(part))
                extents.append(-part)
                size += part
                continue
            sha.update(part)
            size += len(part)
            for at in range(0, len(part), CHUNK):
                data = part[at : at + CHUNK]
                digest = hashlib.sha256(data).digest()
                self.contents[digest] = data
                extents.append(chunks.add(digest, len(data)))
        return Entry("f", path, mode=mode, size=size, sha256=sha.digest(), extents=extents)

    def spool(self, index: int) -> bytes | None:
        """Everything was fetched; remembers what was asked for."""
        self.asked.append(index)
        return self.contents[self.manifest.chunks.digest(index)]

    def read(self, index: int) -> bytes:
        return self.contents[self.manifest.chunks.digest(index)]
