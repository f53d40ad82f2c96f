"""`cockpit cp`: one file from a host or an instance, or to it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import BAD, DONE, Fail, add_json, add_state, connect, drive, print_json, warn
from cockpit.cli.direct import add_ways, agreed

if TYPE_CHECKING:
    from cockpit.ports import Session

REDRAW = 0.25
"""Seconds between two lines of progress on a terminal."""
TERMINATED = 128 + signal.SIGTERM


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "cp", help="Copy one file from or to a host or an instance.",
        description="Copy one regular file from a host or an instance, or to it. One of SOURCE and TARGET is "
        "HOST:/PATH or INSTANCE:PATH, the other a file or directory here, or - for standard input or output. A path "
        "of an instance that does not begin with / begins in its release (without one in its own directory), and its "
        "service's user reads and writes. A file has its name only when all of it is there and its SHA-256 is the "
        "same at both ends. Links, devices and directories are refused; releases are for `cockpit push`. The journal "
        "records who, where, which path, size and digest; never what is in it.",
        epilog="Example: cockpit cp web/2:/var/log/web.log . "
        "Exit codes: 0 copied, 2 bad input, 3 refused (something is there already, not allowed), 4 no answer or "
        "contact lost: nothing was written then.",
    )
    parser.add_argument("source", metavar="SOURCE", help="what is copied")
    parser.add_argument("target", metavar="TARGET", help="where to; ending in /: into that directory")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a file that is there; its owner and permissions stay"
    )
    parser.add_argument("--limit", default="1G", metavar="SIZE", help="refuse larger files (1G; at most 64G)")
    parser.add_argument("--quiet", action="store_true", help="no progress, and no line when it is done")
    add_ways(parser)
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from cockpit.model.problems import Wrong
    from cockpit.model.units import parse_size

    try:
        limit = parse_size(args.limit)
    except Wrong as e:
        raise Fail(BAD, f"--limit: {e}") from None

    async def work() -> int:
        me = asyncio.current_task()
        assert me is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, me.cancel)
        session = connect(args)
        await session.connect()
        try:
            return await _copy(session, args, limit)
        finally:
            await session.close()

    try:
        return drive(work)
    except asyncio.CancelledError:
        return TERMINATED


async def _copy(session: Session, args: argparse.Namespace, limit: int) -> int:
    from cockpit.cli.shell import named
    from cockpit.model.units import size_text
    from cockpit.session.copying import Copy, wanted
    from cockpit.session.here import STANDARD

    what = wanted(args.source, args.target)
    if args.json and what.here == STANDARD and not what.put:
        raise Fail(BAD, "--json and the file would both go to standard output: name a file")
    copy = Copy(what, await named(session, what.name), overwrite=args.overwrite, limit=limit)
    shown = _Progress(what.path.rpartition("/")[2], on=sys.stderr.isatty() and not args.quiet)
    await copy.look()
    request = await agreed(session, "copy", copy.request, args)
    try:
        done = await copy.run(session, request, shown.told)
    finally:
        shown.clear()
    if done.changed:
        warn(f"{what.name}:{done.path} was written to while it was read: it is as long as it was in the beginning")
    if args.json:
        facts = {k: getattr(done, k) for k in ("path", "here", "size", "sha256", "changed", "seconds")}
        print_json({**facts, "name": what.name, "put": what.put})
    elif not args.quiet:
        there = f"{what.name}:{done.path}"
        way = f"{done.here} -> {there}" if what.put else f"{there} -> {done.here}"
        sys.stderr.write(f"{way}  {size_text(done.size)} ({done.size} bytes)  sha256 {done.sha256}\n")
    return DONE


class _Progress:
    """One line on a terminal, drawn over and over."""

    def __init__(self, name: str, *, on: bool) -> None:
        self._name = name
        self._on = on
        self._began = self._last = time.monotonic()
        self._drawn = False

    def told(self, moved: int, size: int | None) -> None:
        from cockpit.session.copying import pace

        now = time.monotonic()
        if self._on and now - self._last >= REDRAW:
            self._last, self._drawn = now, True
            width = os.get_terminal_size(2).columns or 80
            line = f"{self._name}  {pace(moved, size, now - self._began)}"
            sys.stderr.write(f"\r\x1b[K{line[-(width - 1):]}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
