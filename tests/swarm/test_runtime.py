"""One swarm between real connections in one process: origin, receivers, and those who do not keep the rules."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cockpit.swarm import wire
from cockpit.swarm.content import Readable, readable
from cockpit.swarm.core import Core
from cockpit.swarm.exchange import Exchange
from cockpit.swarm.runtime import Runtime, Store
from cockpit.swarm.tls import Identity, Name
from tests.helpers import PATIENCE
from tests.swarm.bundle import Bundle
from tests.swarm.certificates import Certificates

HOST = "127.0.0.1"
WEB = Bundle(3 * 1024 * 1024, 5)
BIG = Bundle(24 * 1024 * 1024, 6, thin=True)
"""Its pieces are long enough to be verified in a thread."""


class Shelf(Store):
    """Pieces in memory; some only by `load`."""

    def __init__(self, bundle: Bundle, full: bool) -> None:
        self.pieces = dict(enumerate(bundle.encoded)) if full else {}
        self.slow: set[int] = set()
        self.lost: set[int] = set()
        self.added = 0

    def open(self, piece: int) -> Readable | None:
        if piece in self.slow or piece in self.lost:
            return None
        encoding, data = self.pieces[piece]
        return readable(data, encoding)

    def load(self, piece: int) -> Readable:
        if piece in self.lost:
            raise KeyError(f"no installed version has piece {piece}")
        encoding, data = self.pieces[piece]
        return readable(data, encoding)

    def add(self, piece: int, encoding: int, data: bytes) -> None:
        self.added += 1
        self.pieces[piece] = encoding, bytes(data)


class Node:
    def __init__(self, identity: Identity, role: str, bundle: Bundle, shelf: Shelf) -> None:
        self.exchange = Exchange(identity, identity.name if role == "peer" else "", role)
        self.remarks: list[str] = []
        self.exchange.remark = self.remarks.append
        self.port = self.exchange.listen(HOST, 0)
        self.shelf = shelf
        self.bundle = bundle
        have = sum(1 << piece for piece in shelf.pieces)
        core = Core(bundle.pieces.sizes, have, chooser=role != "peer", seed=1)
        self.runtime = Runtime(self.exchange, bundle.swarm, bundle.pieces, bundle.chunks, shelf, core)
        self.complete = asyncio.Event()
        self.runtime.on_complete = self.complete.set
        if core.done:
            self.complete.set()

    def dial(self, other: Node) -> None:
        name = self.exchange.identity.cluster if other.exchange.role == "origin" else other.exchange.name
        kind = "controller" if other.exchange.role == "origin" else "host"
        self.runtime.offer(Name(kind, name), HOST, other.port)

    @property
    def right(self) -> bool:
        return self.shelf.pieces == dict(enumerate(self.bundle.encoded))


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    made = Certificates(tmp_path_factory.mktemp("pki"))
    return {"": made.origin(), **{f"h{i}": made.host(f"h{i}") for i in range(1, 5)}}


class Lab:
    def __init__(self, identities: dict[str, Identity]) -> None:
        self.identities = identities
        self.nodes: list[Node] = []

    def node(self, name: str, bundle: Bundle = WEB, full: bool = False) -> Node:
        role = "peer" if name else "origin"
        self.nodes.append(Node(self.identities[name], role, bundle, Shelf(bundle, full)))
        return self.nodes[-1]

    def mesh(self) -> None:
        for i, node in enumerate(self.nodes):
            for other in self.nodes[:i]:
                node.dial(other)

    async def all_complete(self, *nodes: Node) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(node.complete.wait() for node in nodes or self.nodes))


@pytest.fixture
async def lab(identities: dict[str, Identity]) -> AsyncIterator[Lab]:
    made = Lab(identities)
    yield made
    for node in made.nodes:
        node.runtime.close()
        node.exchange.close()
    await asyncio.sleep(0)


async def eventually(true: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("bundle", [WEB, BIG])
async def test_everybody_gets_everything(lab: Lab, bundle: Bundle) -> None:
    origin = lab.node("", bundle, full=True)
    peers = [lab.node(f"h{i}", bundle) for i in (1, 2, 3)]
    lab.mesh()
    await lab.all_complete()
    assert all(peer.right and not peer.runtime.core.bad for peer in peers)
    packed = sum(len(data) for _, data in bundle.encoded)
    for peer in peers:
        assert packed <= sum(peer.runtime.received.values()) < 2 * packed
    await eventually(lambda: sum(origin.runtime.sent.values()) >= packed)


async def test_a_host_that_holds_pieces_serves_them(lab: Lab) -> None:
    holder, peer = lab.node("h1", full=True), lab.node("h2")
    holder.shelf.slow = set(range(0, len(WEB.encoded), 2))
    lab.mesh()
    await lab.all_complete()
    assert peer.right and set(peer.runtime.received) == {"h1"}


async def test_a_false_piece_is_neither_kept_nor_passed_on(lab: Lab) -> None:
    origin, bad, peer = lab.node("", full=True), lab.node("h1", full=True), lab.node("h2")
    for piece, (encoding, data) in list(bad.shelf.pieces.items()):
        bad.shelf.pieces[piece] = encoding, bytes([data[0] ^ 1]) + data[1:]
    peer.dial(bad)
    await eventually(lambda: peer.runtime.core.bad)
    assert peer.shelf.added == 0
    peer.dial(origin)
    await lab.all_complete(peer)
    assert peer.right and peer.runtime.core.bad == 1
    assert "h1" not in peer.runtime.links
    assert peer.runtime.faults["h1"]
    bad.dial(peer)  # it is not let in again
    await eventually(lambda: any("it was dropped" in r or "closed" in r for r in bad.remarks))
    assert "h1" not in peer.runtime.links


async def test_a_piece_that_cannot_be_read_is_refused(lab: Lab) -> None:
    origin, holder, peer = lab.node("", full=True), lab.node("h1", full=True), lab.node("h2")
    holder.shelf.lost = set(range(len(WEB.encoded)))
    lab.mesh()
    await lab.all_complete(peer)
    assert peer.right and set(peer.runtime.received) == {""}
    assert origin.complete.is_set()


def slices(bundle: Bundle, piece: int) -> wire.Data:
    encoding, data = bundle.encoded[piece]
    return wire.Data(piece, encoding, len(data), 0, data[:1000])


@pytest.mark.parametrize("message", [
    slices(WEB, 0),  # never asked for
    wire.Data(10_000, 0, 1000, 0, b"x" * 1000),
    wire.Data(0, 0, wire.PIECE, 0, b"x"),
    wire.Have((10_000,)),
    wire.Any(1),
    wire.Bits(1 << 10_000),
    wire.Words({"op": "join"}),
    wire.Hello("again", "h1", "peer", 1),
])  # fmt: skip
async def test_who_breaks_the_rules_is_dropped(lab: Lab, message: Any) -> None:
    peer, rogue = lab.node("h2"), lab.node("h1")
    rogue.dial(peer)
    await eventually(lambda: "h1" in peer.runtime.links and "h2" in rogue.runtime.links)
    rogue.runtime.links["h2"].send(message)
    await eventually(lambda: "h1" not in peer.runtime.links)
    assert peer.shelf.added == 0


async def test_when_both_dial_one_connection_stays(lab: Lab) -> None:
    one, two, origin = lab.node("h1"), lab.node("h2"), lab.node("", full=True)
    one.dial(two)
    two.dial(one)
    await eventually(lambda: "h2" in one.runtime.links and "h1" in two.runtime.links)
    for node in (one, two):
        node.dial(origin)
    await lab.all_complete()
    await eventually(lambda: len(one.exchange._links) == len(two.exchange._links) == 2)
    assert one.runtime.links["h2"].dialler == two.runtime.links["h1"].dialler


async def test_a_broken_connection_is_made_again(lab: Lab) -> None:
    one, two = lab.node("h1"), lab.node("h2")
    one.dial(two)
    await eventually(lambda: "h1" in two.runtime.links)
    first = two.runtime.links["h1"]
    first.close()
    await eventually(lambda: two.runtime.links.get("h1", first) is not first)


async def test_a_full_disk_stops_the_receiver_and_nobody_else(lab: Lab) -> None:
    lab.node("", full=True)
    full, peer = lab.node("h1"), lab.node("h2")
    trouble: list[OSError] = []
    full.runtime.on_trouble = trouble.append

    def no_room(piece: int, encoding: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no room")

    full.shelf.add = no_room  # type: ignore[method-assign]
    lab.mesh()
    await lab.all_complete(peer)
    await eventually(lambda: trouble)
    assert trouble[0].errno == errno.ENOSPC and full.runtime.core.paused and peer.right


async def test_paused_it_asks_for_nothing_until_it_goes_on(lab: Lab) -> None:
    origin, peer = lab.node("", full=True), lab.node("h1")
    peer.runtime.hold(True)
    peer.dial(origin)
    await eventually(lambda: "h1" in origin.runtime.links)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await peer.complete.wait()
    assert not peer.shelf.pieces
    peer.runtime.hold(False)
    await lab.all_complete()
    assert peer.right


async def test_the_limit_of_what_goes_out_is_asked_for_every_slice(lab: Lab) -> None:
    origin, peer = lab.node("", full=True), lab.node("h1")
    allowed: list[int] = []

    def allow(link: Any, count: int) -> float:
        allowed.append(count)
        return 0.0

    origin.runtime.allow = allow
    peer.dial(origin)
    await lab.all_complete()
    assert sum(allowed) == origin.runtime.links["h1"].sent
    assert max(allowed) <= wire.SLICE
