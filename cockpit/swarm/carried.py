"""One swarm in a relay: the cache's pieces of it between upstream and the region."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from cockpit.swarm.cache import Held
from cockpit.swarm.content import Readable
from cockpit.swarm.core import Core
from cockpit.swarm.exchange import Exchange
from cockpit.swarm.link import Link
from cockpit.swarm.moving import cells
from cockpit.swarm.runtime import Runtime, Store
from cockpit.swarm.tracking import Place

AGAIN = 5.0
"""Seconds after which a cache that failed is tried again."""
RATE_OVER = 5.0
"""Seconds that a rate is averaged over."""


class Shelf(Store):
    """The pieces of a swarm in the cache."""

    def __init__(self, held: Held) -> None:
        self.held = held

    def open(self, piece: int) -> Optional[Readable]:
        return self.held.spool.open(piece)

    def load(self, piece: int) -> Readable:
        raise KeyError(f"piece {piece} is not in the cache")

    def add(self, piece: int, encoding: int, data: bytes) -> None:
        self.held.spool.add(piece, encoding, data)


class Carried:
    """`allow(swarm, link, count)` limits what is sent; `on_change` is called when there are new facts."""

    def __init__(
        self, exchange: Exchange, held: Held, upstream: Place, allow: Callable[[str, Link, int], float],
        on_change: Callable[["Carried"], None], on_trouble: Callable[["Carried", OSError], None],
    ) -> None:
        self.held = held
        self.upstream = upstream
        self.had = held.have
        self.quiet_since = time.monotonic()
        """Since when nobody has had a use for it; see `idle`."""
        self.on_whole: Callable[["Carried"], None] = lambda carried: None
        self.note = ""
        """Why it stands still; empty when it does not."""
        self._before: Dict[str, int] = {}
        """Bytes by sender that had come before the present push."""
        self._sent_before = 0
        self._seen: Deque[Tuple[float, int]] = deque()
        self._warmers: List["asyncio.Future[None]"] = []
        core = Core(held.pieces.sizes, held.have, chooser=True)
        self.runtime = Runtime(exchange, held.swarm, held.pieces, held.chunks, Shelf(held), core)
        self.runtime.allow = lambda link, count: allow(held.swarm, link, count)
        self.runtime.on_change = lambda: on_change(self)
        self.runtime.on_complete = self._whole
        self.runtime.on_trouble = lambda error: self._troubled(error, on_trouble)
        self.reach()

    @property
    def done(self) -> bool:
        return self.runtime.core.done

    def reach(self) -> None:
        """Be connected upstream while something is missing."""
        above = self.upstream
        if not self.done and above.name.node not in self.runtime.links:
            self.runtime.offer(above.name, above.address, above.port, upstream=True)

    async def warm(self) -> None:
        """Get every piece. Raises OSError when the cache cannot take it."""
        if self.done:
            return
        self.runtime.warm(True)
        future: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        self._warmers.append(future)
        await future

    def _whole(self) -> None:
        """Nothing is wanted of upstream any more."""
        node = self.upstream.name.node
        self.runtime.forget(node)
        link = self.runtime.links.get(node)
        if link is not None:
            link.close()
        for future in self._warmers:
            if not future.done():
                future.set_result(None)
        self._warmers.clear()
        self.on_whole(self)

    def _troubled(self, error: OSError, tell: Callable[["Carried", OSError], None]) -> None:
        """The runtime holds still. It is tried again: room may be made meanwhile."""
        if not self.note:
            asyncio.get_running_loop().call_later(AGAIN, self._again)
        self.note = error.strerror or str(error)
        for future in self._warmers:
            if not future.done():
                future.set_exception(error)
        self._warmers.clear()
        tell(self, error)

    def _again(self) -> None:
        self.note = ""
        if not self.runtime.closed:
            self.runtime.hold(False)

    def idle(self, members: int, pinned: bool) -> float:
        """Seconds since it was last of use: a member, a connection from below, an order."""
        below = any(node != self.upstream.name.node for node in self.runtime.links)
        if members or below or pinned or self._warmers:
            self.quiet_since = time.monotonic()
        return time.monotonic() - self.quiet_since

    def begin(self) -> None:
        """Another push begins: facts count from here."""
        self.had = self.runtime.core.have
        self._before = dict(self.runtime.received)
        self._sent_before = sum(self.runtime.sent.values())

    def facts(self) -> Dict[str, Any]:
        runtime, sizes = self.runtime, self.held.pieces.sizes
        have = runtime.core.have
        to_move = sum(size for piece, size in enumerate(sizes) if not self.had >> piece & 1)
        moved = sum(size for piece, size in enumerate(sizes) if have & ~self.had & 1 << piece)
        came = sum(runtime.received.values())
        return {
            "pieces": len(sizes), "have": bin(have).count("1"), "had": bin(self.had).count("1"),
            "cells": cells(have, self.had, len(sizes)), "to_move": to_move, "moved": moved,
            "from": {name: count - self._before.get(name, 0) for name, count in runtime.received.items()},
            "sent": sum(runtime.sent.values()) - self._sent_before, "rate": self._rate(came),
            "bad": runtime.core.bad, "duplicates": runtime.core.duplicates, "fallbacks": runtime.core.fallbacks,
            "peers": sum(1 for link in runtime.links.values() if _below(link, self.upstream)),
            "phase": "seed" if self.done else "pieces", "note": self.note,
        }

    def _rate(self, came: int) -> int:
        """Bytes per second that come in now."""
        now = time.monotonic()
        self._seen.append((now, came))
        while len(self._seen) > 1 and now - self._seen[1][0] >= RATE_OVER:
            self._seen.popleft()
        first, before = self._seen[0]
        return int((came - before) / (now - first)) if now - first > 0.1 else 0

    def close(self) -> None:
        self.runtime.close("this relay gives the artifact up")
        for future in self._warmers:
            future.cancel()


def _below(link: Link, upstream: Place) -> bool:
    return link.node != upstream.name.node
