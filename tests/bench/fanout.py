"""Fan-out of the real controller to real agents with keepers: a ping, and `exec true`, on all of them.

    python -m tests.bench.fanout [AGENTS]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from cockpit.controller.core import Controller
from cockpit.controller.executing import Request
from cockpit.controller.serving import Options, controller
from cockpit.model.load import load_text
from tests.bench.table import median

AGENTS = 50
ROUNDS = 30
READY = 300.0


class FanOut(NamedTuple):
    """Milliseconds: the median and the worst of the rounds; `cold` is the first `true`, which starts the plug-ins."""

    agents: int
    ping: float
    ping_worst: float
    true: float
    true_worst: float
    cold: float


def topology(agents: int) -> bytes:
    hosts = "\n".join(
        f"  h-{n}: {{region: here, address: 127.0.{80 + n // 200}.{n % 200 + 1}, connection: local}}"
        for n in range(agents)
    )
    return f"cockpit: 1\nname: fan\nregions: {{here: }}\nhosts:\n{hosts}\n".encode()


async def pinged(c: Controller) -> float:
    """Milliseconds until every agent has answered."""
    links = list(c.hub.links.values())
    for link in links:
        link.latency = None
    began = time.perf_counter()
    c.hub.broadcast({"t": "ping", "at": time.time()})
    while any(link.latency is None for link in links):
        await asyncio.sleep(0.0005)
    return 1000 * (time.perf_counter() - began)


async def ran(c: Controller, agents: int) -> float:
    """Milliseconds until `true` has ended well on every agent."""
    began = time.perf_counter()
    ends = [
        item["end"] async for item in c.executions.run(Request(argv=("true",)), "bench") if "end" in item
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
            finally:
                await c.end_hosts()
    return FanOut(agents, median(pings), max(pings), median(trues), max(trues), cold)


if __name__ == "__main__":
    found = asyncio.run(fan_out(int(sys.argv[1]) if sys.argv[1:] else AGENTS))
    print("  ".join(f"{name} {value:.1f}" for name, value in found._asdict().items()))
