"""The controller: ties hub, world, board, ledger and runner together. Start it, then ask sessions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from cockpit.act.journal import Journal
from cockpit.agent.files import make_dir
from cockpit.artifacts.opening import open_store
from cockpit.controller.alerting import Alerts
from cockpit.controller.approvals import Approvals
from cockpit.controller.artifacts import Shelf
from cockpit.controller.board import SLICE, Board
from cockpit.controller.building import builds_of
from cockpit.controller.catalog import Catalog
from cockpit.controller.copies import Copies
from cockpit.controller.desk import Desk
from cockpit.controller.direct import Direct
from cockpit.controller.executing import Executions
from cockpit.controller.forwards import Forwards
from cockpit.controller.gateway import Gateway
from cockpit.controller.hosttasks import seen
from cockpit.controller.joining import Joining
from cockpit.controller.journals import Refusals
from cockpit.controller.ledger import Ledger
from cockpit.controller.local import LocalHosts
from cockpit.controller.logs import LogStreams
from cockpit.controller.metrics import Metrics
from cockpit.controller.names import NamesFeed
from cockpit.controller.operations import operations, streams
from cockpit.controller.origin import Origin, OriginError
from cockpit.controller.plugins import AT_ONCE, HostPlugins
from cockpit.controller.pushes import Pushes
from cockpit.controller.rehearsing import Rehearsals
from cockpit.controller.relays import settings
from cockpit.controller.reports import Reports
from cockpit.controller.runner import Runner
from cockpit.controller.securing import Security
from cockpit.controller.session import EngineSession
from cockpit.controller.shells import Shells
from cockpit.controller.trunks import Trunks
from cockpit.controller.upgrades import HubFacts
from cockpit.controller.watching import Watching
from cockpit.controller.world import World
from cockpit.history.archive import Archive
from cockpit.history.recording import Recorder
from cockpit.history.writing import Limits
from cockpit.link.candidates import HubCandidates
from cockpit.link.hub import Hub
from cockpit.link.pki import Authority
from cockpit.memory import trimming
from cockpit.model.actual import Unit
from cockpit.model.details import instance_diffs
from cockpit.model.names import short_names
from cockpit.model.topology import Doc, Expected
from cockpit.model.view import InstanceDetail, Who
from cockpit.naming.registry import Registry
from cockpit.plan.steps import Bad
from cockpit.ports import StateStore
from cockpit.times import when

FIRST_LOOK = 5.0
"""Seconds a fresh controller waits for all known hosts before it makes a plan."""
TICK = 0.05
"""Seconds between looks at what became dirty: the beat of every screen."""
PING, PING_TURNS = 4.0, 16
"""Seconds between two pings of a link; the links take turns, so that answers do not come all at once."""
SAVE_NAMES = 1.0


class Controller:
    """One cluster's engine. `state` is its directory; `hosts` is where local hosts live."""

    def __init__(
        self, state: Path, store: StateStore, *, hosts: Path | None = None, history: Limits = Limits()
    ) -> None:
        self.state = state
        self.hosts_root = hosts or state.with_name(state.name + ".hosts")
        self.world = World(Registry())
        self.board = Board(self.world)
        self.history = Recorder(self.board, state / "history", history)
        self.archive = Archive(self.history)
        self.artifacts = open_store(state)
        self.catalog = Catalog(self.artifacts, self._cataloged)
        self.store = store
        self.ended = asyncio.Event()
        """Set when the controller must stop by itself; `why` says why."""
        self.why = ""
        self.hint = ""
        """Something that was asked for did not begin; stands on the screen until the next action."""
        self.lost = False
        """The state directory was taken away: nothing more can be kept."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._local_wake = asyncio.Event()
        self._listening: dict[str, tuple[int, int]] = {}
        """Ports of local relays, for links and for artifacts, as they were told last."""
        self._shorts: dict[str, str] = {}

    async def start(self, cluster: str, *, address: str = "127.0.0.1", port: int = 0) -> None:
        """Open the state (creating it for `cluster`), listen, and go on where the last one stopped.

        Raises OSError when the port is taken, Tampered when the journal is.
        """
        make_dir(str(self.state), 0o710)
        tables = await self.store.load()
        known = tables.get("meta", {}).get("journal", {})
        self.journal = Journal.open(
            self.state / "journal.jsonl", head=known.get("hash"), count=known.get("count")
        )
        self.ledger = Ledger(self.store, self.journal)
        self.ledger.load(tables)
        if self.ledger.head is not None:
            self.world.set_expected(*self.ledger.head)
            self._shorts = short_names(self.world.expected.services)
            cluster = self.world.expected.name
        if saved := tables.get("meta", {}).get("names"):
            with contextlib.suppress(ValueError):  # damaged: the hosts report what there is
                self.world.registry = Registry.load_kept(saved, tables.get("names", {}).values())
        self.world.gens = dict(tables.get("meta", {}).get("gens", {}))
        ca = self.state / "ca"
        self.authority = Authority.load(ca) if ca.exists() else Authority.create(ca, cluster)
        self.joining = Joining(self.authority, self.ledger, self.world)
        self.joining.load(tables)
        context = self.authority.controller_context()
        self.reports = Reports(self)
        self.hub = Hub(self.reports, context)
        self.security = Security(self, lambda: [context])
        self.hub.cluster = cluster
        self.hub.candidates = HubCandidates(self.hub, HubFacts(self))
        self.builds = builds_of(self)
        joined = [h for h in self.world.expected.hosts if h in tables.get("host", {})]
        self.names = NamesFeed(self.hub, self.world, joined)
        self._look_until = time.monotonic() + FIRST_LOOK
        self.logs = LogStreams(self.hub, self.world)
        self.pushes = Pushes(self)
        self.metrics = Metrics(self)
        self.plugins = HostPlugins(self)
        self.executions = Executions(self)
        self.rehearsals = Rehearsals(self)
        self.shells = Shells(self)
        self.copies = Copies(self)
        self.forwards = Forwards(self)
        self.shelf = Shelf(self)
        self.runner = Runner(self)
        self.desk = Desk(self)
        self.approvals = Approvals(self)
        self.direct = Direct(self)
        self.approvals.load(tables)
        self.watching, self.refusals = Watching(self.board), Refusals(self)
        port = port or int(self.ledger.meta.get("port", 0))
        self.address = address
        self.local = LocalHosts(self.hosts_root, self.authority)
        self.trunks = Trunks(self)
        self.gateway = Gateway(self, self._entered)
        await self._open_origin(address)
        self.hub.relays = self.trunks
        try:
            await self.hub.start(address, port)
        except OSError:
            await self.origin.stop()
            raise
        await self.ledger.commit([("meta", "port", self.hub.port), ("meta", "address", address)])
        self.ledger.meta["port"] = self.hub.port
        self.joining.facts = self.relay_facts
        await self.catalog.refresh()
        self.runner.interrupted()
        self.board.refresh(time.time())
        self.alerts = Alerts(self)
        self.operations, self.streams = operations(self), streams(self)
        self.spawn(self._tick())
        self._keeping = self.spawn(self._keep_local_hosts())
        self.spawn(self._ping())
        self.spawn(self.security.run())
        self.spawn(self.gateway.run())
        self.spawn(self.approvals.run())
        self.spawn(self.alerts.run())
        self.spawn(self.metrics.run())
        self.spawn(self.watching.run())
        self.spawn(self.history.run())
        self.spawn(self.archive.run())
        self.spawn(trimming())

    async def stop(self) -> None:
        """Stop controlling. Services, keepers and agents run on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.runner.stop()
        await self.origin.stop()
        await self.hub.stop()
        if not await self.store.lost():
            with contextlib.suppress(OSError):
                await self.ledger.keep()
                await self._save_names()
        self.ledger.close()
        await self.store.close()

    async def end_hosts(self) -> None:
        """Stop every service, agent and keeper of the hosts of this machine (the demo's end)."""
        self.local.ending = True
        self._keeping.cancel()
        expected = self.world.expected
        hosts = [n for n, h in expected.hosts.items() if h.connection == "local"]
        hosts += [n for n, r in expected.relays.items() if r.connection == "local"]
        await asyncio.gather(*(asyncio.to_thread(self.local.end, h) for h in hosts))

    def session(self, who: Who) -> EngineSession:
        return EngineSession(self, who)

    def short(self, id: str) -> str:
        """The shortest unique name of a service or instance."""
        service, slash, slot = id.rpartition("/")
        return self._shorts.get(service, service) + slash + slot if slash else self._shorts.get(id, id)

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.hub.port}"

    def look_at_local(self) -> None:
        """A local host or relay may have to be started: look at once."""
        self._local_wake.set()

    def set_expected(self, doc: Doc, revision: int, mark: str, made: Expected) -> None:
        """A new head: rows, names and the copies on the hosts follow. `mark` is its digest, `made` its typed view."""
        self.world.set_expected(doc, revision, mark, made)
        self._shorts = short_names(self.world.expected.services)
        self.plugins.expected_changed()
        if len(self.hub.links) <= AT_ONCE:
            self.send_head(*self.hub.links)
        else:
            self.spawn(self._send_heads(revision))
        self.trunks.review()
        self.gateway.look()
        self._local_wake.set()
        self.spawn(self._tell_rates())

    def _cataloged(self) -> None:
        records = self.catalog.records
        self.world.artifacts = {id: str(r["sha256"]) for id, r in records.items()}
        self.world.moves = self.catalog.moves
        self.world.kinds = {id: str(r["kind"]) for id, r in records.items() if r["kind"] != "release"}

    async def instance_detail(self, id: str) -> InstanceDetail:
        """Raises Bad for an unknown instance."""
        tables = self.board.tables
        row = tables["instances"].get(id)
        if row is None:
            raise Bad(f"no instance {id}")
        lines = await self.runner.tail(id, 20)
        service = self.world.expected.services.get(row.service)
        units = self.world.units.get(id, {}).values()
        head = self.ledger.revisions[-1] if self.ledger.revisions else None
        mine = [a for a in tables["actions"].values() if {id, row.service} & set(a.targets)]
        return InstanceDetail(
            row=row, diffs=instance_diffs(id, self.world.expected, self.world.actual_of(id)),
            expected_by=f"rev {head.number}, {head.author}, {clock(head.time)}" if head else "",
            drift=tuple(r for r in tables["drift"].values() if r.target == id),
            depends=tuple(tables["nodes"][d] for d in (service.depends if service else ())),
            exits=tuple(exit_line(u) for u in sorted(units, key=lambda u: -u.gen) if u.exit is not None),
            actions=tuple(sorted(mine, key=lambda a: -a.started)[:10]), last_lines=lines,
            probe=next((u.probe for u in units if u.probe), {}),
        )

    # periodic work

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self.watched)
        return task

    async def _tick(self) -> None:
        """Twenty times a second: presence, names, rows. Once a second: what must be saved."""
        last_save = 0.0
        while True:
            await asyncio.sleep(TICK)
            now = time.time()
            for host in self.world.age(now):
                self.runner.host_seen(host)
            self.world.registry.expire(now)
            await self.names.ready()
            self.names.send()
            while self.board.refresh(now, SLICE):
                await asyncio.sleep(0)
            await self.ledger.keep()
            if now - last_save >= SAVE_NAMES:
                last_save = now
                self.board.set_notices(self._notices())
                for host in self.world.silent(now):
                    self.hub.silent(host)
                if await self.store.lost():
                    self.lost = True
                    self._end(f"the state directory {self.state} is gone; services run on: cockpit recover")
                    return
                await self._save_names()
                await self.plugins.save()

    def _entered(self) -> None:
        """How the ways in by SSH stand is another thing now: the cards of hosts say it."""
        for host, text in self.gateway.troubles().items():
            known = self.world.hosts.get(host)
            if known is not None and known.trouble != text:
                self.world.host_fact(host, trouble=text)

    def watched(self, task: asyncio.Task[None]) -> None:
        """A part that ends by an error ends the controller: nothing stands still in silence."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, OSError):
            self.unkept(error)
        elif error is not None:
            self.lost = True
            self._end(f"the controller ends by its own error ({error!r}); services run on: start it again")
            traceback.print_exception(error)

    def unkept(self, error: OSError) -> None:
        """The state cannot be written any more: whatever was decided from here on would be forgotten."""
        self.lost = True
        hint = "make room and start it again" if self.state.is_dir() else "cockpit recover"
        self._end(f"the state cannot be kept ({error}); services run on: {hint}")

    def _end(self, why: str) -> None:
        self.why = why
        self.ended.set()

    def _notices(self) -> tuple[str, ...]:
        stuck = [
            a for a in self.board.tables["actions"].values() if a.state == "interrupted"
        ]
        said = [
            f"{a.id} {a.title} was interrupted: resume {a.id} or abort {a.id}"
            + (" (undo)" if a.revision is not None and not a.cause else "")
            for a in stuck
        ]
        said += self.names.notices()
        said += self.security.notices(time.time())
        said += self.history.notices()
        return (self.hint, *said) if self.hint else tuple(said)

    async def looked(self) -> None:
        """Wait, soon after a start, until the known hosts have reported: a plan made before that would
        leave out what only was not looked at yet."""
        while self.world.registry.waiting and time.monotonic() < self._look_until:
            await asyncio.sleep(TICK)

    async def _save_names(self) -> None:
        writes = await self.names.unsaved()
        if writes:
            await self.ledger.commit([*writes, ("meta", "gens", self.world.gens)])

    async def _open_origin(self, address: str) -> None:
        """The process that serves artifacts. It keeps its port, because relays are told of it."""
        identity = await asyncio.to_thread(self.authority.issue_origin, self.state / "origin")
        self.origin = Origin(
            self.state / "origin", identity, stats=self.pushes.stats, want=self.pushes.wanted
        )
        port = await self.origin.start(address, int(self.ledger.meta.get("origin_port", 0)))
        if self.ledger.meta.get("origin_port") != port:
            await self.ledger.commit([("meta", "origin_port", port)])
            self.ledger.meta["origin_port"] = port
        await self._tell_rates()

    async def _tell_rates(self) -> None:
        regions = self.world.expected.regions
        with contextlib.suppress(OriginError):
            await self.origin.rates({n: r.push_rate for n, r in regions.items() if r.push_rate})

    def relay_facts(self, relay: str) -> dict[str, Any]:
        place = (self.address, self.origin.port)
        expected, local = self.world.expected, self.local.relays
        return settings(
            relay, expected.relays, place, local.port, controller=self.url, link_port_of=local.link_port,
            regions=expected.regions,
        ) or {}

    async def _ping(self) -> None:
        while True:
            for turn in range(PING_TURNS):
                await asyncio.sleep(PING / PING_TURNS)
                self.hub.ping(turn, PING_TURNS)

    async def _send_heads(self, revision: int) -> None:
        """To every host, a relay or a host of its own at a time: the document is large, and written for each."""
        groups: dict[object, list[str]] = {}
        for host, link in self.hub.links.items():
            groups.setdefault(getattr(link, "trunk", link), []).append(host)
        for hosts in groups.values():
            if self.world.revision != revision:
                return  # who sends the later one begins anew
            self.send_head(*hosts)
            await asyncio.sleep(0)

    def send_head(self, *hosts: str) -> None:
        doc, revision = self.world.doc, self.world.revision
        if not revision:
            return
        args = {
            "document": doc, "revision": revision, "digest": self.world.digest,
            "import": self.ledger.last_import, "journal": self.journal.head,
        }
        task = f"head-{revision}-{self.world.digest[:12]}-{os.getpid()}-{time.monotonic_ns()}"
        for future in self.hub.fan("head", args, {host: f"{task}-{host}" for host in hosts}).values():
            future.add_done_callback(seen)

    async def _keep_local_hosts(self) -> None:
        """Start local hosts that are neither connected nor alive: at once when a link breaks."""
        while True:
            self._local_wake.clear()
            hosts = [
                (n, h.address) for n, h in self.world.expected.hosts.items() if h.connection == "local"
            ]
            for name, _ in hosts:
                uuid = await asyncio.to_thread(self.local.identify, name, [self.url])
                await self.joining.admit(name, uuid)
            await self.local.watch(hosts, set(self.hub.links))
            place = (self.address, self.origin.port)
            relays = await self.local.watch_relays(
                self.world.expected.relays, [self.url], place, regions=self.world.expected.regions,
                connected=self.trunks.connected_relays(),
            )
            for name, uuid in relays.items():
                await self.joining.admit_relay(name, uuid)
            listening = {name: (self.local.relays.link_port(name), self.local.relays.port(name)) for name in relays}
            if listening != self._listening:  # hosts and relays are told where to dial
                self._listening = listening
                self.trunks.review()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._local_wake.wait()
                    await asyncio.sleep(0.3)



def clock(at: float) -> str:
    """`14:02`; with the day where it is another one."""
    words = when(at, time.time(), 11)
    return words[:5] if words.count(":") == 2 else words


def exit_line(unit: Unit) -> str:
    """`#6 (1.2.0) exit 1 after 0.8 s, core kept at PATH`."""
    end = unit.exit
    assert end is not None
    lived = f" after {end.ended - end.started:.1f} s" if end.started else ""
    core = f", core kept at {end.core}" if end.core else ""
    return f"#{end.run} ({unit.version}) {end.words()}{lived}{core}"


def open_backend(group: str, name: str) -> Any:
    """A backend by its entry point name. Raises Bad with the known names."""
    from importlib.metadata import entry_points

    found = {e.name: e for e in entry_points(group=group)}
    if name not in found:
        raise Bad(f"no backend {name!r} in {group}: known are {', '.join(sorted(found)) or 'none'}")
    return found[name].load()
