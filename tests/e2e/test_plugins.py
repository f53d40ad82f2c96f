"""Plug-ins over a real controller and real agents: exec, push, schedules, declared logs, metrics."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.artifacts.sign import keygen
from cockpit.session.client import RemoteSession
from tests.e2e.cluster import COCKPIT, Cluster, cluster
from tests.helpers import PATIENCE, alive, wait_for

HOSTS = ("h-1", "h-2", "h-3")
TOPOLOGY = """cockpit: 1
name: box
regions:
  bj: {}
  sh: {}
hosts:
  h-1: {region: bj, address: 127.0.71.1, connection: local}
  h-2: {region: bj, address: 127.0.71.2, connection: local}
  h-3: {region: sh, address: 127.0.71.3, connection: local}
signers:
  plugin: [@KEY@]
schedules:
  tick: {cron: "* * * * *", argv: [sh, -c, "exit 3"], hosts: [host=h-1]}
tree:
  app:
    command: [sh, -c, 'while :; do echo line >> "$1"; sleep 0.5; done', "-", "{directory}/app.log"]
    version: "1"
    instances: {hosts: [h-2]}
    logs: {audit: "{directory}/app.log"}
"""
MAIN = """
import os, time

def start(host):
    host.word("greet", lambda call: {"text": "VERSION " + host.version, "pid": os.getpid()})
    host.word("loop", loop)

def loop(call):
    while True:
        pass
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    key = tmp_path_factory.mktemp("keys") / "plugin.pem"
    public = keygen(key)
    with cluster(TOPOLOGY.replace("@KEY@", f"'{public}'")) as c:
        c.wait(c.up, 60, "the hosts are up")
        yield c, key


def plugin(root: Path, version: str, name: str = "greeter", words: tuple[str, ...] = ("greet", "loop")) -> Path:
    path = root / f"{name}-{version}"
    path.mkdir(parents=True)
    facts = {word: {"timeout": 1.0} for word in words}
    (path / "plugin.json").write_text(json.dumps({"name": name, "version": version, "words": facts}))
    (path / "main.py").write_text(MAIN)
    return path


def rows(c: Cluster, name: str) -> dict[str, dict[str, Any]]:
    found = json.loads(c.run("plugin", "list", "--json").stdout)
    return {row["host"]: row for row in found if row["name"] == name}


def test_exec_says_what_happened_where(box: tuple[Cluster, Path]) -> None:
    c, _ = box
    done = c.run("exec", "--", "sh", "-c", "echo out; echo err >&2")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"{h} | out" for h in HOSTS]
    assert "ok on 3 hosts" in done.stderr and done.stderr.count("| err") == 3
    done = c.run("exec", "--on", "region=bj", "--json", "--timeout", "1", "--", "sh", "-c", "sleep 60")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert {h: a["result"] for h, a in answer.items()} == {"h-1": "timed out", "h-2": "timed out"}
    done = c.run("exec", "--on", "h-3", "--", "/no/such/program")
    assert done.returncode == 1 and "failed" in done.stderr and "ENOENT" in done.stderr
    done = c.run("exec", "--on", "h-9", "--", "true")
    assert done.returncode == 2 and "h-9" in done.stderr
    done = c.run("exec", "--parallel", "1", "--", "true")
    assert done.returncode == 0
    log = c.cli("log", "--json")
    assert '"exec"' in log and "/no/such/program" in log


def pids_in(directory: Path) -> list[str]:
    return [text for f in directory.iterdir() if (text := f.read_text().strip())]


def test_ctrl_c_ends_the_commands_everywhere(box: tuple[Cluster, Path], tmp_path: Path) -> None:
    c, _ = box
    script = f"echo $$ > {tmp_path}/$COCKPIT_COMMAND_MARK; echo begun; exec sleep 600"
    with subprocess.Popen(
        [*COCKPIT, "exec", "--", "sh", "-c", script], env={**os.environ, "COCKPIT_STATE": str(c.state)}, cwd="/",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:
        wait_for(lambda: len(pids_in(tmp_path)) == 3)
        pids = pids_in(tmp_path)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
    wait_for(lambda: not any(alive(int(p)) for p in pids), what="every command ended")


def test_a_plugin_is_pushed_replaced_and_removed(box: tuple[Cluster, Path], tmp_path: Path) -> None:
    c, key = box
    first = plugin(tmp_path, "1.0.0")
    done = c.run("plugin", "push", str(first), "--all")
    assert done.returncode == 3 and "not signed as plugin" in done.stderr
    done = c.run("plugin", "push", "greeter/1.0.0", "--all", "--key", str(key))
    assert done.returncode == 0, done.stderr
    assert "loaded on 3 of 3 hosts" in done.stdout
    c.wait(lambda: {r["version"] for r in rows(c, "greeter").values()} == {"1.0.0"}, 10)
    pids = {h: r["pid"] for h, r in rows(c, "greeter").items()}
    assert all(pids.values())
    done = c.run("plugin", "push", str(plugin(tmp_path, "1.1.0")), "h-1", "h-2", "--key", str(key))
    assert done.returncode == 0, done.stderr
    c.wait(lambda: [rows(c, "greeter")[h]["version"] for h in HOSTS] == ["1.1.0", "1.1.0", "1.0.0"], 10)
    wait_for(lambda: not alive(pids["h-1"]) and alive(pids["h-3"]), what="the old process goes")
    done = c.run("plugin", "push", str(plugin(tmp_path, "1.0.0", "thief", ("fetch",))), "h-1", "--key", str(key))
    assert done.returncode == 1 and "fetch is artifacts's already" in done.stderr
    (c.host("h-1") / "releases" / "greeter" / "1.1.0" / "main.py").write_text("import os\n")
    c.cli("plugin", "remove", "greeter", "h-2")
    c.wait(lambda: set(rows(c, "greeter")) == {"h-1", "h-3"}, 10)
    done = c.run("plugin", "push", "greeter/1.1.0", "h-1")
    assert done.returncode == 1 and "other content" in done.stderr
    done = c.run("plugin", "remove", "exec", "h-1")
    assert done.returncode == 1 and "came with the agent" in done.stderr


def test_declared_logs_come_with_the_others(box: tuple[Cluster, Path]) -> None:
    c, _ = box

    async def lines() -> list[Any]:
        session = RemoteSession(c.state / "control.sock")
        await session.connect()
        try:
            return [line async for line in session.logs(["app/0"], lines=5, follow=False)]
        finally:
            await session.close()

    found = c.wait(lambda: asyncio.run(lines()), 20, "lines of the declared file")
    assert {(line.stream, line.text) for line in found} == {("audit", "line")}


def test_metrics_and_facts_are_kept_by_the_agent(box: tuple[Cluster, Path]) -> None:
    c, _ = box
    c.wait(lambda: {r["state"] for r in rows(c, "metrics").values()} == {"running"}, 20)
    assert set(rows(c, "schedule")) == set(HOSTS)
    assert rows(c, "schedule")["h-1"]["state"] == "running" and rows(c, "schedule")["h-2"]["state"] == "ready"
    found = json.loads(c.cli("plugin", "schedules", "--json"))
    assert [(s["host"], s["schedule"]) for s in found] == [("h-1", "tick")]
    assert found[0]["next"] - time.time() <= 60
