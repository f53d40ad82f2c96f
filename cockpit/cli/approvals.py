"""`cockpit approvals`, `approve`, `refuse`: what waits for a second person."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import (
    DIFFERS,
    DONE,
    REFUSED,
    Fail,
    add_json,
    add_state,
    answer,
    connect,
    drive,
    print_json,
    say,
    table,
)

if TYPE_CHECKING:
    from cockpit.model.guard_rows import RequestRow


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "approvals", help="What waits for a second person, and what was decided lately.",
        epilog="Example: cockpit approvals",
    )
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=listing)
    parser = commands.add_parser(
        "approve", help="Agree to what somebody else asked for: shows the same plan, then carries it out.",
        description="Whoever asked cannot approve, under no name: uids are compared. What is approved is the plan "
        "that was asked for; when it would be another one now, it must be asked for anew.",
        epilog="Example: cockpit approve a3",
    )
    parser.add_argument("id", metavar="ID", help="as `cockpit approvals` prints it")
    parser.add_argument("--digest", default="", metavar="D", help="of the plan you have looked at; asks nothing then")
    parser.add_argument("--no-wait", action="store_true", help="return as soon as it is accepted")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=approve)
    parser = commands.add_parser(
        "refuse", help="Refuse what somebody asked for, or withdraw your own request.",
        epilog="Example: cockpit refuse a3 --why 'not on a Friday'",
    )
    parser.add_argument("id", metavar="ID", help="as `cockpit approvals` prints it")
    parser.add_argument("--why", default="", metavar="TEXT", help="shown to whoever asked")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=refuse)


def listing(args: argparse.Namespace) -> int:
    from cockpit.model.guard_rows import approvals

    async def work() -> int:
        session = connect(args, view=True)
        await session.connect()
        try:
            rows = await approvals(session)
        finally:
            await session.close()
        if args.json:
            print_json(rows)
        elif not rows:
            say("nothing waits for a second person, and nothing did lately")
        else:
            say(table(("ID", "STATE", "WHAT", "BY", "GUARD", "WHEN", "NOTE"), [_line(r) for r in rows]))
        return DONE

    return drive(work)


def _line(row: RequestRow) -> tuple[str, ...]:
    note = row.note or row.action
    if row.state == "waiting":
        note = f"until {_clock(row.expires)}: {row.reason}"
    elif row.by:
        note = f"by {row.by}" + (f": {note}" if note else "")
    return row.id, row.state, row.title, row.author, row.rule, _clock(row.asked), note


def _clock(at: float) -> str:
    return time.strftime("%m-%d %H:%M", time.localtime(at))


def approve(args: argparse.Namespace) -> int:
    """Exit 1 when the action did not end well, 3 when it was not approved."""
    from cockpit.act.table import DIRECT
    from cockpit.cli.show import plan_text
    from cockpit.cli.verbs import follow
    from cockpit.model import guard_rows
    from cockpit.plan.steps import Refused

    async def work() -> int:
        session = connect(args)
        await session.connect()
        try:
            digest = args.digest
            if not digest:
                found = await guard_rows.approval(session, args.id)
                row = found.row
                if row.state == guard_rows.WAITING and not found.same:
                    why = found.trouble or "the plan would be another one now"
                    raise Refused(f"{row.id} {row.title} cannot be approved any more: {why}; ask for it anew")
                if not (sys.stdin.isatty() and sys.stdout.isatty()):
                    raise Fail(REFUSED, f"look at {row.id} first, then repeat with --digest {row.digest}")
                say(f"{row.author} (uid {row.uid}) asks, {_clock(row.asked)}; guard {row.rule}: {row.reason}")
                say(plan_text(found.plan))
                if answer("Type approve to carry it out, or Enter to leave it waiting: ") != "approve":
                    say("it waits on")
                    return DIFFERS
                digest = row.digest
            row = await guard_rows.approve(session, args.id, digest)
            if row.verb in DIRECT:
                print_json(row) if args.json else say(
                    f"{row.id} {row.title}: approved; {row.author} may run it once, until {_clock(row.expires)}"
                )
                return DONE
            if args.no_wait or args.json:
                print_json(row) if args.json else say(f"{row.id} {row.title}: approved, it is {row.action}")
                return DONE
            detail = await follow(session, row.action, quiet=False)
            return DONE if detail.row.state == "done" else DIFFERS
        finally:
            await session.close()

    return drive(work)


def refuse(args: argparse.Namespace) -> int:
    from cockpit.model import guard_rows

    async def work() -> int:
        session = connect(args)
        await session.connect()
        try:
            row = await guard_rows.refuse(session, args.id, args.why)
        finally:
            await session.close()
        print_json(row) if args.json else say(f"{row.id} {row.title}: {row.note}")
        return DONE

    return drive(work)
