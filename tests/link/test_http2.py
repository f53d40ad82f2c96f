"""HTTP/2: flow control both ways, and clients that mean no good."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived
from h2.exceptions import H2Error

from cockpit.link import http2
from cockpit.link.channel import ChannelClosed
from tests.helpers import PATIENCE, until
from tests.link.wires import House, house

LINK = [
    (":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/link"),
    ("content-type", http2.CONTENT_TYPE),
]  # fmt: skip


class Raw:
    """A client that can say anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.seen: list[Event] = []
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def open(self, headers: list[tuple[str, str]] | None = None, *, end: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, LINK if headers is None else headers, end_stream=end)
        self.flush()
        return stream

    async def event(self, kind: type[Event]) -> Event:
        """The next of a kind."""
        while True:
            for n, event in enumerate(self.seen):
                if isinstance(event, kind):
                    del self.seen[: n + 1]
                    return event
            async with asyncio.timeout(PATIENCE):
                data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self.seen += self.h2.receive_data(data)
            self.flush()

    async def status(self) -> str:
        event = await self.event(ResponseReceived)
        assert isinstance(event, ResponseReceived)
        return str(dict(event.headers)[":status"])  # type: ignore[call-overload]

    async def ended(self) -> None:
        """The other side ends the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                while await self.reader.read(65536):
                    pass
            except OSError:
                pass

    def close(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


async def raw(made: House, *, certificate: bool = True) -> Raw:
    context: ssl.SSLContext = made.context(certificate=certificate)
    context.set_alpn_protocols(["h2"])
    return Raw(*await asyncio.open_connection("127.0.0.1", made.port, ssl=context))


async def alive(made: House) -> None:
    """Others are served as before."""
    channel = await made.dial("http2", "h-2")
    await until(lambda: made.channels and made.channels[-1][1].name == "h-2")
    await channel.send("hi")
    assert await made.channels[-1][0].recv() == "hi"
    channel.abort()


def swapped(name: str, value: str) -> list[tuple[str, str]]:
    return [(n, value if n == name else v) for n, v in LINK]


@pytest.mark.parametrize(
    "headers",
    [swapped(":path", "/"), swapped(":path", "/join"), swapped(":method", "GET"), swapped("content-type", "a/b")],
    ids=["/", "/join", "GET", "text"],
)
async def test_anything_else_is_not_found(headers: list[tuple[str, str]], made: House) -> None:
    client = await raw(made)
    client.open(headers, end=True)
    assert await client.status() == "404"
    client.open()
    assert await client.status() == "200"  # the connection is as good as before
    client.close()


async def test_without_a_certificate_there_is_no_link(made: House) -> None:
    client = await raw(made, certificate=False)
    client.open()
    assert await client.status() == "403"
    client.close()
    assert not made.channels


async def test_a_second_link_on_one_connection_is_refused(made: House) -> None:
    client = await raw(made)
    client.open()
    assert await client.status() == "200"
    client.open()
    assert await client.status() == "409"
    assert len(made.channels) == 1
    client.close()


async def test_a_client_that_offers_both_gets_where_all_routes_are(made: House) -> None:
    context = made.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", made.port, ssl=context)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.transport.abort()


async def test_frames_in_pieces_and_many_in_one(made: House) -> None:
    client = await raw(made)
    stream = client.open()
    assert await client.status() == "200"
    channel = made.channels[0][0]
    frame = b"\x00\x00\x00\x04" + "zwé".encode()
    for n in range(len(frame)):
        client.h2.send_data(stream, frame[n : n + 1], pad_length=n)
        client.flush()
    assert await channel.recv() == "zwé"
    client.h2.send_data(stream, frame * 100)
    client.flush()
    assert [await channel.recv() for _ in range(100)] == ["zwé"] * 100
    await channel.send("back")
    data = await client.event(DataReceived)
    assert isinstance(data, DataReceived) and data.data == b"\x00\x00\x00\x04back"
    client.close()


@pytest.mark.parametrize(
    "data", [b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x40\x00\x01", b"\x00\x00\x00\x02\xff\xfe"],
    ids=["nothing", "4 GiB", "over", "not UTF-8"],
)
async def test_what_is_no_frame_ends_the_channel(data: bytes, made: House) -> None:
    client = await raw(made)
    stream = client.open()
    assert await client.status() == "200"
    client.h2.send_data(stream, data)
    client.flush()
    with pytest.raises(ChannelClosed):
        await made.channels[0][0].recv()
    await client.ended()
    await alive(made)


async def test_the_window_bounds_what_waits_here(made: House) -> None:
    """A client that sends on and on is stopped by the window while nobody reads."""
    client = await raw(made)
    stream = client.open()
    assert await client.status() == "200"
    frame = b"\x00\x00\x03\xfc" + b"x" * 1020
    sent = 0
    while client.h2.local_flow_control_window(stream) >= len(frame):
        client.h2.send_data(stream, frame)
        sent += 1
    client.flush()
    channel = made.channels[0][0]
    assert isinstance(channel, http2.Http2)
    await until(lambda: len(channel._frames) == sent)
    assert sent * 1024 <= http2.WINDOW
    for _ in range(sent):
        await channel.recv()
    while client.h2.local_flow_control_window(stream) < http2.WINDOW // 2:  # given back
        client.seen += client.h2.receive_data(await client.reader.read(65536))
    client.close()


async def test_data_beyond_the_window_ends_the_connection(made: House) -> None:
    client = await raw(made)
    stream = client.open()
    assert await client.status() == "200"
    header = (16384).to_bytes(3, "big") + b"\x00\x00" + stream.to_bytes(4, "big")
    for _ in range(http2.WINDOW // 16384 + 2):
        client.writer.write(header + b"\x00\x00\x3f\xfc" + b"x" * 16380)
    await client.ended()
    await alive(made)


async def test_a_rapid_reset_is_ended(made: House) -> None:
    client = await raw(made)
    for _ in range(http2.MAX_REQUESTS + 5):
        try:
            client.h2.reset_stream(client.open(swapped(":path", "/x")))
        except H2Error:
            break
        client.flush()
    await client.ended()
    assert not made.channels
    await alive(made)


@pytest.mark.parametrize("kind", ["ping", "settings"])
async def test_a_flood_of_control_frames_is_ended(kind: str, made: House) -> None:
    client = await raw(made)
    client.open()
    assert await client.status() == "200"
    ping, settings = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    one = ping if kind == "ping" else settings
    client.writer.write(one * (2 * http2.MAX_CONTROL))
    await client.ended()
    await alive(made)


async def test_huge_headers_are_ended(made: House) -> None:
    client = await raw(made)
    client.open([*LINK, *((f"x-{n}", "y" * 1000) for n in range(60))])
    await client.ended()
    assert not made.channels
    await alive(made)


async def test_headers_without_an_end_are_ended(made: House) -> None:
    client = await raw(made)
    client.writer.write(b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82")  # HEADERS, more to come
    client.writer.write(b"\x00\x00\x01\x09\x00\x00\x00\x00\x01\x82" * 200)  # CONTINUATION
    await client.ended()
    await alive(made)


async def test_garbage_is_ended(made: House) -> None:
    context = made.context()
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port, ssl=context)
    writer.write(b"\x16\x03garbage" * 50)
    async with asyncio.timeout(PATIENCE):
        while await reader.read(4096):
            pass
    writer.transport.abort()
    await alive(made)


async def test_a_connection_that_asks_for_nothing_is_ended(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cockpit.link.listen.FIRST_REQUEST", 0.2)
    client = await raw(made)
    await client.ended()


async def test_a_goodbye_ends_the_channel(made: House) -> None:
    client = await raw(made)
    client.open()
    assert await client.status() == "200"
    client.h2.close_connection()
    client.flush()
    with pytest.raises(ChannelClosed, match="ended the connection"):
        await made.channels[0][0].recv()
    client.close()


async def test_a_frame_given_up_in_the_middle_ends_the_channel(made: House) -> None:
    channel = await made.dial("http2")
    await until(lambda: made.channels)
    far = made.channels[0][0]
    assert isinstance(far, http2.Http2) and far._transport is not None and isinstance(channel, http2.Http2)
    far._transport.pause_reading()  # the window is given back no more
    sending = asyncio.create_task(channel.send("x" * (2 * http2.WINDOW)))
    await until(lambda: channel._h2.local_flow_control_window(channel._stream) == 0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    with pytest.raises(ChannelClosed, match="in the middle"):
        await channel.send("next")
    far._transport.resume_reading()
    with pytest.raises(ChannelClosed):
        await far.recv()
