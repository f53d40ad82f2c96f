"""A large data artifact on six hosts of one machine, then the same with 4 KiB changed: bytes, seconds, and memory.

    python -m tests.bench.large [--gib 2] [--dir /var/tmp]      needs seven times the size for a while

A real controller with its agents. Memory is the most that each process ever had (VmHWM).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

from tests.e2e.cluster import Cluster, cluster, processes

HOSTS = 6
MIB = 2**20
CHANGE = 4096
LATE = 1200.0
NAMES = [f"sh-{n}" for n in range(1, HOSTS + 1)]
PLACES = "".join(f"  {name}: {{region: sh, address: 127.78.3.{name[3:]}, connection: local}}\n" for name in NAMES)
TOPOLOGY = f"""
cockpit: 1
name: large
regions: {{sh: {{}}}}
hosts:
{PLACES}tree:
  p:
    children:
      reader:
        command: [/bin/sleep, "1000000"]
        instances: {{count: 6}}
        data: {{set: {{artifact: set, version: 1, on_change: nothing}}}}
"""


def peaks(c: Cluster, *words: str) -> list[float]:
    """MiB at most, of each process of the cluster with these words in its command line."""
    found = []
    for pid in processes([str(c.root), *words]):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            peak = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM:"))
            found.append(round(peak / 1024, 1))
    return sorted(found)


def show(c: Cluster, version: str, seconds: float) -> None:
    """One line of JSON; bytes are those of pieces, by host."""
    hosts = {
        row["host"]: {
            "to_move": row["to_move"], "came": row["from_source"] + row["from_relay"] + row["from_peers"],
            "source": row["from_source"], "duplicates": row["duplicates"],
        }
        for row in json.loads(c.cli("pushes", "--json"))
        if row["artifact"] == f"set/{version}"
    }
    print(json.dumps({
        "version": version, "seconds": round(seconds, 1), "hosts": hosts,
        "agents": peaks(c, "-m cockpit.agent ", "--dir"), "keepers": peaks(c, "cockpit/agent/keeper"),
        "peers": peaks(c, "cockpit.swarm.peer"), "origin": peaks(c, "cockpit.swarm.node"),
    }), flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.large", description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--dir", default="/var/tmp", help="where there is room")
    options = parser.parse_args()
    tempfile.tempdir = options.dir
    with cluster(TOPOLOGY, start=False) as c:
        content = c.root / "content"
        content.mkdir()
        with (content / "set").open("wb") as f:
            for _ in range(int(options.gib * 1024)):
                f.write(os.urandom(MIB))
        start = time.monotonic()
        c.cli("artifact", "add", "content", "--name", "set", "--version", "1", "--kind", "data", timeout=LATE)
        print(f"added in {time.monotonic() - start:.1f} s", flush=True)
        start = time.monotonic()
        c.start()
        c.wait(lambda: len(c.instances()) == HOSTS and c.calm(), LATE, "every host has the first version")
        show(c, "1", time.monotonic() - start)
        pids = c.pids()
        with (content / "set").open("r+b") as f:
            f.seek(int(options.gib * 2**30) // 2 + 12345)
            f.write(os.urandom(CHANGE))
        c.cli("artifact", "add", "content", "--name", "set", "--version", "2", "--kind", "data", timeout=LATE)
        print(c.cli("artifact", "diff", "set/2"), flush=True)
        start = time.monotonic()
        c.cli("deploy", "reader", "2", "--data", "set", timeout=LATE)
        c.wait(c.calm, LATE, "every host has the second version")
        show(c, "2", time.monotonic() - start)
        print(f"restarted: {sum(pids[id] != pid for id, pid in c.pids().items())}", flush=True)


if __name__ == "__main__":
    main()
