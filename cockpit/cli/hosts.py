"""Commands about agents."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from cockpit.cli.common import BAD, DONE, Fail, add_json, add_state, call, drive, print_json, say


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "agent", help="Join this host to a cluster and run its agent; make join tokens.",
        epilog="Example: cockpit agent --join TOKEN --controller https://10.0.0.1:7700 --dir DIR",
    )
    parser.add_argument("--dir", metavar="DIR", help="the host's directory")
    parser.add_argument("--join", metavar="TOKEN", help="one-time token from `cockpit agent token`")
    parser.add_argument("--controller", metavar="URL", help="where the controller listens")
    parser.add_argument("--name", metavar="HOST", help="this host's name in the topology (default: the token's)")
    parser.add_argument("--address", metavar="IP", help="source address, on a machine that has several")
    parser.add_argument("--boot-id", metavar="ID", help="instead of the kernel's")
    parser.set_defaults(run=agent)
    inner = parser.add_subparsers(dest="what", metavar="COMMAND")
    child = inner.add_parser(
        "token", help="Make a one-time join token.", epilog="Example: cockpit agent token sh-4"
    )
    child.add_argument("host", metavar="HOST", nargs="?", default="", help="the only host or relay that may use it")
    child.add_argument("--node", default="", help="tree node that the host serves")
    add_state(child)
    add_json(child)
    child.set_defaults(run=agent_token)


def agent(args: argparse.Namespace) -> int:
    if not args.dir:
        raise Fail(BAD, "say which directory is the host's: --dir DIR")
    command = [sys.executable, "-I", "-m", "cockpit.agent", "run", "--dir", str(Path(args.dir).absolute())]
    options = {
        "--join": args.join, "--controller": args.controller, "--host": args.name, "--address": args.address,
        "--boot-id": args.boot_id,
    }
    for option, value in options.items():
        if value:
            command += [option, value]
    sys.stdout.flush()
    os.execv(sys.executable, command)


def agent_token(args: argparse.Namespace) -> int:
    async def work() -> int:
        answer = await call(args, lambda s: s.call("token", {"host": args.host, "node": args.node}))
        if args.json:
            print_json(answer)
        else:
            word = answer.get("kind", "agent")
            say(f"cockpit {word} --dir DIR --join {answer['token']} --controller {answer['controller']}")
        return DONE

    return drive(work)
