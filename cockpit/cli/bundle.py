"""`cockpit bundle`: what was the case, in one file for somebody who was not there, without its secrets."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from cockpit.cli.common import (
    BAD,
    DIFFERS,
    DONE,
    NO_ANSWER,
    READ_ONLY,
    Fail,
    add_json,
    add_state,
    connect,
    drive,
    print_json,
    say,
    state_dir,
    table,
    warn,
)
from cockpit.cli.snapshot import write_private
from cockpit.history.when import BACKWARDS, moment

MOST_LINES = 20_000


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "bundle", help="Write a redacted incident bundle: state, journal, causes, logs, versions.",
        description="State, topology, journal and its chain, recent actions, causes, alerts, versions, and the last "
        "log lines of what is unhealthy, or of what --host and --service name. Secrets are taken out by the rules of "
        "docs/outside.md; look into it before it leaves the house.",
        epilog="Example: cockpit bundle --since 2h --service web -o web.tar.gz",
    )
    parser._negative_number_matcher = BACKWARDS
    parser.add_argument("-o", dest="file", metavar="FILE", default="", help="default: CLUSTER-TIME.tar.gz, here")
    parser.add_argument("--since", metavar="MOMENT", default="1h", help="1h, 14:02, #118 (default: 1h)")
    parser.add_argument("--logs", type=int, default=300, metavar="N", help="lines of each log (default: 300)")
    parser.add_argument("--host", action="append", default=[], metavar="HOST", help="logs and causes of this host")
    parser.add_argument(
        "--service", action="append", default=[], metavar="NAME", help="of this service, group or instance"
    )
    parser.add_argument("--list", dest="listed", metavar="FILE", default="", help="print what a bundle holds")
    add_state(parser, ssh=True)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.listed:
        return drive(lambda: _listed(args))
    if not 0 <= args.logs <= MOST_LINES:
        raise Fail(BAD, f"--logs: {args.logs} is no number of lines from 0 to {MOST_LINES}")
    return drive(lambda: _made(args))


async def _made(args: argparse.Namespace) -> int:
    import asyncio

    from cockpit.cli.why import findings_text
    from cockpit.incident.collect import Wish, collect
    from cockpit.incident.files import add_log, without_controller
    from cockpit.model.names import near, resolve

    session = connect(args, view=True)
    if not session.read_only:
        session.read_only = READ_ONLY
    state = None if args.ssh else state_dir(args)
    try:
        await session.connect()
    except ConnectionError as e:
        if state is None or not (state / "journal.jsonl").is_file():
            raise
        warn(f"{e}; the bundle holds what lies in {state}")
        since = _moment(args.since, time.time(), {})
        _written(args, await asyncio.to_thread(without_controller, state, since, time.time(), str(e)), since)
        return NO_ANSWER
    try:
        now = await session.snapshot()
        actions = {a.id: a.started for a in now.actions.values()}
        since = _moment(args.since, now.head.now, actions)
        names = [*now.nodes, *now.instances]
        for host in args.host:
            if host not in now.hosts:
                raise Fail(BAD, f"no host {host!r}{near(host, now.hosts)}")
        wish = Wish(
            since=since, lines=args.logs, hosts=tuple(args.host),
            services=tuple(resolve(s, names, "service, group or instance") for s in args.service),
        )  # fmt: skip
        found = await collect(session, wish, findings_text)
    finally:
        await session.close()
    if state is not None:
        add_log(found, state)
    await asyncio.to_thread(_written, args, found, since)
    return DONE


def _moment(text: str, now: float, actions: dict[str, float]) -> float:
    try:
        return moment(text, now, actions.get)
    except ValueError as e:
        raise Fail(BAD, f"--since: {e}") from None


def _written(args: argparse.Namespace, found: Any, since: float) -> None:
    from cockpit.incident.pack import described, pack

    raw, manifest = pack(found, since)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(found.now))
    path = Path(args.file or f"{found.cluster}-{stamp}.tar.gz").absolute()
    write_private(path, raw)
    if args.json:
        print_json({"file": str(path), "bytes": len(raw), **described(manifest)})
        return
    taken = sum(manifest.redacted.values())
    say(f"{path}: {len(manifest.files)} files, {len(raw)} bytes, {taken} values taken out")
    say(f"journal: {manifest.journal}")
    for each in manifest.left_out:
        say(f"left out: {each.what}: {each.why}")
    for entry in manifest.files:
        if entry.cut:
            say(f"cut: {entry.name}: {entry.cut}")
    say(f"Look into it before it leaves the house: cockpit bundle --list {path}")


async def _listed(args: argparse.Namespace) -> int:
    """Exit 1 when it is not as its manifest says."""
    import asyncio

    from cockpit.incident.pack import described, listing

    manifest, wrong = await asyncio.to_thread(listing, Path(args.listed))
    if args.json:
        print_json({**described(manifest), "wrong": wrong})
        return DIFFERS if wrong else DONE

    def when(at: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))

    say(f"{_one(manifest.cluster)} rev {manifest.revision}, made {when(manifest.made)} by {_one(manifest.by)}, "
        f"since {when(manifest.since)}, cockpit {_one(manifest.cockpit)}")
    say(f"journal: {_one(manifest.journal)}")
    rows = [(_one(e.name), str(e.size), e.sha256[:12], _one(e.about + (f"; cut: {e.cut}" if e.cut else "")))
            for e in manifest.files]  # fmt: skip
    say(table(("FILE", "BYTES", "SHA-256", "WHAT"), rows))
    for each in manifest.left_out:
        say(f"left out: {_one(each.what)}: {_one(each.why)}")
    say("taken out: " + (", ".join(f"{n} {_one(rule)}" for rule, n in manifest.redacted.items()) or "nothing"))
    for words in wrong:
        say(f"WRONG: {words}")
    return DIFFERS if wrong else DONE


def _one(text: str) -> str:
    """One printable line of what somebody else wrote."""
    return "".join(c if c.isprintable() else "?" for c in text)[:300]
