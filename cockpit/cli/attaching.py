"""A session on a controller of another machine, by SSH: `attach --ssh`, and every command with `--ssh`.

Options are light; what needs SSH is imported when it is asked for.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cockpit.cli.common import BAD, DONE, READ_ONLY, Fail, drive, say

if TYPE_CHECKING:
    from cockpit.cli.far import SshSession


def add_ssh(parser: argparse.ArgumentParser) -> None:
    """The option that every command with `--state` can have: `--state DIR` is then a directory there."""
    parser.add_argument("--ssh", metavar="[USER@]HOST[:PORT]", help="the controller is there; enter by SSH")


def add_attach(parser: argparse.ArgumentParser) -> None:
    """What `attach` has beside `--state`, with `--ssh`."""
    add_ssh(parser)
    parser.add_argument("--socket", metavar="PATH", help="with --ssh: the controller's socket there")
    parser.add_argument("--control", action="store_true", help="with --ssh: the socket that can change things")


def checked(args: argparse.Namespace) -> None:
    """Raises Fail for options that have no meaning without `--ssh`, or together."""
    if not args.ssh:
        for option, value in (("--socket", args.socket), ("--control", args.control)):
            if value:
                raise Fail(BAD, f"{option} goes with --ssh HOST; here, --state DIR finds the controller")
    elif args.socket and (args.state or args.control):
        raise Fail(BAD, f"--socket names the socket itself: leave {'--state' if args.state else '--control'} out")


def attach(args: argparse.Namespace) -> int:
    """`cockpit attach --ssh HOST`."""
    checked(args)
    session = far_session(args, view=not args.control, socket=args.socket or "")
    return drive(lambda: _attached(session, args))


async def _attached(session: SshSession, args: argparse.Namespace) -> int:
    from cockpit.cli.serve import _screen, plain_terminal

    await session.connect()
    try:
        if plain_terminal():
            from cockpit.cli.show import overview

            say(overview(await session.snapshot()))
            return DONE
        session.asker.open = False  # from here on the terminal is the screen's
        return await _screen(session, args)
    finally:
        await session.close()


def far_session(args: argparse.Namespace, *, view: bool, socket: str = "") -> SshSession:
    """A session (not yet connected) on the controller that `args.ssh` and `args.state` name."""
    from cockpit.cli.far import SshSession
    from cockpit.inventory.ssh import BadTarget, Target

    try:
        target = Target(args.ssh)
    except BadTarget as e:
        raise Fail(BAD, str(e)) from None
    read_only = READ_ONLY if getattr(args, "read_only", False) else ""
    return SshSession(
        target, state=args.state or "", socket=socket, view=view or bool(read_only), read_only=read_only
    )
