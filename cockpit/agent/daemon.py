"""The agent of one host: joins the parts together and keeps a keeper alive."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import cockpit
from cockpit.agent import checks, connections, rotate, units
from cockpit.agent.building import Builder
from cockpit.agent.fetch import Fetcher
from cockpit.agent.follow import Stream
from cockpit.agent.health import Health
from cockpit.agent.identity import Identity
from cockpit.agent.install import Releases
from cockpit.agent.keeper_link import KeeperError, KeeperGone, KeeperLink, ensure_keeper
from cockpit.agent.link import Link, Outbox, Owner
from cockpit.agent.local import LocalSocket
from cockpit.agent.logs import log_dir
from cockpit.agent.names import Names
from cockpit.agent.tasks import CommandError, Tasks
from cockpit.agent.units import Book, Memory
from cockpit.agent.waiting import within
from cockpit.agent.words import Words, head_of
from cockpit.link.frames import MAX_FRAME, PROTOCOL, Frame, encode

DURABLE = frozenset({"start", "exit", "hold", "rejected", "ctl"})
"""Keeper events that are forwarded until the controller has acknowledged them."""
LOCK_WAIT = 10.0
KEEPER_WAIT = 10.0
FIRST_CHECKS = 0.5
"""Seconds the first full set waits for the first health checks after a start of the agent."""
WATCHERS_WAIT = 1.0
MAX_SINGLE = 8
"""Units that are looked at one by one; for more the whole list is cheaper."""
SWEEP = 5.0
COUNT = 3.0
DEFAULT_RANGE = (20000, 20999)


class Agent(Owner):
    """Call `run` once, inside a running loop that made it."""

    def __init__(self, host_dir: str, identity: Identity, boot_id: str, ended_before: str) -> None:
        """`ended_before`: the end mark before we waited for the lock. When it changes, we go too."""
        self.dir = host_dir
        self.identity = identity
        self.memory = Memory(host_dir)
        self.book = Book(self.memory, self.unit_changed)
        self.releases = Releases(host_dir)
        self.fetcher = Fetcher(host_dir, identity, self.place)
        self.builder = Builder(host_dir, identity, self.address, self.send_bulk)
        self.names = Names(host_dir)
        self.names_told = self.names.version
        self.streams: Dict[str, Tuple[Stream, "asyncio.Task[None]"]] = {}
        self.outbox = Outbox(self._unit_frame)
        self.link = Link(identity, self, self.outbox)
        self.local = LocalSocket(host_dir, self.names)
        self.health = Health(self.unit_changed, self._was_good, self.book.record, self._look_again)
        self.tasks = Tasks(identity.uuid, Words(self).table(), self.outbox.put)
        self._boot_id = boot_id
        self._ended_before = ended_before
        self._argv = [*run_argv(host_dir), *(["--boot-id", boot_id] if boot_id else [])]
        self._keeper: Optional[KeeperLink] = None
        self._keeper_ready = asyncio.Event()
        self._wake = asyncio.Event()
        self._touched: Set[str] = set()
        self._more_events = False
        """The keeper holds more events than it listed; they come after an acknowledgement."""
        self._listing = asyncio.Lock()
        self._events: Dict[int, Frame] = {}
        """Unacknowledged keeper events by number, ascending."""
        self._seen = 0
        self._ending = False
        self._ended = asyncio.Event()
        self._stop = asyncio.Event()
        self._background: "Set[asyncio.Task[Any]]" = set()
        self._head: Optional[Dict[str, Any]] = None

    async def run(self) -> None:
        """Until SIGTERM, or the command `end`. Services and keeper are left alone."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        await loop.run_in_executor(None, self.builder.clean)
        await self.local.start()
        work = [
            self._hold_keeper(), self._refresher(), self._first_link(), self._sweeper(), self._counter(),
        ]
        running = [asyncio.ensure_future(each) for each in work]
        stopped = asyncio.ensure_future(self._stop.wait())
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
            await self.fetcher.close()
            await self.local.stop()
            if self._keeper is not None:
                await self._keeper.close()

    # the link's owner

    def hello(self) -> Frame:
        keeper = self._keeper.hello if self._keeper is not None else {}
        return {
            "t": "hello", "host": self.identity.name, "uuid": self.identity.uuid,
            "boot_id": str(keeper.get("boot_id") or ""), "agent_pid": os.getpid(),
            "keeper_pid": keeper.get("pid"), "version": cockpit.__version__, "protocol": PROTOCOL,
        }

    def address(self) -> str:
        return str(self.memory.welcome.get("address") or self.identity.address)

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
        facts = {k: frame.get(k) for k in ("address", "port_range", "cluster", "region") if frame.get(k)}
        if facts != self.memory.welcome:
            self.memory.welcome = facts
            self.memory.save()

    async def everything(self) -> List[Frame]:
        await within(self._keeper_ready.wait(), KEEPER_WAIT)
        await self.refresh()
        reports = [r for r in (self._report(u) for u in self.book.units()) if r is not None]
        releases = await asyncio.get_running_loop().run_in_executor(None, self.releases.listing)
        keeper = self._keeper.hello if self._keeper is not None else {}
        full: Frame = {
            "t": "full", "units": reports, "releases": releases, "names": self.names_told,
            "head": await asyncio.get_running_loop().run_in_executor(None, head_of, self.dir),
            "keeper_pid": keeper.get("pid"), "agent_pid": os.getpid(),
        }
        more: List[Frame] = []
        if len(encode(full)) > MAX_FRAME:  # probes may be long: they follow one by one
            more = [{"t": "unit", "unit": r} for r in reports if r["probe"]]
            full["units"] = [{**r, "probe": {}} for r in reports]
        return [full, *more, *self._events.values()]

    def frame(self, frame: Frame) -> None:
        kind = frame["t"]
        if kind == "cmd":
            self.tasks.take(frame)
        elif kind == "ack":
            self._acknowledged(int(frame.get("seq", 0)))
        elif kind == "names":
            changed = self.names.apply(frame)
            self.local.publish(changed)
            self._spawn(self._tell_names(self.names.version))
        elif kind == "credit":
            found = self.streams.get(str(frame.get("stream")))
            if found is not None:
                found[0].credit(int(frame.get("lines", 0)))

    def disconnected(self) -> None:
        """Streams and builds belong to a connection; commands run on, their answers are remembered."""
        self.builder.end_all()
        for _, task in list(self.streams.values()):
            task.cancel()
        self.streams.clear()

    # what the words need

    async def keeper(self, op: str, **args: Any) -> Dict[str, Any]:
        """A request to the keeper; one that dies meanwhile is replaced and asked again.

        Raises KeeperError, KeeperGone. Stopping takes as long as it takes.
        """
        timeout = None if op == "stop" else 30.0
        for last in (False, False, True):
            try:
                await within(self._keeper_ready.wait(), KEEPER_WAIT)
                if self._keeper is None:
                    raise KeeperGone("no keeper answers")
                return await self._keeper.request(op, timeout, **args)
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
            keeper = self._keeper
            if keeper is None or keeper.lost.is_set():
                return
            try:
                if unit:
                    self.book.put(await keeper.unit(unit))
                else:
                    records, events, self._more_events = await keeper.everything()
                    for event in events:
                        self._note(event)
                    for gone in self.book.update(records):
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
        self._spawn(self._leave())

    async def _ask_end(self) -> None:
        if self._keeper is None:
            raise CommandError("failed", "no keeper answers")
        try:
            await self._keeper.request("end", None)
        except KeeperGone:
            pass  # it went, as it was told

    async def _leave(self) -> None:
        await asyncio.sleep(0)  # let the answer into the outbox
        await self.outbox.flushed(1.0)
        self._stop.set()

    # inside

    def _terminate(self) -> None:
        if self._ending:
            self._ended.set()
        else:
            self._stop.set()

    def _spawn(self, work: Any) -> None:
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
        found = self._report(unit)
        return {"t": "gone", "unit": unit} if found is None else {"t": "unit", "unit": found}

    def _event(self, doc: Frame) -> None:
        self._note(doc)
        self._touched.add(str(doc.get("unit") or ""))
        self._wake.set()

    def _note(self, event: Frame) -> None:
        seq = int(event.get("seq") or 0)
        if event.get("event") in DURABLE and seq > self._seen:
            self._seen = seq
            frame = {"t": "event", "seq": seq, "event": event}
            self._events[seq] = frame
            self.outbox.put(frame)

    def _acknowledged(self, seq: int) -> None:
        known = [s for s in self._events if s <= seq]
        for old in known:
            del self._events[old]
        if known:
            self._spawn(self._ack_keeper(known[-1]))

    async def _ack_keeper(self, seq: int) -> None:
        try:
            if self._keeper is not None:
                await self._keeper.request("ack", seq=seq)
            if self._more_events and not self._events:
                self._look_again()
        except (KeeperGone, KeeperError):
            pass  # it comes again with the next list

    async def _tell_names(self, version: int) -> None:
        await self.local.flushed(WATCHERS_WAIT)
        if version == self.names.version:
            self.names_told = version
            self.outbox.put({"t": "names", "version": version})

    async def _hold_keeper(self) -> None:
        """A connection to the keeper at all times; when it dies another is started at once."""
        first = True
        while True:
            if ended_mark(self.dir) not in ("", self._ended_before):
                _say("keeper: this host was told to end")
                return
            try:
                keeper = await ensure_keeper(self.dir, self._boot_id, self._event)
            except (KeeperGone, OSError) as e:
                _say(f"keeper: {e}")
                await asyncio.sleep(1.0)
                continue
            self._keeper = keeper
            self._remember_boot(str(keeper.hello.get("boot_id") or ""))
            try:
                await keeper.request("agent", argv=self._argv, pid=os.getpid())
                await self.refresh()
                if first:
                    await self.health.settled(FIRST_CHECKS)
                self._keeper_ready.set()
                if not first:
                    self.link.again()
                first = False
                await keeper.lost.wait()
            except KeeperGone:
                pass
            except KeeperError as e:
                _say(f"keeper: {e}")
            finally:
                self._keeper_ready.clear()
                await keeper.close()
            if self._ending:
                self._ended.set()
                await self._stop.wait()
            _say("keeper: gone; starting another one")

    def _remember_boot(self, boot_id: str) -> None:
        """A keeper that we start later must take the same boot id as the one before, even a made-up one:
        another would mean a reboot, after which nothing is adopted."""
        try:
            with open("/proc/sys/kernel/random/boot_id") as f:
                real = f.read().strip()
        except OSError:
            real = ""
        if boot_id and boot_id != real and boot_id != self._boot_id:
            self._boot_id = boot_id
            self._argv = [*run_argv(self.dir), "--boot-id", boot_id]

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
        await self._keeper_ready.wait()
        await self.link.run()

    async def _sweeper(self) -> None:
        """Links of data; and log rotation, in a thread and only where a file has grown."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            self.book.look_at_links()
            for unit, record in list(self.book.records.items()):
                dir = log_dir(self.dir, unit)
                if rotate.needs_sweep(dir):
                    live = int(record.get("run") or 0) if record.get("pids") else None
                    try:
                        await loop.run_in_executor(None, rotate.sweep, dir, live)
                    except OSError as e:
                        _say(f"logs of {unit}: {e}")

    async def _counter(self) -> None:
        """Connections of units with ports; a report goes out only while a unit drains."""
        loop = asyncio.get_running_loop()
        pause = COUNT
        while True:
            await asyncio.sleep(pause)
            wanted = {
                unit: set(units.ports_of(record).values())
                for unit, record in self.book.records.items()
                if record.get("pids") and units.ports_of(record) and unit not in self.book.draining
            }
            if not wanted:
                continue
            began = time.monotonic()
            numbers = set().union(*wanted.values())
            ours = frozenset(checks.ours)
            found = await loop.run_in_executor(None, connections.count, self.own_address(), numbers, ours)
            pause = max(COUNT, 50 * (time.monotonic() - began))  # busy hosts have long tables
            for unit, mine in wanted.items():
                if unit not in self.book.draining:
                    self.book.connections[unit] = sum(found[n] for n in mine)


def ended_mark(host_dir: str) -> str:
    """What tells one `end` of this host from another; empty when its keeper was started since."""
    try:
        s = os.stat(os.path.join(host_dir, "keeper", "ended"))
    except OSError:
        return ""
    return f"{s.st_ino} {s.st_mtime_ns}"


def run_argv(host_dir: str) -> List[str]:
    """How an agent of this directory is started."""
    return [sys.executable, "-I", "-m", "cockpit.agent", "run", "--dir", host_dir]


def lock(host_dir: str, wait: float = LOCK_WAIT) -> Optional[int]:
    """The lock that makes this the only agent of the directory; None when another one keeps it."""
    fd = os.open(os.path.join(host_dir, "agent.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                return None
            time.sleep(0.02)


def serve(host_dir: str, identity: Identity, boot_id: str) -> int:
    """Run the agent of a directory until it is told to go. Exit code."""
    before = ended_mark(host_dir)
    held = lock(host_dir)
    if held is None:
        _say(f"another agent serves {host_dir}")
        return 3
    identity = Identity.load(host_dir) or identity  # it may have joined anew while we waited
    _cheap_children()

    async def main() -> None:
        await Agent(host_dir, identity, boot_id, before).run()

    try:
        asyncio.run(main())
    finally:
        os.close(held)
    return 0


def _cheap_children() -> None:
    """Before Python 3.12 asyncio waits for each child in a thread of its own unless told otherwise."""
    watcher: Optional[Callable[[], Any]] = getattr(asyncio, "PidfdChildWatcher", None)
    if watcher is not None and sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        asyncio.get_event_loop_policy().set_child_watcher(watcher())


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
