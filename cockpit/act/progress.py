"""What is seen of a run while it goes on: how few take traffic at a time, and when it will probably end. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cockpit.model.actual import Unit
from cockpit.model.topology import service_path

TRUST = 0.3
"""Part of the foretold time after which the pace of the run itself says as much as the forecast."""
SOFT = 0.5
"""How far an estimate follows what is computed anew: it never jumps."""


class Readiness:
    """Units of some services that take traffic. `lowest` is the fewest of each so far."""

    def __init__(
        self, services: Collection[str], units: Iterable[Unit], draining: Iterable[str] = (),
        lowest: dict[str, int] | None = None,
    ) -> None:
        self._services = services
        self._serving: dict[str, str] = {}
        self._draining = set(draining)
        self.lowest: dict[str, int] = {}
        self.ready = dict.fromkeys(sorted(services), 0)
        for unit in units:
            self._set(unit.unit, service_path(unit.instance), unit.serving)
        self.lowest = {s: min(n, (lowest or {}).get(s, n)) for s, n in self.ready.items()}

    def seen(self, unit: Unit) -> None:
        if (service := service_path(unit.instance)) in self._services:
            self._set(unit.unit, service, unit.serving)

    def gone(self, id: str) -> None:
        self._set(id, self._serving.get(id, ""), False)
        self._draining.discard(id)

    def drain(self, id: str, on: bool) -> None:
        """It is taken out of naming, or let back in."""
        service = self._serving.get(id)
        if (id in self._draining) == on:
            return
        (self._draining.add if on else self._draining.discard)(id)
        if service:
            self._count(service, -1 if on else 1)

    def _set(self, id: str, service: str, serving: bool) -> None:
        was = id in self._serving
        if was == serving or not service or service not in self.ready:
            return
        if serving:
            self._serving[id] = service
        else:
            del self._serving[id]
        if id not in self._draining:
            self._count(service, 1 if serving else -1)

    def _count(self, service: str, by: int) -> None:
        n = self.ready[service] = self.ready[service] + by
        if n < self.lowest.get(service, 0):
            self.lowest[service] = n


class Eta:
    """When an action will probably end: the forecast, corrected by the pace of the run."""

    def __init__(self, started: float, seconds: float | None, curve: Collection[float] = ()) -> None:
        self.seconds = seconds
        self._curve = tuple(curve)
        self._started = started
        self._held: float | None = None
        self.at: float | None = None if seconds is None else started + seconds
        """Unix time; None: nothing is known yet."""

    def foretold(self, seconds: float, curve: Collection[float]) -> None:
        """The forecast came; what was said before moves towards it."""
        first, self.seconds, self._curve = self.at, seconds, tuple(curve)
        self.at = self._started + seconds if first is None else first + (self._started + seconds - first) * SOFT

    def hold(self, now: float) -> None:
        if self._held is None:
            self._held = now

    def resume(self, now: float) -> None:
        """Time that it was held does not count."""
        if self._held is not None:
            away, self._held = now - self._held, None
            self._started += away
            self.at = None if self.at is None else self.at + away

    def moved(self, done: int, total: int, now: float) -> float | None:
        """So many steps of all have ended now."""
        if total <= 0 or self._held is not None:
            return self.at
        part, elapsed = min(1.0, done / total), max(0.0, now - self._started)
        if self.seconds is None:
            new = now + elapsed * (1 - part) / part if part >= 0.1 and elapsed > 0 else None
        else:
            there = self._position(part)
            weight = there / (there + TRUST * self.seconds) if self.seconds > 0 else 0.0
            pace = 1.0 + weight * (elapsed / there - 1.0) if there > 0 else 1.0
            new = now + max(0.0, self.seconds - there) * pace
        if new is not None:
            self.at = new if self.at is None else self.at + (new - self.at) * SOFT
            if self.at < now:
                self.at = now
        return self.at

    def _position(self, part: float) -> float:
        """Foretold seconds at which this part of the steps has ended."""
        if len(self._curve) < 2:
            return part * (self.seconds or 0.0)
        at = part * (len(self._curve) - 1)
        low = int(at)
        high = min(low + 1, len(self._curve) - 1)
        return self._curve[low] + (self._curve[high] - self._curve[low]) * (at - low)
