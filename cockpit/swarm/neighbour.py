"""What one node knows of the swarm and of each node that it is connected to. State only; the rules are in
`asking` and `serving`."""

from __future__ import annotations

from random import Random
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Union

from cockpit.swarm.picker import Rarity
from cockpit.swarm.wire import Have, Message

NEVER = float("inf")
DOUBTS = 2  # a peer that was doubted so often is not counted as a holder


class Tuning(NamedTuple):
    """Numbers of the rules; times in seconds."""

    slots: int = 4  # uploads at once at full speed; slow ones count less
    outstanding: int = 12  # requests at once to all peers
    anys: int = 2  # pieces asked of a chooser at once, at least
    ahead: int = 16  # pieces asked of a chooser at once, at most (long ways)
    batch: float = 0.02  # Have is held back this long (longer with more than 8 neighbours)
    endgame: int = 8  # pieces left when a second holder is asked too
    timeout: float = 2.0  # plus four times what is expected


class PeerFault(Exception):
    """A peer broke the rules: the caller drops it and says why (str of this)."""


class Send(NamedTuple):
    """Write this message to that peer."""

    peer: str
    message: Message


class Serve(NamedTuple):
    """Send this piece (all its slices) to that peer, then call `served`."""

    peer: str
    piece: int


class Stop(NamedTuple):
    """Send no more slices of this piece to that peer; then call `served` all the same."""

    peer: str
    piece: int


class Drop(NamedTuple):
    """Close the connection to that peer for this reason; then call `left`."""

    peer: str
    why: str


class Complete(NamedTuple):
    """We hold every piece now. Comes once, and not when we held all from the start."""


Effect = Union[Send, Serve, Stop, Drop, Complete]
Effects = List[Effect]


class Ask:
    """A piece on its way from a neighbour: requested, or chosen by it."""

    __slots__ = ("chosen", "got", "overdue", "seen", "since", "slow", "started", "total")

    def __init__(self, now: float, chosen: bool) -> None:
        self.since = now
        self.seen = now  # the last slice, or the request
        self.started = 0.0  # the first slice
        self.got = 0  # bytes, gapless from 0
        self.total = -1  # encoded bytes; -1 until the first slice
        self.chosen = chosen
        self.slow = False  # takes so long that it no longer counts as outstanding
        self.overdue = False  # nothing came for so long that others are asked as if it were not asked


class Upload:
    """A piece that is being sent."""

    __slots__ = ("since", "slow", "stopped")

    def __init__(self, now: float) -> None:
        self.since = now
        self.slow = False
        self.stopped = False


class Neighbour:
    """One connection."""

    __slots__ = (
        "asked", "bits", "chosen", "counted", "credits", "doubts", "fails", "first", "flow", "gone", "held",
        "known", "late", "name", "owed", "parked", "queue", "refusals", "repeats", "rest", "serving", "speed", "told",
        "upstream", "waits", "wasted",
    )  # fmt: skip

    def __init__(self, name: str, upstream: bool, told: int) -> None:
        self.name = name
        self.upstream = upstream
        self.gone = False  # dropped; `left` is still to come
        self.known = False  # its Bits are here
        self.bits = 0
        self.held = 0  # how many bits
        self.counted = 0  # bits and what we gave it: this is in the rarity
        self.told = told  # how many of our news it was told
        # as a source
        self.asked: Dict[int, Ask] = {}
        self.late: Dict[int, int] = {}  # bytes that may still come of pieces that we cancelled
        self.owed = 0  # pieces that we asked it to choose and that have not begun
        self.waits: List[float] = []  # when we asked it to choose
        self.wasted = 0  # pieces that it chose though we held them, or nearly
        self.fails = 0  # time-outs since it last delivered
        self.rest = 0.0  # not asked before, unless it alone holds a piece
        self.refusals = 0
        self.first = NEVER  # shortest time from request to first slice
        self.flow = 0.0  # seconds per byte from first to last slice
        # as a receiver
        self.credits = 0  # pieces that it asked us to choose
        self.parked = 0.0  # since when that waits
        self.queue: Set[int] = set()
        self.serving: Dict[int, Upload] = {}
        self.chosen = 0  # pieces that we chose for it
        self.repeats = 0
        self.doubts = 0  # times that others could not get from it what it says it holds
        self.speed = 0.0  # seconds per byte of uploads to it


class Swarm:
    """What both halves share."""

    def __init__(
        self, sizes: Sequence[int], have: int, chooser: bool, warm: bool, tuning: Tuning, random: Random
    ) -> None:
        self.sizes = list(sizes)
        self.count = len(self.sizes)
        self.mean = max(1.0, sum(self.sizes) / max(1, self.count))
        self.full = (1 << self.count) - 1
        self.have = have
        self.chooser = chooser
        self.warm = warm
        self.tuning = tuning
        self.random = random
        self.paused = False
        self.rarity = Rarity(self.count)  # of what our peers hold (not the nodes upstream)
        self.neighbours: Dict[str, Neighbour] = {}
        self.demanded = 0  # pieces requested of us that we lack (choosers)
        self.news: List[int] = []  # pieces in the order in which we got them
        self.out: Effects = []

    @property
    def missing(self) -> int:
        return self.full & ~self.have

    def downstream(self) -> bool:
        """Whether somebody who is not upstream has told what it holds."""
        return any(n.known and not n.upstream for n in self.neighbours.values())

    def say(self, neighbour: Neighbour, message: Optional[Message]) -> None:
        """Send a message, after the news that this neighbour was not told (they share a packet)."""
        if neighbour.gone:
            return
        if neighbour.told < len(self.news):
            self.out.append(Send(neighbour.name, Have(tuple(self.news[neighbour.told :]))))
            neighbour.told = len(self.news)
        if message is not None:
            self.out.append(Send(neighbour.name, message))

    def holds(self, neighbour: Neighbour, mask: int) -> None:
        """A neighbour holds (or was given) these pieces."""
        new = mask & ~neighbour.counted
        if new and not neighbour.upstream and neighbour.doubts < DOUBTS:
            neighbour.counted |= new
            self.rarity.add(new)

    def lacks(self, neighbour: Neighbour, mask: int) -> None:
        """A neighbour does not hold these pieces after all."""
        lost = mask & neighbour.counted
        if lost:
            neighbour.counted &= ~lost
            self.rarity.remove(lost)

    def drop(self, neighbour: Neighbour, why: str) -> None:
        if not neighbour.gone:
            neighbour.gone = True
            self.out.append(Drop(neighbour.name, why))
