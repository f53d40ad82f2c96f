"""Commands about artifacts and agents."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cockpit.cli.common import (
    BAD,
    DONE,
    Fail,
    add_json,
    add_state,
    alive,
    connect,
    drive,
    print_json,
    say,
    state_dir,
    table,
)

SOCKETS = ("control.sock", "view.sock")


def add(commands: Any) -> None:
    _add_artifact(commands)
    _add_agent(commands)


def _add_artifact(commands: Any) -> None:
    parser = commands.add_parser(
        "artifact", help="Add artifact versions to the store, list and verify them.",
        epilog="Example: cockpit artifact add build/ --name web --version 1.2.0",
    )
    inner = parser.add_subparsers(dest="what", metavar="COMMAND", required=True)
    child = inner.add_parser(
        "add", help="Take a directory or file as one immutable version.",
        epilog="Example: cockpit artifact add build/ --name web --version 1.2.0",
    )
    child.add_argument("source", metavar="DIR|FILE")
    child.add_argument("--name", required=True)
    child.add_argument("--version", required=True)
    add_state(child)
    add_json(child)
    child.set_defaults(run=artifact_add)
    child = inner.add_parser("list", help="What the store holds.", epilog="Example: cockpit artifact list")
    add_state(child)
    add_json(child)
    child.set_defaults(run=artifact_list)


def artifact_add(args: argparse.Namespace) -> int:
    """Through the controller when one runs; straight into the store when none does."""
    source = Path(args.source).absolute()
    if not source.exists():
        raise Fail(BAD, f"{args.source}: no such file or directory")
    directory = state_dir(args)

    async def work() -> int:
        if alive(directory, *SOCKETS):
            request = {"path": str(source), "name": args.name, "version": args.version}
            result = await _call(args, lambda s: s.call("artifact_add", request))
        else:
            result = _add(directory, source, args.name, args.version)
        if args.json:
            print_json(result)
        else:
            say(f"{args.name}/{args.version}  sha256 {result['sha256'][:16]}  {result['size']} bytes")
        return DONE

    return drive(work)


def _add(directory: Path, source: Path, name: str, version: str) -> Any:
    """Into the store of a controller that does not run."""
    from cockpit.swarm.store import DirectoryStore, Exists, StoreError

    directory.mkdir(mode=0o710, parents=True, exist_ok=True)
    try:
        return DirectoryStore(directory / "artifacts").add(source, name, version)
    except (Exists, StoreError, ValueError) as e:
        raise Fail(BAD, str(e)) from None


def artifact_list(args: argparse.Namespace) -> int:
    from cockpit.swarm.store import DirectoryStore

    directory = state_dir(args)

    async def work() -> int:
        listing: dict[str, Any] = {}
        if alive(directory, *SOCKETS):
            listing = await _call(args, lambda s: s.artifacts())
        elif (directory / "artifacts").is_dir():
            listing = DirectoryStore(directory / "artifacts").listing()
        if args.json:
            print_json(listing)
        elif not listing:
            say("the store is empty: cockpit artifact add DIR --name NAME --version VERSION")
        else:
            rows = [(k, str(v["size"]), v["sha256"][:16]) for k, v in sorted(listing.items())]
            say(table(("ARTIFACT", "BYTES", "SHA256"), rows))
        return DONE

    return drive(work)


async def _call(args: argparse.Namespace, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    """One question to the running controller."""
    session = connect(args)
    await session.connect()
    try:
        return await ask(session)
    finally:
        await session.close()


def _add_agent(commands: Any) -> None:
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
    child.add_argument("host", metavar="HOST", nargs="?", default="", help="the only host that may use it")
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
        answer = await _call(args, lambda s: s.call("token", {"host": args.host, "node": args.node}))
        if args.json:
            print_json(answer)
        else:
            say(f"cockpit agent --dir DIR --join {answer['token']} --controller {answer['controller']}")
        return DONE

    return drive(work)
