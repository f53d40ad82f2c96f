"""Every socket that listens is sent what nobody should send, and serves afterwards as before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cockpit.agent.join import make_key
from cockpit.agent.local import LocalSocket
from cockpit.agent.names import Names
from cockpit.controller.core import Controller
from cockpit.link import frames
from cockpit.session.client import RemoteSession
from tests.agent.keeper_host import KeeperHost
from tests.controller.fakes import FakeAgent, agent, client_context, dial, engine
from tests.helpers import PATIENCE

DEEP = 200_000
LINES: dict[str, bytes] = {
    "nothing": b"",
    "no json": b"\xff\xfe\x00garbage",
    "deep list": b"[" * DEEP,
    "deep object": b'{"t":' * DEEP,
    "deep inside": b'{"t":"hello","id":1,"op":"hello","x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "huge number": b'{"t":"pong","id":1,"op":"hello","at":' + b"9" * 100_000 + b"}",
    "huge exponent": b'{"t":"pong","id":1,"op":"hello","at":1e999999}',
    "nan": b'{"t":"pong","id":NaN,"op":"hello","at":NaN}',
    "infinity": b'{"t":"pong","id":-Infinity,"op":"list","since":Infinity}',
    "no object": b"[1,2,3]",
    "wrong types": b'{"t":{"t":1},"id":{"id":[]},"op":["op"],"args":5}',
    "long name": b'{"t":"' + b"x" * 60_000 + b'","id":1,"op":"' + b"y" * 60_000 + b'"}',
    "surrogates": b'{"t":"\\ud800","id":"\\udfff","op":"\\ud800"}',
    "nulls": b'{"t":"\\u0000","id":"\\u0000","op":"\\u0000"}',
}
CASES = [pytest.param(data, id=name) for name, data in LINES.items()]


@pytest.fixture
async def up(short_dir: Path) -> AsyncIterator[tuple[Controller, FakeAgent]]:
    async with engine(short_dir) as c:
        a = await agent(c, short_dir, "a-1")
        trouble: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: trouble.append(context))
        try:
            yield c, a
        finally:
            await a.stop()
        assert not c.lost and not c.why and not trouble, (c.why, trouble)


async def welcomed(a: FakeAgent) -> None:
    """Its host can still come in."""
    ws = await dial(a.directory, a.port)
    try:
        await ws.send(json.dumps({"t": "hello", "host": a.host, "uuid": a.id}))
        async with asyncio.timeout(PATIENCE):
            assert json.loads(await ws.recv())["t"] == "welcome"
    finally:
        ws.transport.abort()


async def test_links_take_no_harm(up: tuple[Controller, FakeAgent]) -> None:
    """As the first frame, and after a proper one."""
    from websockets.exceptions import ConnectionClosed

    c, a = up
    for name, data in LINES.items():
        for first in (True, False):
            ws = await dial(a.directory, a.port)
            try:
                if not first:
                    await ws.send(json.dumps({"t": "hello", "host": a.host, "uuid": a.id}))
                    await ws.recv()
                await ws.send(data.decode("utf-8", "replace"))
                await ws.send(data)
                await ws.send("[]")  # a frame of an unknown kind leaves the link standing, this does not
                with contextlib.suppress(ConnectionClosed):
                    async with asyncio.timeout(PATIENCE):
                        while True:
                            await ws.recv()
            except ConnectionClosed:
                pass
            except TimeoutError:
                raise AssertionError(f"{name}: the link stands") from None
            finally:
                ws.transport.abort()
    await welcomed(a)


async def test_requests_take_no_harm(up: tuple[Controller, FakeAgent]) -> None:
    c, a = up
    address = f"https://127.0.0.1:{a.port}"
    async with aiohttp.ClientSession() as http:
        for own in (True, False):
            context = client_context(a.directory, certificate=own)

            async def post(path: str, data: Any, **headers: str) -> int:
                with contextlib.suppress(aiohttp.ClientError, ValueError):
                    async with http.post(address + path, data=data, ssl=context, headers=headers) as answer:  # noqa: B023
                        await answer.read()
                        return answer.status
                return 0

            for name, data in LINES.items():
                assert 400 <= await post("/join", data) < 500, name
                await post("/poll", data)
                await post("/build/x", data)
            assert await post("/join", b'{"token":"' + b"x" * 100_000 + b'"}') in (0, 400, 413)
            assert await post("/join", b"{}", **{"X-Long": "y" * 100_000}) in (0, 400, 431)
            for path in ("/" + "x" * 20_000, "/../../etc/passwd", "/build/..%2f..%2fx", "/link"):
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(address + path, ssl=context) as answer:
                        assert answer.status >= 400
    good = await c.joining.token("b-1", "")
    request = {"token": good, "host": "b-1", "uuid": "00000000-0000-0000-0000-000000000001", "csr": make_key("b")[1]}
    c.joining._attempts.__init__()  # type: ignore[misc]
    assert (await c.reports.join(request))["host"] == "b-1"
    await welcomed(a)


async def test_raw_bytes_on_the_port_take_no_harm(up: tuple[Controller, FakeAgent]) -> None:
    c, a = up
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    raw = [b"", b"\x16\x03\x01" + b"\xff" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"A" * 100_000]
    within = [b"GET /" + b"a" * 100_000, b"POST /join HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
              b"POST /join HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b"\x00" * 10_000,
              b"X: y\r\n" * 10_000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 10_000]  # fmt: skip
    for context, parts in ((None, raw), (insecure, within)):
        for data in parts:
            for port in (a.port, c.origin.port):
                with contextlib.suppress(OSError, ssl.SSLError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                    writer.write(data)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.3):
                            await reader.read(65536)
                    writer.transport.abort()
    await welcomed(a)
    await c.origin.ask("rates", regions={})


async def exchange(path: Path, data: bytes, silence: float = 0.5) -> bytes:
    """What comes back for one line, until the other side closes or is silent for so long."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    came = b""
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(data + b"\n")
            async with asyncio.timeout(silence):
                await writer.drain()
                while part := await reader.read(65536):
                    came += part
                    if came.endswith(b"\n"):
                        break
    finally:
        writer.transport.abort()
    return came


async def test_control_and_view_sockets_take_no_harm(up: tuple[Controller, FakeAgent]) -> None:
    c, _ = up
    for name in ("control.sock", "view.sock"):
        for data in [*LINES.values(), b"x" * (9 * 1024 * 1024)]:
            await exchange(c.state / name, data)
        session = RemoteSession(c.state / name)
        await session.connect()
        assert (await session.snapshot()).head is not None
        await session.close()


async def serves(path: Path, ask: bytes, check: Callable[[dict[str, Any]], bool]) -> None:
    assert check(json.loads(await exchange(path, ask, PATIENCE)))


async def test_the_agents_socket_takes_no_harm(short_dir: Path) -> None:
    server = LocalSocket(str(short_dir), Names(str(short_dir)))
    await server.start()
    try:
        for data in [*LINES.values(), b"x" * 200_000]:
            await exchange(short_dir / "agent.sock", data)
        ask = b'{"id":1,"op":"watch","names":["x"]}'
        await serves(short_dir / "agent.sock", ask, lambda d: d["ok"])
    finally:
        await server.stop()


async def test_the_keepers_socket_takes_no_harm(short_dir: Path) -> None:
    with KeeperHost(short_dir) as host:
        (await asyncio.to_thread(host.up)).close()
        for data in [*LINES.values(), b"x" * (2 * 1024 * 1024)]:
            await exchange(short_dir / "keeper.sock", data)
        await serves(short_dir / "keeper.sock", b'{"id":1,"op":"hello"}', lambda d: d["ok"])


@pytest.mark.parametrize("data", CASES)
def test_frames_are_refused_with_one_error(data: bytes) -> None:
    try:
        found = frames.decode(data)
    except frames.ProtocolError:
        return
    assert isinstance(found, dict) and isinstance(found["t"], str)
