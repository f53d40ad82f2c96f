"""`cockpit explain` and `cockpit timeline`: why something is not as it should be, and what its life was."""

from __future__ import annotations

import argparse
import time
from typing import Any

from cockpit.cli.common import DIFFERS, DONE, add_json, add_state, call, drive, print_json, say, warn
from cockpit.model.units import age
from cockpit.model.why_rows import Finding, Findings, Life, explain, timeline
from cockpit.times import when as moment_of


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "explain", help="Why something is not as it should be: root cause first.",
        description="NAME is an instance, a service or group, a host, a relay, or an action; without it the whole "
        "cluster. Exit 1 when there is something to explain.",
        epilog="Example: cockpit explain sudoku/3",
    )
    _common(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _explain(args)))
    parser = commands.add_parser(
        "timeline", help="The life of one object: states, runs, versions, actions, revisions.",
        epilog="Example: cockpit timeline sudoku/3 --newest-first",
    )
    _common(parser)
    parser.add_argument("-n", "--lines", type=int, default=200, metavar="N", help="the latest N entries")
    parser.add_argument("--newest-first", action="store_true", help="the latest on top")
    parser.set_defaults(run=lambda args: drive(lambda: _timeline(args)))


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="what it is about")
    parser.add_argument(
        "--kind", choices=("instance", "service", "group", "host", "relay", "action"), default="",
        help="what NAME is, where several things have that name",
    )
    add_state(parser, ssh=True)
    add_json(parser)


async def _explain(args: argparse.Namespace) -> int:
    answer = await call(args, lambda s: explain(s, args.name, kind=args.kind))
    if args.json:
        print_json(answer)
    else:
        say("\n".join(findings_text(answer)))
    return DIFFERS if answer.findings else DONE


def findings_text(answer: Findings) -> list[str]:
    """Findings as lines: each with its evidence, what is suspected, and what can be done."""
    out: list[str] = []
    for number, found in enumerate(answer.findings, 1):
        out += _finding(number, found, answer.now)
    if answer.left_out:
        out.append(f"and {answer.left_out} more; `cockpit explain --json` has the first {len(answer.findings)} only")
    if not answer.findings:
        out.append(answer.calm)
        out += [f"     {moment_of(m.at, answer.now)}  {m.kind:<9} {m.text}" for m in answer.lately]
    return out + [f"not known: {words}" for words in answer.unknown]


def _finding(number: int, found: Finding, now: float) -> list[str]:
    since = f", since {moment_of(found.since, now)} ({age(now - found.since)} ago)" if found.since is not None else ""
    out = [f"{number}. {found.what}{since}"]
    if found.count > 1 and found.kind == "service":
        more = f" and {found.count - len(found.objects)} more" if found.count > len(found.objects) else ""
        out.append(f"     which: {', '.join(found.objects)}{more}")
    hangs = [
        f"{n} {word}{'' if n == 1 else 's'}{tail}"
        for n, word, tail in (
            (found.hosts, "host", " not heard because of it"), (found.silent, "instance", " nothing is known of"),
            (found.perhaps, "instance", " unwell perhaps because of it"),
        ) if n
    ]  # fmt: skip
    if hangs:
        out.append(f"     hangs on it: {', '.join(hangs)}")
    out += [f"     {c.how} {c.text}" for c in found.causes]
    for proof in found.evidence:
        at = f"{moment_of(proof.at, now, 11)} " if proof.at is not None else ""
        out.append(f"     {proof.kind:<10} {at}{proof.text}")
    out += [f"     suspect    {s.text}" for s in found.suspects]
    for remedy in found.remedies:
        if remedy.verb:
            words = _quoted(remedy.verb, remedy.targets)
            out.append(f"     try        cockpit {remedy.verb} {words}   {remedy.text}")
    return out


def _quoted(verb: str, targets: tuple[str, ...]) -> str:
    words = [f"'{t}'" if t.startswith("#") else t for t in targets]
    return " ".join((["--action"] if verb == "rollback" else []) + words)


async def _timeline(args: argparse.Namespace) -> int:
    life = await call(args, lambda s: timeline(s, args.name, kind=args.kind, limit=max(1, args.lines)))
    if args.json:
        print_json(life)
    else:
        for line in life_text(life, newest_first=args.newest_first):
            say(line)
    for words in life.unknown:
        warn(words)
    return DONE


def life_text(life: Life, *, newest_first: bool = False) -> list[str]:
    moments = life.moments[::-1] if newest_first else life.moments
    def when(at: float) -> str:
        return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))}  {age(life.now - at):>4} ago"

    out = [f"{when(m.at)}  {m.kind:<9} {m.text}" for m in moments]
    if life.left_out:
        out.insert(len(out) if newest_first else 0, f"{life.left_out} older entries are left out; -n shows more")
    return out or [f"nothing is known of the life of {life.name or 'the cluster'}"]
