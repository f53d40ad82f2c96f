"""Rehearse, deploy, and see how well it was foretold: on real hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.bench.score import wrong
from tests.e2e.cluster import Cluster, cluster

TOPOLOGY = """
cockpit: 1
name: scored
regions: {r: }
hosts:
  h-1: {region: r, address: 127.0.41.1, connection: local, ports: 23000-23099}
  h-2: {region: r, address: 127.0.41.2, connection: local, ports: 23000-23099}
tree:
  shop:
    cluster: true
    children:
      web:
        command: [python3, -S, -m, http.server, --bind, "{address}", "{port}"]
        version: "1"
        ports: [http]
        check: {tcp: http, interval: 200ms, timeout: 1s}
        instances: 3
        update: {order: stop-first, healthy_for: 200ms, deadline: 20s}
"""


@pytest.fixture(scope="module")
def c() -> Iterator[Cluster]:
    with cluster(TOPOLOGY) as found:
        found.wait_calm(60)
        yield found


def test_deploys_go_as_they_were_rehearsed(c: Cluster) -> None:
    for version in ("2", "3", "4"):
        said = c.cli("deploy", "web", version, "--rehearse")
        assert "It would be done in" in said and "shop.web: 2 of 3 ready at the lowest point" in said
        assert "TIMELINE" in said
        c.cli("deploy", "web", version)
        detail = json.loads(c.cli("action", c.newest("deploy"), "--json"))
        assert wrong(detail) == ""
        assert detail["score"]["steps"] == detail["score"]["steps_predicted"] == detail["row"]["total"]
        assert detail["score"]["lowest"] == [{"service": "shop.web", "predicted": 2, "actual": 2}]
    text = c.cli("action", c.newest("deploy"))
    assert "SCORE" in text and "were foretold" in text and "cockpit deploy" in text
    assert "deploy" in c.cli("actions", "-n", "2") and "apply" not in c.cli("actions", "-n", "2")
    outcomes = [e for e in json.loads(c.cli("log", "--json")) if e["kind"] == "outcome"]
    assert outcomes[-1]["body"]["score"]["outcome"] == "done", "the journal keeps it"


def test_a_rehearsal_changes_nothing_and_says_what_would_fail(c: Cluster) -> None:
    before = c.status()
    said = c.cli("deploy", "web", "9", "--rehearse", "--fail", "h-2", code=1)
    assert "It would fail" in said or "It would pause" in said
    assert "no answer from h-2" in said
    assert "s99" in c.run("deploy", "web", "9", "--rehearse", "--fail", "s99").stderr
    assert c.run("deploy", "web", "9", "--fail", "h-2").returncode == 2
    after = c.status()
    assert after["revision"] == before["revision"] and len(after["actions"]) == len(before["actions"])


def test_an_ended_action_gives_the_command_that_does_the_same(c: Cluster) -> None:
    c.cli("restart", "web/0")
    spelled = c.cli("action", c.newest("restart"), "--command").strip()
    assert spelled.split() == ["cockpit", "restart", *spelled.split()[2:]]
    c.cli(*spelled.split()[1:])
    log = c.cli("log", "--commands").splitlines()
    assert log[-2:] == [spelled, spelled] and log[0].startswith("cockpit replay ") and log[0].endswith("--live")
    rows = json.loads(c.cli("actions", "--json"))
    assert [(r["verb"], r["targets"], r["params"]) for r in rows[-2:]][0] == [
        (r["verb"], r["targets"], r["params"]) for r in rows[-2:]][1]
