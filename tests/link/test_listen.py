"""The one port: who comes in, and that slow, silent and noisy strangers keep nobody out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from cockpit.link import listen
from cockpit.link.channel import TRANSPORTS, Channel, ChannelClosed
from cockpit.link.listen import Listener, Who
from tests.helpers import PATIENCE, until
from tests.link.wires import House, echo, house


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, echo) as made:
        yield made


async def works(made: House, transport: str = "websocket") -> None:
    channel = await made.dial(transport, "h-2")
    await channel.send("hi")
    assert await channel.recv() == "hi"
    channel.abort()


async def gone(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_relays_come_in_by_their_own_name(transport: str, made: House) -> None:
    id = str(uuid.uuid4())
    made.authority.issue_local_relay(made.root / "r-1", "r-1", id, ["https://127.0.0.1:1"])
    channel = await made.dial(transport, "r-1")
    await channel.send("hi")
    assert await channel.recv() == "hi"
    assert made.channels[0][1] == Who("relay", "r-1", id)
    channel.abort()


async def test_a_controller_comes_in_without_a_uuid(made: House) -> None:
    made.authority.issue_origin(made.root / "origin")
    context = made.context()
    own = made.root / "origin/identity"
    context.load_cert_chain(own / "cert.pem", own / "key.pem")
    from cockpit.link.dial import dial

    channel = await dial(f"https://127.0.0.1:{made.port}", context=context, transport="http2", cluster="shop")
    await until(lambda: made.channels)
    assert made.channels[0][1] == Who("controller", "shop", "")
    channel.abort()


@pytest.mark.parametrize(("method", "path"), [("GET", "/link"), ("POST", "/poll")])
async def test_without_a_certificate_there_is_no_channel(method: str, path: str, made: House) -> None:
    async with aiohttp.ClientSession() as http:
        url = f"https://127.0.0.1:{made.port}{path}"
        async with http.request(method, url, ssl=made.context(certificate=False)) as answer:
            assert answer.status == 403
            assert "certificate" in await answer.text()
    assert not made.channels


async def test_the_owners_own_routes_are_served_on_the_same_port(tmp_path: Path) -> None:
    made = House(tmp_path)

    async def join(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    made.app.router.add_post("/join", join)
    await made.start()
    async with aiohttp.ClientSession() as http:
        url = f"https://127.0.0.1:{made.port}/join"
        async with http.post(url, data="x", ssl=made.context(certificate=False)) as answer:
            assert await answer.text() == "x"
    await made.stop()


async def test_a_taken_port_is_said(made: House) -> None:
    other = Listener(made.authority.controller_context(), web.Application(), echo)
    with pytest.raises(OSError, match=f"127.0.0.1 port {made.port}: address already in use"):
        await other.start("127.0.0.1", made.port)
    await other.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_stop_ends_every_channel_and_its_owner(transport: str, tmp_path: Path) -> None:
    ended: list[str] = []

    async def serve(channel: Channel, who: Who) -> None:
        try:
            await channel.recv()
        finally:
            ended.append(who.name)

    async with house(tmp_path, serve) as made:
        channel = await made.dial(transport)
        await until(lambda: made.channels)
        await made.listener.stop()
        assert ended == ["h-1"]
        if transport != "polling":
            with pytest.raises(ChannelClosed):
                await channel.recv()
        channel.abort()
        with socket.socket() as s:
            assert s.connect_ex(("127.0.0.1", made.port)) != 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_owner_that_breaks_ends_its_own_channel(
    transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(channel: Channel, who: Who) -> None:
        if who.name == "h-1":
            raise RuntimeError("cannot take it")
        await echo(channel, who)

    async with house(tmp_path, serve) as made:
        channel = await made.dial(transport)
        with pytest.raises(ChannelClosed):
            await channel.recv()
        assert "the channel of host h-1 failed" in caplog.text
        await works(made, transport)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000])
async def test_garbage_is_put_out(data: bytes, made: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
    writer.write(data)
    await gone(reader)
    writer.transport.abort()
    await works(made)
    await until(lambda: not made.listener._pending)


async def test_silent_connections_hold_no_slot(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before the first byte nor in the middle of the handshake."""
    clients = []
    for n in range(4 * listen.HANDSHAKE_LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        if n % 2:
            writer.write(b"\x16\x03\x01\x02\x00\x01")  # the begin of a ClientHello
        clients.append((reader, writer))
    await until(lambda: len(made.listener._pending) == len(clients))
    for transport in TRANSPORTS:
        await works(made, transport)
    for _, writer in clients:
        writer.transport.abort()


async def test_silent_connections_are_put_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "HANDSHAKE_TIME", 0.3)
    async with house(tmp_path, echo) as made:
        for begin in (b"", b"\x16\x03\x01\x02\x00\x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(begin)
            await gone(reader)
            writer.transport.abort()
        await until(lambda: not made.listener._pending)
        assert not made.listener._crowd


async def test_a_crowd_from_one_address_is_thinned_for_others(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "MAX_PENDING", 20)
    lonely, its_writer = await asyncio.open_connection("127.0.0.1", made.port, local_addr=("127.0.7.7", 0))
    await until(lambda: len(made.listener._pending) == 1)
    crowd = [await asyncio.open_connection("127.0.0.1", made.port) for _ in range(60)]
    await until(lambda: not made.listener._sockets or made.listener._crowd["127.0.0.1"] == 19)
    await gone(crowd[0][0])
    assert made.listener._crowd["127.0.7.7"] == 1 and not lonely.at_eof()
    await works(made)
    for _, writer in [*crowd, (lonely, its_writer)]:
        writer.transport.abort()


async def test_strangers_with_a_handshake_are_put_out(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request, half a request; and one that asks again and again ends some time."""
    monkeypatch.setattr(listen, "FIRST_REQUEST", 0.3)
    monkeypatch.setattr(listen, "STRANGER_TIME", 0.6)
    context = made.context(certificate=False)
    for begin in (b"", b"GET /link HTTP/1.1\r\nHost: x\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port, ssl=context)
        writer.write(begin)
        await gone(reader)
        writer.transport.abort()
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port, ssl=context)
    with contextlib.suppress(OSError):
        async with asyncio.timeout(PATIENCE):
            while not reader.at_eof():
                writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                await writer.drain()
                await reader.read(65536)
                await asyncio.sleep(0.02)
    writer.transport.abort()
    await until(lambda: not made.listener._open)


async def test_too_many_connections_of_one_identity_end_its_oldest(
    made: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "MAX_CONNECTIONS", 3)
    other = await made.dial("websocket", "h-2")
    first = await made.dial("websocket")
    rest = [await made.dial(transport) for transport in ("http2", "websocket", "http2")]
    with pytest.raises(ChannelClosed):
        await first.recv()
    for channel in (other, *rest):
        await channel.send("hi")
        assert await channel.recv() == "hi"
        channel.abort()
    await until(lambda: not made.listener._open)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /link HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /link HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /link HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /link HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 7\r\n\r\n",
    ],
    ids=["header", "headers", "line", "no upgrade", "old"],
)
async def test_requests_that_are_none_are_refused(
    head: bytes, made: House, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port, ssl=made.context())
    writer.write(head)
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(OSError):
            answer = await reader.read(4096)
            assert answer == b"" or answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.0 4"), answer
    writer.transport.abort()
    assert not made.channels
    await works(made)
    assert not caplog.records  # strangers do not fill the log
