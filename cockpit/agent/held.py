"""What runs on this host and is not the keeper's: services of systemd and supervisord, programs with pid files.

Their records lie in DIR/units as those of a host that is entered by SSH (docs/ssh.md): what Cockpit did here before
it had an agent goes on.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Set

from cockpit.agent import local_look as near
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.prepare import PrepareError, User, find_user, keeper_spec
from cockpit.agent.runtimes import judge, seen, supervisord, systemd
from cockpit.agent.runtimes.judge import Kind, Look, Track
from cockpit.agent.runtimes.seen import Seen
from cockpit.agent.saying import say
from cockpit.agent.template import TemplateError

QUICK, REST = 0.5, 3.0
"""Seconds between two looks: at the processes alone, and at everything."""
Doc = Dict[str, Any]


class Held:
    """Each is a record as the keeper's. `changed` is called when a look showed something new."""

    def __init__(self, host_dir: str, address: Callable[[], str], changed: Callable[[], None]) -> None:
        self.dir = host_dir
        self.held: Dict[str, Doc] = near.records(host_dir)
        """Unit -> {"spec", "ports", ...} as it lies on disk."""
        self.look = Look()
        self._address = address
        self._changed = changed
        self._tracks: Dict[str, Track] = {}
        self._made: Dict[str, Doc] = {}
        self._records: List[Doc] = []
        self._looking = asyncio.Lock()
        self._control: Optional[supervisord.Control] = None
        self.config = ""
        """Of the supervisord here, once it was looked for."""

    # looking

    def has(self, unit: str) -> bool:
        return unit in self.held

    def own(self, unit: str) -> bool:
        """Was it started by Cockpit itself, over SSH? The keeper takes its next start."""
        return self.has(unit) and self.kind(unit).kind == "own"

    def alive(self, unit: str) -> bool:
        return self.seen(unit).alive

    def records(self) -> List[Doc]:
        """As the last look showed them, in the keeper's shape."""
        return list(self._records)

    def kind(self, unit: str) -> Kind:
        """Raises KeeperError."""
        try:
            return judge.kind_of(self.held[unit], self.dir, self._address())
        except TemplateError as e:
            raise KeeperError("bad", f"runtime: {e}") from None

    def seen(self, unit: str) -> Seen:
        processes = tuple(self.held[unit]["spec"]["processes"])
        return judge.seen_of(self.look, unit, processes, self.kind(unit), near.HERTZ)

    async def run(self) -> None:
        """For ever: the processes often, everything now and then."""
        last = 0.0
        while True:
            if self.held and (time.monotonic() - last >= REST or self._somebody_ended()):
                last = time.monotonic()
                try:
                    await self.observe()
                except KeeperError as e:
                    _say(str(e))
            await asyncio.sleep(QUICK)

    def _somebody_ended(self) -> bool:
        for record in self._records:
            for pid in record["pids"].values():
                if near.ticks_of(pid) is None:
                    return True
        return False

    async def first(self) -> None:
        """The first look, before anything is told."""
        try:
            await self.observe()
        except KeeperError as e:
            _say(str(e))

    async def observe(self) -> None:
        """One look. Raises KeeperError."""
        async with self._looking:
            if not self.held:
                self._records = []
                return
            files, paths = set(), set()
            names: Dict[str, Set[str]] = {"systemd": set(), "supervisord": set()}
            for unit, record in self.held.items():
                kind = self.kind(unit)
                if kind.kind == "pidfile":
                    files.add(kind.name)
                elif kind.kind in names:
                    names[kind.kind].add(kind.name)
                directory = str(record["spec"].get("directory") or "")
                if os.path.isabs(directory):
                    paths.add(directory)
            loop = asyncio.get_running_loop()
            fresh = await loop.run_in_executor(None, near.look, self.dir, files, paths)
            await self._services(fresh, names)
            self.look = fresh
            before = self._records
            self._records = [self._record(unit) for unit in self.held]
        if [_steady(r) for r in before] != [_steady(r) for r in self._records]:
            self._changed()

    async def _services(self, fresh: Look, names: Mapping[str, Set[str]]) -> None:
        if names["systemd"]:
            done = await near.run(systemd.show(sorted(names["systemd"]), self._user_manager()))
            if done.code not in (0, 1) or not done.out:
                raise KeeperError("failed", f"systemctl: {done.said()}")
            for name, what in systemd.parse(done.out, fresh.now, fresh.uptime).items():
                fresh.services[f"systemd {name}"] = what
        if names["supervisord"]:
            for name, what in (await self._supervised(fresh.now)).items():
                fresh.services[f"supervisord {name}"] = what

    async def _supervised(self, now: float) -> Dict[str, Seen]:
        """By XML-RPC; where that is not to be had, by supervisorctl (no exit codes then)."""
        if self._control is None or not self._control.socket:
            self.config = await asyncio.get_running_loop().run_in_executor(None, near.supervisor_config)
            self._control = near.supervisor(self.config)
        if self._control.socket:
            try:
                return await near.ask_supervisor(self._control)
            except (OSError, ValueError):
                self._control = None
        return supervisord.parse_status((await near.run(supervisord.status([], self.config))).out, now)

    @staticmethod
    def _user_manager() -> bool:
        return os.geteuid() != 0

    def _record(self, unit: str) -> Doc:
        held, kind = self.held[unit], self.kind(unit)
        now, track = self.seen(unit), self._tracks.setdefault(unit, Track())
        track.altered = _altered(held.get("guard") or [])
        made = self._keeper_spec(unit)
        doc = {**made, **judge.unit_record(self.look, held, kind, now, track, True)}
        doc["meta"] = made["meta"]
        doc.update(
            instance=unit.rpartition(":")[0], gen=int(unit.rpartition(":")[2]), exits=[], next_start=None, pinned="",
            ready=now.state == seen.RUNNING, watchdog=None, status="", runtime=kind.kind, runtime_name=kind.name,
            log_files=[path for path in (now.stdout, now.stderr) if path],
        )
        version = judge.linked(self.look, held["spec"], kind)
        if version is not None:
            doc["linked"] = version
        return doc

    def _keeper_spec(self, unit: str) -> Doc:
        """What the keeper would be given: checks, probes and the environment of exec checks are in it."""
        made = self._made.get(unit)
        if made is None:
            held = self.held[unit]
            place = judge.place_of(held, self.dir, self._address())
            try:
                made = keeper_spec(held["spec"], place, self._user(unit))
            except PrepareError as e:
                made = {"processes": [], "meta": {"spec": held["spec"], "ports": held.get("ports") or {}}, "stop": {}}
                _say(f"{unit}: {e}")
            self._made[unit] = made
        return made

    def _user(self, unit: str) -> Optional[User]:
        """Raises PrepareError."""
        return find_user(str(self.held[unit]["spec"].get("user") or ""))


def _altered(guard: List[Any]) -> str:
    """What of the release is not as it was when it was prepared; empty: nothing."""
    for path, *facts in guard:
        try:
            s = os.stat(path)
        except OSError:
            return f"{path} is gone"
        if [s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] != facts:
            return f"{path} was changed"
    return ""


def _steady(record: Doc) -> Doc:
    """Without what wobbles with the clock."""
    return {**record, "started": bool(record.get("started"))}


def _say(text: str) -> None:
    say(f"services of others: {text}")
