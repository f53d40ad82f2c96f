"""`cockpit actions`, `cockpit action ID`: what ran and runs, and how well it was foretold."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import BAD, DONE, Fail, add_json, add_state, connect, drive, print_json, say, table

if TYPE_CHECKING:
    from cockpit.model.view import ActionRow


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "actions", help="What runs and what ran: who, when, how it ended.", epilog="Example: cockpit actions -n 50"
    )
    parser.add_argument("-n", "--last", type=int, default=20, metavar="N", help="how many (default: 20)")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _actions(args)))

    parser = commands.add_parser(
        "action", help="One action: its steps, what happened, and its score against what was foretold.",
        epilog="Example: cockpit action '#118' --command",
    )
    parser.add_argument("id", metavar="ACTION", help="its number: 118 or '#118'")
    parser.add_argument("--command", dest="spell", action="store_true", help="only the command that does the same")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _action(args)))


async def _actions(args: argparse.Namespace) -> int:
    if args.last < 1:
        raise Fail(BAD, "--last: at least 1")
    session = connect(args)
    await session.connect()
    try:
        snapshot = await session.snapshot()
    finally:
        await session.close()
    rows = sorted(snapshot.actions.values(), key=lambda a: a.started)[-args.last :]
    if args.json:
        print_json(rows)
        return DONE
    now = snapshot.head.now
    say(table(
        ("", "STATE", "STARTED", "TOOK", "BY", "WHAT"),
        [(a.id, a.state, time.strftime("%m-%d %H:%M:%S", time.localtime(a.started)), _took(a, now), a.author, a.title)
         for a in rows],
    ))  # fmt: skip
    return DONE


def _took(row: ActionRow, now: float) -> str:
    from cockpit.model.units import seconds_text

    return seconds_text((row.ended if row.ended is not None else now) - row.started)


async def _action(args: argparse.Namespace) -> int:
    from cockpit.act.score import sentences
    from cockpit.act.spelling import command_of_row
    from cockpit.model.units import seconds_text

    id = "#" + args.id.lstrip("#")
    session = connect(args)
    await session.connect()
    try:
        detail = await session.action(id)
    finally:
        await session.close()
    row = detail.row
    if args.spell:
        say(command_of_row(row))
        return DONE
    if args.json:
        print_json(detail)
        return DONE
    end = f", {seconds_text(row.ended - row.started)}" if row.ended is not None else ""
    say(f"{row.id} {row.title}: {row.state}{end}, by {row.author}" + (f". {row.note}" if row.note else ""))
    for step in detail.steps:
        took = seconds_text(step.ended - step.started) if step.ended and step.started else ""
        say(f"  {step.state:<8} {took:>8}  {step.text}" + (f"  {step.note}" if step.note else ""))
    for line in detail.log:
        say(f"  {line}")
    if detail.score is not None:
        say("SCORE")
        for sentence in sentences(detail.score):
            say(f"  {sentence}")
    elif detail.forecast is not None:
        say(f"  {seconds_text(detail.forecast.seconds)} were foretold")
    say(f"  {command_of_row(row)}")
    return DONE
