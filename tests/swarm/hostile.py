"""Nodes with a good certificate of the cluster that do not keep the rules.

They stand on the real TLS connections (`net`, `link`) and nothing above: what they say is up to the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from cockpit.swarm import wire
from cockpit.swarm.link import Link
from cockpit.swarm.net import Listener, dial
from cockpit.swarm.tls import Identity, Name
from tests.helpers import PATIENCE
from tests.swarm.bundle import Bundle

HOST = "127.0.0.1"
SILENT = 0.2
"""Seconds between two bytes of one that is slow."""

Lie = Callable[["Liar", Link, int], None]
"""lie(liar, link, piece): a piece was requested of it."""


class Hostile:
    """A listener and a dialler that say a hello, and hand everything else to `heard`."""

    def __init__(self, identity: Identity, node: str, role: str, pieces: int = 0) -> None:
        self.identity = identity
        self.node = node
        """What it calls itself."""
        self.role = role
        self.pieces = pieces
        self.hellos: dict[Link, wire.Hello] = {}
        self.links: list[Link] = []
        self.gone: dict[str, str] = {}
        """Of connections that ended: by node, what our own side made of it."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.listener = Listener(identity, self.links.append, self._message, self._closed)
        self.listener.start(HOST, 0)
        self.port = self.listener.port

    async def dial(self, port: int, wanted: Name, swarm: str) -> Link:
        link = await dial(self.identity, HOST, port, wanted, self._message, self._closed)
        self.links.append(link)
        link.dialler = self.node
        link.send(wire.Hello(swarm, self.node, self.role, self.pieces if swarm else 0))
        return link

    def _message(self, link: Link, message: Any) -> None:
        if not isinstance(message, wire.Hello):
            self.heard(link, message)
            return
        self.hellos[link] = message
        if link.dialler != self.node:
            link.send(wire.Hello(message.swarm, self.node, self.role, message.pieces))
        self.met(link, message.swarm)

    def _closed(self, link: Link, why: str) -> None:
        self.gone[link.node] = why
        self.links = [other for other in self.links if other is not link]

    def met(self, link: Link, swarm: str) -> None:
        """Both hellos are through."""

    def heard(self, link: Link, message: Any) -> None:
        """Anything else."""

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def close(self) -> None:
        self.listener.stop()
        for task in list(self.tasks):
            task.cancel()
        for link in list(self.links):
            link.close()
        await asyncio.sleep(0)


class Liar(Hostile):
    """A peer that says it holds everything. What it does when it is asked for a piece is its `lie`."""

    def __init__(self, identity: Identity, bundle: Bundle, lie: Lie) -> None:
        super().__init__(identity, identity.name, "peer", len(bundle.encoded))
        self.bundle = bundle
        self.lie = lie
        self.asked: dict[str, int] = {}
        """Requests by the node that sent them."""
        self.joined = asyncio.Event()

    async def join(self, port: int, tracker: Name) -> None:
        """Announce itself, so that whoever joins is told of it."""
        link = await self.dial(port, tracker, "")
        link.send(wire.Words({
            "op": "join", "swarm": self.bundle.swarm, "sha256": self.bundle.sha256, "layout": self.bundle.layout,
            "address": HOST, "port": self.port, "region": "sh",
        }))
        async with asyncio.timeout(PATIENCE):
            await self.joined.wait()

    def met(self, link: Link, swarm: str) -> None:
        if swarm:
            link.send(wire.Bits((1 << self.pieces) - 1))

    def heard(self, link: Link, message: Any) -> None:
        if isinstance(message, wire.Words):
            self.joined.set()
            for place in message.doc.get("add", ()):
                if place["name"].startswith("relay") or not place["name"]:  # the chooser, which believes it too
                    self.spawn(self._dial_chooser(link))
        elif isinstance(message, wire.Request):
            self.asked[link.node] = self.asked.get(link.node, 0) + 1
            self.lie(self, link, message.piece)

    async def _dial_chooser(self, words: Link) -> None:
        with contextlib.suppress(OSError):
            await self.dial(words._sock.getpeername()[1], words.name, self.bundle.swarm)

    def connected(self) -> set[str]:
        """Peers that take part in the swarm with it."""
        return {link.node for link, hello in self.hellos.items() if hello.swarm and link.name.kind == "host"}


@contextlib.asynccontextmanager
async def closing(node: Hostile) -> AsyncIterator[Hostile]:
    try:
        yield node
    finally:
        await node.close()


def raw(link: Link, data: bytes) -> None:
    """Bytes that are no frames of ours."""
    if not link.closed:
        link._control += data
        link._soon()


def send(link: Link, piece: int, encoding: int, data: bytes) -> None:
    """A whole piece, slice by slice."""
    for at in range(0, len(data), wire.SLICE):
        link.send(wire.Data(piece, encoding, len(data), at, data[at : at + wire.SLICE]))


# what liars do when they are asked for a piece


def good(liar: Liar, link: Link, piece: int) -> None:
    """No lie: what was asked for."""
    send(link, piece, *liar.bundle.encoded[piece])


def corrupt(liar: Liar, link: Link, piece: int) -> None:
    encoding, data = liar.bundle.encoded[piece]
    send(link, piece, encoding, data[:-1] + bytes([data[-1] ^ 1]))


def wrong_piece(liar: Liar, link: Link, piece: int) -> None:
    """The good bytes of another one."""
    send(link, piece, *liar.bundle.encoded[(piece + 1) % liar.pieces])


def unasked(liar: Liar, link: Link, piece: int) -> None:
    other = (piece + 1) % liar.pieces
    send(link, other, *liar.bundle.encoded[other])


def no_such_piece(liar: Liar, link: Link, piece: int) -> None:
    send(link, liar.pieces, *liar.bundle.encoded[piece])


def too_long(liar: Liar, link: Link, piece: int) -> None:
    link.send(wire.Data(piece, 0, wire.PIECE, 0, bytes(wire.SLICE)))


def too_short(liar: Liar, link: Link, piece: int) -> None:
    encoding, data = liar.bundle.encoded[piece]
    send(link, piece, encoding, data[: len(data) // 2])


def again_and_again(liar: Liar, link: Link, piece: int) -> None:
    """The good piece, without end."""

    async def endless() -> None:
        while not link.closed:
            if len(link._control) < 256 * 1024:
                send(link, piece, *liar.bundle.encoded[piece])
            await asyncio.sleep(0.001)

    liar.spawn(endless())


def endless_frame(liar: Liar, link: Link, piece: int) -> None:
    raw(link, struct.pack(">IB", 0xFFFFFFFF, 8) + bytes(64 * 1024))


def gibberish(liar: Liar, link: Link, piece: int) -> None:
    raw(link, struct.pack(">IB", 100, 77) + bytes(99))


def bomb(liar: Liar, link: Link, piece: int) -> None:
    """A few kilobytes that make many megabytes. It would take hundreds to make them."""
    send(link, piece, 1, BOMB)


def unknown_encoding(liar: Liar, link: Link, piece: int) -> None:
    send(link, piece, 9, liar.bundle.encoded[piece][1])


def silent(liar: Liar, link: Link, piece: int) -> None:
    """It promised, and that was all."""


def slow(liar: Liar, link: Link, piece: int) -> None:
    """A byte now and then."""
    encoding, data = liar.bundle.encoded[piece]

    async def drip() -> None:
        for at in range(len(data)):
            if link.closed:
                return
            link.send(wire.Data(piece, encoding, len(data), at, data[at : at + 1]))
            await asyncio.sleep(SILENT)

    liar.spawn(drip())


def refusing(liar: Liar, link: Link, piece: int) -> None:
    """It has everything and gives nothing."""
    link.send(wire.Refuse(piece))
    link.send(wire.Have((piece,)))


def hanging_up(liar: Liar, link: Link, piece: int) -> None:
    """In the middle of the piece, each time."""
    encoding, data = liar.bundle.encoded[piece]
    link.send(wire.Data(piece, encoding, len(data), 0, data[:1000]))
    asyncio.get_running_loop().call_later(0.01, link.close)


def _bomb() -> bytes:
    packer = zlib.compressobj(9)
    made = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(60))
    return made + packer.flush()


BOMB = _bomb()
"""60 MiB in less than 64 KiB."""
assert len(BOMB) < 64 * 1024


class FalseTracker(Hostile):
    """A tracker with the certificate of one. `manifest` and `layout` are what it hands out, `peers` what it tells
    whoever joins with the word `doc`."""

    def __init__(
        self, identity: Identity, node: str, role: str, *, manifest: bytes | None = None, layout: bytes = b"",
        base: str = "", peers: Callable[[dict[str, Any]], list[dict[str, Any]]] = lambda doc: [],
        total: int | None = None,
    ) -> None:
        super().__init__(identity, node, role)
        self.manifest = manifest
        self.layout = layout
        self.base = base
        self.peers = peers
        self.total = total
        """What it says the manifest has, packed."""
        self.bundle: Bundle | None = None
        """Of which it sends pieces, when it is asked for any, that are spoilt."""

    def met(self, link: Link, swarm: str) -> None:
        if swarm and self.bundle is not None:
            link.send(wire.Bits((1 << len(self.bundle.encoded)) - 1))

    def heard(self, link: Link, message: Any) -> None:
        if isinstance(message, wire.Any) and self.bundle is not None:
            for piece in range(message.count):
                encoding, data = self.bundle.encoded[piece]
                send(link, piece, encoding, data[:-1] + bytes([data[-1] ^ 1]))
        if not isinstance(message, wire.Words):
            return
        doc = message.doc
        if doc["op"] == "manifest" and self.manifest is not None:
            link.send(wire.Words({"id": doc["id"], "base": self.base}))
            self._blob(link, doc["id"], self.manifest, self.total)
        elif doc["op"] == "layout":
            self._blob(link, doc["id"], self.layout)
        elif doc["op"] == "join":
            peers = self.peers(doc)
            for at in range(0, len(peers), 1000):  # as many as it likes, message after message
                part = peers[at : at + 1000]
                link.send(wire.Words({"op": "peers", "swarm": doc["swarm"], "add": part, "drop": []}))

    def _blob(self, link: Link, id: int, data: bytes, total: int | None = None) -> None:
        for at in range(0, max(1, len(data)), wire.SLICE):
            link.send(wire.Blob(id, total or len(data), at, data[at : at + wire.SLICE]))


def gibibyte() -> bytes:
    """Of zeros, packed."""
    packer = zlib.compressobj(1)
    part = bytes(16 * 1024 * 1024)
    return b"".join(packer.compress(part) for _ in range(64)) + packer.flush()

