"""Commands that only look: status, check, schema, export."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import (
    BAD,
    DONE,
    Fail,
    add_json,
    add_state,
    connect,
    drive,
    load_topology,
    print_json,
    say,
)
from cockpit.cli.writing import write
from cockpit.history.when import BACKWARDS
from cockpit.locales import charset

if TYPE_CHECKING:
    from cockpit.model.view import Snapshot
    from cockpit.plan.steps import Plan


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "status", help="What should run and what does.", epilog="Example: cockpit status --json"
    )
    parser._negative_number_matcher = BACKWARDS
    parser.add_argument("--at", metavar="MOMENT", help="as it was then: 14:02, -15m, 2026-11-20 03:00, #118")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _status(args)))

    parser = commands.add_parser(
        "pushes", help="Who receives what now: pieces per host, rates, who lags behind.",
        description="Pushes that run, and the last ones that ended: pieces per host, rates, who lags behind.",
        epilog="Example: cockpit pushes '#118'",
    )
    parser.add_argument("action", metavar="ACTION", nargs="?", help="only the push of this action")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _pushes(args)))

    parser = commands.add_parser(
        "check", help="Check a topology file; nothing is contacted.", epilog="Example: cockpit check topology.yaml"
    )
    parser.add_argument("file", metavar="FILE")
    add_json(parser)
    parser.set_defaults(run=check)

    parser = commands.add_parser(
        "schema", help="Print the JSON schema of the topology file.", epilog="Example: cockpit schema > schema.json"
    )
    parser.set_defaults(run=schema)

    parser = commands.add_parser(
        "export", help="Print the head revision as a topology file.",
        epilog="Example: cockpit export --onto topology.yaml",
    )
    add_state(parser, ssh=True)
    parser.add_argument("--onto", metavar="FILE", help="write into this file, keeping its comments and order")
    parser.set_defaults(run=lambda args: drive(lambda: _export(args)))


async def _status(args: argparse.Namespace) -> int:
    session = connect(args)
    await session.connect()
    try:
        snapshot = await session.snapshot()
        if args.at:
            from cockpit.cli.history import past

            snapshot = await past(session, args.at, snapshot)
    finally:
        await session.close()
    if args.at and not args.json:
        from cockpit.cli.history import date

        say(f"as it was at {date(snapshot.head.now)}")
    if args.json:
        print_json(status_object(snapshot))
    else:
        say(overview(snapshot))
    return DONE


async def _pushes(args: argparse.Namespace) -> int:
    from cockpit.cli.progress import LEGEND, table_text
    from cockpit.model.pushes import by_action

    session = connect(args)
    await session.connect()
    try:
        snapshot = await session.snapshot()
    finally:
        await session.close()
    pushes = by_action(snapshot.pushes.values())
    if args.action:
        id = f"#{args.action.lstrip('#')}"
        if id not in pushes:
            raise Fail(BAD, f"no push belongs to {id}; known: {', '.join(pushes) or 'none'}")
        pushes = {id: pushes[id]}
    if args.json:
        print_json([row for rows in pushes.values() for row in rows])
        return DONE
    width = shutil.get_terminal_size((100, 40)).columns if sys.stdout.isatty() else 1000
    for id, rows in pushes.items():
        for line in table_text(id, rows, snapshot.head.now, width):
            say(line)
    say(LEGEND if pushes else "nothing is pushed, and nothing was lately")
    return DONE


def overview(snapshot: Snapshot) -> str:
    """The overview as plain text, drawn by the installed screens."""
    from cockpit.cli.faces import face

    width = shutil.get_terminal_size((100, 40)).columns
    ascii_only = "utf" not in charset(os.environ, sys.stdout.encoding or "").lower()
    return str(face("plain")(snapshot, width=width, ascii=ascii_only))


def status_object(snapshot: Snapshot) -> dict[str, Any]:
    """The object of `status --json`. Its names are a promise to scripts."""
    return {
        "cluster": snapshot.head.cluster,
        "revision": snapshot.head.revision,
        "digest": snapshot.head.digest,
        "hosts": [
            {
                "name": h.name, "region": h.region, "presence": h.presence, "address": h.address,
                "agent_pid": h.agent_pid, "keeper_pid": h.keeper_pid, "reason": h.reason,
                "connection": h.connection, "path": h.path, "transport": h.transport, "trouble": h.trouble,
                "agent_version": h.agent_version, "keeper_version": h.keeper_version, "upgrading": h.upgrading,
            }
            for h in _sorted(snapshot.hosts)
        ],
        "relays": [
            {
                "name": r.name, "region": r.region, "presence": r.presence, "address": r.address, "links": r.links,
                "agents": r.agents, "path": r.path, "transport": r.transport, "version": r.version,
                "reason": r.reason,
            }
            for r in _sorted(snapshot.relays)
        ],
        "instances": [
            {
                "id": i.id, "service": i.service, "slot": i.slot, "host": i.host,
                "version_expected": i.version_expected, "version_actual": i.version_actual, "state": i.state,
                "desired": i.desired, "pid": i.pid, "ports": i.ports, "health": i.health,
                "restarts": i.restarts, "runs": i.runs, "reason": i.reason,
            }
            for i in sorted(snapshot.instances.values(), key=lambda i: (i.service, i.slot))
        ],
        "drift": [
            {
                "kind": d.kind, "target": d.target, "expected": d.expected, "actual": d.actual,
                "action": d.action,
            }
            for d in _sorted(snapshot.drift)
        ],
        "endpoints": [
            {
                "service": e.service, "address": e.address, "port": e.port, "state": e.state,
                "attributes": e.attributes, "instance": e.instance, "name": e.name,
            }
            for e in _sorted(snapshot.endpoints)
        ],
        "actions": [
            {
                "id": a.id, "verb": a.verb, "state": a.state, "author": a.author, "targets": a.targets,
                "title": a.title, "note": a.note, "cause": a.cause,
            }
            for a in sorted(snapshot.actions.values(), key=lambda a: a.started)
        ],
        "pushes": [
            {
                "action": p.action, "artifact": p.artifact, "host": p.host, "region": p.region, "relay": p.relay,
                "state": p.state, "phase": p.phase, "note": p.note, "pieces": p.pieces, "have": p.have,
                "had": p.had, "to_move": p.to_move, "moved": p.moved,
            }
            for p in _sorted(snapshot.pushes)
        ],
    }


def _sorted(table: dict[str, Any]) -> list[Any]:
    return [table[k] for k in sorted(table)]


def plan_text(plan: Plan) -> str:
    """A plan as plain text: what is touched, the steps, how to undo it."""
    from cockpit.act.table import DIRECT
    from cockpit.model.units import size_text

    lines = [f"PLAN  {plan.title}", f"  from rev {plan.base}" + (
        f", would write rev {plan.base + 1}" if plan.changes else ", writes no revision"
    )]
    for change in plan.changes[:20]:
        lines.append(f"  expect  {'.'.join(change.path)}: {_value(change.old)} -> {_value(change.new)}")
    if len(plan.changes) > 20:
        lines.append(f"  expect  and {len(plan.changes) - 20} more changes")
    moves = [s.args["to_move"] for s in plan.steps if isinstance(s.args.get("to_move"), int)]
    if moves:
        lines.append(f"  Moves {size_text(sum(moves))} in {len(moves)} push{'es' if len(moves) > 1 else ''}.")
    for n, step in enumerate(plan.steps, 1):
        lines.append(f"  {n:>3}  {step.text or step.kind}")
    for label, texts in (("Touches", plan.touches), ("Mind", plan.warnings)):
        lines += [f"  {t}" if plan.intent.verb in DIRECT else f"  {label}: {t}" for t in texts]
    if plan.guard is not None and plan.guard.rule:
        lines.append(f"  Guard: {plan.guard.words()}")
    if plan.undo:
        lines.append(f"  Undo: {plan.undo}")
    if plan.estimate is not None:
        lines.append(f"  Expect about {plan.estimate:.0f} s.")
    if plan.empty and plan.intent.verb not in DIRECT:
        lines.append("  Nothing to do.")
    return "\n".join(lines)


def _value(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check(args: argparse.Namespace) -> int:
    expected = load_topology(args.file)
    if args.json:
        print_json(expected)
        return DONE
    instances = sum(s.instances.size for s in expected.services.values())
    say(
        f"{args.file} is sound: {len(expected.hosts)} hosts in {len(expected.regions)} regions, "
        f"{len(expected.services)} services, {instances} instances"
    )
    return DONE


def schema(args: argparse.Namespace) -> int:
    from cockpit.model.schema import json_schema

    print_json(json_schema())
    return DONE


async def _export(args: argparse.Namespace) -> int:
    import msgspec

    from cockpit.model.export import export_new, export_onto
    from cockpit.model.problems import BadTopology
    from cockpit.model.topology import Expected

    session = connect(args)
    await session.connect()
    try:
        raw = await session.call("export")
    finally:
        await session.close()
    expected = msgspec.convert(raw, Expected)
    if not args.onto:
        sys.stdout.write(export_new(expected))
        return DONE
    path = Path(args.onto)
    try:
        before = path.read_bytes().decode()  # line ends as they are
        after = export_onto(before, expected)
    except (BadTopology, UnicodeDecodeError) as e:
        raise Fail(BAD, f"{args.onto} was left as it is, it is no topology file\n{e}") from None
    except OSError as e:
        raise Fail(BAD, f"{args.onto}: {e.strerror}") from None
    if after != before:
        write(path, after)
    say(f"{args.onto} {'now' if after != before else 'already'} says what is expected")
    return DONE
