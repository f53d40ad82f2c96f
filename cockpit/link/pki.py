"""The cluster's own certificate authority, kept by the controller.

One EC P-256 CA per cluster. Identities are SAN URIs: `cockpit://controller/CLUSTER`, and
`cockpit://host/NAME` or `cockpit://relay/NAME` with `urn:uuid:UUID`. The private key of a host or relay is
made where it runs. Every certificate serves both ends of a connection, because hosts send pieces to each
other: who is meant is told by the URI alone, never by the certificate's purpose.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cockpit.agent.identity import write_identity
from cockpit.link.certificates import (
    Facts,
    facts,
    fingerprint,
    peer_identity,
    peer_name,
    uris,
)
from cockpit.link.tokens import BadToken, Token, parse_token

__all__ = [
    "Authority", "BadToken", "Facts", "JoinRefused", "Token", "facts", "fingerprint", "make_token", "parse_token",
    "peer_identity", "peer_name", "token_digest",
]

CA_LIFE = timedelta(days=3653)
HOST_LIFE = timedelta(days=90)
CONTROLLER_LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
BACKDATED = timedelta(minutes=5)
MAX_CSR = 16 * 1024
STANDS = timedelta(days=10)
"""What an identity that is made here must have left: hosts and relays renew their own long before."""
USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

HostKey = ec.EllipticCurvePrivateKey


class JoinRefused(PermissionError):
    """A join request that gets no certificate. The text is for the operator of the host."""


class Authority:
    """Issues every certificate of one cluster. Its directory is 0700, its files are 0600."""

    def __init__(self, dir: Path, cluster: str, key: HostKey, cert: x509.Certificate) -> None:
        self.dir = dir
        self.cluster = cluster
        self._key = key
        self._cert = cert

    @classmethod
    def create(cls, dir: Path, cluster: str) -> Authority:
        """Raises FileExistsError when the directory holds an authority already."""
        dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (dir / "ca.pem").exists():
            raise FileExistsError(f"{dir} holds an authority already")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cockpit {cluster}"[:64])])
        now = datetime.now(UTC)
        public = key.public_key()
        cert = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_uri("cluster", cluster))]),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        _write(dir / "ca-key.pem", _key_pem(key))
        _write(dir / "ca.pem", _pem(cert))
        return cls(dir, cluster, key, cert)

    @classmethod
    def load(cls, dir: Path) -> Authority:
        """Raises FileNotFoundError, or ValueError when the files are not an authority's."""
        cert = x509.load_pem_x509_certificate((dir / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((dir / "ca-key.pem").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{dir / 'ca-key.pem'} is not an EC key")
        if key.public_key() != cert.public_key():
            raise ValueError(f"{dir}: ca-key.pem does not belong to ca.pem")
        for uri in uris(cert):
            if uri.startswith("cockpit://cluster/"):
                return cls(dir, unquote(uri[len("cockpit://cluster/") :]), key, cert)
        raise ValueError(f"{dir / 'ca.pem'} names no cluster")

    @property
    def ca_pem(self) -> str:
        return _pem(self._cert).decode()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._cert)

    def issue_host(self, csr_pem: str, host: str, uuid: str) -> str:
        """Certificate (PEM) for the key in the request; its subject and extensions are not looked at.

        Raises JoinRefused for anything but a sound request with an acceptable key.
        """
        return self._issue("host", csr_pem, host, uuid)

    def issue_relay(self, csr_pem: str, relay: str, uuid: str) -> str:
        """As `issue_host`, for a relay."""
        return self._issue("relay", csr_pem, relay, uuid)

    @property
    def facts(self) -> Facts:
        """Of the authority's own certificate."""
        return facts(self._cert)

    def controller_facts(self) -> Facts | None:
        """Of the controller's certificate; None before it was needed."""
        try:
            return facts((self.dir / "controller.pem").read_bytes())
        except (OSError, ValueError):
            return None

    def stands(self, pem: str, left: timedelta = STANDS) -> bool:
        """Is this certificate (PEM) ours, good for both ends of a connection, and not about to end?"""
        try:
            cert = x509.load_pem_x509_certificate(pem.encode())
            cert.verify_directly_issued_by(self._cert)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return cert.not_valid_after_utc - datetime.now(UTC) > left and _serves_both(cert)

    def _issue(self, kind: str, csr_pem: str, name: str, uuid: str) -> str:
        if len(csr_pem) > MAX_CSR:
            raise JoinRefused("the certificate request is too large")
        try:
            csr = x509.load_pem_x509_csr(csr_pem.encode())
            sound = csr.is_signature_valid
            public = csr.public_key()
            urn = f"urn:uuid:{UUID(uuid)}"
        except (ValueError, InvalidSignature) as e:
            raise JoinRefused(f"the certificate request is not valid: {e}") from None
        if not sound:
            raise JoinRefused("the certificate request is not signed by its own key")
        fine = (
            isinstance(public, ec.EllipticCurvePublicKey)
            and public.curve.key_size >= 256
            or isinstance(public, ed25519.Ed25519PublicKey)
            or (isinstance(public, rsa.RSAPublicKey) and public.key_size >= 2048)
        )
        if not fine:
            raise JoinRefused("the key of the certificate request is too weak: EC P-256 is wanted")
        names = [x509.UniformResourceIdentifier(_uri(kind, name)), x509.UniformResourceIdentifier(urn)]
        return _pem(self._sign(public, name, names, HOST_LIFE)).decode()

    def controller_context(self, names: Sequence[str] = ()) -> ssl.SSLContext:
        """Server side, TLS 1.3. Clients may show no certificate (to join), but not a foreign one.

        `names` are further addresses or host names for the certificate, beside the loopback ones;
        agents do not look at them, browsers and scripts do.
        """
        chain, key = self._controller_files(names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(chain, key)
        context.load_verify_locations(self.dir / "ca.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0  # agents keep one connection and never resume
        return context

    def issue_local_host(
        self, dir: Path, host: str, uuid: str, controllers: Sequence[str], *, address: str = ""
    ) -> None:
        """Write DIR/identity of a `connection: local` host; its key is made here because it lives here.

        `address` is its source address until the first welcome tells it.
        """
        key, csr = _request(host)
        self._write_identity(dir, key, self.issue_host(csr, host, uuid), host, uuid, controllers, address)

    def issue_local_relay(self, dir: Path, relay: str, uuid: str, controllers: Sequence[str]) -> None:
        """Write DIR/identity of a `connection: local` relay."""
        key, csr = _request(relay)
        self._write_identity(dir, key, self.issue_relay(csr, relay, uuid), relay, uuid, controllers)

    def issue_origin(self, dir: Path) -> Path:
        """DIR/identity of the swarm's origin, which is the controller's: written anew unless it still stands.

        The URI is the controller's, the key is not, so that the process with the open port holds no other.
        """
        path = dir / "identity"
        try:
            ours = (path / "ca.pem").read_text() == self.ca_pem
            if ours and self.stands((path / "cert.pem").read_text(), RENEW_BEFORE):
                return path
        except OSError:
            pass
        key = ec.generate_private_key(ec.SECP256R1())
        uri = x509.UniformResourceIdentifier(_uri("controller", self.cluster))
        cert = self._sign(key.public_key(), f"origin {self.cluster}", [uri], CONTROLLER_LIFE)
        self._write_identity(dir, key, _pem(cert).decode(), "", "", ())
        return path

    def _write_identity(
        self, dir: Path, key: HostKey, cert: str, name: str, uuid: str, controllers: Sequence[str],
        address: str = "",
    ) -> None:
        write_identity(
            str(dir), key=_key_pem(key).decode(), cert=cert, ca=self.ca_pem, name=name, uuid=uuid,
            controllers=list(controllers), cluster=self.cluster, address=address,
        )

    def renew_controller(self, context: ssl.SSLContext, names: Sequence[str] = ()) -> bool:
        """Give a context that listens a new certificate when its own ends soon: for connections from now on."""
        before = self.controller_facts()
        self._controller_files(names)
        if self.controller_facts() == before:
            return False
        self.serve_with(context, names)
        return True

    def serve_with(self, context: ssl.SSLContext, names: Sequence[str] = ()) -> None:
        """Give a context that listens the controller's present certificate."""
        context.load_cert_chain(*self._controller_files(names))

    def _controller_files(self, names: Sequence[str]) -> tuple[Path, Path]:
        chain, key_path = self.dir / "controller.pem", self.dir / "controller-key.pem"
        wanted = _alt_names(self.cluster, names)
        if chain.exists() and key_path.exists():
            cert = x509.load_pem_x509_certificate(chain.read_bytes())
            left = cert.not_valid_after_utc - datetime.now(UTC)
            have = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if left > RENEW_BEFORE and set(have) == set(wanted) and _serves_both(cert):
                return chain, key_path
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._sign(key.public_key(), f"controller {self.cluster}", wanted, CONTROLLER_LIFE)
        _write(key_path, _key_pem(key))
        _write(chain, _pem(cert) + _pem(self._cert))  # the CA too: a joining host checks its fingerprint
        return chain, key_path

    def _sign(
        self, public: Any, common: str, names: Sequence[x509.GeneralName], life: timedelta
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])]))
            .issuer_name(self._cert.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(min(now + life, self._cert.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def make_token(
    authority: Authority, host: str, node: str, ttl: float, *, now: float | None = None
) -> tuple[str, dict[str, Any]]:
    """(token, record). The record is what the controller keeps; the secret is only in the token.

    `host` empty: any declared host may use it. `ttl` in seconds.
    """
    secret = secrets.token_urlsafe(24)
    expires = float(int((time.time() if now is None else now) + ttl))
    token = Token(secrets.token_hex(6), secret, authority.fingerprint, host, node, expires)
    record = {
        "id": token.id, "digest": _hash(secret), "host": host, "node": node, "expires": expires,
        "used": None,
    }
    return token.text(), record


def token_digest(text: str) -> tuple[str, str]:
    """(id, digest of the secret) of a token's text, as in its record. Raises BadToken."""
    token = parse_token(text)
    return token.id, _hash(token.secret)


def _request(name: str) -> tuple[HostKey, str]:
    """A new key and its certificate request (PEM), for what runs on this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return key, csr.public_bytes(serialization.Encoding.PEM).decode()


def _serves_both(cert: x509.Certificate) -> bool:
    """Certificates of earlier releases were good for one end only."""
    try:
        usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return set(USAGES) <= set(usage)


def _alt_names(cluster: str, names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(_uri("controller", cluster)),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    for name in names:
        try:
            entry: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            entry = x509.DNSName(name)
        if entry not in found:
            found.append(entry)
    return found


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )


def _uri(kind: str, name: str) -> str:
    return f"cockpit://{kind}/{quote(name, safe='')}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: HostKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    new.replace(path)
