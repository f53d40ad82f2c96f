"""Every transport is the same channel: over real TLS, straight and through a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from pathlib import Path

import pytest
from aiohttp import web

from cockpit.agent.identity import Identity, WrongController
from cockpit.link.channel import TRANSPORTS, Channel, ChannelClosed
from cockpit.link.dial import check_upstream, dial
from cockpit.link.frames import MAX_FRAME
from cockpit.link.listen import Listener, Who
from cockpit.link.proxy import BadProxy, Unreachable, proxy_address
from tests.helpers import free_port, until
from tests.link.wires import echo, house, proxy

every = pytest.mark.parametrize("transport", TRANSPORTS)


@every
async def test_frames_come_whole_and_in_order(transport: str, tmp_path: Path) -> None:
    texts = [f'{{"n":{n},"text":"{"é你" * n}"}}' for n in range(200)]
    async with house(tmp_path, echo) as made:
        channel = await made.dial(transport)
        assert channel.kind == transport == made.channels[0][0].kind
        assert check_upstream(channel.peercert, "shop") == ("controller", "shop")

        async def send() -> None:
            for text in texts:
                await channel.send(text)

        sending = asyncio.create_task(send())
        assert [await channel.recv() for _ in texts] == texts
        await sending
        assert made.channels[0][1] == Who("host", "h-1", made.identity().uuid)
        channel.abort()


@every
async def test_the_largest_frame_passes_and_a_larger_one_ends_the_channel(transport: str, tmp_path: Path) -> None:
    async with house(tmp_path, echo) as made:
        channel = await made.dial(transport)
        large = '"' * (MAX_FRAME - 3) + "end"
        sending = asyncio.create_task(channel.send(large))
        assert await channel.recv() == large
        await sending
        with contextlib.suppress(ChannelClosed):
            await channel.send("x" * (3 * MAX_FRAME))
        with pytest.raises(ChannelClosed):
            await channel.recv()
        channel.abort()


@every
async def test_what_was_sent_before_a_polite_end_arrives(transport: str, tmp_path: Path) -> None:
    async with house(tmp_path, echo) as made:
        channel = await made.dial(transport)
        for text in ("one", "two", "bye"):
            await channel.send(text)
        assert [await channel.recv() for _ in range(3)] == ["one", "two", "bye"]
        with pytest.raises(ChannelClosed):
            await channel.recv()
        with pytest.raises(ChannelClosed):
            for _ in range(100):
                await channel.send("more")
                await asyncio.sleep(0.01)
        channel.abort()


@every
async def test_the_dialling_side_ends_politely_too(transport: str, tmp_path: Path) -> None:
    got: list[str | bytes] = []
    why: list[str] = []

    async def serve(channel: Channel, who: Who) -> None:
        try:
            while True:
                got.append(await channel.recv())
        except ChannelClosed as e:
            why.append(str(e))

    async with house(tmp_path, serve) as made:
        channel = await made.dial(transport)
        await channel.send("last words")
        await channel.close()
        await until(lambda: why)
        assert got == ["last words"]


@every
async def test_an_abort_is_seen_by_the_one_who_waits(transport: str, tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        channel = await made.dial(transport)
        await until(lambda: made.channels)
        waiting = asyncio.create_task(channel.recv())
        await asyncio.sleep(0)
        made.channels[0][0].abort()
        made.channels[0][0].abort()
        with pytest.raises(ChannelClosed):
            await waiting
        channel.abort()
        channel.abort()


@every
@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
async def test_who_does_not_read_makes_the_sender_wait(transport: str, down: bool, tmp_path: Path) -> None:
    size, count = 100_000, 400  # 40 MB: kernel buffers and ours hold a part of it
    async with house(tmp_path) as made:
        channel = await made.dial(transport)
        await until(lambda: made.channels)
        ends: list[Channel] = [made.channels[0][0], channel]
        sender, reader = ends if down else ends[::-1]
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(count):
                await sender.send("x" * size)
                sent += 1

        task = asyncio.create_task(flood())
        most = 0
        for read in range(1, count + 1):
            assert len(await reader.recv()) == size
            most = max(most, sent - read)
        await task
        assert 0 < most < count / 2
        channel.abort()


@every
async def test_through_a_proxy(transport: str, tmp_path: Path) -> None:
    async with house(tmp_path, echo) as made, proxy() as (through, url):
        channel = await made.dial(transport, proxy=url)
        await channel.send("hi")
        assert await channel.recv() == "hi"
        assert through.asked == [f"CONNECT 127.0.0.1:{made.port} HTTP/1.1"]
        channel.abort()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", "user name and password"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refuses .*403 Forbidden"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000, "answers too much"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurprise", "data of its own"),
    ],
    ids=["407", "403", "large", "ssh", "surprise"],
)
async def test_a_proxy_that_does_not_help(answer: bytes, text: str, tmp_path: Path) -> None:
    async with house(tmp_path) as made, proxy() as (through, url):
        through.answer = answer
        with pytest.raises(Unreachable, match=text):
            await made.dial("websocket", proxy=url)
        assert made.channels == []


async def test_a_proxy_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cockpit.link.proxy.PROXY_TIME", 0.1)
    async with house(tmp_path) as made, proxy() as (through, url):
        through.answer = b"HTTP/1.1 "
        with pytest.raises(Unreachable, match="does not answer"):
            await made.dial("http2", proxy=url)
        with pytest.raises(Unreachable, match="proxy 127.0.0.1"):
            await made.dial("http2", proxy=f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    "url", ["http://me:secret@p:1", "https://p:1", "http://p:x", "http://p/path", "http://", "socks5://p"]
)
def test_what_is_no_proxy_is_said_without_repeating_it(url: str) -> None:
    with pytest.raises(BadProxy) as e:
        proxy_address(url)
    assert "secret" not in str(e.value)


@every
async def test_nobody_listens(transport: str, tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        with pytest.raises(Unreachable):
            await made.dial(transport, port=free_port())


@every
async def test_only_controllers_and_relays_are_dialled(transport: str, tmp_path: Path) -> None:
    """A host of the same authority that listens is nobody to trust; a relay is."""
    async with house(tmp_path / "one", echo) as made:
        identity = made.identity()
        made.authority.issue_local_relay(tmp_path / "relay", "relay-1", str(uuid.uuid4()), [])
        made.authority.issue_local_host(tmp_path / "other", "h-2", str(uuid.uuid4()), [])
        for name, fine in (("relay", True), ("other", False)):
            own = tmp_path / name / "identity"
            await made.listener.stop()
            context = made.authority.controller_context()
            context.load_cert_chain(own / "cert.pem", own / "key.pem")
            made.listener = Listener(context, web.Application(), made._channel)
            port = await made.listener.start("127.0.0.1", 0)
            url = f"https://127.0.0.1:{port}"
            work = dial(url, context=identity.context(), transport=transport, cluster="shop")
            if fine:
                channel = await work
                assert check_upstream(channel.peercert, "shop") == ("relay", "relay-1")
                channel.abort()
            else:
                with pytest.raises(WrongController, match="neither a controller nor a relay"):
                    await work


async def test_the_controller_of_another_cluster(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        identity = made.identity()
        assert isinstance(identity, Identity)
        with pytest.raises(WrongController, match="controller of shop, not of bank"):
            url = f"https://127.0.0.1:{made.port}"
            await dial(url, context=identity.context(), transport="http2", cluster="bank")
