"""Joining: a one-time token becomes an identity. The key never leaves the host.

The controller is known by the fingerprint in the token: its chain is looked at first, then a second
connection is made that accepts nothing but that authority, and only that one carries the secret.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import uuid as uuids
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

from cockpit.agent.identity import WrongController, origin, pinned_context, write_identity
from cockpit.link.dial import check_upstream
from cockpit.link.tokens import BadToken, Token, fingerprint_der, parse_token

TIMEOUT = 10.0
MAX_ANSWER = 256 * 1024
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")


class JoinError(Exception):
    """Why this host could not join, as a sentence for the operator."""


class Unanswered(JoinError):
    """Nobody listens there, or nobody answers."""


def join(host_dir: str, controller: str, token_text: str, host: str = "", address: str = "") -> str:
    """Join and write DIR/identity; the name this host now has. Raises JoinError.

    `address` is the local source address, for hosts that have several.
    """
    return enrol(host_dir, controller, token_text, host, address)[0]


def enrol(
    host_dir: str, controller: str, token_text: str, host: str = "", address: str = "", kind: str = "host"
) -> Tuple[str, Dict[str, Any]]:
    """As `join`, for a `kind` of host or relay; with the name, the controller's whole answer."""
    try:
        token = parse_token(token_text)
        base = origin(controller)
    except (BadToken, ValueError) as e:
        raise JoinError(str(e)) from None
    if token.expires <= time.time():
        ago = time.time() - token.expires
        raise JoinError(f"this join token expired {ago:.0f} s ago; ask for a new one")
    name = token.host or host or socket.gethostname()
    if token.host and host and host != token.host:
        raise JoinError(f"this join token is for {kind} {token.host}, not for {host}")
    if not HOST_NAME.fullmatch(name):
        option = "--host" if kind == "host" else "--name"
        raise JoinError(f"{name!r} cannot be the name of a {kind}; give one with {option}")
    where = urlsplit(base)
    peer = (where.hostname or "", where.port or 443)
    ca = _trusted_ca(peer, token, address)
    key, csr = make_key(name)
    uuid = str(uuids.uuid4())
    body = {"token": token_text.strip(), "csr": csr, "host": name, "uuid": uuid, "kind": kind}
    answer, cluster = _ask(peer, ca, body, address)
    if answer.get("cluster") != cluster or not isinstance(answer.get("cert"), str):
        raise JoinError(f"{base} gave an answer that makes no sense")
    name = str(answer.get("host", name))
    write_identity(
        host_dir, key=key, cert=answer["cert"], ca=ssl.DER_cert_to_PEM_cert(ca), name=name, uuid=uuid,
        controllers=list(dict.fromkeys([base, *map(str, answer.get("controllers") or [])])), cluster=cluster,
        address=address,
    )
    return name, answer


def _trusted_ca(peer: Tuple[str, int], token: Token, address: str) -> bytes:
    """The authority (DER) at the end of the presented chain, when it has the token's fingerprint."""
    try:
        chain = _presented(peer, address)
    except (OSError, ssl.SSLError) as e:
        raise Unanswered(f"no answer from {peer[0]}:{peer[1]}: {_why(e)}") from None
    for der in chain:
        if fingerprint_der(der) == token.fp.lower():
            return der
    raise JoinError(
        f"{peer[0]}:{peer[1]} is not the controller that made this token (its fingerprint differs); "
        "nothing was sent"
    )


def _presented(peer: Tuple[str, int], address: str) -> List[bytes]:
    """Every certificate the server shows, unverified: only good for comparing fingerprints."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    source = (address, 0) if address else None
    with socket.create_connection(peer, TIMEOUT, source_address=source) as raw:
        with context.wrap_socket(raw) as tls:
            if hasattr(tls, "get_unverified_chain"):  # Python 3.13
                return [bytes(der) for der in tls.get_unverified_chain()]
            inner: Any = getattr(tls, "_sslobj", None)
            if hasattr(inner, "get_unverified_chain"):  # 3.10 has it, not yet public
                chain = inner.get_unverified_chain()
                return [ssl.PEM_cert_to_DER_cert(cert.public_bytes()) for cert in chain]
    return _presented_by_openssl(peer)


def _presented_by_openssl(peer: Tuple[str, int]) -> List[bytes]:
    target = f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
    argv = [_openssl(), "s_client", "-connect", target, "-showcerts"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise OSError("no answer to the TLS handshake") from None
    found = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", done.stdout, re.S)
    return [ssl.PEM_cert_to_DER_cert(pem.decode()) for pem in found]


def _ask(peer: Tuple[str, int], ca: bytes, body: Any, address: str) -> Tuple[Any, str]:
    """POST /join; (answer, cluster of the controller that gave it)."""
    source = (address, 0) if address else None
    link = http.client.HTTPSConnection(
        peer[0], peer[1], timeout=TIMEOUT, context=pinned_context(cadata=ca), source_address=source
    )
    try:
        link.connect()
        kind, cluster = check_upstream(link.sock.getpeercert(), None)
        link.request("POST", "/join", json.dumps(body), {"Content-Type": "application/json"})
        reply = link.getresponse()
        data = reply.read(MAX_ANSWER)
    except WrongController as e:
        raise JoinError(str(e)) from None
    except (OSError, http.client.HTTPException) as e:
        raise Unanswered(f"no answer from {peer[0]}:{peer[1]}: {_why(e)}") from None
    finally:
        link.close()
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if reply.status != 200:
        text = answer.get("text") or answer.get("error") if isinstance(answer, dict) else ""
        raise JoinError(f"the controller refused: {text or f'HTTP {reply.status} {reply.reason}'}")
    if not isinstance(answer, dict):
        raise JoinError(f"{peer[0]}:{peer[1]} gave an answer that makes no sense")
    if kind == "relay":  # the authority that the token pinned vouches for it, and each cluster has its own
        cluster = str(answer.get("cluster", ""))
    return answer, cluster


def make_key(name: str) -> Tuple[str, str]:
    """(private key, certificate request), PEM, EC P-256: by the one-file agent's own module, else by `cryptography`
    where it is, else by openssl."""
    try:
        import _cockpit

        key, csr = _cockpit.make_key(name)
        return str(key), str(csr)
    except ImportError:
        pass
    except OSError as e:
        raise JoinError(str(e)) from None
    try:
        return _make_key_here(name)
    except ImportError:
        return _make_key_by_openssl(name)


def _make_key_here(name: str) -> Tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return plain.decode(), csr.public_bytes(pem).decode()


def _make_key_by_openssl(name: str) -> Tuple[str, str]:
    tool = _openssl()
    with tempfile.TemporaryDirectory() as dir:  # 0700
        key, csr = os.path.join(dir, "key.pem"), os.path.join(dir, "csr.pem")
        make = [tool, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]
        ask = [tool, "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", csr]
        for argv in (make, ask):
            try:
                subprocess.run(
                    argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT
                )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
                said = (e.stderr or b"").decode(errors="replace").strip().splitlines()
                raise JoinError(f"openssl could not make a key: {said[-1] if said else e}") from None
        with open(key) as k, open(csr) as c:
            return k.read(), c.read()


def _openssl() -> str:
    tool: Optional[str] = shutil.which("openssl")
    if tool is None:
        raise JoinError("this host has neither the `cryptography` package nor the openssl command")
    return tool


def _why(e: BaseException) -> str:
    return getattr(e, "strerror", None) or str(e) or type(e).__name__
