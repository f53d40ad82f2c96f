"""Every screen and key of the cockpit at 100,000 instances on 10,000 hosts: what keys cost.

    python -m tests.bench.walk [STEP ...]

The controller is the real one of `late`, in a process of its own; the screens are on a terminal of 120x40 and are
driven by their own keys (STEPS in walk_program.py). All steps take a quarter of an hour.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from tests.bench.keeper import place
from tests.bench.late import COUNT, _program, _said
from tests.bench.terminal import terminal

LONG = 20.0
"""Milliseconds of a longest piece from which a key is printed."""
LONGEST = 3600.0


def walked(where: Path, only: list[str]) -> list[dict[str, Any]]:
    """One entry for each key that was pressed; see walk_program."""
    program = _program(str(where), str(COUNT))
    try:
        _said(program)
        out, socket = where / "found", where / "state" / "control.sock"
        homes = {"XDG_CONFIG_HOME": str(where / "config"), "XDG_STATE_HOME": str(where / "kept")}
        with terminal(["-m", "tests.bench.walk_program", str(socket), str(out), *only], **homes) as screen:
            screen.keep = 100_000
            screen.process.wait(LONGEST)
            if not out.exists():
                raise RuntimeError(screen.seen.decode(errors="replace")[-3000:])
        found: list[dict[str, Any]] = json.loads(out.read_text())
        return found
    finally:
        assert program.stdin is not None
        program.stdin.close()
        program.wait(60)


def lines(found: list[dict[str, Any]]) -> list[str]:
    keys: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for each in found:
        keys.setdefault((each["step"], each["number"]), []).append(each)
    out = []
    for (step, _), times in keys.items():
        piece, cpu = (statistics.median(t[name] for t in times) for name in ("piece", "cpu"))
        worst = max(times, key=lambda t: t["piece"])
        if worst["piece"] >= LONG:
            ms = f"{cpu:5.0f} {piece:5.0f} {worst['piece']:5.0f}"
            out.append(f"{step:20} {worst['key']:14} {ms}  {worst['screen']} > {worst['then']}, {worst['what']}")
    return out


def main() -> None:
    with place() as where:
        print(f"{'step':20} {'key':14} {'CPU':>5} {'piece':>5} {'worst':>5}")
        print("\n".join(lines(walked(where, sys.argv[1:]))))


if __name__ == "__main__":
    main()
