"""Failed attempts to join: who had too many is not looked at for a while. Pure; time comes in.

Secrets of tokens cannot be guessed (192 bits): this keeps a flood from costing anything, and from hiding in the log.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

BURST, EVERY = 20.0, 3.0
"""Failures that one address may have at once, and the seconds after which it may have one more."""
ALL_BURST, ALL_EVERY = 200.0, 0.05
"""The same for all addresses together; beyond it only those are looked at who name a token that exists."""
MAX_ADDRESSES = 4096


class Bucket:
    """`level` failures count now; they leak out, one every `every` seconds."""

    __slots__ = ("at", "burst", "every", "level")

    def __init__(self, burst: float, every: float) -> None:
        self.burst = burst
        self.every = every
        self.level = 0.0
        self.at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is room for one more; 0 when there is."""
        self._leak(now)
        return max(0.0, (self.level + 1 - self.burst) * self.every)

    def add(self, now: float) -> None:
        self._leak(now)
        self.level = min(self.burst, self.level + 1)

    def _leak(self, now: float) -> None:
        self.level = max(0.0, self.level - max(0.0, now - self.at) / self.every)
        self.at = now


class Attempts:
    def __init__(self) -> None:
        self._all = Bucket(ALL_BURST, ALL_EVERY)
        self._by: OrderedDict[str, Bucket] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Seconds that this address has to wait; 0 when it may try."""
        mine = self._by.get(_network(address))
        return mine.wait(now) if mine is not None else 0.0

    def flooded(self, now: float) -> bool:
        """So many fail that strangers are not looked at."""
        return self._all.wait(now) > 0

    def failed(self, address: str, now: float) -> None:
        key = _network(address)
        mine = self._by.pop(key, None) or Bucket(BURST, EVERY)
        mine.add(now)
        self._by[key] = mine
        self._all.add(now)
        while len(self._by) > MAX_ADDRESSES:
            self._by.popitem(last=False)


def _network(address: str) -> str:
    """One machine has a whole /64 of IPv6 addresses to come from."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return str(found)
