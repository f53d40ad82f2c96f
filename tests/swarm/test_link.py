"""Connections between nodes: who may connect, what goes first, and what ends a connection."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm import net, tls, wire
from cockpit.swarm.exchange import Exchange, Target
from cockpit.swarm.link import SLICE, Link, Slices, options
from cockpit.swarm.tls import Name, WrongName, name_of
from tests.helpers import PATIENCE
from tests.swarm.certificates import Certificates

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def one(certificates: Certificates) -> tls.Identity:
    return certificates.host("web-1")


@pytest.fixture(scope="module")
def two(certificates: Certificates) -> tls.Identity:
    return certificates.host("web-2")


class Side:
    """What one end of a connection heard."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.heard: list[Any] = []
        self.why: str | None = None
        self._news = asyncio.Event()

    def on_link(self, link: Link) -> None:
        self.link = link
        self._news.set()

    def on_message(self, link: Link, message: Any) -> None:
        self.heard.append(message)
        self._news.set()

    def on_closed(self, link: Link, why: str) -> None:
        self.why = why
        self._news.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                self._news.clear()
                await self._news.wait()


class Pair:
    """`near` dialled `far`."""

    def __init__(self) -> None:
        self.near, self.far = Side(), Side()

    async def start(self, one: tls.Identity, two: tls.Identity) -> None:
        self.listener = net.Listener(two, self.far.on_link, self.far.on_message, self.far.on_closed)
        self.listener.start(HOST, 0)
        wanted = Name("host", two.name)
        link = await net.dial(one, HOST, self.listener.port, wanted, self.near.on_message, self.near.on_closed)
        self.near.link = link
        await self.far.until(lambda: self.far.link is not None)

    @property
    def out(self) -> Link:
        assert self.near.link is not None
        return self.near.link


@pytest.fixture
async def pair(one: tls.Identity, two: tls.Identity) -> AsyncIterator[Pair]:
    made = Pair()
    await made.start(one, two)
    yield made
    made.listener.stop()
    made.out.close()
    assert made.far.link is not None
    made.far.link.close()


def piece(data: bytes, number: int = 7, done: Callable[[], None] = lambda: None) -> Slices:
    def head(total: int, offset: int, length: int) -> bytes:
        return wire.data_header(number, 0, total, offset, length)

    return Slices(number, len(data), head, lambda at, count: data[at : at + count], done)


async def test_both_sides_know_whom_they_talk_to(pair: Pair) -> None:
    assert pair.out.name == Name("host", "web-2")
    assert pair.far.link is not None and pair.far.link.name == Name("host", "web-1")


async def test_who_dials_checks_whom_it_reached(one: tls.Identity, two: tls.Identity) -> None:
    side = Side()
    listener = net.Listener(two, side.on_link, side.on_message, side.on_closed)
    listener.start(HOST, 0)
    for wanted in (Name("host", "web-3"), Name("relay", "web-2"), Name("controller", "web-2")):
        with pytest.raises(WrongName, match="web-2 answers where"):
            await net.dial(one, HOST, listener.port, wanted, side.on_message, side.on_closed)
    listener.stop()


async def test_strangers_get_no_connection(tmp_path: Path, two: tls.Identity) -> None:
    side = Side()
    listener = net.Listener(two, side.on_link, side.on_message, side.on_closed)
    listener.start(HOST, 0)
    stranger = Certificates(tmp_path).host("web-1")
    with pytest.raises(ssl.SSLError):
        await net.dial(stranger, HOST, listener.port, None, side.on_message, side.on_closed)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(HOST, listener.port, ssl=bare)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        if not await reader.read(1):
            raise ConnectionResetError
    writer.close()
    assert side.link is None
    listener.stop()


async def test_silent_strangers_do_not_keep_others_out(
    one: tls.Identity, two: tls.Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(net, "HANDSHAKE", 0.3)
    side = Side()
    listener = net.Listener(two, side.on_link, side.on_message, side.on_closed)
    listener.start(HOST, 0)
    silent = [socket.create_connection((HOST, listener.port)) for _ in range(net.AT_ONCE + 2)]
    async with asyncio.timeout(PATIENCE):
        while len(listener._greeting) < net.AT_ONCE:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0)  # the last one has begun, too
    monkeypatch.setattr(net, "HANDSHAKE", PATIENCE)
    link = await net.dial(one, HOST, listener.port, None, side.on_message, side.on_closed)
    await side.until(lambda: side.link is not None)
    for sock in silent:
        sock.close()
    link.close()
    listener.stop()


async def test_a_piece_arrives_in_slices(pair: Pair) -> None:
    data = os.urandom(300_000)
    done = asyncio.Event()
    pair.out.upload(piece(data, done=done.set))
    await pair.far.until(lambda: sum(len(m.payload) for m in pair.far.heard) == len(data))
    assert b"".join(m.payload for m in pair.far.heard) == data
    assert max(len(m.payload) for m in pair.far.heard) == SLICE <= wire.SLICE
    async with asyncio.timeout(PATIENCE):
        await done.wait()


async def test_a_control_message_slips_in_front_of_waiting_slices(pair: Pair) -> None:
    total = 4 * 1024 * 1024
    said = False

    def read(at: int, count: int) -> bytes:
        nonlocal said
        if at > total // 2 and not said:
            said = True
            pair.out.send(wire.Have((3,)))
        return bytes(count)

    def head(whole: int, offset: int, length: int) -> bytes:
        return wire.data_header(1, 0, wire.PIECE, 0, length)

    pair.out.upload(Slices(1, total, head, read, lambda: None))
    count = -(-total // SLICE)
    await pair.far.until(lambda: len(pair.far.heard) == count + 1)
    place = [type(m) for m in pair.far.heard].index(wire.Have)
    assert count // 2 <= place <= count // 2 + 4


async def test_a_limit_holds_slices_back_but_not_messages(pair: Pair) -> None:
    asked: list[int] = []

    def allow(count: int) -> float:
        asked.append(count)
        return 0.2 if len(asked) == 1 else 0.0

    pair.out.allow = allow
    pair.out.upload(piece(b"x" * 1000))
    pair.out.send(wire.Request(1))
    await pair.far.until(lambda: len(pair.far.heard) == 2)
    assert [type(m) for m in pair.far.heard] == [wire.Request, wire.Data]
    assert asked == [1000, 1000]


async def test_a_stopped_upload_ends_at_a_slice(pair: Pair) -> None:
    pair.out.upload(piece(os.urandom(1024 * 1024), 1))
    assert pair.out.cancel(1)
    assert not pair.out.cancel(1)
    pair.out.upload(piece(b"second", 2))
    await pair.far.until(lambda: any(m.piece == 2 for m in pair.far.heard))
    assert pair.far.heard[-1].payload == b"second"


async def test_what_cannot_be_read_ends_the_connection(pair: Pair) -> None:
    pair.out.upload(Slices(1, 100, lambda *_: b"", lambda at, count: b"short", lambda: None))
    await pair.near.until(lambda: pair.near.why is not None)
    assert pair.near.why == "what is to be sent has been cut short"


@pytest.mark.parametrize(("data", "why"), [
    (b"\0\0\0\5\xffabcd", "unknown type"),
    (b"\xff\xff\xff\xff", "at most"),
    (b"\0\0\0\3\x09[]", "no JSON object"),
])  # fmt: skip
async def test_garbage_ends_the_connection(pair: Pair, data: bytes, why: str) -> None:
    pair.out._control += data
    pair.out.send(wire.Request(1))
    await pair.far.until(lambda: pair.far.why is not None)
    assert why in str(pair.far.why)
    await pair.near.until(lambda: pair.near.why is not None)


async def test_who_does_not_read_is_cut_off_not_kept_in_memory(pair: Pair) -> None:
    assert pair.far.link is not None
    pair.far.link.pause_reading(True)
    words = wire.Words({"text": "x" * 200_000})
    async with asyncio.timeout(PATIENCE):
        while not pair.out.closed:
            pair.out.send(words)
            await asyncio.sleep(0)
    assert pair.out.why == "it does not read what it is sent"


def test_sockets_are_set_as_the_swarm_needs_them() -> None:
    with socket.socket() as sock:
        options(sock)
        congestion = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert congestion.rstrip(b"\0") in (b"cubic", b"reno")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 32 * 1024


@pytest.mark.parametrize("names", [
    [],
    [("DNS", "web-1")],
    [("URI", "cockpit://cluster/shop")],
    [("URI", "cockpit://host/a"), ("URI", "cockpit://relay/b")],
    [("URI", "cockpit://host/")],
])  # fmt: skip
def test_a_certificate_names_exactly_one_node(names: list[tuple[str, str]]) -> None:
    with pytest.raises(WrongName):
        name_of({"subjectAltName": tuple(names)})


def test_names_are_unquoted() -> None:
    found = name_of({"subjectAltName": (("URI", "cockpit://host/web%2F1"), ("URI", "urn:uuid:1"))})
    assert found == Name("host", "web/1") and found.role == "peer"
    assert Name("controller", "shop").node == ""


class Quiet(Target):
    def __init__(self, pieces: int = 0) -> None:
        self.pieces = pieces
        self.here: list[Link] = []

    def attach(self, link: Link) -> None:
        self.here.append(link)

    def heard(self, link: Link, message: Any) -> None:
        return

    def detached(self, link: Link, why: str) -> None:
        self.here.remove(link)


@pytest.mark.parametrize(("hello", "why"), [
    (wire.Hello("s", "web-9", "peer", 4), "says that it is the peer 'web-9'"),
    (wire.Hello("s", "web-1", "origin", 4), "says that it is the origin"),
    (wire.Hello("s", "web-1", "peer", 5), "5 pieces in a swarm of 4"),
    (wire.Hello("t", "web-1", "peer", 4), "we do not take part"),
    (wire.Hello("s", "web-1", "peer", 4, 99), "it speaks protocol 99"),
    (wire.Have((1,)), "does not begin with hello"),
])  # fmt: skip
async def test_a_false_hello_ends_the_connection(
    one: tls.Identity, two: tls.Identity, hello: Any, why: str
) -> None:
    remarks: list[str] = []
    exchange = Exchange(two, "web-2", "peer")
    exchange.remark = remarks.append
    exchange.targets["s"] = Quiet(4)
    port = exchange.listen(HOST, 0)
    side = Side()
    link = await net.dial(one, HOST, port, None, side.on_message, side.on_closed)
    link.send(hello)
    await side.until(lambda: side.why is not None)
    assert why in remarks[0]
    exchange.close()


async def test_after_both_hellos_the_connection_is_the_swarms(one: tls.Identity, two: tls.Identity) -> None:
    near, far = Exchange(one, "web-1", "peer"), Exchange(two, "web-2", "peer")
    there, here = Quiet(4), Quiet(4)
    far.targets["s"] = there
    link = await near.dial(HOST, far.listen(HOST, 0), Name("host", "web-2"), "s", here)
    async with asyncio.timeout(PATIENCE):
        while not here.here:
            await asyncio.sleep(0.005)
    assert here.here == [link] and there.here[0].node == "web-1"
    assert (link.dialler, there.here[0].dialler) == ("web-1", "web-1")
    near.close()
    async with asyncio.timeout(PATIENCE):
        while there.here:
            await asyncio.sleep(0.005)
    far.close()
