"""`cockpit advice`: what could hurt though nothing is wrong now."""

from __future__ import annotations

import argparse
from typing import Any

from cockpit.cli.common import DIFFERS, DONE, add_json, add_state, call, drive, print_json, say
from cockpit.model.advice_rows import RISK, AdviceRow, advice
from cockpit.model.units import plural


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "advice", help="What could hurt though nothing is wrong: services without a check, single instances, ...",
        description="NAME is a service, a group, a host or a region; without it the whole cluster. A risk takes "
        "something down, or hides that it is down, as soon as one thing fails. Exit 1 when there is a risk.",
        epilog="Example: cockpit advice shop   (every rule: docs/understanding.md)",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="what it is about")
    parser.add_argument("--risks", action="store_true", help="only risks")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _advice(args)))


async def _advice(args: argparse.Namespace) -> int:
    rows = await call(args, lambda s: advice(s, args.name))
    shown = [r for r in rows if r.weight == RISK or not args.risks]
    if args.json:
        print_json(shown)
    else:
        say("\n".join(advice_text(shown)))
    return DIFFERS if any(r.weight == RISK for r in rows) else DONE


def advice_text(rows: list[AdviceRow]) -> list[str]:
    if not rows:
        return ["no rule found anything"]
    out = []
    for row in rows:
        out += [f"{row.weight:<7} {row.name or 'the cluster'}: {row.text}",
                f"{'':<7} {row.rule}; would help: {row.do}"]
    risks = sum(r.weight == RISK for r in rows)
    return [*out, f"{plural(risks, 'risk')}, {len(rows) - risks} more"]
