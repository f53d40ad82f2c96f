"""The sending half of a node: who gets which piece next, and how many uploads run at once.

Few uploads at once, so that a piece is soon whole and can be passed on. An upload that is known or seen to be slow
fills only a part of a slot: a slow receiver never keeps the others waiting. Requests are served rarest piece first.
A chooser decides at the last moment: the receiver that has passed on best what it got, and for it the piece that
the fewest hold.
"""

from __future__ import annotations

from typing import Dict, Optional, Tuple

from cockpit.swarm.neighbour import DOUBTS, NEVER, Neighbour, PeerFault, Serve, Stop, Swarm, Upload
from cockpit.swarm.picker import choose, ones
from cockpit.swarm.wire import Refuse

CREDITS = 64  # pieces that one peer may ask us to choose
QUEUE = 64  # requests of one peer that wait
REPEATS = 64  # requests of one peer for what it got before, or for what we never said we hold
FEW = 3  # holders: below, the rarity of a piece decides who is served
STEPS = 32  # so finely is told apart who lacks more
EACH = 2  # uploads at once to one peer
SLOW = 3.0  # times the time of the fastest: slower than that is slow
LEAST = 0.1  # of a slot is what the slowest upload fills


class Serving:
    def __init__(self, swarm: Swarm) -> None:
        self.swarm = swarm
        self.queue: Dict[Tuple[str, int], None] = {}  # (peer, piece), oldest first
        self.parked: Dict[str, int] = {}  # peers that want us to choose -> running number
        self.number = 0
        self.fastest = 0.0  # seconds per byte
        self.check = NEVER  # when an upload may turn out to be slow, or a parked peer be given something again
        self.turn = False  # whether a chosen piece goes before a requested one
        self.sent: Dict[str, int] = {}

    # what peers want

    def requested(self, neighbour: Neighbour, piece: int, now: float) -> None:
        swarm = self.swarm
        bit = 1 << piece
        if piece in neighbour.queue or (piece in neighbour.serving and not neighbour.serving[piece].stopped):
            return self._strain(neighbour)
        if not swarm.have & bit:
            if not swarm.chooser:
                self._strain(neighbour)
                return swarm.say(neighbour, Refuse(piece))
            self._demanded(neighbour, piece)
        elif neighbour.counted & bit:
            self._strain(neighbour)
        if len(neighbour.queue) >= QUEUE:
            raise PeerFault(f"it asked for {QUEUE} pieces at once")
        neighbour.queue.add(piece)
        self.queue[neighbour.name, piece] = None
        self.pump(now)

    def _strain(self, neighbour: Neighbour) -> None:
        neighbour.repeats += 1
        if neighbour.repeats > REPEATS:
            raise PeerFault("it asks again and again for what it got or cannot get")

    def _demanded(self, asker: Neighbour, piece: int) -> None:
        """A piece that a chooser lacks: to be got upstream. Those who say that they hold it are doubted."""
        swarm = self.swarm
        swarm.demanded |= 1 << piece
        for neighbour in swarm.neighbours.values():
            if neighbour.counted >> piece & 1 and neighbour is not asker:
                neighbour.doubts += 1
                if neighbour.doubts >= DOUBTS:
                    swarm.lacks(neighbour, neighbour.counted)

    def credited(self, neighbour: Neighbour, count: int, now: float) -> None:
        if not self.swarm.chooser:
            raise PeerFault("it asks us to choose, which only relays and the origin do")
        if not 0 < count <= CREDITS - neighbour.credits:
            raise PeerFault(f"it asks for {count} pieces at once; at most {CREDITS} are allowed")
        neighbour.credits += count
        self._park(neighbour, now)
        self.pump(now)

    def _park(self, neighbour: Neighbour, now: float) -> None:
        self.number += 1
        self.parked[neighbour.name] = self.number
        neighbour.parked = now

    def cancelled(self, neighbour: Neighbour, piece: int) -> None:
        """The peer does not want it any more. What it was given is not given again: it has it from another."""
        upload = neighbour.serving.get(piece)
        if piece in neighbour.queue:
            neighbour.queue.discard(piece)
            del self.queue[neighbour.name, piece]
        elif upload is not None and not upload.stopped:
            upload.stopped = True
            self.swarm.out.append(Stop(neighbour.name, piece))
        if not neighbour.bits >> piece & 1:
            self.swarm.lacks(neighbour, 1 << piece)

    # what is sent

    def pump(self, now: float) -> None:
        """Start uploads while there is room."""
        swarm = self.swarm
        if swarm.paused or not (self.queue or self.parked):
            return
        while self._room(now):
            chosen = self._choice(now) if self.turn else None
            picked = chosen or self._request()
            if picked is None and not self.turn:
                chosen = picked = self._choice(now)
            if picked is None:
                return
            self.turn = chosen is None
            neighbour, piece = picked
            if chosen is None:
                neighbour.queue.discard(piece)
                del self.queue[neighbour.name, piece]
            else:
                neighbour.chosen |= 1 << piece
                neighbour.credits -= 1
                if neighbour.credits:
                    self._park(neighbour, now)
                else:
                    del self.parked[neighbour.name]
            neighbour.serving[piece] = Upload(now)
            swarm.holds(neighbour, 1 << piece)
            swarm.say(neighbour, None)
            swarm.out.append(Serve(neighbour.name, piece))

    def _room(self, now: float) -> bool:
        """Whether another upload may start: the slots are not filled."""
        swarm = self.swarm
        full, part, check = 0.0, 0.0, NEVER
        slowest = SLOW * self.fastest
        for neighbour in swarm.neighbours.values():
            for piece, upload in neighbour.serving.items():
                if not upload.slow:
                    usual = 0.05 + slowest * swarm.sizes[piece] if self.fastest else swarm.tuning.timeout
                    limit = upload.since + usual
                    if now >= limit:
                        upload.slow = True
                    else:
                        check = min(check, limit)
                if upload.slow:
                    part += LEAST
                elif neighbour.speed > slowest > 0:
                    part += max(LEAST, slowest / neighbour.speed)
                else:
                    full += 1.0
        slots = swarm.tuning.slots
        if full + min(part, slots - 1) + 0.5 <= slots:
            return True
        self.check = min(self.check, check)
        return False

    def _request(self) -> Optional[Tuple[Neighbour, int]]:
        """Of the requests that can be served: the rarest piece (as long as few hold it), then the one of the peer
        that lacks most, then the oldest."""
        swarm = self.swarm
        mask, able = 0, []
        for name, piece in self.queue:  # a dict keeps the order of arrival
            neighbour = swarm.neighbours[name]
            if swarm.have >> piece & 1 and len(neighbour.serving) < EACH and piece not in neighbour.serving:
                mask |= 1 << piece
                able.append((neighbour, piece))
        if not able:
            return None
        rare = swarm.rarity.rare(mask, FEW)
        step = swarm.count // STEPS + 1
        return min((pair for pair in able if rare >> pair[1] & 1), key=lambda pair: pair[0].held // step)

    def _choice(self, now: float) -> Optional[Tuple[Neighbour, int]]:
        """Of those who want us to choose: who has the fewest that only it has, then who lacks most."""
        swarm = self.swarm
        best: Optional[Neighbour] = None
        key, best_mask = (0, 0, 0), 0
        for name, number in self.parked.items():
            neighbour = swarm.neighbours[name]
            if len(neighbour.serving) >= EACH or not neighbour.known:
                continue
            lacking = swarm.have & ~neighbour.bits
            mask = lacking & ~neighbour.chosen
            for piece in (*neighbour.serving, *neighbour.queue):
                lacking &= ~(1 << piece)
                mask &= ~(1 << piece)
            if not mask:
                if not lacking:
                    continue
                if now < neighbour.parked + swarm.tuning.timeout:
                    self.check = min(self.check, neighbour.parked + swarm.tuning.timeout)
                    continue
                neighbour.chosen &= neighbour.bits  # it got them from nobody after all
                mask = lacking
            this = (ones(neighbour.chosen & swarm.rarity.single), neighbour.held, number)
            if best is None or this < key:
                best, key, best_mask = neighbour, this, mask
        if best is None:
            return None
        return best, choose(swarm.rarity.rarest(best_mask), swarm.count, swarm.random)

    def served(self, neighbour: Neighbour, piece: int, now: float) -> None:
        upload = neighbour.serving.pop(piece, None)
        if upload is None:
            return
        if not upload.stopped:
            self.sent[neighbour.name] = self.sent.get(neighbour.name, 0) + 1
            speed = max(1e-10, (now - upload.since) / self.swarm.sizes[piece])
            neighbour.speed = 0.5 * neighbour.speed + 0.5 * speed if neighbour.speed else speed
            self.fastest = min(speed, self.fastest * 1.2) if self.fastest else speed
        self.pump(now)

    def release(self, neighbour: Neighbour) -> None:
        """The neighbour is gone."""
        neighbour.serving.clear()
        for piece in neighbour.queue:
            del self.queue[neighbour.name, piece]
        neighbour.queue.clear()
        self.parked.pop(neighbour.name, None)

    def look(self, now: float) -> None:
        if now >= self.check:
            self.check = NEVER
            self.pump(now)
