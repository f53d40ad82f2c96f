"""Certificates that renew themselves: when, with what, and how the new pair comes to the disk.

An agent or relay asks over its own link with a key that was just made here, when a third of the certificate's life is
left. The new pair is used from the next connection on. docs/security.md has the whole story.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import shutil
import ssl
import tempfile
import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from cockpit.agent.files import write_atomic
from cockpit.agent.identity import replace_pair
from cockpit.agent.join import JoinError, make_key
from cockpit.agent.proof import Facts, own_facts, prove
from cockpit.agent.waiting import within
from cockpit.link.frames import Frame

LEFT = 1 / 3
"""Part of its life that a certificate has left when the first asking may begin."""
SPREAD = 1 / 12
"""Part of its life over which a fleet spreads its asking, from then on."""
AGAIN = 3600.0
"""Seconds between two tries, at most; less where little is left."""
SOONEST = 10.0
LOOK = 3600.0
"""Longest sleep, in seconds: clocks jump."""
WARN = 7 * 86400.0
"""Seconds before the end at which the operator is told."""
MAX_PEM = 64 * 1024

Make = Callable[[str], Tuple[str, str]]


class Unfit(Exception):
    """The answer is not a certificate that we could use. The text says why."""


class Plan(NamedTuple):
    """What the dates ask for. `at`: Unix time of the next asking; `text` for the operator, empty when all is well."""

    at: float
    text: str


def due(facts: Facts, uuid: str) -> float:
    """Unix time at which this certificate is to be renewed: later for some than for others, but always the
    same for one certificate, so that a restart of all agents does not bring them together."""
    life = facts.expires - facts.since
    draw = int.from_bytes(hashlib.sha256(f"{uuid} {facts.serial}".encode()).digest()[:6], "big") / 2.0**48
    return facts.expires - life * (LEFT - SPREAD * draw)


def plan(facts: Facts, uuid: str, now: float, tried: float = 0.0, why: str = "") -> Plan:
    """When to ask next. `tried`: Unix time of the last try that brought nothing, 0 for none; `why` it did not."""
    first = due(facts, uuid)
    if not tried or tried < first:
        at = max(now, first)
    else:
        left = max(0.0, facts.expires - tried)
        at = max(now, tried + min(AGAIN, max(SOONEST, left / 20)))
    because = f" ({why})" if why else ""
    if now >= facts.expires:
        text = f"the certificate expired {_days(now - facts.expires)} ago{because}: join anew with a token"
    elif facts.expires - now < WARN:
        text = f"the certificate ends in {_days(facts.expires - now)}{because}"
    elif why:
        text = f"the certificate cannot be renewed{because}; it ends in {_days(facts.expires - now)}"
    else:
        text = ""
    return Plan(at, text)


def check(cert: str, key: str, ca: str, want: Tuple[str, ...], now: float) -> Facts:
    """Facts of a certificate (PEM) that came for `key` (PEM). `ca` is a file, `want` are the URIs it must carry,
    no more and no less. Raises Unfit, OSError.
    """
    if len(cert) > MAX_PEM:
        raise Unfit("it is too long")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(ca)) as dir:  # 0700
        place = os.path.join(dir, "cert.pem")
        write_atomic(place, cert.encode() + b"\n" + key.encode(), 0o600, sync=False)
        try:
            facts = prove(place, place, ca)
        except (ssl.SSLError, ValueError) as e:
            why = getattr(e, "verify_message", "") or getattr(e, "reason", "") or str(e)
            raise Unfit(f"it does not stand: {why}") from None
    if sorted(facts.uris) != sorted(want):
        raise Unfit("it is for somebody else")
    if facts.expires <= now:
        raise Unfit("it has expired already")
    return facts


class Renewal:
    """Of one identity directory. `send` puts a frame on the link, `say` tells the log."""

    def __init__(
        self, dir: str, name: str, uuid: str, send: Callable[[Frame], None], say: Callable[[str], None],
        make: Make = make_key,
    ) -> None:
        """`dir` is the identity directory itself."""
        self._dir = dir
        self._name = name
        self._uuid = uuid
        self._send = send
        self._say = say
        self._make = make
        self._facts: Optional[Facts] = None
        self._tried = 0.0
        self._why = ""
        self._key = ""
        """Made for the asking that waits for its answer; never on disk before that."""
        self._linked = asyncio.Event()
        self._wake = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None
        """`report` says something else now."""
        self.on_renewed: Callable[[], None] = lambda: None

    def report(self) -> Dict[str, Any]:
        """For the host's own report: {serial, expires, text}; `text` is empty when all is well."""
        facts = self._facts
        if facts is None:
            return {"serial": "", "expires": 0.0, "text": self._why}
        text = plan(facts, self._uuid, time.time(), self._tried, self._why).text
        return {"serial": facts.serial, "expires": facts.expires, "text": text}

    def connected(self, linked: bool) -> None:
        """There is a link now, or none any more."""
        if linked:
            self._linked.set()
        else:
            self._linked.clear()
            self._key = ""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if self._facts is None:
                await self._look()
            if self._facts is None:
                wait = LOOK
            else:
                wait = plan(self._facts, self._uuid, time.time(), self._tried, self._why).at - time.time()
                if wait <= 0 and self._linked.is_set():
                    await self._ask(loop)
                    continue
                wait = min(LOOK, wait) if wait > 0 else LOOK
            try:
                await within(self._wake.wait(), wait)
            except asyncio.TimeoutError:
                pass

    async def _look(self) -> None:
        try:
            self._facts = await asyncio.get_running_loop().run_in_executor(None, own_facts, self._dir)
        except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
            self._failed(f"the certificate in {self._dir} cannot be read: {e}")
            return
        if self._make is make_key and not can_make_keys():  # said now, not in two months
            self._failed("this host has neither the `cryptography` package nor the openssl command")

    async def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tried = time.time()
        try:
            self._key, csr = await loop.run_in_executor(None, self._make, self._name)
        except JoinError as e:
            self._failed(str(e))
            return
        except Exception as e:  # whatever a tool does: the operator is told, and the host goes on
            self._failed(f"no key could be made: {e}")
            return
        self._send({"t": "renew", "csr": csr})

    async def frame(self, frame: Frame) -> None:
        """The answer `certificate`: {cert, ca}, or {error}. One that was not asked for means nothing."""
        key, self._key = self._key, ""
        if not key:
            return
        if frame.get("error"):
            self._failed(f"the controller refused: {str(frame['error'])[:500]}")
            return
        cert = frame.get("cert")
        if not isinstance(cert, str):
            self._failed("the controller's answer makes no sense")
            return
        loop = asyncio.get_running_loop()
        try:
            self._facts = await loop.run_in_executor(None, self._take, cert, key)
        except Unfit as e:
            self._failed(f"the certificate that came was not taken: {e}")
            return
        except OSError as e:
            self._failed(f"the new certificate could not be written: {e.strerror or e}")
            return
        self._tried, self._why = 0.0, ""
        self._say(f"certificate renewed, until {time.strftime('%Y-%m-%d', time.localtime(self._facts.expires))}")
        self.on_change()
        self.on_renewed()
        self._wake.set()

    def _take(self, cert: str, key: str) -> Facts:
        """In a thread. Raises Unfit, OSError."""
        known = own_facts(self._dir)
        facts = check(cert, key, os.path.join(self._dir, "ca.pem"), known.uris, time.time())
        if facts.expires < known.expires:
            raise Unfit("it ends before the present one")
        replace_pair(self._dir, key=key, cert=cert)
        return facts

    def _failed(self, why: str) -> None:
        if why != self._why:
            self._why = why
            self._say(f"certificate: {why}")
            self.on_change()


def can_make_keys() -> bool:
    """By the one-file agent's own module, `cryptography`, or the openssl command: see `join.make_key`."""
    known = any(importlib.util.find_spec(name) is not None for name in ("_cockpit", "cryptography"))
    return known or shutil.which("openssl") is not None


def _days(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.0f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{max(1.0, seconds / 60):.0f} min"
