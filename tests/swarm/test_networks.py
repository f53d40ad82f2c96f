"""Whole networks of cores: messages in any order, connections that come and go, and still everybody finishes."""

from __future__ import annotations

from collections import deque
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from cockpit.swarm.asking import FEW
from cockpit.swarm.core import Core, Drop, Effects, Send, Serve, Stop, Tuning
from cockpit.swarm.wire import Cancel, Data, Message, Request

SIZE = 1000


class Network:
    """Cores on connections that deliver in order each, and in any order among each other."""

    def __init__(self, nodes: int, count: int, seed: int) -> None:
        self.random = Random(seed)
        self.count = count
        self.now = 0.0
        full = (1 << count) - 1
        self.cores = {"": Core([SIZE] * count, full, chooser=True, seed=seed)}
        for at in range(nodes):
            have = self.random.getrandbits(count) if self.random.random() < 0.3 else 0
            self.cores[f"n{at}"] = Core([SIZE] * count, have, chooser=False, seed=seed + at)
        self.wires: dict[tuple[str, str], deque[Message]] = {}
        self.uploads: list[tuple[str, str, int, int]] = []
        self.asked: dict[tuple[str, int], dict[str, float]] = {}
        self.partial: dict[tuple[str, str, int], int] = {}
        self.trouble = False  # connections broke, so pieces may be asked again
        for one in self.cores:
            for other in self.cores:
                if one < other:
                    self.connect(one, other)

    def connect(self, one: str, other: str) -> None:
        if (one, other) in self.wires:
            return
        self.wires[one, other], self.wires[other, one] = deque(), deque()
        for a, b in ((one, other), (other, one)):
            role = "peer" if b else "origin"
            self.apply(a, self.cores[a].joined(b, role, None, self.now))

    def cut(self, one: str, other: str) -> None:
        if (one, other) not in self.wires:
            return
        del self.wires[one, other], self.wires[other, one]
        self.uploads = [u for u in self.uploads if {u[0], u[1]} != {one, other}]
        for key in [key for key in self.partial if {key[0], key[1]} == {one, other}]:
            del self.partial[key]
        for a, b in ((one, other), (other, one)):
            for (node, _), asked in self.asked.items():
                if node == a:
                    asked.pop(b, None)
            self.apply(a, self.cores[a].left(b, self.now))

    def apply(self, node: str, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                if isinstance(effect.message, Request):
                    self.note(node, effect.peer, effect.message.piece)
                if isinstance(effect.message, Cancel):
                    self.asked.get((node, effect.message.piece), {}).pop(effect.peer, None)
                if (node, effect.peer) in self.wires:
                    self.wires[node, effect.peer].append(effect.message)
            elif isinstance(effect, Serve):
                assert self.cores[node].have >> effect.piece & 1
                self.uploads.append((node, effect.peer, effect.piece, 0))
            elif isinstance(effect, Stop):
                before = len(self.uploads)
                self.uploads = [u for u in self.uploads if u[:3] != (node, effect.peer, effect.piece)]
                if len(self.uploads) < before:
                    self.apply(node, self.cores[node].served(effect.peer, effect.piece, self.now))
            else:
                assert not isinstance(effect, Drop), effect

    def note(self, node: str, to: str, piece: int) -> None:
        core = self.cores[node]
        assert not core.have >> piece & 1
        asked = self.asked.setdefault((node, piece), {})
        assert to not in asked, "asked twice of the same"
        missing = self.count - bin(core.have).count("1")
        if asked and missing > Tuning().endgame:
            assert self.now - min(asked.values()) >= 0.25, "asked of two though the first is not slow"
        asked[to] = self.now
        fresh = sum(self.now - t < 0.25 for (n, _), a in self.asked.items() if n == node for t in a.values())
        assert fresh <= Tuning().outstanding + FEW + 1

    def step(self) -> bool:
        """Something happens somewhere. False: nothing is under way."""
        ready: list[object] = [key for key, wire in self.wires.items() if wire]
        ready += self.uploads
        self.now += 0.001
        for node, core in self.cores.items():
            if core.wake is not None and core.wake <= self.now:
                self.apply(node, core.tick(self.now))
        if not ready:
            return False
        chosen = ready[int(self.random.random() * len(ready))]
        if len(chosen) == 2:  # type: ignore[arg-type]
            sender, node = chosen  # type: ignore[misc]
            self.receive(node, sender, self.wires[sender, node].popleft())
        else:
            self.upload(*chosen)  # type: ignore[misc]
        return True

    def upload(self, node: str, to: str, piece: int, offset: int) -> None:
        place = self.uploads.index((node, to, piece, offset))
        self.wires[node, to].append(Data(piece, 0, SIZE, offset, bytes(SIZE // 2)))
        if offset:
            del self.uploads[place]
            self.apply(node, self.cores[node].served(to, piece, self.now))
        else:
            self.uploads[place] = (node, to, piece, SIZE // 2)

    def receive(self, node: str, sender: str, message: Message) -> None:
        core = self.cores[node]
        if not isinstance(message, Data):
            return self.apply(node, core.heard(sender, message, self.now))
        key = (node, sender, message.piece)
        effects: Effects = []
        if core.progressed(sender, message, self.now):
            assert message.offset == 0 or self.partial.get(key) == message.offset
            self.partial[key] = message.offset + len(message.payload)
            if self.partial[key] == SIZE:
                del self.partial[key]
                self.asked.get((node, message.piece), {}).pop(sender, None)
                effects = core.stored(message.piece, sender, self.now)
        self.apply(node, effects)

    def finish(self) -> None:
        for _ in range(400_000):
            if all(core.done for core in self.cores.values()):
                return
            if not self.step():
                wakes = [core.wake for core in self.cores.values() if core.wake is not None]
                assert wakes, "nothing is under way and nobody waits for anything"
                self.now = max(self.now, min(wakes))
        raise AssertionError("it does not end")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 40), st.integers(0, 2**20))
def test_every_network_finishes(nodes: int, count: int, seed: int) -> None:
    network = Network(nodes, count, seed)
    network.finish()
    assert sum(core.bad for core in network.cores.values()) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(5, 40), st.integers(0, 2**20), st.lists(st.integers(1, 400), max_size=12))
def test_connections_that_break_and_come_back_stop_nobody(nodes: int, count: int, seed: int, gaps: list[int]) -> None:
    network = Network(nodes, count, seed)
    names = list(network.cores)
    for gap in gaps:
        for _ in range(gap):
            network.step()
        one, other = sorted(network.random.sample(names, 2))
        if (one, other) in network.wires:
            network.cut(one, other)
        else:
            network.connect(one, other)
    for one in names:
        for other in names:
            if one < other and network.random.random() < 0.5:
                network.connect(one, other)
    for one in names[1:]:
        network.connect("", one)
    network.finish()
