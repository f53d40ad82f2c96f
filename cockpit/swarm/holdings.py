"""The chunks that a host already holds: those of the installed versions of one artifact.

Their manifests lie beside them. The index takes about 40 bytes a chunk and a file, in arrays; nothing is read
of a file before somebody asks for a chunk of it, and what is read counts only after its SHA-256 was right.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from typing import Dict, Iterator, List, Optional, Tuple

from cockpit.swarm import records
from cockpit.swarm.layout import Pieces
from cockpit.swarm.manifest import MAX_CHUNK, Manifest, ManifestError

MAX_VERSIONS = 6
"""Of one artifact, the newest; older ones rarely have what these have not."""
MAX_OPEN = 8
NONE = 0xFFFFFFFF


class LostChunk(LookupError):
    """No installed release has this chunk (any more): never held, gone, or altered by hand."""


class Table:
    """64 bits of a digest -> a number below 2**32 - 1, by open addressing. The first number given stays."""

    def __init__(self) -> None:
        self._keys = array("Q", bytes(8 * 64))
        self._values = array("I", [NONE]) * 64
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, digest: bytes) -> int:
        """The number, or -1."""
        key = int.from_bytes(digest[:8], "little")
        value = self._values[self._slot(key)]
        return -1 if value == NONE else value

    def put(self, digest: bytes, value: int) -> bool:
        """Whether the digest was new."""
        key = int.from_bytes(digest[:8], "little")
        slot = self._slot(key)
        if self._values[slot] != NONE:
            return False
        self._keys[slot], self._values[slot] = key, value
        self._count += 1
        if 3 * self._count > 2 * len(self._keys):
            self._grow()
        return True

    def _slot(self, key: int) -> int:
        keys, values = self._keys, self._values
        mask = len(keys) - 1
        at = key & mask
        while values[at] != NONE and keys[at] != key:
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._keys = array("Q", bytes(16 * len(keys)))
        self._values = array("I", [NONE]) * (2 * len(keys))
        for old, value in enumerate(values):
            if value != NONE:
                slot = self._slot(keys[old])
                self._keys[slot], self._values[slot] = keys[old], value


class Holdings:
    """Chunks and files of the installed versions of NAME; with `kind`, of those of this kind only.

    Reading a manifest of 2 GiB takes about a second: not for an event loop. `heads` are
    (version, SHA-256 of its manifest), newest first: what a new manifest may be told as the difference to.
    A release whose manifest is missing, broken or not the recorded one is left out; so is a file of a
    wrong size.
    """

    def __init__(self, host_dir: str, name: str, kind: str = "") -> None:
        self.host_dir = host_dir
        self.name = name
        self.kind = kind
        self.heads: List[Tuple[str, str]] = []
        self._paths = bytearray()
        self._path_ends = array("Q")
        self._file_version = array("I")
        self._file_mode = array("H")
        self._files = Table()
        self._chunks = Table()
        self._chunk_file = array("I")
        self._chunk_offset = array("Q")
        self._open: Dict[int, int] = {}
        for version, sha256 in _installed(host_dir, name)[:MAX_VERSIONS]:
            self._take_in(version, sha256)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> Holdings:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._chunks)

    def manifest_lines(self, sha256: str) -> Iterator[bytes]:
        """Text of a held manifest, line by line. Raises LookupError when it is not held, ManifestError, OSError."""
        for version, digest in self.heads:
            if digest == sha256:
                return records.manifest_lines(records.manifest_path(self.host_dir, self.name, version))
        raise LookupError(f"no installed version of {self.name} has the manifest {sha256[:12]}")

    def release(self, sha256: str) -> str:
        """Directory of the installed release with this manifest. Raises LookupError."""
        for version, digest in self.heads:
            if digest == sha256:
                return records.release_path(self.host_dir, self.name, version)
        raise LookupError(f"no installed version of {self.name} has the manifest {sha256[:12]}")

    def has(self, digest: bytes) -> bool:
        return self._chunks.get(digest) >= 0

    def pieces(self, pieces: Pieces, manifest: Manifest) -> int:
        """The pieces all of whose chunks are held, as bits (bit i is piece i)."""
        held = bytearray(len(manifest.chunks))
        hashes = manifest.chunks.hashes
        for index in range(len(held)):
            held[index] = self.has(bytes(hashes[32 * index : 32 * index + 8]))
        mask = bytearray((len(pieces) + 7) // 8)
        for piece in range(len(pieces)):
            if all(held[c] for c in pieces.chunks_of(piece)):
                mask[piece >> 3] |= 1 << (piece & 7)
        return int.from_bytes(mask, "little")

    def read(self, digest: bytes, length: int) -> bytes:
        """The content of a chunk, checked. Raises LostChunk."""
        found = self.find(digest)
        if found is not None and 0 < length <= MAX_CHUNK:
            file, offset = found
            try:
                data = os.pread(self.open(file), length, offset)
            except OSError:
                data = b""
            if hashlib.sha256(data).digest() == digest:
                return data
        raise LostChunk(f"no installed version of {self.name} has the chunk {digest.hex()[:12]}")

    def find(self, digest: bytes) -> Optional[Tuple[int, int]]:
        """(number of a file, offset in it) where this chunk should be; unchecked."""
        index = self._chunks.get(digest)
        return None if index < 0 else (self._chunk_file[index], self._chunk_offset[index])

    def find_file(self, sha256: bytes) -> Optional[Tuple[int, int]]:
        """(number of a file, its mode) that should have this content; unchecked."""
        number = self._files.get(sha256)
        return None if number < 0 else (number, self._file_mode[number])

    def path(self, file: int) -> str:
        start = self._path_ends[file - 1] if file else 0
        path = self._paths[start : self._path_ends[file]].decode()
        version = self.heads[self._file_version[file]][0]
        return os.path.join(records.release_path(self.host_dir, self.name, version), path)

    def open(self, file: int) -> int:
        """A descriptor to read from, which stays this object's. Raises OSError."""
        fd = self._open.pop(file, -1)
        if fd < 0:
            if len(self._open) >= MAX_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            fd = os.open(self.path(file), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        self._open[file] = fd  # the last one used goes last
        return fd

    def _take_in(self, version: str, sha256: str) -> None:
        try:
            manifest = records.read_manifest(self.host_dir, self.name, version, sha256)
        except (ManifestError, OSError):
            return
        if self.kind and manifest.kind != self.kind:
            return
        self.heads.append((version, sha256))
        root = records.release_path(self.host_dir, self.name, version)
        for entry in manifest.entries:
            if entry.kind != "f" or not entry.size or not _has_size(os.path.join(root, entry.path), entry.size):
                continue
            number = len(self._path_ends)
            used = self._files.put(entry.sha256, number)
            at = 0
            for extent in entry.extents:
                if extent < 0:
                    at -= extent
                    continue
                if self._chunks.put(manifest.chunks.digest(extent), len(self._chunk_file)):
                    self._chunk_file.append(number)
                    self._chunk_offset.append(at)
                    used = True
                at += manifest.chunks.lengths[extent]
            if used:
                self._paths += entry.path.encode()
                self._path_ends.append(len(self._paths))
                self._file_version.append(len(self.heads) - 1)
                self._file_mode.append(entry.mode)


def _has_size(path: str, size: int) -> bool:
    try:
        return os.lstat(path).st_size == size
    except OSError:
        return False


def _installed(host_dir: str, name: str) -> List[Tuple[str, str]]:
    """(version, SHA-256 of its manifest) of every installed version, the newest first."""
    found: List[Tuple[int, str, str]] = []
    root = os.path.join(host_dir, "releases", name)
    try:
        names = os.listdir(root)
    except OSError:
        return []
    for file in names:
        if not (file.startswith(".") and file.endswith(".json")):
            continue
        version = file[1:-5]
        facts = records.facts_path(host_dir, name, version)
        try:
            digest = records.sha256_of(facts)
            when = os.stat(facts).st_mtime_ns
        except OSError:
            continue
        if digest and os.path.isdir(os.path.join(root, version)):
            found.append((when, version, digest))
    return [(version, digest) for _, version, digest in sorted(found, reverse=True)]
