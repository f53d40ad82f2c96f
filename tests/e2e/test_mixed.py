"""Other programs than the sample's: status always matches what really runs."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, cluster, kill_host, processes
from tests.helpers import alive

TOPOLOGY = (Path(__file__).parent / "mixed.yaml").read_text()


@pytest.fixture(scope="module")
def mixed() -> Iterator[Cluster]:
    with cluster(TOPOLOGY) as c:
        yield c


def settled(c: Cluster) -> bool:
    """Nothing runs, and only what cannot be well is not."""
    status = c.status()
    ill = {d["target"] for d in status["drift"]} - {"batch.broken/0"}
    return not ill and not [a for a in status["actions"] if a["state"] == "running"]


def matches(c: Cluster) -> bool:
    """Status and ps say the same."""
    rows = c.status()["instances"]
    want = Counter(sleeps=sum(1 for r in rows if r["service"] == "batch.many" and r["state"] == "RUNNING"))
    assert len(processes(["sleep", "100003"])) == want["sleeps"]
    for row in rows:
        if row["state"] in ("RUNNING", "STARTING"):
            assert alive(row["pid"]), row
        else:
            assert not row["pid"] or not alive(row["pid"]), row
    return True


def by_service(c: Cluster, service: str) -> list[dict[str, Any]]:
    return [i for i in c.status()["instances"] if i["service"] == service]


def test_it_comes_up_as_it_is(mixed: Cluster) -> None:
    mixed.wait(lambda: settled(mixed), 90, "settled")
    rows = mixed.instances()
    assert rows["batch.brief/0"]["state"] == "COMPLETE"
    assert rows["batch.broken/0"]["state"] == "FAILED"
    assert "exit 7" in rows["batch.broken/0"]["reason"]
    assert rows["shop.store.slow/0"]["state"] == "RUNNING"
    assert len(by_service(mixed, "batch.many")) == 60
    assert rows["shop.store.redis/0"]["ports"] == {"redis": 6390}
    matches(mixed)


def test_a_group_lives_and_dies_together(mixed: Cluster) -> None:
    front, side = set(processes(["sleep", "100001"])), set(processes(["sleep", "100002"]))
    assert len(front) == len(side) == 2
    os.kill(next(iter(front)), signal.SIGKILL)
    mixed.wait(lambda: len(set(processes(["sleep", "100002"])) & side) == 1, 10, "the partner went too")
    mixed.wait(lambda: settled(mixed) and len(processes(["sleep", "100001"])) == 2, 20)


def test_deploy_scale_up_and_down(mixed: Cluster) -> None:
    mixed.cli("deploy", "many", "2")
    assert {r["version_actual"] for r in by_service(mixed, "batch.many")} == {"2"}
    mixed.cli("scale", "many", "90")
    assert len(by_service(mixed, "batch.many")) == 90
    matches(mixed)
    refused = mixed.run("scale", "many", "10")
    assert refused.returncode == 3 and "--confirm" in refused.stderr
    mixed.cli("scale", "many", "10", "--confirm", "many")
    mixed.wait(lambda: len(processes(["sleep", "100003"])) == 10, 10)
    matches(mixed)


def test_drain_a_host_and_take_it_back(mixed: Cluster) -> None:
    mixed.cli("drain", "e2", "--confirm", "e2")
    assert not [i for i in mixed.status()["instances"] if i["host"] == "e2"]
    assert {h["name"]: h["presence"] for h in mixed.status()["hosts"]}["e2"] == "draining"
    mixed.cli("start", "e2")
    assert {h["name"]: h["presence"] for h in mixed.status()["hosts"]}["e2"] == "up"
    mixed.wait(lambda: settled(mixed), 30)
    matches(mixed)


def test_stop_ends_one_that_ignores_sigterm(mixed: Cluster) -> None:
    pid = mixed.instances()["batch.stubborn/0"]["pid"]
    mixed.cli("stop", "stubborn", "--confirm", "stubborn")
    row = mixed.instances()["batch.stubborn/0"]
    assert not alive(pid) and (row["state"], row["desired"]) == ("SHUTDOWN", "SHUTDOWN")
    mixed.cli("start", "stubborn")
    assert mixed.instances()["batch.stubborn/0"]["state"] == "RUNNING"


def test_a_host_comes_back_from_a_reboot_while_the_controller_is_away(mixed: Cluster) -> None:
    before = {k: i for k, i in mixed.instances().items() if i["host"] == "w1" and i["state"] == "RUNNING"}
    assert before
    mixed.kill()
    kill_host(mixed.host("w1"))
    assert not any(alive(i["pid"]) for i in before.values())
    boot(mixed.host("w1"), "after-the-power-cut")
    mixed.start()
    mixed.wait(lambda: settled(mixed), 60, "settled after the reboot")
    after = mixed.instances()
    for name, row in before.items():
        assert after[name]["state"] == "RUNNING" and after[name]["pid"] != row["pid"]
        assert after[name]["ports"] == row["ports"]
        assert len(after[name]["runs"]) == 1
    matches(mixed)


def boot(directory: Path, boot_id: str) -> None:
    """What the host's init does: start the agent, which starts the keeper."""
    import subprocess
    import sys

    subprocess.Popen(
        [sys.executable, "-I", "-m", "cockpit.agent", "run", "--dir", str(directory), "--boot-id", boot_id],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )


def test_stop_everything(mixed: Cluster) -> None:
    mixed.cli("stop", "batch", "shop", "--confirm", "batch,shop")
    assert not processes(["sleep", "100003"]) and not processes(["redis-server", "6390"])
