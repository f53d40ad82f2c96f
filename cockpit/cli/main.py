"""`cockpit`: the parser and the way to each command. Commands import what they need when they run."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable

from cockpit import __version__
from cockpit.cli.common import BAD, DONE, Fail, warn

FAMILIES = {
    "serve": "demo run serve attach",
    "show": "status pushes check schema export",
    "verbs": "",  # the names of the table's verbs, and `plan`
    "records": "log replay recover",
    "artifacts": "artifact",
    "hosts": "agent",
    "revoking": "ca",
    "relay": "relay",
    "ssh": "ssh",
    "exec": "exec",
    "plugins": "plugin",
    "importing": "import",
    "bootstrap": "bootstrap",
    "backup": "backup restore",
    "alerts": "alerts",
    "graph": "graph top",
    "approvals": "approvals approve refuse",
    "editing": "edit",
    "why": "explain timeline",
    "actions": "actions action",
    "history": "history",
    "logs": "logs",
    "keys": "keys",
    "snapshot": "snapshot",
    "bundle": "bundle",
    "web": "web",
    "shell": "shell",
    "advice": "advice",
    "copying": "cp",
    "forward": "forward",
}
"""Module of this package, which has `add(subparsers)` -> the commands that it adds."""


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """Of every command; of those beside `command` only, when it is known here: the rest is not imported then."""
    parser = argparse.ArgumentParser(
        prog="cockpit",
        description="What should run and what does run, side by side, with every verb previewed and recorded.",
        epilog="Exit codes: 0 done, 1 the outcome differs from what was asked, 2 bad input, "
        "3 refused (read-only, conflict, unconfirmed), 4 no answer.",
    )
    parser.add_argument("--version", action="version", version=f"cockpit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    families = [family for family, names in FAMILIES.items() if command in names.split()]
    for family in families or FAMILIES:
        importlib.import_module(f"cockpit.cli.{family}").add(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; nothing is left for the interpreter to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _run(argv: list[str] | None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser(argv[0] if argv else "")
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return BAD
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except Fail as e:
        warn(str(e))
        return e.code


if __name__ == "__main__":
    sys.exit(main())
