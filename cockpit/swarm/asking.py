"""The receiving half of a node: which piece is asked of whom, and what is done about those who do not deliver.

Peers are asked for their rarest piece, one at a time; choosers are only told how many pieces we can take. A
piece is on its way from one neighbour, except: near the end a second one is asked; when a piece is slow and
another neighbour has nothing else for us, that one is asked too; when nothing came for too long, anybody.
Whoever is first wins and the others are told to stop.
"""

from __future__ import annotations

from typing import Dict, List, Optional

from cockpit.swarm.neighbour import NEVER, Ask, Neighbour, PeerFault, Swarm
from cockpit.swarm.picker import choose, ones, pieces
from cockpit.swarm.wire import Any, Cancel, Data, Request

REFUSALS = 64  # of one peer
OVERDRAFT = 8  # pieces that a chooser may send more than we asked for (cancels that crossed)
WAITS = 64  # times that are remembered
FEW = 4  # pieces still to be asked: choosers are asked for exactly these
DEPTH = 4  # requests to one peer over a long way
LEAST = 4096  # bytes per second: a piece that comes more slowly is overdue, though it comes
SPARE = 1024  # bytes that an encoded piece may have more than the piece
PATIENCE = 10.0  # at most this long is expected of a piece (s)


class Asking:
    def __init__(self, swarm: Swarm) -> None:
        self.swarm = swarm
        self.asked = 0  # mask: on its way from somebody who is not overdue
        self.slow = 0  # mask: on its way, but slowly
        self.askers: Dict[int, List[Neighbour]] = {}
        self.timely = 0  # asks that count as outstanding
        self.typical = 0.0  # usual seconds from request to the whole piece
        self.check = NEVER  # when the asks are to be looked at
        self.gap = 0.0  # usual seconds from one piece to the next
        self.last = 0.0  # when the last piece was whole
        self.heard = -1.0  # when a useful slice came; before: when somebody joined
        self.rescued = 0.0  # when a chooser was asked because nothing came
        self.bad = self.duplicates = self.fallbacks = 0
        self.received: Dict[str, int] = {}

    # who is asked

    def fill(self, neighbour: Neighbour, now: float) -> None:
        """Ask this neighbour for what it may still be asked."""
        swarm = self.swarm
        if swarm.paused or neighbour.gone or not neighbour.known or swarm.have == swarm.full:
            return
        if neighbour.upstream:
            if swarm.chooser:
                self._fill_upstream(neighbour, now)
            else:
                self._fill_chooser(neighbour, now)
            return
        if swarm.chooser:
            return
        if self._expected(now):
            return
        depth = self._depth(neighbour, 1, DEPTH)
        room = self.room()
        active = sum(ask.got != ask.total for ask in neighbour.asked.values())
        while active < depth and self.timely < room:
            mask = neighbour.bits & ~swarm.have & ~self.asked
            for piece in neighbour.asked:
                mask &= ~(1 << piece)
            if mask and neighbour.rest > now:
                self.check = min(self.check, neighbour.rest)
                mask &= swarm.rarity.single
            if mask:
                self._ask(neighbour, choose(swarm.rarity.rarest(mask), swarm.count, swarm.random), now)
            elif not self._second(neighbour, now):
                return
            active += 1

    def fill_all(self, now: float) -> None:
        """Ask everybody, beginning anywhere."""
        swarm = self.swarm
        if swarm.paused or swarm.have == swarm.full:
            return
        neighbours = list(swarm.neighbours.values())
        first = int(swarm.random.random() * len(neighbours))
        for neighbour in neighbours[first:] + neighbours[:first]:
            self.fill(neighbour, now)

    def _expected(self, now: float) -> bool:
        """Choosers owe us all that is still to be asked: asking peers for it, too, would bring it twice."""
        left = ones(self.swarm.missing & ~self.asked)
        if not 0 < left <= FEW:
            return False
        hurry = self._hurry()
        owed = 0
        for neighbour in self.swarm.neighbours.values():
            if neighbour.upstream and not neighbour.gone and neighbour.owed > 0:
                since = neighbour.waits[-1] if neighbour.waits else now
                if now < since + hurry:
                    owed += neighbour.owed
                    self.check = min(self.check, since + hurry)
        return owed >= left

    def room(self) -> int:
        """How many requests may be out: fewer when our own link takes long, so that we do not block many senders."""
        most = self.swarm.tuning.outstanding
        return max(min(4, most), min(most, int(0.5 / self.gap) + 1)) if self.gap else most

    def _depth(self, neighbour: Neighbour, least: int, most: int) -> int:
        """So many pieces that the way to the neighbour and back is bridged."""
        if neighbour.first == NEVER or not neighbour.flow:
            return least
        return min(most, least + int(neighbour.first / (neighbour.flow * self.swarm.mean)))

    def _ask(self, neighbour: Neighbour, piece: int, now: float) -> None:
        self._note(neighbour, piece, Ask(now, False), now)
        self.swarm.say(neighbour, Request(piece))

    def _note(self, neighbour: Neighbour, piece: int, ask: Ask, now: float) -> None:
        neighbour.asked[piece] = ask
        self.askers.setdefault(piece, []).append(neighbour)
        self.asked |= 1 << piece
        if not neighbour.upstream:
            self.timely += 1
        self.check = min(self.check, now + self._slowly(), now + self._patience(piece))

    def _slowly(self) -> float:
        """After these seconds an ask is slow."""
        return 0.25 + 3 * self.typical if self.typical else self.swarm.tuning.timeout

    def _hurry(self) -> float:
        """After these seconds, near the end, another may be asked besides."""
        return 0.05 + 1.5 * self.typical if self.typical else 0.25

    def _patience(self, piece: int) -> float:
        """After these seconds without a byte an ask is overdue."""
        expected = self.typical * self.swarm.sizes[piece] / self.swarm.mean
        return self.swarm.tuning.timeout + 4 * min(expected, PATIENCE)

    def _second(self, neighbour: Neighbour, now: float) -> bool:
        """The neighbour has nothing else for us: ask it for a piece that is on its way from another, if that is
        slow or the end is near."""
        swarm = self.swarm
        mask = neighbour.bits & self.asked & ~swarm.have
        if not mask or neighbour.rest > now:
            return False
        near = ones(swarm.missing) <= swarm.tuning.endgame
        if not near:
            mask &= self.slow
        hurry = self._hurry()
        for piece in pieces(mask):
            askers = self.askers[piece]
            if len(askers) < 2 and askers[0] is not neighbour:
                ask = askers[0].asked[piece]
                if not ask.slow and now < ask.since + hurry:
                    self.check = min(self.check, ask.since + hurry)
                elif ask.got != ask.total:
                    self._ask(neighbour, piece, now)
                    return True
        return False

    def _fill_chooser(self, neighbour: Neighbour, now: float) -> None:
        """A peer tells a chooser how many pieces it can take."""
        swarm = self.swarm
        depth = self._depth(neighbour, swarm.tuning.anys, swarm.tuning.ahead)
        active = sum(not ask.overdue and ask.got != ask.total for ask in neighbour.asked.values())
        more = depth - max(0, neighbour.owed) - active
        if more <= 0:
            return
        left = swarm.missing & ~self.asked
        count = ones(left) - max(0, neighbour.owed)
        exact = left & neighbour.bits
        if count > FEW or not exact:
            more = min(more, count)
            if more > 0:
                neighbour.owed += more
                neighbour.waits = (neighbour.waits + [now] * more)[-WAITS:]
                swarm.say(neighbour, Any(more))
            return
        if neighbour.owed > 0:
            return  # it may choose the same
        for _ in range(min(more, count)):  # it would choose what is on its way from others
            self._ask(neighbour, choose(exact, swarm.count, swarm.random), now)
            exact &= ~self.asked
            if not exact:
                return

    def _fill_upstream(self, neighbour: Neighbour, now: float) -> None:
        """A relay asks upstream for what nobody near has, in order (the pieces new to all come first)."""
        swarm = self.swarm
        depth = self._depth(neighbour, swarm.tuning.anys, swarm.tuning.ahead)
        active = sum(not ask.overdue and ask.got != ask.total for ask in neighbour.asked.values())
        if active >= depth:
            return
        wanted = swarm.full if swarm.warm else swarm.rarity.unheld if swarm.downstream() else 0
        mask = neighbour.bits & ~swarm.have & ~self.asked
        for piece in neighbour.asked:
            mask &= ~(1 << piece)
        for part in (mask & swarm.demanded, mask & wanted & ~swarm.demanded):
            while part and active < depth:
                low = part & -part
                part ^= low
                self._ask(neighbour, low.bit_length() - 1, now)
                active += 1

    # what comes

    def slice(self, neighbour: Neighbour, data: Data, now: float) -> bool:
        """See `Core.progressed`."""
        swarm = self.swarm
        piece, _, total, offset, payload = data
        if piece >= swarm.count:
            raise PeerFault(f"it sent piece {piece}; there are {swarm.count}")
        ask = neighbour.asked.get(piece)
        if ask is None or offset != ask.got:
            if ask is not None and not offset and self._rest(neighbour, piece, ask.got):
                pass  # what we cancelled had begun; this is what we asked for since
            elif (ask is not None or offset or neighbour.owed <= 0) and self._rest(neighbour, piece, len(payload)):
                return False
            elif ask is not None:
                raise PeerFault(f"it sent piece {piece} at {offset}; {ask.got} was next")
        if ask is None:
            if offset or not neighbour.upstream or swarm.chooser or neighbour.owed <= -OVERDRAFT:
                raise PeerFault(f"it sent piece {piece}, which was not asked for")
            ask = self._chosen(neighbour, data, now)
            if ask is None:
                return False
        if total > swarm.sizes[piece] + SPARE:
            raise PeerFault(f"it sends {total} bytes for piece {piece}, which has {swarm.sizes[piece]}")
        if not offset:
            if not ask.chosen:
                neighbour.first = min(neighbour.first, now - ask.since)
            ask.got, ask.total, ask.started = 0, total, now
        elif total != ask.total:
            raise PeerFault(f"it changed the length of piece {piece} from {ask.total} to {total}")
        ask.got += len(payload)
        ask.seen = now
        if not ask.overdue:
            self.heard = now
        if ask.got == total:
            flow = (now - ask.started) / total
            neighbour.flow = flow if not neighbour.flow else 0.75 * neighbour.flow + 0.25 * flow
            if ask.overdue or neighbour.fails:
                neighbour.fails, neighbour.rest = 0, 0.0
            self._untimely(neighbour, ask)
            self.fill(neighbour, now)
        return True

    def _rest(self, neighbour: Neighbour, piece: int, count: int) -> bool:
        """Whether these bytes may belong to what we cancelled."""
        late = neighbour.late.get(piece, 0)
        if late < count:
            return False
        if late == count:
            del neighbour.late[piece]
        else:
            neighbour.late[piece] = late - count
        return True

    def _tolerate(self, neighbour: Neighbour, piece: int, ask: Ask) -> None:
        """We cancel an ask: what is missing of it may still come."""
        total = ask.total if ask.got else self.swarm.sizes[piece] + SPARE
        neighbour.late[piece] = neighbour.late.get(piece, 0) + total - ask.got
        self.swarm.say(neighbour, Cancel(piece))

    def _chosen(self, neighbour: Neighbour, data: Data, now: float) -> Optional[Ask]:
        """A chooser began to send what it chose. None: we hold it or have more of it, so it is told to stop."""
        piece = data.piece
        neighbour.owed -= 1
        if neighbour.waits:
            neighbour.first = min(neighbour.first, now - neighbour.waits.pop(0))
        others = [other.asked[piece] for other in self.askers.get(piece, ())]
        begun = any(2 * ask.got > ask.total > 0 and not ask.overdue for ask in others)
        if self.swarm.have >> piece & 1 or begun:
            neighbour.wasted += 1
            if neighbour.wasted > REFUSALS + self.received.get(neighbour.name, 0):
                raise PeerFault(f"it chose {neighbour.wasted} pieces that we hold")
            if len(data.payload) < data.total:
                ask = Ask(now, True)
                ask.got, ask.total = len(data.payload), data.total
                self._tolerate(neighbour, piece, ask)
            self._fill_chooser(neighbour, now)
            return None
        self._cancel(piece)
        ask = Ask(now, True)
        self._note(neighbour, piece, ask, now)
        if others:
            self.fill_all(now)
        return ask

    def stored(self, piece: int, name: str, new: bool, now: float) -> None:
        """See `Core.stored`; the piece is in `have` already, and was not before if it is `new`."""
        swarm = self.swarm
        neighbour = swarm.neighbours.get(name)
        self.received[name] = self.received.get(name, 0) + 1
        if neighbour is not None and piece in neighbour.asked:
            took = now - neighbour.asked[piece].since
            self.typical = took if not self.typical else 0.9 * self.typical + 0.1 * took
            self._forget(neighbour, piece)
        if not new:
            self.duplicates += 1
        gap = min(max(now - self.last, 1e-4), 1.0)
        if self.last:
            self.gap = 0.9 * self.gap + 0.1 * gap if self.gap else gap
        self.last = now
        self._cancel(piece)

    def refused(self, neighbour: Neighbour, piece: int, now: float) -> None:
        swarm = self.swarm
        if piece in neighbour.asked:
            self._forget(neighbour, piece)
        elif piece in neighbour.late:
            del neighbour.late[piece]
        elif neighbour.upstream and neighbour.owed > 0:
            neighbour.owed -= 1  # it chose what it cannot read
        else:
            raise PeerFault(f"it refused piece {piece}, which was not asked for")
        neighbour.refusals += 1
        if neighbour.refusals > REFUSALS:
            raise PeerFault(f"it refused {neighbour.refusals} pieces that it says it holds")
        neighbour.held -= neighbour.bits >> piece & 1
        neighbour.bits &= ~(1 << piece)
        swarm.lacks(neighbour, 1 << piece)

    def release(self, neighbour: Neighbour) -> List[int]:
        """The neighbour is gone: what it was asked for (this is returned) is to be asked of others."""
        asked = list(neighbour.asked)
        for piece in asked:
            self._forget(neighbour, piece)
        neighbour.late.clear()
        return asked

    def _cancel(self, piece: int) -> None:
        """Tell whoever still sends this piece to stop."""
        for other in list(self.askers.get(piece, ())):
            ask = other.asked[piece]
            self._forget(other, piece)
            if ask.got != ask.total:
                self._tolerate(other, piece, ask)

    def _forget(self, neighbour: Neighbour, piece: int) -> None:
        ask = neighbour.asked.pop(piece)
        self._untimely(neighbour, ask)
        askers = self.askers[piece]
        askers.remove(neighbour)
        bit = 1 << piece
        if not askers:
            del self.askers[piece]
            self.asked &= ~bit
            self.slow &= ~bit
        elif all(other.asked[piece].overdue for other in askers):
            self.asked &= ~bit

    def _untimely(self, neighbour: Neighbour, ask: Ask) -> None:
        """An ask no longer counts as outstanding."""
        if not ask.slow and not neighbour.upstream:
            ask.slow = True
            self.timely -= 1

    # time

    def look(self, now: float) -> None:
        """Find the slow and the overdue; ask others."""
        swarm = self.swarm
        if now < self.check:
            return
        self.check = NEVER
        if swarm.paused or not swarm.missing:
            return
        slowly = self._slowly()
        overdue: List[int] = []
        for neighbour in swarm.neighbours.values():
            for piece, ask in neighbour.asked.items():
                if ask.overdue or ask.got == ask.total:
                    continue
                if now >= ask.since + slowly:
                    self._untimely(neighbour, ask)
                    self.slow |= 1 << piece
                else:
                    self.check = min(self.check, ask.since + slowly)
                patience = self._patience(piece)
                limit = min(ask.seen + patience, ask.since + max(4 * patience, ask.got / LEAST))
                if now < limit:
                    self.check = min(self.check, limit)
                    continue
                ask.overdue = True
                neighbour.fails = min(neighbour.fails + 1, 5)
                neighbour.rest = now + swarm.tuning.timeout * 2**neighbour.fails
                overdue.append(piece)
        for piece in overdue:
            if all(other.asked[piece].overdue for other in self.askers[piece]):
                self.asked &= ~(1 << piece)
                if not swarm.chooser:
                    self._fall_back(piece, now)
        self._stagnant(now)
        self.fill_all(now)

    def _stagnant(self, now: float) -> None:
        """Nothing at all came for long: peers may say that they hold what they do not, and a relay may believe it."""
        swarm = self.swarm
        if swarm.chooser or not swarm.neighbours:
            return
        limit = max(self.heard, self.rescued) + 3 * swarm.tuning.timeout + 4 * min(self.typical, PATIENCE)
        if now >= limit:
            self.rescued = now
            wanted = swarm.missing & ~self.asked
            claimed = wanted & ~swarm.rarity.unheld
            if wanted:
                self._fall_back(choose(claimed or wanted, swarm.count, swarm.random), now, True)
        self.check = min(self.check, max(limit, now + swarm.tuning.timeout))

    def resume(self) -> None:
        """A pause is over: a piece that came whole and could not be kept is wanted again."""
        for neighbour in self.swarm.neighbours.values():
            for piece in [piece for piece, ask in neighbour.asked.items() if ask.got == ask.total]:
                self._forget(neighbour, piece)

    def welcome(self, now: float) -> None:
        """Somebody joined, or a pause is over: what is due is counted from here when nothing was before."""
        if not self.swarm.paused and self.swarm.missing:
            if self.heard < 0 or self.check == NEVER:
                self.heard = now
            self.check = min(self.check, now + self.swarm.tuning.timeout)

    def stuck(self, now: float) -> bool:
        """See `Core.stuck`."""
        swarm = self.swarm
        if swarm.chooser and not swarm.warm:
            return False
        patience = 2 * swarm.tuning.timeout + 4 * min(self.typical, PATIENCE)
        return not swarm.neighbours or now > self.heard + patience

    def distrust(self, pieces: List[int], now: float) -> None:
        """A peer does not give what it says it holds: where it alone holds it, the chooser must not rely on that."""
        swarm = self.swarm
        if swarm.chooser or swarm.paused:
            return
        for piece in pieces:
            if not (swarm.have | self.asked) >> piece & 1:
                self._fall_back(piece, now)

    def _fall_back(self, piece: int, now: float, anyway: bool = False) -> None:
        """No peer delivered this piece and none is left to ask (or `anyway`): ask a chooser for it, and count that.

        A chooser that lacks it gets it upstream.
        """
        swarm = self.swarm
        asked = self.askers.get(piece, ())
        choosers = []
        for neighbour in swarm.neighbours.values():
            if neighbour.gone or neighbour in asked:
                continue
            if neighbour.upstream:
                if len(neighbour.asked) < swarm.tuning.ahead:
                    choosers.append(neighbour)
            elif neighbour.bits >> piece & 1 and neighbour.rest <= now and not anyway:
                if not any(ask.overdue for ask in neighbour.asked.values()):
                    return
        if choosers:
            self.fallbacks += 1
            self._ask(choosers[0], piece, now)
