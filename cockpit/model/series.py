"""Numbers over time in fixed memory: rings of three ages. Pure; a slot without a sample is a gap, never zero."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple


class Tier(NamedTuple):
    step: float
    """Seconds of one slot."""
    slots: int


TIERS = (Tier(10.0, 36), Tier(60.0, 60), Tier(600.0, 144))
"""Six minutes, an hour, a day: 240 numbers, 960 bytes for each series of a host."""
SHORT = TIERS[:2]
"""The first two: 96 numbers, 384 bytes for each series of an instance."""
OVERHEAD = 600
"""Bytes of one `Rings` beside its numbers, about."""
NOTHING = math.nan


class Rings:
    """`width` series that are sampled together. A slot keeps the mean of its samples."""

    __slots__ = ("_bases", "_counts", "_data", "_slots", "_tiers", "width")

    def __init__(self, width: int, tiers: Sequence[Tier] = TIERS) -> None:
        self.width = width
        self._tiers = tuple(tiers)
        self._bases = [width * sum(t.slots for t in self._tiers[:n]) for n in range(len(self._tiers))]
        self._data = array("f", [NOTHING]) * (width * sum(t.slots for t in tiers))
        self._slots = [-1] * len(self._tiers)
        """The newest slot of each tier, counted from the epoch; -1: none yet."""
        self._counts = array("H", [0]) * (width * len(self._tiers))

    @property
    def size(self) -> int:
        """Bytes it takes, whatever was put in."""
        return size_of(self.width, self._tiers)

    def take(self, now: float, values: Sequence[float]) -> None:
        """One sample at Unix time `now`; NaN where nothing was measured.

        A clock that went back by less than a slot goes on in the newest one; by more: the tier begins anew.
        """
        self._put(0, now, values)

    def _put(self, tier: int, now: float, values: Sequence[float]) -> None:
        """A slot that is over is handed to the next tier: a sample costs one tier, not all."""
        step, slots = self._tiers[tier]
        width, data, counts = self.width, self._data, self._counts
        base, mine = self._bases[tier], tier * width
        slot, last = int(now // step), self._slots[tier]
        if slot == last - 1:
            slot = last
        if slot != last:
            if last >= 0 and tier + 1 < len(self._tiers):
                at = base + (last % slots) * width
                self._put(tier + 1, last * step, data[at:at + width])
            first = slot - slots if slot < last else max(last, slot - slots)
            for n in range(first + 1, slot + 1):
                at = base + (n % slots) * width
                data[at:at + width] = array("f", [NOTHING]) * width
            counts[mine:mine + width] = array("H", [0]) * width
            self._slots[tier] = slot
        at = base + (slot % slots) * width
        for index, value in enumerate(values):
            if value != value:
                continue
            count = min(counts[mine + index] + 1, 65000)
            counts[mine + index] = count
            data[at + index] = value if count == 1 else data[at + index] + (value - data[at + index]) / count

    def read(self, index: int, tier: int, now: float) -> list[float | None]:
        """One series, oldest first; the last slot is the one of `now`. None: nothing was measured.

        Of coarser tiers the newest slot has what the finer one has finished.
        """
        base = self._bases[tier]
        (step, slots), last = self._tiers[tier], self._slots[tier]
        out: list[float | None] = []
        newest = int(now // step)
        for slot in range(newest - slots + 1, newest + 1):
            known = last >= 0 and last - slots < slot <= last
            value = self._data[base + (slot % slots) * self.width + index] if known else NOTHING
            out.append(None if value != value else value)
        return out


def size_of(width: int, tiers: Sequence[Tier]) -> int:
    return width * sum(t.slots for t in tiers) * 4 + OVERHEAD


def tier_for(span: float, tiers: Sequence[Tier] = TIERS) -> int:
    """The finest tier that reaches back `span` seconds; the coarsest when none does."""
    return next((n for n, t in enumerate(tiers) if t.step * t.slots >= span), len(tiers) - 1)
