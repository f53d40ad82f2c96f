"""The agent of one host: joins the parts together and keeps a keeper alive."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, Dict, List, Optional, Set, Tuple

import cockpit
from cockpit.agent import units, upkeep
from cockpit.agent.building import Builder
from cockpit.agent.farewell import farewell
from cockpit.agent.fetch import Fetcher
from cockpit.agent.follow import Stream
from cockpit.agent.following import Following
from cockpit.agent.foreign import Foreign
from cockpit.agent.health import Health
from cockpit.agent.identity import Identity
from cockpit.agent.install import Releases
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.keeper_link import KeeperGone, KeeperLink, ensure_keeper
from cockpit.agent.link import Link, Outbox
from cockpit.agent.names import Names
from cockpit.agent.plugins.manager import Plugins
from cockpit.agent.renewal import Renewal
from cockpit.agent.revoked import Revoked
from cockpit.agent.saying import say
from cockpit.agent.supervised import Supervised
from cockpit.agent.takeover import Candidacy, NearSocket, inherit
from cockpit.agent.tasks import CommandError, Tasks
from cockpit.agent.turns import Turn, ended_mark, run_argv
from cockpit.agent.units import Book, Memory
from cockpit.agent.upgrade import Upgrader
from cockpit.agent.waiting import within
from cockpit.agent.words import Words, head_of
from cockpit.link.frames import MAX_FRAME, PROTOCOL, Frame, encode
from cockpit.link.proxy import source

DURABLE = frozenset({"start", "exit", "hold", "rejected", "ctl"})
"""Keeper events that are forwarded until the controller has acknowledged them."""
KEEPER_WAIT = 10.0
FIRST_CHECKS = 0.5
"""Seconds the first full set waits for the first health checks after a start of the agent."""
WATCHERS_WAIT = 1.0
MAX_EARLY = 10_000
MAX_SINGLE = 8
"""Units that are looked at one by one; for more the whole list is cheaper."""
DEFAULT_RANGE = (20000, 20999)
WELCOME = ("address", "port_range", "cluster", "region", "ways", "transports", "proxy")
"""What is kept of a welcome: it holds, too, until the next one."""


class Agent(Following):
    """Call `run` once, inside a running loop that made it."""

    def __init__(
        self, host_dir: str, identity: Identity, boot_id: str, ended_before: str, turn: Turn,
        candidacy: Optional[Candidacy] = None, supervised: bool = False,
    ) -> None:
        """`ended_before`: the end mark before we waited for the lock. When it changes, we go too."""
        self.dir = host_dir
        self.turn = turn
        self.role = "" if candidacy is None else "candidate"
        self.version = cockpit.__version__
        self.supervised = Supervised(host_dir, supervised)
        self.upgrader = Upgrader(self)
        self.candidacy = candidacy
        self.queue: List[Frame] = []
        self.taking = False
        self.telling = candidacy is None
        self.identity = identity
        self.memory = Memory(host_dir)
        self.book = Book(self.memory, self.unit_changed)
        self.releases = Releases(host_dir)
        self.fetcher = Fetcher(host_dir, identity, self.place)
        self.builder = Builder(host_dir, identity, self.source, self.send_bulk)
        self.foreign = Foreign(host_dir, self.own_address, self._look_again)
        self.names = Names(host_dir)
        self.names_told = self.names.version
        self.streams: Dict[str, Tuple[Stream, "asyncio.Task[None]"]] = {}
        self.outbox = Outbox(self._unit_frame)
        self.link = Link(identity, self, self.outbox)
        self.renewal = Renewal(identity.dir, identity.name, identity.uuid, self.outbox.put, say)
        self.renewal.on_change = self._tell_identity
        self.revoked = Revoked(host_dir, self.fetcher.tell)
        self.local = NearSocket(host_dir, self.names)
        self.health = Health(self.unit_changed, self._was_good, self.book.record, self._look_again)
        self.plugins = Plugins(
            host_dir, identity.name, self.releases, send=self.outbox.put, bulk=self.send_bulk,
            records=lambda: self.book.records,
            builtin={**Words(self).modules(), "upgrade": {"upgrade": self.upgrader.word}},
        )
        self.tasks = Tasks(identity.uuid, self.plugins.words, self.outbox.put)
        self.boot_id = boot_id
        self._ended_before = ended_before
        usual = [*run_argv(host_dir), *self.boot_arguments()]
        self.argv = self.supervised.argv(usual) if candidacy is None else candidacy.argv
        self.keeper_link: Optional[KeeperLink] = None
        self.keeper_ready = asyncio.Event()
        self._wake = asyncio.Event()
        self._touched: Set[str] = set()
        self._more_events = False
        """The keeper holds more events than it listed; they come after an acknowledgement."""
        self._listing = asyncio.Lock()
        self._events: Dict[int, Frame] = {}
        """Unacknowledged keeper events by number, ascending."""
        self._seen = 0
        self._listed = False
        """The keeper's unacknowledged events of before this connection are known: what it pushes comes after them."""
        self._early: List[Frame] = []
        """Events that were pushed before that; an acknowledgement counts for all before it, so they must wait."""
        self._ending = False
        self._ended = asyncio.Event()
        self.stopped = asyncio.Event()
        self._background: "Set[asyncio.Task[Any]]" = set()

    async def run(self) -> None:
        """Until SIGTERM, or the command `end`. Services and keeper are left alone."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        work = [
            self._hold_keeper(), self._refresher(), self.foreign.run(), self._first_link(), self.renewal.run(),
            upkeep.rotated(self.dir, self.book, lambda: bool(self.role), say),
            upkeep.marked(self.dir, self.book, lambda: bool(self.role)),
            upkeep.counted(self.book, self.own_address),
        ]
        if self.candidacy is None:
            await loop.run_in_executor(None, self.builder.clean)
            await self.local.start()
            inherit(self)
            self.supervised.ready()
        else:
            work.append(self._stand_by(self.candidacy))
        await self.plugins.start()
        await self.foreign.first()
        running = [asyncio.ensure_future(each) for each in work]
        stopped = asyncio.ensure_future(self.stopped.wait())
        try:
            done, _ = await asyncio.wait([*running, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a bug ends the agent loudly; the keeper starts it anew
        finally:
            for task in [*running, stopped, *self._background, *(t for _, t in self.streams.values())]:
                task.cancel()
            await self.tasks.stop()
            await asyncio.gather(*running, stopped, *self._background, return_exceptions=True)
            self.health.stop()
            await self.plugins.stop()
            await self.fetcher.close()
            await self.local.stop()
            if self.keeper_link is not None:
                await self.keeper_link.close()

    # the link's owner

    def hello(self) -> Frame:
        keeper = self.keeper_link.hello if self.keeper_link is not None else {}
        hello = {
            "t": "hello", "host": self.identity.name, "uuid": self.identity.uuid,
            "boot_id": str(keeper.get("boot_id") or ""), "agent_pid": os.getpid(),
            "keeper_pid": keeper.get("pid"), "keeper_version": str(keeper.get("release") or ""),
            "version": self.version, "protocol": PROTOCOL, "role": self.role,
            "note": self.supervised.note or str(keeper.get("agent_note") or ""),
        }
        if self.candidacy is not None:
            hello["replaces"] = self.candidacy.old
        return hello

    def address(self) -> str:
        return str(self.memory.welcome.get("address") or self.identity.address)

    def facts(self) -> Dict[str, Any]:
        """Where the link may go: what the last welcome said."""
        return self.memory.welcome

    def busy(self) -> bool:
        """What runs would end with this connection: it does not move to a better way now."""
        return bool(self.streams) or self.builder.busy or self.plugins.listening

    def source(self) -> str:
        return self.identity.address or source(self.address())

    def place(self) -> Dict[str, Any]:
        """Where this host is, for its peer."""
        return {"address": self.own_address(), "region": str(self.memory.welcome.get("region") or "")}

    def own_address(self) -> str:
        return self.address() or "127.0.0.1"

    def port_range(self) -> Tuple[int, int]:
        given = self.memory.welcome.get("port_range")
        if not isinstance(given, list) or len(given) != 2:
            return DEFAULT_RANGE
        return int(given[0]), int(given[1])

    def welcome(self, frame: Frame) -> None:
        facts = {key: frame[key] for key in WELCOME if frame.get(key)}
        if facts != self.memory.welcome:
            self.memory.welcome = facts
            if not self.role:
                self.memory.save()
        self.renewal.connected(not self.role)

    async def everything(self) -> List[Frame]:
        if (aside := await self.aside()) is not None:
            return aside
        await within(self.keeper_ready.wait(), KEEPER_WAIT)
        await self.refresh()
        reports = [r for r in (self._report(u) for u in self.book.units()) if r is not None]
        releases = await asyncio.get_running_loop().run_in_executor(None, self.releases.listing)
        keeper = self.keeper_link.hello if self.keeper_link is not None else {}
        full: Frame = {
            "t": "full", "units": reports, "releases": releases, "names": self.names_told,
            "head": await asyncio.get_running_loop().run_in_executor(None, head_of, self.dir),
            "keeper_pid": keeper.get("pid"), "keeper_version": str(keeper.get("release") or ""),
            "agent_pid": os.getpid(),
        }
        more: List[Frame] = []
        if len(encode(full)) > MAX_FRAME:  # probes may be long: they follow one by one
            more = [{"t": "unit", "unit": r} for r in reports if r["probe"]]
            full["units"] = [{**r, "probe": {}} for r in reports]
        if (aside := await self.aside()) is not None:  # the turn went meanwhile
            return aside
        self.telling = True
        self.plugins.connected()
        identity: Frame = {"t": "identity", **self.renewal.report()}
        return [full, identity, *more, self.plugins.frame(), *self._events.values()]

    def frame(self, frame: Frame) -> None:
        kind = frame["t"]
        if kind == "serve":
            if self.candidacy is not None:
                self.candidacy.yours.set()
        elif self.role == "candidate":
            if kind == "cmd":
                self.queue.append(frame)
        elif kind == "cmd":
            self.tasks.take(frame)
        elif kind == "input":
            self.plugins.input(str(frame.get("task")), frame.get("data"))
        elif kind == "plugin-settings":
            self.plugins.settings(frame["settings"])
        elif kind == "retire":
            if not self.upgrader.retire(int(frame["pid"])):
                self.serve_again()
        elif kind == "ack":
            self._acknowledged(int(frame.get("seq", 0)))
        elif kind == "names":
            changed = self.names.apply(frame)
            self.local.publish(changed)
            self.spawn(self._tell_names(self.names.version))
        elif kind == "certificate":
            self.spawn(self.renewal.frame(frame))
        elif kind == "revoked":
            self.spawn(self.revoked.frame(frame))
        elif kind == "credit":
            found = self.streams.get(str(frame.get("stream")))
            if found is not None:
                found[0].credit(int(frame.get("lines", 0)))

    def disconnected(self) -> None:
        """Streams and builds belong to a connection; commands run on, their answers are remembered."""
        self.renewal.connected(False)
        self.builder.end_all()
        self.plugins.disconnected()
        for _, task in list(self.streams.values()):
            task.cancel()
        self.streams.clear()

    # what the words need

    async def keeper(self, op: str, **args: Any) -> Dict[str, Any]:
        """A request to the keeper; one that dies meanwhile is replaced and asked again.

        Raises KeeperError, KeeperGone. Stopping takes as long as it takes.
        """
        if (answer := await self.foreign.take(op, args, self.keeper)) is not None:
            return answer
        timeout = None if op == "stop" else 30.0
        for last in (False, False, True):
            try:
                await within(self.keeper_ready.wait(), KEEPER_WAIT)
                if self.keeper_link is None:
                    raise KeeperGone("no keeper answers")
                return await self.keeper_link.request(op, timeout, **args)
            except asyncio.TimeoutError:
                raise KeeperGone("no keeper answers on this host") from None
            except KeeperGone:
                if last:
                    raise
                await asyncio.sleep(0.05)
        raise AssertionError("unreachable")

    async def refresh(self, unit: str = "") -> None:
        """Look at the keeper's full list, or at one unit. Without a keeper all stays as it was seen."""
        async with self._listing:
            keeper = self.keeper_link
            if keeper is None or keeper.lost.is_set():
                return
            try:
                if unit and not self.foreign.has(unit):
                    self.book.put(await keeper.unit(unit))
                else:
                    self._early.clear()
                    records, events, self._more_events = await keeper.everything()
                    for event in events:
                        self._note(event)
                    if len(self._early) >= MAX_EARLY:
                        self._look_again()
                    elif not self._listed and not self._more_events:
                        self._listed = True
                        for event in self._early:
                            self._note(event)
                        self._early.clear()
                    for gone in self.book.update([*records, *self.foreign.records()]):
                        self.unit_changed(gone)
            except KeeperGone:
                return
            except KeeperError as e:
                if e.code != "missing":
                    raise
                self._look_again()  # it was removed meanwhile
                return
            self.health.sync(self.book.records)

    def unit_changed(self, unit: str) -> None:
        self.outbox.unit(unit)
        self.plugins.units_changed()

    def releases_changed(self) -> None:
        self.outbox.put({"t": "releases", "releases": self.releases.listing()})

    async def send_bulk(self, frame: Frame) -> None:
        await self.outbox.bulk(frame)

    async def end(self) -> None:
        """Everything on this host stops. The keeper ends us, too; the answer should be out before."""
        self._ending = True
        ended = asyncio.ensure_future(self._ended.wait())
        asking = asyncio.ensure_future(self._ask_end())
        await asyncio.wait({ended, asking}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            asking.result()
        ended.cancel()
        self.spawn(self._leave())

    async def _ask_end(self) -> None:
        if self.keeper_link is None:
            raise CommandError("failed", "no keeper answers")
        try:
            await self.keeper_link.request("end", None)
        except KeeperGone:
            pass  # it went, as it was told

    async def _leave(self) -> None:
        await asyncio.sleep(0)  # let the answer into the outbox
        await farewell(self.outbox, self.stopped, ended=True)

    # inside

    def _tell_identity(self) -> None:
        self.outbox.put({"t": "identity", **self.renewal.report()})

    def _terminate(self) -> None:
        if self._ending:
            self._ended.set()
        else:
            ended = ended_mark(self.dir) not in ("", self._ended_before)
            self.spawn(farewell(self.outbox, self.stopped, ended))

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _was_good(self, unit: str, run: int) -> bool:
        return self.memory.good.get(unit) == run

    def _look_again(self, unit: str = "") -> None:
        self._touched.add(unit)
        self._wake.set()

    def _report(self, unit: str) -> Optional[units.Report]:
        return self.book.report(unit, self.health.gauges.get(unit), self.health.probes.get(unit))

    def _unit_frame(self, unit: str) -> Optional[Frame]:
        if not self.telling:
            return None
        found = self._report(unit)
        return {"t": "gone", "unit": unit} if found is None else {"t": "unit", "unit": found}

    def _event(self, doc: Frame) -> None:
        if self._listed:
            self._note(doc)
        elif len(self._early) < MAX_EARLY:  # beyond that they come with another list
            self._early.append(doc)
        self._touched.add(str(doc.get("unit") or ""))
        self._wake.set()

    def _note(self, event: Frame) -> None:
        seq = int(event.get("seq") or 0)
        if event.get("event") in DURABLE and seq > self._seen:
            self._seen = seq
            frame = {"t": "event", "seq": seq, "event": event}
            self._events[seq] = frame
            if self.telling:
                self.outbox.put(frame)

    def _acknowledged(self, seq: int) -> None:
        known = [s for s in self._events if s <= seq]
        for old in known:
            del self._events[old]
        if known:
            self.spawn(self._ack_keeper(known[-1]))

    async def _ack_keeper(self, seq: int) -> None:
        try:
            if self.keeper_link is not None:
                await self.keeper_link.request("ack", seq=seq)
            if self._more_events and not self._events:
                self._look_again()
        except (KeeperGone, KeeperError):
            pass  # it comes again with the next list

    async def _tell_names(self, version: int) -> None:
        await self.local.flushed(WATCHERS_WAIT)
        if version == self.names.version and not self.role:
            self.names_told = version
            self.outbox.put({"t": "names", "version": version})

    async def _hold_keeper(self) -> None:
        """A connection to the keeper at all times; when it dies another is started at once."""
        first = True
        while True:
            if ended_mark(self.dir) not in ("", self._ended_before):
                say("keeper: this host was told to end")
                return
            self._listed = False
            try:
                if self.role or self.supervised.on:  # the agent that serves starts it, or systemd does
                    keeper = await KeeperLink.open(self.dir, self._event)
                else:
                    keeper = await ensure_keeper(self.dir, self.boot_id, self._event)
            except (KeeperGone, OSError) as e:
                say(f"keeper: {e}")
                await asyncio.sleep(1.0)
                continue
            self.keeper_link = keeper
            try:
                await self._introduce(keeper)
                await self.refresh()
                if first:
                    await self.health.settled(FIRST_CHECKS)
                self.keeper_ready.set()
                if not first:
                    self.link.again()
                first = False
                await keeper.lost.wait()
            except KeeperGone:
                pass
            except KeeperError as e:
                say(f"keeper: {e}")
            finally:
                self.keeper_ready.clear()
                await keeper.close()
            if self._ending:
                self._ended.set()
                await self.stopped.wait()
            say("keeper: gone; starting another one")

    async def _refresher(self) -> None:
        """Events only say `look again`: at one unit, or at everything."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            touched, self._touched = self._touched, set()
            if "" in touched or len(touched) > MAX_SINGLE:
                await self.refresh()
            else:
                for unit in touched:
                    await self.refresh(unit)

    async def _first_link(self) -> None:
        """Dial once the keeper was seen: hello carries its facts."""
        await self.keeper_ready.wait()
        await self.link.run()
