"""One artifact on its way into a host: its heads, what is held of it, and the swarm that brings the rest."""

from __future__ import annotations

import asyncio
import hashlib
import os
from concurrent.futures import Executor
from typing import Any, Callable, Dict, List, Optional, Sequence

from cockpit.swarm import heads
from cockpit.swarm.assemble import check_room, room_for
from cockpit.swarm.content import Bytes, Readable, Spoilt, decode, readable, verified
from cockpit.swarm.core import Core
from cockpit.swarm.exchange import Exchange
from cockpit.swarm.handing import SMALL
from cockpit.swarm.holdings import Holdings, LostChunk
from cockpit.swarm.layout import LayoutError, Pieces, parse_layout, pieces, swarm_id
from cockpit.swarm.manifest import Manifest, ManifestError, parse
from cockpit.swarm.passing import Passed, passed
from cockpit.swarm.runtime import Runtime, Store
from cockpit.swarm.spool import Spool
from cockpit.swarm.tracking import Membership, Place, Tracking

CELLS = 64
DECODED = 4
"""Decoded pieces kept while a release is put together from them."""


class Stopped(Exception):
    """The fetch was stopped."""


class HostStore(Store):
    """Pieces as they came, and pieces made of the chunks of installed releases."""

    def __init__(self, spool: Spool, holdings: Holdings, cut: Pieces, manifest: Manifest) -> None:
        self.spool = spool
        self.holdings = holdings
        self.cut = cut
        self.manifest = manifest
        self._offsets: Optional[Sequence[int]] = None
        self._where: Sequence[int] = ()
        self._decoded: Dict[int, Bytes] = {}

    def open(self, piece: int) -> Optional[Readable]:
        return self.spool.open(piece)

    def load(self, piece: int) -> Readable:
        """From installed releases; every chunk is verified as it is read."""
        chunks = self.manifest.chunks
        try:
            return readable(b"".join(
                self.holdings.read(chunks.digest(c), chunks.lengths[c]) for c in self.cut.chunks_of(piece)
            ))
        except LostChunk as lost:
            raise KeyError(str(lost)) from None

    def add(self, piece: int, encoding: int, data: bytes) -> None:
        self.spool.add(piece, encoding, data)

    def forget(self) -> None:
        """Give the memory back that `chunk` took."""
        self._decoded.clear()
        self._offsets, self._where = None, ()

    def chunk(self, index: int) -> Optional[bytes]:
        """A chunk that was fetched, for `assemble.install`. In a thread. Raises OSError."""
        if self._offsets is None:
            self._where, self._offsets = self.cut.places(self.manifest.chunks)
        piece = self._where[index]
        content = self._decoded.pop(piece, None)
        if content is None:
            if piece not in self.spool:
                return None
            encoding, data = self.spool.read(piece)
            try:
                content = decode(encoding, data, self.cut.sizes[piece])
            except Spoilt:
                return None
            while len(self._decoded) >= DECODED:
                del self._decoded[next(iter(self._decoded))]
        self._decoded[piece] = content
        at = self._offsets[index]
        return bytes(memoryview(content)[at : at + self.manifest.chunks.lengths[index]])


class Move:
    """`prepare`, `move` (as often as something turns out to be missing), and `close` or `remove`.

    `on_change` is called when there are new facts.
    """

    def __init__(
        self, exchange: Exchange, slow: Executor, host_dir: str, sha256: str, layout: str, seed: int,
        on_change: Callable[[], None],
    ) -> None:
        self.exchange = exchange
        self.host_dir = host_dir
        self.sha256 = sha256
        self.layout = layout
        self.id = swarm_id(sha256, layout)
        self.directory = os.path.join(host_dir, "swarm", self.id)
        self.manifest: Optional[Manifest] = None
        self.store: Optional[HostStore] = None
        self.runtime: Optional[Runtime] = None
        self.cut: Optional[Pieces] = None
        self.had = 0
        """Mask of what was here before this fetch."""
        self._base = ""
        """The manifest to which we hold the difference as it came."""
        self.on_change = on_change
        self.paused = False
        self.allow: Callable[[int], float] = lambda count: 0.0
        self.took: Callable[[int], None] = lambda count: None
        self._seed = seed
        self._slow = slow
        self._loop = asyncio.get_running_loop()
        self._whole: Optional["asyncio.Future[None]"] = None
        self._tracking: Optional[Tracking] = None
        self._chooser: Optional[Place] = None

    async def prepare(
        self, tracking: Tracking, holdings: Holdings, address: str, port: int, region: str
    ) -> Manifest:
        """Manifest and layout: those of an earlier try, or asked of the tracker and whom it names. From then on
        we give them to others, at `address` and `port`. Raises HeadError, OSError."""
        os.makedirs(self.directory, 0o700, exist_ok=True)
        self._tracking = tracking
        path = os.path.join(self.directory, "manifest")
        layout = self._loop.create_task(self._layout(tracking, region))
        try:
            manifest: Optional[Manifest] = await self._run(self._read, path)
            if manifest is None:
                came = await heads.ask_manifest(
                    tracking.ask, self._slow, self.sha256, self.layout, path,
                    [digest for _, digest in holdings.heads], holdings.manifest_lines, tracking.elsewhere, region,
                )
                self._base = came.base
            data = await layout
        finally:
            layout.cancel()
        if max(os.path.getsize(path), len(data)) >= SMALL:
            tracking.holds({
                "op": "holds", "swarm": self.id, "address": address, "port": port, "region": region,
                "base": self._base,
            })  # fmt: skip
        if manifest is None:
            try:
                manifest = await self._run(self._parsed, path)
            except ManifestError as error:
                raise heads.HeadError("digest", f"the manifest that came may not be installed: {error}") from None
        assert manifest is not None
        self.manifest = manifest
        try:
            self.cut = await self._run(self._cut, data, manifest)
        except LayoutError as error:
            raise heads.HeadError("digest", str(error)) from None
        return manifest

    def head(self, what: str, bases: Any) -> Optional[Passed]:
        """What another node gets of us, when it is sent to us for it."""
        path = os.path.join(self.directory, what)
        if what == "manifest" and self._base and isinstance(bases, list) and self._base in bases:
            return passed(f"{path}.difference", self._base)
        return passed(path)

    async def _layout(self, tracking: Tracking, region: str) -> bytes:
        path = os.path.join(self.directory, "layout")
        data: bytes = await self._run(_read_file, path)
        if hashlib.sha256(data).hexdigest() != self.layout:
            data = await heads.ask_layout(tracking.ask, self.sha256, self.layout, tracking.elsewhere, region)
            await self._run(_write_file, path, data)
        return data

    def _read(self, path: str) -> Optional[Manifest]:
        try:
            return self._parsed(path)
        except (OSError, ManifestError):
            return None

    def _parsed(self, path: str) -> Manifest:
        """In a thread. Raises ManifestError, OSError."""
        found = parse(heads.text_lines(path))
        if found.sha256 != self.sha256:
            raise ManifestError("it has another digest than was asked for")
        return found

    def _cut(self, data: bytes, manifest: Manifest) -> Pieces:
        return pieces(parse_layout(data, manifest.sha256, len(manifest.chunks)), manifest.chunks)

    async def look(self, holdings: Holdings, room: bool) -> None:
        """What is held: pieces of installed releases, and pieces of an earlier try, verified again.

        Raises AssembleError `space` when what is missing and (with `room`) the release cannot lie here, OSError.
        """
        assert self.manifest is not None and self.cut is not None
        spool = Spool(self.directory, self.cut.sizes)
        self.store = HostStore(spool, holdings, self.cut, self.manifest)
        self.had = await self._run(holdings.pieces, self.cut, self.manifest)
        self.had |= await self._run(spool.resume, self._good)
        need = sum(size for piece, size in enumerate(self.cut.sizes) if not self.had >> piece & 1)
        check_room(self.host_dir, need + (room_for(self.manifest) if room else 0))

    def _good(self, piece: int, encoding: int, data: bytes) -> bool:
        assert self.manifest is not None and self.cut is not None
        try:
            verified(encoding, data, piece, self.cut, self.manifest.chunks)
        except Spoilt:
            return False
        return True

    async def move(self, address: str, port: int, region: str, lost: Sequence[int] = ()) -> None:
        """Take part until every piece is here. `lost` are chunks that turned out not to be held after all.

        Raises OSError of the spool (spool.Full), Stopped.
        """
        assert self.manifest is not None and self.cut is not None and self.store is not None
        assert self._tracking is not None
        have = self.runtime.core.have if self.runtime is not None else self.had
        if lost:
            where, _ = self.cut.places(self.manifest.chunks)
            for chunk in lost:
                if where[chunk] not in self.store.spool:
                    have &= ~(1 << where[chunk])
            self.had &= have
            self._part(heads=False)
        self._whole = self._loop.create_future()
        core = Core(self.cut.sizes, have, chooser=False, seed=self._seed)
        runtime = Runtime(self.exchange, self.id, self.cut, self.manifest.chunks, self.store, core)
        if self.runtime is not None:
            runtime.received, runtime.sent = self.runtime.received, self.runtime.sent
        self.runtime = runtime
        runtime.on_complete = self._completed
        runtime.on_change = self.on_change
        runtime.on_trouble = self._troubled
        runtime.on_fault = self._faulty
        runtime.allow = lambda link, count: self.allow(count)
        runtime.took = self.took
        if self.paused:
            runtime.hold(True)
        if core.done:
            self._completed()
        doc = {
            "op": "join", "swarm": self.id, "sha256": self.sha256, "layout": self.layout, "address": address,
            "port": port, "region": region,
        }
        self._tracking.enter(self.id, Membership(doc, self._add, self._hang_up))
        await self._whole

    def _add(self, place: Place, chooser: bool) -> None:
        runtime = self.runtime
        if runtime is None:
            return
        if not chooser:
            runtime.offer(place.name, place.address, place.port)
        elif not runtime.core.done:
            if self._chooser is not None and self._chooser != place:
                self._hang_up(self._chooser.name.node)
            self._chooser = place
            runtime.offer(place.name, place.address, place.port, upstream=True)

    def _hang_up(self, node: str) -> None:
        if self.runtime is not None:
            self.runtime.forget(node)
            link = self.runtime.links.get(node)
            if link is not None:
                link.close()

    def look_around(self) -> None:
        """Now and then: does nobody give us anything?"""
        if self.runtime is not None and self._tracking is not None and self.runtime.core.stuck(self._loop.time()):
            self._tracking.rescue(self.id)

    def _completed(self) -> None:
        if self._whole is not None and not self._whole.done():
            self._whole.set_result(None)

    def _faulty(self, node: str, why: str) -> None:
        if self._chooser is not None and self._chooser.name.node == node and self._tracking is not None:
            self._tracking.avoid(node, why)

    def _troubled(self, error: OSError) -> None:
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(error)

    def stop(self) -> None:
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(Stopped())

    def hold(self, paused: bool) -> None:
        self.paused = paused
        if self.runtime is not None:
            self.runtime.hold(paused)

    def _part(self, *, heads: bool = True) -> None:
        if self._tracking is not None:
            self._tracking.leave(self.id, heads=heads)
        if self.runtime is not None:
            self.runtime.close()

    def close(self) -> None:
        """Leave the swarm; what came stays for another try."""
        self._part()
        if self.store is not None:
            self.store.spool.close()

    def remove(self) -> None:
        """Leave the swarm and delete its pieces."""
        self._part()
        if self.store is not None:
            self.store.spool.remove()

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._slow, work, *args)

    # facts

    def facts(self) -> Dict[str, object]:
        """Those of FACTS (docs/artifacts.md) that the swarm knows."""
        if self.cut is None:
            return {"pieces": 0, "have": 0, "had": 0, "cells": "", "to_move": 0, "moved": 0}
        runtime, sizes = self.runtime, self.cut.sizes
        have = runtime.core.have if runtime is not None else self.had
        to_move = moved = 0
        for piece, size in enumerate(sizes):
            if not self.had >> piece & 1:
                to_move += size
                if have >> piece & 1:
                    moved += size
        found: Dict[str, object] = {
            "pieces": len(sizes), "have": bin(have).count("1"), "had": bin(self.had).count("1"),
            "cells": cells(have, self.had, len(sizes)), "to_move": to_move, "moved": moved,
        }
        if runtime is not None:
            found.update({
                "from": dict(runtime.received), "sent": sum(runtime.sent.values()), "bad": runtime.core.bad,
                "duplicates": runtime.core.duplicates, "fallbacks": runtime.core.fallbacks,
                "peers": sum(1 for link in runtime.links.values() if link.name.kind == "host"),
            })
        return found


def cells(have: int, had: int, count: int) -> str:
    """At most 64 characters: `#` has, `=` had before, `+` partly, `.` missing."""
    width = min(count, CELLS)
    out: List[str] = []
    for cell in range(width):
        first, end = cell * count // width, (cell + 1) * count // width
        mask = (1 << end - first) - 1
        here, before = have >> first & mask, had >> first & mask
        if here == mask:
            out.append("=" if before == mask else "#")
        else:
            out.append("+" if here else ".")
    return "".join(out)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as f:
            return f.read(32 * 1024 * 1024)
    except OSError:
        return b""


def _write_file(path: str, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as f:
        f.write(data)
