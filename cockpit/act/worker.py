"""A rehearsal in a process of its own: an order, parts of its seed and units on stdin, the forecast on stdout.

`python -m cockpit.act.worker`, JSON lines both ways. It ends when nobody reads any more.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from cockpit.act.rehearsal import nothing, rehearse
from cockpit.act.seed import Line, Placed, line_of, merged, order_of
from cockpit.plan.steps import Bad, Refused

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
        lines: list[Line] = []
        units: Placed = []
        for raw in source:
            lines.append(line_of(raw))
            units += lines[-1].units
        order = merged(order, lines)
        twin = order.seed.twin(units)
        say({"progress": [0, 0, 0.0]})
        plan = order.plan or twin.plan(order.intent)
        if plan.empty:
            raise Bad(nothing(plan))
        say({"forecast": rehearse(twin, plan, order.faults, tell, bars=order.bars)})
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 1
    except Refused as e:
        say({"refused": str(e)})
    except (Bad, msgspec.ValidationError) as e:
        say({"wrong": str(e)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
