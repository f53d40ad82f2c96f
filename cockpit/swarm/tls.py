"""TLS between nodes: both sides show a certificate of the cluster, and the dialler checks whom it reached.

An identity directory holds key.pem, cert.pem, ca.pem and host.json ({"name", "cluster"}); see
`cockpit.agent.identity`. Names are SAN URIs: `cockpit://host/NAME`, `cockpit://relay/NAME`,
`cockpit://controller/CLUSTER`.
"""

from __future__ import annotations

import json
import os
import ssl
from typing import Any, Dict, NamedTuple, Optional
from urllib.parse import unquote

ROLES = {"host": "peer", "relay": "relay", "controller": "origin"}
"""Kind of certificate -> the role its holder plays in a swarm."""
MAX_DOC = 1024 * 1024


class Name(NamedTuple):
    """Who a certificate is for: kind `host`, `relay` or `controller`."""

    kind: str
    name: str

    @property
    def node(self) -> str:
        """The name in the swarm: the origin's is empty, whatever its cluster is called."""
        return "" if self.kind == "controller" else self.name

    @property
    def role(self) -> str:
        return ROLES[self.kind]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class WrongName(ssl.SSLError):
    """A certificate of our authority, but not of the node that was wanted."""

    def __str__(self) -> str:
        return str(self.args[0])  # an SSLError would show the whole tuple


class Identity(NamedTuple):
    name: str
    """Of the host or relay, as its host.json says."""
    cluster: str
    server: ssl.SSLContext
    client: ssl.SSLContext


def load(directory: str) -> Identity:
    """Raises ValueError (what is wrong with which file), ssl.SSLError, OSError."""
    path = os.path.join(directory, "host.json")
    with open(path, "rb") as f:
        data = f.read(MAX_DOC)
    try:
        doc = json.loads(data)
        name, cluster = doc["name"], doc["cluster"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} does not name the host and its cluster") from None
    if not isinstance(name, str) or not isinstance(cluster, str):
        raise ValueError(f"{path} does not name the host and its cluster")
    server = _context(directory, ssl.PROTOCOL_TLS_SERVER)
    server.num_tickets = 0  # nobody resumes a session
    return Identity(name, cluster, server, _context(directory, ssl.PROTOCOL_TLS_CLIENT))


def _context(directory: str, protocol: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the names are URIs, see `expect`
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=os.path.join(directory, "ca.pem"))
    context.load_cert_chain(os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem"))
    return context


def name_of(certificate: Optional[Dict[str, Any]]) -> Name:
    """From `getpeercert()`. Raises WrongName unless it names exactly one node."""
    found = []
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        if kind == "URI" and value.startswith("cockpit://"):
            role, _, name = value[len("cockpit://") :].partition("/")
            if role in ROLES and name:
                found.append(Name(role, unquote(name)))
    if len(found) != 1:
        raise WrongName("the certificate of the other side names no node of the swarm")
    return found[0]


def expect(certificate: Optional[Dict[str, Any]], wanted: Optional[Name]) -> Name:
    """Who is there. Raises WrongName when somebody else was wanted; None accepts any node."""
    found = name_of(certificate)
    if wanted is not None and found != wanted:
        raise WrongName(f"{found} answers where {wanted} was wanted")
    return found
