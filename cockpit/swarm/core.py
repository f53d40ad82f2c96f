"""One swarm in one node: who is asked for which piece, and who is served. Sans-I/O; time (seconds) comes in.

The rules are in `asking` (receiving) and `serving` (sending); this is the seam for the transport and the simulator.
"""

from __future__ import annotations

from random import Random
from typing import Dict, Optional, Sequence

from cockpit.swarm.asking import Asking
from cockpit.swarm.neighbour import (
    NEVER,
    Complete,
    Drop,
    Effect,
    Effects,
    Neighbour,
    PeerFault,
    Send,
    Serve,
    Stop,
    Swarm,
    Tuning,
)
from cockpit.swarm.picker import ones
from cockpit.swarm.serving import Serving
from cockpit.swarm.wire import Any, Bits, Cancel, Data, Have, Message, Refuse, Request

__all__ = [
    "Complete", "Core", "Drop", "Effect", "Effects", "PeerFault", "Send", "Serve", "Stop", "Tuning",
]  # fmt: skip


class Core:
    """`sizes` are the decoded bytes of each piece, `have` a mask (bit i = piece i).

    A peer's core gets every piece. A chooser's (relay, origin) serves `Any`; unless it is told to `warm`,
    it gets from upstream only what no peer holds, or what was requested of it.
    Peers are known by any unique string (one per connection; the counters are by it).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        have: int,
        *,
        chooser: bool,
        warm: bool = False,
        tuning: Tuning = Tuning(),
        seed: int = 0,
    ) -> None:
        self._swarm = Swarm(sizes, have, chooser, warm, tuning, Random(seed))
        self._asking = Asking(self._swarm)
        self._serving = Serving(self._swarm)
        self._flush = NEVER  # when the news are due

    @property
    def have(self) -> int:
        return self._swarm.have

    @property
    def done(self) -> bool:
        """Whether every piece is here."""
        return self._swarm.have == self._swarm.full

    @property
    def paused(self) -> bool:
        return self._swarm.paused

    @property
    def wake(self) -> Optional[float]:
        """Call `tick` then (at once when that is past); None: nothing is due."""
        if self._swarm.out:
            return 0.0
        due = min(self._flush, self._asking.check, self._serving.check)
        return None if due == NEVER else due

    @property
    def bad(self) -> int:
        """Pieces that did not verify."""
        return self._asking.bad

    @property
    def duplicates(self) -> int:
        """Pieces that came whole though we held them."""
        return self._asking.duplicates

    @property
    def fallbacks(self) -> int:
        """Pieces asked of a chooser because no peer delivered."""
        return self._asking.fallbacks

    @property
    def received(self) -> Dict[str, int]:
        """Pieces by peer; kept when it leaves."""
        return self._asking.received

    @property
    def sent(self) -> Dict[str, int]:
        """Pieces by peer; kept when it leaves."""
        return self._serving.sent

    def joined(
        self, peer: str, role: str, pieces_bits: Optional[int], now: float, *, upstream: bool = False
    ) -> Effects:
        """A connection is up, both hellos are through. `pieces_bits` None: its Bits come later through `heard`.

        Sends our own Bits first. `upstream`: a chooser that we ask (for a peer's core every relay and origin
        is one; a relay's core says it of the node it dialled; an origin's role always counts as upstream).

        Raises:
            PeerFault: the bits are of other pieces. It did not join: do not call `left`.
            ValueError: a peer of this name is here already.
        """
        swarm = self._swarm
        if peer in swarm.neighbours:
            raise ValueError(f"{peer} is connected already")
        if pieces_bits is not None and pieces_bits >> swarm.count:
            raise PeerFault(f"its bits are of more than {swarm.count} pieces")
        upstream = upstream or role == "origin" or (role == "relay" and not swarm.chooser)
        neighbour = Neighbour(peer, upstream, len(swarm.news))
        swarm.neighbours[peer] = neighbour
        swarm.say(neighbour, Bits(swarm.have))
        self._asking.welcome(now)
        if pieces_bits is not None:
            self._bits(neighbour, pieces_bits, now)
        return self._effects()

    def heard(self, peer: str, message: Message, now: float) -> Effects:
        """Bits, Have, Request, Any, Cancel or Refuse came (Data goes to `progressed`).

        Raises:
            PeerFault: it broke the rules; drop it, then call `left`.
        """
        neighbour = self._neighbour(peer)
        if neighbour is None:
            return self._effects()
        if isinstance(message, Have):
            self._have(neighbour, message, now)
        elif isinstance(message, Request):
            self._serving.requested(neighbour, self._number(message.piece), now)
            if self._swarm.demanded & ~self._swarm.have:
                self._ask_upstream(now)
        elif isinstance(message, Any):
            self._serving.credited(neighbour, message.count, now)
        elif isinstance(message, Cancel):
            self._serving.cancelled(neighbour, self._number(message.piece))
        elif isinstance(message, Refuse):
            self._asking.refused(neighbour, self._number(message.piece), now)
            self._asking.fill_all(now)
            self._asking.distrust([message.piece], now)
        elif isinstance(message, Bits):
            if neighbour.known:
                raise PeerFault("it sent its bits twice")
            self._bits(neighbour, message.bits, now)
        else:
            raise PeerFault(f"it sent {type(message).__name__} where pieces are exchanged")
        return self._effects()

    def progressed(self, peer: str, data: Data, now: float) -> bool:
        """A slice came in: call it for each Data before keeping its payload.

        True: keep it (offsets are gapless and start at 0; an offset of 0 starts the piece anew). The piece is whole
        when `offset + len(payload) == total`: verify and keep it, then call `stored` or `spoilt`.
        False: it is of no more use (cancelled, held, the rest of an older transfer): throw it away.
        It may leave effects that are due at once: `wake` is then 0, so call `tick`.

        Raises:
            PeerFault: it was never asked for, out of order, or larger than the piece.
        """
        neighbour = self._neighbour(peer)
        return neighbour is not None and self._asking.slice(neighbour, data, now)

    def stored(self, piece: int, peer: str, now: float) -> Effects:
        """The piece came whole from that peer, was verified and kept (also when we held it already)."""
        swarm = self._swarm
        self._number(piece)
        new = not swarm.have >> piece & 1
        swarm.have |= 1 << piece
        self._asking.stored(piece, peer, new, now)
        if new:
            swarm.news.append(piece)
            crowd = max(1.0, len(swarm.neighbours) / 8)
            self._flush = min(self._flush, now + swarm.tuning.batch * crowd)
            if self.done:
                swarm.out.append(Complete())
            self._serving.pump(now)
        self._asking.fill_all(now)
        return self._effects()

    def spoilt(self, piece: int, peer: str, now: float) -> Effects:
        """The piece came whole and did not verify: the peer is dropped, the piece asked elsewhere."""
        neighbour = self._neighbour(peer)
        self._asking.bad += 1
        pieces = [piece]
        if neighbour is not None:
            pieces += self._asking.release(neighbour)
            self._swarm.drop(neighbour, f"piece {piece} did not verify")
        self._asking.fill_all(now)
        self._asking.distrust(pieces, now)
        return self._effects()

    def served(self, peer: str, piece: int, now: float) -> Effects:
        """An upload has left our hands (wholly written, stopped, or we could not read it)."""
        neighbour = self._swarm.neighbours.get(peer)
        if neighbour is not None:
            self._serving.served(neighbour, piece, now)
        return self._effects()

    def left(self, peer: str, now: float, *, fault: bool = False) -> Effects:
        """The connection is gone (`fault`: because it broke the rules).

        Its uploads are over: `served` need not be called for them.
        """
        swarm = self._swarm
        neighbour = swarm.neighbours.pop(peer, None)
        if neighbour is None:
            return self._effects()
        neighbour.gone = True
        self._serving.release(neighbour)
        pieces = self._asking.release(neighbour)
        swarm.rarity.remove(neighbour.counted)
        if not swarm.paused:
            self._asking.fill_all(now)
            if fault:
                self._asking.distrust(pieces, now)
            self._serving.pump(now)
        return self._effects()

    def hold(self, paused: bool, now: float) -> Effects:
        """Pause or resume: paused, nothing new is asked or served; what runs ends."""
        self._swarm.paused = paused
        if not paused:
            self._asking.resume()
            self._asking.welcome(now)
            self._asking.fill_all(now)
            self._serving.pump(now)
        return self._effects()

    def warm(self, on: bool, now: float) -> Effects:
        """A chooser is to get every piece (True), or only what is wanted (False)."""
        self._swarm.warm = on
        self._asking.fill_all(now)
        return self._effects()

    def tick(self, now: float) -> Effects:
        """Time has passed (at `wake` or later)."""
        swarm = self._swarm
        if now >= self._flush:
            self._flush = NEVER
            for neighbour in swarm.neighbours.values():
                swarm.say(neighbour, None)
        self._asking.look(now)
        self._serving.look(now)
        return self._effects()

    def stuck(self, now: float) -> bool:
        """Whether pieces are missing and nothing came for some seconds: ask the tracker for help."""
        return not self.done and not self._swarm.paused and self._asking.stuck(now)

    def _effects(self) -> Effects:
        out = self._swarm.out
        self._swarm.out = []
        return out

    def _neighbour(self, peer: str) -> Optional[Neighbour]:
        """The neighbour of this name, unless it is being dropped."""
        neighbour = self._swarm.neighbours.get(peer)
        return None if neighbour is None or neighbour.gone else neighbour

    def _number(self, piece: int) -> int:
        if not 0 <= piece < self._swarm.count:
            raise PeerFault(f"it speaks of piece {piece}; there are {self._swarm.count}")
        return piece

    def _bits(self, neighbour: Neighbour, bits: int, now: float) -> None:
        if bits >> self._swarm.count:
            raise PeerFault(f"its bits are of more than {self._swarm.count} pieces")
        neighbour.known = True
        neighbour.bits |= bits
        neighbour.held = ones(neighbour.bits)
        self._swarm.holds(neighbour, bits)
        self._asking.fill(neighbour, now)
        self._ask_upstream(now)
        self._serving.pump(now)

    def _have(self, neighbour: Neighbour, message: Have, now: float) -> None:
        mask = 0
        for piece in message.pieces:
            mask |= 1 << self._number(piece)
        neighbour.held += ones(mask & ~neighbour.bits)
        neighbour.bits |= mask
        self._swarm.holds(neighbour, mask)
        self._asking.fill(neighbour, now)
        if self._swarm.chooser:
            self._ask_upstream(now)
            self._serving.pump(now)

    def _ask_upstream(self, now: float) -> None:
        """What peers hold has changed, so a relay may want something else."""
        if self._swarm.chooser and self._swarm.have != self._swarm.full:
            for neighbour in self._swarm.neighbours.values():
                if neighbour.upstream:
                    self._asking.fill(neighbour, now)
