"""TLS between nodes: both sides show a certificate of the cluster, and the dialler checks whom it reached.

An identity directory holds key.pem, cert.pem, ca.pem and host.json ({"name", "cluster"}); see
`cockpit.agent.identity`. Names are SAN URIs: `cockpit://host/NAME`, `cockpit://relay/NAME`,
`cockpit://controller/CLUSTER`.

Long-lived processes see by themselves that a certificate was renewed: each handshake begins with a look at the file.
Who was revoked is refused after the handshake, by its UUID; the list lies beside the identity directory, in
`revoked.json`, and is told over the node's own control lines while it runs.
"""

from __future__ import annotations

import json
import os
import ssl
from typing import Any, Dict, FrozenSet, Iterable, NamedTuple, Optional, Tuple
from urllib.parse import unquote

from cockpit.agent.files import write_json

ROLES = {"host": "peer", "relay": "relay", "controller": "origin"}
"""Kind of certificate -> the role its holder plays in a swarm."""
MAX_DOC = 1024 * 1024
MAX_REVOKED = 4 * 1024 * 1024


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


class Revoked(ssl.SSLError):
    """A certificate of our authority that the controller has revoked."""

    def __str__(self) -> str:
        return str(self.args[0])


class Identity:
    """Ours. `name` of the host or relay is as its host.json says."""

    def __init__(self, directory: str, name: str, cluster: str) -> None:
        """Raises ssl.SSLError, OSError."""
        self.directory = directory
        self.name = name
        self.cluster = cluster
        self.revoked: FrozenSet[str] = frozenset()
        """UUIDs."""
        self._seen = _stamp(directory)
        self._server = _server(directory)
        self._client = _context(directory, ssl.PROTOCOL_TLS_CLIENT)

    @property
    def server(self) -> ssl.SSLContext:
        self._look()
        return self._server

    @property
    def client(self) -> ssl.SSLContext:
        self._look()
        return self._client

    def revoke(self, uuids: Iterable[str]) -> None:
        """The whole list, as the controller tells it."""
        self.revoked = frozenset(uuids)

    def _look(self) -> None:
        """Take up what was renewed. What cannot be read, or is being written just now, leaves all as it is."""
        stamp = _stamp(self.directory)
        if stamp == self._seen or stamp is None:
            return
        try:
            server, client = _server(self.directory), _context(self.directory, ssl.PROTOCOL_TLS_CLIENT)
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            return
        self._seen, self._server, self._client = stamp, server, client


def load(directory: str) -> Identity:
    """Raises ValueError (what is wrong with which file), ssl.SSLError, OSError."""
    path = os.path.join(directory, "host.json")
    with open(path, "rb") as f:
        data = f.read(MAX_DOC)
    try:
        doc = json.loads(data)
        name, cluster = doc["name"], doc["cluster"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{path} does not name the host and its cluster") from None
    if not isinstance(name, str) or not isinstance(cluster, str):
        raise ValueError(f"{path} does not name the host and its cluster")
    identity = Identity(directory, name, cluster)
    identity.revoke(read_revoked(os.path.dirname(os.path.abspath(directory))))
    return identity


def read_revoked(host_dir: str) -> FrozenSet[str]:
    """DIR/revoked.json as the controller last told it; nobody, when it never did."""
    try:
        with open(os.path.join(host_dir, "revoked.json"), "rb") as f:
            doc = json.loads(f.read(MAX_REVOKED))
        return uuids_of({"uuids": doc} if isinstance(doc, list) else doc)  # a relay keeps the bare list
    except (OSError, ValueError, RecursionError):
        return frozenset()


def write_revoked(host_dir: str, uuids: Iterable[str]) -> None:
    """Keep the list for the next start. Raises OSError."""
    write_json(os.path.join(host_dir, "revoked.json"), {"uuids": sorted(uuids)})


def uuids_of(doc: Any) -> FrozenSet[str]:
    """Of a document or frame with `uuids`. Raises ValueError."""
    uuids = doc.get("uuids") if isinstance(doc, dict) else None
    if not isinstance(uuids, list) or not all(isinstance(u, str) and 0 < len(u) <= 64 for u in uuids):
        raise ValueError("uuids: a list of UUIDs is wanted")
    return frozenset(uuids)


def _stamp(directory: str) -> Optional[Tuple[int, int, int]]:
    try:
        s = os.stat(os.path.join(directory, "cert.pem"))
    except OSError:
        return None
    return s.st_ino, s.st_mtime_ns, s.st_size


def _server(directory: str) -> ssl.SSLContext:
    context = _context(directory, ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # nobody resumes a session
    return context


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


def uuid_of(certificate: Optional[Dict[str, Any]]) -> str:
    """Of a host or relay; the origin has none: empty."""
    names = (certificate or {}).get("subjectAltName", ())
    found = [value[len("urn:uuid:") :] for kind, value in names if kind == "URI" and value.startswith("urn:uuid:")]
    return found[0] if len(found) == 1 else ""


def expect(
    certificate: Optional[Dict[str, Any]], wanted: Optional[Name], revoked: FrozenSet[str] = frozenset()
) -> Name:
    """Who is there. Raises WrongName when somebody else was wanted (None accepts any node), Revoked."""
    found = name_of(certificate)
    if wanted is not None and found != wanted:
        raise WrongName(f"{found} answers where {wanted} was wanted")
    uuid = uuid_of(certificate)
    if found.kind != "controller" and (not uuid or uuid in revoked):
        raise Revoked(f"{found} was revoked" if uuid else f"the certificate of {found} has no UUID")
    return found
