"""A session's journal ends in the same state on the twin and on a fresh cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster, cluster

TOPOLOGY = """\
cockpit: 1
name: replayed
regions: {here: {}}
hosts:
  r1: {region: here, address: 127.0.41.1, connection: local, ports: 23000-23999}
  r2: {region: here, address: 127.0.41.2, connection: local, ports: 23000-23999}
  r3: {region: here, address: 127.0.41.3, connection: local, ports: 23000-23999}
tree:
  app:
    cluster: true
    children:
      work:
        # version 3 never runs for long
        command: [sh, -c, 'test "$COCKPIT_VERSION" = 3 && echo "no table for version 3" && exit 4; exec sleep 100009']
        version: "1"
        instances: 3
        restart: {delay: 50ms}
        stop: {drain: 0s}
        update: {order: start-first, canary: 1, healthy_for: 300ms, deadline: 10s}
"""


def session(c: Cluster) -> None:
    """What an operator did last night."""
    c.wait_calm()
    c.cli("deploy", "work", "2")
    c.cli("deploy", "work", "3", code=1)
    c.cli("scale", "work", "4")
    paused = begin_and_pause(c, "4")
    c.wait(lambda: action(c, paused)["state"] == "paused")
    c.cli("resume", paused)
    c.wait(lambda: action(c, paused)["state"] == "done")
    aborted = begin_and_pause(c, "5")
    c.wait(lambda: action(c, aborted)["state"] == "paused")
    c.cli("abort", aborted, "--undo", "--confirm", aborted)
    c.wait(lambda: action(c, aborted)["state"] == "returned")
    c.cli("migrate", "work/0")
    c.wait_calm()


def begin_and_pause(c: Cluster, version: str) -> str:
    """A deploy that is paused when its first instance is begun."""
    id = c.submit("deploy", "app.work", version=version)
    c.wait(lambda: begun(c, id), what=f"{id} has begun")
    c.submit("pause", id)
    return id.lstrip("#")


def begun(c: Cluster, id: str) -> bool:
    return any(s.kind == "start" and s.state != "waiting" for s in c.ask(lambda session: session.action(id)).steps)


def action(c: Cluster, id: str) -> dict[str, Any]:
    return {a["id"]: a for a in c.status()["actions"]}[f"#{id}"]


def end_state(c: Cluster) -> dict[str, Any]:
    """What two equal end states share."""
    status = c.status()
    return {
        "instances": {
            i["id"]: (i["host"], i["version_actual"], i["desired"], i["state"]) for i in status["instances"]
        },
        "endpoints": sorted((e["service"], e["instance"], e["state"]) for e in status["endpoints"]),
    }


def test_a_session_replays_to_the_same_end_state(tmp_path: Path) -> None:
    saved = tmp_path / "journal.jsonl"
    with cluster(TOPOLOGY) as first:
        session(first)
        shutil.copy(first.state / "journal.jsonl", saved)
        wanted = end_state(first)
        assert wanted["instances"]["app.work/3"][1] == "4"
        dry = first.cli("replay", str(saved))
        assert "deploy work 3" in dry
        assert end_state(first) == wanted
        twin = json.loads(first.cli("replay", str(saved), "--twin", "--json"))
        assert twin["report"]["differs"] == ""
        simulated = {
            k: (i["host"], i["version"], i["desired"], i["state"]) for k, i in twin["end_state"]["instances"].items()
        }
        assert simulated == wanted["instances"]
        assert end_state(first) == wanted
    with cluster(TOPOLOGY) as second:
        second.wait_calm()
        again = second.cli("replay", str(saved), "--twin")
        assert "every outcome as recorded" in again
        out = second.cli("replay", str(saved), "--live")
        assert "every outcome as recorded" in out
        second.wait_calm()
        assert end_state(second) == wanted


def test_a_damaged_journal_is_not_replayed(tmp_path: Path) -> None:
    with cluster(TOPOLOGY) as c:
        c.wait_calm()
        lines = (c.state / "journal.jsonl").read_bytes().splitlines(keepends=True)
        torn, altered = tmp_path / "torn.jsonl", tmp_path / "altered.jsonl"
        torn.write_bytes(b"".join(lines) + b'{"body":{"kin')
        done = c.run("replay", str(torn))
        assert done.returncode == 0 and "torn" in done.stderr
        altered.write_bytes(b"".join(lines).replace(b"#1", b"#9", 1))
        done = c.run("replay", str(altered), "--live")
        assert done.returncode == 1 and "altered" in done.stderr
        head = json.loads(lines[-1])["hash"]
        assert "chain whole" in c.cli("log", "--verify", "--head", head)
        assert c.run("log", "--verify", "--head", "0" * 64).returncode == 1
