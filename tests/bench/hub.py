"""Memory of an agent, and what the hub pays for one that is connected (mutual TLS, each transport)."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cockpit.link.channel import TRANSPORTS
from tests.bench.keeper import Keeper, place, rss, spec
from tests.bench.light import Light
from tests.bench.table import Figure, measures
from tests.bench.terminal import ROOT
from tests.helpers import running, wait_for

AGENTS = 200
WARM = 20
"""Connected before the first look: what is paid once is not paid per agent."""
UNITS = 10
SETTLE = 2.0
"""Seconds in which an agent has looked at its units."""


async def agent(identity: Path, port: int) -> Light:
    """A connected agent that has reported; it stays connected while the object lives."""
    made = Light(identity, 0)
    await made.connect(port)
    return made


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


async def fill(where: Path, hub: Hub, transport: str) -> tuple[int, int]:
    """KiB of the hub with WARM agents and with all of them."""
    agents = [Light(where / str(n) / "identity", n) for n in range(AGENTS)]

    async def look(count: int) -> int:
        links, kib = await asyncio.to_thread(hub.look)
        assert links == count, f"{links} of {count} are connected"
        return kib

    try:
        for agent in agents[:WARM]:
            await agent.connect(hub.port, transport)
        before = await look(WARM)
        for agent in agents[WARM:]:
            await agent.connect(hub.port, transport)
        return before, await look(AGENTS)
    finally:
        for agent in agents:
            await agent.close()


@measures("hub-memory", needs=["cockpit.link.hub", "cockpit.link.pki"])
def hub_memory() -> Figure:
    """The worst of the transports: what one leaves behind is not the next one's, so each has a hub of its own."""
    found: dict[str, float] = {}
    for transport in TRANSPORTS:
        with place() as where, hub(where, AGENTS) as listening:
            before, after = asyncio.run(fill(where, listening, transport))
        found[transport] = (after - before) * 1.024 / (AGENTS - WARM)
    each = ", ".join(f"{transport} {kb:.0f}" for transport, kb in found.items())
    return Figure(max(found.values()), note=f"{each}; {AGENTS} agents, 10 units each")


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
                wait_for(lambda: listening.look()[0] == 1, what="the agent is connected")
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
