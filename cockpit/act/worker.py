"""A rehearsal in a process of its own: an order and units on stdin, progress and the forecast on stdout.

`python -m cockpit.act.worker`, JSON lines both ways. It ends when nobody reads any more.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from cockpit.act.rehearsal import rehearse
from cockpit.act.seed import Placed, line_of, order_of
from cockpit.plan.steps import Bad, Refused, Step

EVERY = 0.2
"""Seconds between two words of progress."""


def main() -> int:
    os.nice(5)  # what runs the cluster goes first
    source, out = sys.stdin.buffer, sys.stdout.buffer
    told = 0.0

    def say(item: object) -> None:
        out.write(msgspec.json.encode(item) + b"\n")
        out.flush()

    def tell(over: int, total: int, seconds: float) -> bool:
        nonlocal told
        if time.monotonic() - told >= EVERY:
            told = time.monotonic()
            say({"progress": [over, total, seconds]})
        return True

    try:
        order = order_of(source.readline())
        units: Placed = []
        steps: list[Step] = []
        for raw in source:
            line = line_of(raw)
            units += line.units
            steps += line.steps
        twin = order.seed.twin(units)
        say({"progress": [0, 0, 0.0]})
        given = order.plan
        plan = msgspec.structs.replace(given, steps=tuple(steps)) if given is not None else twin.plan(order.intent)
        say({"forecast": rehearse(twin, plan, order.faults, tell, bars=order.bars)})
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 1
    except (Bad, Refused, msgspec.ValidationError) as e:
        say({"wrong": str(e)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
