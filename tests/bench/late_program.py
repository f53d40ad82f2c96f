"""Run by the bench: a controller of a made-up crowd, whose loop is watched callback by callback.

python -m tests.bench.late_program DIR INSTANCES: serves sessions in DIR/state and prints a line when it stands.
For each line that it reads, `begin` or `end`, it prints one; that of an end is JSON:

    {"piece": ms of the loop's own CPU of the longest callback, "what": its name, "late": worst lateness on the
     clock of a timer of 5 ms, "full": the same of the longest run of the collector, "over": [[name, ms], ...]}

python -m tests.bench.late_program --ask SOCKET ECHO INSTANCE...: another session. It asks for the numbers of an
instance each 10 ms, and right after it for the echo of the answer; for each line that it reads it prints how long
both took since the last: {"times": [ms, ...], "idle": [ms, ...]}.

python -m tests.bench.late_program --echo ECHO: a process that does nothing but send back each line that comes on its
socket. What its answers take is the machine's doing.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cockpit.controller.collecting import Collecting
from cockpit.controller.core import Controller, open_backend
from cockpit.history.writing import Limits
from cockpit.link.messages import Gone, Hello, Result, UnitFrame
from cockpit.model.actual import Unit
from cockpit.model.judge import Digests
from cockpit.model.names import short_names
from cockpit.model.states import State
from cockpit.model.topology import (
    Check,
    Expected,
    Group,
    Guard,
    Host,
    Instances,
    Region,
    Relay,
    Service,
    Update,
    to_doc,
)
from cockpit.session.client import RemoteSession
from cockpit.session.server import SessionServer
from tests.bench.pieces import named

EACH, OF = 10, 3125
"""Instances on a host, and of a service."""
RING = 4
"""So many services call each other in a ring; half of their instances have failed."""
LOOK = 0.005
NAMED = 10.0
"""Milliseconds from which a callback is named."""


def expected(count: int) -> Expected:
    hosts = {
        f"h-{n}": Host(region="sh", address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(count // EACH)
    }
    services: dict[str, Service] = {}
    total = max(RING, count // OF)
    for n in range(total):
        depends = (f"shop.s{(n + 1) % RING}",) if n < RING else (f"shop.s{n % RING}",)
        services[f"shop.s{n}"] = Service(
            processes={"main": ("./serve", "{port}")}, version="1.1.0", ports={"main": 0}, check=Check(tcp=""),
            instances=Instances(count=count // total), depends=depends,
            update=Update(parallel=100, order="stop-first"),
        )  # fmt: skip
    slots = itertools.product(range(count // total), services)
    placement = {f"{path}/{slot}": f"h-{n // EACH % len(hosts)}" for n, (slot, path) in enumerate(slots)}
    guards = (
        Guard(name="many", verbs=("deploy", "restart"), over_instances=50_000, effect="approve", reason="so many"),
        Guard(name="floor", verbs=("deploy", "restart", "stop"), below="1%", effect="confirm", reason="too few"),
        Guard(name="rest", targets=("shop.s31",), hosts=("region=bj",), effect="deny", reason="not here"),
    )
    return Expected(
        name="bench", regions={"sh": Region()}, groups={"shop": Group()}, hosts=hosts,
        services=services, placement=placement, guards=guards,
        relays={"r-0": Relay(region="sh", address="127.0.0.1")},
    )  # fmt: skip


def units(wanted: Expected, now: float) -> list[tuple[str, Unit]]:
    digests, out = Digests(wanted), []
    for n, (instance, host) in enumerate(wanted.placement.items()):
        service, _, slot = instance.rpartition("/")
        failed = int(service.rpartition("s")[2]) < RING and int(slot) % 2 == 0
        out.append((host, Unit(
            unit=f"{instance}:1", instance=instance, gen=1, version="1.1.0", config=digests.of(instance),
            state=State.RUNNING, wanted=True, run=1, pid=1000 + n, ports={"main": 20000 + n % EACH},
            health="failing" if failed else "ok", health_reason="tcp 127.0.0.1 refused" if failed else "",
            started=now - 3600, health_since=now - 60 - n % 7, observed=now, connections=n % 5,
        )))  # fmt: skip
    return out


class Agent:
    """A link whose far end does at once what it is told."""

    uuid = ""
    latency = 0.001
    number = 0
    path = ()
    transport = "websocket"

    def __init__(self, c: Controller, host: str) -> None:
        self.c, self.host = c, host

    def send(self, frame: Any) -> None:
        pass

    def command(self, task: str, word: str, args: Any) -> None:
        asyncio.get_running_loop().call_later(LOOK, self._done, task, word, args)

    def cut(self, why: str = "") -> None:
        pass

    def _done(self, task: str, word: str, args: dict[str, Any]) -> None:
        c = self.c
        unit = str(args.get("unit") or args.get("spec", {}).get("unit", ""))
        known = c.world.units.get(unit.rpartition(":")[0], {}).get(unit)
        now = time.time()
        if word == "prepare":
            spec = args["spec"]
            known = Unit(
                unit=unit, instance=spec["instance"], gen=spec["gen"], version=spec["version"], config=spec["config"],
                state=State.READY, observed=now,
            )  # fmt: skip
        elif word == "start" and known is not None:
            known = replace(
                known, state=State.RUNNING, run=1, wanted=True, health="ok", pid=9, started=now, observed=now,
                ports={"main": 20000 + known.gen},
            )  # fmt: skip
        elif word == "stop" and known is not None:
            known = replace(known, state=State.SHUTDOWN, wanted=False, observed=now, health="none")
        c.hub.tasks.answer(self.host, Result(task=task, ok=True, data={"lines": []}))
        if word == "remove":
            c.reports.frame(self.host, Gone(unit=unit))
        elif known is not None and word in ("prepare", "start", "stop"):
            c.reports.frame(self.host, UnitFrame(unit=known))


class Watch:
    """What each callback of the loop costs."""

    def __init__(self) -> None:
        self.reset()
        plain = asyncio.events.Handle._run  # type: ignore[attr-defined]

        def run(handle: Any) -> None:
            before = time.thread_time()
            plain(handle)
            spent = (time.thread_time() - before) * 1e3
            if spent >= NAMED:
                self.over.append((named(handle), spent))
            if spent > self.piece:
                self.piece, self.what = spent, named(handle)

        asyncio.events.Handle._run = run  # type: ignore[attr-defined]
        gc.callbacks.append(self._collected)

    def reset(self) -> None:
        self.piece, self.what, self.late, self.full = 0.0, "", 0.0, 0.0
        self.over: list[tuple[str, float]] = []

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._since = time.thread_time()
        else:
            self.full = max(self.full, (time.thread_time() - self._since) * 1e3)

    async def look(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(LOOK)
            self.late = max(self.late, (time.perf_counter() - before - LOOK) * 1e3)

    def told(self) -> dict[str, Any]:
        over = sorted(self.over, key=lambda o: -o[1])[:8]
        return {"piece": self.piece, "what": self.what, "late": self.late, "full": self.full, "over": over}


async def main(where: Path, count: int) -> None:
    logging.disable()
    collecting = Collecting()
    collecting.start()
    state = where / "state"
    c = Controller(state, open_backend("cockpit.state", "sqlite")(state), history=Limits())
    await c.start("bench")
    wanted = expected(count)
    doc, now = to_doc(wanted), time.time()
    c.ledger.meta["head"] = {"doc": doc, "revision": 1}
    c.world.set_expected(doc, 1)
    c._shorts = short_names(wanted.services)
    for n, host in enumerate(wanted.hosts):
        c.world.connected(host, Hello(host=host, uuid=f"u-{n}", protocol=1), now)
        c.hub.links[host] = Agent(c, host)  # type: ignore[assignment]
    for n, (host, unit) in enumerate(units(wanted, now)):
        c.world.unit(host, unit, now)
        if n % 500 == 0:
            await asyncio.sleep(0)
    c.world.registry.settle(())
    peers = {f"shop.s{n}/0": [["10.0.0.1", 20000 + n, 3]] for n in range(len(wanted.services))}
    for host in list(wanted.hosts)[:100]:
        c.metrics.take(host, {"peers": {f"{i}:1": e for i, e in peers.items()}}, now)
    for _ in range(600):  # until every row has been drawn, and told
        await asyncio.sleep(0.1)
        if not (c.world.dirty or c.world.dirty_hosts or c.world.registry.moved):
            break
    server = SessionServer(state, c.session)
    await server.start()
    heard = asyncio.create_task(hear(c))
    watch = Watch()
    looking = asyncio.create_task(watch.look())
    await asyncio.sleep(3)
    print(len(c.board.tables["instances"]), len(c.watching.wrong.groups), flush=True)
    while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if word == "begin":
            watch.reset()
            print(flush=True)
        else:
            print(json.dumps(watch.told()), flush=True)
    heard.cancel()
    looking.cancel()
    await server.stop()
    await c.stop()


async def hear(c: Controller) -> None:
    """Every host is heard each five seconds."""
    hosts = list(c.world.hosts)
    while True:
        for n in range(0, len(hosts), 100):
            for host in hosts[n : n + 100]:
                c.world.seen(host, time.time())
            await asyncio.sleep(5 / max(1, len(hosts) // 100))


async def echo(path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        print(flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def ask(socket: Path, other: Path, instances: list[str]) -> None:
    session = RemoteSession(socket)
    await session.connect()
    reader, writer = await asyncio.open_unix_connection(other)
    times: list[float] = []
    idle: list[float] = []

    async def asking() -> None:
        for instance in itertools.cycle(instances):
            before = time.perf_counter()
            answer = await session.call("metrics", {"kind": "instance", "name": instance})
            times.append((time.perf_counter() - before) * 1e3)
            before = time.perf_counter()
            writer.write(json.dumps(answer).encode() + b"\n")
            await reader.readline()
            idle.append((time.perf_counter() - before) * 1e3)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(asking())
    print(flush=True)
    while (await asyncio.to_thread(sys.stdin.readline)).strip():
        print(json.dumps({"times": times, "idle": idle}), flush=True)
        times.clear()
        idle.clear()
    task.cancel()
    writer.close()
    await session.close()


if __name__ == "__main__":
    if sys.argv[1] == "--ask":
        asyncio.run(ask(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
    elif sys.argv[1] == "--echo":
        asyncio.run(echo(Path(sys.argv[2])))
    else:
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
