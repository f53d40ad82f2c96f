"""One measured push: a lab with a source, perhaps a relay behind a WAN, and receivers; what it took and cost."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.p2p import cluster
from tests.bench.p2p.cluster import FILE, RELAY, Cost, Process
from tests.netlab import Lab

SOURCE = "src"
MIB = 2**20
MEMORY = Path("/dev/shm")
CPU_BOUND = 0.85
"""Of all cores busy: such a run measures the machine, not the swarm."""
SETTLE = 0.5
"""Seconds from the last process's start to the first word."""


class Link(NamedTuple):
    """Mbit/s; 0 is unlimited."""

    up: float
    down: float


class Clock(NamedTuple):
    """Jiffies of all cores so far; what runs at a nicer priority does not count as busy."""

    busy: int
    all: int

    @classmethod
    def now(cls) -> Clock:
        with open("/proc/stat") as f:
            user, nice, system, idle, wait, irq, soft, steal = map(int, f.readline().split()[1:9])
        busy = user + system + irq + soft
        return cls(busy, busy + nice + idle + wait + steal)

    def since(self, before: Clock) -> float:
        """The share that was busy."""
        return (self.busy - before.busy) / max(1, self.all - before.all)


def bound(size: int, source: float, links: Sequence[Link], wan: float = 0.0, helpers: Sequence[Link] = ()) -> float:
    """Seconds below which nobody brings `size` bytes to all these receivers (Kumar and Ross), with raw rates.

    `helpers` send and need nothing, as a relay does. Rates of 0 are no bound.
    """
    megabits = size * 8e-6
    rates = [rate for rate in (source, wan, *(link.down for link in links)) if rate]
    least = megabits / min(rates) if rates else 0.0
    ups = [source, *(link.up for link in (*links, *helpers))]
    return max(least, len(links) * megabits / sum(ups)) if all(ups) else least


class Field:
    """A source, receivers by name with their links, and the artifact; with `wan` a relay and the receivers beyond."""

    def __init__(
        self, links: Mapping[str, Link], size: int, source: float, wan: float = 0.0, *, content: Path | None = None,
        kind: str = "release",
    ) -> None:
        self.links, self.source, self.wan, self.size = dict(links), source, wan, size
        self.root = Path(tempfile.mkdtemp(prefix="field-", dir=MEMORY if MEMORY.is_dir() else None))
        self.lab = Lab()
        self.peers: dict[str, Process] = {}
        self.fetches: dict[str, tuple[int, float]] = {}
        """Host -> (number of the line, when it was said)."""
        self.others: list[Process] = []
        self.spent: list[Cost] = []
        """Of processes that were killed."""
        try:
            self._build(content, kind)
        except BaseException:
            self.close()
            raise

    def _build(self, content: Path | None, kind: str) -> None:
        here = there = self.lab.switch("a")
        if self.wan:
            there = self.lab.switch("b")
            self.lab.wan(here, there, self.wan)
        self.here, self.there = here, there
        self.lab.host(SOURCE, here, up=self.source, down=self.source)
        self.lab.host("t", there)
        if self.wan:
            self.lab.host(RELAY, there, up=self.source, down=self.source)
        for name, link in self.links.items():
            self.lab.host(name, there, up=link.up, down=link.down)
        cluster.issue(self.root, self.links, [RELAY] if self.wan else [])
        self.content = content or self._random()
        self.record = cluster.add(self.root, self.content, kind=kind)

    def _random(self) -> Path:
        path = self.root / "content"
        with path.open("wb") as f:
            left = self.size
            while left:
                f.write(os.urandom(min(MIB, left)))
                left -= min(MIB, left)
        return path

    def address(self, name: str) -> str:
        return self.lab.places[name].address

    # processes

    def start(self) -> None:
        """Origin, and relay."""
        self.origin = self._process(SOURCE, cluster.origin_argv(self.root, self.address(SOURCE)))
        self.others.append(self.origin)
        self.origin.until(lambda: self.origin.ready)
        self.publish(self.record)
        if self.wan:
            self.start_relay()

    def publish(self, record: Mapping[str, Any]) -> None:
        self.origin.ask(cluster.publish_doc(self.root, dict(record)))

    def start_relay(self) -> None:
        self.relay = self._process(RELAY, cluster.relay_argv(self.root, self.address(RELAY), self.address(SOURCE)))
        self.others.append(self.relay)
        self.relay.until(lambda: self.relay.ready)

    def kill_relay(self) -> None:
        self.others.remove(self.relay)
        self.spent.append(self.relay.end(signal.SIGKILL))

    def start_peers(self, names: Sequence[str]) -> None:
        for name in names:
            self.peers[name] = self._process(name, cluster.peer_argv(self.root, name))
        for name in names:
            self.peers[name].ask({"op": "rates"})  # it is up

    def kill(self, name: str) -> None:
        self.spent.append(self.peers.pop(name).end(signal.SIGKILL))

    def _process(self, place: str, argv: list[str]) -> Process:
        return Process(self.lab.argv(place, *argv), self.root / f"{place}.err")

    # the push

    def fetch(self, names: Sequence[str], record: Mapping[str, Any] | None = None) -> None:
        tracker = (RELAY, self.address(RELAY)) if self.wan else ("", self.address(SOURCE))
        for name in names:
            doc = cluster.fetch_doc(dict(record or self.record), self.address(name), tracker)
            self.fetches[name] = self.peers[name].say(doc), time.monotonic()

    def facts(self, name: str) -> dict[str, Any]:
        """What a receiver said last of its fetch."""
        number, _ = self.fetches[name]
        answer = self.peers[name].answers.get(number)
        found: dict[str, Any] = answer[1]["data"]["swarm"] if answer else self.peers[name].facts.get(number, {})
        return found

    def share(self, name: str) -> float:
        """Of the bytes that it lacked, those that are there."""
        facts = self.facts(name)
        return float(facts["moved"] / facts["to_move"]) if facts.get("to_move") else 0.0

    def wait_share(self, name: str, share: float) -> None:
        self.peers[name].until(lambda: self.share(name) >= share)

    def took(self, name: str) -> float:
        """Seconds of a receiver's fetch; waits for it, and looks whether it got the right bytes."""
        number, start = self.fetches[name]
        when, _ = self.peers[name].answer(number)
        return when - start

    def verify(self, names: Sequence[str]) -> None:
        """Raises Stuck when a host has something else than was pushed."""
        if not self.content.is_file():
            return
        wanted = digest(self.content)
        for name in names:
            if digest(cluster.installed(self.root, name, self.record) / FILE) != wanted:
                raise cluster.Stuck(f"{name} got something else")

    # counters

    def source_sent(self) -> int:
        return self.lab.sent(self.lab.places[SOURCE].namespace, "eth0")

    def crossed(self) -> int:
        return self.lab.sent(self.here, "wan")

    def came_back(self) -> int:
        """Bytes that crossed the WAN towards the source."""
        return self.lab.sent(self.there, "wan")

    def arrived(self, name: str) -> int:
        """Bytes that came down a host's link, headers included."""
        place = self.lab.places[name]
        return self.lab.sent(place.switch, place.port)

    def cpu(self) -> float:
        """Seconds of all our processes so far."""
        return sum(p.cost().cpu for p in (*self.others, *self.peers.values())) + sum(c.cpu for c in self.spent)

    def peak(self) -> float:
        """MiB of the largest peer."""
        return max(p.cost().peak for p in self.peers.values())

    @contextlib.contextmanager
    def measured(self) -> Iterator[dict[str, Any]]:
        """Source copies, WAN bytes per byte of the artifact, CPU seconds, and how busy all cores were meanwhile.

        `others` is the part of `busy` that our processes did not use: that of the kernel, and of strangers.
        """
        found: dict[str, Any] = {}
        time.sleep(SETTLE)
        sent, cpu, clock, start = self.source_sent(), self.cpu(), Clock.now(), time.monotonic()
        crossed, back = (self.crossed(), self.came_back()) if self.wan else (0, 0)
        yield found
        found["busy"] = round(Clock.now().since(clock), 3)
        found["cpu"] = round(self.cpu() - cpu, 2)
        ours = found["cpu"] / (time.monotonic() - start) / (os.cpu_count() or 1)
        found["others"] = round(found["busy"] - ours, 3)
        found["copies"] = round((self.source_sent() - sent) / self.size, 3)
        if self.wan:
            found["wan_bytes"] = self.crossed() - crossed
            found["wan"] = round(found["wan_bytes"] / self.size, 4)
            found["wan_back"] = round((self.came_back() - back) / self.size, 4)

    def close(self) -> None:
        for process in (*self.others, *self.peers.values()):
            process.end()
        self.lab.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def spawn(self, place: str, *argv: str) -> subprocess.Popen[bytes]:
        """Another program at a place; the lab ends it if nobody else does."""
        with (self.root / f"{place}.err").open("ab") as log:
            return subprocess.Popen(
                self.lab.argv(place, *argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root
            )


@contextlib.contextmanager
def field(links: Mapping[str, Link], size: int, source: float, wan: float = 0.0, **more: Any) -> Iterator[Field]:
    made = Field(links, size, source, wan, **more)
    try:
        made.start()
        yield made
    finally:
        made.close()


def equal(count: int, rate: float, first: int = 1) -> dict[str, Link]:
    """Receivers h1, h2... with links of one rate."""
    return {f"h{i}": Link(rate, rate) for i in range(first, first + count)}


def digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def until(true: Callable[[], object], what: str) -> None:
    """Looks again and again, for counters that nobody reports. Raises Stuck."""
    end = time.monotonic() + cluster.LIMIT
    while not true():
        if time.monotonic() > end:
            raise cluster.Stuck(f"it takes too long until {what}")
        time.sleep(0.02)
