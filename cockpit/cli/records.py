"""Commands about the past: log, replay, recover."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.act.telling import told
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

if TYPE_CHECKING:
    from cockpit.act.journal import Entry


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "log", help="The journal: who did what, when, and how it ended; verify its chain.",
        epilog="Example: cockpit log --verify --head HASH",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="a saved journal (default: the state's)")
    parser.add_argument("--verify", action="store_true", help="check the hash chain")
    parser.add_argument("--head", metavar="HASH", default=None, help="hash that the last entry must have")
    parser.add_argument(
        "--commands", action="store_true", help="each action as the command that does the same; derived ones left out"
    )
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
    elif args.commands:
        from cockpit.act.spelling import command_of_entry

        for entry in entries:
            if entry.kind == "intent" and not entry.body.get("cause"):
                say(command_of_entry(entry.body, replay=f"{path} --from {entry.seq} --to {entry.seq}"))
    elif args.json:
        print_json(entries)
    else:
        for entry in entries:
            say(sentence(entry))
    return DONE


def sentence(entry: Entry) -> str:
    """One journal entry as one line."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
    return f"{entry.seq:>5}  {when}  {entry.kind:<8} {told(entry)}".rstrip()


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


