"""The cockpit at the far end of a slow link: what a key costs in bytes, and when its effect is seen.

    python -m tests.bench.slow [--delay 100] [--rate 256] [--changes 20]      milliseconds and kbit/s, each way

A real controller with light agents, `cockpit attach` on a terminal of 120x40 behind the link. Times are at the near
end, from the key to the first byte of what it causes and to the last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from typing import NamedTuple

from tests.bench.keeper import place
from tests.bench.terminal import Terminal, terminal
from tests.soak.__main__ import cluster
from tests.soak.figures import quantile
from tests.soak.robot import sent

HOSTS = 20
STILL = 0.3
"""Seconds without a byte, on a cluster where nothing happens: all that a key caused is there."""
OPENED = {
    "instances": "i", "hosts": "h", "graph": "g", "naming": "n", "actions": "a", "revisions": "v", "matrix": "M",
    "journal": "J", "alerts": "N", "artifacts": "b", "help": "?", "palette": "ctrl+p", "life": "L", "messages": ";",
}  # fmt: skip
"""Screen -> its key, pressed on the overview."""


class Effect(NamedTuple):
    first: float
    """Milliseconds until something was seen."""
    last: float
    bytes: int


def press(screen: Terminal, key: str, still: float = STILL) -> Effect:
    """A key, and what came of it until it was quiet. Nothing: all zero."""
    before, start = screen.total, time.perf_counter()
    os.write(screen.fd, sent(key))
    first = screen.next(before, 3.0)
    if not first:
        return Effect(0, 0, 0)
    last = screen.quiet(still)
    return Effect((first - start) * 1e3, (last - start) * 1e3, screen.total - before)


def typical(effects: list[Effect]) -> dict[str, float]:
    seen = [e for e in effects if e.bytes]
    return {
        "first": statistics.median(e.first for e in seen), "first-p95": quantile([e.first for e in seen], 0.95),
        "last": statistics.median(e.last for e in seen), "bytes": statistics.median(e.bytes for e in seen),
        "bytes-most": max(e.bytes for e in seen),
    }  # fmt: skip


def measure(delay: float, rate: float, changes: float, times: int = 30) -> dict[str, dict[str, float]]:
    """Figures by what was done."""
    out: dict[str, dict[str, float]] = {}
    with place() as where, cluster(where, HOSTS, changes):
        attach = [sys.executable, "-m", "cockpit.cli.main", "attach", "--state", str(where / "state")]
        argv = ["-m", "tests.bench.slow_link", str(delay), str(rate), *attach]
        homes = {"XDG_STATE_HOME": str(where), "XDG_CONFIG_HOME": str(where)}
        with terminal(argv, **homes) as screen:
            first = screen.wait("shop", 60)
            if changes:
                return {"live": live(screen, times)}
            last = screen.quiet(STILL) - screen.started
            out["first picture"] = {"first": first * 1e3, "last": last * 1e3, "bytes": screen.total}
            out["cursor on the overview"] = typical([press(screen, "down") for _ in range(times)])
            for name, key in OPENED.items():
                effect = press(screen, key)
                out[f"open {name}"] = effect._asdict()
                out.setdefault("back", {"bytes": 0.0})
                out["back"] = press(screen, "escape")._asdict()
            press(screen, "i")
            out["cursor"] = typical([press(screen, "down") for _ in range(times)])
            out["page"] = typical([press(screen, "pagedown") for _ in range(times // 3)])
            press(screen, "/")
            out["letter of a filter"] = typical([press(screen, key) for key in "s1/7"])
            press(screen, "escape")
            press(screen, "home")
            out["key held for 2 s"] = held(screen)
            begun, before = time.perf_counter(), screen.total
            time.sleep(5)
            out["nothing"] = {"bytes a second": (screen.total - before) / (time.perf_counter() - begun)}
    return out


def held(screen: Terminal, seconds: float = 2.0, every: float = 1 / 30) -> dict[str, float]:
    """The cursor key repeats; how long the picture goes on after it is let go."""
    before, end = screen.total, time.perf_counter() + seconds
    keys = 0
    while time.perf_counter() < end:
        os.write(screen.fd, sent("down"))
        keys += 1
        time.sleep(every)
    released = time.perf_counter()
    return {"after": (screen.quiet(STILL) - released) * 1e3, "bytes": (screen.total - before) / keys}


def live(screen: Terminal, times: int) -> dict[str, float]:
    """With changes: bytes a second, and from the key to the cursor on its new line."""
    press(screen, "i", 0.0)
    time.sleep(3)
    before, begun = screen.total, time.perf_counter()
    time.sleep(10)
    rate = (screen.total - before) / (time.perf_counter() - begun)
    waits = []
    for _ in range(times):
        time.sleep(0.3)
        start = time.perf_counter()
        at = screen.total
        os.write(screen.fd, sent("down"))
        screen.holds(CURSOR, at, 10)
        waits.append((screen.last - start) * 1e3)
    return {"bytes a second": rate, "cursor": statistics.median(waits), "cursor-p95": quantile(waits, 0.95)}


CURSOR = b"48;2;58;58;58"
"""The ground of the cursor's line in the dark theme."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.slow")
    parser.add_argument("--delay", type=float, default=100)
    parser.add_argument("--rate", type=float, default=256)
    parser.add_argument("--changes", type=float, default=0)
    given = parser.parse_args()
    for name, figures in measure(given.delay, given.rate, given.changes).items():
        print(f"{name:24}", json.dumps({k: round(v, 1) for k, v in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
