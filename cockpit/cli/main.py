"""`cockpit`: the parser and the way to each command. Commands import what they need when they run."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable

from cockpit import __version__
from cockpit.cli.common import Fail, warn

FAMILIES = ("serve", "show", "verbs", "records", "hosts")
"""Modules of this package; each has `add(subparsers)`."""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cockpit",
        description="What should run and what does run, side by side, with every verb previewed and recorded.",
        epilog="Exit codes: 0 done, 1 the outcome differs from what was asked, 2 bad input, "
        "3 refused (read-only, conflict, unconfirmed), 4 no answer.",
    )
    parser.add_argument("--version", action="version", version=f"cockpit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for family in FAMILIES:
        importlib.import_module(f"cockpit.cli.{family}").add(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except Fail as e:
        warn(str(e))
        return e.code
    except BrokenPipeError:
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
