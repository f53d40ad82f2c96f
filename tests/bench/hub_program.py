"""Run by the bench: a hub on loopback. Prints its port.

Then for each line it reads the links and its RSS in KiB.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Any

from cockpit.link import messages
from cockpit.link.hub import Hub
from cockpit.link.pki import Authority
from tests.bench.keeper import rss


class Owner:
    """Takes every host and keeps nothing."""

    def welcome(self, host: str, uuid: str) -> dict[str, Any]:
        return {"address": "127.0.0.1", "port_range": [20000, 20999], "cluster": "bench", "region": "sh"}

    def connected(self, host: str, hello: messages.Hello) -> None:
        pass

    def frame(self, host: str, frame: messages.AnyFrame) -> None:
        pass

    def disconnected(self, host: str, why: str) -> None:
        pass

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        raise PermissionError("nobody joins here")


async def main(directory: Path) -> None:
    hub = Hub(Owner(), Authority.load(directory).controller_context())
    await hub.start("127.0.0.1", 0)
    print(hub.port, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        gc.collect()
        print(len(hub.links), round(rss("self") * 1024), flush=True)
    await hub.stop()


asyncio.run(main(Path(sys.argv[1])))
