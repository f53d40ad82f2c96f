"""Commands about the past: log, replay, recover."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cockpit.cli.common import (
    DONE,
    add_json,
    add_state,
    connect,
    drive,
    print_json,
    read_journal,
    say,
    state_dir,
)

SHOWN = 6
"""Hosts that a line names."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "log", help="The journal: who did what, when, and how it ended; verify its chain.",
        epilog="Example: cockpit log --verify --head HASH",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="a saved journal (default: the state's)")
    parser.add_argument("--verify", action="store_true", help="check the hash chain")
    parser.add_argument("--head", metavar="HASH", default=None, help="hash that the last entry must have")
    parser.add_argument("--instance", metavar="INSTANCE", help="the log lines of an instance instead")
    parser.add_argument("--follow", action="store_true", help="with --instance: go on as lines come")
    parser.add_argument("-n", "--lines", type=int, default=200, help="with --instance: how many lines")
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=log)

    parser = commands.add_parser(
        "replay", help="Replay a saved journal: as plans, on a twin, or live.",
        epilog="Example: cockpit replay journal.jsonl --twin",
    )
    parser.add_argument("file", metavar="FILE")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="the plan each entry would have today (default)")
    how.add_argument("--twin", action="store_true", help="on a simulated copy of the cluster, in virtual time")
    how.add_argument("--live", action="store_true", help="on the cluster itself")
    parser.add_argument("--step", action="store_true", help="ask before each entry")
    parser.add_argument("--speed", type=float, default=0.0, help="1: the recorded pace; 0: at once")
    parser.add_argument("--from", dest="first", type=int, default=None, metavar="SEQ", help="first entry")
    parser.add_argument("--to", dest="last", type=int, default=None, metavar="SEQ", help="last entry")
    parser.add_argument("--read-only", action="store_true", help="refuse --live")
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=replay)

    parser = commands.add_parser(
        "recover", help="Rebuild a lost state directory from what the hosts hold.",
        epilog="Example: cockpit recover --state DIR",
    )
    parser.add_argument("--hosts", metavar="DIR", help="where local hosts live (default: STATE.hosts)")
    parser.add_argument(
        "--head", metavar="FILE", action="append", default=[], help="a head.json copied from a host"
    )
    add_state(parser)
    parser.set_defaults(run=recover)


def log(args: argparse.Namespace) -> int:
    if args.instance:
        return drive(lambda: _lines(args))
    path = Path(args.file) if args.file else state_dir(args) / "journal.jsonl"
    entries = read_journal(path, verify=bool(args.verify or args.head), head=args.head)
    if args.verify:
        say(f"{len(entries)} entries, chain whole, head {entries[-1].hash if entries else 'none'}")
    elif args.json:
        print_json(entries)
    else:
        for entry in entries:
            say(sentence(entry))
    return DONE


def sentence(entry: Any) -> str:
    """One journal entry as one line."""
    body = entry.body
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
    head = f"{entry.seq:>5}  {when}  {entry.kind:<8}"
    match entry.kind:
        case "intent":
            what = f"{body['action']} {body['title']}  by {body['author']}"
            what += f"  caused by {body['cause']}" if body.get("cause") else ""
            what += f"  approved by {body['approved']}" if body.get("approved") else ""
            return f"{head} {what}  rev {body['revision']}" if body.get("revision") else f"{head} {what}"
        case "outcome":
            return f"{head} {body['action']} {body['outcome']}  {body.get('reason', '')}".rstrip()
        case "gate":
            seen = body.get("observed") or {}
            why = body.get("note") or f"{seen.get('state', '')} {seen.get('health', '')}".strip()
            where = f"{body['action']} {body['instance']} on {body['host']}"
            return f"{head} {where}: {body['state']}, {why}".rstrip(", ")
        case "pause" | "resume" | "abort":
            after = f" after {body['step']}" if body.get("step") else ""
            by = body["by"] or "its own rule"
            return f"{head} {body['action']} by {by}{after}  {body.get('reason', '')}".rstrip()
        case "ctl":
            return f"{head} {body.get('host')}: uid {body.get('uid')} {body.get('op')} {body.get('unit')}"
        case kind if kind in _OTHERS:
            return f"{head} {_OTHERS[entry.kind](body)}".rstrip()
    return f"{head} " + " ".join(f"{k}={v}" for k, v in body.items() if v not in ("", None))


def _exec(body: Any) -> str:
    user = f" as {body['user']}" if body.get("user") else ""
    return f"{_short(body)} {shlex.join(body['argv'])}{user}  on {_some(body['hosts'])}  by {body['author']}"


def _exec_end(body: Any) -> str:
    """Hosts by the word that they ended with."""
    said: dict[str, list[str]] = {}
    for host, word in body["others"].items():
        said.setdefault(word, []).append(host)
    parts = [f"{word} on {_some(hosts)}" for word, hosts in said.items()]
    if body["open"]:
        parts.append(f"ended unfinished on {_some(body['open'])}")
    ok = [f"ok on {body['ok']}"] if body["ok"] or not parts else []
    return f"{_short(body)} {'stopped: ' if body['stopped'] else ''}{', '.join([*ok, *parts])}"


def _plugin(body: Any) -> str:
    version = f"/{body['version']}" if body.get("version") else ""
    return f"{body['what']} {body['plugin']}{version}  on {_some(body['hosts'])}  by {body['author']}"


def _schedule(body: Any) -> str:
    """A scheduled command that did not end well."""
    code, signal = body.get("code"), body.get("signal")
    how = body.get("why") or (f"exit {code}" if code is not None else f"signal {signal}" if signal else "unknown")
    last = f": {body['last'][-1]}" if body.get("last") else ""
    return f"{body['host']}: {body['schedule']} {how}{last}"


def _revoked(body: Any) -> str:
    return f"{body['what']} {body['name']} ({body['uuid']})  by {body['by']}  {body.get('why', '')}"


def _token(body: Any) -> str:
    return f"{body['what']} for {body['host'] or 'any host'} ({body['id']})  by {body['author']}"


def _request(body: Any) -> str:
    return f"{body['request']} {body['title']}  by {body['author']} (uid {body['uid']})  guard {body['rule']}"


def _decided(body: Any) -> str:
    """A request that was approved, refused, or that nobody decided in time."""
    by = f"  by {body['by']} (uid {body['uid']})" if body.get("by") else ""
    return f"{body['request']} {body['state']}{by}  {body.get('action') or body.get('reason') or ''}"


def _glass(body: Any) -> str:
    why = f"GLASS BROKEN by {body['author']} (uid {body['uid']}): {body['reason']}"
    return f"{body['action']} {body['verb']}  {why}  against guard {body['rule']}: {body['against']}"


_OTHERS: dict[str, Callable[[Any], str]] = {
    "exec": _exec, "exec-end": _exec_end, "plugin": _plugin, "schedule": _schedule, "revoked": _revoked,
    "token": _token, "request": _request, "approve": _decided, "refuse": _decided, "expire": _decided,
    "glass": _glass,
}


def _short(body: Any) -> str:
    """Enough of the id of an execution to find its end."""
    return str(body["id"])[: len("exec-") + 6]


def _some(hosts: Sequence[str]) -> str:
    more = len(hosts) - SHOWN
    return ", ".join(hosts[:SHOWN]) + (f" and {more} more" if more > 0 else "")


async def _lines(args: argparse.Namespace) -> int:
    from cockpit.model.names import resolve

    session = connect(args)
    await session.connect()
    try:
        snapshot = await session.snapshot()
        instance = resolve(args.instance, list(snapshot.instances), "instance")
        async for line in session.logs([instance], lines=args.lines, follow=args.follow):
            say(f"{line.instance} {line.stream:>7} {line.text}")
    finally:
        await session.close()
    return DONE


def replay(args: argparse.Namespace) -> int:
    from cockpit.cli.replaying import run

    return run(args)


def recover(args: argparse.Namespace) -> int:
    from cockpit.controller.core import open_backend
    from cockpit.controller.recover import recover as rebuild

    state = state_dir(args)
    hosts = Path(args.hosts).absolute() if args.hosts else state.with_name(state.name + ".hosts")

    async def work() -> int:
        store = open_backend("cockpit.state", "sqlite")(state)
        expected = await rebuild(state, store, hosts, [Path(f) for f in args.head], say)
        say(f"recovered {expected.name}: start it with cockpit serve --state {state}")
        return DONE

    return drive(work)


