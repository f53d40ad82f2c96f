"""`cockpit import`: inventories of other tools, and what runs on hosts already, as a topology file."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import BAD, DIFFERS, DONE, NO_ANSWER, Fail, drive, say, warn
from cockpit.cli.writing import write

if TYPE_CHECKING:
    from cockpit.inventory.found import Found
    from cockpit.inventory.places import Where
    from cockpit.inventory.ssh import Target

RESOLVE_LIMIT = 10.0
"""Seconds for one name."""
MOST_INPUT = 64 * 1024 * 1024


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "import", help="Make a topology from an inventory, or from what runs on a host.",
        epilog="Example: cockpit import ansible inventory.ini -o topology.yaml",
    )
    inner = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    for name, about, example, own in _SOURCES:
        child = inner.add_parser(name, help=about, epilog=f"Example: cockpit import {name} {example}")
        own(child)
        _common(child)
        child.set_defaults(run=run)


def _common(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="FILE", help="write a new file (default: print it)")
    where.add_argument("--onto", metavar="FILE", help="add what is new to this topology file")
    parser.add_argument("--replace", action="store_true", help="with --onto: imported entries win over existing ones")
    parser.add_argument("--dry-run", action="store_true", help="with --onto: only say what would be done")
    parser.add_argument("--cluster", metavar="NAME", default="imported", help="name of a new topology")
    parser.add_argument("--region", metavar="NAME", default="default", help="region of hosts without one")
    parser.add_argument("--connection", choices=("ssh", "agent"), default="ssh", help="of the imported hosts")
    parser.add_argument("--user", default="", help="SSH user of hosts without one")
    parser.add_argument("--jump", default="", metavar="HOST,...", help="jump hosts of hosts without any")


def _ansible(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="inventory file or directory; -: `ansible-inventory --list`")
    parser.add_argument("--label", action="append", default=[], metavar="VARIABLE", help="becomes a label of hosts")
    parser.add_argument("--region-from", default="", metavar="VARIABLE", help="variable that names the region")


def _ssh_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", default="", help="default: ~/.ssh/config")


def _terraform(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="FILE", help="what `terraform show -json` printed; - reads standard input")
    parser.add_argument("--public", action="store_true", help="public addresses first")


def _hosts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", action="append", default=[], metavar="[USER@]HOST[:PORT]", help="there, by SSH (default: here)"
    )
    parser.add_argument("--under", default="", metavar="NODE", help="node of the tree for the services")


def _supervisord(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="?", default="", help="default: that of the running one")
    _hosts(parser)


def _systemd(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "unit", metavar="UNIT", nargs="*", help="units or patterns (default: running ones in /etc/systemd/system)"
    )
    _hosts(parser)


_SOURCES: tuple[tuple[str, str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    ("ansible", "an Ansible inventory (INI or YAML)", "inventory.ini --onto topology.yaml", _ansible),
    ("ssh-config", "hosts of an OpenSSH client configuration", "-o topology.yaml", _ssh_config),
    ("terraform", "output of `terraform show -json`", "- < state.json", _terraform),
    ("supervisord", "programs of a running supervisord", "--host web1 --onto topology.yaml", _supervisord),
    ("systemd", "units of a running systemd", "--host web1 nginx --onto topology.yaml", _systemd),
)


def run(args: argparse.Namespace) -> int:
    if (args.replace or args.dry_run) and not args.onto:
        raise Fail(BAD, f"{'--replace' if args.replace else '--dry-run'} needs --onto FILE")
    return drive(lambda: _run(args))


async def _run(args: argparse.Namespace) -> int:
    from cockpit.inventory.build import Options, build, wanted_addresses
    from cockpit.inventory.found import BadSource
    from cockpit.inventory.text import fresh
    from cockpit.model.problems import BadTopology

    try:
        found = await _read(args)
    except BadSource as e:
        raise Fail(BAD, str(e)) from None
    if not found.machines and not found.programs:
        for remark in found.remarks[:20]:
            warn(str(remark))
        raise Fail(BAD, f"{found.title}: no host was found")
    options = Options(
        name=args.cluster, region=args.region, connection=args.connection, user=args.user,
        jump=tuple(j for j in args.jump.split(",") if j), under=_node(getattr(args, "under", "")),
    )
    built = build(found, options, await resolve(wanted_addresses(found)))
    if args.onto:
        return _onto(args, built)
    try:
        text = fresh(built, found.title)
    except BadTopology as e:
        many = len(built.expected.hosts)
        raise Fail(BAD, f"{many} hosts are too many for one topology file; import a part\n{e}") from None
    if args.output:
        write(Path(args.output), text, new=True)
        count = f"{len(built.expected.hosts)} hosts, {len(built.expected.services)} services"
        say(f"{args.output}: {count}" + (f"; {len(built.remarks)} remarks at its top" if built.remarks else ""))
    else:
        sys.stdout.write(text)
    return DONE


def _onto(args: argparse.Namespace, built: Any) -> int:
    from cockpit.inventory.text import Clash, onto
    from cockpit.model.problems import BadTopology

    path = Path(args.onto)
    text = _text(path)
    try:
        result, summary = onto(text, str(path), built, overwrite=args.replace)
    except BadTopology as e:
        raise Fail(BAD, f"{path} is no topology that could be added to; nothing was written\n{e}") from None
    except Clash as e:
        raise Fail(BAD, f"{path} and what was found do not fit together; nothing was written\n{e}") from None
    for remark in sorted(set(built.remarks)):
        warn(str(remark))
    kept = "replaced" if args.replace else "different (kept as it is; --replace takes the imported one)"
    for word, names in (("added", summary.added), ("same", summary.same), (kept, summary.different)):
        for name in names:
            say(f"{word}: {name}")
    total = f"{len(summary.added)} added, {len(summary.same)} same, {len(summary.different)} different"
    if args.dry_run:
        say(f"{path}: {total}; nothing was written (--dry-run)")
    elif result == text:
        say(f"{path}: {total}; nothing to write")
    else:
        write(path, result)
        say(f"{path}: {total}; written")
    return DIFFERS if summary.different and not args.replace else DONE


def _node(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(".") if part)


async def _read(args: argparse.Namespace) -> Found:
    from cockpit.inventory import ansible, ssh_config, terraform

    match args.source:
        case "ansible" if args.path == "-":
            return ansible.read_stream(_stdin(), args.label, args.region_from)
        case "ansible":
            return ansible.read_path(Path(args.path), args.label, args.region_from)
        case "ssh-config":
            home = Path.home()
            return ssh_config.read(Path(args.path) if args.path else home / ".ssh" / "config", home)
        case "terraform":
            text = _stdin() if args.path == "-" else _text(Path(args.path))
            return terraform.read(text, args.path, public=args.public)
    return await _running(args)


async def _running(args: argparse.Namespace) -> Found:
    """From each host in turn: so that questions do not mix."""
    from cockpit.inventory import ssh
    from cockpit.inventory.found import Found
    from cockpit.inventory.places import Here, There

    title = "supervisord" if args.source == "supervisord" else "systemd"
    found = Found(title=f"{title} " + (f"on {', '.join(args.host)}" if args.host else "on this machine"))
    if not args.host:
        here = Here()
        await _one(args, here, await here.hostname(), found)
        return found
    asker = ssh.Asker()
    try:
        targets = [ssh.Target(h) for h in args.host]
    except ssh.BadTarget as e:
        raise Fail(BAD, str(e)) from None
    for target in targets:
        try:
            connection = await ssh.enter(target, asker)
        except ssh.NoEntry as e:
            raise Fail(NO_ANSWER, str(e)) from None
        async with connection:
            peer = connection.get_extra_info("peername")
            await _one(args, There(connection, target.host), target.host, found, target=target, peer=peer)
    return found


async def _one(
    args: argparse.Namespace, where: Where, name: str, found: Found, *, target: Target | None = None,
    peer: Any = None,
) -> None:  # fmt: skip
    """`target`: how the machine was entered; None: this one."""
    from cockpit.inventory.found import Machine, Place
    from cockpit.inventory.running import read_supervisord, read_systemd

    tunnelled = peer is None or (peer[0].startswith(("127.", "::1")) and not name.startswith(("127.", "localhost")))
    found.machines.append(
        Machine(
            name=name, place=Place(f"{args.source} on {name}"), local=target is None,
            address="127.0.0.1" if target is None else "" if tunnelled else peer[0],
            target="" if target is None else target.host, port=(target.port if target is not None else 0) or 22,
            user="" if target is None else target.user,
        )
    )
    if args.source == "supervisord":
        await read_supervisord(where, name, args.config, found)
    else:
        await read_systemd(where, name, args.unit, found)


async def resolve(names: Iterable[str]) -> dict[str, str]:
    """Name -> its first address, IPv4 before IPv6; names without one are left out. At most 32 at once."""
    gate = asyncio.Semaphore(32)
    loop = asyncio.get_running_loop()

    async def one(name: str) -> tuple[str, str]:
        async with gate:
            try:
                async with asyncio.timeout(RESOLVE_LIMIT):
                    answers = await loop.getaddrinfo(name, None)
            except (OSError, UnicodeError, TimeoutError):
                return name, ""
        found = sorted({str(a[4][0]) for a in answers}, key=lambda ip: (":" in ip, ip))
        return name, found[0] if found else ""

    pairs = await asyncio.gather(*(one(n) for n in names))
    return {name: address for name, address in pairs if address}


def _stdin() -> str:
    data = sys.stdin.buffer.read(MOST_INPUT + 1)
    if len(data) > MOST_INPUT:
        raise Fail(BAD, f"standard input: more than {MOST_INPUT // 2**20} MiB")
    return data.decode("utf-8", "replace")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as f:
            data = f.read(MOST_INPUT + 1)
    except OSError as e:
        raise Fail(BAD, f"{path}: {e.strerror}") from None
    if len(data) > MOST_INPUT:
        raise Fail(BAD, f"{path}: more than {MOST_INPUT // 2**20} MiB")
    return data.decode("utf-8", "replace")
