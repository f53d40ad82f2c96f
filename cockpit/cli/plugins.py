"""`cockpit plugin`: put plug-ins on hosts, take them away, see which version each host has."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from cockpit.cli.common import (
    BAD,
    DIFFERS,
    DONE,
    NO_ANSWER,
    Fail,
    add_json,
    add_state,
    call,
    connect,
    drive,
    print_json,
    say,
    table,
    warn,
)
from cockpit.cli.direct import add_ways, agreed

SHOWN = 8
VERBS = {"plugin_push": "plugin-push", "plugin_remove": "plugin-remove"}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "plugin", help="Put plug-ins on hosts, remove them, see what each host has.",
        epilog="Example: cockpit plugin push ./backup --key plugin.pem --all",
    )
    inner = parser.add_subparsers(dest="what", metavar="COMMAND", required=True)
    child = inner.add_parser(
        "push", help="Load a signed plug-in on hosts, without a restart.",
        description="PATH is a directory with plugin.json, which is added to the store first; NAME/VERSION is there "
        "already. It must be signed as `plugin` by a key of the topology: --key signs it here.",
        epilog="Example: cockpit plugin push backup/1.2.0 sh-1 sh-2",
    )
    child.add_argument("plugin", metavar="PATH|NAME/VERSION", help="a directory, or what the store has")
    _hosts(child)
    child.add_argument("--key", metavar="FILE", help="sign it with this private key first")
    child.set_defaults(run=push)
    child = inner.add_parser(
        "remove", help="Unload a plug-in; one that came with the agent serves again.",
        epilog="Example: cockpit plugin remove backup --all",
    )
    child.add_argument("name", metavar="NAME", help="as `plugin list` prints it")
    _hosts(child)
    child.set_defaults(run=remove)
    child = inner.add_parser(
        "list", help="Which version, words and state on which hosts.", epilog="Example: cockpit plugin list"
    )
    add_state(child)
    add_json(child)
    child.set_defaults(run=listing)
    child = inner.add_parser(
        "schedules", help="Scheduled commands: the next time, and the last ends.",
        epilog="Example: cockpit plugin schedules",
    )
    add_state(child)
    add_json(child)
    child.set_defaults(run=schedules)


def _hosts(child: argparse.ArgumentParser) -> None:
    child.add_argument("hosts", metavar="HOST", nargs="*", help="hosts, or constraints like region=sh")
    child.add_argument("--all", action="store_true", help="every host of the topology")
    add_ways(child)
    add_state(child)
    add_json(child)


def _targets(args: argparse.Namespace) -> list[str]:
    if bool(args.hosts) == args.all:
        raise Fail(BAD, "say on which hosts: their names, constraints like region=sh, or --all")
    return list(args.hosts)


def push(args: argparse.Namespace) -> int:
    """Exit 1 when some host refused it, 4 when some did not answer."""
    targets = _targets(args)

    async def work() -> int:
        path = Path(args.plugin)
        id = await _added(args, path) if path.is_dir() else args.plugin
        if args.key:
            await _signed(args, id)
        return await _watch(args, "plugin_push", {"plugin": id, "hosts": targets}, f"{id} is loaded on")

    return drive(work)


async def _added(args: argparse.Namespace, path: Path) -> str:
    """Into the store; NAME/VERSION by its plugin.json."""
    from cockpit.agent.plugins.verify import described
    from cockpit.agent.tasks import CommandError

    try:
        found = described(str(path))
    except CommandError as e:
        raise Fail(BAD, str(e)) from None
    with tempfile.TemporaryDirectory(prefix="cockpit-plugin-") as directory:
        clean = Path(directory) / found.name
        shutil.copytree(path, clean, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"), symlinks=True)
        words = {"path": str(clean), "name": found.name, "version": found.version, "kind": "plugin"}
        await call(args, lambda s: s.call("artifact_add", words))
    return f"{found.name}/{found.version}"


async def _signed(args: argparse.Namespace, id: str) -> None:
    from cockpit.artifacts import sign
    from cockpit.controller.serving import here

    listing = await call(args, lambda s: s.artifacts())
    if id not in listing:
        raise Fail(BAD, f"the store has no artifact {id}")
    path = Path(args.key).expanduser()
    try:
        key = sign.read_key(path)
        if loose := sign.loose(path):
            warn(loose)
    except sign.KeyTrouble as e:
        raise Fail(BAD, str(e)) from None
    made = sign.approve(listing[id], "plugin", key, by=here().author, now=time.time())
    name, _, version = id.partition("/")
    await call(args, lambda s: s.call("artifact_sign", {"name": name, "version": version, "signature": made}))


def remove(args: argparse.Namespace) -> int:
    targets = _targets(args)

    async def work() -> int:
        words = {"name": args.name, "hosts": targets}
        return await _watch(args, "plugin_remove", words, f"{args.name} is removed from")

    return drive(work)


async def _watch(args: argparse.Namespace, op: str, words: dict[str, Any], done: str) -> int:
    session = connect(args)
    await session.connect()
    ends: dict[str, dict[str, Any]] = {}
    try:
        async for item in session.stream(op, await agreed(session, VERBS[op], words, args)):
            ends[item["host"]] = item
            if item["state"] not in ("loaded", "removed") and not args.json:
                warn(f"{item['host']}: {item['state']}: {item['text']}")
    finally:
        await session.close()
    if args.json:
        print_json([ends[h] for h in sorted(ends)])
    good = sum(1 for e in ends.values() if e["state"] in ("loaded", "removed"))
    if not args.json:
        say(f"{done} {good} of {len(ends)} hosts")
    if any(e["state"] == "failed" for e in ends.values()):
        return DIFFERS
    return DONE if good == len(ends) else NO_ANSWER


def listing(args: argparse.Namespace) -> int:
    """Exit 1 when one is broken or refused somewhere."""

    async def work() -> int:
        rows = await call(args, lambda s: s.call("plugins"))
        bad = [r for r in rows if r["known"] and r["state"] in ("broken", "refused")]
        if args.json:
            print_json(rows)
            return DIFFERS if bad else DONE
        groups: dict[tuple[str, ...], list[str]] = {}
        for row in rows:
            state = row["state"] if row["known"] else "no answer"
            state = "ready" if state == "running" else state
            key = (row["name"], row["version"], "pushed" if row["sha256"] else "agent", " ".join(row["words"]), state)
            groups.setdefault(key, []).append(row["host"])
        if not groups:
            say("no host has told of its plug-ins yet")
            return DONE
        shown = [
            (*key, str(len(hosts)), ", ".join(hosts[:SHOWN]) + (" ..." if len(hosts) > SHOWN else ""))
            for key, hosts in sorted(groups.items())
        ]
        say(table(("PLUG-IN", "VERSION", "FROM", "WORDS", "STATE", "HOSTS", "WHICH"), shown))
        for row in bad:
            warn(f"{row['host']}: {row['name']} is {row['state']}: {row['text']}")
        return DIFFERS if bad else DONE

    return drive(work)


def schedules(args: argparse.Namespace) -> int:
    async def work() -> int:
        rows = await call(args, lambda s: s.call("schedules"))
        if args.json:
            print_json(rows)
        elif not rows:
            say("nothing is scheduled")
        else:
            say(table(("SCHEDULE", "HOST", "NEXT", "LAST", "HOW"), [_schedule(r) for r in rows]))
        return DONE

    return drive(work)


def _schedule(row: dict[str, Any]) -> tuple[str, ...]:
    ends = row.get("ends") or []
    last = ends[-1] if ends else None
    how = "runs now" if row.get("running") else str(row.get("wrong") or "")
    if not how and last is not None:
        how = str(last.get("why") or ("ok" if last.get("code") == 0 else f"exit {last.get('code')}"))
    return (row["schedule"], row["host"], _clock(row.get("next")), _clock(last and last.get("started")), how)


def _clock(at: Any) -> str:
    return time.strftime("%m-%d %H:%M", time.localtime(at)) if isinstance(at, (int, float)) else ""
