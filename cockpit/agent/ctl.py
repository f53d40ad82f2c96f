"""`cockpit-agent ctl`: looks at and steers the units of this host, with everything above it dead."""

from __future__ import annotations

import argparse
import difflib
import getpass
import json
import sys
import time
from typing import Any

from cockpit.agent.keeper_client import KeeperClient, KeeperError

OPS = ("list", "stop", "start", "pin", "unpin")
WORDS = {
    384: "READY", 448: "STARTING", 512: "RUNNING", 576: "COMPLETE", 640: "SHUTDOWN", 704: "FAILED",
    768: "REJECTED",
}
HEAD = ("UNIT", "STATE", "WANTED", "PID", "RUN", "RESTARTS", "SINCE", "EXIT", "PINNED")
EXAMPLES = """examples:
  cockpit-agent ctl --dir /var/lib/cockpit list
  cockpit-agent ctl --dir /var/lib/cockpit stop puzzle.web/2
  cockpit-agent ctl --dir /var/lib/cockpit unpin puzzle.web/2

What is stopped or started here is pinned: the controller reports it and leaves it alone.
"""
Doc = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("--dir", required=True, metavar="DIR", help="the host directory of keeper and agent")
    parser.add_argument("op", choices=OPS, metavar="OP", help="list, stop, start, pin or unpin")
    parser.add_argument("unit", nargs="?", default="", metavar="UNIT", help="unit id, or instance id")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 it came out differently, 2 bad input, 4 no answer from the keeper."""
    if (args.op == "list") != (not args.unit):
        wanted = "no unit" if args.op == "list" else "a unit"
        print(f"ctl {args.op}: {wanted} is wanted", file=sys.stderr)
        return 2
    try:
        with KeeperClient(args.dir, timeout=3600.0) as client:
            return _list(client, args.json) if args.op == "list" else _act(client, args)
    except (OSError, EOFError) as e:
        text = "nothing answers" if isinstance(e, (FileNotFoundError, ConnectionRefusedError)) else str(e)
        print(f"keeper in {args.dir}: {text}", file=sys.stderr)
        return 4


def _act(client: KeeperClient, args: argparse.Namespace) -> int:
    op = "pin" if args.op == "unpin" else args.op
    by = "" if args.op == "unpin" else f"ctl:{_user()}"
    try:
        reply = client.call(op, unit=args.unit, by=by)
        record = client.unit(args.unit)
    except KeeperError as e:
        print(f"ctl {args.op} {args.unit}: {e.text}{_near(client, args.unit, e)}", file=sys.stderr)
        return 2 if e.code in ("bad", "missing") else 1
    if args.json:
        print(json.dumps({k: v for k, v in reply.items() if k not in ("id", "ok")} | {"unit": record}))
    else:
        for line in table([record], time.time()):
            print(line)
    return 0


def _near(client: KeeperClient, name: str, error: KeeperError) -> str:
    if error.code != "missing" or "there is" in error.text:
        return ""
    known = [u[key] for u in client.units() for key in ("unit", "instance")]
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _list(client: KeeperClient, as_json: bool) -> int:
    units = client.units()
    if as_json:
        print(json.dumps({"units": units}))
        return 0
    for line in table(units, time.time()):
        print(line)
    return 0


def table(units: list[Doc], now: float) -> list[str]:
    """Aligned lines, the first one the head."""
    rows = [HEAD, *(_row(u, now) for u in units)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]  # noqa: B905


def _row(u: Doc, now: float) -> tuple[str, ...]:
    state = WORDS.get(u["state"], str(u["state"]))
    if u["next_start"] is not None:
        state += f" (next try in {max(0.0, u['next_start'] - now):.0f} s)"
    elif u["held"]:
        state += " (gave up)"
    pids = ",".join(str(p) for p in u["pids"].values())
    exit = u["exit"]
    since = u["started"] if u["pids"] else exit["ended"] if exit else None
    return (
        u["unit"], state, "yes" if u["wanted"] else "no", pids or "-", str(u["run"]), str(u["restarts"]),
        time.strftime("%m-%d %H:%M:%S", time.localtime(since)) if since else "-",
        _exit(exit) if exit else "-", u["pinned"] or "-",
    )


def _exit(record: Doc) -> str:
    if record["signal"] is not None:
        return f"signal {record['signal']}" + (" core" if record["core"] else "")
    if record["code"] is not None:
        return f"exit {record['code']}"
    return str(record["reason"] or "exit unknown")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "?"
