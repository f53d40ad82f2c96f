"""On the host itself, with everything above it dead; and both of the host's own processes dead at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests import leftovers
from tests.e2e.cluster import Cluster, cluster, end_host
from tests.helpers import alive, loopback, running, wait_for

TOPOLOGY = """
cockpit: 1
name: near
regions: {{east: {{}}}}
hosts:
  h1: {{region: east, address: {one}, connection: local}}
tree:
  work:
    children:
      a:
        command: [sleep, "500001"]
        version: "1"
        update: {{healthy_for: 0s}}
        stop: {{drain: 0s, grace: 1s}}
      b:
        command: [sleep, "500002"]
        version: "1"
        update: {{healthy_for: 0s}}
        stop: {{drain: 0s, grace: 1s}}
      pair:
        processes:
          front: [sleep, "500003"]
          side: [sleep, "500004"]
        version: "1"
        update: {{healthy_for: 0s}}
        stop: {{drain: 0s, grace: 1s}}
"""


@pytest.fixture(scope="module")
def near() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(one=loopback())) as c:
        c.wait_calm()
        yield c


def ctl(c: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-m", "cockpit.agent", "ctl", "--dir", str(c.host("h1")), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )


def units(c: Cluster) -> dict[str, dict[str, Any]]:
    done = ctl(c, "list", "--json")
    assert done.returncode == 0, done
    return {u["unit"].rpartition(":")[0]: u for u in json.loads(done.stdout)["units"]}


def journal(c: Cluster, kind: str) -> list[dict[str, Any]]:
    return [e["body"] for e in json.loads(c.cli("log", "--json")) if e["kind"] == kind]


def test_stop_by_hand_while_the_controller_is_dead(near: Cluster) -> None:
    c = near
    before = c.pids()
    c.kill()
    listed = ctl(c, "list")
    assert listed.returncode == 0 and "work.a/0" in listed.stdout and "RUNNING" in listed.stdout, listed
    done = ctl(c, "stop", "work.a/0")
    assert done.returncode == 0 and "SHUTDOWN" in done.stdout, done
    assert not alive(before["work.a/0"]) and alive(before["work.b/0"])
    assert ctl(c, "pin", "work.b/0").returncode == 0
    assert units(c)["work.b/0"]["pinned"].startswith(f"uid {os.getuid()} ")
    c.start()
    c.wait(lambda: c.presence("h1")["presence"] == "up")
    c.wait(lambda: len(journal(c, "ctl")) >= 2, 10, "what was done by hand is in the journal")
    entries = journal(c, "ctl")
    assert [(e["op"], e["unit"].rpartition(":")[0], e["uid"], e["host"]) for e in entries] == [
        ("stop", "work.a/0", os.getuid(), "h1"), ("pin", "work.b/0", os.getuid(), "h1"),
    ]
    rows = {d["target"]: d for d in c.status()["drift"]}
    assert rows["work.a/0"]["action"] == "start work.a/0", rows
    assert "pinned" in c.cli("status")


def test_converge_leaves_it_alone_and_says_so(near: Cluster) -> None:
    c = near
    done = c.run("converge")
    assert done.returncode == 1 and "pinned on its host" in done.stderr, done
    assert c.instances()["work.a/0"]["state"] == "SHUTDOWN"
    assert not c.pids().get("work.a/0")


def test_an_explicit_verb_overrides_it(near: Cluster) -> None:
    c = near
    c.cli("start", "a/0")
    assert c.instances()["work.a/0"]["state"] == "RUNNING"
    old = c.pids()["work.b/0"]
    c.cli("restart", "b/0")
    assert c.pids()["work.b/0"] != old
    assert not any(u["pinned"] for u in units(c).values())
    c.wait_calm()


def test_by_hand_under_a_living_controller(near: Cluster) -> None:
    c = near
    assert ctl(c, "stop", "work.a/0").returncode == 0
    c.wait(lambda: c.instances()["work.a/0"]["state"] == "SHUTDOWN", 10)
    assert ctl(c, "start", "work.a/0").returncode == 0
    c.wait(lambda: c.instances()["work.a/0"]["state"] == "RUNNING", 10)
    assert ctl(c, "unpin", "work.a/0").returncode == 0
    c.wait_calm()
    wrong = ctl(c, "stop", "work.aa/0")
    assert wrong.returncode == 2 and "work.a/0" in wrong.stderr, wrong


def test_agent_and_keeper_killed_at_once(near: Cluster) -> None:
    """The controller starts the agent, which starts a keeper, which adopts: no service notices."""
    c = near
    pids, sleeps = c.pids(), sleepers(c)
    for _ in range(2):
        row = c.presence("h1")
        for which in ("keeper_pid", "agent_pid"):
            os.kill(row[which], signal.SIGKILL)

        def again(row: dict[str, Any] = row) -> bool:
            now = c.presence("h1")
            return bool(now["presence"] == "up" and now["agent_pid"] != row["agent_pid"] and now["keeper_pid"])

        c.wait(again, 20, "agent and keeper are back")
        c.wait_calm()
        assert c.pids() == pids and sleepers(c) == sleeps
        assert all(len(i["runs"]) == 1 and not i["restarts"] for i in c.instances().values())
    os.kill(pids["work.b/0"], signal.SIGKILL)  # and the new keeper keeps what it adopted
    c.wait(lambda: c.instances()["work.b/0"]["pid"] not in (None, pids["work.b/0"]), 10)
    c.wait_calm()
    assert len(sleepers(c)) == len(sleeps)


def sleepers(c: Cluster) -> set[int]:
    return {pid for pid, line in leftovers.find("-", [c.hosts]).items() if line.startswith("sleep ")}


def another(c: Cluster) -> AbstractContextManager[subprocess.Popen[Any]]:
    """A second agent on the same directory, as an eager init system starts it."""
    argv = [sys.executable, "-I", "-m", "cockpit.agent", "run", "--dir", str(c.host("h1"))]
    return running(argv, start_new_session=True)


def test_a_second_agent_leaves_the_first_one_alone(near: Cluster) -> None:
    c = near
    row = c.presence("h1")
    with another(c) as other:
        assert other.wait(30) == 3
    assert c.presence("h1")["agent_pid"] == row["agent_pid"]


def test_a_waiting_agent_does_not_keep_an_ending_host_alive(near: Cluster) -> None:
    """One waits for the lock of the directory while everything is told to end: nothing may stay."""
    c = near
    c.kill()
    with another(c) as other:
        wait_for(lambda: waits_for_lock(other.pid), what="the second agent waits for the first one's lock")
        end_host(c.host("h1"))
        assert other.wait(30) == 0
        c.wait_gone()


def waits_for_lock(pid: int) -> bool:
    """It has the lock's file open, and is not the one that holds it."""
    try:
        return any(os.readlink(e.path).endswith("/agent.lock") for e in os.scandir(f"/proc/{pid}/fd"))
    except OSError:
        return False
