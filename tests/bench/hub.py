"""What the hub pays for an agent that is connected: mutual TLS, WebSocket, its own books."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from tests.bench.keeper import place
from tests.bench.table import Figure, measures
from tests.bench.terminal import ROOT
from tests.helpers import running

AGENTS = 200
WARM = 20
"""Connected before the first look: what is paid once is not paid per agent."""


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


async def measure(where: Path, hub: subprocess.Popen[str]) -> tuple[int, int]:
    """KiB of the hub with WARM agents and with all of them."""
    assert hub.stdin and hub.stdout
    port = int(hub.stdout.readline())
    connected: list[object] = []

    def look() -> int:
        assert hub.stdin and hub.stdout
        hub.stdin.write("\n")
        hub.stdin.flush()
        links, kib = map(int, hub.stdout.readline().split())
        assert links == len(connected), f"{links} of {len(connected)} are connected"
        return kib

    for n in range(WARM):
        connected.append(await agent(where / str(n) / "identity", port))
    before = look()
    for n in range(WARM, AGENTS):
        connected.append(await agent(where / str(n) / "identity", port))
    return before, look()


@measures("hub-memory", needs=["cockpit.link.hub", "cockpit.link.pki"])
def hub_memory() -> Figure:
    from cockpit.link.pki import Authority

    with place() as where:
        authority = Authority.create(where / "ca", "bench")
        for n in range(AGENTS):
            name = f"h-{n}"
            authority.issue_local_host(where / str(n), name, str(uuid.uuid4()), ["https://127.0.0.1:1"])
        argv = [sys.executable, "-m", "tests.bench.hub_program", str(where / "ca")]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": None, "text": True}
        with running(argv, cwd=ROOT, **pipes) as hub:
            before, after = asyncio.run(measure(where, hub))
    return Figure((after - before) * 1.024 / (AGENTS - WARM), note=f"{AGENTS} agents, 10 units each")
