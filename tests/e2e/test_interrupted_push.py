"""A push goes on, or can be gone on with, whoever of those who carry it is killed in the middle."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.swarm.spool import RECORD
from tests import leftovers
from tests.e2e.cluster import Cluster, cluster
from tests.helpers import loopback

SIZE = 3 * 1024 * 1024
TOPOLOGY = """
cockpit: 1
name: push
regions: {{sh: {{}}}}
hosts:
  h-1: {{region: sh, address: {one}, connection: local, push_rate: 700K}}
  h-2: {{region: sh, address: {two}, connection: local, push_rate: 700K}}
tree: {{}}
"""


@pytest.fixture(scope="module")
def c() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(one=loopback(), two=loopback()), start=False) as c:
        for version in range(1, 5):
            (c.root / str(version)).mkdir()
            (c.root / str(version) / "data").write_bytes(random.Random(version).randbytes(SIZE))
            c.cli("artifact", "add", str(version), "--name", "web", "--version", str(version))
        c.start()
        c.wait(c.up, 30)
        yield c


def held(c: Cluster, host: str) -> int:
    """Pieces that lie verified in the host's spool."""
    return sum(path.stat().st_size // RECORD.size for path in c.host(host).glob("swarm/*/index"))


def under_way(c: Cluster, version: int) -> str:
    """Start a push and wait until both hosts have a part of it; its id."""
    id = c.submit("push", f"web/{version}", hosts=["h-1", "h-2"])
    c.wait(lambda: all(held(c, h) >= 8 for h in ("h-1", "h-2")), 20, "both hosts have some pieces")
    return id


def pid_of(directory: Path, word: str) -> int:
    """The process below this directory whose command line has this word."""
    return next(pid for pid, line in leftovers.find("-", [directory]).items() if word in line)


def arrived(c: Cluster, version: int) -> bool:
    paths = [c.host(h) / "releases" / "web" / str(version) / "data" for h in ("h-1", "h-2")]
    return all(p.exists() and p.read_bytes() == random.Random(version).randbytes(SIZE) for p in paths)


def rows(c: Cluster, id: str) -> dict[str, dict[str, Any]]:
    return {p["host"]: p for p in c.status()["pushes"] if p["action"] == id}


def finished(c: Cluster, version: int, id: str) -> None:
    c.wait(lambda: c.action(id)["state"] == "done", 40, "the push is done")
    assert arrived(c, version)


def test_the_peer_is_killed(c: Cluster) -> None:
    id = under_way(c, 1)
    os.kill(pid_of(c.host("h-1"), "cockpit.swarm.peer"), signal.SIGKILL)
    had = held(c, "h-1")
    finished(c, 1, id)
    found = rows(c, id)
    assert found["h-1"]["had"] == had, "everything that was there was verified and not fetched again"
    assert found["h-2"]["had"] == 0


def test_the_agent_is_killed(c: Cluster) -> None:
    id = under_way(c, 2)
    os.kill(pid_of(c.host("h-1"), "cockpit.agent run"), signal.SIGKILL)
    had = held(c, "h-1")
    finished(c, 2, id)
    assert rows(c, id)["h-1"]["had"] >= had


def test_the_origin_is_killed(c: Cluster) -> None:
    id = under_way(c, 3)
    os.kill(pid_of(c.root, "cockpit.swarm.node origin"), signal.SIGKILL)
    finished(c, 3, id)
    found = rows(c, id)
    assert found["h-1"]["had"] == found["h-2"]["had"] == 0, "the receivers never noticed"


def test_the_controller_is_killed(c: Cluster) -> None:
    id = under_way(c, 4)
    c.kill()
    c.start()
    assert c.action(id)["state"] == "interrupted"
    c.cli("resume", id)
    finished(c, 4, id)
    for row in json.loads(c.cli("pushes", id, "--json")):
        assert row["had"] == 0, "the receivers went on without it"
        came = row["from_source"] + row["from_peers"]
        assert SIZE <= came < 1.3 * SIZE, "only what was half here, and the end that is asked of two, comes again"
