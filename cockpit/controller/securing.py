"""Identities in a running controller: renewals answered, revocations carried to everybody, own certificates kept."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.controller import renewing
from cockpit.controller.joining import TTL, Identity, Joining
from cockpit.controller.origin import OriginError
from cockpit.controller.revoking import Revoked
from cockpit.link.pki import token_digest
from cockpit.model.states import UP
from cockpit.model.view import Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

LOOK = 60.0
MAX_TEXT = 300
Op = Callable[[Who, dict[str, Any]], Awaitable[Any]]


class Security:
    """One per controller; `run` is one of its tasks."""

    def __init__(self, controller: Controller, contexts: Callable[[], list[ssl.SSLContext]]) -> None:
        """`contexts` are those of every socket that listens now."""
        self.c = controller
        self.joining: Joining = controller.joining
        self.renewing = renewing.Renewing(self.joining)
        self.joining.revoking.on_change.append(self._revoked)
        self._contexts = contexts
        self._texts: dict[str, str] = {}
        """Host -> what it says about its own certificate, when that is not well."""
        self._seen: dict[str, tuple[str, float]] = {}
        """Host -> (serial, end) of its certificate, as it says itself."""

    async def run(self) -> None:
        own = asyncio.create_task(
            renewing.keep_own(self.joining, self._contexts, self.c.state / "origin", self._say)
        )
        try:
            await self._tell_origin()
            while not own.done():
                for host in self.c.world.expected.hosts:
                    self._explain(host, time.time())
                await asyncio.wait({own}, timeout=LOOK)
            await own  # a bug there ends the controller like any other
        finally:
            own.cancel()
            await asyncio.gather(own, return_exceptions=True)

    # the link

    def greet(self, host: str) -> None:
        """After welcome."""
        self.c.hub.send(host, self.joining.revoking.frame())

    async def renew(self, host: str, csr: object) -> None:
        """A `renew` frame of a host with a link: who asks is who holds the link, whatever the frame says."""
        link = self.c.hub.links.get(host)
        if link is not None:
            answer = await self.renewing.renew("host", host, link.uuid, csr)
            if self.c.hub.links.get(host) is link:
                link.send(answer)

    def told(self, host: str, text: str, serial: str = "", expires: float = 0.0) -> None:
        """What a host says about its certificate; no text: all is well."""
        self._seen[host] = (serial[:80], expires)
        if text:
            self._texts[host] = text[:MAX_TEXT]
        else:
            self._texts.pop(host, None)

    def why(self, host: str) -> str:
        """Why this host is away, when that is known; else empty."""
        if host in self.joining.uuids:
            return renewing.expired(self.joining, host, time.time())
        return self.joining.revoking.reason(host)

    def notices(self, now: float) -> list[str]:
        known = [(h, t) for h, t in sorted(self._texts.items()) if h in self.joining.uuids]
        said = [f"{host}: {text}" for host, text in known[:3]]
        if len(known) > 3:
            said.append(f"and {len(known) - 3} more hosts whose certificates do not renew: cockpit agent list")
        return [*renewing.notices(self.joining, now), *said]

    def _explain(self, host: str, now: float) -> None:
        """The card of a host that is away says why it cannot come back."""
        known, why = self.c.world.hosts.get(host), self.why(host)
        if why and known is not None and known.presence != UP and known.reason != why:
            self.c.world.host_fact(host, reason=why)

    # revocation

    def _revoked(self, row: Revoked) -> None:
        """Connections of it end now, and everybody else learns who is refused."""
        c = self.c
        c.hub.broadcast(self.joining.revoking.frame())
        c.hub.expel(row.uuid, row.sentence())
        self._texts.pop(row.name, None)
        self._explain(row.name, row.at)
        c.spawn(self._after(row))

    async def _after(self, row: Revoked) -> None:
        await self._tell_origin()
        places = self.c.world.expected.relays if row.kind == "relay" else self.c.world.expected.hosts
        where = places.get(row.name)
        if where is not None and where.connection == "local":  # it gets a new identity, and is started with it
            shutil.rmtree(self.c.local.directory(row.name) / "identity", ignore_errors=True)

    async def _tell_origin(self) -> None:
        with contextlib.suppress(OriginError):
            await self.c.origin.revoked(sorted(self.joining.revoking.rows))

    def _say(self, text: str) -> None:
        self.c.hint = text

    # what operators ask

    def operations(self) -> dict[str, Op]:
        return {
            "token": self._token, "tokens": self._tokens, "token_withdraw": self._withdraw,
            "identities": self._identities, "revoke": self._revoke, "authority": self._authority,
        }

    async def _token(self, who: Who, args: dict[str, Any]) -> Any:
        name, ttl = str(args.get("host", "")), _seconds(args.get("ttl", TTL))
        text = await self.joining.token(name, str(args.get("node", "")), ttl, by=who.author)
        self._noted("made", token_digest(text)[0], name, who)
        kind = "relay" if name in self.c.world.expected.relays else "agent"
        return {"token": text, "controller": self.c.url, "kind": kind}

    async def _tokens(self, who: Who, args: dict[str, Any]) -> Any:
        return self.joining.tokens(time.time())

    async def _withdraw(self, who: Who, args: dict[str, Any]) -> Any:
        gone = await self.joining.withdraw(str(args["id"]))
        self._noted("withdrawn", gone["id"], gone["host"], who)
        return gone

    def _noted(self, what: str, id: str, host: str, who: Who) -> None:
        """Who lets whom in stands in the journal; the token itself does not."""
        self.c.ledger.note({"kind": "token", "what": what, "id": id, "host": host, "author": who.author})

    async def _identities(self, who: Who, args: dict[str, Any]) -> Any:
        now, hosts = time.time(), self.c.world.expected
        known = {i.name for i in self.joining.identities() if not i.revoked}
        return {
            "now": now, "identities": [self._told(i) for i in self.joining.identities()],
            "missing": [n for n in [*hosts.hosts, *hosts.relays] if n not in known],
            "texts": self._texts,
        }

    def _told(self, row: Identity) -> Identity:
        """Of a host that never joined with a token (it is of this machine) only it knows its certificate."""
        serial, expires = self._seen.get(row.name, ("", 0.0))
        if row.kind != "host" or row.revoked or row.expires or not expires:
            return row
        return msgspec.structs.replace(row, serial=serial, expires=expires)

    async def _revoke(self, who: Who, args: dict[str, Any]) -> Any:
        return await self.joining.revoke(
            str(args["name"]), str(args.get("uuid", "")), by=who.author, why=str(args.get("why", "")),
            now=time.time(),
        )

    async def _authority(self, who: Who, args: dict[str, Any]) -> Any:
        authority = self.joining.authority
        own = authority.controller_facts()
        return {
            "now": time.time(), "cluster": authority.cluster, "fingerprint": authority.fingerprint,
            "ca": authority.facts._asdict(), "controller": own._asdict() if own is not None else None,
        }


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise Bad("ttl: seconds above 0 are wanted")
    return float(value)
