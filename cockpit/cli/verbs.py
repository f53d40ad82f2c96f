"""One sub-command per verb of the action table: plan, run, follow to the end."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.act.table import DESTRUCTIVE, VERBS, Verb
from cockpit.cli.common import (
    BAD,
    DIFFERS,
    DONE,
    Fail,
    add_json,
    add_state,
    connect,
    drive,
    load_topology,
    print_json,
    say,
    warn,
)
from cockpit.cli.progress import Progress
from cockpit.model.guard_rows import DENY

if TYPE_CHECKING:
    from cockpit.model.view import ActionDetail, ActionRow
    from cockpit.plan.steps import Intent, Plan
    from cockpit.ports import Session


def add(commands: Any) -> None:
    for verb in VERBS.values():
        parser = commands.add_parser(
            verb.name, help=verb.help, description=verb.help, epilog=f"Example: {verb.example}"
        )
        add_arguments(parser, verb)
        add_state(parser, ssh=True)
        add_json(parser)
        add_ways(parser)
        parser.set_defaults(run=run, verb=verb.name)
    parser = commands.add_parser(
        "plan", help="Show what a verb would do now; changes nothing.",
        description="Show what a verb would do now; changes nothing.",
        epilog="Example: cockpit plan deploy sudoku 1.1.0",
    )
    inner = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS.values():
        child = inner.add_parser(verb.name, help=verb.help, epilog=f"Example: cockpit plan {verb.example[8:]}")
        add_arguments(child, verb)
        add_state(child, ssh=True)
        add_json(child)
        _break_glass(child)
        child.set_defaults(run=show_plan, verb=verb.name)


def add_ways(parser: argparse.ArgumentParser) -> None:
    """How a verb may be carried out."""
    parser.add_argument(
        "--confirm", default="", metavar="NAME", help="the name that a destructive verb asks for"
    )
    _break_glass(parser)
    parser.add_argument(
        "--rehearse", action="store_true", help="show its timeline on a simulated copy instead; changes nothing"
    )
    parser.add_argument(
        "--fail", action="append", default=[], metavar="STEP|HOST",
        help="with --rehearse: this step (s3) fails, or this host falls silent; again: more of them",
    )
    parser.add_argument("--no-wait", action="store_true", help="return as soon as it is accepted")
    parser.add_argument("--read-only", action="store_true", help="refuse whatever would change something")


def _break_glass(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--break-glass", default="", metavar="REASON",
        help="pass a guard that allows it; who and why go into the journal",
    )


def add_arguments(parser: argparse.ArgumentParser, verb: Verb) -> None:
    """Positional target(s) and parameters, as the table says."""
    if verb.name == "apply":
        parser.add_argument("file", metavar="FILE", help="topology file")
        return
    for param in verb.params:
        if param.first:
            parser.add_argument(param.name, metavar=param.name.upper(), help=param.help)
    if verb.target == "artifact":
        parser.add_argument("target", metavar="NAME/VERSION", help="artifact version")
    elif verb.many:
        parser.add_argument(
            "targets", metavar="TARGET", nargs="*" if verb.optional else "+",
            help="tree node, service, instance or host; the shortest unique suffix will do",
        )
    else:
        metavar = "TARGET" if verb.target == "any" else verb.target.upper()
        parser.add_argument("target", metavar=metavar, nargs="?" if verb.optional else None, help=verb.target)
    for param in verb.params:
        if param.first:
            continue
        if param.type == "bool":
            parser.add_argument(f"--{param.name}", action="store_true", help=param.help)
        elif param.required or param.type == "host":
            kind = int if param.type == "int" else str
            nargs = None if param.required else "?"
            parser.add_argument(param.name, metavar=param.name.upper(), type=kind, nargs=nargs, help=param.help)
        else:
            many = param.type == "hosts"
            metavar = "HOST,HOST" if many else param.name.upper()
            parser.add_argument(
                f"--{param.name}", type=_words if many else str, default=None, metavar=metavar, help=param.help
            )


def _words(text: str) -> list[str]:
    return [w.strip() for w in text.split(",") if w.strip()]


def intent_of(args: argparse.Namespace) -> Intent:
    """The intent that the arguments spell."""
    from cockpit.model.topology import to_doc
    from cockpit.plan.steps import Intent

    verb = VERBS[args.verb]
    glass = {"break_glass": args.break_glass} if args.break_glass else {}
    if verb.name == "apply":
        expected = load_topology(args.file)
        params = {"document": to_doc(expected), "source": Path(args.file).name, **glass}
        with contextlib.suppress(OSError, UnicodeDecodeError):  # its comments, for `cockpit edit`
            params["text"] = Path(args.file).read_text(encoding="utf-8")
        return Intent(verb="apply", params=params)
    targets = tuple(getattr(args, "targets", None) or ([args.target] if getattr(args, "target", None) else []))
    params = {}
    for param in verb.params:
        value = getattr(args, param.name, None)
        if value is not None and value is not False and value != []:
            params[param.name] = value
    return Intent(verb=verb.name, targets=targets, params={**params, **glass})


def run(args: argparse.Namespace) -> int:
    if args.fail and not args.rehearse:
        raise Fail(BAD, "--fail is for rehearsals: give --rehearse too")
    if args.rehearse:
        from cockpit.cli.rehearsing import rehearse

        return drive(lambda: rehearse(args, intent_of(args)))
    return drive(lambda: _run(args))


async def _run(args: argparse.Namespace) -> int:
    from cockpit.plan.steps import Refused

    verb = VERBS[args.verb]
    intent = intent_of(args)
    session = connect(args)
    await session.connect()
    try:
        if session.who.read_only:
            raise Refused(f"{verb.name} is refused: {session.who.read_only}")
        plan = await session.plan(intent)
        confirm, looked = args.confirm, ""
        denied = plan.guard is not None and plan.guard.effect == DENY
        if (plan.risk == DESTRUCTIVE or plan.confirm) and not confirm and not denied:
            confirm, looked = ask(plan), plan.digest  # what nobody has looked at may be another by now
        if plan.empty and verb.name not in ("pause", "resume", "abort"):
            if args.json:
                print_json({"plan": plan, "action": None})
            else:
                say(f"{plan.title}: nothing to do")
                for warning in plan.warnings:
                    warn(warning)
            return DIFFERS if plan.skipped else DONE
        for warning in plan.warnings:
            warn(warning)
        row = await session.submit(intent, digest=looked, confirm=confirm)
        if row.state == "asked":
            if args.json:
                print_json(row)
            else:
                say(f"{row.id} {row.title}: {row.note}")
            return DIFFERS
        if args.no_wait or verb.name in ("pause", "resume"):
            if args.json:
                print_json(row)
            else:
                say(f"{row.id} {row.title}: {row.state}")
            return DONE
        detail = await follow(session, row.id, quiet=args.json)
        if args.json:
            print_json(detail)
        return DONE if detail.row.state == wanted(intent, detail) and not plan.skipped else DIFFERS
    finally:
        await session.close()


def wanted(intent: Intent, detail: ActionDetail) -> str:
    """The state in which the followed action ends when all went as it was asked."""
    if intent.verb != "abort":
        return "done"
    return "returned" if intent.params.get("undo") and detail.row.revision is not None else "aborted"


def ask(plan: Plan) -> str:
    """Ask for the typed name on a terminal; without one, say what is missing."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        why = "is destructive" if plan.risk == DESTRUCTIVE or plan.guard is None else f"- {plan.guard.words()}"
        raise Fail(3, f"{plan.title} {why}: repeat with --confirm {plan.confirm}")
    from cockpit.cli.show import plan_text

    say(plan_text(plan))
    return input(f"Type {plan.confirm} to run it, or Enter to leave everything as it is: ").strip()


async def follow(session: Session, id: str, *, quiet: bool) -> ActionDetail:
    """Print an action's sentences and its pushes as they come; its detail when it (and its return) is over."""
    snapshot = await session.snapshot()
    async with Progress(id, sys.stdout, quiet=quiet) as progress:
        progress.change(snapshot.pushes, snapshot.head.now)
        detail = await session.action(id)
        printed = _print(detail, 0, progress)
        if not over(detail.row):
            async for delta in session.changes():
                progress.change(delta.pushes, delta.head.now)
                if id not in delta.actions:
                    continue
                detail = await session.action(id)
                printed = _print(detail, printed, progress)
                if over(detail.row):
                    break
    if not quiet:
        row = detail.row
        took = f" in {row.ended - row.started:.1f} s" if row.ended else ""
        say(f"{row.id} {row.title}: {row.state}{took}" + (f". {row.note}" if row.note else ""))
    return detail


def over(row: ActionRow) -> bool:
    """It ended, or waits for somebody: nothing more comes by itself."""
    return row.ended is not None or row.state in ("paused", "interrupted")


def _print(detail: ActionDetail, printed: int, progress: Progress) -> int:
    for line in detail.log[printed:]:
        progress.say(line)
    return len(detail.log)


def show_plan(args: argparse.Namespace) -> int:
    return drive(lambda: _show_plan(args))


async def _show_plan(args: argparse.Namespace) -> int:
    from cockpit.cli.show import plan_text

    session = connect(args)
    await session.connect()
    try:
        plan = await session.plan(intent_of(args))
    finally:
        await session.close()
    if args.json:
        print_json(plan)
    else:
        say(plan_text(plan))
    return DONE


