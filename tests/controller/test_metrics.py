"""Numbers of hosts and instances at the controller: taken from agents, bounded, asked for by sessions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.controller.core import Controller
from cockpit.controller.metrics import FRESH, MAX_NAMES, PART, QUIET, Metrics
from cockpit.controller.why import facts_of
from cockpit.model.metrics_rows import (
    HOST_FIELDS,
    Call,
    host_numbers,
    instance_numbers,
    loads,
    named,
    numbers,
    probe_latency,
    process_numbers,
    traffic,
)
from cockpit.model.series import TIERS, size_of
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Refused
from tests.controller.fakes import FakeAgent, agent, engine
from tests.helpers import until

SAMPLE: dict[str, Any] = {
    "at": 1.0, "cpu": {"idle": 0.7, "iowait": 0.1, "user": 0.2}, "load": [0.5, 0.4, 0.3],
    "memory": {"total": 1000, "available": 400}, "net": {"lo": {"received": 99, "sent": 99},
                                                         "eth0": {"received": 10, "sent": 20}},
    "disks": [{"mount": "/", "size": 100, "free": 25, "read": 3, "written": 4}, {"size": 10, "free": 9}],
    "units": {"shop.web/0:1": {"main": {"pid": 7, "rss": 2048, "cpu": 0.25, "threads": 3, "fds": 9}}},
}  # fmt: skip
WHO = Who(author="li@here", role="operator")


def test_a_sample_in_numbers() -> None:
    assert named("host", host_numbers(SAMPLE)) == {
        "cpu": 0.2, "memory": 600.0, "disk": 0.75, "io": 7.0, "received": 10.0, "sent": 20.0, "load": 0.5,
    }


@pytest.mark.parametrize("sample", [
    {}, {"cpu": 3, "memory": [], "disks": {}, "net": 7, "load": "x"}, {"cpu": {}, "memory": {}, "disks": [1, {}]},
    {"load": [], "net": {"eth0": None}, "disks": [{"size": 0, "free": 0}]}, {"cpu": {"idle": True}},
    {"load": [True]},
])  # fmt: skip
def test_what_is_malformed_was_not_measured(sample: dict[str, Any]) -> None:
    assert named("host", host_numbers(sample)) == {}


def test_processes_together_and_gaps_stay_gaps() -> None:
    found = process_numbers({"main": {"rss": 10, "cpu": 0.5}, "side": {"rss": 5, "fds": "x"}, "bad": 3})
    assert found == {"main": {"rss": 10.0, "cpu": 0.5}, "side": {"rss": 5.0}}
    assert named("instance", instance_numbers(found)) == {"cpu": 0.5, "memory": 15.0}
    assert named("instance", instance_numbers({"new": {"rss": 1.0}})) == {"memory": 1.0}
    assert process_numbers("x") == {}


@pytest.mark.parametrize(("probe", "seconds"), [
    ({"latency": 0.5}, 0.5), ({"latency_ms": 12}, 0.012), ({}, None), ({"latency": "fast"}, None),
    ({"latency": -1}, None), ({"latency": True}, None),
])  # fmt: skip
def test_what_a_probe_says_of_latency(probe: dict[str, Any], seconds: float | None) -> None:
    assert probe_latency(probe) == (None if seconds is None else pytest.approx(seconds))


@pytest.fixture
async def c(short_dir: Path) -> AsyncIterator[Controller]:
    async with engine(short_dir) as made:
        yield made


@pytest.fixture
async def a(c: Controller, short_dir: Path) -> AsyncIterator[FakeAgent]:
    made = await agent(c, short_dir, "a-1")
    yield made
    await made.stop()


async def test_what_an_agent_tells_is_asked_for_by_a_session(c: Controller, a: FakeAgent) -> None:
    session = c.session(WHO)
    before = await numbers(session, "host", "a-1")
    assert before.at is None and "a-1 has no plug-in metrics" in before.note
    assert "does not answer" in (await numbers(session, "host", "b-1")).note
    await a._unit("shop.web/0:1", instance="shop.web/0", gen=1, state=512, run=1, pid=7, wanted=True, started=1.0,
                  connections=4, probe={"latency_ms": 8})  # fmt: skip
    await a.send(t="plugin", name="metrics", data={"facts": {"memory": 1000, "cpus": 2}})
    await a.send(t="plugin", name="metrics", data={"sample": SAMPLE})
    await until(lambda: c.metrics.owners["instance"])
    found = await numbers(session, "host", "a-1")
    assert found.latest["cpu"] == 0.2 and found.limits == {"cpu": 1.0, "disk": 1.0, "memory": 1000.0}
    assert found.trails.keys() == HOST_FIELDS.keys() and found.trails["load"].values[-1] == pytest.approx(0.5)
    mine = await numbers(session, "instance", "shop.web/0", 3600)
    assert mine.processes["main"]["threads"] == 3 and mine.trails["memory"].step == 60
    load = (await traffic(session)).services["shop.web"]
    assert (load.connections, load.latency, load.cpu, load.memory) == (4, 0.008, 0.25, 2048)
    stream = loads(session, "instance")
    assert await anext(stream) == {"shop.web/0": {"cpu": 0.25, "memory": 2048.0}}
    await stream.aclose()  # type: ignore[attr-defined]
    for kind, name in (("host", "a-9"), ("instance", "shop.web/77"), ("moon", "a-1")):
        with pytest.raises(Bad):
            await numbers(session, kind, name)


async def test_a_viewer_may_look_and_the_first_item_comes_even_when_nothing_is_known(c: Controller) -> None:
    viewer = c.session(Who(author="li@here", role="viewer", read_only="this is the view socket"))
    stream = loads(viewer, "host")
    assert await anext(stream) == {}
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await traffic(viewer)).watched == 0
    with pytest.raises(Refused):
        await viewer.call("end")


async def test_calls_that_are_seen(c: Controller, a: FakeAgent) -> None:
    for instance, port in (("shop.web/0", 20001), ("shop.db/0", 20002), ("batch/0", 20003)):
        await a._unit(f"{instance}:1", instance=instance, gen=1, state=512, run=1, pid=7, wanted=True, started=1.0,
                      ports={"http": port})  # fmt: skip
    await until(lambda: len(c.world.registry.endpoints) == 3)
    address = c.world.expected.hosts["a-1"].address
    peers = {
        "shop.web/0:1": [[address, 20002, 2], [address, 20001, 1], ["192.0.2.9", 6379, 1]],
        "shop.db/0:1": [[address, 20003, 5], "nonsense", [address, "x", 1]],
    }
    await a.send(t="plugin", name="metrics", data={"peers": peers})
    await until(lambda: c.metrics.peers)
    found = await c.metrics.traffic(time.time())
    calls = [(x.caller, x.callee, x.declared, x.connections) for x in found.calls]
    assert calls == [("shop.db", "batch", False, 5), ("shop.web", "shop.db", True, 2)]
    assert found.outside == {"shop.web": 1} and found.watched == 1
    assert isinstance(found.calls[0], Call)
    await c.metrics.look()
    assert facts_of(c).calls == {"shop.db": ("batch",), "shop.web": ("shop.db",)}
    c.metrics.peers.clear()
    await c.metrics.look()
    assert facts_of(c).calls == {}, "what is not seen any more is no cause"


async def test_memory_is_bounded_and_what_is_gone_is_forgotten(c: Controller) -> None:
    metrics = Metrics(c, room=size_of(len(HOST_FIELDS), TIERS))
    metrics.take("a-1", {"sample": SAMPLE}, 1000.0)
    metrics.take("b-1", {"sample": SAMPLE}, 1000.0)
    assert metrics.used == metrics.room
    second = metrics.numbers("host", "b-1", 360, 1001.0)
    assert second.latest["load"] == 0.5 and second.trails == {} and "only the latest" in second.note
    metrics.take("ghost", {"sample": SAMPLE}, 1000.0)
    metrics._put("instance", "shop.web/0", "a-1", [1.0, 1.0], 1000.0)
    metrics.sweep(1000.0 + QUIET + 1)
    assert metrics.owners["host"].keys() == {"a-1", "b-1"} and metrics.owners["instance"] == {}


async def test_old_numbers_are_not_the_latest(c: Controller) -> None:
    c.metrics.take("a-1", {"sample": SAMPLE}, 1000.0)
    told: set[str] = set()

    def since(turn: int, now: float, only: list[str] | None = None) -> dict[str, Any]:
        return {k: v for part in c.metrics.since("host", turn, now, told, only) for k, v in part.items()}

    assert since(0, 1001.0, ["b-1", "no such host"]) == {} == since(c.metrics._turn, 1001.0)
    assert since(0, 1001.0).keys() == {"a-1"} == told
    assert since(c.metrics._turn, 1002.0) == {}
    told.add("gone")
    assert since(c.metrics._turn, 1001.0 + FRESH) == {"a-1": None, "gone": None} and not told
    old = c.metrics.numbers("host", "a-1", 360, 1001.0 + FRESH)
    assert old.latest == {} and any(v is not None for v in old.trails["load"].values)


async def test_many_numbers_come_in_parts_and_only_what_is_asked_for(c: Controller) -> None:
    for n in range(2 * PART + 5):
        c.metrics._put("instance", f"shop.web/{n}", "a-1", [1.0, 2.0], time.time())
    stream = c.metrics.streams()["loads"]

    async def first_round(args: dict[str, Any]) -> list[dict[str, Any]]:
        items = stream(Who(author="li", role="operator"), {"kind": "instance", **args})
        out = []
        async for item in items:
            out.append(item)
            if not item:
                break
        return out

    sizes = [len(part) for part in await first_round({})]
    assert sizes == [PART, PART, 5, 0]
    one = await first_round({"names": ["shop.web/7", "shop.web/none"]})
    assert one == [{"shop.web/7": {"cpu": 1.0, "memory": 2.0}}, {}]
    with pytest.raises(Bad, match="at most"):
        stream(Who(author="li", role="operator"), {"names": ["x"] * (MAX_NAMES + 1)})
