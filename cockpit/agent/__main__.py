"""`cockpit-agent run|keeper|join|ctl`: what is started on a host."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import List, Optional

from cockpit.agent.files import make_dir
from cockpit.agent.identity import Identity, IdentityError, of_another

DONE, BAD, NO_ANSWER = 0, 2, 4


def main(argv: Optional[List[str]] = None) -> int:
    """Exit codes: 0 done, 2 bad input or not joined, 3 another agent serves the directory."""
    parser = argparse.ArgumentParser(prog="cockpit-agent", description="The agent of one host.")
    words = parser.add_subparsers(dest="word", required=True, metavar="COMMAND")
    run = words.add_parser(
        "run", help="serve a host directory", description="Serve a host directory until SIGTERM.",
        epilog="example: cockpit-agent run --dir /var/lib/cockpit --controller https://ops:7443 --join TOKEN",
    )
    _dir(run)
    run.add_argument("--boot-id", default="", help="what the keeper takes for the boot id (tests)")
    run.add_argument("--candidate", type=int, default=-1, metavar="FD", help=argparse.SUPPRESS)
    run.add_argument("--controller", help="URL of the controller, to join when there is no identity")
    run.add_argument("--join", metavar="TOKEN", help="one-time token, when there is no identity")
    run.add_argument("--host", default="", help="name of this host, when the token names none")
    run.add_argument("--address", default="", help="source address, on a machine that has several")
    run.add_argument(
        "--supervised", nargs="?", const="load", choices=("load", "here"),
        help="systemd keeps agent and keeper, in units of their own",
    )
    keeper = words.add_parser(
        "keeper", help="hold the services of a host directory, for an init system",
        description="Become the keeper of a host directory. It ends with SIGTERM; the services stay.",
        epilog="example: cockpit-agent keeper --dir /var/lib/cockpit",
    )
    _dir(keeper)
    join = words.add_parser(
        "join", help="turn a one-time token into an identity",
        description="Turn a one-time token into an identity. `-` reads the token from standard input.",
        epilog="example: cockpit-agent join --dir /var/lib/cockpit --controller https://ops:7443 TOKEN",
    )
    _dir(join)
    join.add_argument("--controller", required=True, help="URL of the controller")
    join.add_argument("--host", default="", help="name of this host, when the token names none")
    join.add_argument("--address", default="", help="source address, on a machine that has several")
    join.add_argument("token", help="the token, or - for standard input")
    if _wants_ctl(argv):
        from cockpit.agent import ctl

        ctl.add_arguments(words.add_parser("ctl", help="list, stop, start over the keeper's socket"))
    else:
        words.add_parser("ctl", help="list, stop, start over the keeper's socket", add_help=False)
    args = parser.parse_args(argv)
    if args.word == "ctl":
        return ctl.run(args)
    os.umask(0o077)
    args.dir = os.path.abspath(args.dir)
    if args.word == "keeper":
        return _keeper(args.dir)
    if args.word == "join":
        return _join(args, sys.stdin.readline() if args.token == "-" else args.token)
    return _run(args)


def _keeper(host_dir: str) -> int:
    from cockpit.agent.supervised import become_keeper

    make_dir(host_dir)
    try:
        become_keeper(host_dir)
    except OSError as e:
        return _bad(f"the keeper cannot be started: {e.strerror}")
    return DONE


def _run(args: argparse.Namespace) -> int:
    make_dir(args.dir)
    if args.supervised == "load" and args.candidate < 0:
        from cockpit.agent.supervised import become

        become(args.dir, ["--boot-id", args.boot_id] if args.boot_id else [])
    try:
        identity = Identity.load(args.dir)
    except IdentityError as e:
        return _bad(str(e))
    if identity is None or args.join and args.controller and of_another(identity, args.join):
        if not args.join or not args.controller:
            return _bad(f"{args.dir} has no identity: give --controller URL and --join TOKEN once")
        code = _join(args, args.join)
        # a fresh process: without the token in its arguments, and without what joining has loaded
        if code == DONE and not _renewed(args.dir):
            from cockpit.agent.turns import run_argv

            again = run_argv(args.dir)
            os.execv(again[0], again + (["--boot-id", args.boot_id] if args.boot_id else []))
        return code
    from cockpit.agent.serving import serve

    return serve(args.dir, identity, args.boot_id, args.candidate, bool(args.supervised))


def _renewed(host_dir: str) -> bool:
    """An agent that already runs here is started again by its keeper, to take up its new identity."""
    from cockpit.agent.keeper_client import KeeperClient

    try:
        with KeeperClient(host_dir) as keeper:
            pid = keeper.call("hello").get("agent_pid")
        if pid:
            os.kill(int(pid), signal.SIGTERM)
        return bool(pid)
    except OSError:
        return False


def _join(args: argparse.Namespace, token: str) -> int:
    from cockpit.agent.join import JoinError, Unanswered, join

    make_dir(args.dir)
    try:
        name = join(args.dir, args.controller, token, args.host, args.address)
    except JoinError as e:
        _bad(str(e))
        return NO_ANSWER if isinstance(e, Unanswered) else BAD
    print(f"joined as {name}", flush=True)
    return DONE


def _dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", required=True, help="the host directory; everything is kept there")


def _wants_ctl(argv: Optional[List[str]]) -> bool:
    words = sys.argv[1:] if argv is None else argv
    return words[:1] == ["ctl"]


def _bad(text: str) -> int:
    print(f"cockpit-agent: {text}", file=sys.stderr)
    return BAD


if __name__ == "__main__":
    sys.exit(main())
