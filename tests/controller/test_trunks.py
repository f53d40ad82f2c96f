"""A whole controller with a local relay: hosts behind it are hosts like any other, and unknown when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from cockpit.controller.core import Controller
from cockpit.controller.relays import lock_holder
from cockpit.model.topology import Expected, Host, Region, Relay
from tests.controller.fakes import FakeAgent, engine, identity
from tests.helpers import until

EXPECTED = Expected(
    name="still", regions={"sh": Region(transports=("http2",), proxy="http://10.0.0.9:3128"), "bj": Region()},
    relays={"relay-sh": Relay(region="sh", address="127.0.0.1", link_port=0, connection="local")},
    hosts={"a-1": Host(region="sh", address="127.0.9.1"), "b-1": Host(region="bj", address="127.0.9.2")},
)


async def behind(c: Controller, root: Path, host: str) -> FakeAgent:
    """An agent that dials the relay."""
    id = identity(c.authority, root / host, host)
    await c.joining.admit(host, id)
    made = FakeAgent(host, root / host, id, c.local.relays.link_port("relay-sh"))
    await made.start()
    return made


async def test_a_host_behind_a_local_relay(tmp_path: Path) -> None:
    async with engine(tmp_path, EXPECTED) as c:
        try:
            await until(lambda: c.world.relays["relay-sh"].presence == "up")
            port = c.local.relays.link_port("relay-sh")
            assert c.reports.welcome("a-1", "") is None
            agent = await behind(c, tmp_path, "a-1")
            await until(lambda: c.world.hosts["a-1"].presence == "up")
            facts = c.reports.welcome("a-1", agent.id)
            assert facts is not None
            assert facts["ways"] == [f"https://127.0.0.1:{port}", c.url]
            assert (facts["transports"], facts["proxy"]) == (["http2"], "http://10.0.0.9:3128")
            assert c.hub.links["a-1"].path == ("relay-sh",)
            await until(lambda: c.board.snapshot(0.0).relays["relay-sh"].agents == 1)
            await until(lambda: "head" in agent.words)
            pid = lock_holder(c.local.relays.directory("relay-sh"))
            os.kill(pid, signal.SIGSTOP)  # it stands there and says nothing
            await until(lambda: c.world.hosts["a-1"].presence == "suspect")
            assert c.world.hosts["a-1"].reason == "relay-sh does not answer"
            await until(lambda: c.world.hosts["a-1"].presence == "unknown")
            assert c.board.snapshot(0.0).relays["relay-sh"].presence == "unknown"
            os.kill(pid, signal.SIGCONT)
            await until(lambda: c.world.hosts["a-1"].presence == "up")
            await agent.stop()
            await until(lambda: c.world.hosts["a-1"].presence == "suspect")
            answer = await asyncio.gather(behind(c, tmp_path, "b-1"), return_exceptions=True)
            assert "it is not behind relay-sh" in str(answer[0])
        finally:
            await c.end_hosts()
