"""One-time join tokens: their text form. Standard library only; both sides use it.

`COCKPIT1-<base64url of {id, secret, fp, host, node, expires}>`; `fp` is the SHA-256 (hex) of the CA
certificate in DER, so that a host knows the controller before it sends anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass

PREFIX = "COCKPIT1-"
MAX_TOKEN = 4096


class BadToken(ValueError):
    """The text is not a join token."""


@dataclass(frozen=True)
class Token:
    id: str
    secret: str
    fp: str
    host: str
    """Name of the host that may use it; empty: any declared host."""
    node: str
    expires: float

    def text(self) -> str:
        raw = json.dumps(asdict(self), separators=(",", ":")).encode()
        return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parse_token(text: str) -> Token:
    """Raises BadToken with a sentence that says what is wrong with it."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise BadToken(f"this is not a join token: it does not begin with {PREFIX}")
    body = text[len(PREFIX) :]
    if len(body) > MAX_TOKEN:
        raise BadToken("this join token is too long")
    try:
        doc = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise BadToken("this join token is damaged: was all of it copied?") from None
    texts = ("id", "secret", "fp", "host", "node")
    if not isinstance(doc, dict) or not all(isinstance(doc.get(k), str) for k in texts):
        raise BadToken("this join token is damaged: a field is missing")
    expires = doc.get("expires")
    if isinstance(expires, bool) or not isinstance(expires, (int, float)):
        raise BadToken("this join token is damaged: it does not say when it expires")
    if len(doc["fp"]) != 64:
        raise BadToken("this join token is damaged: it carries no fingerprint")
    return Token(doc["id"], doc["secret"], doc["fp"], doc["host"], doc["node"], float(expires))


def fingerprint_der(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()
