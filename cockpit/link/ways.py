"""Which way and transport to try next, and when. Pure: no I/O, no clock; chance and time come in.

A **pair** is a way (URL) and a transport. Rules: begin with the pair that worked last. Where nobody takes a
TCP connection, the next way is tried with the same transport, and what else goes that way is left for the next
round. Where a connection is taken and no welcome comes, or a standing link falls silent, the next transport is
tried on the same way. When every pair had its turn, a pause with chance in it, and another round.
"""

from __future__ import annotations

import random
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set

from cockpit.link.channel import TRANSPORTS

WELCOME_TIME = 4.0
"""Seconds from a TCP connection to the welcome."""
SILENCE = 8.5
"""Seconds without any frame on a standing link, whose other side pings every 4 s."""
SOON, LATER = 2.0, 5.0
"""Longest pause before a round: after one in which no connection was taken (cheap), and after another."""
REFUSED = (3.0, 6.0)
"""Seconds before the next try after a refusal in words."""
RETURN = 300.0
"""Seconds that a link stands before a better pair is tried beside it."""
NEAR = 15.0
"""Seconds until a nearer way is tried where nobody listened, or that was never tried: to ask costs little. Doubled up
to RETURN while nobody is there or links on it do not last."""
SHORT = 20.0
"""Seconds: a link that the other side ends before was cut. Once is an accident, twice is a middlebox."""
MAX_RETURN = 6 * 3600.0

UNREACHABLE, SILENT, BROKEN = "unreachable", "silent", "broken"
"""Ends of an attempt: no TCP connection; no welcome, or silence; a standing link was ended by the other side."""


class Pair(NamedTuple):
    way: str
    transport: str


class Attempt(NamedTuple):
    pair: Pair
    pause: float
    """Seconds to wait before it."""


class Chooser:
    """The state between attempts of one dialler."""

    def __init__(
        self, ways: Sequence[str], transports: Sequence[str] = (), last: Optional[Pair] = None,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`ways` best first, at least one. `chance(a, b)` draws from between."""
        self._chance = chance
        self._last = last
        self._failures = 0
        """Rounds in which nothing worked, one after another."""
        self._done: Set[Pair] = set()
        """Pairs of this round."""
        self._cheap = True
        self._present: Optional[Pair] = None
        self._next: Optional[Pair] = None
        self._pause = 0.0
        self._trouble: Dict[Pair, int] = {}
        """How often a pair fell silent since it last stood for long."""
        self._not_before: Dict[Pair, float] = {}
        self._short_lived: Dict[str, int] = {}
        """How often a way had nobody who listens, tried beside a link, or ended a link before it stood for long."""
        self._near_at: Dict[str, float] = {}
        """When a way may be tried beside the present link."""
        self._broke: Optional[Pair] = None
        self._short = 0
        """How often `_broke` was ended soon after its welcome, one after another."""
        self._since: Optional[float] = None
        """When the present pair was welcomed."""
        self.update(ways, transports)

    def update(self, ways: Sequence[str], transports: Sequence[str] = ()) -> None:
        """Other ways or transports from now on; what is known of those that stay is kept."""
        self._ways = list(dict.fromkeys(ways))
        if not self._ways:
            raise ValueError("there is no way at all")
        self._transports = [t for t in dict.fromkeys(transports) if t in TRANSPORTS] or list(TRANSPORTS)
        pairs = set(self.pairs)
        self._done &= pairs
        self._trouble = {p: n for p, n in self._trouble.items() if p in pairs}
        self._not_before = {p: at for p, at in self._not_before.items() if p in pairs}
        self._short_lived = {w: n for w, n in self._short_lived.items() if w in self._ways}
        if self._next not in pairs:
            self._next = None

    @property
    def pairs(self) -> List[Pair]:
        """All of them, best first."""
        return [Pair(way, transport) for way in self._ways for transport in self._transports]

    def attempt(self) -> Attempt:
        """What to try now. Asked again before its end is told, the answer is the same."""
        if self._next is None:
            self._next = self._first()
        return Attempt(self._next, self._pause)

    def welcomed(self, pair: Pair, now: float) -> None:
        self._last = self._present = pair
        self._since = now
        self._failures = 0
        self._near_at = {way: now + self._near(way) for way in self._ways}
        self._begin(pair, 0.0)

    def failed(self, pair: Pair, how: str, now: float) -> None:
        """The attempt, or the link that stood, ended; `how` is UNREACHABLE, SILENT or BROKEN."""
        stood = now - self._since if self._present == pair and self._since is not None else None
        self._present = self._since = None
        if stood is not None and stood >= RETURN:
            self._trouble.pop(pair, None)
            self._short_lived.pop(pair.way, None)
        elif stood is not None:
            self._lived_short(pair.way)
        if how == SILENT:
            self._suspect(pair, now)
        if stood is not None and how == BROKEN:
            self._short = self._short + 1 if stood < SHORT and self._broke == pair else int(stood < SHORT)
            self._broke = pair
            if self._short < 2:  # it was fine: the other side was started anew, perhaps
                self._begin(pair, self._chance(0.1, 0.5))
                return
            self._suspect(pair, now)  # something cuts it soon after it stands
        self._done.add(pair)
        if how == UNREACHABLE:
            self._done.update(p for p in self.pairs if p.way == pair.way)
        else:
            self._cheap = False
        found = self._after(pair, how)
        if found is None:
            self._failures += 1
            self._begin(self._first(), pause(self._failures, self._cheap, self._chance))
        else:
            self._next, self._pause = found, 0.0

    def refused(self, pair: Pair, now: float) -> None:
        """The other side said in words that it does not want us. Others may, but there is no hurry."""
        self.failed(pair, UNREACHABLE, now)
        self._cheap = False
        self._pause = max(self._pause, self._chance(*REFUSED))

    def better(self, now: float) -> Optional[Pair]:
        """A pair to try beside the link that stands, or None. A nearer way first, then a better transport."""
        present, since = self._present, self._since
        if present is None or since is None:
            return None
        pairs = self.pairs
        if present not in pairs:
            ranked = pairs
        else:
            ranked = pairs[: pairs.index(present)]
        for pair in ranked:
            at = since + RETURN
            if pair.way != present.way and pair not in self._trouble:
                at = self._near_at.get(pair.way, at)
            if max(at, self._not_before.get(pair, at)) <= now:
                return pair
        return None

    def not_better(self, pair: Pair, how: str, now: float) -> None:
        """The try beside the link failed (UNREACHABLE or SILENT); the link stands."""
        if how == UNREACHABLE:
            self._lived_short(pair.way)
            self._near_at[pair.way] = now + self._near(pair.way)
        else:
            self._suspect(pair, now)

    def _near(self, way: str) -> float:
        wait = min(RETURN, NEAR * 2.0 ** self._short_lived.get(way, 0))
        return self._chance(wait / 2, wait)

    def _lived_short(self, way: str) -> None:
        self._short_lived[way] = min(self._short_lived.get(way, 0) + 1, 16)

    def _suspect(self, pair: Pair, now: float) -> None:
        count = self._trouble[pair] = min(self._trouble.get(pair, 0) + 1, 16)
        wait = min(MAX_RETURN, RETURN * 2.0**count)
        self._not_before[pair] = now + self._chance(wait / 2, wait)

    def _begin(self, pair: Pair, pause: float) -> None:
        """A new round."""
        self._done = set()
        self._cheap = True
        self._next, self._pause = (pair if pair in self.pairs else self._first()), pause

    def _first(self) -> Pair:
        pairs = self.pairs
        return self._last if self._last in pairs and self._last is not None else pairs[0]

    def _after(self, pair: Pair, how: str) -> Optional[Pair]:
        left = [p for p in self.pairs if p not in self._done]
        if how == UNREACHABLE:
            part, order = 0, self._ways
            same = [p for p in left if p.transport == pair.transport]
        else:
            part, order = 1, self._transports
            same = [p for p in left if p.way == pair.way]
        at = order.index(pair[part]) if pair[part] in order else -1
        first = left[0] if left else None
        return min(same, key=lambda p: (order.index(p[part]) - at - 1) % len(order), default=first)


def pause(failures: int, cheap: bool, chance: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds before the next round. A connection that nobody takes is cheap and means that nobody listens yet:
    it is tried again within 2 s however long it lasts; what costs a handshake grows to 5 s."""
    return chance(0.1, min(SOON if cheap else LATER, 0.5 * 2.0 ** min(failures, 6)))
