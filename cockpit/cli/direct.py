"""What runs at once (`exec`, `shell`, plug-ins) and the guards: shown, asked for the name, or told why not."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import answer, say

if TYPE_CHECKING:
    from cockpit.ports import Session


def add_ways(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--confirm", default="", metavar="NAME", help="the name that a guard asks for")
    parser.add_argument(
        "--break-glass", default="", metavar="REASON",
        help="pass a guard that allows it; who and why go into the journal",
    )


async def agreed(session: Session, verb: str, request: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The request with what the guards want. On a terminal it shows what will be run and asks for the name; whatever
    else there is to say, the controller says when it is sent. Raises Bad, Refused."""
    from cockpit.cli.show import plan_text
    from cockpit.model.guard_rows import CONFIRM, direct

    words = {k: v for k, v in (("confirm", args.confirm), ("break_glass", args.break_glass)) if v}
    request = {**request, **words}
    if args.confirm or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return request
    plan = await direct(session, verb, request)
    if plan.guard is None or plan.guard.effect != CONFIRM:
        return request
    say(plan_text(plan))
    typed = answer(f"Type {plan.confirm} to run it, or Enter to leave everything as it is: ")
    return {**request, "confirm": typed, "digest": plan.digest}
