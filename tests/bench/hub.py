"""Memory of an agent, and what the hub pays for one that is connected (mutual TLS, WebSocket)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.keeper import Keeper, place, rss, spec
from tests.bench.table import Figure, measures
from tests.bench.terminal import ROOT
from tests.helpers import running, wait_for

AGENTS = 200
WARM = 20
"""Connected before the first look: what is paid once is not paid per agent."""
UNITS = 10
SETTLE = 2.0
"""Seconds in which an agent has looked at its units."""


async def agent(identity: Path, port: int) -> object:
    """A connected agent that has reported; it stays connected while the object lives."""
    from websockets.asyncio.client import connect

    host = json.loads((identity / "host.json").read_text())
    context = ssl.create_default_context(cafile=str(identity / "ca.pem"))
    context.check_hostname = False
    context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    ws = await connect(
        f"wss://127.0.0.1:{port}/link", ssl=context, subprotocols=["cockpit.1"],  # type: ignore[list-item]
        compression=None, ping_interval=None,
    )  # fmt: skip
    await ws.send(json.dumps({"t": "hello", "host": host["name"], "uuid": host["uuid"], "protocol": 1}))
    await ws.recv()
    unit = {"instance": "shop.web/0", "gen": 1, "version": "1.1.0", "state": 512, "run": 1, "pid": 4711}
    units = [unit | {"unit": f"shop.web/{n}:1"} for n in range(10)]
    await ws.send(json.dumps({"t": "full", "units": units, "releases": [], "names": 0, "head": None}))
    return ws


class Hub:
    """The hub in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin and process.stdout
        self._in, self._out = process.stdin, process.stdout
        self.port = int(self._out.readline())

    def look(self) -> tuple[int, int]:
        """(connected agents, KiB)."""
        self._in.write("\n")
        self._in.flush()
        links, kib = map(int, self._out.readline().split())
        return links, kib


@contextlib.contextmanager
def hub(where: Path, agents: int) -> Iterator[Hub]:
    """A hub, and in WHERE/0, WHERE/1 ... the identities of as many hosts."""
    from cockpit.link.pki import Authority

    authority = Authority.create(where / "ca", "bench")
    argv = [sys.executable, "-m", "tests.bench.hub_program", str(where / "ca")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": None, "text": True}
    with running(argv, cwd=ROOT, **pipes) as process:
        found = Hub(process)
        for n in range(agents):
            urls = [f"https://127.0.0.1:{found.port}"]
            authority.issue_local_host(where / str(n), f"h-{n}", str(uuid.uuid4()), urls)
        yield found


async def connect_all(where: Path, hub: Hub) -> tuple[int, int]:
    """KiB of the hub with WARM agents and with all of them."""
    connected: list[object] = []

    def look() -> int:
        links, kib = hub.look()
        assert links == len(connected), f"{links} of {len(connected)} are connected"
        return kib

    for n in range(WARM):
        connected.append(await agent(where / str(n) / "identity", hub.port))
    before = look()
    for n in range(WARM, AGENTS):
        connected.append(await agent(where / str(n) / "identity", hub.port))
    return before, look()


@measures("hub-memory", needs=["cockpit.link.hub", "cockpit.link.pki"])
def hub_memory() -> Figure:
    with place() as where, hub(where, AGENTS) as listening:
        before, after = asyncio.run(connect_all(where, listening))
    return Figure((after - before) * 1.024 / (AGENTS - WARM), note=f"{AGENTS} agents, 10 units each")


@measures("agent-memory", needs=["cockpit.agent.daemon", "cockpit.link.hub"])
def agent_memory() -> Figure:
    """RSS of an agent that is connected and holds ten units that run."""
    with place() as where, hub(where, 1) as listening:
        host = where / "0"
        argv = [sys.executable, "-I", "-m", "cockpit.agent", "run", "--dir", str(host)]
        with running(argv) as process:
            wait_for((host / "keeper.sock").exists)
            keeper = Keeper(host / "keeper.sock")
            try:
                wait_for(lambda: listening.look()[0] == 1, 30, "the agent is connected")
                for n in range(UNITS):
                    unit = f"bench.sleep/{n}:1"
                    keeper.ask("put", spec=spec(unit, ["sleep", "1000000"], where))
                    keeper.ask("start", unit=unit, by="bench")
                time.sleep(SETTLE)
                return Figure(rss(process.pid), note=f"connected, {UNITS} units")
            finally:
                keeper.ask("end")
                keeper.close()
                process.wait(10)
