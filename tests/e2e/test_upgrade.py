"""A whole cluster whose agents are replaced while a service is deployed and asked all the time."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cockpit
from cockpit.controller import core
from tests.e2e.cluster import Cluster, cluster
from tests.helpers import alive

NEW = "99.1.0"
ROOT = Path(cockpit.__file__).resolve().parent.parent
TOPOLOGY = """
cockpit: 1
name: upgrade
regions: {here: {}}
hosts:
  a-1: {region: here, address: 127.77.7.1, connection: local}
  a-2: {region: here, address: 127.77.7.2, connection: local}
  a-3: {region: here, address: 127.77.7.3, connection: local}
tree:
  web:
    command: [PYTHON, -m, http.server, "{port}", --bind, "{address}", --directory, "{directory}"]
    version: "1"
    ports: {http: dynamic}
    check: {http: {path: /}, interval: 200ms}
    instances: 3
    update: {parallel: 1, healthy_for: 200ms, deadline: 60s}
    stop: {drain: 2s, grace: 2s}
""".replace("PYTHON", sys.executable)

pytestmark = pytest.mark.skipif(
    "HubCandidates" not in Path(core.__file__).read_text(),
    reason="the controller does not move links between agents yet",
)


@pytest.fixture
def place() -> Iterator[Cluster]:
    with cluster(TOPOLOGY) as c:
        yield c


def add_release(c: Cluster, version: str, before: str = "") -> None:
    """An agent that is this one under another version."""
    tree = c.root / f"agent-{version}"
    tree.mkdir()
    packages = str(Path(sys.executable).parent.parent / "lib" / f"python3.{sys.version_info[1]}" / "site-packages")
    main = tree / "main.py"
    main.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {packages!r}]\nimport cockpit\n"
        f"cockpit.__version__ = {version!r}\n{before}\n"
        "from cockpit.agent.__main__ import main\nsys.exit(main())\n"
    )
    keeper = tree / "cockpit" / "agent" / "keeper"
    shutil.copytree(ROOT / "cockpit" / "agent" / "keeper", keeper, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "cockpit" / "__init__.py").write_text(f'__version__ = "{version}"\n')
    doc = {
        "argv": ["{python}", "-I", "{release}/main.py"], "protocol": 1,
        "keeper": ["{python}", "-I", "-S", "{release}/cockpit/agent/keeper"],
    }
    (tree / "agent.json").write_text(json.dumps(doc))
    main.chmod(0o755)
    c.cli("artifact", "add", str(tree), "--name", "cockpit-agent", "--version", version)


def agents(c: Cluster, what: str = "agent_pid") -> dict[str, int]:
    return {h["name"]: int(h[what]) for h in c.status()["hosts"]}


def test_agents_replaced_during_a_deploy_and_no_request_is_lost(place: Cluster) -> None:
    place.wait_calm()
    add_release(place, NEW)
    before, keepers = agents(place), agents(place, "keeper_pid")
    failures: list[str] = []
    done = threading.Event()

    def ask() -> None:
        """Whatever is ready by the names of the first host is asked, again and again."""
        while not done.is_set():
            time.sleep(0.01)
            endpoints = ready(place.host("a-1"))
            for e in endpoints:
                try:
                    with socket.create_connection((e["address"], e["port"]), 2) as s:
                        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                        if b"200" not in s.recv(100):
                            failures.append(f"{e}: not 200")
                except OSError as error:
                    if e in ready(place.host("a-1")):  # else it was taken out between the look and the question
                        failures.append(f"{e}: {error}")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        place.cli("deploy", "web", "2", "--no-wait")
        place.cli("agent", "upgrade", NEW, "--batch", "1", "--keeper")
        place.wait_calm()
    finally:
        done.set()
        asking.join()
    assert not failures, failures[:5]
    after = agents(place)
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    assert agents(place, "keeper_pid") == keepers, "keepers become another version in place"
    assert "nothing to do" in place.cli("agent", "upgrade", NEW, "--keeper")
    place.wait(lambda: not any(alive(p) for p in before.values()), 20, "the old agents are gone")


def test_a_batch_that_does_not_come_back_holds_the_rest(place: Cluster) -> None:
    place.wait_calm()
    before = agents(place)
    add_release(place, "99.2.0", "print('no such luck', flush=True); sys.exit(7)")
    said = place.cli("agent", "upgrade", "99.2.0", "--batch", "1", code=1)
    assert "no such luck" in said and "goes on as before" in said
    assert place.action(place.newest("upgrade"))["state"] == "paused"
    assert agents(place) == before
    place.cli("abort", place.newest("upgrade"), "--confirm", place.newest("upgrade").lstrip("#"))


def ready(host: Path) -> list[dict[str, Any]]:
    with contextlib.suppress(OSError, ValueError):
        services = json.loads((host / "names.json").read_text())["services"]
        return [e for e in services.get("web", ()) if e["state"] == "ready"]
    return []
