"""`cockpit forward`: a port of an instance, on this machine, until Ctrl+C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import DONE, NO_ANSWER, add_state, connect, drive, say, warn
from cockpit.cli.direct import add_ways, agreed

if TYPE_CHECKING:
    from cockpit.ports import Session


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "forward", help="Make ports of an instance reachable on this machine.",
        description="Listen on 127.0.0.1 and carry each connection to a port of the instance, by the agent of its "
        "host. Only ports that the service declares, or that a process of the instance listens on. Ends with Ctrl+C.",
        epilog="Example: cockpit forward web/0 8080:http. PORT is a name or a number, and may be left out where the "
        "instance has one; LOCAL is the port here: without it the same as there when it is free, else any, and 0 "
        "is any. Exit code: 0 ended by Ctrl+C, 2 bad input, 3 refused, 4 no answer, or it ended by itself.",
    )
    parser.add_argument("name", metavar="INSTANCE")
    parser.add_argument(
        "ports", metavar="[LOCAL:]PORT", nargs="*", help="a declared name or a number; LOCAL: where to listen here"
    )
    add_ways(parser)
    add_state(parser, ssh=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    async def work() -> int:
        session = connect(args)
        await session.connect()
        try:
            return await _forward(session, args)
        finally:
            await session.close()

    return drive(work)


async def _forward(session: Session, args: argparse.Namespace) -> int:
    from cockpit.model.names import resolve
    from cockpit.session.forwarding import opened, wish

    wanted = [wish(text) for text in args.ports or [""]]
    instance = resolve(args.name, (await session.snapshot()).instances, "instance")
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        forwards = []
        for local, port in wanted:
            request = await agreed(session, "forward", {"instance": instance, "port": port}, args)
            forward = await stack.enter_async_context(opened(session, request, local, _told))
            forwards.append(forward)
            say(f"{forward.address} -> {instance} port {forward.port} on {forward.host}")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, ended.set)
        waits = {asyncio.create_task(e.wait()) for e in (ended, *(f.done for f in forwards))}
        try:
            while not ended.is_set() and not all(f.done.is_set() for f in forwards):
                _, waits = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        for f in forwards:
            count = "1 connection" if f.connections == 1 else f"{f.connections} connections"
            say(f"{f.address} ended: {count}, {f.sent} bytes to {instance}, {f.received} from it")
    return DONE if ended.is_set() else NO_ANSWER


def _told(text: str, mark: str) -> None:
    warn(text)
