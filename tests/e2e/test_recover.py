"""The state directory is lost: it comes back from what the hosts hold, and no service notices."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, cluster
from tests.helpers import PATIENCE, alive, loopback

TOPOLOGY = """
cockpit: 1
name: library
regions: {{east: {{}}}}
hosts:
  r1: {{region: east, address: {one}, connection: local}}
  r2: {{region: east, address: {two}, connection: local}}
tree:
  files:
    artifact: pages   # what is served
    version: "1"
    command: [python3, -S, -m, http.server, --bind, "{{address}}", "{{port}}"]
    ports: [http]
    check: {{http: /index.html, interval: 200ms, timeout: 5s}}
    instances: 2
    update: {{healthy_for: 0s}}
    stop: {{drain: 0s}}
  idle:
    command: [sleep, "300001"]
    version: "1"
    stop: {{drain: 0s}}
"""


def add_pages(c: Cluster, version: str) -> None:
    pages = c.root / f"pages-{version}"
    pages.mkdir(exist_ok=True)
    (pages / "empty").mkdir(exist_ok=True)
    (pages / "index.html").write_text(f"pages {version}\n")
    (pages / "tool.sh").write_text("#!/bin/sh\n")
    (pages / "tool.sh").chmod(0o755)
    c.cli("artifact", "add", str(pages), "--name", "pages", "--version", version)


@pytest.fixture(scope="module")
def library() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(one=loopback(), two=loopback()), start=False) as c:
        add_pages(c, "1")
        c.start()
        c.wait_calm()
        yield c


def facts(c: Cluster) -> dict[str, Any]:
    """What a recovery must give back."""
    status = c.status()
    there = [e for e in status["endpoints"] if e["state"] != "gone"]
    return {
        "digest": status["digest"], "revision": status["revision"], "pids": c.pids(),
        "endpoints": sorted((e["instance"], e["address"], e["port"], e["state"]) for e in there),
        "ports": {k: i["ports"] for k, i in c.instances().items()},
    }


def lose(c: Cluster) -> None:
    shutil.rmtree(c.state)


def go_on(c: Cluster) -> None:
    """`recover`, then `serve` on the state alone."""
    out = c.cli("recover", "--state", str(c.state))
    assert "recovered" in out and "cockpit serve --state" in out, out
    c.start(from_file=False)
    c.wait_calm()


def test_recover_refuses_a_state_that_is_there(library: Cluster) -> None:
    c = library
    refused = c.run("recover", "--state", str(c.state))  # under a running controller
    assert refused.returncode == 3 and "already runs" in refused.stderr, refused
    c.kill()
    refused = c.run("recover", "--state", str(c.state))
    assert refused.returncode == 3 and "nothing to recover" in refused.stderr, refused
    c.start()
    c.wait_calm()


def test_recover_needs_hosts(tmp_path: Path, library: Cluster) -> None:
    state = tmp_path / "none"
    bad = library.run("recover", "--state", str(state))
    assert bad.returncode == 2 and "--head" in bad.stderr, bad
    assert not state.exists()  # nothing half made is left
    damaged = tmp_path / "bad.json"
    damaged.write_text('{"document": {"name": "x"}, "revision": 3, "digest": "00"}')
    bad = library.run("recover", "--state", str(state), "--head", str(damaged))
    assert bad.returncode == 2 and "bad.json" in bad.stderr, bad


def test_a_lost_state_comes_back_as_it_was(library: Cluster) -> None:
    c = library
    add_pages(c, "2")
    c.cli("deploy", "files", "2")
    c.wait_calm()
    before = facts(c)
    shas = {k: v["sha256"] for k, v in json.loads(c.cli("artifact", "list", "--json")).items()}
    assert set(shas) == {"pages/1", "pages/2"}
    for host in ("r1", "r2"):  # as Python does, beside its files
        (c.host(host) / "releases" / "pages" / "2" / "__pycache__").mkdir()
        (c.host(host) / "releases" / "pages" / "2" / "__pycache__" / "extra.pyc").write_bytes(b"x")
    c.kill()
    lose(c)
    go_on(c)
    assert facts(c) == before
    found = {k: v["sha256"] for k, v in json.loads(c.cli("artifact", "list", "--json")).items()}
    assert found == shas  # packed anew from the installed releases, to the same bytes
    assert "nothing to do" in c.cli("apply", str(c.file))  # a deploy is still no contradiction to the file
    c.cli("deploy", "files", "1")
    c.wait_calm()
    assert {i["version_actual"] for i in c.instances().values() if i["service"] == "files"} == {"1"}
    assert c.pids()["idle/0"] == before["pids"]["idle/0"]
    c.cli("log", "--verify")


def test_an_empty_state_does_not_take_running_hosts_over(library: Cluster) -> None:
    """`serve FILE` by habit, after the state was lost: the file is older than what runs."""
    c = library
    before = facts(c)
    c.kill()
    lose(c)
    refused = c.run("serve", str(c.file), "--state", str(c.state))
    assert refused.returncode == 3 and "cockpit recover" in refused.stderr, refused
    go_on(c)
    assert facts(c) == before


def test_a_controller_that_loses_its_state_says_so_and_ends(library: Cluster) -> None:
    c = library
    before = facts(c)
    c.log.write_text("")
    lose(c)
    assert c.process is not None and c.process.wait(PATIENCE) == 1
    assert "cockpit recover" in c.log.read_text()
    assert all(alive(pid) for pid in before["pids"].values())
    assert not c.state.exists()
    go_on(c)
    assert facts(c) == before


def test_the_hosts_may_have_gone_on_without_it(library: Cluster) -> None:
    """A service dies and is restarted while there is neither a controller nor a state."""
    c = library
    before = facts(c)
    c.kill()
    lose(c)
    import os

    os.kill(before["pids"]["idle/0"], signal.SIGKILL)
    go_on(c)
    after = facts(c)
    assert after.pop("pids")["idle/0"] != before.pop("pids")["idle/0"]
    assert after == before


def test_recover_by_a_head_that_was_copied(library: Cluster, tmp_path: Path) -> None:
    c = library
    before = facts(c)
    c.kill()
    lose(c)
    copied = c.root / "copied.json"
    shutil.copy(c.host("r1") / "head.json", copied)
    for host in ("r1", "r2"):
        (c.host(host) / "head.json").unlink()
    missing = c.run("recover", "--state", str(c.state))
    assert missing.returncode == 2
    c.cli("recover", "--state", str(c.state), "--head", str(copied))
    c.start(from_file=False)
    c.wait_calm()
    assert facts(c) == before
    c.wait(lambda: (c.host("r1") / "head.json").exists(), 10, "the host holds the head again")


def test_the_demo_goes_on_after_its_state_was_removed() -> None:
    with cluster(None) as c:
        c.wait_calm(90)
        before = facts(c)
        lose(c)
        assert c.process is not None and c.process.wait(PATIENCE) == 1
        assert all(alive(pid) for pid in before["pids"].values())
        c.cli("recover", "--state", str(c.state))
        c.start()
        c.wait_calm()
        assert facts(c) == before
        c.cli("deploy", "sudoku", "1.1.0")
        c.wait_calm()
        c.process.terminate()
        assert c.process.wait(40) == 0
        c.wait_gone()
