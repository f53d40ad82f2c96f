"""`cockpit exec`: one program on many hosts, its lines as they come, and a summary in plain words."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from typing import Any

from cockpit.cli.building import plain
from cockpit.cli.common import DIFFERS, DONE, NO_ANSWER, add_json, add_state, connect, drive, print_json, table, warn
from cockpit.cli.direct import add_ways, agreed

OK, FAILED, TIMED_OUT, NO_REPLY, NOT_SENT = "ok", "failed", "timed out", "no answer", "not sent"
WORDS = (OK, FAILED, TIMED_OUT, NO_REPLY, NOT_SENT)
COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)
SHOWN = 10
"""Hosts that the summary names for each word and reason."""
MAX_KEPT = 10_000
"""Lines of each host that `--json` holds."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "exec", help="Run one program on many hosts and see what it says.",
        description="Run one program on many hosts at once. What it prints comes as it is printed, the host before "
        "each line. Ctrl-C, or the end of --timeout, ends it everywhere, with all that it has started.",
        epilog="Example: cockpit exec --on region=sh --timeout 10 -- df -h /var. "
        "Exit codes: 0 ok everywhere, 1 failed or timed out somewhere, 2 bad input, 3 refused, 4 otherwise no answer "
        "from some host, or not sent to it.",
    )
    parser.add_argument(
        "--on", metavar="HOST|CONSTRAINT", action="append", default=[],
        help="a host, or a constraint like region=sh; again: any of the hosts, all of the constraints (default: all)",
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds it may take (default: 60)")
    parser.add_argument("--user", default="", metavar="U", help="run as this user (default: the agent's)")
    parser.add_argument("--parallel", type=int, default=200, metavar="N", help="hosts at once (default: 200)")
    parser.add_argument("argv", nargs="+", metavar="ARGV", help="after --: the program and its words; no shell")
    add_ways(parser)
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    request = {
        "argv": args.argv, "hosts": args.on, "timeout": args.timeout, "user": args.user, "parallel": args.parallel,
    }

    async def work() -> int:
        shown = _Kept() if args.json else _Lines()
        session = connect(args)
        await session.connect()
        try:
            async for item in session.stream("exec", await agreed(session, "exec", request, args)):
                shown.take(item)
        finally:
            await session.close()
        shown.summary()
        return shown.code()

    return drive(work)


class _Ends:
    def __init__(self) -> None:
        self.targets: list[str] = []
        self.ends: dict[str, dict[str, Any]] = {}

    def take(self, item: dict[str, Any]) -> None:
        if "targets" in item:
            self.targets = list(item["targets"])
            self.begin()
        elif "end" in item:
            self.ends[item["host"]] = item
        elif "lines" in item:
            self.lines(item["host"], item["lines"])
        elif "dropped" in item:
            self.dropped(item["host"], int(item["dropped"]))

    def begin(self) -> None: ...

    def lines(self, host: str, lines: list[list[str]]) -> None: ...

    def dropped(self, host: str, count: int) -> None: ...

    def summary(self) -> None: ...

    def code(self) -> int:
        words = {end["end"] for end in self.ends.values()}
        if words & {FAILED, TIMED_OUT}:
            return DIFFERS
        return NO_ANSWER if words - {OK} or len(self.ends) < len(self.targets) else DONE


class _Lines(_Ends):
    """For people: whole lines, each with its host."""

    def begin(self) -> None:
        self.width = max(map(len, self.targets), default=0)
        paint = "NO_COLOR" not in os.environ
        self.colour = {out: paint and out.isatty() for out in (sys.stdout, sys.stderr)}
        self.number = {host: n for n, host in enumerate(self.targets)}

    def lines(self, host: str, lines: list[list[str]]) -> None:
        """What one message brought is written at once, so that no line is cut by another."""
        texts: dict[Any, list[str]] = {}
        for stream, text in lines:
            out = sys.stdout if stream == "out" else sys.stderr
            texts.setdefault(out, []).append(f"{self._head(host, out)} {plain(text)}\n")
        for out, found in texts.items():
            out.write("".join(found))
            out.flush()

    def _head(self, host: str, out: Any) -> str:
        head = f"{host.ljust(self.width)} |"
        return f"\x1b[{COLOURS[self.number[host] % len(COLOURS)]}m{head}\x1b[0m" if self.colour[out] else head

    def dropped(self, host: str, count: int) -> None:
        warn(f"{host}: {count} lines were left out: there were too many")

    def summary(self) -> None:
        groups: dict[tuple[str, str], list[str]] = {}
        for host in self.targets:
            end = self.ends.get(host, {"end": NO_REPLY, "text": ""})
            groups.setdefault((str(end["end"]), str(end.get("text") or "")), []).append(host)
        if set(groups) == {(OK, "")}:
            sys.stderr.write(f"ok on {_hosts(len(self.targets))}\n")
            return
        rows = [
            (word, str(len(hosts)), plain(text), ", ".join(hosts[:SHOWN]) + (" ..." if len(hosts) > SHOWN else ""))
            for (word, text), hosts in sorted(groups.items(), key=lambda g: (WORDS.index(g[0][0]), -len(g[1])))
        ]
        sys.stderr.write(table(("", "HOSTS", "HOW", "WHICH"), rows) + "\n")


class _Kept(_Ends):
    """For programs: one document at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, list[list[str]]] = {}
        self.left: Counter[str] = Counter()

    def lines(self, host: str, lines: list[list[str]]) -> None:
        mine = self.said.setdefault(host, [])
        room = MAX_KEPT - len(mine)
        mine += lines[:room]
        self.left[host] += max(0, len(lines) - room)

    def dropped(self, host: str, count: int) -> None:
        self.left[host] += count

    def summary(self) -> None:
        print_json({
            host: {
                "result": end["end"], **{k: end.get(k) for k in ("code", "signal", "seconds", "text")},
                "lines": self.said.get(host, []), "dropped": self.left[host],
            }
            for host, end in sorted(self.ends.items())
        })  # fmt: skip


def _hosts(count: int) -> str:
    return f"{count} host" if count == 1 else f"{count} hosts"
