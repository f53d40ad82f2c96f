"""Swarm connections of who was revoked, and certificates that change under a running node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cockpit.agent.identity import replace_pair
from cockpit.agent.join import make_key
from cockpit.agent.revoked import Revoked
from cockpit.link import pki
from cockpit.link.certificates import uris
from cockpit.swarm import tls
from cockpit.swarm.exchange import Exchange, Target
from cockpit.swarm.link import Link
from tests.helpers import until
from tests.swarm.certificates import Certificates


class Room(Target):
    def __init__(self) -> None:
        self.links: list[Link] = []
        self.gone: list[str] = []

    def attach(self, link: Link) -> None:
        self.links.append(link)

    def detached(self, link: Link, why: str) -> None:
        self.gone.append(why)


class Node:
    def __init__(self, certificates: Certificates, name: str) -> None:
        self.dir = certificates.root / name
        self.identity = certificates.host(name)
        self.uuid = tls.uuid_of(cert_of(self.dir))
        self.exchange = Exchange(self.identity, name, "peer")
        self.room = Room()
        self.exchange.targets["s"] = self.room
        self.port = self.exchange.listen("127.0.0.1", 0)

    async def dial(self, other: Node) -> Link:
        name = tls.Name("host", other.identity.name)
        return await self.exchange.dial("127.0.0.1", other.port, name, "s", self.room)


def cert_of(directory: Path) -> dict[str, Any]:
    names = uris(pki.x509.load_pem_x509_certificate((directory / "identity" / "cert.pem").read_bytes()))
    return {"subjectAltName": tuple(("URI", n) for n in names)}


@pytest.fixture
async def nodes(tmp_path: Path) -> Any:
    certificates = Certificates(tmp_path)
    a, b = Node(certificates, "sh-1"), Node(certificates, "sh-2")
    yield certificates, a, b
    a.exchange.close()
    b.exchange.close()
    await asyncio.sleep(0)


async def test_open_connections_are_cut_and_new_ones_refused(nodes: Any) -> None:
    _, a, b = nodes
    await a.dial(b)
    await until(lambda: b.room.links and a.room.links)
    a.exchange.revoke(["somebody else"])
    assert not b.room.links[0].closed
    b.exchange.revoke([a.uuid])
    await until(lambda: b.room.gone == ["it was revoked"] and a.room.gone)
    await a.dial(b)  # TLS is through on this side before the other one looks
    await until(lambda: len(a.room.gone) == 1 and not a.exchange._links)
    assert len(b.room.links) == 1
    with pytest.raises(tls.Revoked, match="host sh-1 was revoked"):
        await b.dial(a)
    b.exchange.revoke([])
    await a.dial(b)
    await until(lambda: len(b.room.links) == 2)


async def test_a_renewed_certificate_is_used_from_the_next_connection_on(nodes: Any) -> None:
    certificates, a, b = nodes
    await a.dial(b)
    await until(lambda: b.room.links)
    first = b.room.links[0]._sock.getpeercert()["serialNumber"]
    key, csr = make_key("sh-1")
    replace_pair(str(a.dir / "identity"), key=key, cert=certificates.authority.issue_host(csr, "sh-1", a.uuid))
    await a.dial(b)
    await until(lambda: len(b.room.links) == 2)
    assert b.room.links[1]._sock.getpeercert()["serialNumber"] != first and not b.room.links[0].closed
    await b.dial(a)  # as a server too
    await until(lambda: len(b.room.links) == 3)
    (a.dir / "identity" / "cert.pem").write_text("damaged")
    await a.dial(b)  # what cannot be read leaves all as it was
    await until(lambda: len(b.room.links) == 4)


async def test_the_list_outlives_a_restart_and_reaches_the_peer(tmp_path: Path) -> None:
    told: list[list[str]] = []

    async def tell(op: str, uuids: list[str]) -> None:
        assert op == "revoked" and tls.read_revoked(str(tmp_path)) == set(uuids)
        told.append(uuids)

    revoked = Revoked(str(tmp_path), tell)
    for frame in ({"uuids": ["b", "a"]}, {"uuids": ["a", "b"]}, {"uuids": "x"}, {}, {"uuids": [5]}, {"uuids": [""]}):
        await revoked.frame({"t": "revoked", **frame})
    assert told == [["a", "b"]] and Revoked(str(tmp_path), tell).uuids == {"a", "b"}
    Certificates(tmp_path).host("h")
    tls.write_revoked(str(tmp_path / "h"), ["x"])
    assert tls.load(str(tmp_path / "h" / "identity")).revoked == {"x"}
    (tmp_path / "h" / "revoked.json").write_text("[" * 100_000)
    assert tls.load(str(tmp_path / "h" / "identity")).revoked == set()


def test_a_certificate_without_a_uuid_is_nobodys() -> None:
    named = {"subjectAltName": (("URI", "cockpit://host/sh-1"),)}
    with pytest.raises(tls.Revoked, match="no UUID"):
        tls.expect(named, None)
    assert tls.expect({"subjectAltName": (("URI", "cockpit://controller/shop"),)}, None).node == ""
