"""The manifest of an artifact: every file of a version with its chunks (docs/artifacts.md).

Its SHA-256 is the artifact's identity. Reading is strict, because a manifest says where files are written:
what `parse` returns stays inside its directory, is bounded, and adds up.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

FORMAT = b"cockpit-manifest 1\n"
KINDS = ("release", "data", "plugin", "patch")
MAX_CHUNK = 64 * 1024
MIN_HOLE = 4096
MAX_ENTRIES = 200_000
MAX_CHUNKS = 1_000_000
MAX_TOTAL = 8 * 1024 * 1024 * 1024
"""Sizes of all files together, holes included."""
MAX_LINE = 8 * 1024
MAX_PATH = 1024
MAX_TEXT = 128 * 1024 * 1024
MAX_LINKS = 40
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
HEX = re.compile(r"[0-9a-f]{64}")
EMPTY = hashlib.sha256().digest()


class ManifestError(ValueError):
    """The text is not a manifest that may be installed; the message names the line and what is wrong."""


class Chunks:
    """The distinct chunks of a manifest in the order of their first appearance.

    Arrays and an open-addressing table instead of a dictionary: a hundred thousand chunks take 6 MB.
    """

    def __init__(self) -> None:
        self.lengths = array("I")
        self.hashes = bytearray()
        self._slots = array("i", [-1]) * 64

    def __len__(self) -> int:
        return len(self.lengths)

    def digest(self, index: int) -> bytes:
        return bytes(self.hashes[32 * index : 32 * index + 32])

    def find(self, digest: bytes) -> int:
        """Index of the chunk with this SHA-256 (32 bytes), or -1."""
        return self._slots[self._slot(digest)]

    def add(self, digest: bytes, length: int) -> int:
        """Index of the chunk, which is taken in when it is new. Raises ManifestError for two lengths."""
        slot = self._slot(digest)
        index = self._slots[slot]
        if index >= 0:
            if self.lengths[index] != length:
                raise ManifestError(f"chunk {digest.hex()[:12]} has two lengths")
            return index
        index = len(self.lengths)
        self.lengths.append(length)
        self.hashes += digest
        self._slots[slot] = index
        if 3 * index > 2 * len(self._slots):
            self._grow()
        return index

    def _slot(self, digest: bytes) -> int:
        """Where the chunk stands in the table, or would."""
        slots, hashes = self._slots, self.hashes
        mask = len(slots) - 1
        at = int.from_bytes(digest[:8], "little") & mask
        while slots[at] >= 0 and hashes[32 * slots[at] : 32 * slots[at] + 32] != digest:
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        self._slots = array("i", [-1]) * (4 * len(self._slots))
        for index in range(len(self.lengths)):
            self._slots[self._slot(self.digest(index))] = index


class Entry:
    """One directory (`d`), file (`f`) or symbolic link (`l`)."""

    __slots__ = ("extents", "kind", "mode", "path", "sha256", "size", "target")

    def __init__(
        self, kind: str, path: str, *, mode: int = 0o755, size: int = 0, sha256: bytes = b"",
        target: str = "", extents: Sequence[int] = (),
    ) -> None:
        self.kind = kind
        self.path = path
        self.mode = mode
        self.size = size
        self.sha256 = sha256
        self.target = target
        self.extents = array("q", extents)
        """Of a file, in order: index of a chunk, or minus the length of a hole."""


class Manifest:
    """A whole manifest. `sha256` (hex) is the digest of its text."""

    def __init__(
        self, name: str, version: str, platform: str, kind: str, entries: List[Entry], chunks: Chunks,
        sha256: str = "",
    ) -> None:
        self.name = name
        self.version = version
        self.platform = platform
        self.kind = kind
        self.entries = entries
        self.chunks = chunks
        self.sha256 = sha256 or digest_of(text(self))

    @property
    def size(self) -> int:
        """Bytes of all files together, holes included."""
        return sum(e.size for e in self.entries)

    @property
    def files(self) -> int:
        return sum(1 for e in self.entries if e.kind != "d")


def text(manifest: Manifest) -> Iterator[bytes]:
    """The canonical text, line by line."""
    chunks = manifest.chunks
    yield FORMAT
    for key in ("name", "version", "platform"):
        yield f"{key} {json.dumps(getattr(manifest, key))}\n".encode()
    yield f"kind {manifest.kind}\n".encode()
    for e in manifest.entries:
        path = json.dumps(e.path)
        if e.kind == "d":
            yield f"d {path}\n".encode()
        elif e.kind == "l":
            yield f"l {path} {json.dumps(e.target)}\n".encode()
        else:
            yield f"f {e.mode:o} {e.size} {e.sha256.hex()} {path}\n".encode()
            if not _plain(e, chunks):
                for extent in e.extents:
                    if extent < 0:
                        yield f"z {-extent}\n".encode()
                    else:
                        yield f"c {chunks.lengths[extent]} {chunks.digest(extent).hex()}\n".encode()
    yield b"end\n"


def _plain(entry: Entry, chunks: Chunks) -> bool:
    """The file is empty, or exactly one chunk."""
    if not entry.extents:
        return True
    return len(entry.extents) == 1 and entry.extents[0] >= 0 and entry.sha256 == chunks.digest(entry.extents[0])


def digest_of(parts: Iterable[bytes]) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()


def read(path: str) -> Manifest:
    """Parse a file of manifest text. Raises ManifestError, OSError."""
    with open(path, "rb") as f:
        return parse(iter(lambda: f.readline(MAX_LINE + 1), b""))


def parse(source: Iterable[bytes]) -> Manifest:
    """Manifest from its lines (each with its LF). Raises ManifestError with the number of the line."""
    reader = _Reader()
    sha = hashlib.sha256()
    for number, line in enumerate(source, 1):
        sha.update(line)
        try:
            reader.line(line)
        except ManifestError as e:
            raise ManifestError(f"line {number}: {e}") from None
        except (ValueError, IndexError, RecursionError):
            raise ManifestError(f"line {number}: not a line of a manifest: {line[:80]!r}") from None
    return reader.finish(sha.hexdigest())


class _Reader:
    def __init__(self) -> None:
        self.count = self.bytes = self.extents = self.total = 0
        self.head: Dict[str, str] = {}
        self.entries: List[Entry] = []
        self.chunks = Chunks()
        self.dirs: Set[str] = {""}
        self.links: Dict[str, str] = {}
        self.last = b""
        self.file: Optional[Entry] = None
        """The file whose chunk lines may follow."""
        self.covered = 0
        self.ended = False

    def line(self, line: bytes) -> None:
        self.count += 1
        self.bytes += len(line)
        if self.ended:
            raise ManifestError("something follows the end")
        if len(line) > MAX_LINE or self.bytes > MAX_TEXT:
            raise ManifestError("too long")
        if not line.endswith(b"\n"):
            raise ManifestError("the line is not ended")
        if self.count <= 5:
            self._head(line)
            return
        kind, _, rest = line[:-1].decode("ascii").partition(" ")
        if kind in ("c", "z"):
            self._extent(kind, rest)
            return
        self._close()
        if kind == "end" and not rest:
            self.ended = True
        elif kind in ("d", "f", "l"):
            self._entry(kind, rest)
        else:
            raise ManifestError(f"unknown item {kind[:20]!r}")

    def _head(self, line: bytes) -> None:
        if self.count == 1:
            if line != FORMAT:
                raise ManifestError("not a manifest of a known format")
            return
        key = ("name", "version", "platform", "kind")[self.count - 2]
        word, _, rest = line[:-1].decode("ascii").partition(" ")
        value = rest if key == "kind" else json.loads(rest)
        if word != key or not isinstance(value, str) or not WORD.fullmatch(value):
            raise ManifestError(f"`{key}` is wanted here, one word of letters, digits and . _ + -")
        if key == "kind" and value not in KINDS:
            raise ManifestError(f"kind {value!r} is not one of {', '.join(KINDS)}")
        self.head[key] = value

    def _entry(self, kind: str, rest: str) -> None:
        if len(self.entries) >= MAX_ENTRIES:
            raise ManifestError(f"more than {MAX_ENTRIES} entries")
        if kind == "d":
            path = self._path(rest)
            self.dirs.add(path)
            self.entries.append(Entry("d", path))
        elif kind == "l":
            decoder = json.JSONDecoder()
            _, end = decoder.raw_decode(rest)
            if rest[end : end + 1] != " ":
                raise ManifestError("a link needs a target")
            path, target = self._path(rest[:end]), _string(rest[end + 1 :])
            if not target or target.startswith("/") or len(target) > MAX_PATH:
                raise ManifestError(f"the link {path!r} leaves the artifact")
            self.links[path] = target
            self.entries.append(Entry("l", path, target=target))
        else:
            self._open(rest)

    def _open(self, rest: str) -> None:
        mode, size, sha, quoted = rest.split(" ", 3)
        path = self._path(quoted)
        if mode not in ("755", "644"):
            raise ManifestError(f"{path}: mode {mode[:10]} is neither 755 nor 644")
        bytes_ = _number(size)
        self.total += bytes_
        if self.total > MAX_TOTAL:
            raise ManifestError(f"{path}: more than {MAX_TOTAL} bytes of files together")
        entry = Entry("f", path, mode=int(mode, 8), size=bytes_, sha256=_digest(sha))
        if not bytes_ and entry.sha256 != EMPTY:
            raise ManifestError(f"{path}: an empty file with the digest of another")
        self.entries.append(entry)
        self.file, self.covered = entry, 0

    def _extent(self, kind: str, rest: str) -> None:
        if self.file is None:
            raise ManifestError("a chunk without a file")
        self.extents += 1
        if self.extents > MAX_CHUNKS:
            raise ManifestError(f"more than {MAX_CHUNKS} chunks")
        if kind == "z":
            length = _number(rest)
            if length < MIN_HOLE or (self.file.extents and self.file.extents[-1] < 0):
                raise ManifestError(f"{self.file.path}: a hole has at least {MIN_HOLE} bytes and stands alone")
            self.file.extents.append(-length)
        else:
            size, _, sha = rest.partition(" ")
            length = _number(size)
            if not 0 < length <= MAX_CHUNK:
                raise ManifestError(f"{self.file.path}: a chunk of {length} bytes")
            self.file.extents.append(self.chunks.add(_digest(sha), length))
        self.covered += length
        if self.covered > self.file.size:
            raise ManifestError(f"{self.file.path}: its chunks are longer than the file")

    def _close(self) -> None:
        """The file above is complete: its extents must make it up."""
        entry, self.file = self.file, None
        if entry is None:
            return
        if not entry.extents and 0 < entry.size <= MAX_CHUNK:
            entry.extents.append(self.chunks.add(entry.sha256, entry.size))
        elif self.covered != entry.size:
            raise ManifestError(f"{entry.path}: {self.covered} of {entry.size} bytes have chunks")
        elif entry.extents and _plain(entry, self.chunks):
            raise ManifestError(f"{entry.path}: a chunk line too many")

    def _path(self, quoted: str) -> str:
        path = _string(quoted)
        raw = path.encode()
        parts = path.split("/")
        if len(raw) > MAX_PATH or any(p in ("", ".", "..") for p in parts):
            raise ManifestError(f"{path[:80]!r} is not a path inside the artifact")
        if raw <= self.last:
            raise ManifestError(f"{path[:80]!r} is there twice, or not in its order")
        self.last = raw
        if path.rpartition("/")[0] not in self.dirs:
            raise ManifestError(f"{path[:80]!r} is not below a directory of the artifact")
        return path

    def finish(self, sha256: str) -> Manifest:
        if not self.ended:
            raise ManifestError("the text ends before its `end`")
        for path in self.links:
            why = _escapes(path, self.links)
            if why:
                raise ManifestError(f"the link {path!r} {why}")
        h = self.head
        return Manifest(h["name"], h["version"], h["platform"], h["kind"], self.entries, self.chunks, sha256)


def _escapes(path: str, links: Dict[str, str]) -> str:
    """Why a link may not be followed, link by link; empty when it stays inside."""
    at: List[str] = []
    todo = path.split("/")[::-1]
    followed = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if not at:
                return "leaves the artifact"
            at.pop()
        elif part not in ("", "."):
            at.append(part)
            target = links.get("/".join(at))
            if target is not None:
                followed += 1
                if followed > MAX_LINKS:
                    return "leads in a circle"
                at.pop()
                todo += target.split("/")[::-1]
    return ""


def _string(quoted: str) -> str:
    value = json.loads(quoted)
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise ManifestError("a path must be text without NUL")
    if json.dumps(value) != quoted:
        raise ManifestError("a path must be in its canonical form")
    return value


def _number(digits: str) -> int:
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15:
        raise ManifestError(f"{digits[:20]!r} is not a number")
    return int(digits)


def _digest(text: str) -> bytes:
    if not HEX.fullmatch(text):
        raise ManifestError(f"{text[:80]!r} is not a SHA-256")
    return bytes.fromhex(text)


def split_extents(entry: Entry, chunks: Chunks) -> Iterator[Tuple[int, int, int]]:
    """(chunk index or -1 for a hole, offset in the file, length) of a file's extents in order."""
    at = 0
    for extent in entry.extents:
        length = -extent if extent < 0 else chunks.lengths[extent]
        yield (-1 if extent < 0 else extent), at, length
        at += length
