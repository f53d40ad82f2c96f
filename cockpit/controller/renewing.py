"""Certificates are renewed: those of hosts and relays when they ask, the controller's and the origin's by itself."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cockpit.controller.attempts import Bucket
from cockpit.controller.joining import Joining
from cockpit.link.pki import JoinRefused

BURST, EVERY = 4.0, 1800.0
"""Renewals that one identity may have at once, and seconds after which it may have another."""
MAX_KNOWN = 20_000
WARN = 7 * 86400.0
LOOK = 3600.0
"""Seconds between looks at our own certificates."""
DAY = 86400.0


class Renewing:
    """Answers `renew` frames. Whoever calls vouches for the identity: it is that of the channel's certificate, or
    through a relay that of the `sid`."""

    def __init__(self, joining: Joining) -> None:
        self.joining = joining
        self._asked: OrderedDict[str, Bucket] = OrderedDict()

    async def renew(self, kind: str, name: str, uuid: str, csr: object) -> dict[str, Any]:
        """The answering frame `certificate`: {cert, ca}, or {error} with a sentence. Raises OSError when the state
        cannot be kept."""
        try:
            if not isinstance(csr, str):
                raise JoinRefused("a certificate request is wanted")
            self._limit(uuid)
            cert = await self.joining.renew(kind, name, uuid, csr)
        except PermissionError as e:
            return {"t": "certificate", "error": str(e)}
        return {"t": "certificate", "cert": cert, "ca": self.joining.authority.ca_pem}

    def _limit(self, uuid: str) -> None:
        now = time.time()
        bucket = self._asked.pop(uuid, None) or Bucket(BURST, EVERY)
        self._asked[uuid] = bucket
        while len(self._asked) > MAX_KNOWN:
            self._asked.popitem(last=False)
        if bucket.wait(now) > 0:
            raise JoinRefused("this identity was renewed too often: later")
        bucket.add(now)


async def keep_own(
    joining: Joining, contexts: Callable[[], list[ssl.SSLContext]], origin: Path, say: Callable[[str], None]
) -> None:
    """Look at the controller's and the origin's certificates for ever. New ones are used by connections from then on:
    listening goes on, and the origin's process sees by itself that its files have changed.

    `contexts` are those of every socket that the controller listens on now; `origin` is the origin's directory.
    """
    authority = joining.authority
    while True:
        for context in contexts():
            if await asyncio.to_thread(authority.renew_controller, context):
                for other in contexts():
                    if other is not context:
                        await asyncio.to_thread(authority.serve_with, other)
                say("the controller's certificate was renewed")
        await asyncio.to_thread(authority.issue_origin, origin)
        await asyncio.sleep(LOOK)


def notices(joining: Joining, now: float) -> list[str]:
    """Sentences for the operator about what ends soon. Pure but for `joining`'s tables."""
    said = []
    ca = joining.authority.facts.expires - now
    if ca < 90 * DAY:
        said.append(f"the cluster's authority ends in {max(0.0, ca) / DAY:.0f} days: see docs/security.md")
    ending = sorted(
        (float(e), name) for name, e in joining.expiries().items() if now < e < now + WARN
    )
    if ending:
        at, name = ending[0]
        more = f" and {len(ending) - 1} more" if len(ending) > 1 else ""
        said.append(
            f"the certificate of {name}{more} ends in {max(1, round((at - now) / DAY))} days:"
            f" see why it does not renew itself with cockpit agent list"
        )
    return said


def expired(joining: Joining, name: str, now: float) -> str:
    """Why a host that is away cannot come back; empty when it can."""
    ends = joining.expiries().get(name)
    if ends is None or ends > now:
        return ""
    when = time.strftime("%m-%d %H:%M", time.localtime(ends))
    return f"its certificate expired {when}: join anew with cockpit agent token {name}"
