"""`cockpit backup` and `cockpit restore`: the cluster's authority and state in one file."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from cockpit.cli.common import BAD, DONE, Fail, add_json, add_state, drive, print_json, say, state_dir, warn

MAX_PASSPHRASE = 4096


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "backup", help="Save authority, state and journal into one file; the controller may run.",
        description="Save the authority, its keys, the state and the journal into one file (0600). The controller "
        "may run. Whoever has the file can be this cluster's controller: keep it as you keep keys, or seal it.",
        epilog="Example: cockpit backup /backup/shop.tar --passphrase-file /etc/cockpit/shop.pass",
    )
    parser.add_argument("file", metavar="FILE", help="a new file, or an earlier backup that is replaced")
    parser.add_argument("--check", action="store_true", help="write nothing: is FILE whole?")
    parser.add_argument("--artifacts", action="store_true", help="also the artifacts kept in the state directory")
    _secret(parser, "seal it with a passphrase, asked for here")
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=backup)

    parser = commands.add_parser(
        "restore", help="Make a state directory from a backup.",
        description="Make a state directory from a backup. Everything is verified first. Hosts reconnect without "
        "joining anew when the controller listens where it did before.",
        epilog="Example: cockpit restore /backup/shop.tar --state DIR",
    )
    parser.add_argument("file", metavar="FILE", help="from `cockpit backup`")
    _secret(parser, "ask for its passphrase")
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=restore)


def _secret(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--encrypt", action="store_true", help=help)
    parser.add_argument("--passphrase-file", metavar="FILE", help="its first line is the passphrase")


def backup(args: argparse.Namespace) -> int:
    from cockpit.controller import backup as work

    async def make() -> int:
        target = Path(args.file).absolute()
        if args.check:
            passphrase = _passphrase(args, target, sealed=work.is_sealed(target))
            return _shown(args, work.check(target, passphrase=passphrase), f"{target} is whole")
        passphrase = _passphrase(args, target, new=True)
        summary = work.backup(state_dir(args), target, passphrase=passphrase, artifacts=args.artifacts)
        if not passphrase:
            warn(f"{target} holds the cluster's private keys and is not sealed: --encrypt asks for a passphrase")
        return _shown(args, summary, f"saved into {target}")

    return drive(make)


def restore(args: argparse.Namespace) -> int:
    from cockpit.controller import backup as work

    async def make() -> int:
        source, state = Path(args.file).absolute(), state_dir(args)
        passphrase = _passphrase(args, source, sealed=work.is_sealed(source))
        code = _shown(args, work.restore(source, state, passphrase=passphrase), f"restored into {state}")
        if not args.json:
            say("revocations since then are not in it: cockpit agent revoke them again")
            say(f"start it where it listened before: cockpit serve --state {state}")
        return code

    return drive(make)


def _shown(args: argparse.Namespace, summary: Any, done: str) -> int:
    if args.json:
        print_json(summary)
        return DONE
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.made))
    say(f"{done}: {summary.cluster}, rev {summary.revision}, {summary.entries} journal entries, made {made}")
    what = "with artifacts" if summary.artifacts else "without artifacts"
    seal = ", sealed" if summary.sealed else ""
    say(f"  {summary.files} files, {summary.bytes:,} bytes, {what}{seal}; {summary.hosts} hosts and relays are known")
    return DONE


def _passphrase(args: argparse.Namespace, path: Path, *, new: bool = False, sealed: bool = False) -> str:
    """From a file or the terminal, never from the command line. Empty: none is wanted. Raises Fail."""
    if args.passphrase_file:
        try:
            with open(args.passphrase_file, encoding="utf-8") as f:
                text = f.readline(MAX_PASSPHRASE + 1).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            raise Fail(BAD, f"{args.passphrase_file}: {getattr(e, 'strerror', None) or 'it is not text'}") from None
        if not text or len(text) > MAX_PASSPHRASE:
            raise Fail(BAD, f"{args.passphrase_file}: its first line must be a passphrase")
        return text
    if not (args.encrypt or sealed):
        return ""
    if not sys.stdin.isatty():
        raise Fail(BAD, f"{path}: there is no terminal to ask for a passphrase: give --passphrase-file FILE")
    import getpass

    text = getpass.getpass("passphrase: ")
    if not text or new and getpass.getpass("again: ") != text:
        raise Fail(BAD, "the passphrase is empty" if not text else "the two are not the same")
    return text
