"""`cockpit alerts`: what needs somebody, who was told, who has it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from cockpit.cli.common import (
    BAD,
    DIFFERS,
    DONE,
    Fail,
    add_json,
    add_state,
    call,
    drive,
    print_json,
    say,
    table,
    warn,
)
from cockpit.model.units import age


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "alerts", help="What needs somebody, who was told, who has it.",
        description="STATE/alerts.yaml says who is told of what; it is read again when it changes.",
        epilog="Example: cockpit alerts silence 'puzzle.*' --for 2h --why 'the move'",
    )
    inner = parser.add_subparsers(dest="what", metavar="COMMAND")
    child = _child(
        inner, "list", "Open alerts. Exit 1 when one is firing that nobody has.", "cockpit alerts list", listing
    )
    child.add_argument("--all", action="store_true", help="those that ended, too")
    child = _child(
        inner, "ack", "Say that you look after an alert: nobody is told again until it ends.",
        "cockpit alerts ack a12 --note 'disk is being replaced'", ack,
    )  # fmt: skip
    child.add_argument("id", metavar="ALERT", help="as `alerts list` prints it")
    child.add_argument("--note", default="", help="for the others")
    child = _child(
        inner, "silence", "Tell nobody of what matches, for a while.",
        "cockpit alerts silence 'sh-*' --for 2h --why 'the move'", silence,
    )  # fmt: skip
    child.add_argument("match", metavar="NAME", help="an instance, service, host, region, kind, or a pattern")
    child.add_argument("--for", dest="lasting", default="1h", metavar="TIME", help="how long (1h)")
    child.add_argument("--why", default="", help="for the others")
    child = _child(inner, "unsilence", "End a silence now.", "cockpit alerts unsilence s3", unsilence)
    child.add_argument("id", metavar="SILENCE", help="as `alerts list` prints it")
    child = _child(inner, "test", "Tell a target now that this is a test.", "cockpit alerts test ops", test)
    child.add_argument("target", metavar="TARGET", help="a name of the file")
    child = inner.add_parser(
        "check", help="Read a file without a controller.", epilog="Example: cockpit alerts check alerts.yaml"
    )
    child.add_argument("file", metavar="FILE")
    child.set_defaults(run=check)
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=listing, all=False)


def _child(inner: Any, name: str, about: str, example: str, run: Any) -> argparse.ArgumentParser:
    example = f"Example: {example}"
    child: argparse.ArgumentParser = inner.add_parser(name, help=about, description=about, epilog=example)
    add_state(child)
    add_json(child)
    child.set_defaults(run=run)
    return child


def listing(args: argparse.Namespace) -> int:
    async def work() -> int:
        found = await call(args, lambda s: s.call("alerts"))
        open_ones = [a for a in found["alerts"] if a["state"] != "ended"]
        firing = any(a["state"] == "firing" for a in open_ones)
        if args.json:
            print_json(found)
            return DIFFERS if firing else DONE
        if found["trouble"]:
            warn(f"{found['trouble']}; what was read before is in force")
        now = time.time()
        shown = found["alerts"] if args.all else open_ones
        if shown:
            say(table(("ALERT", "WHEN", "GROUP", "STATE", "SINCE", "MEMBERS", "WHAT"), [_row(a, now) for a in shown]))
        else:
            say("nothing needs anybody")
        for row in found["silences"]:
            why = f": {row['why']}" if row["why"] else ""
            say(f"{row['id']} silences {row['match']} for {age(row['until'] - now)} more, by {row['by']}{why}")
        for row in open_ones:
            for each in row["trouble"]:
                warn(f"{row['id']}: {each}")
        return DIFFERS if firing else DONE

    return drive(work)


def _row(a: dict[str, Any], now: float) -> tuple[str, ...]:
    state = f"{a['state']} by {a['by']}" if a["by"] and a["state"] == "acknowledged" else a["state"]
    return (a["id"], a["when"], a["group"], state, age(now - a["since"]), str(len(a["members"])), a["text"])


def ack(args: argparse.Namespace) -> int:
    return _ask(args, "alert_ack", {"id": args.id, "note": args.note}, lambda r: f"{r['id']} is yours: {r['text']}")


def silence(args: argparse.Namespace) -> int:
    from cockpit.model.problems import Wrong
    from cockpit.model.units import parse_duration

    try:
        seconds = parse_duration(args.lasting)
    except Wrong as e:
        raise Fail(BAD, f"--for: {e}") from None
    words = {"match": args.match, "seconds": seconds, "why": args.why}
    return _ask(args, "alert_silence", words, lambda r: f"{r['id']}: {r['match']} is silent for {age(seconds)}")


def unsilence(args: argparse.Namespace) -> int:
    return _ask(args, "alert_unsilence", {"id": args.id}, lambda r: f"{r['match']} is told again")


def test(args: argparse.Namespace) -> int:
    return _ask(args, "alert_test", {"target": args.target}, lambda r: f"{r['target']} ({r['told']}) was told")


def _ask(args: argparse.Namespace, op: str, words: dict[str, Any], told: Any) -> int:
    async def work() -> int:
        row = await call(args, lambda s: s.call(op, words))
        if args.json:
            print_json(row)
        else:
            say(told(row))
        return DONE

    return drive(work)


def check(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cockpit.alerts.settings import load
    from cockpit.model.problems import BadTopology

    path = Path(args.file)
    if not path.exists():
        raise Fail(BAD, f"{path}: No such file or directory")
    try:
        found = load(path)
    except BadTopology as e:
        raise Fail(BAD, str(e)) from None
    say(f"{len(found.rules)} rules, {len(found.targets)} targets")
    return DONE
