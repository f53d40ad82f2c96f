"""Measure the swarm on links of its own: python -m tests.bench.p2p [SCENARIO ...] [--runs 3] [--json]"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable

from tests.bench.p2p.field import CPU_BOUND
from tests.bench.p2p.scenarios import RATE, SCENARIOS, Figures, push
from tests.netlab import possible


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.p2p", description=__doc__.partition(":")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; N@RATE")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one object for each scenario, with every run")
    options = parser.parse_args()
    todo = {name: chosen(parser, name) for name in options.scenarios or SCENARIOS}
    if not possible():
        parser.error("this needs root, ip and tc")
    over = False
    for name, (once, limits) in todo.items():
        runs: list[Figures] = []
        for _ in range(options.runs):
            runs.append(once())
            if not options.json:
                print(f"  {name}: {text(runs[-1])}", file=sys.stderr, flush=True)
        found = {key: round(statistics.median(run[key] for run in runs), 4) for key in runs[0]}
        exceeded = {key: limit for key, limit in limits.items() if found[key] > limit}
        over = over or bool(exceeded)
        if options.json:
            print(json.dumps({"scenario": name, **found, "runs": runs, "over": exceeded}), flush=True)
        else:
            marks = "".join(f"  OVER {key} <= {limit}" for key, limit in exceeded.items()) or "  ok" * bool(limits)
            print(f"{name}: {text(found)}{marks}", flush=True)
    return 1 if over else 0


def chosen(parser: argparse.ArgumentParser, name: str) -> tuple[Callable[[], Figures], dict[str, float]]:
    """A scenario by its name, or N@RATE: so many receivers with links of so many Mbit/s."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    count, _, rate = name.partition("@")
    try:
        receivers, mbit = int(count), float(rate or RATE)
    except ValueError:
        parser.error(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}, or N@RATE")
    return lambda: push(receivers, mbit), {}


def text(found: Figures) -> str:
    words = [f"{key} {value:g}" for key, value in found.items()]
    if found["busy"] > CPU_BOUND:
        words.append("CPU-BOUND")
    return ", ".join([*words, f"load {os.getloadavg()[0]:.1f}"])


sys.exit(main())
