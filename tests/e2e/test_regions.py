"""Hosts anywhere: a deploy across three regions, relays that die, a region that is cut off."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.regions import HOSTS, REGIONS, Regions, regions
from tests.helpers import alive
from tests.netlab import possible

pytestmark = [pytest.mark.skipif(not possible(), reason="namespaces need root"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def r() -> Iterator[Regions]:
    with regions() as found:
        found.cli("converge")
        found.wait_calm(90)
        yield found


def test_each_region_is_reached_its_own_way(r: Regions) -> None:
    rows = {h["name"]: h for h in r.status()["hosts"]}
    assert {tuple(rows[h]["path"]) for h in REGIONS["near"]} == {()}
    assert {tuple(rows[h]["path"]) for h in REGIONS["deep"]} == {("relay-2", "relay-1")}
    assert {tuple(rows[h]["path"]) for h in REGIONS["inner"]} == {("relay-3",)}
    assert {r.get(h) for h in HOSTS} == {"1"}


def test_one_deploy_goes_everywhere_while_a_relay_in_the_middle_dies(r: Regions) -> None:
    r.add_web("2")
    before = r.pids()
    relay = r.far["relay-1"]
    deploy = r.start_cli("deploy", "web", "2")
    r.wait(lambda: r.get("d-1") == "2" or r.newest("deploy"), 30, "the deploy runs")
    relay.kill()
    relay.wait()
    r.wait(lambda: r.present("unknown") >= set(REGIONS["deep"]), 30, "what is behind it is unknown")
    rows = {h["name"]: h for h in r.status()["hosts"]}
    assert not r.present("down") and "relay-1" in rows["b-1"]["reason"], rows["b-1"]
    r.begin("relay-1")
    out, err = deploy.communicate(timeout=150)
    assert deploy.returncode == 0, (out, err)
    assert {r.get(h) for h in HOSTS} == {"2"}
    assert len(set(before.values()) & set(r.pids().values())) == 0
    r.wait_calm()


def test_a_region_that_is_cut_keeps_running_and_restarts_what_crashes(r: Regions) -> None:
    pids = {h: r.pid_on(h) for h in REGIONS["inner"]}
    r.lab.cut("jump")
    try:
        r.wait(lambda: r.present("unknown") == set(REGIONS["inner"]), 40, "the region is unknown")
        assert not r.present("down")
        os.kill(pids["s-1"], signal.SIGKILL)
        r.wait(lambda: r.answers_on("s-1"), 20, "it was restarted without anybody's help")
        assert alive(pids["s-2"]) and r.answers_on("s-2")
    finally:
        r.lab.mend("jump")
    r.wait(lambda: r.present("up") == set(HOSTS), 60, "the region is back")
    row = next(i for i in r.instances().values() if i["host"] == "s-1")
    assert row["pid"] not in (None, pids["s-1"])
    r.wait_calm()
