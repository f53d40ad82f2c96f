"""`cockpit VERB ... --rehearse`: the timeline of a plan on a simulated copy, before it runs."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from typing import Any

from cockpit.cli.common import BAD, DIFFERS, DONE, Fail, connect, print_json, say, warn
from cockpit.plan.steps import Intent


def faults_of(words: list[str]) -> list[Any]:
    """`s3` is a step, anything else a host."""
    from cockpit.model.rehearsal_rows import Fault

    return [Fault(step=w) if re.fullmatch(r"s\d+", w) else Fault(host=w) for w in words]


async def rehearse(args: argparse.Namespace, intent: Intent) -> int:
    """Exit 0 when it would be done, 1 when it would end otherwise."""
    from cockpit.act.table import VERBS
    from cockpit.act.timeline import text
    from cockpit.model.rehearsal_rows import Forecast
    from cockpit.session.rehearse import rehearse as ask

    if VERBS[intent.verb].target == "action":
        raise Fail(BAD, f"{intent.verb} has no steps of its own: there is nothing to rehearse")
    session = connect(args)
    await session.connect()
    found: Forecast | None = None
    shown = sys.stderr.isatty() and not args.json
    try:
        async for item in ask(session, intent, faults_of(args.fail)):
            if isinstance(item, Forecast):
                found = item
            elif shown:
                how = "others are rehearsed first" if item.waiting else f"{item.over} of {item.total or '?'} steps"
                sys.stderr.write(f"\r\x1b[Krehearsing: {how}")
                sys.stderr.flush()
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
        await session.close()
    if found is None:
        warn("the rehearsal ended without a word")
        return DIFFERS
    if args.json:
        print_json(found)
    else:
        width = shutil.get_terminal_size((100, 40)).columns if sys.stdout.isatty() else 100
        say(text(found, width))
    return DONE if found.outcome == "done" else DIFFERS
