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
from typing import Any

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


def peaks(c: Cluster, *words: str) -> dict[str, float]:
    """MiB at most, by the last part of the host's directory."""
    found = {}
    for pid in processes([str(c.root), *words]):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            peak = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM:"))
            found[f"{pid} {line[-40:]}"] = round(peak / 1024, 1)
    return found


def push(c: Cluster, version: str) -> dict[str, Any]:
    start = time.monotonic()
    c.cli("push", f"set/{version}", "--hosts", ",".join(NAMES), timeout=LATE)
    seconds = time.monotonic() - start
    return {"seconds": round(seconds, 1), "told": json.loads(c.cli("pushes", "--json", c.newest("push")))}


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
        c.start()
        print(json.dumps(push(c, "1")), flush=True)
        print(json.dumps({"agents": peaks(c, "cockpit.agent"), "peers": peaks(c, "cockpit.swarm")}), flush=True)
        c.wait_calm(300)
        with (content / "set").open("r+b") as f:
            f.seek(int(options.gib * 2**30) // 2 + 12345)
            f.write(os.urandom(CHANGE))
        c.cli("artifact", "add", "content", "--name", "set", "--version", "2", "--kind", "data", timeout=LATE)
        print(c.cli("artifact", "diff", "set/2"), flush=True)
        print(json.dumps(push(c, "2")), flush=True)
        print(json.dumps({"agents": peaks(c, "cockpit.agent"), "peers": peaks(c, "cockpit.swarm")}), flush=True)


if __name__ == "__main__":
    main()
