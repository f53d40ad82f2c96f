"""Reading certificates: whom they name, until when, and which number they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cockpit.link.tokens import fingerprint_der

KINDS = ("host", "relay", "controller")


class Facts(NamedTuple):
    """Times are Unix seconds, `serial` is hex."""

    serial: str
    since: float
    expires: float


def parse(cert: x509.Certificate | str | bytes) -> x509.Certificate:
    """Of PEM. Raises ValueError."""
    if isinstance(cert, (str, bytes)):
        pem = cert.encode() if isinstance(cert, str) else cert
        cert = x509.load_pem_x509_certificate(pem)
    return cert


def facts(cert: x509.Certificate | str | bytes) -> Facts:
    """Raises ValueError when it is none."""
    found = parse(cert)
    serial = f"{found.serial_number:x}"
    return Facts(serial, found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp())


def uris(cert: x509.Certificate) -> list[str]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def fingerprint(cert: x509.Certificate | str | bytes) -> str:
    """SHA-256 (hex) of a certificate's DER form."""
    return fingerprint_der(parse(cert).public_bytes(serialization.Encoding.DER))


def peer_identity(peercert: Mapping[str, Any] | bytes | None) -> tuple[str, str]:
    """(host, uuid) of a verified client certificate: `getpeercert()`'s dict, or DER.

    Raises ValueError when there is none, or it is not a host's.
    """
    uris = _peer_uris(peercert)
    hosts = [unquote(u[len("cockpit://host/") :]) for u in uris if u.startswith("cockpit://host/")]
    uuids = [u[len("urn:uuid:") :] for u in uris if u.startswith("urn:uuid:")]
    if len(hosts) != 1 or len(uuids) != 1 or not hosts[0]:
        raise ValueError("the client's certificate is not a host's")
    return hosts[0], uuids[0]


def peer_name(peercert: Mapping[str, Any] | bytes | None) -> tuple[str, str]:
    """(kind, name) of a verified certificate: host or relay and its name, controller and its cluster.

    Raises ValueError when there is none, or it names nobody or several.
    """
    found = [
        (kind, unquote(uri[len(f"cockpit://{kind}/") :]))
        for uri in _peer_uris(peercert) for kind in KINDS if uri.startswith(f"cockpit://{kind}/")
    ]
    if len(found) != 1 or not found[0][1]:
        raise ValueError("the certificate is neither a host's, nor a relay's, nor a controller's")
    return found[0]


def _peer_uris(peercert: Mapping[str, Any] | bytes | None) -> list[str]:
    if not peercert:
        raise ValueError("the client shows no certificate")
    if isinstance(peercert, bytes):
        return uris(x509.load_der_x509_certificate(peercert))
    return [value for kind, value in peercert.get("subjectAltName", ()) if kind == "URI"]
