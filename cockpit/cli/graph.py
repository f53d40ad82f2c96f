"""`cockpit graph`: who calls whom, as text or for other tools; `cockpit top`: what takes how much."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from cockpit.cli.common import BAD, DONE, Fail, add_json, add_state, connect, drive, print_json, say, table

HOPS = 1
ROWS = 20


def add(commands: Any) -> None:
    from cockpit.graph_export import FORMATS

    parser = commands.add_parser(
        "graph", help="Who calls whom, for people and for other tools.",
        description="Services and what they depend on, with calls that were seen and are not declared. With PATH (a "
        "service or a group) what is --hops steps away from it; `relays`: controller, relays, and hosts per region.",
        epilog="Example: cockpit graph shop --format dot | dot -Tsvg -o shop.svg",
    )
    parser.add_argument("path", metavar="PATH", nargs="?", default="", help="a service or a group, or `relays`")
    parser.add_argument("--format", choices=tuple(FORMATS), default="text", help="default: text")
    parser.add_argument("--hops", type=int, default=HOPS, metavar="N", help=f"steps around PATH (default: {HOPS})")
    add_state(parser, ssh=True)
    parser.set_defaults(run=lambda args: drive(lambda: _graph(args)))

    parser = commands.add_parser(
        "top", help="What hosts and instances take now.", epilog="Example: cockpit top --by memory --follow"
    )
    parser.add_argument("what", choices=("hosts", "instances"), nargs="?", default="hosts", help="default: hosts")
    parser.add_argument("--by", choices=("cpu", "memory", "name"), default="cpu", help="order (default: cpu)")
    parser.add_argument("--lines", type=int, default=ROWS, metavar="N", help=f"at most so many (default: {ROWS})")
    parser.add_argument("--follow", action="store_true", help="again every two seconds, until interrupted")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _top(args)))


async def _graph(args: argparse.Namespace) -> int:
    from cockpit.graph_export import export
    from cockpit.model.graph import relay_graph, service_graph
    from cockpit.model.metrics_rows import traffic
    from cockpit.model.names import resolve, short_names

    session = connect(args)
    await session.connect()
    try:
        snapshot = await session.snapshot()
        seen = await traffic(session)
    finally:
        await session.close()
    if args.path == "relays":
        graph = relay_graph(snapshot.head.cluster, snapshot.hosts.values(), snapshot.relays)
    else:
        around = resolve(args.path, snapshot.nodes, "service or group") if args.path else ""
        if args.hops < 0:
            raise Fail(BAD, "--hops is a number of steps, 0 or more")
        names = short_names(snapshot.nodes)
        graph = service_graph(
            snapshot.nodes, seen.calls, around=around, hops=args.hops, short=lambda p: names.get(p, p)
        )
    sys.stdout.write(export(graph, args.format))
    return DONE


async def _top(args: argparse.Namespace) -> int:
    from cockpit.model.metrics_rows import FIELDS, loads

    kind = args.what.removesuffix("s")
    session = connect(args)
    await session.connect()
    known: dict[str, dict[str, float]] = {}
    try:
        every = await session.snapshot()
        names = getattr(every, args.what)
        async for item in loads(session, kind):
            for name, latest in item.items():
                if latest is None:
                    known.pop(name, None)
                else:
                    known[name] = latest
            if item:
                continue  # a part; an empty one says that all was told
            if args.json:
                print_json({n: known.get(n) for n in sorted(names)})
            else:
                if args.follow:
                    say(time.strftime("%H:%M:%S"))
                say(_top_text(kind, args.by, args.lines, names, known, tuple(FIELDS[kind])))
            if not args.follow:
                return DONE
    finally:
        await session.close()
    return DONE


def _top_text(
    kind: str, by: str, most: int, names: Any, known: dict[str, dict[str, float]], fields: tuple[str, ...]
) -> str:
    from cockpit.model.metrics_rows import FIELDS, NO_DATA, amount

    def order(name: str) -> tuple[Any, ...]:
        value = known.get(name, {}).get(by)
        return (value is None, -(value or 0.0), name) if by != "name" else (name,)

    shown = sorted(names, key=order)
    rows = []
    for name in shown[: max(1, most)]:
        numbers = known.get(name)
        cells = [amount(FIELDS[kind][f][0], numbers[f]) if f in numbers else "-" for f in fields] if numbers else None
        rows.append([name, *(cells or [NO_DATA, *("" for _ in fields[1:])])])
    titles = [f.upper() for f in fields]
    text = table((kind.upper(), *titles), rows)
    left = len(shown) - len(rows)
    return text + (f"\n{left} more: --lines shows them" if left > 0 else "")
