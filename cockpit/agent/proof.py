"""What a certificate says and whether it stands, by the standard library alone.

`ssl` can verify a certificate in a handshake only, so both ends of one are played here, in memory: what is
checked is what every other node would check.
"""

from __future__ import annotations

import os
import ssl
from typing import Any, Dict, NamedTuple, Tuple

from cockpit.agent.identity import pinned_context

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: also an expired certificate can be read."""
STEPS = 16
"""Turns after which a handshake in memory is over, one way or the other."""


class Facts(NamedTuple):
    """Of one certificate. Times are Unix seconds; `serial` is hex, `uris` are its names."""

    serial: str
    since: float
    expires: float
    uris: Tuple[str, ...]


def facts_of(peercert: Dict[str, Any]) -> Facts:
    """From `getpeercert()`. Raises ValueError when it has no dates."""
    try:
        since = ssl.cert_time_to_seconds(peercert["notBefore"])
        expires = ssl.cert_time_to_seconds(peercert["notAfter"])
        serial = str(peercert["serialNumber"]).lower().lstrip("0")
    except KeyError as e:
        raise ValueError(f"the certificate has no {e.args[0]}") from None
    names = peercert.get("subjectAltName", ())
    return Facts(serial, float(since), float(expires), tuple(v for kind, v in names if kind == "URI"))


def prove(cert: str, key: str, ca: str, *, expired: bool = False) -> Facts:
    """Facts of the certificate in the file `cert`, once it was verified: by the authority in `ca`, for `key`.

    `expired`: its dates do not count. Raises ssl.SSLError (not the authority's, not of this key, expired), OSError,
    ValueError.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.load_cert_chain(cert, key)
    client = pinned_context(cafile=ca)
    if expired:
        client.verify_flags = ssl.VerifyFlags(client.verify_flags | NO_CHECK_TIME)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    a = server.wrap_bio(to_server, to_client, server_side=True)
    b = client.wrap_bio(to_client, to_server)
    waiting = [b, a]
    for _ in range(STEPS):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return facts_of(b.getpeercert() or {})
    raise ssl.SSLError("the certificate cannot be tried")


def own_facts(dir: str, *, expired: bool = True) -> Facts:
    """Of the identity in the directory DIR. Raises as `prove`."""
    path = [os.path.join(dir, name) for name in ("cert.pem", "key.pem", "ca.pem")]
    return prove(path[0], path[1], path[2], expired=expired)
