"""The plug-ins of an agent: those it came with, those that were pushed, and the words of both."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Set

from cockpit.agent.files import read_json, write_json
from cockpit.agent.install import Releases
from cockpit.agent.plugins.ending import kill_orphans
from cockpit.agent.plugins.facts import Templates, place_facts, unit_facts
from cockpit.agent.plugins.registry import Registry
from cockpit.agent.plugins.service import Loaded, Place, Service
from cockpit.agent.plugins.verify import Pushed, described, pushed_of, verified
from cockpit.agent.saying import say
from cockpit.agent.tasks import CommandError, Data, Progress, Word
from cockpit.link.frames import Frame

SHIPPED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "shipped")
SETTLE = 0.1
"""Seconds for which changes are collected before they are told."""
BURST, RATE = 200, 20.0
"""Messages of one plug-in that may come at once, and each second; more are left out and counted."""
MAX_PLUGINS = 50

Records = Callable[[], Mapping[str, Mapping[str, Any]]]


class PluginWord:
    """A word of a plug-in, as Tasks runs it: side by side with itself."""

    parallel = True

    def __init__(
        self, service: Service, word: str, bulk: Callable[[Frame], Awaitable[None]],
        place: Callable[[str], Data],
    ) -> None:
        facts = service.loaded.description.words[word]
        self.observing = facts.observing
        self._service = service
        self._word = word
        self._bulk = bulk
        self._place = place if facts.place else None

    async def __call__(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """An argument `task` (the command's own id) lets progress wait for the link, as log lines do."""
        task = args.get("task")

        async def tell(data: Data) -> None:
            if isinstance(task, str):
                await self._bulk({"t": "progress", "task": task, "data": data})
            else:
                progress(data)

        if self._place is not None and args.get("instance"):
            args = {**args, "place": self._place(str(args["instance"]))}
        return await self._service.call(self._word, args, tell)


class Plugins:
    """`send` puts a frame at once, `bulk` waits while the link is busy. `records`: unit -> the keeper's record."""

    def __init__(
        self, host_dir: str, host: str, releases: Releases, *, send: Callable[[Frame], None],
        bulk: Callable[[Frame], Awaitable[None]], records: Records, builtin: Mapping[str, Mapping[str, Word]],
        shipped: str = SHIPPED,
    ) -> None:
        self.words = Registry()
        self._dir = host_dir
        self._releases = releases
        self._send = send
        self._bulk = bulk
        self._records = records
        self._shipped = shipped
        self._services: Dict[str, Service] = {}
        self._pushed: Dict[str, Pushed] = {}
        self._refused: Dict[str, Data] = {}
        """What DIR/plugins.json names and cannot be loaded: rows."""
        self._settings: Data = {}
        self._units: Data = {}
        self._buckets: Dict[str, List[float]] = {}
        """Plug-in -> [tokens, time of the last, left out]."""
        self._place = Place(host_dir, host, self._look, self._tell, self._changed, lambda: self._units)
        self._loading = asyncio.Lock()
        self._wake = asyncio.Event()
        self._units_wake = asyncio.Event()
        self._told: List[Data] = []
        self._tasks: "Set[asyncio.Task[Any]]" = set()
        for name, words in builtin.items():
            self.words.put(name, words)
        self.words.put("plugins", {"plugin": self._load, "plugin-remove": self._remove})

    # life

    async def start(self) -> None:
        """Load what belongs to this host. What cannot be loaded is shown, and harms nothing else."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, kill_orphans, self._dir)
        doc = await loop.run_in_executor(None, read_json, os.path.join(self._dir, "plugins.json"))
        kept = doc.get("plugins") if isinstance(doc, dict) else None
        self._settings = dict((doc or {}).get("settings") or {}) if isinstance(doc, dict) else {}
        self._units = self._facts()
        found = await loop.run_in_executor(None, self._bundled)
        for name, entry in (kept if isinstance(kept, dict) else {}).items():
            try:
                pushed = pushed_of(entry)
                loaded = await loop.run_in_executor(None, self._verified, pushed)
            except CommandError as e:
                say(f"plug-in {name}: {e.text}")
                self._refused[str(name)] = _row(entry, str(name), e.text)
                continue
            ours = found.get(name)
            if ours is not None and _order(ours.description.version) > _order(pushed.version):
                continue  # the agent brought a newer one
            self._pushed[name] = pushed
            found[name] = loaded
        for loaded in found.values():
            try:
                self._add(loaded)
            except CommandError as e:
                say(e.text)
        self._spawn(self._teller())
        self._spawn(self._unit_teller())
        for service in list(self._services.values()):
            self._spawn(service.awake())

    def _bundled(self) -> Dict[str, Loaded]:
        found = {}
        for name in sorted(os.listdir(self._shipped)) if os.path.isdir(self._shipped) else ():
            directory = os.path.join(self._shipped, name)
            if os.path.isdir(directory) and not name.startswith("_"):
                try:
                    found[name] = Loaded(described(directory), directory)
                except CommandError as e:
                    say(e.text)
        return found

    async def stop(self) -> None:
        """Every process ends."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(s.close() for s in self._services.values()))

    async def retire(self) -> None:
        """Another agent serves this host: begin nothing, return when what runs here has ended."""
        await asyncio.gather(*(s.finish() for s in self._services.values()))

    # the link

    def frame(self) -> Frame:
        """The `plugins` frame, for the full set."""
        self._told = self.rows()
        return {"t": "plugins", "plugins": self._told}

    def rows(self) -> List[Data]:
        rows = [s.row() for s in self._services.values()]
        return sorted([*rows, *self._refused.values()], key=lambda r: str(r["name"]))

    def settings(self, settings: Any) -> None:
        """`plugin-settings`: all of them; kept for a start without a controller."""
        if not isinstance(settings, dict) or not all(isinstance(s, dict) for s in settings.values()):
            raise ValueError("settings map plug-ins to objects")
        if settings != self._settings:
            self._settings = settings
            self._keep()
        for name, service in self._services.items():
            service.set(settings.get(name) or {})
        self.units_changed()

    def input(self, task: str, data: Any) -> None:
        """An `input` frame; for a command that is over, nothing."""
        if isinstance(data, dict):
            any(service.input(task, data) for service in self._services.values())

    @property
    def listening(self) -> bool:
        """Does a command run that somebody types into?"""
        return any(service.listening for service in self._services.values())

    def connected(self) -> None:
        for service in self._services.values():
            service.send({"op": "connected"})

    def disconnected(self) -> None:
        for service in self._services.values():
            service.send({"op": "disconnected"})

    def units_changed(self) -> None:
        self._units_wake.set()

    # words

    async def _load(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """`plugin`: a version that `fetch` brought. Done when its process is ready for commands."""
        pushed = pushed_of(args)
        async with self._loading:
            loaded = await asyncio.get_running_loop().run_in_executor(None, self._verified, pushed)
            name = pushed.name
            if name in self.words_of_builtins():
                raise CommandError("clash", f"{name} is a part of the agent itself; choose another name")
            self.words.check(name, list(loaded.description.words))
            service = self._services.get(name)
            if service is None and len(self._services) >= MAX_PLUGINS:
                raise CommandError("busy", f"{MAX_PLUGINS} plug-ins are on this host")
            if service is None or service.loaded != loaded:
                before = service
                if service is None:
                    service = Service(self._place, loaded)
                    service.settings = dict(self._settings.get(name) or {})
                try:
                    process = await service.try_out(loaded)
                except BaseException:
                    if before is None:
                        await service.close()
                    raise
                service.replace(loaded, process)
                self._services[name] = service
                self._own_words(service)
                if before is None:  # nobody told it what changed while it started
                    service.set(self._settings.get(name) or {})
                    if service.wants("units"):
                        service.send({"op": "units", "units": self._units})
            self._refused.pop(name, None)
            self._pushed[name] = pushed
            self._keep()
            self._changed()
            return {"words": sorted(loaded.description.words), "version": pushed.version}

    async def _remove(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """`plugin-remove`: one that came with the agent takes the place of what was pushed, if there is one."""
        name = str(args["name"])
        async with self._loading:
            refused = self._refused.pop(name, None)
            if self._pushed.pop(name, None) is None and refused is None:
                if name in self._services:
                    raise CommandError("bad", f"{name} came with the agent and cannot be removed")
                raise CommandError("missing", f"there is no plug-in {name} on this host")
            self._keep()
            service = self._services.get(name)
            bundled = (await asyncio.get_running_loop().run_in_executor(None, self._bundled)).get(name)
            if service is not None and bundled is not None:
                service.replace(bundled, await service.try_out(bundled))
                self._own_words(service)
            elif service is not None:
                del self._services[name]
                self.words.drop(name)
                self._spawn(_leave(service))
            self._changed()
            return {"version": bundled.description.version if bundled is not None else ""}

    def words_of_builtins(self) -> Set[str]:
        return {self.words.owner(w) for w in self.words} - set(self._services)

    # inside

    def _add(self, loaded: Loaded) -> None:
        """Raises CommandError `clash`."""
        service = Service(self._place, loaded)
        service.settings = dict(self._settings.get(service.name) or {})
        self.words.check(service.name, list(loaded.description.words))
        self._services[service.name] = service
        self._own_words(service)

    def _own_words(self, service: Service) -> None:
        words = service.loaded.description.words
        self.words.put(service.name, {word: PluginWord(service, word, self._bulk, self._where) for word in words})

    def _where(self, instance: str) -> Data:
        """Raises CommandError."""
        return place_facts(self._dir, instance, self._records())

    def _verified(self, pushed: Pushed) -> Loaded:
        description = verified(self._dir, self._releases, pushed)
        return Loaded(description, self._releases.path(pushed.name, pushed.version), pushed.sha256)

    def _look(self, loaded: Loaded) -> None:
        """Before each start of a process: nobody has changed a file meanwhile."""
        pushed = self._pushed.get(loaded.description.name)
        if loaded.sha256 and pushed is not None and pushed.sha256 == loaded.sha256:
            self._verified(pushed)

    def _keep(self) -> None:
        doc = {"plugins": {n: p._asdict() for n, p in self._pushed.items()}, "settings": self._settings}
        try:
            write_json(os.path.join(self._dir, "plugins.json"), doc)
        except OSError as e:
            say(f"plugins.json: {e.strerror}")

    def _tell(self, name: str, data: Data) -> None:
        now = time.monotonic()
        bucket = self._buckets.setdefault(name, [float(BURST), now, 0.0])
        bucket[0] = min(float(BURST), bucket[0] + (now - bucket[1]) * RATE)
        bucket[1] = now
        if bucket[0] < 1.0:
            bucket[2] += 1
            return
        bucket[0] -= 1.0
        frame: Frame = {"t": "plugin", "name": name, "data": data}
        if bucket[2]:
            frame["dropped"], bucket[2] = int(bucket[2]), 0.0
        self._send(frame)

    def _changed(self) -> None:
        self._wake.set()

    async def _teller(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(SETTLE)
            self._wake.clear()
            if self.rows() != self._told:
                self._send(self.frame())

    async def _unit_teller(self) -> None:
        while True:
            await self._units_wake.wait()
            await asyncio.sleep(SETTLE)
            self._units_wake.clear()
            facts = self._facts()
            if facts != self._units:
                self._units = facts
                for service in self._services.values():
                    if service.wants("units"):
                        service.send({"op": "units", "units": facts})

    def _facts(self) -> Data:
        templates: Templates = (self._settings.get("logfiles") or {}).get("services") or {}
        return {unit: unit_facts(self._dir, record, templates) for unit, record in self._records().items()}

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _leave(service: Service) -> None:
    try:
        await service.finish()
    finally:
        await service.close()


def _row(entry: Any, name: str, text: str) -> Data:
    facts = entry if isinstance(entry, dict) else {}
    return {
        "name": name, "version": str(facts.get("version", "")), "sha256": str(facts.get("sha256", "")), "words": [],
        "state": "refused", "text": text, "about": "", "pid": None, "leaving": 0,
    }


def _order(version: str) -> List[Any]:
    """For comparing versions: numbers by value."""
    parts = version.replace("-", ".").replace("+", ".").split(".")
    return [(0, int(p), "") if p.isdigit() else (-1, 0, p) for p in parts]
