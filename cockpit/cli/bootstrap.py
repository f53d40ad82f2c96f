"""`cockpit bootstrap`: keeper and agent on hosts, entered by SSH from this machine."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cockpit.cli.common import BAD, DIFFERS, DONE, Fail, add_json, add_state, connect, drive, print_json, say, table

if TYPE_CHECKING:
    from cockpit.bootstrap import work
    from cockpit.bootstrap.bundles import Bundle
    from cockpit.bootstrap.entering import Way
    from cockpit.inventory.ssh import Asker
    from cockpit.model.topology import Expected
    from cockpit.model.view import HostRow
    from cockpit.ports import Session

AT_ONCE = 8
TTL = 900.0
"""Seconds that a join token lives: for one upload at most."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "bootstrap",
        help="Install keeper and agent on hosts, by SSH from here.",
        description="Install keeper and agent on hosts of the topology, entered by SSH from this machine as they and "
        "your ssh_config say. Looks first, changes what is missing, and can be repeated at any time.",
        epilog="Example: cockpit bootstrap sh-4 sh-5 --user root",
    )
    parser.add_argument("hosts", metavar="HOST", nargs="+", help="hosts of the topology")
    parser.add_argument("--user", default="", help="login (default: as the topology and ssh_config say)")
    parser.add_argument("--port", type=int, default=0, help="port of sshd")
    parser.add_argument(
        "--jump", default=None, metavar="HOST,...", help="[user@]host[:port], in the order they are passed"
    )
    parser.add_argument(
        "--dir", default="", metavar="DIR", help="host directory (default: /var/lib/cockpit, or what is there)"
    )
    parser.add_argument("--bundle", metavar="FILE", help="a cockpit-agent or cockpit-agent.pyz to install")
    parser.add_argument(
        "--no-systemd", action="store_true", help="no units: keeper and agent keep each other, cron starts them"
    )
    parser.add_argument(
        "--switch", action="store_true", help="hosts with `connection: ssh` become `connection: agent`"
    )
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="for the controller to see each host"
    )
    add_state(parser)
    add_json(parser)
    parser.set_defaults(run=lambda args: drive(lambda: _bootstrap(args)))


async def _bootstrap(args: argparse.Namespace) -> int:
    from cockpit.bootstrap import work
    from cockpit.inventory.ssh import Asker

    session = connect(args)
    await session.connect()
    try:
        if session.who.read_only:
            raise Fail(3, f"bootstrap is refused: {session.who.read_only}")
        side = Controller(session)
        await side.load()
        hosts = list(dict.fromkeys(args.hosts))
        ways = {name: _way(args, side, name) for name in hosts}
        offered = await asyncio.to_thread(_offered, args.bundle)
        asker, gate = Asker(), asyncio.Semaphore(AT_ONCE)
        width = max(len(name) for name in hosts)

        async def one(name: str) -> work.Outcome:
            async with gate:
                return await _one(args, side, name, ways[name], offered, asker, width)

        # the first alone: what it asks for is remembered for the others
        outcomes = [await one(hosts[0])] if asker.open else []
        outcomes += await asyncio.gather(*(one(name) for name in hosts[len(outcomes) :]))
    finally:
        await session.close()
    if args.json:
        print_json([{"host": o.host, "outcome": o.word, "text": o.text, "done": list(o.done)} for o in outcomes])
    else:
        say("")
        say(table(["HOST", "OUTCOME", ""], [[o.host, o.word, o.text] for o in outcomes]))
        if any("switch" in o.done for o in outcomes):
            say("Your topology file still says `connection: ssh`: cockpit export --onto FILE")
    return DONE if all(o.word in (work.NEW, work.THERE) for o in outcomes) else DIFFERS


async def _one(
    args: argparse.Namespace, side: Controller, name: str, way: Way, offered: list[Bundle], asker: Asker, width: int
) -> work.Outcome:
    from cockpit.bootstrap import work
    from cockpit.bootstrap.entering import entered
    from cockpit.bootstrap.steps import Wish
    from cockpit.inventory.ssh import NoEntry

    host = side.expected.hosts[name]

    def tell(text: str) -> None:
        if not args.json:
            say(f"{name:{width}}  {text}")

    try:
        wish = Wish(
            name,
            side.expected.name,
            host.connection,
            uuid=await side.uuid(name),
            switch=args.switch,
            systemd=not args.no_systemd,
        )
        async with entered(way, asker, name) as far:
            gateway = host.ssh.directory if host.ssh is not None else ""
            return await work.bootstrap(
                far, wish, side, offered, tell, directory=args.dir, gateway=gateway, up=args.wait
            )
    except NoEntry as e:
        return work.Outcome(name, work.FAILED, str(e))
    except (ConnectionError, TimeoutError) as e:
        return work.Outcome(name, work.FAILED, f"the controller: {e}")


def _way(args: argparse.Namespace, side: Controller, name: str) -> Way:
    """Raises Fail."""
    from cockpit.bootstrap.entering import Way
    from cockpit.inventory.ssh import BadTarget
    from cockpit.model.names import near

    hosts = side.expected.hosts
    if name not in hosts:
        raise Fail(BAD, f"no host {name!r} in the topology{near(name, hosts)}; add it and `cockpit apply` first")
    ssh, jump = hosts[name].ssh, args.jump
    port = args.port or (ssh.port if ssh is not None and ssh.port != 22 else 0)
    hops = [j.strip() for j in jump.split(",") if j.strip()] if jump is not None else list(ssh.jump if ssh else ())
    address = (ssh.address if ssh is not None else "") or hosts[name].address
    try:
        return Way.of(address, user=args.user or (ssh.user if ssh is not None else ""), port=port, jump=hops)
    except BadTarget as e:
        raise Fail(BAD, f"{name}: {e}") from None


def _offered(given: str | None) -> list[Bundle]:
    """Bundles in the order they are tried. Raises Fail."""
    from cockpit.bootstrap import bundles
    from cockpit.bundle.collect import BundleError

    if given:
        try:
            return [bundles.read(Path(given))]
        except bundles.BadBundle as e:
            raise Fail(BAD, str(e)) from None
        except OSError as e:
            raise Fail(BAD, f"{given}: {e.strerror}") from None
    found: list[Bundle] = []
    import cockpit

    made = Path(cockpit.__file__).parent.parent / "dist" / bundles.ONE
    if made.is_file():
        found.append(bundles.read(made))
    from cockpit.bundle import pyz

    try:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / bundles.ZIP
            pyz.make(path)
            found.append(bundles.of(path.read_bytes(), f"the zipapp of cockpit {cockpit.__version__}"))
    except BundleError as e:
        if not found:
            raise Fail(BAD, f"no bundle: {e}") from None
    return found


class Controller:
    """The session as `work.Side`. Its answers are those of one moment: `up` looks anew."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.expected: Expected
        self._tree = asyncio.Lock()
        self._rows: dict[str, HostRow] = {}
        self._looked = 0.0
        self._looking = asyncio.Lock()

    async def load(self) -> None:
        import msgspec

        from cockpit.model.topology import Expected

        self.expected = msgspec.convert(await self.session.call("export"), Expected)

    async def token(self, host: str) -> tuple[str, str]:
        answer = await self.session.call("token", {"host": host, "ttl": TTL})
        entry = self.expected.hosts.get(host)
        listen = entry.ssh.listen if entry is not None and entry.ssh is not None else 0
        return str(answer["token"]), f"https://127.0.0.1:{listen}" if listen else str(answer["controller"])

    async def uuid(self, host: str) -> str:
        answer = await self.session.call("identities")
        for row in answer["identities"]:
            if row["kind"] == "host" and row["name"] == host and not row.get("revoked"):
                return str(row["uuid"])
        return ""

    async def switch(self, host: str) -> str:
        """One revision; several hosts one after the other, each on what the one before left."""
        from msgspec.structs import replace

        from cockpit.cli.verbs import follow
        from cockpit.model.topology import to_doc
        from cockpit.plan.steps import Intent

        async with self._tree:
            await self.load()
            hosts = dict(self.expected.hosts)
            hosts[host] = replace(hosts[host], connection="agent", ssh=None)
            changed = replace(self.expected, hosts=hosts)
            intent = Intent(verb="apply", params={"document": to_doc(changed), "source": f"bootstrap {host}"})
            plan = await self.session.plan(intent)
            if plan.empty:
                return "the topology says so already"
            row = await self.session.submit(intent, digest=plan.digest)
            detail = await follow(self.session, row.id, quiet=True)
            if detail.row.state != "done":
                raise ValueError(f"{row.id} {row.title}: {detail.row.state}. {detail.row.note}")
            self.expected = changed
            return f"{row.id}: connection: agent"

    async def up(self, host: str) -> str:
        async with self._looking:
            if time.monotonic() - self._looked > 0.2:
                snapshot = await self.session.snapshot()
                self._rows = snapshot.hosts
                self._looked = time.monotonic()
        row = self._rows.get(host)
        if row is None or row.presence != "up" or row.agent_pid is None:
            return ""
        return str(row.agent_version or "unknown")
