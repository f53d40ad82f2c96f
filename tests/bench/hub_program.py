"""Run by the bench: a hub on loopback. Prints its port.

Then for each line it reads the links and its RSS in KiB, or for `ping` the milliseconds until every agent
has answered one.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import Any

from cockpit.link import messages
from cockpit.link.hub import Hub
from cockpit.link.pki import Authority
from tests.bench.keeper import rss


class Owner:
    """Takes every host and keeps nothing but who answered the last ping."""

    def __init__(self) -> None:
        self.pinged = 0.0
        self.answered: set[str] = set()
        self.wake = asyncio.Event()

    def welcome(self, host: str, uuid: str) -> dict[str, Any]:
        return {"address": "127.0.0.1", "port_range": [20000, 20999], "cluster": "bench", "region": "sh"}

    def connected(self, host: str, hello: messages.Hello) -> None:
        pass

    def frame(self, host: str, frame: messages.AnyFrame) -> None:
        if isinstance(frame, messages.Pong) and frame.at == self.pinged:
            self.answered.add(host)
            self.wake.set()

    async def ping(self, hub: Hub) -> float:
        """Milliseconds until every link has answered."""
        self.answered.clear()
        start = time.perf_counter()
        self.pinged = time.time()
        hub.broadcast({"t": "ping", "at": self.pinged})
        while len(self.answered) < len(hub.links):
            self.wake.clear()
            await self.wake.wait()
        return (time.perf_counter() - start) * 1e3

    def disconnected(self, host: str, why: str) -> None:
        pass

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        raise PermissionError("nobody joins here")


async def main(directory: Path) -> None:
    owner = Owner()
    hub = Hub(owner, Authority.load(directory).controller_context())
    await hub.start("127.0.0.1", 0)
    print(hub.port, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip() == "ping":
            print(await owner.ping(hub), flush=True)
            continue
        gc.collect()
        print(len(hub.links), round(rss("self") * 1024), flush=True)
    await hub.stop()


asyncio.run(main(Path(sys.argv[1])))
