"""Identities: what the authority issues, and what it refuses."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cockpit.agent.identity import Identity, WrongController, check_controller, origin
from cockpit.link import pki

UUID = "6d8b2cb0-1111-4222-8333-444455556666"


@pytest.fixture
def authority(tmp_path: Path) -> pki.Authority:
    return pki.Authority.create(tmp_path / "ca", "shop/北京")


def request(key: Any) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody else")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[Any, Any]:
    """(what the server sees of the client, what the client sees of the server)."""
    a, b = socket.socketpair()
    seen: list[Any] = []

    def serve() -> None:
        try:
            with server.wrap_socket(a, server_side=True) as tls:
                tls.recv(1)
                seen.append(tls.getpeercert())
                tls.send(b"y")
        except OSError as e:
            seen.append(e)
            a.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(b) as tls:
            tls.send(b"x")
            tls.recv(1)
            server_side = tls.getpeercert()
            thread.join()
            return seen[0], server_side
    finally:
        b.close()
        thread.join()


def test_files_are_private_and_load_gives_the_same(authority: pki.Authority, tmp_path: Path) -> None:
    again = pki.Authority.load(tmp_path / "ca")
    assert (again.cluster, again.fingerprint) == ("shop/北京", authority.fingerprint)
    authority.controller_context()
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "ca").iterdir()} == {0o600}
    with pytest.raises(FileExistsError):
        pki.Authority.create(tmp_path / "ca", "other")


def test_a_host_and_the_controller_know_each_other(authority: pki.Authority, tmp_path: Path) -> None:
    authority.issue_local_host(tmp_path / "h", "bj-1", UUID, ["https://127.0.0.1:7443"], address="127.0.1.1")
    identity = Identity.load(str(tmp_path / "h"))
    assert identity is not None
    assert (identity.name, identity.uuid, identity.cluster) == ("bj-1", UUID, "shop/北京")
    assert (identity.controllers, identity.address) == (["https://127.0.0.1:7443"], "127.0.1.1")
    for file in (tmp_path / "h" / "identity").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    client, server = handshake(authority.controller_context(), identity.context())
    assert pki.peer_identity(client) == ("bj-1", UUID)
    assert check_controller(server, "shop/北京") == "shop/北京"
    with pytest.raises(WrongController, match="not of bank"):
        check_controller(server, "bank")
    with pytest.raises(WrongController):
        check_controller(client, None)


def test_a_certificate_of_another_authority_is_not_accepted(authority: pki.Authority, tmp_path: Path) -> None:
    other = pki.Authority.create(tmp_path / "other", "shop/北京")
    other.issue_local_host(tmp_path / "h", "bj-1", UUID, ["https://c:1"])
    identity = Identity.load(str(tmp_path / "h"))
    assert identity is not None
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        handshake(authority.controller_context(), identity.context())


def test_a_client_without_certificate_may_come_but_is_nobody(authority: pki.Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.ca_pem)
    client, _ = handshake(authority.controller_context(), context)
    with pytest.raises(ValueError, match="no certificate"):
        pki.peer_identity(client)


def test_the_request_decides_nothing_but_the_key(authority: pki.Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = authority.issue_host(request(key), "bj-1", UUID)
    cert = x509.load_pem_x509_certificate(pem.encode())
    assert cert.public_key() == key.public_key()
    assert "somebody" not in cert.subject.rfc4514_string()
    der = cert.public_bytes(serialization.Encoding.DER)
    assert pki.peer_identity(der) == ("bj-1", UUID)
    life = cert.not_valid_after_utc - cert.not_valid_before_utc
    assert 90 <= life.days < 91
    assert cert.not_valid_before_utc.timestamp() < time.time() - 200


@pytest.mark.parametrize(
    "csr",
    ["", "no pem", "x" * 20_000, pytest.param(None, id="weak")],
)
def test_a_bad_request_is_refused(authority: pki.Authority, csr: str | None) -> None:
    if csr is None:
        csr = request(ec.generate_private_key(ec.SECP192R1()))
    with pytest.raises(pki.JoinRefused):
        authority.issue_host(csr, "bj-1", UUID)


def test_weak_rsa_and_a_bad_uuid_are_refused(authority: pki.Authority) -> None:
    with pytest.raises(pki.JoinRefused, match="weak"):
        authority.issue_host(request(rsa.generate_private_key(65537, 1024)), "bj-1", UUID)
    with pytest.raises(pki.JoinRefused, match="not valid"):
        authority.issue_host(request(ec.generate_private_key(ec.SECP256R1())), "bj-1", "1234")


def test_a_request_signed_by_another_key_is_refused(authority: pki.Authority) -> None:
    pem = request(ec.generate_private_key(ec.SECP256R1()))
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem.replace("CERTIFICATE REQUEST", "CERTIFICATE")))
    der[-5] ^= 1
    broken = ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    with pytest.raises(pki.JoinRefused):
        authority.issue_host(broken, "bj-1", UUID)


def test_peer_identity_refuses_what_is_no_host(authority: pki.Authority) -> None:
    for names in ((), (("URI", "cockpit://controller/shop"),), (("URI", "cockpit://host/a"),)):
        with pytest.raises(ValueError, match="not a host"):
            pki.peer_identity({"subjectAltName": names, "subject": ()})


def test_a_token_carries_the_fingerprint_and_its_record_no_secret(authority: pki.Authority) -> None:
    text, record = pki.make_token(authority, "bj-1", "shop.web", 60.0, now=1000.0)
    token = pki.parse_token(f"  {text}\n")
    assert (token.host, token.node, token.expires) == ("bj-1", "shop.web", 1060.0)
    assert token.fp == authority.fingerprint == pki.fingerprint(authority.ca_pem)
    assert token.secret not in json.dumps(record)
    assert pki.token_digest(text) == (record["id"], record["digest"])
    assert pki.make_token(authority, "bj-1", "", 60.0)[0] != text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not begin with"), ("COCKPIT1-%%%", "damaged"), ("COCKPIT1-", "damaged"),
        ("COCKPIT1-" + "A" * 10_000, "too long"),
        ("COCKPIT1-" + base64.urlsafe_b64encode(b'{"id":"a"}').decode(), "missing"),
        ("COCKPIT1-" + base64.urlsafe_b64encode(b"[]").decode(), "missing"),
        (
            "COCKPIT1-" + base64.urlsafe_b64encode(
                b'{"id":"a","secret":"b","fp":"c","host":"","node":"","expires":"soon"}'
            ).decode(),
            "expires",
        ),
    ],
)
def test_a_damaged_token_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(pki.BadToken, match=says):
        pki.parse_token(text)


def test_the_controllers_certificate_is_kept_until_its_names_change(
    authority: pki.Authority, tmp_path: Path
) -> None:
    authority.controller_context()
    first = (tmp_path / "ca" / "controller.pem").read_bytes()
    authority.controller_context()
    assert (tmp_path / "ca" / "controller.pem").read_bytes() == first
    authority.controller_context(["10.0.0.1", "ops.example"])
    assert (tmp_path / "ca" / "controller.pem").read_bytes() != first


@pytest.mark.parametrize(
    ("url", "is_"),
    [
        ("https://ops:7443", "https://ops:7443"), ("wss://ops:7443/link", "https://ops:7443"),
        ("ops:7443", "https://ops:7443"), ("https://[::1]:7443", "https://[::1]:7443"), ("ops", "https://ops:443"),
    ],
)
def test_controller_urls(url: str, is_: str) -> None:
    assert origin(url) == is_


@pytest.mark.parametrize("url", ["http://ops", "https://", "ftp://x"])
def test_what_is_no_controller_url(url: str) -> None:
    with pytest.raises(ValueError, match="controller"):
        origin(url)


# between nodes of the swarm


def server_context(identity: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(identity / "ca.pem")
    context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    return context


def three(authority: pki.Authority, root: Path) -> list[Path]:
    """Identity directories of a host, a relay and the origin."""
    authority.issue_local_host(root / "h", "bj-1", UUID, ["https://c:1"])
    authority.issue_local_relay(root / "r", "relay-bj", UUID, ["https://c:1"])
    return [root / "h" / "identity", root / "r" / "identity", authority.issue_origin(root / "o")]


NAMES = [("host", "bj-1"), ("relay", "relay-bj"), ("controller", "shop/北京")]


@pytest.mark.parametrize("dialler", range(3))
@pytest.mark.parametrize("listener", range(3))
def test_every_node_can_dial_and_serve_every_other(
    authority: pki.Authority, tmp_path: Path, dialler: int, listener: int
) -> None:
    nodes = three(authority, tmp_path)
    identity = Identity.load(str(nodes[dialler].parent))
    assert identity is not None
    client, server = handshake(server_context(nodes[listener]), identity.context())
    assert pki.peer_name(client) == NAMES[dialler]
    assert pki.peer_name(server) == NAMES[listener]
    for file in nodes[listener].iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_the_controllers_own_certificate_serves_both_ends(authority: pki.Authority, tmp_path: Path) -> None:
    authority.controller_context()
    cert = x509.load_pem_x509_certificate((tmp_path / "ca" / "controller.pem").read_bytes())
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH}


def test_a_host_that_serves_is_still_no_controller(authority: pki.Authority, tmp_path: Path) -> None:
    nodes = three(authority, tmp_path)
    identity = Identity.load(str(tmp_path / "h"))
    assert identity is not None
    for node in nodes[:2]:
        _, server = handshake(server_context(node), identity.context())
        with pytest.raises(WrongController):
            check_controller(server, "shop/北京")


def test_a_relay_is_no_host(authority: pki.Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    cert = x509.load_pem_x509_certificate(authority.issue_relay(request(key), "relay/北", UUID).encode())
    der = cert.public_bytes(serialization.Encoding.DER)
    assert pki.peer_name(der) == ("relay", "relay/北")
    with pytest.raises(ValueError, match="not a host"):
        pki.peer_identity(der)


@pytest.mark.parametrize(
    "uris", [(), ("urn:uuid:1",), ("cockpit://host/",), ("cockpit://host/a", "cockpit://relay/b"), ("cockpit://x/a",)]
)
def test_a_certificate_that_names_nobody_or_several(uris: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="neither"):
        pki.peer_name({"subjectAltName": tuple(("URI", u) for u in uris), "subject": ()})


def test_what_stands_and_what_is_issued_anew(
    authority: pki.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin_identity = authority.issue_origin(tmp_path / "o")
    first = (origin_identity / "cert.pem").read_text()
    assert authority.stands(first)
    authority.issue_origin(tmp_path / "o")
    assert (origin_identity / "cert.pem").read_text() == first
    other = pki.Authority.create(tmp_path / "other", "shop/北京")
    assert not other.stands(first)
    other.issue_origin(tmp_path / "o")
    assert (origin_identity / "cert.pem").read_text() != first
    assert not authority.stands("nonsense")
    monkeypatch.setattr(pki, "HOST_LIFE", pki.STANDS)
    assert not authority.stands(authority.issue_host(request(ec.generate_private_key(ec.SECP256R1())), "a", UUID))


def test_certificates_of_before_are_replaced(
    authority: pki.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were good for one end only."""
    with monkeypatch.context() as earlier:
        earlier.setattr(pki, "USAGES", pki.USAGES[:1])
        authority.controller_context()
        authority.issue_local_host(tmp_path / "h", "bj-1", UUID, [])
    old = (tmp_path / "ca" / "controller.pem").read_text()
    assert not authority.stands((tmp_path / "h" / "identity" / "cert.pem").read_text())
    authority.controller_context()
    assert (tmp_path / "ca" / "controller.pem").read_text() != old
