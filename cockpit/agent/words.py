"""What the commands of the controller do on this host (the table in docs/protocols.md).

Every word looks at the keeper's records first, so that doing it twice is doing it once.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from typing import Any, Awaitable, Callable, Dict, Mapping, Optional, Protocol, Tuple

from cockpit.agent import activate, checks, connections, logs, ports, prepare, rotate, units
from cockpit.agent.building import Builder
from cockpit.agent.fetch import Fetcher, FetchError
from cockpit.agent.files import read_json, write_json
from cockpit.agent.follow import MAX_STREAMS, Stream
from cockpit.agent.health import Record
from cockpit.agent.install import InstallError, Releases, guard_of
from cockpit.agent.keeper_link import KeeperError, KeeperGone
from cockpit.agent.tasks import CommandError, Data, Progress, Word
from cockpit.agent.units import Book, Memory

DRAIN_POLL = 0.1
NAMES_POLL = 0.02
YOUNG = 1.0
"""Seconds that a program without a check needs until it can take a signal; with one: until it is well."""
GROWN = 10.0
"""After so many it is told all the same."""
WORKING = 2.0
"""Seconds between two words of a command that goes on."""
MAX_TAIL = 5000
MAX_HEAD = 64 * 1024 * 1024


class Host(Protocol):
    """What the words need of the agent."""

    dir: str
    book: Book
    memory: Memory
    releases: Releases
    fetcher: Fetcher
    builder: Builder
    streams: Dict[str, Tuple[Stream, "asyncio.Task[None]"]]

    @property
    def names_told(self) -> int:
        """Names version that is applied here and was sent to every local watcher."""
        ...

    def own_address(self) -> str: ...

    def port_range(self) -> Tuple[int, int]: ...

    async def keeper(self, op: str, **args: Any) -> Dict[str, Any]: ...

    async def refresh(self, unit: str = "") -> None: ...

    def releases_changed(self) -> None: ...

    def unit_changed(self, unit: str) -> None: ...

    async def send_bulk(self, frame: Dict[str, Any]) -> None: ...

    async def end(self) -> None: ...


class Words:
    """The handlers; `table` is what Tasks runs."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._choosing = asyncio.Lock()

    def table(self) -> Dict[str, Word]:
        named: Dict[str, Callable[[Mapping[str, Any], Progress], Awaitable[Data]]] = {
            "fetch": self.fetch, "hold": self.hold, "unfetch": self.unfetch, "pushed": self.pushed,
            "prepare": self.prepare, "start": self.start, "stop": self.stop, "activate": self.activate,
            "remove": self.remove, "drain": self.drain, "logs": self.logs, "unlog": self.unlog,
            "head": self.head, "head-get": self.head_get, "tail": self.tail, "end": self.end,
            "build": self.build, "unbuild": self.unbuild,
        }
        return {word: functools.partial(_translated, handler) for word, handler in named.items()}

    async def fetch(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        name, version, sha256 = str(args["name"]), str(args["version"]), str(args["sha256"])
        if await _thread(host.releases.installed, name, version, sha256):
            await _patiently(progress, host.releases.check, name, version, sha256)
            return {"bytes": 0}
        data = await host.fetcher.fetch(args, progress)
        host.releases_changed()
        return data

    async def hold(self, args: Mapping[str, Any], progress: Progress) -> Data:
        await self._host.fetcher.tell("hold", sha256=str(args["sha256"]), paused=bool(args["paused"]))
        return {}

    async def unfetch(self, args: Mapping[str, Any], progress: Progress) -> Data:
        await self._host.fetcher.tell("stop", sha256=str(args["sha256"]))
        return {}

    async def pushed(self, args: Mapping[str, Any], progress: Progress) -> Data:
        await self._host.fetcher.tell("pushed", sha256=str(args["sha256"]))
        return {}

    async def prepare(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        try:
            spec = prepare.check_unitspec(args.get("spec"))
        except prepare.PrepareError as e:
            raise CommandError(e.code, str(e)) from None
        unit = str(spec["unit"])
        known = host.book.records.get(unit)
        if known is not None:
            if (known.get("meta") or {}).get("spec") != spec:
                raise CommandError("exists", f"{unit} is on this host already, with another content")
            if not known.get("pids"):  # the links may have been left out by a crash
                await self._give(spec)
            return {"ports": units.ports_of(known)}
        try:
            return {"ports": await self._put(spec, progress)}
        except (
            prepare.PrepareError, ports.PortError, InstallError, KeeperError, activate.ActivateError
        ) as e:
            code = getattr(e, "code", "port")
            host.book.refuse(units.refused(spec, units.REJECTED, str(e), time.time()))
            raise CommandError(code, str(e)) from None

    async def _put(self, spec: Dict[str, Any], progress: Progress) -> Dict[str, int]:
        host = self._host
        release, manifest = "", None
        artifact = spec.get("artifact")
        if artifact:
            name, version = str(artifact["name"]), str(artifact["version"])
            if host.releases.needs_check(name, version):
                host.book.refuse(units.refused(spec, units.PREPARING, "", time.time()))
            sha256 = str(artifact.get("sha256") or "")
            manifest = await _patiently(progress, host.releases.check, name, version, sha256)
            release = host.releases.path(name, version)
        for entry in (spec.get("data") or {}).values():
            sha256 = str(entry.get("sha256") or "")
            await _patiently(progress, host.releases.check, entry["artifact"], entry["version"], sha256)
        user = await _thread(prepare.find_user, str(spec.get("user") or ""))
        unit, instance = str(spec["unit"]), str(spec["instance"])
        prepare.make_places(host.dir, instance, user)
        async with self._choosing:
            chosen = self._choose(spec, instance)
            place = prepare.Place(host.dir, host.own_address(), chosen, release)
            made = prepare.keeper_spec(spec, place, user)
            if manifest is not None:
                argv = [a for process in made["processes"] for a in process["argv"]]
                made["guard"] = guard_of(release, manifest, argv, made["processes"][0]["cwd"])
            await host.keeper("put", spec=made)
            await self._give(spec)
            await host.refresh(unit)
        return chosen

    async def _give(self, spec: Mapping[str, Any]) -> None:
        """The links of a unit that is about to start."""
        for name, entry in (spec.get("data") or {}).items():
            await _thread(
                activate.switch, self._host.dir, str(spec["instance"]), name, entry["artifact"], entry["version"]
            )

    async def activate(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """Another version of its data for a unit that goes on. Done again it only signals again."""
        host = self._host
        unit, name = str(args["unit"]), str(args["data"])
        entry = {k: str(args.get(k) or "") for k in ("artifact", "version", "sha256")}
        activate.check_data({name: entry}, "activate")
        self._known(unit)
        had = host.book.given(unit).get(name)
        if args.get("instance", unit.rpartition(":")[0]) != unit.rpartition(":")[0]:
            raise CommandError("bad", f"{args['instance']!r:.80} is not the instance of {unit}")
        if had is None or had["artifact"] != entry["artifact"]:
            raise CommandError("bad", f"{unit} has no data {name} of artifact {entry['artifact']}")
        await _patiently(progress, host.releases.check, entry["artifact"], entry["version"], entry["sha256"])
        instance = unit.rpartition(":")[0]
        spec = (self._known(unit).get("meta") or {}).get("spec") or {}
        user = await _thread(prepare.find_user, str(spec.get("user") or ""))
        await _thread(prepare.make_places, host.dir, instance, user)
        await _thread(activate.switch, host.dir, instance, name, entry["artifact"], entry["version"])
        told: Dict[str, Any] = {}
        if args.get("signal"):
            by = str(args.get("by") or "controller")
            await self._grown(unit)
            try:
                told = await host.keeper("signal", unit=unit, signal=str(args["signal"]), by=by)
            except KeeperError:  # nobody was told, so nobody sees it
                await _thread(activate.switch, host.dir, instance, name, had["artifact"], had["version"])
                raise
        record = self._known(unit)
        host.book.give(unit, name, entry)
        return {"run": told.get("run") or record.get("run"), "signalled": told.get("pids") or {}}

    async def _grown(self, unit: str) -> None:
        """A program that was just started does not listen for signals yet: it would end of them."""
        host, deadline = self._host, time.monotonic() + GROWN
        while time.monotonic() < deadline:
            record = host.book.records.get(unit) or {}
            age = time.time() - float(record.get("started") or 0.0)
            checked = ((record.get("meta") or {}).get("spec") or {}).get("check")
            well = not checked or host.memory.good.get(unit) == record.get("run")
            if not record.get("pids") or age > YOUNG and well:
                return
            await asyncio.sleep(DRAIN_POLL)

    def _choose(self, spec: Mapping[str, Any], instance: str) -> Dict[str, int]:
        """Ports of the instance's dead units are its own again; everybody else's are taken."""
        book, address = self._host.book, self._host.own_address()
        taken: Dict[int, str] = {}
        others: Dict[int, str] = {}
        last: Dict[str, int] = dict(self._host.memory.ports.get(instance) or {})
        for unit, record in book.records.items():
            mine = unit.rpartition(":")[0] == instance
            alive = bool(record.get("pids"))
            for number in units.ports_of(record).values():
                if alive or not mine:
                    taken[number] = unit
                if alive and not mine:
                    others[number] = unit
        return ports.choose(
            spec.get("ports") or {}, instance=instance, last=last, known=taken, fixed_by=others,
            port_range=self._host.port_range(), bindable=ports.bindable_at(address),
        )

    async def start(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        unit = str(args["unit"])
        record = self._known(unit)
        if not (record.get("wanted") and record.get("pids")):
            try:
                await host.keeper("start", unit=unit, by=str(args.get("by") or "controller"))
            finally:
                await host.refresh(unit)
            record = self._known(unit)
        instance, found = unit.rpartition(":")[0], units.ports_of(record)
        if found and host.memory.ports.get(instance) != found:
            host.memory.ports[instance] = found
            host.memory.save()
        pids = record.get("pids") or {}
        return {"pid": pids.get("main") or next(iter(pids.values()), None), "run": record.get("run")}

    async def stop(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        unit = str(args["unit"])
        wanted = self._known(unit).get("stop") or {}
        signal = args.get("signal") or wanted.get("signal") or "TERM"
        grace = args.get("grace") if args.get("grace") is not None else wanted.get("grace", 10.0)
        try:
            await host.keeper(
                "stop", unit=unit, signal=signal, grace=grace, by=str(args.get("by") or "controller")
            )
        finally:
            await host.refresh(unit)
        return {"exit": units.exit_of((host.book.records.get(unit) or {}).get("exit"))}

    async def remove(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        unit = str(args["unit"])
        if host.book.refused.pop(unit, None) is not None:
            host.unit_changed(unit)
        if unit in host.book.records:
            try:
                await host.keeper("remove", unit=unit)
            except KeeperError as e:
                if e.code != "missing":
                    raise
            await host.refresh()
        instance = unit.rpartition(":")[0]
        left = host.book.of_instance(instance)
        last = str(left[-1]["unit"]) if left else ""
        try:
            await _thread(activate.restore, host.dir, instance, host.book.given(last) if left else {})
        except (activate.ActivateError, OSError):
            pass  # the unit is gone all the same; links that are wrong are reported with those that are left
        if left and host.book.given(last):
            host.unit_changed(last)
        gens = {int(str(r["unit"]).rpartition(":")[2]) for r in host.book.of_instance(instance)}
        await _thread(rotate.forget_old, host.dir, instance, gens)
        return {}

    async def drain(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """First the names must be applied here and told to every program, then connections must end."""
        host = self._host
        unit = str(args["unit"])
        version = int(args.get("names") or 0)
        deadline = time.monotonic() + max(0.0, float(args.get("timeout") or 0.0))
        while host.names_told < version and time.monotonic() < deadline:
            await asyncio.sleep(NAMES_POLL)
        host.book.draining.add(unit)
        try:
            return {"remaining": await self._connections_end(unit, deadline)}
        finally:
            host.book.draining.discard(unit)
            if host.book.connections.pop(unit, None) is not None:
                host.unit_changed(unit)

    async def _connections_end(self, unit: str, deadline: float) -> int:
        host = self._host
        while True:
            record = host.book.records.get(unit)
            if record is None or not record.get("pids") or not units.ports_of(record):
                return 0
            address = str((record.get("meta") or {}).get("address") or host.own_address())
            numbers = set(units.ports_of(record).values())
            found = await _thread(connections.count, address, numbers, frozenset(checks.ours))
            remaining = int(sum(found.values()))
            if host.book.connections.get(unit) != remaining:
                host.book.connections[unit] = remaining
                host.unit_changed(unit)
            if not remaining or time.monotonic() >= deadline:
                return remaining
            await asyncio.sleep(DRAIN_POLL)

    async def logs(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        id = str(args["stream"])
        given = args.get("units") or []
        instance = str(args.get("instance") or "")
        if not given and not instance:
            raise CommandError("bad", "logs: units or an instance is wanted")
        if len(host.streams) >= MAX_STREAMS and id not in host.streams:
            raise CommandError("busy", f"{MAX_STREAMS} log streams are open on this host")
        self._close_stream(id)
        stream = Stream(
            host.dir, id, lambda: host.book.records, host.send_bulk, units=[str(u) for u in given],
            instance=instance, lines=int(args.get("lines", 200)), follow=bool(args.get("follow")),
        )
        task = asyncio.ensure_future(stream.run())
        host.streams[id] = (stream, task)
        task.add_done_callback(lambda done: self._stream_ended(id, done))
        return {}

    def _stream_ended(self, id: str, done: "asyncio.Task[None]") -> None:
        if id in self._host.streams and self._host.streams[id][1] is done:
            del self._host.streams[id]
        if not done.cancelled():
            done.exception()  # seen

    async def unlog(self, args: Mapping[str, Any], progress: Progress) -> Data:
        self._close_stream(str(args["stream"]))
        return {}

    def _close_stream(self, id: str) -> None:
        found = self._host.streams.pop(id, None)
        if found is not None:
            found[1].cancel()

    async def tail(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """Text of the last lines; of the run before when the last one said nothing (yet)."""
        lines = max(0, min(int(args.get("lines", 10)), MAX_TAIL))
        dir = logs.log_dir(self._host.dir, str(args["unit"]))
        found = await _thread(logs.tail, [dir], lines)
        last = max((run for run, _, _, _ in found), default=0)
        return {"lines": [text for run, _, _, text in found if run == last]}

    async def head(self, args: Mapping[str, Any], progress: Progress) -> Data:
        doc = {k: args.get(k) for k in ("document", "revision", "digest", "import", "journal")}
        await _thread(write_json, os.path.join(self._host.dir, "head.json"), doc)
        return {}

    async def head_get(self, args: Mapping[str, Any], progress: Progress) -> Data:
        doc = await _thread(read_json, os.path.join(self._host.dir, "head.json"), MAX_HEAD)
        if not isinstance(doc, dict):
            raise CommandError("missing", "this host holds no copy of expected")
        return doc

    async def build(self, args: Mapping[str, Any], progress: Progress) -> Data:
        return await self._host.builder.build(args)

    async def unbuild(self, args: Mapping[str, Any], progress: Progress) -> Data:
        self._host.builder.unbuild(str(args["build"]))
        return {}

    async def end(self, args: Mapping[str, Any], progress: Progress) -> Data:
        await self._host.end()
        return {}

    def _known(self, unit: str) -> Record:
        record = self._host.book.records.get(unit)
        if record is None:
            raise CommandError("missing", f"{unit} is not on this host")
        return record


async def _translated(handler: Word, args: Mapping[str, Any], progress: Progress) -> Data:
    try:
        return await handler(args, progress)
    except (KeeperError, FetchError, InstallError, prepare.PrepareError, activate.ActivateError) as e:
        raise CommandError(e.code, str(e)) from None
    except KeeperGone as e:
        raise CommandError("failed", str(e)) from None


async def _thread(work: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


async def _patiently(progress: Progress, work: Callable[..., Any], *args: Any) -> Any:
    """In a thread, saying now and then that it goes on: gigabytes are not read within an action's deadline."""
    job = asyncio.ensure_future(_thread(work, *args))
    while not (await asyncio.wait({job}, timeout=WORKING))[0]:
        progress({})
    return job.result()


def head_of(host_dir: str) -> Optional[Dict[str, Any]]:
    """Revision and digest of the copy of expected that is held here."""
    doc = read_json(os.path.join(host_dir, "head.json"), MAX_HEAD)
    if not isinstance(doc, dict) or doc.get("revision") is None:
        return None
    return {"revision": doc["revision"], "digest": doc.get("digest")}
