"""Who may be a host or a relay: join tokens, certificates, and which UUID speaks for which name."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from typing import Any

from cockpit.controller.ledger import Ledger
from cockpit.controller.world import World
from cockpit.link.pki import Authority, make_token, token_digest
from cockpit.model.names import near
from cockpit.plan.steps import Bad

TTL = 3600.0


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
        self._tokens: dict[str, dict[str, Any]] = {}

    def load(self, tables: dict[str, dict[str, Any]]) -> None:
        self.uuids = {k: str(v["uuid"]) for k, v in tables.get("host", {}).items()}
        self.relays = {k: str(v["uuid"]) for k, v in tables.get("relay", {}).items()}
        self._tokens = dict(tables.get("token", {}))

    def admits(self, host: str, uuid: str) -> bool:
        return self.uuids.get(host) == uuid

    async def admit(self, host: str, uuid: str) -> None:
        if self.uuids.get(host) != uuid:
            self.uuids[host] = uuid
            await self.ledger.commit([("host", host, {"uuid": uuid})])

    async def admit_relay(self, relay: str, uuid: str) -> None:
        if self.relays.get(relay) != uuid:
            self.relays[relay] = uuid
            await self.ledger.commit([("relay", relay, {"uuid": uuid})])

    async def token(self, host: str, node: str, ttl: float = TTL) -> str:
        """A one-time token, for a named host or relay, or (empty) for any host of the topology. Raises Bad."""
        known = [*self.world.expected.hosts, *self.world.expected.relays]
        if host and host not in known:
            raise Bad(f"no host or relay {host!r} in the topology" + near(host, known))
        text, record = make_token(self.authority, host, node, ttl, now=time.time())
        self._tokens[record["id"]] = record
        await self.ledger.commit([("token", record["id"], record)])
        return text

    async def join(self, request: dict[str, Any], url: str) -> dict[str, Any]:
        """Spend a token for a certificate. Raises PermissionError with a sentence."""
        token, host, uuid = str(request["token"]), str(request["host"]), str(request["uuid"])
        id, digest = token_digest(token)
        record = self._tokens.get(id)
        if record is None or not hmac.compare_digest(str(record["digest"]), digest):
            raise PermissionError("this token is not known here: it was used already, or is of another cluster")
        if record["expires"] < time.time():
            raise PermissionError("this token has expired: make a new one with `cockpit agent token`")
        if record["host"] and record["host"] != host:
            raise PermissionError(f"this token is for {record['host']}, not for {host}")
        if request.get("kind", "host") == "relay":
            return await self._join_relay(record, str(request["csr"]), host, uuid, url)
        if host in self.world.expected.relays:
            raise PermissionError(f"{host} is a relay: it joins with `cockpit relay`, not as an agent")
        if host not in self.world.expected.hosts:
            raise PermissionError(f"{host} is not a host of the topology: add it and `cockpit apply` first")
        if self.uuids.get(host, uuid) != uuid and not record["host"]:
            raise PermissionError(
                f"{host} belongs to another machine already; to replace it make a token for it:"
                f" cockpit agent token {host}"
            )
        certificate = self.authority.issue_host(str(request["csr"]), host, uuid)
        del self._tokens[id]
        self.uuids[host] = uuid
        await self.ledger.commit([("token", id, None), ("host", host, {"uuid": uuid})])
        return {
            "cert": certificate, "ca": self.authority.ca_pem, "cluster": self.world.expected.name,
            "host": host, "controllers": [url],
        }

    async def _join_relay(
        self, record: dict[str, Any], csr: str, relay: str, uuid: str, url: str
    ) -> dict[str, Any]:
        if relay not in self.world.expected.relays:
            raise PermissionError(f"{relay} is not a relay of the topology: add it and `cockpit apply` first")
        if not record["host"]:
            raise PermissionError(f"this token is for hosts only; make one for {relay}: cockpit agent token {relay}")
        certificate = self.authority.issue_relay(csr, relay, uuid)
        del self._tokens[record["id"]]
        self.relays[relay] = uuid
        await self.ledger.commit([("token", record["id"], None), ("relay", relay, {"uuid": uuid})])
        return {
            "cert": certificate, "ca": self.authority.ca_pem, "cluster": self.world.expected.name,
            "host": relay, "controllers": [url], "relay": self.facts(relay),
        }
