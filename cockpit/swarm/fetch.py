"""One `fetch` of a peer, from the question for the manifest to the installed release and the seeding after it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from concurrent.futures import Executor
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Tuple

from cockpit.swarm import assemble
from cockpit.swarm.exchange import Exchange
from cockpit.swarm.heads import HeadError
from cockpit.swarm.holdings import Holdings
from cockpit.swarm.manifest import HEX, WORD, Manifest, parse
from cockpit.swarm.moving import Move, Stopped
from cockpit.swarm.passing import Passed
from cockpit.swarm.patching import Patch, PatchError
from cockpit.swarm.signatures import Unsigned, check_fetch
from cockpit.swarm.spool import FULL
from cockpit.swarm.tls import Name
from cockpit.swarm.tracking import Place, Tracking

WINDOW = 3.0
"""Seconds over which the rate is told."""
TRIES = 4
"""Times that chunks which turned out to be altered or missing are fetched instead."""
MAX_TRACKERS = 16


class FetchError(Exception):
    """`code` as `fetch` answers it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Asked:
    """The arguments of a fetch, looked at. Raises FetchError `bad`."""

    def __init__(self, args: Mapping[str, Any], cluster: str) -> None:
        self.args = args
        self.name = _word(args, "name")
        self.version = _word(args, "version")
        self.sha256 = _digest(args, "sha256")
        self.layout = _digest(args, "layout")
        self.region = _text(args, "region")
        self.address = _text(args, "address")
        self.port = _port(args, "port", 0)
        trackers = args.get("trackers")
        if not isinstance(trackers, list) or not 0 < len(trackers) <= MAX_TRACKERS:
            raise FetchError("bad", f"`trackers` must be a list of 1 to {MAX_TRACKERS}")
        self.trackers: List[Place] = []
        for tracker in trackers:
            if not isinstance(tracker, dict):
                raise FetchError("bad", "a tracker has a name, an address and a port")
            name = _text(tracker, "name")
            kind = Name("relay", name) if name else Name("controller", cluster)
            self.trackers.append(Place(kind, _text(tracker, "address"), _port(tracker, "port", 1)))
        patch = args.get("patch")
        self.patch: Optional[Tuple[str, str, str]] = None
        """(manifest it starts from, manifest of the patch, its layout)"""
        if patch is not None:
            if not isinstance(patch, dict) or not isinstance(patch.get("from"), dict):
                raise FetchError("bad", "`patch` has from, sha256 and layout")
            self.patch = _digest(patch["from"], "sha256"), _digest(patch, "sha256"), _digest(patch, "layout")


class Fetch:
    """`run` returns the data of the answer; afterwards the host seeds until `close`."""

    def __init__(
        self, asked: Asked, exchange: Exchange, slow: Executor, host_dir: str, tracking: Tracking,
        prepare: Callable[[Move], None],
    ) -> None:
        """`prepare` sets the limits of each swarm."""
        self.asked = asked
        self.sha256 = asked.sha256
        self.note = ""
        self.phase = "manifest"
        self.changed = True
        self.paused = False
        self.installed_bytes = 0
        self._exchange = exchange
        self._slow = slow
        self._dir = host_dir
        self._tracking = tracking
        self._prepare = prepare
        self._move: Optional[Move] = None
        self._patch: Optional[Move] = None
        self._active: Optional[Move] = None
        """The one whose pieces are on their way."""
        self._holdings: Optional[Holdings] = None
        self._stopped = False
        self._seen: Deque[Tuple[float, int]] = deque()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Dict[str, Any]:
        """{"bytes", "swarm": FACTS}. Raises FetchError; what came stays for another try then."""
        try:
            return await self._run()
        except HeadError as error:
            at = self._tracking.place
            where = f"{at.name} at {at.address}:{at.port}: " if at is not None else ""
            raise FetchError("bad" if error.code == "unknown" else error.code, f"{where}{error}") from None
        except Unsigned as error:
            raise FetchError("unsigned", str(error)) from None
        except assemble.AssembleError as error:
            raise FetchError("altered" if error.code == "missing" else error.code, str(error)) from None
        except Stopped:
            raise FetchError("stopped", "stopped") from None
        except OSError as error:
            code = "space" if error.errno in FULL else "bad"
            raise FetchError(code, f"{error.filename or self._dir}: {error.strerror or error}") from None

    async def _run(self) -> Dict[str, Any]:
        asked = self.asked
        found = assemble.installed(self._dir, asked.name, asked.version)
        if found and found != asked.sha256:
            raise FetchError(
                "exists", f"{asked.name}/{asked.version} is on this host with other content ({found[:12]})"
            )
        self._holdings = await self._thread(Holdings, self._dir, asked.name)
        if asked.patch is not None and not found and any(d == asked.patch[0] for _, d in self._holdings.heads):
            try:
                await self._by_patch(self._holdings, *asked.patch)
                return self._answer()
            except PatchError as error:
                self.note = f"the patch does not do: {error}"
                self._exchange.remark(self.note)
        self._active = move = self._move or self._begin(asked.sha256, asked.layout)
        self._move = move
        manifest = await move.prepare(self._tracking, self._holdings, asked.address, asked.port, asked.region)
        self._check(manifest)
        await self._install(move, manifest, self._holdings, bool(found))
        return self._answer()

    def _begin(self, sha256: str, layout: str) -> Move:
        if self._stopped:
            raise Stopped
        seed = hash((self._exchange.name, sha256))
        move = Move(self._exchange, self._slow, self._dir, sha256, layout, seed, self._change)
        move.paused = self.paused
        self._prepare(move)
        return move

    def _check(self, manifest: Manifest) -> None:
        """Before the first piece. Raises FetchError, Unsigned."""
        if self._stopped:
            raise Stopped
        if (manifest.name, manifest.version) != (self.asked.name, self.asked.version):
            raise FetchError("bad", f"the manifest is that of {manifest.name}/{manifest.version}")
        check_fetch(self.asked.args, manifest, self._dir)

    async def _install(self, move: Move, manifest: Manifest, holdings: Holdings, there: bool) -> None:
        asked = self.asked
        await move.look(holdings, not there)
        lost: List[int] = []
        for _ in range(TRIES):
            self._to("pieces")
            await move.move(asked.address, asked.port, asked.region, lost)
            self._to("install")
            assert move.store is not None
            try:
                self.installed_bytes = await self._thread(
                    assemble.install, self._dir, manifest, holdings, move.store.chunk
                )
            except assemble.AssembleError as error:
                if not error.chunks:
                    raise
                lost = error.chunks  # an installed release was altered: these come from the swarm
                self.note = f"{len(lost)} chunks of installed releases were altered and are fetched again"
                continue
            finally:
                move.store.forget()
            self._to("seed")
            return
        raise FetchError("altered", "installed releases are altered while they are read; nothing was installed")

    async def _by_patch(self, holdings: Holdings, base: str, sha256: str, layout: str) -> None:
        """Fetch the patch's own artifact, and make the release from it and an installed one.

        Raises PatchError (the chunks still do), and what `run` takes care of.
        """
        self._active = self._patch = move = self._begin(sha256, layout)
        self._move = wanted = self._begin(self.asked.sha256, self.asked.layout)
        try:
            where = (self.asked.address, self.asked.port, self.asked.region)
            manifest = await wanted.prepare(self._tracking, holdings, *where)
            self._check(manifest)
            carrier = await move.prepare(self._tracking, holdings, *where)
        except HeadError as error:
            if error.code == "unreachable":
                raise
            raise PatchError(str(error)) from None
        files = [entry for entry in carrier.entries if entry.kind == "f"]
        if carrier.kind != "patch" or len(files) != 1:
            raise PatchError("it is not a patch of one file")
        await move.look(holdings, True)
        assemble.check_room(self._dir, assemble.room_for(manifest) + files[0].size)
        self._to("pieces")
        await move.move(self.asked.address, self.asked.port, self.asked.region)
        self._to("install")
        assert move.store is not None
        self.installed_bytes = await self._thread(
            self._apply, holdings, base, manifest, carrier, os.path.join(move.directory, "patch")
        )
        self._to("seed")

    def _apply(self, holdings: Holdings, base: str, manifest: Manifest, carrier: Manifest, path: str) -> int:
        """In a thread. Raises PatchError, AssembleError, OSError."""
        assert self._patch is not None and self._patch.store is not None
        entry = next(e for e in carrier.entries if e.kind == "f")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        assemble.write_file(carrier, entry, self._patch.store.chunk, path)
        try:
            old = parse(holdings.manifest_lines(base))
            with Patch(path, holdings.release(base), old, manifest) as patch:
                return assemble.install(self._dir, manifest, holdings, patch=patch)
        finally:
            os.unlink(path)

    async def _thread(self, work: Callable[..., Any], *args: Any) -> Any:
        """A long piece of work; a stop is noticed when it is over."""
        found = await self._loop.run_in_executor(self._slow, work, *args)
        if self._stopped:
            raise Stopped
        return found

    # what others ask of it

    def hold(self, paused: bool) -> None:
        self.paused = paused
        for move in self._moves():
            move.hold(paused)
        self._change()

    def look_around(self) -> None:
        """Called every few seconds while it runs."""
        if self._active is not None and not self.paused:
            self._active.look_around()

    def stop(self) -> None:
        self._stopped = True
        for move in self._moves():
            move.stop()

    def end(self, remove: bool) -> None:
        """Leave the swarm; the pieces stay only for another try."""
        for move in self._moves():
            if remove:
                move.remove()
            else:
                move.close()
        if self._holdings is not None:
            self._holdings.close()

    def head(self, what: str, sha256: str, layout: str, bases: Any) -> Optional[Passed]:
        """A head of ours that another node asks for."""
        for move in self._moves():
            if (move.sha256, move.layout) == (sha256, layout):
                return move.head(what, bases)
        return None

    def _moves(self) -> List[Move]:
        return [move for move in (self._patch, self._move) if move is not None]

    # facts

    def _to(self, phase: str) -> None:
        if self._stopped:
            raise Stopped
        self.phase = phase
        self._change()

    def _change(self) -> None:
        self.changed = True

    def _answer(self) -> Dict[str, Any]:
        return {"bytes": self.installed_bytes, "swarm": self.facts()}

    def facts(self) -> Dict[str, Any]:
        """FACTS of docs/artifacts.md."""
        facts: Dict[str, Any] = {
            "pieces": 0, "have": 0, "had": 0, "cells": "", "to_move": 0, "moved": 0, "from": {}, "sent": 0,
            "rate": 0, "bad": 0, "duplicates": 0, "fallbacks": 0, "peers": 0,
        }
        if self._active is not None:
            facts.update(self._active.facts())
        came = sum(facts["from"].values())
        now = self._loop.time()
        self._seen.append((now, came))
        while len(self._seen) > 2 and self._seen[0][0] < now - WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        facts["rate"] = int((came - before) / (now - since)) if now > since and came > before else 0
        facts["phase"] = self.phase
        facts["note"] = self.note or self._tracking.note
        return facts


def _text(args: Mapping[str, Any], key: str) -> str:
    value = args.get(key, "")
    if not isinstance(value, str) or len(value) > 256:
        raise FetchError("bad", f"`{key}` must be a short text")
    return value


def _word(args: Mapping[str, Any], key: str) -> str:
    value = _text(args, key)
    if not WORD.fullmatch(value):
        raise FetchError("bad", f"`{key}` must be one word of letters, digits and . _ + -")
    return value


def _digest(args: Mapping[str, Any], key: str) -> str:
    value = _text(args, key)
    if not HEX.fullmatch(value):
        raise FetchError("bad", f"`{key}` must be a SHA-256 in hex")
    return value


def _port(args: Mapping[str, Any], key: str, least: int) -> int:
    value = args.get(key, 0)
    if type(value) is not int or not least <= value < 65536:
        raise FetchError("bad", f"`{key}` must be the number of a port")
    return value
