"""Rate limits: a token bucket whose bytes several swarms share fairly. Pure: the time (seconds) comes in.

Who wants to send asks `take`; it gets 0 and goes, or the seconds after which to ask again. While several swarms
are waiting, the one that got the fewest bytes goes first, so each gets an equal part however many connections
it has; a swarm that wants nothing leaves its part to the others.
"""

from __future__ import annotations

from typing import Dict

LEAST_BURST = 256 * 1024
QUANTUM = 128 * 1024  # bytes that one swarm may be ahead of another that waits
GRACE = 0.25  # so long after its time a swarm that does not ask again still counts as waiting
LONGEST = 1.0  # nobody is told to wait longer, because rates may change


class _Flow:
    __slots__ = ("got", "until")

    def __init__(self, got: float) -> None:
        self.got = got  # bytes, counted from where the others were when it began
        self.until = 0.0  # it waits, and is to be reckoned with until then


class Limiter:
    """`rate` in bytes per second, None for no limit. The bucket holds two pieces of `piece` bytes, at least
    256 KiB and a tenth of a second, and begins full."""

    def __init__(self, rate: "float | None", piece: int = 1024 * 1024) -> None:
        self._piece = piece
        self._flows: Dict[str, _Flow] = {}
        self._at = 0.0  # when `_tokens` was right
        self._line = 0.0  # when the last of those who wait will have had its turn
        self._set(rate)
        self._tokens = self._burst

    def change(self, rate: "float | None", now: float) -> None:
        """Another rate from now on. Raises ValueError when it is not above 0."""
        self._refill(now)
        self._set(rate)
        self._tokens = min(self._tokens, self._burst)
        self._line = now

    def take(self, flow: str, count: int, now: float) -> float:
        """0.0: `count` bytes of this swarm may go, and are counted. Else the seconds until asking again."""
        if self._rate is None:
            return 0.0
        self._refill(now)
        mine = self._flow(flow)
        need = min(count, self._burst)
        waiting = [other.got for other in self._flows.values() if other is not mine and other.until > now]
        if self._tokens >= need and (not waiting or mine.got <= min(waiting) + QUANTUM):
            self._tokens -= count
            mine.got += count
            mine.until = 0.0
            return 0.0
        self._line = max(self._line, now + max(0.0, need - self._tokens) / self._rate - count / self._rate)
        self._line += count / self._rate
        wait = min(max(self._line - now, 0.001), LONGEST)
        self._line = min(self._line, now + LONGEST)
        mine.until = max(mine.until, now + wait + GRACE)
        return wait

    def spend(self, count: int, now: float) -> float:
        """Count bytes that came in already; seconds until more should be taken in (0.0: at once)."""
        if self._rate is None:
            return 0.0
        self._refill(now)
        self._tokens -= count
        return max(0.0, -self._tokens / self._rate)

    def forget(self, flow: str) -> None:
        """This swarm is over."""
        self._flows.pop(flow, None)

    def _set(self, rate: "float | None") -> None:
        if rate is not None and not rate > 0:
            raise ValueError(f"a rate of {rate} bytes per second; it must be above 0 (or None: no limit)")
        self._rate = rate
        self._burst = max(LEAST_BURST, 2.0 * self._piece, 0.1 * rate if rate else 0.0)

    def _refill(self, now: float) -> None:
        if self._rate is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = max(self._at, now)

    def _flow(self, name: str) -> _Flow:
        """A newcomer, or one that paused, begins where the least of the others is: what it did not use is gone."""
        flow = self._flows.get(name)
        others = [other.got for key, other in self._flows.items() if key != name and other.until > self._at]
        if flow is None:
            flow = self._flows[name] = _Flow(min(others, default=0.0))
        elif others and flow.until <= self._at:
            flow.got = max(flow.got, min(others) - QUANTUM)
        return flow
