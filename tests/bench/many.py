"""Many agents through relays: memory, CPU at rest, reports a second, and the time until all are back.

    python -m tests.bench.many 1000x0 1000x4 1000x20 10000x20        (agents x relays)

Real relay processes and a real hub (its owner only counts); agents are light, 500 to a process, each with a
certificate and a WebSocket of its own, ten units, beats of 5 s; one in a hundred changes a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from cockpit.link import messages
from cockpit.link import trunk_frames as t
from cockpit.link.channel import Channel, ChannelClosed
from cockpit.link.dial import dial
from cockpit.link.hub import Hub
from cockpit.link.pki import Authority, _key_pem, _request
from tests.bench.keeper import rss
from tests.bench.light import unit
from tests.bench.quiet import cpu
from tests.bench.terminal import ROOT
from tests.relay.field import RelaysOf

EACH = 500
UNITS = 10
REST, BURST = 10.0, 5.0
"""Seconds."""
LIMIT, EACH_LIMIT = 60.0, 0.1
"""Seconds until everybody must be connected, and more for each agent: TLS costs both sides 7 ms of CPU together."""


class Counts:
    """The hub's owner: it takes everybody and counts."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.seen: Counter[str] = Counter()
        self.full: set[str] = set()
        self.names = None

    def welcome(self, host: str, uuid: str) -> dict[str, Any]:
        return {"address": "127.0.0.1", "port_range": [20000, 20999], "cluster": "bench", "region": "sh"}

    def connected(self, host: str, hello: messages.Hello) -> None:
        pass

    def frame(self, host: str, frame: messages.AnyFrame) -> None:
        self.seen[type(frame).__name__] += 1
        if isinstance(frame, messages.Full):
            self.full.add(host)

    def heard(self, host: str, latency: float | None) -> None:
        self.seen["heard"] += 1

    def disconnected(self, host: str, why: str) -> None:
        self.full.discard(host)

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        raise PermissionError("nobody joins here")


class Takes(RelaysOf):
    def __init__(self) -> None:
        pass

    def admit(self, relay: str, uuid: str) -> dict[str, Any]:
        return {}

    def carries(self, relay: str, host: str) -> bool:
        return True

    def greeting(self) -> None:
        return None

    def connected(self, relay: str, hello: t.RelayHello, transport: str) -> None:
        pass

    def state(self, relay: str, states: dict[str, t.RelayState]) -> None:
        pass

    def lost(self, relay: str, why: str) -> None:
        pass


async def serve(where: Path, port: int) -> None:
    """The hub's process: its port, then for each line it reads: (links, hosts known, KiB, units reported).

    Before `memory` it collects garbage, which takes a tenth of a second with a thousand agents: not at each look.
    """
    owner = Counts({})
    hub = Hub(owner, Authority.load(where / "ca").controller_context())
    hub.relays = Takes()
    await hub.start("127.0.0.1", port)
    ping = asyncio.create_task(pinging(hub))
    print(hub.port, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip() == "memory":
            gc.collect()
        print(len(hub.links), len(owner.full), round(rss("self") * 1024), owner.seen["UnitFrame"], flush=True)
    ping.cancel()
    await hub.stop()


async def pinging(hub: Hub) -> None:
    while True:
        await asyncio.sleep(4.0)
        hub.ping()


class Light:
    def __init__(self, where: Path, number: int, url: str) -> None:
        self.where, self.number, self.url = where, number, url
        self.units = [unit(n) for n in range(number * UNITS, (number + 1) * UNITS)]
        self.channel: Channel | None = None

    async def live(self, gate: asyncio.Semaphore) -> None:
        """Connected, again and again."""
        import ssl

        while True:
            try:
                async with gate:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                    context.check_hostname = False
                    context.load_verify_locations(self.where / "ca" / "ca.pem")
                    context.load_cert_chain(self.where / "certs" / f"{self.number}.pem", self.where / "key.pem")
                    async with asyncio.timeout(15):
                        channel = await dial(self.url, context=context, transport="websocket", cluster=None)
                        id = str(uuid.UUID(int=self.number + 1))
                        await channel.send(json.dumps({"t": "hello", "host": f"h-{self.number}", "uuid": id}))
                        welcome = json.loads(await channel.recv())
                if welcome["t"] != "welcome":
                    raise ChannelClosed(welcome.get("text", "?"))
                full = {"t": "full", "units": self.units, "releases": [], "names": 0, "head": None}
                await channel.send(json.dumps(full))
                self.channel = channel
                while True:
                    frame = json.loads(await channel.recv())
                    if frame["t"] == "ping":
                        await channel.send(json.dumps({"t": "pong", "at": frame["at"]}))
            except (OSError, TimeoutError, ChannelClosed):
                self.channel = None
                await asyncio.sleep(0.2 + self.number % 17 / 10)

    async def change(self) -> None:
        if self.channel is not None:
            self.units[0] |= {"pid": self.units[0]["pid"] + 1, "observed": time.time()}
            with contextlib.suppress(ChannelClosed):  # `live` learns of it, and connects again
                await self.channel.send(json.dumps({"t": "unit", "unit": self.units[0]}))


async def agents(where: Path, first: int, count: int, urls: list[str]) -> None:
    """A process of agents. Lines: `burst N` reports for so many seconds as fast as it can; the end ends it."""
    gate = asyncio.Semaphore(8)
    made = [Light(where, n, urls[n % len(urls)]) for n in range(first, first + count)]
    tasks = [asyncio.create_task(a.live(gate)) for a in made]
    reading = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    turn = 0
    while True:
        await asyncio.wait([reading], timeout=100 / count)
        if reading.done():
            line = reading.result()
            if not line:
                break
            end = time.monotonic() + float(line.split()[1])
            while time.monotonic() < end:
                await made[turn % count].change()
                turn += 1
            reading = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        await made[turn * 7 % count].change()
        turn += 1
    for task in tasks:
        task.cancel()


def program(*args: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.bench.many", *map(str, args)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


class Run:
    """One row of the table."""

    def __init__(self, where: Path, count: int, relays: int) -> None:
        self.where, self.count, self.number = where, count, relays
        self.relays: list[subprocess.Popen[bytes]] = []
        self.crowd: list[subprocess.Popen[str]] = []
        self.hub = self._hub(0)

    def _hub(self, port: int) -> subprocess.Popen[str]:
        process = program("hub", self.where, port)
        assert process.stdout
        self.port = int(process.stdout.readline())
        return process

    def look(self, what: str = "") -> list[int]:
        assert self.hub.stdin and self.hub.stdout
        self.hub.stdin.write(f"{what}\n")
        self.hub.stdin.flush()
        return [int(w) for w in self.hub.stdout.readline().split()]

    def start_relays(self, authority: Authority) -> list[str]:
        for n in range(self.number):
            place = self.where / f"r-{n}"
            authority.issue_local_relay(place, f"r-{n}", str(uuid.uuid4()), [])
            doc = {
                "region": "sh", "address": "127.0.0.1", "port": 0, "cache": 2**20, "rate": 0,
                "upstream": {"name": "", "address": "127.0.0.1", "port": 9},
                "link": {"port": 0, "upstream": [f"https://127.0.0.1:{self.port}"], "proxy": "", "below": {}},
            }
            (place / "relay.json").write_text(json.dumps(doc))
            with (place / "out").open("wb") as log:
                self.relays.append(subprocess.Popen(
                    [sys.executable, "-I", "-m", "cockpit.relay", "--dir", str(place)], stdout=subprocess.PIPE,
                    stderr=log,
                ))  # fmt: skip
        for relay in self.relays:
            assert relay.stdout
            relay.stdout.readline()
        ports = [(self.where / f"r-{n}" / "link.port").read_text().strip() for n in range(self.number)]
        return [f"https://127.0.0.1:{port}" for port in ports] or [f"https://127.0.0.1:{self.port}"]

    def all_back(self, since: float) -> float:
        while self.look()[1] < self.count:
            for process in self.crowd:
                assert process.poll() is None, "a process of agents has ended"
            if time.monotonic() - since > LIMIT + EACH_LIMIT * self.count:
                took = time.monotonic() - since
                raise AssertionError(f"after {took:.0f} s {self.look()[:2]} of {self.count} are there")
            time.sleep(0.1)
        return time.monotonic() - since

    def measure(self, authority: Authority) -> dict[str, float]:
        urls = self.start_relays(authority)
        time.sleep(2.0)
        empty, below = self.look("memory")[2], sum(rss(r.pid) for r in self.relays)
        begun = time.monotonic()
        for first in range(0, self.count, EACH):
            self.crowd.append(program("agents", self.where, first, min(EACH, self.count - first), *urls))
        first_time = self.all_back(begun)
        time.sleep(6.0)
        figures = {"connect s": first_time}
        print(f"all {self.count} connected after {first_time:.1f} s", file=sys.stderr, flush=True)
        watched = [self.hub.pid, *(r.pid for r in self.relays)]
        before, start = [cpu(p) for p in watched], time.monotonic()
        time.sleep(REST)
        used = [(cpu(p) - b) / (time.monotonic() - start) * 100 for p, b in zip(watched, before, strict=True)]
        figures |= {"hub rest %": used[0], "relays rest %": sum(used[1:])}
        figures["hub kB/agent"] = (self.look("memory")[2] - empty) * 1.024 / self.count
        if self.relays:
            figures["relay kB/agent"] = (sum(rss(r.pid) for r in self.relays) - below) * 1048.576 / self.count
        reports = self.look()[3]
        for process in self.crowd:
            assert process.stdin
            process.stdin.write(f"burst {BURST}\n")
            process.stdin.flush()
        time.sleep(BURST)
        figures["reports/s"] = (self.look()[3] - reports) / BURST
        time.sleep(3.0)
        self.hub.kill()
        self.hub.wait()
        begun = time.monotonic()
        self.hub = self._hub(self.port)
        figures["all back s"] = self.all_back(begun)
        return figures

    def end(self) -> None:
        for process in self.crowd:
            assert process.stdin
            process.stdin.close()
        every: list[subprocess.Popen[Any]] = [*self.crowd, *self.relays, self.hub]
        for each in every:
            each.terminate()
        for each in every:
            each.wait(60)


def run(count: int, relays: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        where = Path(place)
        authority = Authority.create(where / "ca", "bench")
        key, csr = _request("bench")
        (where / "key.pem").write_bytes(_key_pem(key))
        (where / "certs").mkdir()
        for n in range(count):
            certificate = authority.issue_host(csr, f"h-{n}", str(uuid.UUID(int=n + 1)))
            (where / "certs" / f"{n}.pem").write_text(certificate)
        made = Run(where, count, relays)
        try:
            return made.measure(authority)
        finally:
            made.end()


def main(words: list[str]) -> None:
    if words[0] == "hub":
        asyncio.run(serve(Path(words[1]), int(words[2])))
    elif words[0] == "agents":
        asyncio.run(agents(Path(words[1]), int(words[2]), int(words[3]), words[4:]))
    else:
        for word in words:
            count, _, relays = word.partition("x")
            figures = run(int(count), int(relays))
            said = ", ".join(f"{k} {v:.1f}" for k, v in figures.items())
            print(f"{count:>6} agents, {relays:>2} relays: {said}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
