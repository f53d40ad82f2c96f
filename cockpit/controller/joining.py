"""Who may be a host or a relay: join tokens, certificates, and which UUID speaks for which name."""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from cockpit.controller import revoking
from cockpit.controller.attempts import Attempts
from cockpit.controller.ledger import Ledger
from cockpit.controller.revoking import Revoked, Revoking
from cockpit.controller.world import World
from cockpit.link.pki import Authority, JoinRefused, facts, make_token, token_digest
from cockpit.model.names import near
from cockpit.plan.steps import Bad
from cockpit.ports import Write

TTL = 3600.0
MAX_TTL = 30 * 86400.0
MAX_TOKENS = 1000
MAX_NAME = 200


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `cockpit agent list`. Times are Unix seconds; `expires` 0: not known, it joined before dates were
    kept."""

    kind: str
    name: str
    uuid: str
    serial: str = ""
    expires: float = 0.0
    revoked: str = ""
    """By whom and when; empty while it is believed."""


class Joining:
    """Tokens are kept as digests and work once; a name belongs to the first UUID that took it.

    Only a token that names the host gives it to another machine. Hosts and relays never share a name
    (the topology's check sees to it), so a token serves either; one for any host is not good for a relay.
    """

    def __init__(self, authority: Authority, ledger: Ledger, world: World) -> None:
        self.authority = authority
        self.ledger = ledger
        self.world = world
        self.uuids: dict[str, str] = {}
        """Of hosts."""
        self.relays: dict[str, str] = {}
        """UUIDs of relays."""
        self.facts: Callable[[str], dict[str, Any]] = lambda relay: {}
        """What a relay is told about itself when it joins (see `relays.settings`)."""
        self.revoking = Revoking()
        self._tokens: dict[str, dict[str, Any]] = {}
        self._records: dict[str, dict[str, dict[str, Any]]] = {"host": {}, "relay": {}}
        """Kind -> name -> {uuid, serial, expires}, as in the store."""
        self._attempts = Attempts()

    def load(self, tables: dict[str, dict[str, Any]]) -> None:
        self._records = {kind: dict(tables.get(kind, {})) for kind in ("host", "relay")}
        self.uuids = {k: str(v["uuid"]) for k, v in self._records["host"].items()}
        self.relays = {k: str(v["uuid"]) for k, v in self._records["relay"].items()}
        self._tokens = dict(tables.get("token", {}))
        self.revoking.load(tables)

    # who is who

    def admits(self, host: str, uuid: str) -> bool:
        entry = self.world.expected.hosts.get(host)
        known = self.agentless(host) if entry is not None and entry.connection == "ssh" else self.uuids.get(host)
        return known == uuid and not self.revoking.refuses(uuid)

    def agentless(self, host: str) -> str:
        """The UUID of a host without an agent: nobody joins for it, so it follows from its name."""
        return str(uuid5(NAMESPACE_URL, f"cockpit://ssh/{self.authority.fingerprint}/{host}"))

    def admits_relay(self, relay: str, uuid: str) -> bool:
        return self.relays.get(relay) == uuid and not self.revoking.refuses(uuid)

    async def admit(self, host: str, uuid: str) -> None:
        """What was made on this machine is believed, but not once it was revoked."""
        if self.uuids.get(host) != uuid and not self.revoking.refuses(uuid):
            await self.ledger.commit([self._believe("host", host, uuid)])

    async def admit_relay(self, relay: str, uuid: str) -> None:
        if self.relays.get(relay) != uuid and not self.revoking.refuses(uuid):
            await self.ledger.commit([self._believe("relay", relay, uuid)])

    def identities(self) -> list[Identity]:
        """Those that are believed, by name, then those that are not, the latest first."""
        found = [
            Identity(
                kind=kind, name=name, uuid=str(r["uuid"]), serial=str(r.get("serial", "")),
                expires=float(r.get("expires", 0.0)),
            )
            for kind, records in self._records.items() for name, r in sorted(records.items())
        ]
        rows = sorted(self.revoking.rows.values(), key=lambda r: -r.at)
        return found + [
            Identity(kind=r.kind, name=r.name, uuid=r.uuid, expires=r.expires, revoked=r.sentence()) for r in rows
        ]

    def expiries(self) -> dict[str, float]:
        """Name -> end of its certificate, where it is known."""
        return {
            name: float(r["expires"])
            for records in self._records.values() for name, r in records.items() if r.get("expires")
        }

    def _believe(self, kind: str, name: str, uuid: str, cert: str = "") -> Write:
        record: dict[str, Any] = {"uuid": uuid}
        if cert:
            found = facts(cert)
            record |= {"serial": found.serial, "expires": found.expires}
        self._records[kind][name] = record
        (self.relays if kind == "relay" else self.uuids)[name] = uuid
        return (kind, name, record)

    async def renew(self, kind: str, name: str, uuid: str, csr: str) -> str:
        """A new certificate (PEM) for an identity that has shown its old one. Raises JoinRefused."""
        if self.revoking.refuses(uuid):
            raise JoinRefused(f"{name}: {self.revoking.rows[uuid].sentence()}; join anew with a token")
        if not (self.admits_relay if kind == "relay" else self.admits)(name, uuid):
            raise JoinRefused(f"{name} is another machine now")
        issue = self.authority.issue_relay if kind == "relay" else self.authority.issue_host
        cert = issue(csr, name, uuid)
        await self.ledger.commit([self._believe(kind, name, uuid, cert)])
        return cert

    async def revoke(self, name: str, uuid: str, *, by: str, why: str, now: float) -> Revoked:
        """Believe an identity no more, from now on. Raises Bad, OSError. The caller cuts its connections
        (`revoking.on_change`)."""
        if not name or len(name) > MAX_NAME:
            raise Bad("say which host or relay")
        kind, id = revoking.choose(name, uuid, self.uuids, self.relays, self.revoking.rows)
        record = self._records[kind].get(name, {})
        current = record.get("uuid") == id
        row = Revoked(
            uuid=id, kind=kind, name=name, by=by, at=now, why=why.strip()[: revoking.MAX_WHY],
            expires=revoking.last_expiry(record if current else {}, now),
        )
        writes = self.revoking.writes(row, now)
        if current:
            del self._records[kind][name]
            (self.relays if kind == "relay" else self.uuids).pop(name, None)
            writes.append((kind, name, None))
        for token in [t for t, r in self._tokens.items() if r["host"] == name]:
            del self._tokens[token]
            writes.append(("token", token, None))
        self.ledger.note(revoking.entry(row))
        await self.ledger.commit(writes)
        self.revoking.told(row)
        return row

    # tokens

    async def token(self, host: str, node: str, ttl: float = TTL, *, by: str = "") -> str:
        """A one-time token, for a named host or relay, or (empty) for any host of the topology. `ttl` in seconds.

        Raises Bad.
        """
        now = time.time()
        if not math.isfinite(ttl) or ttl > MAX_TTL:
            raise Bad(f"a token lives for at most {MAX_TTL / 86400:.0f} days")
        known = [*self.world.expected.hosts, *self.world.expected.relays]
        if host and host not in known:
            raise Bad(f"no host or relay {host!r} in the topology" + near(host, known))
        if len(node) > MAX_NAME:
            raise Bad("this tree node has too long a name")
        writes: list[Write] = self._drop_expired(now)
        if len(self._tokens) >= MAX_TOKENS:
            raise Bad(f"{MAX_TOKENS} tokens are open: withdraw some (cockpit agent tokens lists them)")
        text, record = make_token(self.authority, host, node, ttl, now=now)
        record |= {"by": by, "made": now}
        self._tokens[record["id"]] = record
        await self.ledger.commit([*writes, ("token", record["id"], record)])
        return text

    def tokens(self, now: float) -> list[dict[str, Any]]:
        """Open ones, the next to expire first: {id, host, node, expires, by, made}. No digest leaves."""
        shown = ("id", "host", "node", "expires", "by", "made")
        live = [r for r in self._tokens.values() if r["expires"] >= now]
        return [{k: r.get(k) for k in shown} for r in sorted(live, key=lambda r: r["expires"])]

    async def withdraw(self, id: str) -> dict[str, Any]:
        """The token can no longer be used. `id` may be the beginning of one. Raises Bad."""
        found = [t for t in self._tokens if id and t.startswith(id)]
        if len(found) != 1:
            raise Bad(f"{len(found)} open tokens begin with {id!r}: cockpit agent tokens lists them")
        record = self._tokens.pop(found[0])
        await self.ledger.commit([("token", found[0], None)])
        return {"id": found[0], "host": record["host"]}

    def _drop_expired(self, now: float) -> list[Write]:
        old = [t for t, r in self._tokens.items() if r["expires"] < now]
        for each in old:
            del self._tokens[each]
        return [("token", each, None) for each in old]

    # joining

    async def join(self, request: dict[str, Any], url: str, address: str = "") -> dict[str, Any]:
        """Spend a token for a certificate. `address` is the other side's. Raises PermissionError with a sentence."""
        now = time.time()
        wait = self._attempts.wait(address, now)
        if wait > 0:
            raise PermissionError(f"too many failed attempts from {address or 'there'}: wait {math.ceil(wait)} s")
        try:
            return await self._join(request, url, address, now)
        except (PermissionError, ValueError, KeyError):
            self._attempts.failed(address, now)
            raise

    async def _join(self, request: dict[str, Any], url: str, address: str, now: float) -> dict[str, Any]:
        token, host, uuid = _text(request, "token", 8192), _text(request, "host"), _text(request, "uuid", 64)
        id, digest = token_digest(token)
        record = self._tokens.get(id)
        if record is None and self._attempts.flooded(now):
            raise PermissionError("too many failed attempts to join: try again in a minute")
        if record is None or not hmac.compare_digest(str(record["digest"]), digest):
            raise PermissionError("this token is not known here: it was used already, or is of another cluster")
        if record["expires"] < now:
            raise PermissionError("this token has expired: make a new one with `cockpit agent token`")
        if record["host"] and record["host"] != host:
            raise PermissionError(f"this token is for {record['host']}, not for {host}")
        if self.revoking.refuses(uuid):
            raise PermissionError("this identity was revoked: join with a new one")
        if request.get("kind", "host") == "relay":
            return await self._join_relay(record, _text(request, "csr", 65536), host, uuid, url, address)
        if host in self.world.expected.relays:
            raise PermissionError(f"{host} is a relay: it joins with `cockpit relay`, not as an agent")
        if host not in self.world.expected.hosts:
            raise PermissionError(f"{host} is not a host of the topology: add it and `cockpit apply` first")
        self._unused(uuid, "host", host)
        if host in self.uuids and not record["host"]:  # also not with its UUID: that is no secret
            raise PermissionError(
                f"{host} belongs to another machine already; to replace it make a token for it:"
                f" cockpit agent token {host}"
            )
        certificate = self.authority.issue_host(_text(request, "csr", 65536), host, uuid)
        del self._tokens[id]
        self._noted(record, "host", host, uuid, address)
        await self.ledger.commit([("token", id, None), self._believe("host", host, uuid, certificate)])
        return {
            "cert": certificate, "ca": self.authority.ca_pem, "cluster": self.world.expected.name,
            "host": host, "controllers": [url],
        }

    async def _join_relay(
        self, record: dict[str, Any], csr: str, relay: str, uuid: str, url: str, address: str
    ) -> dict[str, Any]:
        if relay not in self.world.expected.relays:
            raise PermissionError(f"{relay} is not a relay of the topology: add it and `cockpit apply` first")
        if not record["host"]:
            raise PermissionError(f"this token is for hosts only; make one for {relay}: cockpit agent token {relay}")
        self._unused(uuid, "relay", relay)
        certificate = self.authority.issue_relay(csr, relay, uuid)
        del self._tokens[record["id"]]
        self._noted(record, "relay", relay, uuid, address)
        await self.ledger.commit([("token", record["id"], None), self._believe("relay", relay, uuid, certificate)])
        return {
            "cert": certificate, "ca": self.authority.ca_pem, "cluster": self.world.expected.name,
            "host": relay, "controllers": [url], "relay": self.facts(relay),
        }

    def _noted(self, record: dict[str, Any], kind: str, name: str, uuid: str, address: str) -> None:
        """Who came in, from where, and who had let them."""
        self.ledger.note({
            "kind": "join", "as": kind, "name": name, "uuid": uuid, "address": address, "token": record["id"],
            "author": str(record.get("by", "")),
        })  # fmt: skip

    def _unused(self, uuid: str, kind: str, name: str) -> None:
        """Raises PermissionError: one UUID never stands for two, or revoking one would cut the other."""
        for other_kind, names in (("host", self.uuids), ("relay", self.relays)):
            if any(u == uuid and (other_kind, n) != (kind, name) for n, u in names.items()):
                raise PermissionError("this UUID belongs to another machine already: join with a new one")


def _text(request: dict[str, Any], key: str, limit: int = MAX_NAME) -> str:
    value = request[key]
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise PermissionError(f"{key}: a text of at most {limit} characters is wanted")
    return value
