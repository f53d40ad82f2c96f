"""A relay's cache: the pieces of several swarms on disk, at most so many bytes of them.

DIR/SWARM/ holds `manifest` (zlib'ed), `layout`, the spool's `pieces` and `index`, and an empty `used` whose times
tell when the swarm was last used; `pinned` is there while a push of it runs. What is least recently used goes first;
what is pinned or open stays. Everything is read again and verified when a swarm is opened, so that a killed relay
loses nothing but the piece that it was writing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from typing import Callable, Dict, List, Optional, Set, Tuple

from cockpit.swarm.content import Spoilt, verified
from cockpit.swarm.heads import text_lines
from cockpit.swarm.layout import MAX_BYTES, Layout, LayoutError, Pieces, parse_layout, pieces, swarm_id
from cockpit.swarm.manifest import HEX, Chunks, ManifestError, parse
from cockpit.swarm.spool import Spool

MARGIN = 64 * 1024 * 1024
"""Bytes of the file system that the cache leaves to others."""


class NoRoom(OSError):
    """The swarm cannot be taken in; the text says why."""


class BadSwarm(ValueError):
    """The manifest or the layout is not what its name says."""


class Held:
    """One swarm of the cache, open: its pieces can be read and added."""

    def __init__(self, directory: str, layout: Layout, chunks: Chunks, cut: Pieces) -> None:
        self.directory = directory
        self.sha256 = layout.manifest
        self.layout = layout.sha256
        self.swarm = swarm_id(layout.manifest, layout.sha256)
        self.chunks = chunks
        self.pieces = cut
        self.have = 0
        """Mask of what was there and good when it was opened."""
        self.spool = Spool(directory, cut.sizes)

    @property
    def manifest_path(self) -> str:
        return os.path.join(self.directory, "manifest")

    @property
    def layout_path(self) -> str:
        return os.path.join(self.directory, "layout")

    def good(self, piece: int, encoding: int, data: bytes) -> bool:
        try:
            verified(encoding, data, piece, self.pieces, self.chunks)
        except Spoilt:
            return False
        return True


class Cache:
    """`limit` in bytes. Methods block: call them in a thread, one at a time (see `relay.Shelves`).

    Raises OSError when the directory cannot be used.
    """

    def __init__(self, directory: str, limit: int, *, clock: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self.limit = limit
        self._clock = clock
        self._open: Dict[str, Held] = {}
        self._due: Dict[str, int] = {}
        """Bytes of pieces that an open swarm may grow to."""
        self._manifests: Dict[str, str] = {}
        """Swarm -> SHA-256 of its manifest, as its layout says."""
        os.makedirs(directory, 0o700, exist_ok=True)
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            manifest = _named(os.path.join(path, "layout"))
            if HEX.fullmatch(name) and manifest:
                self._manifests[name] = manifest
            else:
                _remove(path)  # was being taken in, or thrown out

    def swarms(self) -> List[str]:
        """What is held, open or not."""
        return sorted(name for name in os.listdir(self.directory) if HEX.fullmatch(name))

    def open(self, swarm: str) -> Optional[Held]:
        """Read and verify what is held of a swarm. None when it is not here, or no longer sound.

        Raises NoRoom when it is not complete and the rest does not fit.
        """
        if swarm in self._open:
            return self._open[swarm]
        directory = os.path.join(self.directory, swarm)
        if not HEX.fullmatch(swarm) or not os.path.isdir(directory):
            return None
        try:
            held = _load(directory)
        except (BadSwarm, OSError):
            _remove(directory)
            return None
        if held.swarm != swarm:
            held.spool.close()
            _remove(directory)
            return None
        try:
            held.have = held.spool.resume(held.good)
            rest = sum(size for piece, size in enumerate(held.pieces.sizes) if piece not in held.spool)
            self._make_room(rest, swarm)
        except BaseException:
            held.spool.close()
            raise
        return self._opened(held, rest)

    def add(self, sha256: str, layout: str, manifest: str, layout_data: bytes) -> Held:
        """Take in a new swarm: without pieces yet, but with room for all of them.

        `manifest` is the path of its zlib'ed text, on the cache's file system; it is moved away.
        Raises BadSwarm, NoRoom, OSError.
        """
        if hashlib.sha256(layout_data).hexdigest() != layout:
            raise BadSwarm("the layout has another digest than was asked for")
        swarm = swarm_id(sha256, layout)
        held = self.open(swarm)
        if held is not None:
            return held
        new = os.path.join(self.directory, f".{swarm}")
        _remove(new)
        os.mkdir(new, 0o700)
        try:
            os.rename(manifest, os.path.join(new, "manifest"))
            for name, data in (("layout", layout_data), ("used", b"")):
                _write(os.path.join(new, name), data)
            plan, chunks, cut = _plan(new)
            if plan.manifest != sha256:
                raise BadSwarm("the manifest has another digest than was asked for")
            self._make_room(sum(cut.sizes) + os.path.getsize(os.path.join(new, "manifest")) + len(layout_data))
            os.rename(new, os.path.join(self.directory, swarm))
        except BaseException:
            _remove(new)
            raise
        return self._opened(Held(os.path.join(self.directory, swarm), plan, chunks, cut), sum(cut.sizes))

    def filled(self, swarm: str) -> None:
        """Every piece is there: it will not grow."""
        self._due.pop(swarm, None)

    def manifest(self, sha256: str) -> Optional[str]:
        """Path of a manifest that is held, whatever its layout. Quick: for the loop."""
        for swarm, digest in list(self._manifests.items()):
            if digest == sha256:
                path = os.path.join(self.directory, swarm, "manifest")
                if os.path.exists(path):
                    return path
        return None

    def recent(self) -> List[str]:
        """Manifests that are held (SHA-256), the last used first."""
        held = sorted(self._manifests, key=self._last, reverse=True)
        return list(dict.fromkeys(self._manifests[s] for s in held if os.path.isdir(os.path.join(self.directory, s))))

    def close(self, swarm: str) -> None:
        """It may go now when room is needed, unless it is pinned."""
        held = self._open.pop(swarm, None)
        self._due.pop(swarm, None)
        if held is not None:
            held.spool.close()
            self.touch(swarm)

    def touch(self, swarm: str) -> None:
        """It was used just now."""
        now = self._clock()
        try:
            os.utime(os.path.join(self.directory, swarm, "used"), (now, now))
        except OSError:
            pass

    def pin(self, swarm: str, pinned: bool) -> None:
        """Keep a swarm whatever happens, or no longer. One that is not held cannot be pinned: nothing happens."""
        path = os.path.join(self.directory, swarm, "pinned")
        try:
            if pinned:
                _write(path, b"")
            else:
                os.unlink(path)
        except OSError:
            pass

    def pinned(self) -> Set[str]:
        return {s for s in self.swarms() if os.path.exists(os.path.join(self.directory, s, "pinned"))}

    def _takes(self, swarm: str) -> int:
        held = self._open.get(swarm)
        grown = held.spool.bytes if held is not None else 0
        return self._size(swarm) + max(0, self._due.get(swarm, 0) - grown)

    def _opened(self, held: Held, rest: int) -> Held:
        self._open[held.swarm] = held
        self._manifests[held.swarm] = held.sha256
        if rest:
            self._due[held.swarm] = held.spool.bytes + rest
        self.touch(held.swarm)
        return held

    def _make_room(self, wanted: int, swarm: str = "") -> None:
        """Throw out what is least recently used, but not `swarm`, until `wanted` more bytes fit. Raises NoRoom."""
        if wanted > self.limit:
            raise NoRoom(f"it takes {_mib(wanted)}, more than this relay's whole cache ({_mib(self.limit)})")
        sizes = {s: self._takes(s) for s in self.swarms()}
        kept = self.pinned() | set(self._open) | {swarm}
        old = sorted(set(sizes) - kept, key=self._last)
        busy = sum(sizes[s] for s in kept if s in sizes)
        if wanted + busy > self.limit:
            raise NoRoom(
                f"it takes {_mib(wanted)}, and {_mib(busy)} of this relay's {_mib(self.limit)} are in use by"
                " other pushes"
            )
        total = sum(sizes.values())
        while old and (total + wanted > self.limit or self._free() < wanted + MARGIN):
            oldest = old.pop(0)
            total -= sizes[oldest]
            _remove(os.path.join(self.directory, oldest))
        free = self._free()
        if free < wanted + MARGIN:
            raise NoRoom(f"it takes {_mib(wanted)}, and the relay's disk has {_mib(max(0, free - MARGIN))} left")

    def _free(self) -> int:
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize

    def _size(self, swarm: str) -> int:
        total = 0
        try:
            with os.scandir(os.path.join(self.directory, swarm)) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            pass
        return total

    def _last(self, swarm: str) -> Tuple[float, str]:
        try:
            return os.stat(os.path.join(self.directory, swarm, "used")).st_mtime, swarm
        except OSError:
            return 0.0, swarm


def _load(directory: str) -> Held:
    plan, chunks, cut = _plan(directory)
    return Held(directory, plan, chunks, cut)


def _plan(directory: str) -> Tuple[Layout, Chunks, Pieces]:
    """From `manifest` and `layout`. Raises BadSwarm, OSError."""
    try:
        found = parse(text_lines(os.path.join(directory, "manifest")))
        with open(os.path.join(directory, "layout"), "rb") as f:
            plan = parse_layout(f.read(), found.sha256, len(found.chunks))
    except (ManifestError, LayoutError) as e:
        raise BadSwarm(str(e)) from None
    return plan, found.chunks, pieces(plan, found.chunks)


def _named(layout: str) -> str:
    """SHA-256 of the manifest that a layout is for; empty when it is none."""
    try:
        with open(layout, "rb") as f:
            found = json.loads(f.read(MAX_BYTES))["manifest"]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return found if isinstance(found, str) and HEX.fullmatch(found) else ""


def _write(path: str, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as f:
        f.write(data)


def _remove(path: str) -> None:
    """A directory: renamed first, so that a torn removal is not taken for a swarm."""
    gone = os.path.join(os.path.dirname(path), f".gone-{os.path.basename(path)}")
    try:
        os.rename(path, gone)
    except OSError:
        gone = path
    shutil.rmtree(gone, ignore_errors=True)
    if os.path.lexists(gone):  # it was no directory
        os.unlink(gone)


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
