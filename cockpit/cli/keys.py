"""`cockpit keys`: every key of the screens with its id, and the beginning of a file with one's own."""

from __future__ import annotations

import argparse
from typing import Any

from cockpit.cli.common import BAD, DONE, Fail, say
from cockpit.cli.faces import face


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "keys", help="List the keys of the screens and their ids.",
        description="Keys can be changed in $XDG_CONFIG_HOME/cockpit/keys.toml (~/.config/cockpit/keys.toml): "
        "id = [keys]. --format toml prints such a file with every line commented out.",
        epilog="Example: cockpit keys --format toml > ~/.config/cockpit/keys.toml",
    )
    parser.add_argument("--format", choices=("text", "toml"), default="text", help="text, or a file to begin with")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        say(face("keys")(args.format).rstrip("\n"))
    except ValueError as error:
        raise Fail(BAD, str(error)) from None
    return DONE
