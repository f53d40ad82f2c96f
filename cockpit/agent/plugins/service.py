"""One plug-in of this host: which version serves, its process when it needs one, and what happens when that dies."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set

from cockpit.agent.files import make_dir
from cockpit.agent.plugins.describe import Description, check_settings
from cockpit.agent.plugins.ending import mark_of
from cockpit.agent.plugins.logfile import LogFile
from cockpit.agent.plugins.process import Doc, PluginGone, Process, Progress
from cockpit.agent.tasks import CommandError, Data

IDLE = 300.0
"""Seconds after which the process of a plug-in that is only used by commands ends."""
LONG_ENOUGH = 60.0
"""Seconds of life after which a death is the first one again."""
FIRST, MOST = 0.5, 60.0
"""Seconds before it is started anew: doubled with each death in a row."""
SLACK = 20.0
"""Seconds beyond the timeout that a command brings itself."""
MAX_TIMEOUT = 24 * 3600.0
_numbers = itertools.count(1)


class Loaded(NamedTuple):
    """A version that can be started."""

    description: Description
    directory: str
    sha256: str = ""
    """Empty: it came with the agent."""


class Place(NamedTuple):
    """Where a plug-in runs."""

    host_dir: str
    host: str
    ready: Callable[["Loaded"], None]
    """Looks once more at the files before each start; raises CommandError. For a thread."""
    tell: Callable[[str, Data], None]
    changed: Callable[[], None]
    units: Callable[[], Doc]


class Service:
    def __init__(self, place: Place, loaded: Loaded) -> None:
        self.loaded = loaded
        self.settings: Doc = {}
        self.text = ""
        """Why it is broken, or what is wrong with its settings."""
        self._place = place
        self._process: Optional[Process] = None
        self._missed: List[Dict[str, Doc]] = []
        """For each process that is starting: the last message of each kind that it cannot take before it is ready."""
        self._leaving: Set[Process] = set()
        """Processes of versions before this one that finish what they began."""
        self._starting = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._broken = False
        self._closed = False
        self._log = LogFile(place.host_dir, loaded.description.name)
        self._tasks: "Set[asyncio.Task[Any]]" = set()

    @property
    def name(self) -> str:
        return self.loaded.description.name

    def row(self) -> Doc:
        """Of the `plugins` frame."""
        d = self.loaded.description
        state = "broken" if self._broken else "running" if self._process is not None else "ready"
        return {
            "name": d.name, "version": d.version, "sha256": self.loaded.sha256, "words": sorted(d.words),
            "state": state, "text": self.text, "about": d.about,
            "pid": self._process.pid if self._process is not None else None, "leaving": len(self._leaving),
        }

    # its version

    async def try_out(self, loaded: Loaded) -> Process:
        """A ready process of another version. Raises CommandError `broken`."""
        try:
            return await self._start(loaded)
        except PluginGone as e:
            d = loaded.description
            raise CommandError("broken", f"plug-in {d.name}/{d.version} does not start: {e}") from None

    def replace(self, loaded: Loaded, process: Process) -> None:
        """New commands go to this process from now on; those that run end in the one before."""
        old, self._process, self.loaded = self._process, process, loaded
        self._failures, self._not_before, self._broken, self.text = 0, 0.0, False, ""
        if old is not None:
            self._leave(old)
        self._spawn(self._guard(process))
        self._place.changed()

    def _leave(self, process: Process) -> None:
        self._leaving.add(process)
        process.finish()

        async def gone() -> None:
            await process.gone.wait()
            self._leaving.discard(process)
            self._place.changed()

        self._spawn(gone())

    # commands

    async def call(self, word: str, args: Mapping[str, Any], progress: Optional[Progress]) -> Data:
        """Raises CommandError."""
        facts = self.loaded.description.words[word]
        timeout = facts.timeout
        if facts.own_timeout:
            own = args.get("timeout")
            if isinstance(own, (int, float)) and 0 < own <= MAX_TIMEOUT:
                timeout = float(own) + SLACK
        task = str(args.get("task") or "") if facts.input else ""
        process = await self._ready_process()
        try:
            return await process.call(word, args, progress, timeout, task)
        except PluginGone as e:
            raise CommandError("broken", f"plug-in {self.name} ended during {word}: {e}") from None

    def input(self, task: str, data: Data) -> bool:
        """For a command under way, of this version or one before; False when it is none of ours."""
        mine = [*self._leaving, *([self._process] if self._process is not None else [])]
        return any(process.input(task, data) for process in mine)

    @property
    def listening(self) -> bool:
        return self._process is not None and self._process.listening

    async def _ready_process(self) -> Process:
        """Raises CommandError `broken`."""
        async with self._starting:
            if self._closed:
                raise CommandError("broken", f"plug-in {self.name} was removed")
            if self._process is not None and not self._process.gone.is_set():
                return self._process
            left = self._not_before - time.monotonic()
            if left > 0:
                raise CommandError("broken", f"plug-in {self.name} is broken, next try in {left:.1f} s: {self.text}")
            try:
                process = await self._start(self.loaded)
            except PluginGone as e:
                self._failed(str(e))
                raise CommandError("broken", f"plug-in {self.name} does not start: {e}") from None
            except CommandError as e:
                self._failed(e.text)
                raise
            if self._gone():  # meanwhile
                await process.end()
                raise CommandError("broken", f"plug-in {self.name} was removed")
            self._process = process
            self._broken, self.text = False, "; ".join(self._wrong())
            self._spawn(self._guard(process))
            self._place.changed()
            return process

    async def _start(self, loaded: Loaded) -> Process:
        """Raises PluginGone, CommandError."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._place.ready, loaded)
        d, host_dir = loaded.description, self._place.host_dir
        data = os.path.join(host_dir, "plugin-data", d.name)
        await loop.run_in_executor(None, make_dir, data)
        begin = {
            "name": d.name, "version": d.version, "host": self._place.host, "host_dir": host_dir, "data": data,
            "settings": self.settings, "units": self._place.units() if "units" in d.wants else {},
        }
        missed: Dict[str, Doc] = {}
        self._missed.append(missed)
        try:
            process = await Process.start(
                d, loaded.directory, begin, mark=mark_of(host_dir, d.name, next(_numbers)), log=self._log,
                tell=lambda data: self._place.tell(d.name, data),
            )
        finally:
            self._missed = [m for m in self._missed if m is not missed]
        for doc in missed.values():
            process.send(doc)
        return process

    async def _guard(self, process: Process) -> None:
        """Until it ends: ends it when it is idle, starts it again when it is wanted."""
        while not process.gone.is_set():
            idle = time.monotonic() - process.used
            if self._by_use() and not process.busy and idle >= IDLE and self._process is process:
                self._process = None
                await process.end()
                self._place.changed()
                return
            gone = asyncio.ensure_future(process.gone.wait())
            await asyncio.wait({gone}, timeout=max(1.0, IDLE - idle) if self._by_use() else None)
            gone.cancel()
        if self._process is not process:
            return
        self._process = None
        if time.monotonic() - process.started >= LONG_ENOUGH:
            self._failures = 0
        last = "; ".join(process.last)
        self._failed(f"{process.why}{': ' + last if last else ''}")

    def _failed(self, why: str) -> None:
        pause = min(MOST, FIRST * 2.0**self._failures)
        self._failures += 1
        self._not_before = time.monotonic() + pause
        self._broken, self.text = True, why[:2000]
        self._place.changed()
        if self.wanted():
            self._spawn(self._again(pause))

    async def _again(self, pause: float) -> None:
        await asyncio.sleep(pause)
        await self.awake()

    # without commands

    def _gone(self) -> bool:
        return self._closed

    def _by_use(self) -> bool:
        return self.loaded.description.start == "use"

    def wanted(self) -> bool:
        """Must there be a process now?"""
        start = self.loaded.description.start
        return not self._closed and (start == "always" or start == "settings" and bool(self.settings))

    async def awake(self) -> None:
        """Start it when it must run."""
        if self.wanted():
            try:
                await self._ready_process()
            except CommandError:
                pass  # its state says it, and it is tried again

    def set(self, settings: Doc) -> None:
        """New settings; what does not fit plugin.json is said and still given to it."""
        if settings == self.settings:
            return
        self.settings = settings
        wrong = "; ".join(self._wrong())
        if not self._broken and self.text != wrong:
            self.text = wrong
            self._place.changed()
        self.send({"op": "settings", "settings": settings})
        if not settings and self.loaded.description.start == "settings" and self._process is not None:
            old, self._process = self._process, None
            self._leave(old)
            self._place.changed()
        self._spawn(self.awake())

    def _wrong(self) -> "list[str]":
        return [f"settings: {text}" for text in check_settings(self.loaded.description, self.settings)]

    def send(self, doc: Doc) -> None:
        for missed in self._missed:
            missed.pop(doc["op"], None)  # the order is that of the last ones
            missed[doc["op"]] = doc
        if self._process is not None:
            self._process.send(doc)

    def wants(self, what: str) -> bool:
        return what in self.loaded.description.wants

    # the end

    async def finish(self) -> None:
        """Begin nothing any more; returns when what runs has ended."""
        self._closed = True
        if self._process is not None:
            old, self._process = self._process, None
            self._leave(old)
        while self._leaving:
            await next(iter(self._leaving)).gone.wait()
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Everything of it ends now."""
        self._closed = True
        mine = [*self._leaving, *([self._process] if self._process is not None else [])]
        self._process = None
        await asyncio.gather(*(p.end() for p in mine))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


