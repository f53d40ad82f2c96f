"""`cockpit logs`: the lines of instances, services, groups and hosts, as one stream by time."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import BAD, DIFFERS, DONE, Fail, add_state, connect, drive

if TYPE_CHECKING:
    from cockpit.model.view import Snapshot

MOST = 500
LINES, WINDOW = 200, 20_000
COLOURS = (36, 33, 32, 35, 34, 96)


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "logs", help="Log lines of instances, services, groups and hosts, put together by time.",
        description="Stored lines are searched on the hosts; only what fits is sent. Times are when a line was "
        "written, to a second or better; `?` where that is not known (docs/logs.md).",
        epilog="Example: cockpit logs web sudoku/3 --since 15m --grep 'error|refused' -C 3",
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="instances, services, groups or hosts")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come, until the instances end")
    parser.add_argument("-n", "--lines", type=int, default=None, metavar="N",
                        help=f"the last N of each instance (default {LINES}; with --since, --until, --grep or "
                        f"--previous {WINDOW})")
    parser.add_argument("--since", metavar="TIME", default="", help="15m, 2h, 14:03, '2026-11-12 14:03'")
    parser.add_argument("--until", metavar="TIME", default="", help="the same; ends --follow")
    parser.add_argument("--grep", metavar="RE", default="", help="only lines that fit; small letters fit both cases")
    parser.add_argument("-F", "--fixed", action="store_true", help="--grep is plain text")
    parser.add_argument("-v", "--invert", action="store_true", help="only lines that do not fit")
    parser.add_argument("-C", "--context", type=int, default=0, metavar="N", help="lines around each that fits")
    parser.add_argument("-B", "--before", type=int, default=None, metavar="N", help="lines before each that fits")
    parser.add_argument("-A", "--after", type=int, default=None, metavar="N", help="lines after each that fits")
    parser.add_argument("--previous", type=int, nargs="?", const=1, default=0, metavar="N",
                        help="only the run before the newest, or N before it (after the names: --previous 2)")
    parser.add_argument("--stream", action="append", default=[], metavar="NAME",
                        help="stdout, stderr or a declared log file; may be repeated")
    parser.add_argument("--no-times", action="store_true", help="leave the times out")
    add_state(parser, ssh=True)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit 1 when nothing fits --grep, 4 when a host does not answer."""
    from cockpit.session.log_text import Wrong, moment, sought

    now = time.time()
    typed = ""
    if args.grep:
        body = args.grep if args.fixed else f"/{args.grep}/"
        if args.fixed and body[:1] in ("!", "/", "\\"):
            body = "\\" + body
        typed = ("!" if args.invert else "") + body
    elif args.invert:
        raise Fail(BAD, "--invert wants --grep")
    try:
        since = moment(args.since, now) if args.since else 0.0
        until = moment(args.until, now) if args.until else 0.0
        sought(typed)
    except Wrong as e:
        raise Fail(BAD, str(e)) from None
    if since and until and until < since:
        raise Fail(BAD, "--until is before --since")
    chosen = bool(since or until or typed or args.previous)
    ask = {
        "lines": args.lines if args.lines is not None else WINDOW if chosen else LINES,
        "follow": args.follow and not until and not args.previous, "since": since, "until": until,
        "streams": args.stream, "previous": args.previous, "grep": typed,
        "before": args.context if args.before is None else args.before,
        "after": args.context if args.after is None else args.after,
    }  # fmt: skip
    return drive(lambda: _print(args, ask))


async def _print(args: argparse.Namespace, ask: dict[str, Any]) -> int:
    import msgspec

    session = connect(args)
    await session.connect()
    try:
        snapshot = await session.snapshot()
        chosen = instances(snapshot, args.names)
        if len(chosen) > MOST:
            raise Fail(BAD, f"{len(chosen)} instances; {MOST} at once is the most: name fewer")
        show = _Shown(chosen, times=not args.no_times, coloured=_coloured())
        found = 0
        async for line in session.logs(chosen, **ask):
            found += line.stream != "cockpit"
            if args.json:
                sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
            elif line.stream == "cockpit":
                sys.stdout.flush()
                print(show.line(line), file=sys.stderr, flush=True)
                continue
            else:
                sys.stdout.write(show.line(line) + "\n")
            if args.follow:
                sys.stdout.flush()
    finally:
        await session.close()
    return DIFFERS if args.grep and not found else DONE


def instances(snapshot: Snapshot, names: list[str]) -> list[str]:
    """The instances that the names stand for. Raises Bad for an unknown name, Fail when there are none."""
    from cockpit.model.names import resolve

    known = {*snapshot.instances, *snapshot.nodes, *snapshot.hosts}
    out: list[str] = []
    for name in names:
        full = resolve(name, known, "instance, service, group or host")
        if full in snapshot.instances:
            out.append(full)
        elif full in snapshot.nodes:
            out += sorted(i for i in snapshot.instances if i.startswith((f"{full}/", f"{full}.")))
        else:
            out += sorted(i for i, row in snapshot.instances.items() if row.host == full)
    if not out:
        raise Fail(BAD, f"{', '.join(names)}: there are no instances")
    return list(dict.fromkeys(out))


class _Shown:
    """Lines as text: time, name, stream, and the text made harmless."""

    def __init__(self, names: list[str], *, times: bool, coloured: bool) -> None:
        self._names = {name: n for n, name in enumerate(names)}
        self._width = max(len(name) for name in names)
        self._times = times
        self._coloured = coloured

    def line(self, line: Any) -> str:
        from cockpit.session.log_text import harmless

        when = ""
        if self._times:
            moment = f"{line.time:.3f}".partition(".")[2]
            local = time.localtime(line.time)
            when = (time.strftime("%Y-%m-%dT%H:%M:%S.", local) + moment if line.time else "?".ljust(23)) + " "
        name = line.instance.ljust(self._width)
        if self._coloured:
            name = f"\x1b[{COLOURS[self._names.get(line.instance, 0) % len(COLOURS)]}m{name}\x1b[0m"
        sign = {"stdout": "|", "stderr": "e", "cockpit": "#"}.get(line.stream, line.stream)
        gap = "--\n" if line.mark == "g" else ""
        process = "" if line.process in ("main", "") else f"{line.process}: "
        return f"{gap}{when}{name} {'-' if line.mark else sign} {process}{harmless(line.text, 16_500)}"


def _coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")
