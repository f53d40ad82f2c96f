"""What ours.toml runs: certificates, an artifact of one file, and the real processes over their JSON lines.

    ours.py prepare FILE DIR N               authority, identities, and the artifact as the store would keep it
    ours.py seed DIR IP                      the origin
    ours.py proxy DIR IP SEED_IP             a relay
    ours.py recv DIR NAME IP SEED_IP PROXY_IP OUT READY GO DONE
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
import zlib
from pathlib import Path
from typing import Any

PORT = 7411
CHUNK = 16 * 1024
NAME, VERSION = "bench", "1"


def prepare(file: str, dir: str, count: str) -> None:
    from cockpit.link.pki import Authority

    root = Path(dir)
    authority = Authority.create(root / "ca", "bench")
    authority.issue_origin(root / "origin")
    authority.issue_local_relay(root / "relay", "px", str(uuid.uuid4()), [])
    for i in range(1, int(count) + 1):
        authority.issue_local_host(root / "hosts" / f"h{i}", f"h{i}", str(uuid.uuid4()), [])
    facts = artifact(Path(file), root / "store")
    (root / "artifact.json").write_text(json.dumps(facts))


def artifact(file: Path, store: Path) -> dict[str, Any]:
    """Manifest, layout, pack and its table of one file, cut every 16 KiB."""
    from cockpit.swarm.layout import layout, pieces, swarm_id
    from cockpit.swarm.manifest import Chunks, Entry, Manifest, text

    store.mkdir()
    chunks = Chunks()
    extents: list[int] = []
    at: list[int] = []
    with file.open("rb") as f:
        whole = hashlib.sha256()
        while data := f.read(CHUNK):
            whole.update(data)
            extents.append(chunks.add(hashlib.sha256(data).digest(), len(data)))
            if extents[-1] == len(at):
                at.append(f.tell() - len(data))
    size = file.stat().st_size
    entry = Entry("f", "file", mode=0o644, size=size, sha256=whole.digest(), extents=extents)
    manifest = Manifest(NAME, VERSION, "any", "release", [entry], chunks)
    plan = layout(manifest.sha256, [0] * len(chunks))
    cut = pieces(plan, chunks)
    (store / manifest.sha256).write_bytes(zlib.compress(b"".join(text(manifest))))
    (store / plan.sha256).write_bytes(plan.data)
    table = []
    with file.open("rb") as f, (store / "pack").open("wb") as out:
        for piece in range(len(cut)):
            content = b"".join(os.pread(f.fileno(), chunks.lengths[c], at[c]) for c in cut.chunks_of(piece))
            packed = zlib.compress(content)
            encoding, data = (1, packed) if len(packed) < 0.95 * len(content) else (0, content)
            out.write(data)
            table.append([encoding, len(data)])
    (store / "table").write_text(json.dumps(table))
    return {
        "sha256": manifest.sha256, "layout": plan.sha256, "size": size,
        "swarm": swarm_id(manifest.sha256, plan.sha256),
    }


class Process:
    """One of the real processes; what it prints is read line by line."""

    def __init__(self, module: str, *args: str) -> None:
        command = [sys.executable, "-I", "-m", module, *args]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        sys.exit(0)

    def say(self, doc: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(doc).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the process ended with {self.process.wait()}")
        return json.loads(line)  # type: ignore[no-any-return]

    def until(self, id: int) -> dict[str, Any]:
        """The answer to a line of ours."""
        while True:
            doc = self.hear()
            if doc.get("id") == id and "ok" in doc:
                if not doc["ok"]:
                    sys.exit(f"{doc}")
                return doc

    def drain(self) -> None:
        """Until we are ended."""
        while True:
            self.hear()


def seed(dir: str, ip: str) -> None:
    facts = json.loads(Path(dir, "artifact.json").read_text())
    store = Path(dir, "store")
    origin = Process(
        "cockpit.swarm.node", "origin", "--dir", f"{dir}/origin", "--identity", f"{dir}/origin/identity",
        "--address", ip, "--port", str(PORT),
    )
    origin.hear()
    origin.say({
        "id": 1, "op": "publish", "sha256": facts["sha256"], "layout": facts["layout"],
        "manifest": str(store / facts["sha256"]), "layout_file": str(store / facts["layout"]),
        "pack": str(store / "pack"), "table": str(store / "table"),
    })
    origin.until(1)
    origin.drain()


def proxy(dir: str, ip: str, seed_ip: str) -> None:
    relay = Process(
        "cockpit.swarm.node", "relay", "--dir", f"{dir}/relay", "--address", ip, "--port", str(PORT),
        "--region", "b", "--upstream", f"{seed_ip}:{PORT}",
    )
    relay.drain()


def recv(
    dir: str, name: str, ip: str, seed_ip: str, proxy_ip: str, out: str, ready: str, go: str, done: str
) -> None:
    facts = json.loads(Path(dir, "artifact.json").read_text())
    home = Path(dir, "hosts", name)
    peer = Process("cockpit.swarm.peer", "--dir", str(home))
    peer.say({"id": 1, "op": "rates"})
    peer.until(1)
    near = {"name": "" if proxy_ip == seed_ip else "px", "address": proxy_ip, "port": PORT}
    Path(ready).touch()
    while not os.path.exists(go):
        time.sleep(0.005)
    peer.say({
        "id": 2, "op": "fetch", "address": ip, "port": PORT, "region": "b", "name": NAME, "version": VERSION,
        "kind": "release", "sha256": facts["sha256"], "layout": facts["layout"], "size": facts["size"],
        "push": "bench", "trackers": [near], "rates": {}, "require": [], "signers": {}, "signatures": [],
        "patch": None,
    })
    answer = peer.until(2)
    os.link(home / "releases" / NAME / VERSION / "file", out)
    Path(done).touch()
    print(json.dumps(answer), flush=True)
    peer.drain()


if __name__ == "__main__":
    words: dict[str, Any] = {"prepare": prepare, "seed": seed, "proxy": proxy, "recv": recv}
    words[sys.argv[1]](*sys.argv[2:])
