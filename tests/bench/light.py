"""Light agents: what the hub sees of a host, without the host. Mutual TLS, a transport, the link's frames.

Run as a program it keeps so many connected: python -m tests.bench.light DIR PORT[,PORT...] COUNT CHANGES. It says
a line when all are, and goes on until its input ends. CHANGES a second report another pid of a unit.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from cockpit.link.channel import WEBSOCKET, ChannelClosed
from cockpit.link.dial import dial

UNITS = 10


class Light:
    """One connected agent with ten units."""

    def __init__(self, identity: Path, number: int) -> None:
        self.identity = identity
        self.host = json.loads((identity / "host.json").read_text())
        self.units = [unit(n) for n in range(number * UNITS, (number + 1) * UNITS)]

    async def connect(self, port: int, transport: str = WEBSOCKET) -> None:
        context = ssl.create_default_context(cafile=str(self.identity / "ca.pem"))
        context.check_hostname = False
        context.load_cert_chain(self.identity / "cert.pem", self.identity / "key.pem")
        self.channel = await dial(
            f"https://127.0.0.1:{port}", context=context, transport=transport, cluster=None
        )
        await self.send({"t": "hello", "host": self.host["name"], "uuid": self.host["uuid"], "protocol": 1})
        await self.channel.recv()  # the welcome
        await self.send({"t": "full", "units": self.units, "releases": [], "names": 0, "head": None})
        self._tasks = [asyncio.create_task(self._answer())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.channel.abort()

    async def send(self, frame: dict[str, Any]) -> None:
        await self.channel.send(json.dumps(frame))

    async def _answer(self) -> None:
        """Answers pings and says that names are applied, until the link ends."""
        while True:
            try:
                text = await self.channel.recv()
            except ChannelClosed:
                return
            frame = json.loads(text) if len(text) < 100_000 else {}
            if frame.get("t") == "ping":
                await self.send({"t": "pong", "at": frame["at"]})
            elif frame.get("t") == "cmd":
                await self.send({"t": "result", "task": frame["task"], "ok": True, "data": {}})

    async def change(self) -> None:
        """A unit has another pid now."""
        first = self.units[0]
        first |= {"pid": first["pid"] + 1, "run": first["run"] + 1, "observed": time.time()}
        await self.send({"t": "unit", "unit": first})


def unit(number: int) -> dict[str, Any]:
    """A healthy one: services of a hundred slots each, as `expected` of the quiet bench has them."""
    instance = f"shop.s{number // 100}/{number % 100}"
    return {
        "unit": f"{instance}:1", "instance": instance, "gen": 1, "version": "1.1.0", "state": 512, "run": 1,
        "wanted": True, "pid": 4711 + number, "ports": {} if number % UNITS else {"main": 20000}, "health": "ok",
        "started": 1.7e9, "health_since": 1.7e9, "observed": time.time(),
    }  # fmt: skip


async def connect_all(where: Path, ports: list[int], count: int, at_once: int = 8) -> list[Light]:
    """They take the ports (of the controller, or of relays) in turn."""
    gate = asyncio.Semaphore(at_once)
    agents = [Light(where / str(n) / "identity", n) for n in range(count)]

    async def one(agent: Light, port: int) -> None:
        async with gate:
            await agent.connect(port)

    await asyncio.gather(*(one(a, ports[n % len(ports)]) for n, a in enumerate(agents)))
    return agents


async def main(where: Path, ports: list[int], count: int, changes: float) -> None:
    agents = await connect_all(where, ports, count)
    print("connected", flush=True)
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    turn = 0
    while not ended.done():
        await asyncio.wait([ended], timeout=1 / changes if changes else 1.0)
        if changes:
            await agents[turn * 7 % count].change()
            turn += 1
    for agent in agents:
        await agent.close()


if __name__ == "__main__":
    given = [int(port) for port in sys.argv[2].split(",")]
    asyncio.run(main(Path(sys.argv[1]), given, int(sys.argv[3]), float(sys.argv[4])))
