"""Who may come in: links that work once, cookies, Host and Origin. Pure but for randomness; time comes in."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

COOKIE = "cockpit"
FREE, PER_SECOND = 10.0, 0.5
"""Wrong tokens that are free, and so many more per second."""
MOST_COOKIES = 16
LONGEST = 200


class Gate:
    """`hosts`: what Host may say (`127.0.0.1:8000`); `origins`: what Origin may say."""

    def __init__(self, hosts: frozenset[str], origins: frozenset[str]) -> None:
        self.hosts = hosts
        self.origins = origins
        self.cookie = COOKIE
        """Its name."""
        self._link = b""
        self._cookies: list[bytes] = []
        self._room, self._looked = FREE, 0.0

    def new_link(self) -> str:
        """A token for one login; the one before, if it was not used, is worth nothing any more."""
        token = secrets.token_urlsafe(32)
        self._link = _digest(token)
        return token

    def host_is_ours(self, host: str) -> bool:
        """A name that was made to point here (DNS rebinding) is none of ours."""
        return host.lower() in self.hosts

    def origin_is_ours(self, origin: str) -> bool:
        """A page from elsewhere, and what says nothing of where it comes from, is refused."""
        return origin.lower() in self.origins

    def blocked(self, now: float) -> bool:
        """After too many wrong tokens nothing is compared for a while; `now` is monotonic."""
        self._room = min(FREE, self._room + max(0.0, now - self._looked) * PER_SECOND)
        self._looked = now
        return self._room < 1.0

    def enter(self, token: str, now: float) -> str | None:
        """A new cookie for a right token, which is used up then. None: wrong, or too many were."""
        if self.blocked(now):
            return None
        right = self._same(token, self._link) and bool(self._link)
        if not right:
            self._room -= 1.0
            return None
        self._link = b""
        cookie = secrets.token_urlsafe(32)
        self._cookies = [*self._cookies, _digest(cookie)][-MOST_COOKIES:]
        return cookie

    def knows(self, cookie: str, now: float) -> bool:
        """Was it given out here? A wrong one counts as a wrong token; a right one is never kept waiting."""
        found = False
        for each in self._cookies:  # all of them, always
            found |= self._same(cookie, each)
        if not found and cookie and not self.blocked(now):
            self._room -= 1.0
        return found

    def _same(self, given: str, digest: bytes) -> bool:
        return hmac.compare_digest(_digest(given[:LONGEST]), digest)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def allowed(address: str, port: int, extra: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Hosts and origins for an address of ours, and for `extra` origins of a proxy. Raises ValueError."""
    names = [f"[{address}]" if ":" in address else address, "localhost"]
    hosts = {f"{name}:{port}" for name in names} | ({*names} if port == 80 else set())
    origins = {f"http://{host}" for host in hosts}
    for text in extra:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.username:
            raise ValueError(f"{text!r} is no origin: https://NAME[:PORT] is wanted")
        hosts.add(parts.netloc.lower())
        origins.add(f"{parts.scheme}://{parts.netloc}".lower())
    return frozenset(hosts), frozenset(origins)
