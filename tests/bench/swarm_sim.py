"""The swarm in virtual time: the real Core and Tracker over modelled links. `python -m tests.bench.swarm_sim 1000`

A node's uplink sends one slice after the other, in turn for its running uploads; a slice then waits for the
receiver's downlink. An upload has at most WINDOW slices between the two, as TCP would. Messages take LATENCY.
"""

from __future__ import annotations

import argparse
import heapq
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count

from cockpit.swarm.core import Core, Drop, Effects, PeerFault, Send, Serve, Stop, Tuning
from cockpit.swarm.tracker import Changes, Dial, Node, Tracker
from cockpit.swarm.wire import Bits, Data, Have, Message

LATENCY = 0.001
WINDOW = 3
_PAYLOAD = memoryview(bytes(1024 * 1024))


@dataclass
class Plan:
    """One node: rates in bytes per second, times in seconds."""

    name: str
    up: float
    down: float
    arrives: float = 0.0
    leaves: float | None = None
    liar: bool = False  # says that it holds everything, delivers nothing
    have: int = 0


@dataclass
class Flow:
    """An upload on its way."""

    to: Peer
    piece: int
    offset: int = 0
    window: int = WINDOW
    stopped: bool = False


@dataclass
class Peer:
    plan: Plan
    core: Core
    role: str
    flows: deque[Flow] = field(default_factory=deque)
    busy: bool = False
    free: float = 0.0  # when the downlink is
    due: float = float("inf")
    links: dict[str, int] = field(default_factory=dict)  # by peer: the number of the connection
    finished: float | None = None
    gone: bool = False


class Simulation:
    def __init__(
        self,
        source: Plan,
        plans: list[Plan],
        *,
        pieces: int = 256,
        size: int = 128 * 1024,
        slice: int = 32 * 1024,
        tuning: Tuning = Tuning(),
        seed: int = 0,
    ) -> None:
        self.sizes = [size] * pieces
        self.slice = slice
        self.tuning = tuning
        self.seed = seed
        self.now = 0.0
        self.events: list[tuple[float, int, object, tuple[object, ...]]] = []
        self.number = count()
        self.messages = 0
        self.faults: list[str] = []
        self.tracker = Tracker(Node(source.name, "", 0), seed=seed)
        full = (1 << pieces) - 1
        self.source = Peer(source, Core(self.sizes, full, chooser=True, tuning=tuning, seed=seed), "origin")
        self.peers: dict[str, Peer] = {source.name: self.source}
        for plan in plans:
            self.at(plan.arrives, self.arrive, plan)
            if plan.leaves is not None:
                self.at(plan.leaves, self.leave, plan)

    def at(self, when: float, call: object, *args: object) -> None:
        heapq.heappush(self.events, (when, next(self.number), call, args))

    def run(self, until: float = 1e9) -> None:
        events = self.events
        while events and events[0][0] <= until:
            self.now, _, call, args = heapq.heappop(events)
            call(*args)

    # nodes

    def arrive(self, plan: Plan) -> None:
        seed = self.seed * 100003 + len(self.peers)
        core = Core(self.sizes, plan.have, chooser=False, tuning=self.tuning, seed=seed)
        self.peers[plan.name] = Peer(plan, core, "peer")
        self.changes(self.tracker.join("swarm", Node(plan.name, "", 0)))

    def leave(self, plan: Plan) -> None:
        peer = self.peers[plan.name]
        peer.gone = True
        for other in list(peer.links):
            self.part(peer, self.peers[other])
        self.changes(self.tracker.gone(plan.name).get("swarm", []))

    def changes(self, changes: Changes) -> None:
        for change in changes:
            if isinstance(change, Dial):
                self.connect(self.peers[change.name], self.peers[change.node.name])
            else:
                self.part(self.peers[change.name], self.peers[change.other])

    def connect(self, one: Peer, other: Peer) -> None:
        if other.plan.name in one.links or one.gone or other.gone:
            return
        number = next(self.number)
        one.links[other.plan.name] = other.links[one.plan.name] = number
        for a, b in ((one, other), (other, one)):
            self.apply(a, a.core.joined(b.plan.name, b.role, None, self.now))

    def part(self, one: Peer, other: Peer) -> None:
        if one.links.pop(other.plan.name, None) is None:
            return
        del other.links[one.plan.name]
        for a, b in ((one, other), (other, one)):
            for flow in list(a.flows):
                if flow.to is b:
                    flow.stopped = True
                    a.flows.remove(flow)
            self.apply(a, a.core.left(b.plan.name, self.now))

    # messages

    def apply(self, peer: Peer, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.send(peer, effect)
            elif isinstance(effect, Serve):
                if not peer.plan.liar:
                    peer.flows.append(Flow(self.peers[effect.peer], effect.piece))
                    self.pump(peer)
            elif isinstance(effect, Stop):
                for flow in [f for f in peer.flows if f.to.plan.name == effect.peer and f.piece == effect.piece]:
                    flow.stopped = True
                    peer.flows.remove(flow)
                    self.apply(peer, peer.core.served(effect.peer, effect.piece, self.now))
            elif isinstance(effect, Drop):
                self.faults.append(f"{peer.plan.name} drops {effect.peer}: {effect.why}")
                self.at(self.now, self.part, peer, self.peers[effect.peer])
            elif peer.finished is None:
                peer.finished = self.now
        wake = peer.core.wake
        if wake is not None and wake < peer.due:
            peer.due = max(wake, self.now)
            self.at(peer.due, self.wake, peer, peer.due)

    def send(self, peer: Peer, effect: Send) -> None:
        other = self.peers[effect.peer]
        message = effect.message
        if peer.plan.liar and isinstance(message, Bits):
            message = Bits((1 << len(self.sizes)) - 1)
        if peer.plan.liar and isinstance(message, Have):
            return
        number = peer.links.get(effect.peer)
        if number is not None:
            self.at(self.now + LATENCY, self.receive, other, peer.plan.name, number, message)

    def receive(self, peer: Peer, sender: str, number: int, message: Message) -> None:
        if peer.links.get(sender) != number or (peer.plan.liar and not isinstance(message, Bits)):
            return
        self.messages += 1
        try:
            self.apply(peer, peer.core.heard(sender, message, self.now))
        except PeerFault as fault:
            self.faults.append(f"{peer.plan.name} drops {sender}: {fault}")
            self.part(peer, self.peers[sender])

    def wake(self, peer: Peer, due: float) -> None:
        if peer.due == due and not peer.gone:
            peer.due = float("inf")
            self.apply(peer, peer.core.tick(self.now))

    # pieces

    def pump(self, peer: Peer) -> None:
        """Send the next slice of the next upload that has room."""
        if peer.busy:
            return
        for _ in range(len(peer.flows)):
            flow = peer.flows[0]
            peer.flows.rotate(-1)
            if flow.window:
                flow.window -= 1
                length = min(self.slice, self.sizes[flow.piece] - flow.offset)
                peer.busy = True
                self.at(self.now + length / peer.plan.up, self.gone, peer, flow, length)
                return

    def gone(self, peer: Peer, flow: Flow, length: int) -> None:
        """A slice has left the uplink."""
        peer.busy = False
        if not flow.stopped:
            data = Data(flow.piece, 0, self.sizes[flow.piece], flow.offset, _PAYLOAD[:length])
            to = flow.to
            to.free = max(self.now + LATENCY, to.free) + length / to.plan.down
            self.at(to.free, self.delivered, to, peer, flow, data, to.links[peer.plan.name])
            flow.offset += length
            if flow.offset == self.sizes[flow.piece]:
                peer.flows.remove(flow)
                self.apply(peer, peer.core.served(to.plan.name, flow.piece, self.now))
        self.pump(peer)

    def delivered(self, peer: Peer, sender: Peer, flow: Flow, data: Data, number: int) -> None:
        flow.window += 1
        self.pump(sender)
        name = sender.plan.name
        if peer.links.get(name) != number:
            return
        try:
            keep = peer.core.progressed(name, data, self.now)
        except PeerFault as fault:
            self.faults.append(f"{peer.plan.name} drops {name}: {fault}")
            return self.part(peer, sender)
        effects: Effects = []
        if keep and data.offset + len(data.payload) == data.total:
            effects = peer.core.stored(data.piece, name, self.now)
        self.apply(peer, effects)

    # results

    def bound(self, plans: list[Plan]) -> float:
        """Kumar and Ross: no way of distributing is faster, for these receivers."""
        size = sum(self.sizes)
        us = self.source.plan.up
        total = us + sum(plan.up for plan in plans)
        return max(size / us, size / min(plan.down for plan in plans), len(plans) * size / total)

    def copies(self) -> float:
        """How often the source sent the whole."""
        return sum(self.source.core.sent.values()) / len(self.sizes)


def equal(peers: int, rate: float) -> tuple[Plan, list[Plan]]:
    """A source and receivers of one rate."""
    return Plan("source", rate, rate), [Plan(f"p{i}", rate, rate) for i in range(peers)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", type=int, nargs="+")
    parser.add_argument("--pieces", type=int, default=256)
    parser.add_argument("--size", type=int, default=128 * 1024)
    parser.add_argument("--slice", type=int, default=32 * 1024)
    parser.add_argument("--rate", type=float, default=5e6, help="bytes per second of every link")
    parser.add_argument("--slots", type=int, default=Tuning().slots)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for peers in args.peers:
        source, plans = equal(peers, args.rate)
        tuning = Tuning(slots=args.slots)
        start = time.process_time()
        simulation = Simulation(
            source, plans, pieces=args.pieces, size=args.size, slice=args.slice, tuning=tuning, seed=args.seed
        )
        simulation.run()
        cpu = time.process_time() - start
        ends = sorted(p.finished or 1e9 for p in simulation.peers.values() if p is not simulation.source)
        bound = simulation.bound(plans)
        cores = [p.core for p in simulation.peers.values()]
        print(
            f"{peers} peers, {args.pieces} pieces: {ends[-1] / bound:.3f} of the bound (median "
            f"{ends[len(ends) // 2] / bound:.3f}), source copies {simulation.copies():.2f}, duplicates "
            f"{sum(core.duplicates for core in cores)}, fallbacks {sum(core.fallbacks for core in cores)}, faults "
            f"{len(simulation.faults)}, {simulation.messages} messages, {cpu:.1f} s of CPU"
        )


if __name__ == "__main__":
    main()
