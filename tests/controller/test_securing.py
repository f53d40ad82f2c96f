"""Renewal and revocation over real links: hub, agents, control socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from cockpit.agent.join import make_key
from cockpit.controller.core import Controller
from cockpit.link import pki
from cockpit.session.client import RemoteSession
from tests.controller.fakes import FakeAgent, agent, dial, engine
from tests.helpers import PATIENCE, until


@pytest.fixture
async def up(short_dir: Path) -> AsyncIterator[tuple[Controller, dict[str, FakeAgent], RemoteSession]]:
    async with engine(short_dir) as c:
        agents = {h: await agent(c, short_dir, h) for h in ("a-1", "b-1")}
        session = RemoteSession(c.state / "control.sock")
        await session.connect()
        try:
            yield c, agents, session
        finally:
            await session.close()
            for each in agents.values():
                await each.stop()


class Spoken:
    """A second link of a host, frame by frame."""

    def __init__(self, a: FakeAgent) -> None:
        self.a = a

    async def say(self, *frames: dict[str, Any]) -> list[dict[str, Any]]:
        """What comes until a `certificate`, or the end."""
        ws = await dial(self.a.directory, self.a.port)
        came: list[dict[str, Any]] = []
        try:
            await ws.send(json.dumps({"t": "hello", "host": self.a.host, "uuid": self.a.id}))
            for frame in frames:
                await ws.send(json.dumps(frame))
            with contextlib.suppress(ConnectionClosed):
                async with asyncio.timeout(PATIENCE):
                    while not came or came[-1]["t"] != "certificate":
                        came.append(json.loads(await ws.recv()))
        finally:
            ws.transport.abort()
        return came


async def test_a_host_is_renewed_as_itself_only(up: Any) -> None:
    c, agents, session = up
    _, csr = make_key("b-1")  # what the request says does not count
    frames = await Spoken(agents["a-1"]).say({"t": "renew", "csr": csr, "host": "b-1", "uuid": agents["b-1"].id})
    assert [f["t"] for f in frames[:2]] == ["welcome", "revoked"]
    cert = frames[-1]["cert"]
    der = pki.x509.load_pem_x509_certificate(cert.encode()).public_bytes(pki.serialization.Encoding.DER)
    assert pki.peer_identity(der) == ("a-1", agents["a-1"].id)
    rows = (await session.call("identities"))["identities"]
    assert {r["name"]: r["serial"] for r in rows} == {"a-1": pki.facts(cert).serial, "b-1": ""}
    frames = await Spoken(agents["a-1"]).say({"t": "renew", "csr": "nonsense"})
    assert "not valid" in frames[-1]["error"]


async def test_a_revocation_cuts_what_is_open_and_everybody_hears_of_it(
    up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cockpit.controller.world.SUSPECT_FOR", 0.1)
    c, agents, session = up
    a, b = agents["a-1"], agents["b-1"]
    heard: list[dict[str, Any]] = []
    await b.stop()
    listening = asyncio.create_task(_listen(b, heard))
    await until(lambda: "b-1" in c.hub.links and heard)
    revoked = await session.call("revoke", {"name": "a-1", "why": "stolen"})
    assert revoked["uuid"] == a.id
    await until(lambda: "a-1" not in c.hub.links)
    assert a.ws is not None
    async with asyncio.timeout(PATIENCE):
        await a.ws.wait_closed()
    await until(lambda: {"t": "revoked", "uuids": [a.id]} in heard)
    row = lambda: c.board.tables["hosts"]["a-1"]  # noqa: E731
    await until(lambda: row().presence == "unknown" and row().reason != "no answer")
    reason = c.board.tables["hosts"]["a-1"].reason
    assert re.fullmatch(r"revoked by \S+ (\d\d-\d\d )?\d\d:\d\d: stolen", reason)
    came = await Spoken(a).say({"t": "renew", "csr": make_key("a-1")[1]})
    assert [f["t"] for f in came] in ([], ["refused"])  # not even welcomed
    assert "a-1" not in c.hub.links
    assert c.origin._standing["revoked"]["uuids"] == [a.id]
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def _listen(a: FakeAgent, heard: list[dict[str, Any]]) -> None:
    ws = await dial(a.directory, a.port)
    try:
        await ws.send(json.dumps({"t": "hello", "host": a.host, "uuid": a.id}))
        async for text in ws:
            heard.append(json.loads(text))
    finally:
        ws.transport.abort()


async def test_what_a_host_says_about_its_certificate_is_shown(up: Any) -> None:
    c, agents, _ = up
    await agents["a-1"].send(t="identity", serial="1", expires=5.0, text="the certificate cannot be renewed (x)")
    await until(lambda: any("a-1: the certificate cannot" in n for n in c.board.notices))
    await agents["a-1"].send(t="identity", serial="1", expires=5.0, text="")
    await until(lambda: not any("a-1: the certificate" in n for n in c.board.notices))


async def test_verbs_of_the_control_socket(up: Any) -> None:
    c, _, session = up
    made = await session.call("token", {"host": "a-1", "ttl": 120.0})
    (row,) = await session.call("tokens")
    assert row["host"] == "a-1" and 100 < row["expires"] - time.time() < 121 and made["token"]
    assert (await session.call("token_withdraw", {"id": row["id"]}))["host"] == "a-1"
    assert await session.call("tokens") == []
    facts = await session.call("authority")
    assert facts["fingerprint"] == c.authority.fingerprint and facts["ca"]["expires"] > time.time() + 9e7
    view = RemoteSession(c.state / "view.sock")
    await view.connect()
    try:
        assert await view.call("tokens") == []
        for op, args in (("revoke", {"name": "a-1"}), ("token_withdraw", {"id": "x"}), ("token", {})):
            with pytest.raises(Exception, match="view-only"):
                await view.call(op, args)
    finally:
        await view.close()
