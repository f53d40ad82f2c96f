"""`cockpit shell`: a shell, or one program, on a host or beside an instance."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import NO_ANSWER, add_state, connect, drive, warn
from cockpit.cli.direct import add_ways, agreed

if TYPE_CHECKING:
    from cockpit.ports import Session

SIGNALLED = 128
TERMINATED = SIGNALLED + 15


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "shell", help="Open a shell on a host, or in the release of an instance.",
        description="Open a login shell on a host, or the shell of a service's user in the release of an instance. "
        "With a command, run that instead. On a terminal it has a terminal there too, otherwise pipes. "
        "The journal records who, where and when, and the command; not what is typed or shown.",
        epilog="Example: cockpit shell web/2 -- python3 -V. "
        "Exit code: that of the far side, 128 and more for a signal; 2 bad input, 3 refused, 4 no answer, contact "
        "lost, or left with Enter ~ .",
    )
    parser.add_argument("name", metavar="NAME", help="a host or an instance")
    add_ways(parser)
    add_state(parser, ssh=True)
    parser.set_defaults(run=run)
    parser.usage = f"{parser.prog} [--state DIR] [--ssh HOST] [--confirm NAME] NAME [-- COMMAND ARG ...]"
    whole = parser.parse_known_args

    def split(args: Any = None, namespace: Any = None) -> Any:
        """What stands behind `--` is the command, wherever our own options are."""
        words = list(args or ())
        at = words.index("--") if "--" in words else len(words)
        found, extra = whole(words[:at], namespace)
        found.argv = words[at + 1 :]
        return found, extra

    parser.parse_known_args = split


def run(args: argparse.Namespace) -> int:
    async def work() -> int:
        session = connect(args)
        await session.connect()
        try:
            return await _shell(session, args)
        finally:
            await session.close()

    try:
        return drive(work)
    except asyncio.CancelledError:
        return TERMINATED


async def _shell(session: Session, args: argparse.Namespace) -> int:
    from cockpit.session.passage import opened, standard, write

    request = {**await named(session, args.name), "argv": args.argv}
    request = await agreed(session, "shell", request, args)
    ends = standard()
    async with opened(session, request, ends) as way:
        if ends.tty and not args.argv:
            await write(ends.wrong, way.begun.head().encode())
        end = await way.run(signals=True)
        if end.why or end.signal is not None:
            warn(f"shell on {way.begun.host} {end.words(way.begun.host)}")
    if end.why:
        return NO_ANSWER
    if end.code is None:
        return SIGNALLED + end.signal if end.signal is not None else NO_ANSWER
    return end.code


async def named(session: Session, name: str) -> dict[str, str]:
    """{"host"} or {"instance"}. Raises Bad."""
    from cockpit.model.names import resolve

    snapshot = await session.snapshot()
    found = resolve(name, [*snapshot.hosts, *snapshot.instances], "host or instance")
    return {"host": found} if found in snapshot.hosts else {"instance": found}
