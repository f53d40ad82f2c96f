"""The hub over real TLS on loopback; the agents are plain WebSocket clients."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import socket
import ssl
import uuid
from asyncio import sslproto
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from cockpit.link import frames, messages
from cockpit.link.hub import Answer, Hub
from cockpit.link.pki import Authority
from tests.bench.hub import agent as bench_agent
from tests.bench.hub import hub
from tests.controller.fakes import client_context, dial, identity
from tests.helpers import PATIENCE, until

MOST_MEMORY = 120_000
"""Bytes that a connected agent may cost the hub at most."""


class Owner:
    """Takes `known` hosts and notes what it is told."""

    def __init__(self) -> None:
        self.known = {"h-1", "h-2"}
        self.happened: list[tuple[str, str]] = []
        self.frames: list[tuple[str, messages.AnyFrame]] = []
        self.lives: list[str] = []
        self.breaks = False

    def welcome(self, host: str, uuid: str) -> dict[str, Any] | None:
        return {"cluster": "test", "region": "sh"} if host in self.known else None

    def connected(self, host: str, hello: messages.Hello) -> None:
        self.happened.append(("connected", host))

    def frame(self, host: str, frame: messages.AnyFrame) -> None:
        if self.breaks:
            raise RuntimeError("the owner cannot take it")
        self.frames.append((host, frame))

    def heard(self, host: str, latency: float | None) -> None:
        self.lives.append(host)

    def disconnected(self, host: str, why: str) -> None:
        self.happened.append((why, host))

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["token"] != "good":
            raise PermissionError("this token is not known here")
        return {"host": request["host"]}


class House:
    """A hub, its authority, and identities of hosts."""

    def __init__(self, root: Path, authority: Authority, hub: Hub, owner: Owner) -> None:
        self.root, self.authority, self.hub, self.owner = root, authority, hub, owner
        self.uuids: dict[str, str] = {}
        self.open: list[ClientConnection] = []

    def host(self, name: str) -> Path:
        directory = self.root / name
        if name not in self.uuids:
            self.uuids[name] = identity(self.authority, directory, name)
        return directory

    async def agent(self, name: str, **facts: Any) -> ClientConnection:
        """Said hello; its welcome is not read yet."""
        ws = await dial(self.host(name), self.hub.port)
        self.open.append(ws)
        hello = {"t": "hello", "host": name, "uuid": self.uuids[name], "agent_pid": 7, **facts}
        await ws.send(json.dumps(hello))
        return ws

    async def connected(self, name: str) -> ClientConnection:
        ws = await self.agent(name)
        welcome = await read(ws)
        assert welcome["t"] == "welcome"
        return ws


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    authority = Authority.create(tmp_path / "ca", "test")
    owner = Owner()
    hub = Hub(owner, authority.controller_context())
    await hub.start("127.0.0.1", 0)
    made = House(tmp_path, authority, hub, owner)
    try:
        yield made
    finally:
        for ws in made.open:
            ws.transport.abort()
        await hub.stop()


async def read(ws: ClientConnection, timeout: float = PATIENCE) -> dict[str, Any]:
    async with asyncio.timeout(timeout):
        frame = json.loads(await ws.recv())
    assert isinstance(frame, dict)
    return frame


async def cut(ws: ClientConnection, timeout: float = PATIENCE) -> None:
    """The other side ends the connection, at once."""
    async with asyncio.timeout(timeout):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await ws.recv()


# who may come in


async def test_without_a_certificate_there_is_no_link(house: House) -> None:
    from websockets.asyncio.client import connect

    context = client_context(house.host("h-1"), certificate=False)
    with pytest.raises(InvalidStatus) as e:
        await connect(f"wss://127.0.0.1:{house.hub.port}/link", ssl=context)
    assert e.value.response.status_code == 403
    assert b"certificate" in (e.value.response.body or b"")
    assert house.owner.happened == [] and not house.hub.links


async def test_without_a_certificate_nothing_is_served(house: House) -> None:
    context = client_context(house.host("h-1"), certificate=False)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"https://127.0.0.1:{house.hub.port}/link", ssl=context) as answer:
            assert answer.status == 403


async def test_a_certificate_of_another_authority_is_refused_by_tls(house: House, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "foreign", "test")
    identity(foreign, tmp_path / "stranger", "h-1")
    (tmp_path / "stranger/identity/ca.pem").write_text(house.authority.ca_pem)
    with pytest.raises((OSError, EOFError, InvalidMessage)):
        await dial(tmp_path / "stranger", house.hub.port)
    assert not house.hub.links


async def test_a_certificate_of_ours_that_is_no_hosts_is_refused(house: House, tmp_path: Path) -> None:
    """The controller's own, or any other, does not make an agent."""
    directory = house.host("h-1")
    key = ec.generate_private_key(ec.SECP256R1())
    ca = x509.load_pem_x509_certificate((tmp_path / "ca/ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((tmp_path / "ca/ca-key.pem").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "h-1")])
    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(ca.subject).public_key(key.public_key())
        .serial_number(5).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1)).sign(signer, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (directory / "identity/cert.pem").write_bytes(cert.public_bytes(pem))
    (directory / "identity/key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises((InvalidStatus, InvalidMessage, OSError, EOFError)) as e:
        await dial(directory, house.hub.port)
    if isinstance(e.value, InvalidStatus):
        assert e.value.response.status_code == 403
    assert not house.hub.links


@pytest.mark.parametrize("facts", [{"host": "h-2"}, {"uuid": str(uuid.UUID(int=1))}], ids=str)
async def test_a_hello_that_is_not_its_certificates_is_cut(house: House, facts: dict[str, Any]) -> None:
    ws = await house.agent("h-1", **facts)
    await cut(ws)
    assert house.owner.happened == [] and not house.hub.links


@pytest.mark.parametrize(
    "first", ['{"t":"pong","at":1}', "not json", '{"t":"hello"}', "[]", b"\xff\xfe", '{"t":"nothing"}'],
    ids=lambda f: str(f)[:16],
)
async def test_something_else_than_a_hello_is_cut(house: House, first: str | bytes) -> None:
    ws = await dial(house.host("h-1"), house.hub.port)
    house.open.append(ws)
    await ws.send(first)
    await cut(ws)
    assert house.owner.happened == [] and not house.hub.links


async def test_an_unknown_host_is_refused_with_a_reason(house: House) -> None:
    ws = await house.agent("h-9")
    assert await read(ws) == {"t": "refused", "text": "host is not in the topology"}
    await cut(ws)
    assert house.owner.happened == [] and not house.hub.links


async def test_a_known_host_is_welcomed(house: House) -> None:
    ws = await house.agent("h-1")
    welcome = await read(ws)
    assert welcome["t"] == "welcome"
    assert (welcome["cluster"], welcome["region"]) == ("test", "sh")
    assert house.owner.happened == [("connected", "h-1")]
    await ws.close()
    await until(lambda: not house.hub.links)
    assert house.owner.happened == [("connected", "h-1"), ("connection closed", "h-1")]


async def test_a_taken_port_is_an_oserror(house: House) -> None:
    other = Hub(Owner(), house.authority.controller_context())
    with pytest.raises(OSError, match="address already in use"):
        await other.start("127.0.0.1", house.hub.port)
    await other.stop()


# links


async def test_a_second_connection_replaces_the_first(house: House) -> None:
    first = await house.connected("h-1")
    waiting = house.hub.begin("t1", "h-1", "start", {})
    second = await house.connected("h-1")
    await cut(first)
    with pytest.raises(ConnectionError, match="connected anew"):
        await waiting
    await second.send(json.dumps({"t": "pong", "at": 1.0}))
    await until(lambda: house.owner.lives == ["h-1"])
    assert list(house.hub.links) == ["h-1"]
    assert house.owner.happened == [("connected", "h-1"), ("connected", "h-1")]  # never gone in between
    repeated = house.hub.begin("t1", "h-1", "start", {})
    assert (await read(second))["task"] == "t1"
    await second.send(json.dumps({"t": "result", "task": "t1", "ok": True}))
    assert (await repeated).ok


async def test_a_bad_frame_cuts_the_link(house: House) -> None:
    ws = await house.connected("h-1")
    await ws.send('{"t":"unit","unit":7}')
    await cut(ws)
    await until(lambda: not house.hub.links)
    assert house.owner.happened[-1][0].startswith("bad frame")


@pytest.mark.parametrize(("over", "fine"), [(0, True), (1, False)])
async def test_frames_over_the_limit_cut_the_link(house: House, over: int, fine: bool) -> None:
    ws = await house.connected("h-1")
    frame = json.dumps({"t": "releases", "releases": [""]})
    text = frame.replace('""', '"' + "x" * (frames.MAX_FRAME - len(frame) + over) + '"')
    assert len(text) == frames.MAX_FRAME + over
    with contextlib.suppress(ConnectionClosed):
        await ws.send(text)
    if fine:
        await until(lambda: house.owner.frames)
        assert list(house.hub.links) == ["h-1"]
    else:
        await cut(ws)
        await until(lambda: not house.hub.links)
        assert house.owner.frames == []
        assert [host for _, host in house.owner.happened] == ["h-1", "h-1"]


@pytest.mark.filterwarnings("ignore")
async def test_an_owner_that_breaks_does_not_leave_a_dead_link(house: House) -> None:
    ws = await house.connected("h-1")
    waiting = house.hub.begin("t1", "h-1", "start", {})
    house.owner.breaks = True
    await ws.send(json.dumps({"t": "releases", "releases": []}))
    await cut(ws)
    await until(lambda: not house.hub.links)
    assert house.owner.happened[-1] == ("connection failed", "h-1")
    with pytest.raises(ConnectionError):
        await waiting
    house.owner.breaks = False
    await house.connected("h-1")


async def test_an_agent_that_reads_nothing_is_cut_and_nothing_is_left_out(house: House) -> None:
    ws = await house.connected("h-1")
    link = house.hub.links["h-1"]
    ws.transport.pause_reading()
    blob = "x" * 4096
    for _ in range(30_000):  # far more than the queue and the socket's buffers hold
        house.hub.broadcast({"t": "names", "version": 1, "full": False, "services": {"p": blob}})
        if link.queue.full():
            break
    house.hub.broadcast({"t": "names", "version": 2, "full": False, "services": {}})
    await until(lambda: not house.hub.links)
    assert house.owner.happened[-1][1] == "h-1"


async def test_the_pong_tells_the_latency(house: House) -> None:
    ws = await house.connected("h-1")
    house.hub.broadcast({"t": "ping", "at": 1.0})
    ping = await read(ws)
    await ws.send(json.dumps({"t": "pong", "at": ping["at"]}))
    await until(lambda: house.hub.links["h-1"].latency is not None)


# commands


async def test_a_command_is_answered(house: House) -> None:
    ws = await house.connected("h-1")
    asked = asyncio.create_task(house.hub.command("h-1", "start", {"unit": "u"}, task="t1", timeout=PATIENCE))
    frame = await read(ws)
    assert frame == {"t": "cmd", "task": "t1", "uuid": house.uuids["h-1"], "word": "start", "args": {"unit": "u"}}
    await ws.send(json.dumps({"t": "result", "task": "t1", "ok": False, "code": "exec", "text": "ENOENT"}))
    assert await asked == Answer("t1", False, {}, "exec", "ENOENT")
    assert house.hub.tasks.waiting == {}


async def test_a_repeated_task_has_one_answer(house: House) -> None:
    ws = await house.connected("h-1")
    first = house.hub.begin("t1", "h-1", "start", {})
    again = house.hub.begin("t1", "h-1", "start", {})
    assert (await read(ws))["task"] == (await read(ws))["task"] == "t1"  # the agent is asked each time
    for _ in range(2):
        await ws.send(json.dumps({"t": "result", "task": "t1", "ok": True, "data": {"pid": 5}}))
    assert await first == await again == Answer("t1", True, {"pid": 5})
    await until(lambda: len(house.owner.frames) == 2)
    assert house.hub.tasks.waiting == {}


async def test_an_answer_nobody_asked_for_does_no_harm(house: House) -> None:
    ws = await house.connected("h-1")
    await ws.send(json.dumps({"t": "result", "task": "other", "ok": True}))
    await until(lambda: house.owner.frames)
    assert list(house.hub.links) == ["h-1"]


async def test_no_answer_without_a_link(house: House) -> None:
    with pytest.raises(ConnectionError, match="no answer from h-1"):
        await house.hub.command("h-1", "start", {}, task="t1")
    assert not house.hub.send("h-1", {"t": "ack", "seq": 1})
    assert house.hub.tasks.waiting == {}


async def test_a_broken_link_is_a_connection_error(house: House) -> None:
    ws = await house.connected("h-1")
    other = await house.connected("h-2")
    mine = house.hub.begin("t1", "h-1", "start", {})
    theirs = house.hub.begin("t2", "h-2", "start", {})
    await read(ws)
    ws.transport.abort()
    with pytest.raises(ConnectionError, match="h-1"):
        await mine
    await read(other)
    await other.send(json.dumps({"t": "result", "task": "t2", "ok": True}))
    assert (await theirs).ok


async def test_a_command_that_takes_too_long_is_forgotten(house: House) -> None:
    ws = await house.connected("h-1")
    with pytest.raises(TimeoutError):
        await house.hub.command("h-1", "tail", {}, task="t1", timeout=0.01)
    assert house.hub.tasks.waiting == {}
    await ws.send(json.dumps({"t": "result", "task": "t1", "ok": True}))
    await until(lambda: house.owner.frames)


# joining over the same port


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b'{"token":"good","host":"h-1"}', 200, "h-1"),
        (b'{"token":"bad"}', 403, "not known here"),
        (b"{}", 400, "token"),
        (b"[]", 400, "bad request"),
        (b"\xff", 400, "bad request"),
        (b'{"token":"' + b"x" * 70_000 + b'"}', 413, ""),
    ],
    ids=lambda b: str(b)[:20],
)
async def test_join_requests(house: House, body: bytes, status: int, word: str) -> None:
    context = client_context(house.host("h-1"), certificate=False)
    async with aiohttp.ClientSession() as http:
        async with http.post(f"https://127.0.0.1:{house.hub.port}/join", data=body, ssl=context) as answer:
            assert answer.status == status
            assert word in await answer.text()


# what a connection costs


def test_the_private_detail_that_keeps_tls_connections_small_is_still_there() -> None:
    """CPython allocates `max_size` bytes per connection when the protocol object is made."""
    assert sslproto.SSLProtocol.max_size == 8 * 1024
    loop = asyncio.new_event_loop()
    try:
        protocol = sslproto.SSLProtocol(
            loop, asyncio.Protocol(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), loop.create_future(),
            server_side=True,
        )  # fmt: skip
        assert len(vars(protocol)["_ssl_buffer"]) == 8 * 1024
    finally:
        loop.close()


async def test_a_connection_costs_little_memory(tmp_path: Path) -> None:
    """RSS of a hub in a process of its own, with reports of ten units each."""
    with hub(tmp_path, 120) as listening:
        agents = [await bench_agent(tmp_path / str(n) / "identity", listening.port) for n in range(20)]
        links, before = listening.look()
        assert links == 20
        agents += [await bench_agent(tmp_path / str(n) / "identity", listening.port) for n in range(20, 120)]
        links, after = listening.look()
        assert links == len(agents) == 120
    assert (after - before) * 1024 / 100 < MOST_MEMORY


async def test_stop_cuts_every_link(house: House) -> None:
    ws = await house.connected("h-1")
    port = house.hub.port
    await house.hub.stop()
    await cut(ws)
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", port)) != 0
