"""What ours.toml runs for the shared harness: certificates, an artifact of one file, and the real processes.

    ours prepare FILE DIR N               authority, identities, and the artifact in a store
    ours seed DIR IP                      the origin
    ours proxy DIR IP SEED_IP             a relay
    ours recv DIR NAME IP SEED_IP PROXY_IP OUT READY GO DONE
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.p2p import cluster
from tests.bench.p2p.cluster import FILE, RELAY, Process


def prepare(file: str, dir: str, count: str) -> None:
    root = _root(dir)
    root.mkdir()
    cluster.issue(root, [f"h{i}" for i in range(1, int(count) + 1)], [RELAY])
    record = cluster.add(root, Path(file))
    (root / "artifact.json").write_text(json.dumps(record))


def seed(dir: str, ip: str) -> None:
    root = _root(dir)
    origin = Process(cluster.origin_argv(root, ip), root / "origin.err")
    origin.until(lambda: origin.ready)
    origin.ask(cluster.publish_doc(root, _record(root)))
    origin.keep()


def proxy(dir: str, ip: str, seed_ip: str) -> None:
    root = _root(dir)
    Process(cluster.relay_argv(root, ip, seed_ip), root / "relay.err").keep()


def recv(
    dir: str, name: str, ip: str, seed_ip: str, proxy_ip: str, out: str, ready: str, go: str, done: str
) -> None:
    root = _root(dir)
    record = _record(root)
    peer = Process(cluster.peer_argv(root, name), root / f"{name}.err")
    peer.ask({"op": "rates"})  # it is up
    Path(ready).touch()
    while not os.path.exists(go):
        time.sleep(0.005)
    tracker = "" if proxy_ip == seed_ip else RELAY
    _, answer = peer.ask(cluster.fetch_doc(record, ip, (tracker, proxy_ip)))
    os.link(cluster.installed(root, name, record) / FILE, out)
    Path(done).touch()
    print(json.dumps(answer), flush=True)
    peer.keep()


def _root(dir: str) -> Path:
    return Path(dir, "ours")


def _record(root: Path) -> dict[str, Any]:
    return json.loads((root / "artifact.json").read_text())  # type: ignore[no-any-return]


if __name__ == "__main__":
    cluster.obedient()
    words: dict[str, Any] = {"prepare": prepare, "seed": seed, "proxy": proxy, "recv": recv}
    words[sys.argv[1]](*sys.argv[2:])
