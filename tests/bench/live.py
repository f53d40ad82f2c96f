"""The demo's cluster, live: six real hosts, a real controller, and what operators and programs see.

Crashes: each service process is killed in turn. Two clocks run from the kill: until the operator's
session holds a row that says so, and until each of 200 programs that watch the name over their agents'
sockets was told that the endpoint is gone. Both begin before the keeper has noticed anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cockpit.session.client import RemoteSession
from tests.bench.table import Figure, measures, median
from tests.e2e.cluster import Cluster, cluster
from tests.helpers import until

BEHIND = """
cockpit: 1
name: behind
regions: {{near: , mid: }}
relays:
  relay-1: {{region: near, address: 127.0.33.9, connection: local, link_port: 0, cache: 1G{upstream}}}
{second}
hosts:
{hosts}
tree:
  puzzle:
    cluster: true
    children:
      sudoku:
        command: [python3, -S, -m, http.server, --bind, "{{address}}", "{{port}}"]
        version: "1"
        ports: [http]
        check: {{tcp: http, interval: 500ms, timeout: 2s}}
        instances: 4
      web:
        command: [python3, -S, -m, http.server, --bind, "{{address}}", "{{port}}"]
        version: "1"
        ports: [http]
        check: {{tcp: http, interval: 500ms, timeout: 2s}}
        instances: 2
"""
"""Six hosts behind a relay, or behind two in a row."""

ROUNDS = 4
"""Times that each of the six instances is killed."""
SUBSCRIBERS = 200
AGENTS = ("sh-1", "sh-2", "bj-1", "bj-2")
NAMES = ("puzzle.sudoku", "puzzle.web")
LATE = 10.0
MOVES = 3
"""Times that a host is brought behind its relay: the first one teaches it the way."""
RATE = 40


class Watcher:
    """A program on a host that watches names over its agent's socket."""

    def __init__(self) -> None:
        self.ready: set[tuple[str, int]] = set()
        self.left: dict[tuple[str, int], float] = {}
        """When an endpoint was seen to be ready no more."""

    async def follow(self, socket: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(socket), limit=2**22)
        try:
            writer.write(json.dumps({"id": 1, "op": "watch", "names": NAMES}).encode() + b"\n")
            services: dict[str, Any] = {}
            while line := await reader.readline():
                now = time.perf_counter()
                services |= json.loads(line).get("services", {})
                ready = {(e["address"], e["port"]) for s in services.values() for e in s if e["state"] == "ready"}
                self.left |= dict.fromkeys(self.ready - ready, now)
                self.ready = ready
        finally:
            writer.close()


class Crashes(NamedTuple):
    screen: list[float]
    """Milliseconds of each kill."""
    names: list[float]
    """Milliseconds of each kill and subscriber."""


def behind(depth: int) -> str:
    """The same hosts and instances as the demo's, with so many relays between them and the controller."""
    second = "  relay-2: {region: mid, address: 127.0.33.8, connection: local, link_port: 0, cache: 1G}"
    hosts = "\n".join(
        f"  {name}: {{region: near, address: 127.0.33.{n}, connection: local, ports: 21000-21999}}"
        for n, name in enumerate((*AGENTS, "sh-3", "bj-3"), 1)
    )
    return BEHIND.format(
        hosts=hosts, upstream=", upstream: relay-2" if depth == 2 else "", second=second if depth == 2 else ""
    )


@functools.cache
def crashes(depth: int) -> Crashes:
    with cluster(behind(depth) if depth else None) as c:
        c.wait_calm(90)
        for _ in range(MOVES):
            if not (near := [h for h in c.status()["hosts"] if len(h["path"]) != depth]):
                break
            for host in near:
                move(c, host)
            c.wait_calm(90)
        else:
            raise AssertionError(f"{[h['name'] for h in near]} are not behind {depth} relays")
        return asyncio.run(_crashes(c))


def move(c: Cluster, host: dict[str, Any]) -> None:
    """Let the agent choose its way anew. One that was there before its relay moves by itself, but after minutes."""
    (c.host(host["name"]) / "link.json").unlink(missing_ok=True)
    if host["agent_pid"]:
        os.kill(host["agent_pid"], signal.SIGKILL)
    c.wait(lambda: c.presence(host["name"])["agent_pid"] not in (None, host["agent_pid"]), 30, "the agent is back")


async def _crashes(c: Cluster) -> Crashes:
    session = RemoteSession(c.state / "control.sock")
    rows: dict[str, Any] = dict((await session.snapshot()).instances)
    gone: dict[int, float] = {}
    """Pid -> when a row stopped to say that it runs."""

    async def model() -> None:
        async for delta in session.changes():
            now = time.perf_counter()
            for id, row in delta.instances.items():
                old = rows.get(id)
                if old is not None and (row is None or (row.pid, row.state) != (old.pid, "RUNNING")):
                    gone.setdefault(old.pid, now)
                rows[id] = row

    watchers = [Watcher() for _ in range(SUBSCRIBERS)]
    tasks = [asyncio.create_task(model())] + [
        asyncio.create_task(w.follow(c.host(AGENTS[n % len(AGENTS)]) / "agent.sock")) for n, w in enumerate(watchers)
    ]
    found = Crashes([], [])

    def calm() -> bool:
        return all(r.mark == "ok" for r in rows.values())

    async def crash(id: str) -> None:
        row = rows[id]
        at = (row.address, next(iter(row.ports.values())))
        await until(lambda: all(at in w.ready for w in watchers), LATE, f"{at} is ready everywhere")
        for watcher in watchers:
            watcher.left.pop(at, None)
        start = time.perf_counter()
        os.kill(row.pid, signal.SIGKILL)
        await until(lambda: row.pid in gone and all(at in w.left for w in watchers), LATE, f"{id} is gone")
        found.screen.append((gone[row.pid] - start) * 1e3)
        found.names.extend((w.left[at] - start) * 1e3 for w in watchers)

    try:
        for _ in range(ROUNDS):
            for id in sorted(rows):
                await until(calm, what="every row is calm")
                await crash(id)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await session.close()
    return found


def p99(runs: list[float]) -> float:
    return sorted(runs)[max(0, -(-len(runs) * 99 // 100) - 1)]


@measures("crash-screen", needs=["cockpit.controller.core", "cockpit.session.client"])
def crash_screen() -> Figure:
    return screen(0)


@measures("crash-screen-1", needs=["cockpit.controller.core", "cockpit.relay.switch"])
def crash_screen_1() -> Figure:
    return screen(1)


@measures("crash-screen-2", needs=["cockpit.controller.core", "cockpit.relay.switch"])
def crash_screen_2() -> Figure:
    return screen(2)


def screen(depth: int) -> Figure:
    runs, names = crashes(depth)
    note = f"kill -9 to RemoteSession.changes(), {len(runs)} kills; p50 {median(runs):.0f}"
    if depth:
        note += f"; {SUBSCRIBERS} subscribers p50 {median(names):.0f}, p99 {p99(names):.0f}"
    return Figure(p99(runs), note=note)


@measures("endpoints", needs=["cockpit.controller.core", "cockpit.agent.local"])
def endpoints() -> Figure:
    runs = crashes(0).names
    where = f"{SUBSCRIBERS} programs on {len(AGENTS)} agents' sockets"
    return Figure(p99(runs), note=f"from a kill -9 on, {where}; p50 {median(runs):.0f}")


@contextlib.contextmanager
def asked(c: Cluster) -> Iterator[dict[str, Any]]:
    """Ask `web` all the time meanwhile; the summary is filled in at the end."""
    socket = c.host("sh-1") / "agent.sock"
    argv = [sys.executable, "-m", "cockpit.sample.client", "--names", str(socket), "--rate", str(RATE)]
    client = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    summary: dict[str, Any] = {}
    try:
        yield summary
    finally:
        client.send_signal(signal.SIGTERM)
        out, _ = client.communicate(timeout=20)
        summary.update(json.loads(out))


@measures("lost", needs=["cockpit.controller.core", "cockpit.sample.client"])
def lost() -> Figure:
    with cluster(None) as c:
        c.wait_calm(90)
        with asked(c) as summary:
            c.cli("deploy", "sudoku", "1.1.0")
            c.cli("deploy", "web", "1.1.0")
            c.cli("migrate", "sudoku/1")
            host = c.instances()["puzzle.web/1"]["host"]
            c.cli("drain", host, "--confirm", host)
    what = "deploy, deploy, migrate, drain; failover not yet"
    return Figure(summary["failed"], note=f"{what}; {summary['answers']} answers, {RATE} a second")
