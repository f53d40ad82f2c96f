"""One swarm in one node: the rules of `Core` between connections, a store of pieces and the limits.

The same for a receiver, an origin, and a relay that is a receiver upstream and a chooser downstream.
"""

from __future__ import annotations

import asyncio
import random
from typing import Callable, Coroutine, Dict, List, NamedTuple, Optional, Set

from cockpit.swarm import wire
from cockpit.swarm.content import ZLIB, Bytes, Readable, Spoilt, longest, verified
from cockpit.swarm.core import Complete, Core, Drop, Effects, PeerFault, Send, Serve, Stop
from cockpit.swarm.exchange import Exchange, Target
from cockpit.swarm.layout import Pieces
from cockpit.swarm.link import Link, Slices
from cockpit.swarm.manifest import Chunks
from cockpit.swarm.tls import Name

INLINE = {ZLIB: 160 * 1024}
"""Up to this size a piece is verified on the loop (a millisecond or two); raw ones up to the default."""
INLINE_RAW = 640 * 1024
RETRY = (0.3, 1.0, 2.0, 5.0)
"""Seconds before dialling a node again, the last one for ever."""
PARTIALS = 8
"""Pieces that one connection may have begun and not ended."""
VERIFYING = 3
"""Pieces that wait to be verified; the connections that bring more are not read meanwhile."""
MOST = 128
"""Nodes that are dialled and kept: several times what a tracker that is right names."""
BROKEN = 3
"""Times that a peer may hang up in the middle of a piece."""
BANNED = 60.0
"""Seconds that a node which broke the rules is not let in."""


class Store:
    """Where the pieces of a node are. `open` and `add` run on the loop, `load` in a thread."""

    def open(self, piece: int) -> Optional[Readable]:
        """None: it takes longer, use `load`."""
        raise NotImplementedError

    def load(self, piece: int) -> Readable:
        """Raises OSError, KeyError, Spoilt."""
        raise NotImplementedError

    def add(self, piece: int, encoding: int, data: bytes) -> None:
        """Raises OSError (spool.Full when there is no room)."""
        raise NotImplementedError


class Place(NamedTuple):
    name: Name
    address: str
    port: int
    upstream: bool


class Runtime(Target):
    """`id` is the swarm's. The three callbacks are set by the owner; all come on the loop."""

    def __init__(
        self, exchange: Exchange, id: str, pieces: Pieces, chunks: Chunks, store: Store, core: Core
    ) -> None:
        self.exchange = exchange
        self.id = id
        self.layout = pieces
        self.chunks = chunks
        self.store = store
        self.core = core
        self.pieces = len(pieces)
        self.links: Dict[str, Link] = {}
        self.received: Dict[str, int] = {}
        """Encoded bytes by the name of the sender, thrown away ones included."""
        self.sent: Dict[str, int] = {}
        self.faults: Dict[str, str] = {}
        """Why nodes were dropped."""
        self.on_complete: Callable[[], None] = _nothing
        self.on_change: Callable[[], None] = _nothing
        """A piece came, or a node came or left."""
        self.on_fault: Callable[[str, str], None] = lambda node, why: None
        """A node was dropped for this reason."""
        self.on_trouble: Callable[[OSError], None] = lambda error: None
        """The store failed; the swarm holds still."""
        self.allow: Callable[[Link, int], float] = lambda link, count: 0.0
        """Limit of what goes out, see Link.allow."""
        self.took: Callable[[int], None] = lambda count: None
        """Told of what came in."""
        self.closed = False
        self._places: Dict[str, Place] = {}
        self._dialling: Dict[str, "asyncio.Task[None]"] = {}
        self._partial: Dict[Link, Dict[int, bytearray]] = {}
        self._verifying = 0
        self._held: List[Link] = []
        self._loading: Dict["tuple[str, int]", bool] = {}
        self._banned: Dict[str, float] = {}
        self._broken: Dict[str, int] = {}
        self._timer: Optional[asyncio.TimerHandle] = None
        self._tasks: "Set[asyncio.Task[None]]" = set()
        self._loop = asyncio.get_running_loop()
        exchange.targets[id] = self

    # who is there

    def offer(self, name: Name, address: str, port: int, *, upstream: bool = False, delay: float = 0.0) -> None:
        """Keep a connection to this node: dialled by us after `delay` seconds, and again whenever it breaks."""
        node = name.node
        if len(self._places) >= MOST and node not in self._places and not upstream:
            return
        self._places[node] = Place(name, address, port, upstream)
        if node not in self.links and node not in self._dialling and not self.closed:
            self._dialling[node] = self._spawn(self._dial(node, delay))

    def _spawn(self, work: "Coroutine[object, object, None]") -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def forget(self, node: str) -> None:
        """Dial it no more; a connection that stands stays."""
        self._places.pop(node, None)

    async def _dial(self, node: str, delay: float) -> None:
        tries = 0
        try:
            while True:
                if delay:
                    await asyncio.sleep(delay)
                place = self._places.get(node)
                if place is None or node in self.links:
                    return
                if self._is_banned(node):
                    if not place.upstream:
                        return
                    delay = BANNED  # there may be no other
                    continue
                try:
                    link = await self.exchange.dial(place.address, place.port, place.name, self.id, self)
                except OSError as error:
                    if not tries:
                        self.exchange.remark(f"{place.name} at {place.address}:{place.port}: {error}")
                else:
                    await self._settle(link)
                delay = RETRY[min(tries, len(RETRY) - 1)] * random.uniform(0.5, 1.5)
                tries += 1
        finally:
            self._dialling.pop(node, None)

    async def _settle(self, link: Link) -> None:
        """Until its hello came, or it is gone."""
        while link.hello is None and not link.closed:
            await asyncio.sleep(0.05)

    def attach(self, link: Link) -> None:
        node = link.node
        if self._is_banned(node):
            link.close(f"it was dropped: {self.faults.get(node, '')}")
            return
        old = self.links.get(node)
        if old is not None:
            if old.dialler != link.dialler and old.dialler < link.dialler:
                link.close()  # both dialled: the connection made by the first of the two names stays
                return
            self._leave(old)
            old.close()
        self.links[node] = link
        self._partial[link] = {}
        link.allow = lambda count: self.allow(link, count)
        place = self._places.get(node)
        upstream = link.name.role == "origin" or (place is not None and place.upstream)
        self._apply(self.core.joined(node, link.name.role, None, self._loop.time(), upstream=upstream))
        self.on_change()

    def detached(self, link: Link, why: str) -> None:
        if self.links.get(link.node) is not link:
            return
        if why:
            self.exchange.remark(f"{link.name}: {why}")
        place = self._places.get(link.node)
        if self._partial.get(link) and not (place is not None and place.upstream):
            self._broken[link.node] = self._broken.get(link.node, 0) + 1
        if link.faulty or self._broken.get(link.node, 0) >= BROKEN:
            self._broken.pop(link.node, None)
            self._ban(link, why)
        self._leave(link)
        if place is not None and not self.closed:
            self.offer(place.name, place.address, place.port, upstream=place.upstream, delay=RETRY[0])
        self.on_change()

    def _leave(self, link: Link) -> None:
        del self.links[link.node]
        self._partial.pop(link, None)
        if not self.closed:
            fault = self._is_banned(link.node)
            self._apply(self.core.left(link.node, self._loop.time(), fault=fault))

    def _is_banned(self, node: str) -> bool:
        return self._banned.get(node, 0.0) > self._loop.time()

    # what comes in

    def heard(self, link: Link, message: object) -> None:
        try:
            if type(message) is wire.Data:
                self._data(link, message)
            elif isinstance(message, (wire.Hello, wire.Words, wire.Blob)):
                raise wire.WireError("words do not belong here")
            else:
                self._apply(self.core.heard(link.node, message, self._loop.time()))  # type: ignore[arg-type]
        except PeerFault as fault:
            self._ban(link, str(fault))

    def _ban(self, link: Link, why: str) -> None:
        self.faults[link.node] = why
        self._banned[link.node] = self._loop.time() + BANNED
        link.close(why)
        self.on_fault(link.node, why)

    def _data(self, link: Link, message: wire.Data) -> None:
        piece, encoding, total, offset, payload = message
        count = len(payload)
        node = link.node
        if piece >= self.pieces or total > longest(self.layout.sizes[piece]):
            raise PeerFault(f"a slice of a piece that cannot be ({piece}, {total} bytes)")
        link.received += count
        # shares are told in bytes of content, as sizes are: senders may encode the same piece differently
        self.received[node] = self.received.get(node, 0) + count * self.layout.sizes[piece] // max(total, 1)
        self.took(count)
        partial = self._partial.get(link)
        if partial is None:
            return
        now = self._loop.time()
        wanted = self.core.progressed(node, message, now)
        if self.core.wake is not None and self.core.wake <= now:
            self._arm()
        if not wanted:
            partial.pop(piece, None)
            return
        if not offset:
            partial[piece] = bytearray(total)
            if len(partial) > PARTIALS:
                raise PeerFault(f"more than {PARTIALS} pieces at once")
        data = partial[piece]
        data[offset : offset + count] = payload
        if offset + count < total:
            return
        del partial[piece]
        if total <= INLINE.get(encoding, INLINE_RAW):
            try:
                verified(encoding, data, piece, self.layout, self.chunks)
            except Spoilt as error:
                self._spoilt(node, piece, str(error))
            else:
                self._keep(node, piece, encoding, data)
        else:
            self._verifying += 1
            if self._verifying >= VERIFYING:  # it comes faster than it can be looked at
                link.pause_reading(True)
                self._held.append(link)
            self._spawn(self._verify(node, piece, encoding, data))

    async def _verify(self, node: str, piece: int, encoding: int, data: bytearray) -> None:
        try:
            try:
                await self._loop.run_in_executor(
                    self.exchange.worker, verified, encoding, data, piece, self.layout, self.chunks
                )
            finally:
                self._verifying -= 1
                while self._held and self._verifying < VERIFYING:
                    self._held.pop().pause_reading(False)
        except Spoilt as error:
            self._spoilt(node, piece, str(error))
        else:
            self._keep(node, piece, encoding, data)

    def _spoilt(self, node: str, piece: int, why: str) -> None:
        if not self.closed:
            self.faults[node] = f"piece {piece} from it is bad: {why}"
            self._apply(self.core.spoilt(piece, node, self._loop.time()))
            self.on_change()

    def _keep(self, node: str, piece: int, encoding: int, data: Bytes) -> None:
        if self.closed:
            return
        try:
            self.store.add(piece, encoding, data)  # type: ignore[arg-type]
        except OSError as error:
            self.hold(True)
            self.on_trouble(error)
            return
        self._apply(self.core.stored(piece, node, self._loop.time()))
        self.on_change()

    # what goes out

    def _apply(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Complete):
                self._loop.call_soon(self.on_complete)
                continue
            link = self.links.get(effect.peer)
            if link is None:
                continue
            if isinstance(effect, Send):
                link.send(effect.message)
            elif isinstance(effect, Serve):
                self._serve(link, effect.piece)
            elif isinstance(effect, Stop):
                self._stop(link, effect.piece)
            elif isinstance(effect, Drop):
                self._ban(link, effect.why)
        self._arm()

    def _serve(self, link: Link, piece: int) -> None:
        try:
            found = self.store.open(piece)
        except OSError as error:
            self._unreadable(link, piece, error)
            return
        if found is None:
            self._loading[link.node, piece] = True
            self._spawn(self._load(link, piece))
        else:
            self._upload(link, piece, found)

    async def _load(self, link: Link, piece: int) -> None:
        try:
            found = await self._loop.run_in_executor(self.exchange.worker, self.store.load, piece)
        except (OSError, KeyError, Spoilt) as error:
            self._loading.pop((link.node, piece), None)
            self._unreadable(link, piece, error)
            return
        if self._loading.pop((link.node, piece), False):
            self._upload(link, piece, found)
        else:
            self._served(link, piece)

    def _unreadable(self, link: Link, piece: int, error: Exception) -> None:
        self.exchange.remark(f"piece {piece} cannot be read: {error}")
        link.send(wire.Refuse(piece))
        self._loop.call_soon(self._served, link, piece)

    def _upload(self, link: Link, piece: int, found: Readable) -> None:
        encoding = found.encoding

        def head(total: int, offset: int, length: int) -> bytes:
            return wire.data_header(piece, encoding, total, offset, length)

        def done() -> None:
            self.sent[link.node] = self.sent.get(link.node, 0) + found.total
            self._served(link, piece)

        link.upload(Slices(piece, found.total, head, found.read, done))

    def _stop(self, link: Link, piece: int) -> None:
        if (link.node, piece) in self._loading:
            self._loading[link.node, piece] = False
        elif link.cancel(piece):
            self._loop.call_soon(self._served, link, piece)

    def _served(self, link: Link, piece: int) -> None:
        if self.links.get(link.node) is link and not self.closed:
            self._apply(self.core.served(link.node, piece, self._loop.time()))

    # time

    def hold(self, paused: bool) -> None:
        self._apply(self.core.hold(paused, self._loop.time()))

    def warm(self, on: bool) -> None:
        """Of a relay: get every piece, or only what is wanted."""
        self._apply(self.core.warm(on, self._loop.time()))

    def _arm(self) -> None:
        wake = self.core.wake
        if wake is None or self.closed:
            return
        if self._timer is not None:
            if self._timer.when() <= wake:
                return  # it looks again then
            self._timer.cancel()
        self._timer = self._loop.call_at(wake, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self.core.wake is not None and self.core.wake <= now + 0.001:
            self._apply(self.core.tick(now))
        else:
            self._arm()

    def close(self, why: str = "") -> None:
        """Leave the swarm: every connection of it ends."""
        self.closed = True
        self.exchange.targets.pop(self.id, None)
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._dialling.values()):
            task.cancel()
        for link in list(self.links.values()):
            link.close(why)


def _nothing() -> None:
    return
