"""Which piece is the rarest: holders counted by bit masks, so that a choice costs a few big-integer operations."""

from __future__ import annotations

from random import Random
from typing import Iterator, List


def ones(mask: int) -> int:
    """How many bits are set (int.bit_count is Python 3.10)."""
    return bin(mask).count("1")


def pieces(mask: int) -> Iterator[int]:
    """The set bits of a mask, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def choose(mask: int, width: int, random: Random) -> int:
    """A set bit of a mask that is not 0, by chance. A few probes keep dense masks uniform; in sparse ones the
    next set bit after a random place is near enough."""
    for _ in range(4):
        place = int(random.random() * width)
        if mask >> place & 1:
            return place
    above = mask >> place << place
    low = above & -above if above else mask & -mask
    return low.bit_length() - 1


class Rarity:
    """For each piece how many nodes hold it: `levels[c]` is the mask of the pieces that c nodes hold."""

    def __init__(self, count: int) -> None:
        self.levels: List[int] = [(1 << count) - 1, 0]

    def add(self, mask: int) -> None:
        """One more node holds these."""
        levels, carry = self.levels, 0
        for at, level in enumerate(levels):
            moved = level & mask
            if moved or carry:
                levels[at] = level ^ moved | carry
                mask ^= moved
                carry = moved
            elif not mask:
                return
        if carry:
            levels.append(carry)

    def remove(self, mask: int) -> None:
        """One node less holds these."""
        levels = self.levels
        for at in range(1, len(levels)):
            if not mask:
                break
            moved = levels[at] & mask
            if moved:
                levels[at] ^= moved
                levels[at - 1] |= moved
                mask ^= moved
        while len(levels) > 2 and not levels[-1]:
            levels.pop()

    def rarest(self, mask: int) -> int:
        """Those of the mask that the fewest nodes hold."""
        for level in self.levels:
            if level & mask:
                return level & mask
        return 0

    def rare(self, mask: int, few: int) -> int:
        """The rarest of the mask, if fewer than `few` nodes hold them; otherwise all of it."""
        for level in self.levels[:few]:
            if level & mask:
                return level & mask
        return mask

    @property
    def unheld(self) -> int:
        return self.levels[0]

    @property
    def single(self) -> int:
        """Pieces that one node alone holds."""
        return self.levels[1]
