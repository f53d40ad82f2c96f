"""`cockpit agent upgrade`: the verb `upgrade`, spelled where commands about agents are."""

from __future__ import annotations

import argparse
from typing import Any

from cockpit.act.table import VERBS
from cockpit.cli.common import add_json, add_state
from cockpit.cli.verbs import add_ways, run


def add(commands: Any) -> None:
    """To the sub-commands of `cockpit agent`."""
    verb = VERBS["upgrade"]
    parser: argparse.ArgumentParser = commands.add_parser(
        "upgrade", help=verb.help, description=verb.help,
        epilog="Example: cockpit agent upgrade 1.2.0 sh-1 sh-2 --batch 1",
    )
    parser.add_argument("version", metavar="VERSION", help="version of the agent to run")
    parser.add_argument("targets", metavar="HOST", nargs="*", help="hosts; none: every host that has an agent")
    for param in verb.params:
        if param.type == "bool":
            parser.add_argument(f"--{param.name}", action="store_true", help=param.help)
        elif not param.required:
            parser.add_argument(f"--{param.name}", default=None, metavar=param.name.upper(), help=param.help)
    add_state(parser)
    add_json(parser)
    add_ways(parser)
    parser.set_defaults(run=run, verb=verb.name)
