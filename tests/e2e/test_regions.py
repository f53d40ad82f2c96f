"""Hosts anywhere: a deploy across three regions, relays that die, a region that is cut off."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cockpit.session.client import RemoteSession
from screens.app import CockpitApp
from tests.e2e.regions import HOSTS, REGIONS, Regions, regions
from tests.helpers import alive
from tests.netlab import possible
from tests.screens.drive import Driver, until

CUT = float(os.environ.get("COCKPIT_CUT", "0"))
"""Seconds for which a region stays cut off after everything was seen."""

pytestmark = [pytest.mark.skipif(not possible(), reason="namespaces need root"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def r() -> Iterator[Regions]:
    with regions() as found:
        found.cli("converge")
        found.wait_calm(90)
        yield found


@asynccontextmanager
async def screen(r: Regions) -> AsyncIterator[Driver]:
    """The cockpit on the controller's socket."""
    session = RemoteSession(r.state / "control.sock")
    await session.connect()
    try:
        app = CockpitApp(session, ascii=False)
        async with app.run_test(size=(160, 45)) as pilot:
            d = Driver(app, pilot, session)
            await d.sees("LIVE")
            yield d
    finally:
        await session.close()


async def aside(r: Regions, condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait without standing in the screen's way."""
    await asyncio.to_thread(r.wait, condition, seconds, what)


def state_of(r: Regions, action: str) -> str:
    return next(str(a["state"]) for a in r.status()["actions"] if a["id"] == action)


def test_each_region_is_reached_its_own_way(r: Regions) -> None:
    rows = {h["name"]: h for h in r.status()["hosts"]}
    assert {tuple(rows[h]["path"]) for h in REGIONS["near"]} == {()}
    assert {tuple(rows[h]["path"]) for h in REGIONS["deep"]} == {("relay-2", "relay-1")}
    assert {tuple(rows[h]["path"]) for h in REGIONS["inner"]} == {("relay-3",)}
    assert {r.get(h) for h in HOSTS} == {"1"}


async def test_one_deploy_goes_everywhere_while_a_relay_in_the_middle_dies(r: Regions) -> None:
    r.add_web("2")
    before = r.pids()
    relay = r.far["relay-1"]
    async with screen(r) as d:
        await d.press(":")
        await d.type("deploy web 2")
        await d.press("enter")
        await d.at("PlanScreen")
        await d.sees("would write rev")
        await d.press("x")
        await d.at("ActionScreen")
        relay.kill()
        await asyncio.to_thread(relay.wait)
        await aside(r, lambda: r.present("unknown") >= set(REGIONS["deep"]), 30, "what is behind it is unknown")
        rows = {h["name"]: h for h in r.status()["hosts"]}
        assert not r.present("down") and "relay-1" in rows["b-1"]["reason"], rows["b-1"]
        r.begin("relay-1")
        deploy = r.newest("deploy")
        await aside(r, lambda: state_of(r, deploy) == "done", 150, "the deploy is done")
        await d.sees("done")
    assert {r.get(h) for h in HOSTS} == {"2"}
    assert len(set(before.values()) & set(r.pids().values())) == 0
    r.wait_calm()


def lines_of(d: Driver, region: str) -> list[str]:
    """What the list of hosts shows of a region's."""
    lines = {line.split()[1]: line for line in d.text().splitlines() if len(line.split()) > 2}
    return [lines[host] for host in REGIONS[region]]


async def test_a_region_that_is_cut_keeps_running_and_restarts_what_crashes(r: Regions) -> None:
    pids = {h: r.pid_on(h) for h in REGIONS["inner"]}
    async with screen(r) as d:
        await d.press("h")
        await d.at("HostsScreen")
        r.lab.cut("jump")
        begun = time.monotonic()
        try:
            await aside(r, lambda: r.present("unknown") == set(REGIONS["inner"]), 40, "the region is unknown")
            await until(lambda: all("unknown" in line for line in lines_of(d, "inner")), "the screen says so")
            assert not any("down" in line for line in lines_of(d, "inner"))
            assert not any("unknown" in line for line in lines_of(d, "near"))
            os.kill(pids["s-1"], signal.SIGKILL)
            await aside(r, lambda: r.answers_on("s-1"), 20, "it was restarted without anybody's help")
            await asyncio.sleep(max(0.0, CUT - (time.monotonic() - begun)))
            assert alive(pids["s-2"]) and r.answers_on("s-2")
            assert r.present("unknown") == set(REGIONS["inner"])
        finally:
            r.lab.mend("jump")
        await aside(r, lambda: r.present("up") == set(HOSTS), 60, "the region is back")
    row = next(i for i in r.instances().values() if i["host"] == "s-1")
    assert row["pid"] not in (None, pids["s-1"])
    r.wait_calm()
