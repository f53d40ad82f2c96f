"""`python -m tests.faults --seed N [--rounds R] [--only KIND ...]`: faults on a real cluster, and what was lost.

Exit code 0 when nothing was, 1 when something was, 2 when it cannot run here.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests import netlab
from tests.faults import account
from tests.faults.facts import Facts
from tests.faults.field import field
from tests.faults.runner import Runner
from tests.faults.schedule import KINDS, rounds


def say(text: str) -> None:
    print(text, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="the same seed: the same faults at the same steps")
    parser.add_argument("--rounds", type=int, default=10, help="operator's actions, one after the other (10)")
    parser.add_argument("--each", type=int, default=2, help="faults in a round (2)")
    parser.add_argument("--quick", action="store_true", help="every fault lasts as short as it may")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=[], metavar="KIND", help=", ".join(KINDS))
    args = parser.parse_args(argv)
    if not netlab.possible():
        say("faults need root, ip, tc and iptables")
        return 2
    seed = random.randrange(1 << 31) if args.seed is None else args.seed
    again = f"python -m tests.faults --seed {seed} --rounds {args.rounds} --each {args.each}"
    again += (" --quick" if args.quick else "") + (f" --only {' '.join(args.only)}" if args.only else "")
    say(again)
    found = run(seed, args.rounds, tuple(args.only), args.each, args.quick)
    if found:
        say(f"again: {again}")
    return 1 if found else 0


def run(seed: int, count: int, only: tuple[str, ...] = (), each: int = 2, quick: bool = False) -> list[account.Lost]:
    """One whole run; prints its tables. Returns what was lost."""
    began = time.time()
    with field(Path(tempfile.mkdtemp(prefix="ck-")), seed) as made:
        runner = Runner(made, seed, say)
        facts = asyncio.run(runner.run(rounds(seed, count, only, each, quick)))
        injected(runner, began)
        lost = account.lost(facts)
        told(facts, lost, time.time() - began)
        if lost:
            for name in ("controller.log", "h1.log", f"{'relay-1'}.log"):
                say(f"--- {name}\n{(made.root / name).read_text(errors='replace')[-1500:]}")
        return lost


def injected(runner: Runner, began: float) -> None:
    say(f"\n{'at':>7}  {'where':8} {'what':50} at step")
    for at, where, what, moment in sorted(runner.injector.log):
        say(f"{at - began:7.1f}  {where:8} {what:50} {moment}")


def told(facts: Facts, lost: list[account.Lost], seconds: float) -> None:
    excuses = Counter(why for r in facts.failed if (why := account.excused(r, facts)))
    ended = sum(not one.alive for one in facts.lives)
    states = Counter(a.state for a in facts.actions)
    say(
        f"\n{len(facts.lives)} service processes, {ended} ended, {len(facts.records)} exits recorded; "
        f"{facts.requests} requests; actions: {', '.join(f'{n} {s}' for s, n in states.items())}; {seconds:.0f} s"
    )
    for why, n in excuses.items():
        say(f"  excused: {n} requests, {why}")
    counts = Counter(one.kind for one in lost)
    for kind, words in account.KINDS.items():
        say(f"  {counts[kind]:5}  {words}")
    for one in lost:
        say(f"LOST {one.kind}: {one.what}")


if __name__ == "__main__":
    sys.exit(main())
