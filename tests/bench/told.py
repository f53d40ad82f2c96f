"""From kill -9 of a real process to a webhook: fifty crashes, each an alert of its own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.bench.live import p99
from tests.bench.table import Figure, measures, median
from tests.e2e.cluster import Cluster, cluster
from tests.helpers import wait_for

SERVICES = 10
CRASHES = 50
LATE = 15.0
TOPOLOGY = """
cockpit: 1
name: told
regions: {sh: {}}
hosts: {sh-1: {region: sh, address: 127.0.37.1, connection: local}}
tree:
""" + "".join(
    f'  s{n}: {{command: [sleep, "100000"], restart: {{delay: 50ms}}}}\n' for n in range(SERVICES)
)
RULES = "targets: {ops: {webhook: '%s'}}\nrules: [{when: crash, to: [ops]}]\n"


class Hook(ThreadingHTTPServer):
    """Notes when each alert was told to it: (what, group) and Unix time."""

    def __init__(self) -> None:
        self.got: list[tuple[float, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        at = time.time()
        self.server.got.append((at, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


def crashes(c: Cluster, hook: Hook, count: int) -> list[tuple[float, float]]:
    """For each: milliseconds from the kill to the webhook, and to the time that the controller knew of it."""
    found = []
    for n in range(count):
        found.append(crash(c, hook, f"s{n % SERVICES}"))
    return found


def crash(c: Cluster, hook: Hook, service: str) -> tuple[float, float]:
    wait_for(lambda: "firing" not in _words(c, service), 60, "the alert before it has ended")
    before, pid = len(hook.got), c.pids()[f"{service}/0"]
    start = time.time()
    os.kill(pid, signal.SIGKILL)

    def told() -> tuple[float, dict[str, Any]] | None:
        mine = (g for g in hook.got[before:] if g[1]["group"] == service and g[1]["what"] == "firing")
        return next(mine, None)

    at, alert = wait_for(told, LATE, f"{service} is told")
    return (at - start) * 1e3, (alert["since"] - start) * 1e3


def _words(c: Cluster, service: str) -> list[str]:
    alerts = json.loads(c.cli("alerts", "--json", code=None))["alerts"]
    return [a["state"] for a in alerts if a["group"] == service]


@measures("told", needs=["cockpit.controller.alerting"])
def told() -> Figure:
    with cluster(TOPOLOGY) as c, Hook() as hook:
        c.wait_calm(60)
        path = c.state / "alerts.yaml"
        url = f"http://127.0.0.1:{hook.server_address[1]}/"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(RULES % url)
        wait_for(lambda: json.loads(c.cli("alerts", "--json"))["targets"], 10, "the file is read")
        found = crashes(c, hook, CRASHES)
        hook.shutdown()
    whole, known = [f[0] for f in found], [f[1] for f in found]
    note = (
        f"{CRASHES} kills; median {median(whole):.0f}, at most {max(whole):.0f}; known to the alerts after "
        f"{median(known):.0f} (p99 {p99(known):.0f}); load {os.getloadavg()[0]:.1f}"
    )
    return Figure(p99(whole), note=note)
