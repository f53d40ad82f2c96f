"""A session of as many instances as one likes, ten to a host, with changes that arrive at a rate. No controller."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from cockpit.model.view import DRIFT, OK, Delta, Head, HostRow, InstanceRow, NodeRow, Snapshot, Who
from cockpit.plan.steps import Bad

SERVICES = ("web", "cart", "search", "mail")
STARTED = 1_700_000_000.0
TICK = 0.05
"""Seconds between two deltas."""
REGIONS = ("sh", "bj", "gz", "cd")


def hosts(count: int) -> dict[str, HostRow]:
    out = {}
    for n in range(max(1, count // 10)):
        region = REGIONS[n % 4]
        name = f"{region}-{n}"
        out[name] = HostRow(
            name=name, region=region, presence="up", address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", instances=10,
            want=10, labels={"rack": f"r{n % 40}"}, seen=STARTED, latency=0.002, agent_version="0.9.0",
        )  # fmt: skip
    return out


def instances(count: int) -> dict[str, InstanceRow]:
    names = list(hosts(count))
    out = {}
    for n in range(count):
        service, slot = f"shop.{SERVICES[n % 4]}", n // 4
        id = f"{service}/{slot}"
        out[id] = InstanceRow(
            id=id, service=service, slot=slot, host=names[n // 4 % len(names)], version_expected="1.1.0",
            version_actual="1.1.0", state="RUNNING", desired="RUNNING", pid=1000 + n,
            ports={"main": 20000 + n % 1000}, health="ok", word="running", started=STARTED, since=STARTED,
        )  # fmt: skip
    return out


def nodes(count: int) -> dict[str, NodeRow]:
    out = {"shop": NodeRow(path="shop", kind="group", want=count, have=count)}
    for name in SERVICES:
        path = f"shop.{name}"
        out[path] = NodeRow(path=path, kind="service", want=count // 4, have=count // 4, version="1.1.0")
    return out


class Crowd:
    """As much of a session as the screens ask for. `rate` changes a second arrive; it may be set at any time."""

    def __init__(self, count: int, rate: int = 0) -> None:
        self.who = Who(author="li@jump-1", role="operator")
        self.rate = rate
        self.sent = 0
        self._rows = instances(count)
        self._keys = list(self._rows)
        self._hosts = hosts(count)
        self._nodes = nodes(count)
        self._random = random.Random(7)
        self._head = Head(cluster="crowd", revision=42, digest="0" * 64, now=STARTED + 86400)

    async def snapshot(self) -> Snapshot:
        return Snapshot(head=self._head, nodes=self._nodes, instances=self._rows, hosts=self._hosts)

    async def changes(self) -> AsyncIterator[Delta]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        owed = 0.0
        while True:
            await asyncio.sleep(TICK)
            now = loop.time()
            owed, begun = min(owed + (now - begun) * self.rate, float(self.rate)), now
            some = self._random.sample(self._keys, min(int(owed), len(self._keys)))
            owed -= len(some)
            if some:
                self.sent += len(some)
                yield Delta(head=self._head, instances={key: self.changed(key) for key in some})

    def changed(self, key: str) -> InstanceRow:
        row = self._rows[key]
        bad = row.mark == OK and self._random.random() < 0.1
        row = msgspec.structs.replace(
            row, pid=(row.pid or 0) + 1, restarts=row.restarts + 1, mark=DRIFT if bad else OK,
            word="unhealthy" if bad else "running", reason="tcp refused" if bad else "",
        )  # fmt: skip
        self._rows[key] = row
        return row

    async def revisions(self, limit: int = 50) -> list[Any]:
        return []

    async def artifacts(self) -> dict[str, Any]:
        return {}

    async def artifact_rows(self) -> list[Any]:
        return []

    async def call(self, op: str, args: dict[str, Any]) -> Any:
        raise Bad(f"{op}: this crowd is only looked at")

    async def stream(self, op: str, args: dict[str, Any]) -> AsyncIterator[Any]:
        raise Bad(f"{op}: this crowd is only looked at")
        yield

    async def close(self) -> None:
        pass
