"""Applying a patch: the files of a new version from those of an installed one.

Both versions are taken as one long text each: `old` is the content of all files of the old manifest in its order,
without holes; `new` the same of those files of the new manifest whose digest no file of the old one has (the others
are copied). The patch is a file

    cockpit-patch 1
    SHA256-OF-OLD SHA256-OF-NEW LENGTH LENGTH LENGTH      (manifests; bytes of the three streams)
    control, differences, extra                           (raw LZMA2, one after the other)

where control is a list of (signed skip, copy, add, extra) as varints: skip in `old` from where the last step ended,
take `copy` bytes from there as they are, then `add` bytes to each of which the next byte of the differences is added,
then `extra` bytes of the third stream. It is bsdiff's manner with a step for what is the same.

Memory is bounded by the three windows (9 MiB together) and one block, whatever the patch says. Every file that is
written is compared with its SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from bisect import bisect_right
from typing import IO, Any, Dict, Iterator, List, Set, Tuple

from cockpit.swarm.manifest import Chunks, Entry, Manifest, split_extents
from cockpit.swarm.varint import read_signed, read_varint

MAGIC = "cockpit-patch 1"
HEAD = re.compile(
    rb"cockpit-patch 1\n([0-9a-f]{64}) ([0-9a-f]{64}) ([0-9]{1,12}) ([0-9]{1,12}) ([0-9]{1,12})\n"
)
MAX_HEAD = 256
WINDOWS = (1 << 20, 4 << 20, 4 << 20)
"""Bytes a reader keeps of control, differences and extra."""
BLOCK = 128 * 1024
MAX_OPEN = 8


class PatchError(ValueError):
    """The patch cannot make this version here; the chunks still can."""


def unpacker() -> Any:
    """The module lzma, which the one-file agent's Python has not. Raises PatchError."""
    try:
        import lzma
    except ImportError:
        raise PatchError("the Python of this host's agent has no lzma, so it takes no patches") from None
    return lzma


def filters(window: int) -> List[Dict[str, Any]]:
    """Of lzma, for one of the streams: fixed, so that no patch can ask for more memory. Raises PatchError."""
    lzma = unpacker()
    return [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]


def covered(old: Manifest, new: Manifest) -> List[Entry]:
    """The files of the new manifest that a patch makes, in order: those the old one has not."""
    have: Set[bytes] = {e.sha256 for e in old.entries if e.kind == "f"}
    return [e for e in new.entries if e.kind == "f" and e.extents and e.sha256 not in have]


def content_size(entry: Entry, chunks: Chunks) -> int:
    """Bytes of a file without its holes."""
    return sum(chunks.lengths[e] for e in entry.extents if e >= 0)


class Layout:
    """The long text of a manifest: where each of its bytes is."""

    def __init__(self, manifest: Manifest) -> None:
        self.starts = array("Q")
        """Of each stretch without a hole."""
        self.files = array("I")
        self.offsets = array("Q")
        self.size = 0
        self.paths: List[str] = []
        for entry in manifest.entries:
            if entry.kind == "f" and entry.extents:
                self._add(entry, manifest.chunks)

    def _add(self, entry: Entry, chunks: Chunks) -> None:
        self.paths.append(entry.path)
        fresh = True
        for chunk, at, length in split_extents(entry, chunks):
            if chunk < 0:
                fresh = True
                continue
            if fresh:
                self.starts.append(self.size)
                self.files.append(len(self.paths) - 1)
                self.offsets.append(at)
                fresh = False
            self.size += length

    def places(self, at: int, length: int) -> Iterator[Tuple[int, int, int]]:
        """(index in `paths`, offset in the file, bytes) of a part. Raises PatchError outside of the text."""
        if at < 0 or at + length > self.size:
            raise PatchError("the patch reads outside of the old version")
        stretch = bisect_right(self.starts, at) - 1
        while length:
            end = self.starts[stretch + 1] if stretch + 1 < len(self.starts) else self.size
            part = min(length, end - at)
            yield self.files[stretch], self.offsets[stretch] + at - self.starts[stretch], part
            at += part
            length -= part
            stretch += 1


class Patch:
    """An open patch. `write` must be called for the `covered` files in their order, then `finish`."""

    def __init__(self, path: str, root: str, old: Manifest, new: Manifest) -> None:
        """`root` is the directory of the installed old version. Raises PatchError, OSError."""
        self.old = {e.sha256: e.path for e in old.entries if e.kind == "f" and e.extents}
        self.root = root
        self._chunks = new.chunks
        self._layout = Layout(old)
        self._open: Dict[int, int] = {}
        self._size = sum(content_size(e, new.chunks) for e in covered(old, new))
        self._file = open(path, "rb")  # noqa: SIM115 (closed by close)
        try:
            streams = self._streams(old, new)
        except BaseException:
            self._file.close()
            raise
        self._blocks = self._made(*streams)
        self._ready = b""
        self._at = 0

    def _streams(self, old: Manifest, new: Manifest) -> List[_Unpacked]:
        head = HEAD.match(self._file.read(MAX_HEAD))
        if head is None:
            raise PatchError("not a patch of a known format")
        if (head[1].decode(), head[2].decode()) != (old.sha256, new.sha256):
            raise PatchError("the patch is for other versions")
        lengths = [int(head[i]) for i in (3, 4, 5)]
        if head.end() + sum(lengths) != os.fstat(self._file.fileno()).st_size:
            raise PatchError("the patch is cut off, or something follows it")
        start = head.end()
        found = []
        for index, window in enumerate(WINDOWS):
            found.append(_Unpacked(self._file, start, lengths[index], window))
            start += lengths[index]
        return found

    def __enter__(self) -> Patch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        while self._open:
            os.close(self._open.popitem()[1])

    def write(self, entry: Entry, fd: int) -> None:
        """Write the content of the next covered file; its holes stay. Raises PatchError, OSError.

        `fd` is a new file that already has its size.
        """
        sha = hashlib.sha256()
        for chunk, at, length in split_extents(entry, self._chunks):
            if chunk < 0:
                _hash_zeros(sha, length)
                continue
            while length:
                part = self._take(length)
                sha.update(part)
                done = os.pwrite(fd, part, at)
                while done < len(part):
                    done += os.pwrite(fd, part[done:], at + done)
                at += len(part)
                length -= len(part)
        if sha.digest() != entry.sha256:
            raise PatchError(f"the patch makes another {entry.path} than the manifest says")

    def finish(self) -> None:
        """Nothing may be left. Raises PatchError."""
        if self._at < len(self._ready) or next(self._blocks, b""):
            raise PatchError("the patch makes more than the new version")

    def _take(self, most: int) -> memoryview:
        if self._at >= len(self._ready):
            try:
                self._ready, self._at = next(self._blocks, b""), 0
            except ValueError as e:
                raise PatchError(str(e)) from None
            if not self._ready:
                raise PatchError("the patch makes less than the new version")
        part = memoryview(self._ready)[self._at : self._at + most]
        self._at += len(part)
        return part

    def _made(self, control: _Unpacked, differences: _Unpacked, extra: _Unpacked) -> Iterator[bytes]:
        """The new text in blocks. Steps are gathered, so that one addition serves many short ones."""
        base, plus = bytearray(), bytearray()
        at = total = 0
        while not control.ended():
            at += read_signed(control.byte)
            copy, add, more = (read_varint(control.byte) for _ in range(3))
            total += copy + add + more
            if not copy + add + more or total > self._size:
                raise PatchError("the patch has an impossible step")
            for length, source in ((copy, None), (add, differences)):
                for file, offset, part in self._layout.places(at, length):
                    at += part
                    while part:
                        block = self._read(file, offset, min(part, BLOCK))
                        base += block
                        plus += source.take(len(block)) if source else bytes(len(block))
                        offset += len(block)
                        part -= len(block)
                        if len(base) >= BLOCK:
                            yield added(base, plus)
                            base, plus = bytearray(), bytearray()
            while more:
                fresh = extra.take(min(more, BLOCK))
                more -= len(fresh)
                plus += fresh
                base += bytes(len(fresh))
                if len(base) >= BLOCK:
                    yield added(base, plus)
                    base, plus = bytearray(), bytearray()
        if not (differences.ended() and extra.ended()):
            raise PatchError("the patch has more data than steps")
        if base:
            yield added(base, plus)

    def _read(self, file: int, offset: int, length: int) -> bytes:
        fd = self._open.pop(file, -1)
        try:
            if fd < 0:
                if len(self._open) >= MAX_OPEN:
                    os.close(self._open.pop(next(iter(self._open))))
                path = os.path.join(self.root, self._layout.paths[file])
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            self._open[file] = fd
            block = os.pread(fd, length, offset)
        except OSError as e:
            raise PatchError(f"{self._layout.paths[file]} of the old version: {e.strerror}") from None
        if not block:
            raise PatchError(f"{self._layout.paths[file]} of the old version is shorter than it was")
        return block


class _Unpacked:
    """One of the streams, read as bytes are wanted."""

    def __init__(self, file: IO[bytes], start: int, length: int, window: int) -> None:
        self._file = file
        self._next = start
        self._end = start + length
        lzma = self._lzma = unpacker()
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters(window))
        self._ready = b""
        self._at = 0

    def ended(self) -> bool:
        return not self._more()

    def byte(self) -> int:
        if not self._more():
            raise PatchError("the patch ends too early")
        self._at += 1
        return self._ready[self._at - 1]

    def take(self, count: int) -> bytes:
        """Exactly so many bytes."""
        parts = []
        while count:
            if not self._more():
                raise PatchError("the patch ends too early")
            part = self._ready[self._at : self._at + count]
            self._at += len(part)
            count -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _more(self) -> bool:
        while self._at >= len(self._ready):
            if self._unpacker.eof:
                if self._unpacker.unused_data or self._next < self._end:
                    raise PatchError("something follows a stream of the patch")
                return False
            packed = b""
            if self._unpacker.needs_input:
                packed = os.pread(self._file.fileno(), min(BLOCK, self._end - self._next), self._next)
                self._next += len(packed)
                if not packed:
                    raise PatchError("a stream of the patch is cut off")
            try:
                self._ready, self._at = self._unpacker.decompress(packed, BLOCK), 0
            except self._lzma.LZMAError as e:
                raise PatchError(f"the patch is broken: {e}") from None
        return True


LOW = int.from_bytes(b"\xff\x00" * (BLOCK + 1), "little")
"""Every other byte of a number that is longer than any block to add."""


def added(base: bytearray, plus: bytearray) -> bytes:
    """Byte by byte sum, modulo 256, of two texts of one length (at most 2 * BLOCK).

    Both are taken as one large number each; every other byte is masked out, so that a carry has a place to go.
    """
    if plus.count(0) == len(plus):
        return bytes(base)
    a, b = int.from_bytes(base, "little"), int.from_bytes(plus, "little")
    even = ((a & LOW) + (b & LOW)) & LOW
    odd = ((a >> 8 & LOW) + (b >> 8 & LOW)) & LOW
    return (even | odd << 8).to_bytes(len(base), "little")


def _hash_zeros(sha: Any, length: int) -> None:
    zeros = bytes(min(length, BLOCK))
    while length:
        sha.update(zeros[:length])
        length -= min(length, len(zeros))
