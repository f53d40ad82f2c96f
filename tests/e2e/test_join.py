"""Hosts that are somewhere else: their agent joins with a one-time token, and keeps its identity."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.link.pki import Authority, make_token
from tests.e2e.cluster import COCKPIT, Cluster, cluster, end_host, kill_host
from tests.helpers import alive, loopback, wait_for

TOPOLOGY = """
cockpit: 1
name: far
regions: {{east: {{}}}}
hosts:
  a1: {{region: east, address: {one}}}
  a2: {{region: east, address: {two}}}
tree:
  idle:
    command: [sleep, "400001"]
    version: "1"
    instances: {{hosts: [a1]}}
    update: {{healthy_for: 0s, deadline: 20s}}
    stop: {{drain: 0s, grace: 1s}}
  late:
    command: [sleep, "400002"]
    version: "1"
    instances: {{hosts: [a2]}}
    update: {{healthy_for: 0s, deadline: 20s}}
    stop: {{drain: 0s, grace: 1s}}
"""


@pytest.fixture(scope="module")
def far() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(one=loopback(), two=loopback())) as c:
        try:
            yield c
        finally:
            for path in c.root.glob("far-*"):
                end_host(path)


def token(c: Cluster, host: str) -> tuple[str, str]:
    """A token and the controller's URL."""
    answer = json.loads(c.cli("agent", "token", host, "--json"))
    return answer["token"], answer["controller"]


def start_agent(c: Cluster, directory: Path, *words: str) -> subprocess.Popen[bytes]:
    with (c.root / f"{directory.name}.log").open("ab") as log:
        return subprocess.Popen(
            [*COCKPIT, "agent", "--dir", str(directory), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd="/", start_new_session=True,
        )


def refused(c: Cluster, *words: str, code: int = 2) -> str:
    """What an agent says that may not join; it ends by itself and leaves no identity."""
    directory = c.root / "refused"
    done = c.run("agent", "--dir", str(directory), *words, timeout=30)
    assert done.returncode == code, done
    assert not (directory / "identity").exists()
    return done.stderr


def up(c: Cluster, host: str) -> Any:
    return c.wait(lambda: c.presence(host)["presence"] == "up" and c.presence(host), 20, f"{host} is up")


def test_before_anybody_joined(far: Cluster) -> None:
    c = far
    assert {h["presence"] for h in c.status()["hosts"]} == {"unknown"}
    done = c.run("converge")
    assert done.returncode == 1, done  # not what was asked for
    assert "a1 gives no answer" in done.stderr, done


def test_the_printed_command_joins(far: Cluster) -> None:
    """What `agent token` prints is what is typed on the host."""
    c = far
    line = c.cli("agent", "token", "a1")
    words = re.fullmatch(r"cockpit agent --dir DIR --join (\S+) --controller (\S+)\n", line)
    assert words is not None, line
    directory = c.root / "far-1"
    agent = start_agent(c, directory, "--join", words[1], "--controller", words[2])
    row = up(c, "a1")
    assert row["agent_pid"] == agent.pid
    assert words[1] not in Path(f"/proc/{agent.pid}/cmdline").read_text()  # a secret, also when it is spent
    assert (directory / "identity").stat().st_mode & 0o077 == 0
    c.cli("converge", "idle")
    row = c.instances()["idle/0"]
    assert row["state"] == "RUNNING" and alive(row["pid"])
    used = refused(c, "--join", words[1], "--controller", words[2])
    assert "used already" in used, used


def test_tokens_that_do_not_fit(far: Cluster) -> None:
    c = far
    text, url = token(c, "a2")
    other = refused(c, "--join", text, "--controller", url, "--name", "a1")
    assert "a2" in other and "a1" in other, other
    assert "not the URL" in refused(c, "--join", text, "--controller", "ftp://x")
    assert "no answer" in refused(c, "--join", text, "--controller", "https://127.0.0.1:1", code=4)
    assert "token" in refused(c, "--join", text[:-8], "--controller", url)
    assert "no identity" in refused(c)
    unknown = c.run("agent", "token", "a9")
    assert unknown.returncode == 2 and "a9" in unknown.stderr, unknown
    free, url = token(c, "")
    assert "a9" in refused(c, "--join", free, "--controller", url, "--name", "a9")


def test_tokens_of_another_time_and_of_another_cluster(far: Cluster) -> None:
    c = far
    _, url = token(c, "a2")
    ours, other = Authority.load(c.state / "ca"), Authority.create(c.root / "other-ca", "other")
    for authority, now, why in ((ours, time.time() - 7200, "expired"), (other, time.time(), "nothing was sent")):
        text, _ = make_token(authority, "a2", "", 3600, now=now)
        said = refused(c, "--join", text, "--controller", url)
        assert why in said, said


def test_a_restarted_agent_needs_no_token(far: Cluster) -> None:
    c = far
    before = up(c, "a1")
    pid = c.instances()["idle/0"]["pid"]
    os.kill(before["agent_pid"], signal.SIGTERM)
    c.wait(lambda: c.presence("a1")["agent_pid"] not in (None, before["agent_pid"]), 20, "the keeper starts it anew")
    up(c, "a1")
    kill_host(c.root / "far-1")  # the power was cut
    assert not alive(pid)
    c.wait(lambda: c.presence("a1")["presence"] != "up", 20)
    start_agent(c, c.root / "far-1", "--boot-id", "after-the-power-cut")
    up(c, "a1")
    c.wait(lambda: c.instances()["idle/0"]["state"] == "RUNNING", 20)
    row = c.instances()["idle/0"]
    assert row["pid"] != pid and alive(row["pid"])


def test_it_reconnects_when_the_controller_is_back(far: Cluster) -> None:
    c = far
    row = up(c, "a1")
    pids = c.pids()
    c.kill()
    c.start()
    assert up(c, "a1")["agent_pid"] == row["agent_pid"]
    c.wait(lambda: c.pids() == pids, 10)


def test_a_host_that_is_silent_is_left_out_and_said(far: Cluster) -> None:
    c = far
    os.kill(up(c, "a1")["keeper_pid"], signal.SIGSTOP)  # nobody starts the agent again
    try:
        os.kill(c.presence("a1")["agent_pid"], signal.SIGKILL)
        c.wait(lambda: c.presence("a1")["presence"] == "unknown", 20)
        done = c.run("deploy", "idle", "2")
        assert done.returncode == 1 and "a1 gives no answer" in done.stderr, done
    finally:
        os.kill(c.presence("a1")["keeper_pid"], signal.SIGCONT)
    up(c, "a1")
    c.cli("converge", "idle")
    assert c.instances()["idle/0"]["version_actual"] == "2"


def test_after_a_recovery_it_joins_again_and_its_services_run_on(far: Cluster) -> None:
    """The old authority is lost with the state: the host needs a token of the new one."""
    c = far
    before = up(c, "a1")
    pids = c.pids()
    c.wait(lambda: (c.root / "far-1" / "head.json").exists())
    c.kill()
    shutil.rmtree(c.state)
    out = c.cli("recover", "--state", str(c.state), "--head", str(c.root / "far-1" / "head.json"))
    assert "cockpit agent token a1" in out, out
    c.start(from_file=False)
    assert c.presence("a1")["presence"] == "unknown"
    text, url = token(c, "a1")
    done = c.run("agent", "--dir", str(c.root / "far-1"), "--join", text, "--controller", url, timeout=30)
    assert done.returncode == 0 and "joined as a1" in done.stdout, done
    row = up(c, "a1")
    assert row["agent_pid"] != before["agent_pid"] and row["keeper_pid"] == before["keeper_pid"]
    c.wait(lambda: c.pids() == pids, 10)
    c.cli("deploy", "idle", "3")
    spent = start_agent(c, c.root / "far-1", "--join", text, "--controller", url)
    assert spent.wait(30) == 3  # its identity is of this controller: nothing to join, and somebody serves


def test_a_second_host_under_the_same_name_is_not_believed(far: Cluster) -> None:
    """A name belongs to the machine that joined last: the older identity is turned away."""
    c = far
    old = up(c, "a1")
    text, url = token(c, "a1")
    agent = start_agent(c, c.root / "far-2", "--join", text, "--controller", url)
    c.wait(lambda: c.presence("a1")["agent_pid"] == agent.pid, 20)
    with contextlib.suppress(ProcessLookupError):
        os.kill(old["agent_pid"], signal.SIGTERM)
    wait_for(lambda: not alive(old["agent_pid"]))
    assert c.presence("a1")["agent_pid"] == agent.pid
