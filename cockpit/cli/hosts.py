"""Commands about agents."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from cockpit import __version__
from cockpit.cli import revoking, upgrading
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
    upgrading.add(inner)
    child = inner.add_parser(
        "token", help="Make a one-time join token.", epilog="Example: cockpit agent token sh-4"
    )
    child.add_argument("host", metavar="HOST", nargs="?", default="", help="the only host or relay that may use it")
    child.add_argument("--node", default="", help="tree node that the host serves")
    add_state(child)
    add_json(child)
    revoking.add_token_options(child)
    child.set_defaults(run=agent_token)
    revoking.add_agent(inner)
    child = inner.add_parser(
        "bundle", help="Write the agent as one file, for hosts with Python.",
        epilog="Example: cockpit agent bundle -o cockpit-agent.pyz; on the host: python3 cockpit-agent.pyz --help",
    )
    child.add_argument("-o", "--out", metavar="FILE", default="cockpit-agent.pyz", help="(cockpit-agent.pyz)")
    child.add_argument("--python", metavar="3.N", default="3.9", help="the oldest Python of the hosts (default: 3.9)")
    child.add_argument("--release", metavar="DIR", help="write a release instead, for upgrades of agents")
    child.add_argument("--from", metavar="FILE", dest="made", help="of this file, made by `make agent`")
    child.set_defaults(run=agent_bundle)


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


def agent_bundle(args: argparse.Namespace) -> int:
    from cockpit.bundle import pyz
    from cockpit.bundle.collect import BundleError

    asked = re.fullmatch(r"3\.(\d{1,2})", args.python)
    if asked is None:
        raise Fail(BAD, f"--python wants a version such as 3.9, not {args.python}")
    if args.made and not args.release:
        raise Fail(BAD, "--from goes with --release DIR")
    try:
        if args.release:
            pyz.release(Path(args.release), Path(args.made) if args.made else None)
            version = "VERSION" if args.made else __version__
            say(f"{args.release}: add it with")
            say(f"  cockpit artifact add {args.release} --name cockpit-agent --version {version}")
            if args.made:
                say("VERSION is what the program gives itself: cockpit-agent --where")
            return DONE
        made = pyz.make(Path(args.out), (3, int(asked[1])))
    except BundleError as e:
        raise Fail(BAD, str(e)) from None
    except OSError as e:
        wrong = args.made if e.filename == args.made else args.release or args.out
        raise Fail(BAD, f"{wrong}: {e.strerror}") from None
    say(f"{args.out}: Cockpit {made.version} for Python {args.python} and newer, digest {made.digest}")
    return DONE


def agent_token(args: argparse.Namespace) -> int:
    if args.withdraw:
        return revoking.token_withdrawn(args)
    ttl = revoking.seconds(args.ttl)

    async def work() -> int:
        answer = await call(args, lambda s: s.call("token", {"host": args.host, "node": args.node, "ttl": ttl}))
        if args.json:
            print_json(answer)
        else:
            word = answer.get("kind", "agent")
            say(f"cockpit {word} --dir DIR --join {answer['token']} --controller {answer['controller']}")
        return DONE

    return drive(work)
