"""Lines of many streams by time. Pure: time comes in as an argument.

Each stream's own order stays. What is stored is put together when every stream has said something (or nothing for
PATIENCE); what is new waits HOLD for lines of others that are older, at most LATEST when others are far behind.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

HOLD = 0.3
LATEST = 1.5
PATIENCE = 3.0

T = TypeVar("T")


class _Held(NamedTuple, Generic[T]):
    time: float
    arrived: float
    past: bool
    item: T


class Merge(Generic[T]):
    """`put` what came, `take` what may be shown now."""

    def __init__(self, now: float, hold: float = HOLD, latest: float = LATEST, patience: float = PATIENCE) -> None:
        self._until = now + patience
        self._hold = hold
        self._latest = latest
        self._held: dict[str, deque[_Held[T]]] = {}
        self._behind: set[str] = set()
        """Streams that have not sent yet all that is stored."""
        self._last: dict[str, float] = {}
        self._heads: list[tuple[float, int, str]] = []
        self._order: dict[str, int] = {}
        self.count = 0

    def begin(self, stream: str) -> None:
        self._held[stream] = deque()
        self._behind.add(stream)
        self._order[stream] = len(self._order)

    def put(self, stream: str, lines: Iterable[tuple[float, T]], now: float) -> None:
        """(time or 0.0, line). A time before that of the line before it is taken for the same."""
        held = self._held[stream]
        past = stream in self._behind
        for time, item in lines:
            time = max(time, self._last.get(stream, 0.0))
            self._last[stream] = time
            held.append(_Held(time, now, past, item))
            self.count += 1
            if len(held) == 1:
                heapq.heappush(self._heads, (time, self._order[stream], stream))

    def caught(self, stream: str) -> None:
        """All that is stored came; or nothing more will come."""
        self._behind.discard(stream)

    def time(self, stream: str) -> float:
        """Of its last line."""
        return self._last.get(stream, 0.0)

    @property
    def stored(self) -> bool:
        """Is the next line one of those that were stored?"""
        return bool(self._heads) and self._held[self._heads[0][2]][0].past

    def waits(self, now: float) -> bool:
        """Is a stream still expected to say what it has stored?"""
        return now < self._until and any(not self._held[s] for s in self._behind)

    def take(self, now: float, most: int) -> list[tuple[str, T]]:
        """At most so many, in order."""
        out: list[tuple[str, T]] = []
        if self.waits(now):
            return out
        while self._heads and len(out) < most:
            stream = self._heads[0][2]
            held = self._held[stream]
            head = held[0]
            if not head.past and head.arrived + self._hold > now:
                break
            out.append((stream, self._pop(stream)))
            if not held and stream in self._behind and self.waits(now):
                break
        if self._heads and len(out) < most and not self.waits(now):
            self._late(now, most, out)
        return out

    def _late(self, now: float, most: int, out: list[tuple[str, T]]) -> None:
        """What waited long enough goes, in turns, whatever is behind."""
        found = True
        while found and len(out) < most:
            found = False
            for stream, held in self._held.items():
                if held and held[0].arrived + self._latest <= now and len(out) < most:
                    out.append((stream, self._pop(stream)))
                    found = True

    def _pop(self, stream: str) -> T:
        held = self._held[stream]
        head = held.popleft()
        self.count -= 1
        entry = (head.time, self._order[stream], stream)
        if self._heads[0] == entry:
            heapq.heappop(self._heads)
        else:
            self._heads.remove(entry)
            heapq.heapify(self._heads)
        if held:
            heapq.heappush(self._heads, (held[0].time, self._order[stream], stream))
        return head.item
