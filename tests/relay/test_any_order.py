"""Any order of agents, frames, upstreams lost and relays below: what upstream hears stays true."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cockpit.link import trunk_frames as t
from cockpit.relay.switch import Agent, Switch
from cockpit.relay.upward import BATCH
from tests.relay.hand import Line, enc, switch, welcome


class Cluster(RuleBasedStateMachine):
    """Relay b is below relay a; `Upstream` is the hub. Frames move when a rule says so, connections break at will."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.top, self.low = switch("a"), switch("b")
        self.top.below.allow({"b": frozenset({"b"})})
        self.trunk: Line | None = None
        """The line of b at a, while it stands."""
        self.read = 0
        self.agents: dict[str, tuple[Switch, Agent, Line]] = {}
        """host -> where it is."""
        self.numbers = 0
        self.opened: dict[str, str] = {}
        self.log: dict[str, list[dict[str, Any]]] = defaultdict(list)
        """sid -> what upstream got of it on this trunk."""
        self.acked: dict[str, int] = {}
        self.said: dict[str, dict[str, int]] = defaultdict(dict)
        """host -> unit -> its last number."""
        self.events: dict[str, list[int]] = defaultdict(list)

    # connections

    @initialize()
    def begin(self) -> None:
        """Most of what matters happens while everything stands."""
        self.upstream_comes()
        self.lower_comes()
        for host, low in (("h-1", False), ("h-2", True)):
            self.agent_comes(host, low)
        self.everything_moves()

    @rule()
    def everything_moves(self) -> None:
        for _ in range(4):
            self.time_goes(0.2)
            if self.trunk is not None:
                self.lower_sends(50)
            if self.top.up:
                self.top_sends(50)
            if self.trunk is not None:
                self._down()

    @precondition(lambda self: not self.top.up)
    @rule()
    def upstream_comes(self) -> None:
        self.opened.clear()
        self.log.clear()
        welcome(self.top)

    @precondition(lambda self: self.top.up)
    @rule()
    def upstream_breaks(self) -> None:
        self.top.upstream_lost()
        self.opened.clear()
        self.log.clear()
        if self.trunk is not None and self.trunk.why:
            self.trunk = None
            self.low.upstream_lost()
        self._drop_cut()

    @precondition(lambda self: self.trunk is None and self.top.up)
    @rule()
    def lower_comes(self) -> None:
        line, hello = Line(), t.text(self.low.hello()).encode()
        assert self.top.below.connect(line, "b", "uuid-b", hello, "http2", self.now) is not None
        self.trunk, self.read = line, 0
        self._down()

    @precondition(lambda self: self.trunk is not None)
    @rule()
    def lower_breaks(self) -> None:
        self.top.below.gone(self.top.below.relays["b"], "cut")
        self.trunk = None
        self.low.upstream_lost()
        self._drop_cut()

    @rule(host=st.sampled_from(["h-1", "h-2", "h-3"]), low=st.booleans())
    def agent_comes(self, host: str, low: bool) -> None:
        made = self.low if low else self.top
        line = Line()
        found = made.connect(line, host, f"u-{host}", enc(t="hello", host=host, uuid=f"u-{host}"), "", self.now)
        if found is None:
            assert not made.up
            return
        old = self.agents.pop(host, None)
        if old is not None and not old[2].why:
            old[0].gone(old[1], "it moved")
        self.agents[host] = (made, found, line)
        self.said[host] = {}
        if not made.up:
            self._full(host)

    def _full(self, host: str) -> None:
        made, found, _ = self.agents[host]
        units = [{"unit": u, "n": n} for u, n in self.said[host].items()]
        made.heard(found, enc(t="full", units=units), self.now)
        for seq in self.events[host]:
            made.heard(found, enc(t="event", seq=seq), self.now)

    @precondition(lambda self: self.agents)
    @rule(data=st.data())
    def agent_goes(self, data: st.DataObject) -> None:
        host = data.draw(st.sampled_from(sorted(self.agents)))
        made, found, line = self.agents.pop(host)
        if not line.why:
            made.gone(found, "it left")

    @precondition(lambda self: any(f.full for _, f, _ in self.agents.values()))
    @rule(
        data=st.data(),
        words=st.lists(st.tuples(st.sampled_from(["unit", "gone", "event", "result", "log"]), st.integers(0, 1)),
                       min_size=1, max_size=6),
    )  # fmt: skip
    def agent_speaks(self, data: st.DataObject, words: list[tuple[str, int]]) -> None:
        host = data.draw(st.sampled_from(sorted(h for h, (_, f, _) in self.agents.items() if f.full)))
        for kind, number in words:
            self._speak(host, kind, f"w/{number}:1")

    def _speak(self, host: str, kind: str, name: str) -> None:
        made, found, _ = self.agents[host]
        self.numbers += 1
        if kind == "unit":
            self.said[host][name] = self.numbers
            frame = enc(t="unit", unit={"unit": name, "n": self.numbers})
        elif kind == "gone":
            self.said[host].pop(name, None)
            frame = enc(t="gone", unit=name)
        elif kind == "event":
            self.events[host].append(self.numbers)
            frame = enc(t="event", seq=self.numbers)
        else:
            frame = enc(t=kind, task=str(self.numbers), stream="s", ok=True, n=self.numbers, host=host)
        made.heard(found, frame, self.now)

    # frames move

    @rule(step=st.sampled_from([0.0, 0.01, 0.2, 5.0]))
    def time_goes(self, step: float) -> None:
        self.now += step
        for made in (self.top, self.low):
            for _, found, _ in self.agents.values():
                if found.full:
                    made.heard(found, enc(t="pong", at=self.now), self.now)
        if "b" in self.top.below.relays:
            self.top.below.heard(self.top.below.relays["b"], t.text(t.Pong(self.now)), self.now)
        for made in (self.top, self.low):
            made.tick(self.now)
        self._drop_cut()

    @precondition(lambda self: self.trunk is not None)
    @rule(count=st.integers(1, 8))
    def lower_sends(self, count: int) -> None:
        for _ in range(count):
            text = self.low.queue.take(self.now)
            if text is None or self.trunk is None:
                return
            self.top.below.heard(self.top.below.relays["b"], text, self.now)
            assert not self.trunk.why, self.trunk.why

    @precondition(lambda self: self.trunk is not None)
    @rule()
    def _down(self) -> None:
        """What a says to b arrives."""
        assert self.trunk is not None
        while self.read < len(self.trunk.got):
            frame = self.trunk.got[self.read]
            self.read += 1
            self.low.from_above(json.dumps(frame), self.now)
        self._greet()

    @precondition(lambda self: self.top.up)
    @rule(count=st.integers(1, 8))
    def top_sends(self, count: int) -> None:
        for _ in range(count):
            text = self.top.queue.take(self.now)
            if text is None:
                return
            assert len(text) <= BATCH + 5000
            self._upstream(json.loads(text))

    def _upstream(self, frame: dict[str, Any]) -> None:
        if frame["t"] == "open":
            assert frame["sid"] not in self.opened
            assert frame["path"] == (["a"] if frame["sid"].startswith("a:") else ["b", "a"])
            self.opened[frame["sid"]] = frame["host"]
            if not frame["known"]:
                to = {"t": "to", "sid": frame["sid"], "frame": {"t": "welcome", "for": frame["host"]}}
                self.top.from_above(json.dumps(to), self.now)
                self._greet()
        elif frame["t"] == "shut":
            self.opened.pop(frame["sid"], None)
            self.log.pop(frame["sid"], None)
        elif frame["t"] == "up":
            for sid, said in frame["frames"]:
                assert sid in self.opened, "nothing of an agent before its open"
                assert said["t"] == "full" or self.log[sid], "nothing before its full set"
                assert said.get("host", self.opened[sid]) == self.opened[sid]
                self.log[sid].append(said)

    @precondition(lambda self: self.opened)
    @rule(data=st.data())
    def upstream_acknowledges(self, data: st.DataObject) -> None:
        sid = data.draw(st.sampled_from(sorted(self.opened)))
        seqs = [f["seq"] for f in self.log[sid] if f["t"] == "event"]
        if seqs:
            self.acked[sid] = max(seqs)
            self.top.from_above(enc(t="to", sid=sid, frame={"t": "ack", "seq": max(seqs)}), self.now)
            self._acks()

    def _greet(self) -> None:
        """A welcome has arrived: the agent tells everything."""
        for host, (_, found, line) in list(self.agents.items()):
            for frame in line.got:
                assert frame["t"] != "welcome" or frame.get("for", host) == host, "a frame for another"
            if found.admitted and not found.full and not line.why:
                self._full(host)
        self._acks()

    def _acks(self) -> None:
        for host, (_, found, line) in self.agents.items():
            for frame in line.got:
                if frame["t"] == "ack":
                    assert frame["seq"] <= self.acked.get(found.sid, -1), "acknowledged by upstream only"
                    self.events[host] = [n for n in self.events[host] if n > frame["seq"]]

    def _drop_cut(self) -> None:
        for host, (_, _, line) in list(self.agents.items()):
            if line.why:
                del self.agents[host]

    @invariant()
    def order_is_kept(self) -> None:
        """Events, results and logs of one connection arrive in order, each once."""
        for frames in self.log.values():
            for kind in ("event", "result", "log"):
                numbers = [f.get("seq", f.get("n")) for f in frames if f["t"] == kind]
                assert numbers == sorted(set(numbers))
            assert [f["t"] for f in frames].count("full") <= 1

    @invariant()
    def in_the_end_upstream_knows_everything(self) -> None:
        """Where nothing waits any more, what upstream knows is what the agents have."""
        if not self.top.up or self.top.queue.due() is not None:
            return
        for host, (made, found, line) in self.agents.items():
            through = made is self.top or self.trunk is not None and self.low.queue.due() is None
            if line.why or not found.full or not found.opened or not through or found.sid not in self.opened:
                continue
            if made is self.low and not self.low.up:
                continue
            known: dict[str, int] = {}
            seen: set[int] = set()
            for frame in self.log[found.sid]:
                if frame["t"] == "full":
                    known = {u["unit"]: u["n"] for u in frame["units"]}
                elif frame["t"] == "unit":
                    known[frame["unit"]["unit"]] = frame["unit"]["n"]
                elif frame["t"] == "gone":
                    known.pop(frame["unit"], None)
                elif frame["t"] == "event":
                    seen.add(frame["seq"])
            assert known == self.said[host]
            assert seen >= set(self.events[host])


Cluster.TestCase.settings = settings(
    max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCluster = Cluster.TestCase
