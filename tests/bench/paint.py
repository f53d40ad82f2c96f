"""From the start of the command to the first picture: `cockpit attach` beside a Textual hello-world.

Both run on the same kind of terminal, taking turns. The controller's side is a canned session on a
real control socket: six hosts, twelve instances.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

from cockpit.model.view import Delta, Head, HostRow, InstanceRow, NodeRow, Snapshot, Who
from cockpit.plan.steps import Bad
from cockpit.ports import Session
from tests.bench.keeper import place
from tests.bench.table import Figure, measures, median
from tests.bench.terminal import terminal

RUNS = 7
CLUSTER = "bench-prod"
HELLO = """
from textual.app import App
from textual.widgets import Static

class Hello(App):
    def compose(self):
        yield Static("hello, bench")

Hello().run()
"""


def snapshot() -> Snapshot:
    hosts = {
        name: HostRow(name=name, region=name[:2], presence="up", address="127.0.0.1", instances=2, want=2)
        for name in ("sh-1", "sh-2", "sh-3", "bj-1", "bj-2", "bj-3")
    }
    instances = {}
    for n in range(12):
        id = f"puzzle.web/{n}"
        instances[id] = InstanceRow(
            id=id, service="puzzle.web", slot=n, host=list(hosts)[n % 6], version_expected="1.1.0",
            version_actual="1.1.0", state="RUNNING", desired="RUNNING", pid=1000 + n, health="ok",
            word="running",
        )  # fmt: skip
    nodes = {
        "puzzle": NodeRow(path="puzzle", kind="cluster", want=12, have=12),
        "puzzle.web": NodeRow(path="puzzle.web", kind="service", want=12, have=12, version="1.1.0"),
    }
    head = Head(cluster=CLUSTER, revision=42, digest="0" * 64, now=1_700_000_000.0)
    return Snapshot(head=head, nodes=nodes, instances=instances, hosts=hosts)


class Canned:
    """As much of a session as a first picture asks for."""

    def __init__(self, who: Who) -> None:
        self.who = who

    async def snapshot(self) -> Snapshot:
        return snapshot()

    async def changes(self) -> AsyncIterator[Delta]:
        await asyncio.get_running_loop().create_future()
        yield Delta(head=snapshot().head)

    async def revisions(self, limit: int = 50) -> list[Any]:
        return []

    async def artifacts(self) -> dict[str, Any]:
        return {}

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        if op == "ssh":
            return {"states": {}, "prompts": {}}
        raise Bad(f"no op {op!r}")

    async def close(self) -> None:
        pass


@contextlib.contextmanager
def controller(where: Path) -> Iterator[None]:
    """The sockets of a controller, served from a thread."""
    from cockpit.session.server import SessionServer

    loop = asyncio.new_event_loop()
    server = SessionServer(where, lambda who: cast(Session, Canned(who)))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@measures("paint", needs=["screens.app", "cockpit.cli.main", "cockpit.session.server"])
def paint() -> Figure:
    ours, theirs = [], []
    with place() as where, controller(where):
        for _ in range(RUNS):
            with terminal(["-c", HELLO]) as screen:
                theirs.append(screen.wait("hello, bench"))
            with terminal(["-m", "cockpit.cli.main", "attach", "--state", str(where)]) as screen:
                ours.append(screen.wait(CLUSTER))
    hello, cockpit = median(theirs) * 1e3, median(ours) * 1e3
    return Figure(cockpit / hello, note=f"{cockpit:.0f} ms beside {hello:.0f} ms")
