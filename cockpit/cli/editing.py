"""`cockpit edit`: a node of what is expected in your editor, then its plan, then one revision."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import (
    BAD,
    DIFFERS,
    DONE,
    REFUSED,
    Fail,
    add_state,
    answer,
    connect,
    drive,
    say,
    warn,
)

if TYPE_CHECKING:
    from cockpit.editing.edit import Edit
    from cockpit.editing.editor import Draft
    from cockpit.ports import Session


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "edit", help="Edit a node of what is expected, see the plan, write one revision.",
        description="Opens the node's lines of the head revision in $VISUAL or $EDITOR. What is saved is checked, "
        "with line and column; then the plan is shown. When the head moved meanwhile, the edit is put onto that.",
        epilog="Example: cockpit edit puzzle.web",
    )
    parser.add_argument("node", metavar="NODE", help="service, group, host, relay, region, schedule, guard, topology")
    parser.add_argument("--kind", default="", help="where names are the same: node, host, relay, region, and so on")
    parser.add_argument("--confirm", default="", metavar="NAME", help="the name that a destructive change asks for")
    parser.add_argument("--yes", action="store_true", help="carry it out without asking after the plan")
    parser.add_argument("--no-wait", action="store_true", help="return as soon as it is accepted")
    add_state(parser, ssh=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return drive(lambda: _run(args))


async def _run(args: argparse.Namespace) -> int:
    from cockpit.editing.edit import Edit
    from cockpit.editing.editor import Draft, editor
    from cockpit.plan.steps import Refused

    if not args.yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Fail(REFUSED, "edit needs a terminal, for the editor and for the question after the plan (or --yes)")
    session = connect(args)
    await session.connect()
    try:
        if session.who.read_only:
            raise Refused(f"edit is refused: {session.who.read_only}")
        argv = editor(os.environ)
        head = await session.call("source")
        edit = Edit(head["text"], head["revision"], args.node, args.kind)
        draft = Draft(edit.title)
        try:
            return await _edit(args, session, argv, edit, draft)
        finally:
            draft.close()
    finally:
        await session.close()


async def _edit(args: argparse.Namespace, session: Session, argv: list[str], edit: Edit, draft: Draft) -> int:
    """Until it is carried out or given up. Whatever was typed is kept in a file when it is not carried out."""
    from cockpit.editing.edit import EMPTY, SAME, WRONG
    from cockpit.plan.steps import Bad, Refused

    done = False
    try:
        while True:
            typed = bool(edit.notes)
            word = edit.take(draft.open(argv, edit.written()))
            if word in (SAME, EMPTY):
                if not typed:
                    done = True
                    say(f"{edit.title}: nothing was changed")
                    return DONE
                raise Fail(BAD, f"{edit.title} was left as it is: " + "; ".join(n.strip() for n in edit.notes))
            if word == WRONG:
                continue
            try:
                code = await _carry_out(args, session, edit)
                done = code != REFUSED
                return code
            except Bad as e:
                edit.say("It was not taken:", f"  {e}")
            except Refused as e:
                if not await moved(session, edit):
                    raise
                warn(str(e))
    finally:
        if not done:
            _keep(edit, draft)


async def moved(session: Session, edit: Edit) -> bool:
    """Put the edit onto the head if it is another one now; False when it is the same. Raises Fail on clashes."""
    from cockpit.editing.edit import Clashes

    head = await session.call("source")
    if head["revision"] == edit.revision:
        return False
    try:
        edit.move(head["text"], head["revision"])
    except Clashes as e:
        raise Fail(REFUSED, f"revision {head['revision']} ({head['by']}) changed the same: {e}") from None
    return True


async def _carry_out(args: argparse.Namespace, session: Session, edit: Edit) -> int:
    """Raises Bad, Refused."""
    from cockpit.act.table import DESTRUCTIVE
    from cockpit.cli.show import plan_text
    from cockpit.cli.verbs import follow

    intent = edit.intent()
    plan = await session.plan(intent)
    if plan.empty:
        say(f"{edit.title}: only comments or order changed; nothing to do")
        return DONE
    say(plan_text(plan))
    confirm = args.confirm
    if plan.confirm or plan.risk == DESTRUCTIVE:
        if not confirm and not args.yes:
            confirm = answer(f"Type {plan.confirm} to run it, or Enter to leave everything as it is: ")
    elif not args.yes and answer("Carry it out? y, or Enter to leave everything as it is: ").lower() != "y":
        say("nothing was changed")
        return REFUSED
    row = await session.submit(intent, digest=plan.digest, confirm=confirm)
    if row.state == "asked":
        say(f"{row.id} {row.title}: {row.note}")
        return DIFFERS
    if args.no_wait:
        say(f"{row.id} {row.title}: {row.state}")
        return DONE
    detail = await follow(session, row.id, quiet=False)
    return DONE if detail.row.state == "done" else DIFFERS


def _keep(edit: Edit, draft: Draft) -> None:
    from cockpit.editing.editor import keeping_place

    try:
        warn(f"what you typed is kept in {draft.keep(edit.text, keeping_place(os.environ))}")
    except OSError as e:
        warn(f"what you typed could not be kept ({e}); here it is:")
        say(edit.text)
