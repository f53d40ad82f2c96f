"""Identities on a real cluster: an agent that renews itself, one that is revoked, a controller that was lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.link import pki
from cockpit.link.pki import Authority, facts
from tests.e2e.cluster import Cluster, cluster, end_host
from tests.e2e.test_join import TOPOLOGY, start_agent, token, up
from tests.helpers import alive, loopback


@pytest.fixture(scope="module")
def far() -> Iterator[Cluster]:
    with cluster(TOPOLOGY.format(one=loopback(), two=loopback())) as c:
        try:
            yield c
        finally:
            for path in c.root.glob("far-*"):
                end_host(path)


def join(c: Cluster, directory: Path, host: str) -> Any:
    text, url = token(c, host)
    start_agent(c, directory, "--join", text, "--controller", url)
    return up(c, host)


def identity(c: Cluster, host: str) -> dict[str, Any]:
    rows = json.loads(c.cli("agent", "list", "--json"))["identities"]
    return next((r for r in rows if r["name"] == host and not r["revoked"]), {})


def test_an_agent_renews_itself_when_a_third_is_left(far: Cluster) -> None:
    """Its certificate is exchanged, while it is down, for one of the same identity that ends soon."""
    c, directory = far, far.root / "far-1"
    before = join(c, directory, "a1")
    c.cli("converge", "idle")
    pids, own = c.pids(), directory / "identity"
    doc = json.loads((own / "host.json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pki, "HOST_LIFE", pki.timedelta(seconds=200))
        patch.setattr(pki, "BACKDATED", pki.timedelta(days=1))
        Authority.load(c.state / "ca").issue_local_host(directory, "a1", doc["uuid"], doc["controllers"])
    old = facts((own / "cert.pem").read_bytes()).serial
    assert identity(c, "a1")["serial"] != old
    os.kill(before["agent_pid"], signal.SIGTERM)
    c.wait(lambda: identity(c, "a1")["serial"] == facts((own / "cert.pem").read_bytes()).serial, 30, "it is renewed")
    assert identity(c, "a1")["expires"] > time.time() + 80 * 86400
    assert (own / "key.pem").is_symlink() and (own / "cert.pem").stat().st_mode & 0o777 == 0o600
    after = up(c, "a1")
    os.kill(after["agent_pid"], signal.SIGTERM)  # the new one serves for the next connection
    c.wait(lambda: c.presence("a1")["agent_pid"] not in (None, after["agent_pid"]), 20)
    up(c, "a1")
    assert c.pids() == pids


def test_tokens_are_listed_and_withdrawn(far: Cluster) -> None:
    c = far
    c.cli("agent", "token", "a2", "--ttl", "30m")
    line = c.cli("agent", "tokens").splitlines()[1].split()
    assert line[1] == "a2"
    assert "was withdrawn" in c.cli("agent", "token", "--withdraw", line[0])
    assert c.cli("agent", "tokens") == "no token is open\n"
    assert c.run("agent", "token", "--ttl", "soon").returncode == 2
    assert "SHA-256" in c.cli("ca")


def test_a_lost_controller_comes_back_from_its_backup(far: Cluster) -> None:
    c = far
    row, pids = up(c, "a1"), c.pids()
    secret = c.root / "secret"
    secret.write_text("over the hills\n")
    out = c.cli("backup", str(c.root / "backup"), "--passphrase-file", str(secret))
    assert "sealed" in out and "journal entries" in out
    assert c.run("restore", str(c.root / "backup"), "--passphrase-file", str(secret)).returncode == 3
    c.kill()
    shutil.rmtree(c.state)
    done = c.run("backup", "--check", str(c.root / "backup"))
    assert done.returncode == 2 and "--passphrase-file" in done.stderr, done
    assert "is whole" in c.cli("backup", "--check", str(c.root / "backup"), "--passphrase-file", str(secret))
    c.cli("restore", str(c.root / "backup"), "--passphrase-file", str(secret))
    c.start(from_file=False)
    assert up(c, "a1")["agent_pid"] == row["agent_pid"]
    c.wait(lambda: c.pids() == pids, 20, "the same processes are seen")


def test_a_revoked_host_is_cut_off_and_joins_anew(far: Cluster) -> None:
    c, directory = far, far.root / "far-1"
    row, pid = up(c, "a1"), c.pids()["idle/0"]
    old = identity(c, "a1")["uuid"]
    out = c.cli("agent", "revoke", "a1", "--why", "lost its lock")
    assert "services run on" in out and "cockpit agent token a1" in out
    c.wait(lambda: c.presence("a1")["presence"] == "unknown", 20)
    assert c.presence("a1")["reason"].startswith("revoked by ") and alive(pid) and alive(row["agent_pid"])
    assert "revoked by " in c.cli("agent", "list") and "revoked" in c.cli("log")
    again = c.run("agent", "revoke", "a1")
    assert again.returncode == 2 and "revoked already" in again.stderr, again
    shutil.rmtree(directory / "identity")
    text, url = token(c, "a1")
    done = c.run("agent", "--dir", str(directory), "--join", text, "--controller", url, timeout=30)
    assert done.returncode == 0, done
    up(c, "a1")
    assert identity(c, "a1")["uuid"] not in ("", old)
    c.wait(lambda: c.pids().get("idle/0") == pid, 20, "its service never stopped")
