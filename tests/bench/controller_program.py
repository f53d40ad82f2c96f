"""Run by the bench: a whole controller whose hosts are light agents.

python -m tests.bench.controller_program DIR HOSTS [RELAYS]: writes DIR/0/identity ... and prints the ports
where agents connect: its own, or those of relays that it has started. Then for each line it reads: how many
hosts are up, and the differences it sees.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path

from cockpit.controller.core import Controller, open_backend
from cockpit.memory import one_arena
from cockpit.model.states import UP
from cockpit.model.topology import Check, Expected, Host, Instances, Region, Relay, Service, to_doc
from cockpit.session.server import SessionServer
from tests.bench.light import UNITS
from tests.helpers import until


def expected(hosts: int, relays: int = 0) -> Expected:
    """Ten instances on each host; services of a hundred."""
    count = hosts * UNITS
    service = Service(
        processes={"main": ("./serve", "{port}")}, version="1.1.0", ports={"main": 0}, check=Check(tcp=""),
        instances=Instances(count=100),
    )  # fmt: skip
    return Expected(
        name="bench", regions={"sh": Region()},
        hosts={f"h-{n}": Host(region="sh", address=f"10.0.{n // 250}.{n % 250 + 1}") for n in range(hosts)},
        relays={
            f"r-{n}": Relay(region="sh", address="127.0.0.1", link_port=0, connection="local") for n in range(relays)
        },
        services={f"shop.s{n}": service for n in range(count // 100)},
        placement={f"shop.s{n // 100}/{n % 100}": f"h-{n // UNITS}" for n in range(count)},
    )  # fmt: skip


async def main(where: Path, hosts: int, relays: int = 0) -> None:
    state = where / "state"
    one_arena()  # as `cockpit serve` does
    c = Controller(state, open_backend("cockpit.state", "sqlite")(state))
    await c.start("bench")
    c.world.set_expected(to_doc(expected(hosts, relays)), 1)
    for n in range(hosts):
        id = str(uuid.uuid4())
        c.authority.issue_local_host(where / str(n), f"h-{n}", id, [c.url])
        c.joining.uuids[f"h-{n}"] = id
    await until(lambda: len(c.hub.trunks) == relays, 60, "every relay is connected")
    server = SessionServer(state, c.session)
    await server.start()
    print(*([c.local.relays.link_port(f"r-{n}") for n in range(relays)] or [c.hub.port]), sep=",", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        up = sum(1 for h in c.world.hosts.values() if h.presence == UP)
        print(up, len(c.board.tables["drift"]), flush=True)
    await server.stop()
    await c.end_hosts()
    await c.stop()


asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
