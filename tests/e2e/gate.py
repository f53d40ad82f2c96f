"""A cluster whose instances become healthy when the test says so: it holds a rolling update at will."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from tests import leftovers
from tests.e2e.cluster import Cluster, cluster
from tests.helpers import loopback

TOPOLOGY = """
cockpit: 1
name: gates
regions: {{east: {{}}}}
hosts:
  g1: {{region: east, address: {one}, connection: local}}
  g2: {{region: east, address: {two}, connection: local}}
tree:
  shop:
    cluster: true
    children:
      gate:
        command: [sleep, "200001"]
        version: "1"
        check: {{exec: [test, -e, "@ROOT@/open-{{version}}-{{slot}}"], interval: 100ms}}
        instances: 3
        update: {{order: stop-first, healthy_for: 0s, deadline: {deadline}}}
        stop: {{drain: 0s, grace: 1s}}
      other:
        command: [sleep, "200002"]
        version: "1"
        update: {{order: stop-first, healthy_for: 0s}}
        stop: {{drain: 0s, grace: 1s}}
"""


class Gates:
    """The cluster, and its gates by version and slot."""

    def __init__(self, c: Cluster) -> None:
        self.c = c

    def open(self, version: str, *slots: int) -> None:
        for slot in slots or (0, 1, 2):
            (self.c.root / f"open-{version}-{slot}").touch()

    def versions(self) -> list[str]:
        rows = self.c.instances()
        return [rows[f"shop.gate/{slot}"]["version_actual"] for slot in range(3)]

    def hold(self, version: str, at: int) -> str:
        """Begin a deploy and wait until it waits for the gate of slot `at`; returns its id."""
        self.open(version, *range(at)) if at else None
        row = json.loads(self.c.cli("deploy", "gate", version, "--no-wait", "--json"))
        self.held(version, at)
        return str(row["id"])

    def held(self, version: str, at: int) -> None:
        """Slot `at` runs this version and waits for its gate."""

        def there() -> Any:
            row = self.c.instances()[f"shop.gate/{at}"]
            return (row["version_actual"], row["state"]) == (version, "STARTING") and row["pid"]

        self.c.wait(there, 20, f"slot {at} of version {version} is up and not healthy")


@contextlib.contextmanager
def gates(deadline: str = "60s") -> Iterator[Gates]:
    """Version 1 runs and is healthy."""
    with cluster(TOPOLOGY.format(one=loopback(), two=loopback(), deadline=deadline), start=False) as c:
        g = Gates(c)
        g.open("1")
        c.start()
        c.wait_calm()
        yield g


def once_each(c: Cluster) -> bool:
    """Exactly one process per live instance runs, and none of them is a second run of its unit."""
    rows = [i for i in c.instances().values() if i["state"] in ("STARTING", "RUNNING")]
    running = {pid for pid, line in leftovers.find("-", [c.hosts]).items() if line.startswith("sleep ")}
    assert running == {row["pid"] for row in rows}, (running, rows)
    started: dict[str, int] = {}
    for path in c.hosts.glob("*/keeper/journal*"):
        for line in path.read_text().splitlines():
            doc = json.loads(line)
            if doc.get("event") == "start":
                started[doc["unit"]] = started.get(doc["unit"], 0) + 1
    assert all(started[r["runs"][0]["unit"]] == 1 for r in rows), (started, rows)
    return True
