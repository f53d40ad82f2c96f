"""`cockpit history`: what is recorded, what changed between two moments, the life of one object, a past state."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import BAD, DONE, Fail, add_json, add_state, connect, drive, print_json, say, table
from cockpit.history import fetching
from cockpit.history.when import BACKWARDS, EXAMPLES, moment
from cockpit.model import history_rows
from cockpit.model.history_rows import CHANGED, KINDS, NEW, Gap
from cockpit.model.view import Snapshot

if TYPE_CHECKING:
    from cockpit.ports import Session

BUSY = 12
"""Lines of the short answer."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "history", help="The recorded state: what changed, when, and how it was.",
        description="Without options: what is kept, and when something changed in the last hour. With NAME: every "
        f"change of that instance, host, service, relay or action. Moments: {EXAMPLES}.",
        epilog="Example: cockpit history --from 13:50 --to 14:05",
    )
    parser._negative_number_matcher = BACKWARDS  # -15m is a value, as -15 would be
    parser.add_argument("name", metavar="NAME", nargs="?", help="instance, host, service, relay or #ACTION")
    parser.add_argument("--at", metavar="MOMENT", help="everything as it was then")
    parser.add_argument("--from", dest="start", metavar="MOMENT", help="what differs since then")
    parser.add_argument("--to", dest="end", metavar="MOMENT", help="until then (default: now)")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.at and (args.start or args.end or args.name):
        raise Fail(BAD, "--at is one moment: it goes with neither --from, --to nor a name")
    if args.end and not args.start and not args.name:
        raise Fail(BAD, "--to needs --from: from which moment on?")
    return drive(lambda: _asked(args))


async def _asked(args: argparse.Namespace) -> int:
    session = connect(args)
    await session.connect()
    try:
        now = await session.snapshot()
        if args.at:
            _state(await past(session, args.at, now), args)
        elif args.name:
            await _life(session, args, now)
        elif args.start:
            await _between(session, args, now)
        else:
            await _short(session, args, now.head.now)
    finally:
        await session.close()
    return DONE


async def past(session: Session, text: str, now: Snapshot) -> Snapshot:
    """The state at a moment as it was typed. Raises Fail, Bad."""
    return await fetching.past(session, _moment(text, now))


def _moment(text: str, now: Snapshot) -> float:
    def action(id: str) -> float | None:
        row = now.actions.get(id)
        return row.started if row is not None else None

    try:
        return moment(text, now.head.now, action)
    except ValueError as e:
        raise Fail(BAD, str(e)) from None


def _state(then: Snapshot, args: argparse.Namespace) -> None:
    from cockpit.cli.show import overview, status_object

    if args.json:
        print_json({"at": then.head.now, **status_object(then)})
    else:
        say(f"as it was at {date(then.head.now)}")
        say(overview(then))


async def _between(session: Session, args: argparse.Namespace, now: Snapshot) -> None:
    start = _moment(args.start, now)
    end = _moment(args.end, now) if args.end else now.head.now
    found = await history_rows.between(session, start, end)
    if args.json:
        print_json(found)
        return
    before, after = found.revisions
    say(f"between {date(found.start)} and {date(found.end)}"
        + (f", rev {before} to {after}" if before != after else f", rev {after}"))
    _gaps(found.gaps)
    if not found.rows:
        say("nothing differs")
        return
    say(table(("WHAT", "NAME", "HOW", "BEFORE", "AFTER"),
              ((KINDS[r.table], r.name, r.how, r.before, r.after) for r in found.rows)))
    if found.left_out:
        say(f"and {found.left_out} more: choose a shorter time, or --json")


async def _life(session: Session, args: argparse.Namespace, now: Snapshot) -> None:
    kind, name = _named(args.name, now)
    start = _moment(args.start, now) if args.start else 0.0
    end = _moment(args.end, now) if args.end else None
    found = await history_rows.life(session, kind, name, start=start, end=end)
    if args.json:
        print_json(found)
        return
    say(f"{kind} {name} since {date(found.start)}")
    _gaps(found.gaps)
    if found.left_out:
        say(f"{found.left_out} earlier changes are left out: --from and --to choose")
    for event in found.events:
        what = "" if event.key == name else f"{KINDS[event.table]}{f' {event.name}' if event.name != name else ''} "
        words = f"{event.before or 'nothing'} -> {event.after or 'nothing'}" if event.how == CHANGED else (
            f"came: {event.after}" if event.how == NEW else f"went: {event.before}"
        )
        say(f"{date(event.at)}  {what}{words}")
    if not found.events:
        say("nothing about it changed")


async def _short(session: Session, args: argparse.Namespace, now: float) -> None:
    found = await history_rows.moments(session, now - 3600, now, 3600 / BUSY)
    if args.json:
        print_json(found)
        return
    oldest = found.oldest if found.oldest is not None else now
    say(f"kept is {date(oldest)} to {date(found.newest or now)}")
    _gaps(found.gaps)
    rows = []
    for each in found.moments:
        kinds = ", ".join(f"{n} {KINDS.get(k, k)}" for k, n in sorted(each.kinds.items(), key=lambda i: -i[1]))
        rows.append((date(each.at)[11:], str(each.total), kinds))
    say(table(("FROM", "CHANGES", "OF WHICH"), rows) if rows else "nothing changed in the last hour")


def _named(text: str, now: Snapshot) -> tuple[str, str]:
    """Kind and full name. Something that is gone by now is taken as it was written."""
    if text.startswith("#") or text.isdigit():
        return "action", f"#{text.lstrip('#')}"
    path, slash, slot = text.partition("/")
    fits = [p for p in now.nodes if p == path or p.endswith("." + path)]
    full = (path if path in fits else fits[0] if len(fits) == 1 else path) + slash + slot
    if slash:
        return "instance", full
    if text in now.hosts:
        return "host", text
    if text in now.relays:
        return "relay", text
    if len(fits) > 1 and path not in fits:
        raise Fail(BAD, f"{text} may be {', '.join(sorted(fits)[:5])}: write more of it")
    return ("service", full) if fits or "." in text else ("host", text)


def _gaps(gaps: tuple[Gap, ...]) -> None:
    for gap in gaps:
        say(f"not recorded: {date(gap.start)} to {date(gap.end)} ({gap.why})")


def date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
