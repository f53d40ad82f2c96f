"""What a region costs on the WAN: a push to it, the same once more, and one whose relay is killed half-way.

    python tests/bench/p2p/wan.py [-n 8] [--wan 20] [--rate 40] [--mib 32] [--runs 3]

Needs root (namespaces). Prints one JSON object a case: bytes on the WAN and seconds, both as ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab import Lab, possible  # type: ignore[import-not-found]

OURS = str(Path(__file__).resolve().parent / "ours.py")
LIMIT = 240.0


class Case:
    """One lab: a source at one end of the WAN, a relay and two times `n` receivers at the other."""

    def __init__(self, n: int, wan: float, rate: float, mib: float) -> None:
        self.n, self.size, self.bound = n, int(mib * 2**20), mib * 2**20 * 8e-6 / min(wan, rate)
        self.dir = Path(tempfile.mkdtemp(prefix="wan-", dir="/dev/shm"))
        self.lab = Lab()
        self.started: list[subprocess.Popen[bytes]] = []
        self.here, there = self.lab.switch("a"), self.lab.switch("b")
        self.lab.wan(self.here, there, wan)
        self.lab.host("src", self.here, up=rate, down=rate)
        self.lab.host("px", there, up=rate, down=rate)
        for i in range(1, 2 * n + 1):
            self.lab.host(f"h{i}", there, up=rate, down=rate)
        (self.dir / "file").write_bytes(os.urandom(self.size))
        made = [sys.executable, OURS, "prepare", str(self.dir / "file"), str(self.dir), str(2 * n)]
        subprocess.run(made, check=True)
        self.run("src", "seed", str(self.dir), self.address("src"))
        self.relay()

    def address(self, host: str) -> str:
        return str(self.lab.places[host].address)

    def run(self, host: str, *args: str) -> None:
        with open(self.dir / f"{host}.log", "ab") as log:
            self.started.append(subprocess.Popen(
                self.lab.argv(host, sys.executable, OURS, *args), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            ))

    def relay(self) -> None:
        self.run("px", "proxy", str(self.dir), self.address("px"), self.address("src"))

    def kill_relay(self) -> None:
        os.kill(int((self.dir / "relay" / "relay.lock").read_text()), signal.SIGKILL)

    def crossed(self) -> int:
        return int(self.lab.sent(self.here, "wan"))

    def push(self, first: int, kill_at: float = 0.0) -> dict[str, float]:
        """To `n` receivers from number `first` on; the relay is killed once that part of the file has crossed."""
        names = [f"h{i}" for i in range(first, first + self.n)]
        go = self.dir / f"go{first}"
        for name in names:
            home = self.dir / f"run-{name}"
            home.mkdir()
            files = [str(home / f) for f in ("out", "ready")]
            self.run(name, "recv", str(self.dir), name, self.address(name), self.address("src"), self.address("px"),
                     *files, str(go), str(home / "done"))  # fmt: skip
        wait(lambda: all((self.dir / f"run-{name}" / "ready").exists() for name in names))
        time.sleep(0.5)
        before, start = self.crossed(), time.time()
        go.touch()
        if kill_at:
            wait(lambda: self.crossed() - before > kill_at * self.size)
            self.kill_relay()
            self.relay()
        done = [self.dir / f"run-{name}" / "done" for name in names]
        wait(lambda: all(path.exists() for path in done))
        content = (self.dir / "file").read_bytes()
        for name in names:
            if (self.dir / f"run-{name}" / "out").read_bytes() != content:
                raise SystemExit(f"{name} got something else")
        seconds = max(path.stat().st_mtime for path in done) - start
        crossed = self.crossed() - before
        return {"wan": round(crossed / self.size, 4), "seconds": round(seconds / self.bound, 3)}

    def close(self) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        self.lab.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def wait(true: object) -> None:
    until = time.monotonic() + LIMIT
    while not true():  # type: ignore[operator]
        if time.monotonic() > until:
            raise SystemExit("it takes too long")
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=8, help="receivers")
    parser.add_argument("--wan", type=float, default=20, help="Mbit/s")
    parser.add_argument("--rate", type=float, default=40, help="Mbit/s of every host, up and down")
    parser.add_argument("--mib", type=float, default=32, help="size of the file")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    if not possible():
        raise SystemExit("this needs root, ip and tc")
    found: dict[str, list[dict[str, float]]] = {"push": [], "again": [], "killed": []}
    for _ in range(args.runs):
        for name in ("push", "killed"):
            case = Case(args.n, args.wan, args.rate, args.mib)
            try:
                found[name].append(case.push(1, 0.4 if name == "killed" else 0.0))
                if name == "push":
                    found["again"].append(case.push(args.n + 1))
            finally:
                case.close()
    for name, runs in found.items():
        median = {key: statistics.median(run[key] for run in runs) for key in ("wan", "seconds")}
        load = round(os.getloadavg()[0], 1)
        print(json.dumps({"case": name, "receivers": args.n, "runs": runs, **median, "load": load}), flush=True)


if __name__ == "__main__":
    main()
