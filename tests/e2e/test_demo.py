"""What a newcomer does: the demo's services asked all the time, through every verb and every crash."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, alone, cluster
from tests.helpers import PATIENCE, alive


@pytest.fixture(scope="module")
def demo() -> Iterator[Cluster]:
    with cluster(None) as c:
        c.wait_calm(90)
        yield c


@contextmanager
def asked(c: Cluster, host: str = "sh-1") -> Iterator[dict[str, Any]]:
    """Ask `web` all the time meanwhile; the summary is filled in at the end."""
    client = subprocess.Popen(
        [sys.executable, "-m", "cockpit.sample.client", "--names", str(c.host(host) / "agent.sock"), "--rate", "100"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )
    summary: dict[str, Any] = {}
    try:
        yield summary
    finally:
        client.send_signal(signal.SIGTERM)
        out, _ = client.communicate(timeout=PATIENCE)
        summary.update(json.loads(out))


def test_every_process_is_what_status_says(demo: Cluster) -> None:
    status = demo.status()
    assert len(status["hosts"]) == 6
    assert len(status["instances"]) == 6
    for row in status["instances"]:
        assert row["state"] == "RUNNING" and row["health"] == "ok", row
        assert alive(row["pid"])
    for host in status["hosts"]:
        assert alive(host["agent_pid"]) and alive(host["keeper_pid"])
    assert {e["state"] for e in status["endpoints"]} == {"ready"}


def test_a_crash_is_repaired_at_once_and_counted(demo: Cluster) -> None:
    before = demo.instances()["puzzle.sudoku/1"]
    os.kill(before["pid"], signal.SIGKILL)

    def again() -> Any:
        row = demo.instances()["puzzle.sudoku/1"]
        return row if row["pid"] not in (None, before["pid"]) and row["state"] == "RUNNING" else None

    row = demo.wait(again, 15)
    assert row["restarts"] == before["restarts"] + 1
    assert row["ports"] == before["ports"]
    assert "signal 9" in row["runs"][0]["exit"]
    records = [json.loads(line) for line in keeper_records(demo, row["host"])]
    exits = [r for r in records if r.get("event") == "exit" and r["unit"] == row["runs"][0]["unit"]]
    starts = [r for r in records if r.get("event") == "start" and r["unit"] == row["runs"][0]["unit"]]
    assert exits and starts[-1]["pids"]["main"] == row["pid"]
    demo.wait_calm()


def keeper_records(c: Cluster, host: str) -> list[str]:
    journals = sorted((c.host(host) / "keeper").glob("journal*"))
    return [line for j in journals for line in j.read_text().splitlines()]


def test_a_good_deploy_loses_no_answer(demo: Cluster) -> None:
    with asked(demo) as summary:
        out = demo.cli("deploy", "sudoku", "1.1.0")
    assert re.search(r"deploy sudoku 1\.1\.0: done", out), out
    assert summary["failed"] == 0 and summary["answers"] > 20, summary
    assert {i["version_actual"] for k, i in demo.instances().items() if "sudoku" in k} == {"1.1.0"}


def test_a_bad_deploy_stops_at_the_canary_says_why_and_returns(demo: Cluster) -> None:
    with asked(demo) as summary:
        out = demo.cli("deploy", "sudoku", "1.2.0", code=1)
    assert "did not become healthy" in out and "http 503" in out, out
    assert "Last log:" in out and "Returned to 1.1.0" in out, out
    assert summary["failed"] == 0 and summary["answers"] > 20, summary
    demo.wait_calm()
    assert {i["version_actual"] for k, i in demo.instances().items() if "sudoku" in k} == {"1.1.0"}
    touched = [a for a in demo.status()["actions"] if a["title"] == "deploy sudoku 1.2.0"]
    assert touched[-1]["state"] == "returned"
    ends = [e["body"] for e in json.loads(demo.cli("log", "--json")) if e["kind"] == "outcome"]
    assert ["puzzle.sudoku" in e["failed"] for e in ends if e["action"] == touched[-1]["id"]] == [True]


def test_migrate_loses_no_answer(demo: Cluster) -> None:
    before = demo.instances()["puzzle.web/0"]
    with asked(demo) as summary:
        demo.cli("migrate", "web/0")
    after = demo.instances()["puzzle.web/0"]
    assert after["host"] != before["host"] and after["state"] == "RUNNING"
    assert not alive(before["pid"])
    assert summary["failed"] == 0 and summary["answers"] > 5, summary


def test_kill_9_of_agent_keeper_and_controller_touches_no_service(demo: Cluster) -> None:
    pids = demo.pids()
    host = {h["name"]: h for h in demo.status()["hosts"]}["bj-1"]
    os.kill(host["agent_pid"], signal.SIGKILL)
    demo.wait(lambda: fresh(demo, "bj-1", "agent_pid", host["agent_pid"]), 15)
    assert demo.pids() == pids
    os.kill(host["keeper_pid"], signal.SIGKILL)
    demo.wait(lambda: fresh(demo, "bj-1", "keeper_pid", host["keeper_pid"]), 15)
    demo.wait_calm(15)
    assert demo.pids() == pids
    demo.kill()
    demo.start()
    demo.wait_calm(15)
    assert demo.pids() == pids
    for row in demo.instances().values():
        assert len(row["runs"]) == 1


def test_a_host_that_says_nothing_is_unknown_not_dead(demo: Cluster) -> None:
    """A stopped agent keeps its connection open, like a cut cable does."""
    host = {h["name"]: h for h in demo.status()["hosts"]}["sh-1"]
    pids, before = demo.pids(), ready(demo)
    os.kill(host["agent_pid"], signal.SIGSTOP)
    try:
        demo.wait(lambda: presence(demo, "sh-1") == "unknown", 40)
        assert ready(demo) == before
        assert [d["kind"] for d in demo.status()["drift"] if d["target"] == "sh-1"] == ["unknown"]
    finally:
        os.kill(host["agent_pid"], signal.SIGCONT)
    demo.wait_calm(20)
    assert demo.pids() == pids


def ready(c: Cluster) -> set[str]:
    return {e["instance"] for e in c.status()["endpoints"] if e["state"] == "ready"}


def presence(c: Cluster, host: str) -> str:
    return str({h["name"]: h for h in c.status()["hosts"]}[host]["presence"])


def fresh(c: Cluster, host: str, what: str, old: int) -> bool:
    row = {h["name"]: h for h in c.status()["hosts"]}[host]
    return row["presence"] == "up" and row[what] not in (None, old)


def test_the_demo_without_a_terminal_prints_the_overview_and_leaves_nothing() -> None:
    with alone():
        done = subprocess.run(
            [sys.executable, "-I", "-m", "cockpit.cli.main", "demo"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )
    assert done.returncode == 0, done.stderr
    for word in ("puzzle", "web", "sudoku", "sh-1", "1.0.0"):
        assert word in done.stdout, done.stdout
