"""Fan-out of the real controller to real agents with keepers: a ping, and `exec true`, on all of them.

    python -m tests.bench.fanout [AGENTS]

Beside it Salt (as many minions, where it is installed: `tests.bench.salt`) and asyncssh (as many connections that
stay). Ours are processes of this machine like theirs: agent, keeper and plug-ins of each host.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from cockpit.controller.core import Controller
from cockpit.controller.executing import Request
from cockpit.controller.serving import Options, controller
from cockpit.link.links import Direct
from cockpit.model.load import load_text
from cockpit.model.view import Who
from tests.bench import salt, ssh
from tests.bench.keeper import rss
from tests.bench.table import Figure, Lacking, measures, median

AGENTS = 50
ROUNDS = 30
SALT_ROUNDS = 3
"""A round takes seconds."""
READY = 300.0


class FanOut(NamedTuple):
    """Milliseconds of each round; `cold` is the first `true`, which starts the plug-ins."""

    agents: int
    ping: list[float]
    true: list[float]
    cold: float
    memory: dict[str, tuple[float, float]]
    """Kind of process on a host -> MiB of RSS and of memory that it shares with nobody; the medians."""


def topology(agents: int) -> bytes:
    hosts = "\n".join(
        f"  h-{n}: {{region: here, address: 127.0.{80 + n // 200}.{n % 200 + 1}, connection: local}}"
        for n in range(agents)
    )
    return f"cockpit: 1\nname: fan\nregions: {{here: }}\nhosts:\n{hosts}\n".encode()


async def pinged(c: Controller) -> float:
    """Milliseconds until every agent has answered."""
    links = [link for link in c.hub.links.values() if isinstance(link, Direct)]
    for link in links:
        link.measured = None
    began = time.perf_counter()
    c.hub.broadcast({"t": "ping", "at": time.time()})
    while any(link.measured is None for link in links):
        await asyncio.sleep(0.0005)
    return 1000 * (time.perf_counter() - began)


async def ran(c: Controller, agents: int) -> float:
    """Milliseconds until `true` has ended well on every agent."""
    began = time.perf_counter()
    ends = [
        item["end"] async for item in c.executions.run(Request(argv=("true",)), Who(author="bench")) if "end" in item
    ]
    took = 1000 * (time.perf_counter() - began)
    assert ends == ["ok"] * agents, ends
    return took


async def fan_out(agents: int = AGENTS, rounds: int = ROUNDS) -> FanOut:
    with tempfile.TemporaryDirectory(prefix="ck-fan-") as directory:
        expected = load_text(topology(agents)).expected
        async with controller(Options(state=Path(directory) / "s"), expected) as c:
            try:
                async with asyncio.timeout(READY):
                    while len(c.plugins.tables) < agents:
                        await asyncio.sleep(0.1)
                cold = await ran(c, agents)
                pings = [await pinged(c) for _ in range(rounds)]
                trues = [await ran(c, agents) for _ in range(rounds)]
                memory = memory_of(directory)
            finally:
                await c.end_hosts()
    return FanOut(agents, pings, trues, cold, memory)


def memory_of(directory: str) -> dict[str, tuple[float, float]]:
    """Of every process of every host below DIRECTORY."""
    found: dict[str, list[tuple[float, float]]] = {}
    for agent in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            argv = (agent / "cmdline").read_text().split("\0")
            if "cockpit.agent" in argv and any(word.startswith(directory) for word in argv):
                for pid in salt.below(int(agent.name)):
                    found.setdefault(kind(pid), []).append((rss(pid), alone(pid)))
            elif any(word.endswith("agent/keeper") for word in argv) and any(w.startswith(directory) for w in argv):
                found.setdefault("keeper", []).append((rss(agent.name), alone(int(agent.name))))
    return {name: (median([r for r, _ in each]), median([a for _, a in each])) for name, each in found.items()}


def kind(pid: int) -> str:
    argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    shipped = [word for word in argv if "/shipped/" in word]
    return f"plug-in {Path(shipped[0]).name}" if shipped else "agent"


def alone(pid: int) -> float:
    """MiB that it shares with no other process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


@functools.cache
def found() -> FanOut:
    return asyncio.run(fan_out())


@functools.cache
def peers() -> tuple[salt.Salt | None, str]:
    """Salt, or why it was not run."""
    try:
        return salt.measure(AGENTS, SALT_ROUNDS), ""
    except Lacking as e:
        return None, f"Salt not run ({e})"


def spread(runs: list[float]) -> str:
    return f"min {min(runs):.0f}, max {max(runs):.0f} of {len(runs)}"


@measures("ping", needs=["cockpit.controller.executing", "cockpit.agent.plugins"])
def ping() -> Figure:
    runs = found().ping
    beside, why = peers()
    if beside is None:
        return Figure(median(runs), note=f"real agents; {spread(runs)}; {why}")
    note = f"real agents; {spread(runs)}; peer: LocalClient test.ping ({spread(beside.ping)})"
    return Figure(median(runs), median(beside.ping), "Salt", f"{note}, by its command {median(beside.cli):.0f}")


@measures("true", needs=["cockpit.controller.executing", "cockpit.agent.plugins"])
def true() -> Figure:
    runs = found().true
    note = f"real agents, exec plug-in; {spread(runs)}, the first {found().cold:.0f}"
    beside, why = peers()
    if beside is None:
        note += f"; {why}"
    else:
        note += f"; Salt cmd.run {median(beside.true):.0f}, by its command {median(beside.cli_true):.0f}"
    try:
        shell = ssh.measure(AGENTS)
    except Lacking as e:
        return Figure(median(runs), note=f"{note}; asyncssh not run ({e})")
    note += f"; new SSH connections {median(shell.new):.0f}"
    return Figure(median(runs), median(shell.open), "asyncssh, open", note)


def main(agents: int) -> None:
    said = asyncio.run(fan_out(agents))
    for name, runs in (("ping", said.ping), ("true", said.true)):
        print(f"{agents} agents, {name}: {median(runs):.1f} ms ({spread(runs)})")
    print(f"the first true: {said.cold:.0f} ms")
    for name, (resident, own) in sorted(said.memory.items()):
        print(f"{name:20} {resident:6.1f} MiB RSS, {own:6.1f} of its own")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else AGENTS)
