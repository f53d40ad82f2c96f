"""A crash on a real host reaches a real webhook; what is silenced or acknowledged does not."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cockpit.act.journal import read
from tests.e2e.cluster import Cluster, cluster
from tests.helpers import wait_for

TOPOLOGY = """
cockpit: 1
name: prod
regions: {sh: {}}
hosts: {sh-1: {region: sh, address: 127.0.9.1, connection: local}}
tree:
  web: {command: [sleep, "1000"], instances: 2}
"""

RULES = "targets: {ops: {webhook: '%s'}}\nrules: [{when: %s, to: [ops]}]\n"


class Hook(ThreadingHTTPServer):
    def __init__(self) -> None:
        self.got: list[tuple[float, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def whats(self) -> list[tuple[str, str]]:
        return [(g["what"], g["when"]) for _, g in self.got]


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.got.append((time.time(), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def c(hook: Hook) -> Iterator[Cluster]:
    with cluster(TOPOLOGY) as found:
        found.wait_calm()
        write(found.state / "alerts.yaml", RULES % (hook.url, "crash"))
        wait_for(lambda: json.loads(found.cli("alerts", "--json"))["targets"], what="the file is read")
        yield found


def write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)


def alerts(c: Cluster) -> dict[str, Any]:
    answer = json.loads(c.cli("alerts", "--json", code=None))
    assert isinstance(answer, dict)
    return answer


def test_a_crash_is_told(c: Cluster, hook: Hook) -> None:
    os.kill(c.pids()["web/0"], signal.SIGKILL)
    at = time.time()
    wait_for(lambda: hook.got, what="the crash is told")
    (told, alert) = hook.got[0]
    print(f"told after {told - at:.2f} s")
    assert (alert["what"], alert["when"], alert["group"]) == ("firing", "crash", "web")
    assert alert["members"] == ["web/0"] and alert["cluster"] == "prod"
    found = alerts(c)["alerts"][0]
    assert (found["state"], found["to"]) == ("firing", ["ops"])
    assert json.loads(c.cli("alerts", "ack", found["id"], "--note", "on it", "--json"))["state"] == "acknowledged"
    os.kill(c.pids()["web/0"], signal.SIGKILL)
    assert "acknowledged by" in c.cli("alerts")
    entries, torn = read(c.state / "journal.jsonl")
    assert torn is None and [e.kind for e in entries][-1] == "alert"


def test_a_broken_file_leaves_the_old_rules_in_force(c: Cluster, hook: Hook) -> None:
    write(c.state / "alerts.yaml", "rules: [{when: crsh}]\n")
    wait_for(lambda: "crsh" in alerts(c)["trouble"], what="the file is looked at")
    assert alerts(c)["targets"], "what was read before holds"
    write(c.state / "alerts.yaml", RULES % (hook.url, "stopped"))
    wait_for(lambda: not alerts(c)["trouble"], what="the file is read")
    assert c.cli("alerts", "test", "ops").startswith("ops (webhook 127.0.0.1")
    assert any(told["when"] == "test" for _, told in hook.got)
    assert "no target 'opps'" in c.run("alerts", "test", "opps").stderr
