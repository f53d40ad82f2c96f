"""Pushes end to end, on real relays and hosts: once over the WAN, only what changed, patches, pause and abort."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, cluster

TOPOLOGY = """
cockpit: 1
name: push
regions: {sh: {}, bj: {}}
hosts:
  sh-1: {region: sh, address: 127.77.5.1, connection: local}
  sh-2: {region: sh, address: 127.77.5.2, connection: local}
  bj-1: {region: bj, address: 127.77.6.1, connection: local, push_rate: 1M}
relays:
  relay-sh: {region: sh, address: 127.77.5.9, connection: local}
tree:
  p: {children: {idle: {command: [sleep, "1000"], instances: 0}}}
"""
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def c() -> Iterator[Cluster]:
    with cluster(TOPOLOGY) as found:
        found.wait(lambda: len([h for h in found.status()["hosts"] if h["presence"] == "up"]) == 3, 30)
        yield found


def content(seed: int, size: int) -> bytearray:
    return bytearray(random.Random(seed).randbytes(size))


def add(c: Cluster, name: str, version: str, files: dict[str, bytes | bytearray]) -> None:
    root = c.root / f"{name}-{version}"
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    c.cli("artifact", "add", str(root), "--name", name, "--version", version)


def installed(c: Cluster, host: str, id: str) -> dict[str, str]:
    root = c.host(host) / "releases" / id
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*")) if p.is_file()
    }  # fmt: skip


def wanted(c: Cluster, id: str) -> dict[str, str]:
    root: Path = c.root / id.replace("/", "-")
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*")) if p.is_file()
    }  # fmt: skip


def rows(c: Cluster, action: str) -> dict[str, dict[str, Any]]:
    found = json.loads(c.cli("pushes", action, "--json"))
    return {r["host"]: r for r in found if r["action"] == action}


def test_warm_then_push_crosses_the_wan_once_and_again_not_at_all(c: Cluster) -> None:
    add(c, "once", "1", {"a": content(1, 3 * MIB), "b/c": content(2, MIB)})
    c.cli("push", "once/1", "--hosts", "sh-1", "--warm")
    warm = c.wait(lambda: (r := rows(c, c.newest("push"))).get("relay-sh", {}).get("state") == "done" and r)
    assert set(warm) == {"relay-sh"} and warm["relay-sh"]["from_source"] == 4 * MIB
    assert not (c.host("sh-1") / "releases" / "once").exists()

    c.cli("push", "once/1", "--hosts", "sh-1,sh-2")
    id = c.newest("push")
    found = c.wait(lambda: (r := rows(c, id)).get("relay-sh", {}).get("state") == "done" and r)
    assert found["relay-sh"]["from_source"] == 0, "the relay had it"
    for host in ("sh-1", "sh-2"):
        row = found[host]
        assert (row["state"], row["have"], row["from_source"], row["wan"]) == ("done", row["pieces"], 0, 0)
        assert row["moved"] == 4 * MIB <= row["from_relay"] + row["from_peers"]
        assert installed(c, host, "once/1") == wanted(c, "once/1")
    assert found["relay-sh"]["sent"] < 2 * 4 * MIB, "the hosts helped each other"
    assert "nothing to do" in c.cli("push", "once/1", "--hosts", "sh-1,sh-2")


def test_only_what_changed_moves_and_the_plan_says_how_much(c: Cluster) -> None:
    files: dict[str, bytes | bytearray] = {f"part/{n}": content(n, 64 * 1024) for n in range(30)}
    add(c, "delta", "1", files)
    c.cli("push", "delta/1", "--hosts", "sh-1,bj-1")
    files["part/7"] = content(99, 64 * 1024)
    add(c, "delta", "2", files)
    plan = c.cli("plan", "push", "delta/2", "--hosts", "sh-1,bj-1,sh-2")
    assert "Moves 2.0 MiB in 3 pushes" in plan
    c.cli("push", "delta/2", "--hosts", "sh-1,bj-1,sh-2")
    found = rows(c, c.newest("push"))
    assert found["sh-1"]["moved"] == found["bj-1"]["moved"] == 64 * 1024
    assert found["sh-1"]["had"] > 0 and found["sh-2"]["moved"] == 30 * 64 * 1024
    for host in ("sh-1", "bj-1", "sh-2"):
        assert installed(c, host, "delta/2") == wanted(c, "delta/2")
    assert installed(c, "sh-1", "delta/1") == wanted(c, "delta/1"), "the earlier version stays as it was"


def test_a_patch_is_used_where_it_is_smaller(c: Cluster) -> None:
    program = content(5, MIB)
    add(c, "patched", "1", {"bin/program": program, "same": content(6, 200_000)})
    c.cli("push", "patched/1", "--hosts", "sh-1,sh-2")
    for place in range(500, MIB, 4096):  # as after compiling anew: every chunk differs a little
        program[place] ^= 1
    add(c, "patched", "2", {"bin/program": program, "same": content(6, 200_000)})
    made = json.loads(c.cli("artifact", "patch", "patched/2", "--json"))
    assert made["base"] == "1" and made["packed"] < made["chunks"] / 20
    c.cli("push", "patched/2", "--hosts", "sh-1,sh-2,bj-1")
    found = rows(c, c.newest("push"))
    assert found["sh-1"]["moved"] < MIB / 20 and found["sh-2"]["moved"] < MIB / 20
    assert found["bj-1"]["moved"] > MIB, "it has no version that the patch could start from"
    for host in ("sh-1", "sh-2", "bj-1"):
        assert installed(c, host, "patched/2") == wanted(c, "patched/2")


def test_pause_holds_resume_goes_on_and_abort_keeps_what_came(c: Cluster) -> None:
    add(c, "slow", "1", {"big": content(7, 8 * MIB)})
    add(c, "quick", "1", {"small": content(8, 1000)})
    c.cli("push", "slow/1", "--hosts", "bj-1", "--no-wait")
    id = c.newest("push")
    c.wait(lambda: rows(c, id).get("bj-1", {}).get("moved", 0) > 0)
    c.cli("pause", id)
    c.wait(lambda: rows(c, id)["bj-1"]["state"] == "paused")
    c.cli("push", "quick/1", "--hosts", "sh-1,bj-1")  # another push goes its way meanwhile
    held = rows(c, id)["bj-1"]
    assert held["state"] == "paused" and held["moved"] < 8 * MIB
    assert c.action(id)["state"] == "paused"

    c.cli("resume", id)
    c.wait(lambda: rows(c, id)["bj-1"]["moved"] > held["moved"])
    c.cli("abort", id, "--confirm", id.lstrip("#"))
    stopped = c.wait(lambda: (r := rows(c, id)["bj-1"])["state"] == "failed" and r)
    assert "stopped" in stopped["note"] and stopped["moved"] < 8 * MIB
    assert not (c.host("bj-1") / "releases" / "slow").exists()

    c.cli("push", "slow/1", "--hosts", "bj-1")
    again = rows(c, c.newest("push"))["bj-1"]
    received = again["from_source"] + again["from_relay"] + again["from_peers"]
    assert again["state"] == "done" and received <= 8 * MIB - stopped["moved"], "what came is not fetched again"
    assert installed(c, "bj-1", "slow/1") == wanted(c, "slow/1")
