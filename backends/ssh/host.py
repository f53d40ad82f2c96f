"""A host without an agent, as an agent: it is looked at, and says what changed."""

from __future__ import annotations

import asyncio
import json
import posixpath
import time
from collections.abc import Callable
from typing import Any

from backends.ssh import look, scripts
from backends.ssh.copies import Copies
from backends.ssh.follow import Followed
from backends.ssh.forwards import Forwards
from backends.ssh.health import Checks
from backends.ssh.look import Kind, Look, Track
from backends.ssh.missing import MISSING
from backends.ssh.pool import Done, Kept, NotConnected
from backends.ssh.releases import Sender
from backends.ssh.shells import Shells
from cockpit import __version__
from cockpit.agent.files import flat
from cockpit.agent.runtimes import supervisord, systemd
from cockpit.agent.runtimes.seen import Seen
from cockpit.agent.tasks import CommandError, Tasks
from cockpit.agent.template import TemplateError
from cockpit.link.frames import PROTOCOL

QUICK, REST = 2.0, 5.0
SLICE = 0.25
RESTLESS = 10.0
"""Seconds after the last change in which it is looked at quickly."""
VERIFY = 30.0
"""Seconds between two looks at the files of the releases that are used."""
Frame = dict[str, Any]
Record = dict[str, Any]


class Host:
    """`send` takes an agent's frames. `run` is one connection's life: it ends with NotConnected."""

    def __init__(
        self, name: str, settings: dict[str, Any], kept: Kept, send: Callable[[Frame], None],
        ask: Callable[[str, dict[str, Any]], Any], room: Callable[[], Any],
    ) -> None:
        from backends.ssh.words import Words  # words act on a host

        self.name = name
        self.settings = settings
        self.kept = kept
        self.uuid = str(settings.get("uuid") or "")
        self.address = str(settings.get("address") or "")
        self.send = send
        self.ask = ask
        self.room = room
        self.dir = ""
        self.uid = -1
        self.boot = ""
        self.hertz = 100
        self.look = Look()
        self.records: dict[str, Record] = {}
        """Unit -> {"spec", "ports", "uid", "gid"}, as it lies on the far side."""
        self.refused: dict[str, Record] = {}
        """Units that could not be prepared: their report."""
        self.tracks: dict[str, Track] = {}
        self.names = 0
        self.followed = Followed(self)
        self.checks = Checks(self)
        self.shells = Shells(self)
        self.forwards = Forwards(self)
        self.copies = Copies(self)
        self.tasks = Tasks(self.uuid, Words(self).table(), send)
        self._told: dict[str, Frame] = {}
        self._releases: list[str] = []
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._prints: dict[str, str] = {}
        self._verified = 0.0
        self._changed = 0.0
        self._control: supervisord.Control | None = None

    # one connection

    async def enter(self) -> Frame:
        """The far side's facts; the hello. Raises NotConnected, CommandError with a sentence."""
        self._control = None
        directory = str(self.settings.get("directory") or (self.settings.get("ssh") or {}).get("directory") or "")
        done = await self.run(scripts.FACTS, directory, plain=True)
        facts = dict(line.partition(" ")[::2] for line in done.out.splitlines())
        if "end" not in facts:
            raise CommandError("failed", f"it cannot be worked with: {done.said()}")
        if facts.get("lacks", "").strip():
            raise CommandError("failed", f"there is no {', '.join(facts['lacks'].split())} on it")
        self.dir, self.boot, self.uid = facts["dir"], facts["boot"], int(facts["uid"])
        self.hertz = int(facts["hertz"]) if facts["hertz"].isdigit() else 100
        return {
            "t": "hello", "host": self.name, "uuid": self.uuid, "boot_id": self.boot, "agent_pid": None,
            "keeper_pid": None, "version": __version__, "protocol": PROTOCOL, "missing": list(MISSING),
        }

    async def serve(self) -> None:
        """After the welcome: everything, then what changes. Raises NotConnected, CommandError."""
        await self.copies.tidy()
        await self.observe(first=True)
        self._told = {r["unit"]: r for r in self._reports()}
        self._releases = self.look.releases
        self.send({
            "t": "full", "units": list(self._told.values()), "releases": self._releases, "names": self.names,
            "head": await self._head(), "keeper_pid": None, "agent_pid": None,
        })  # fmt: skip
        while True:
            last = time.monotonic()
            while not self._wake.is_set() and time.monotonic() - last < (QUICK if self._restless() else REST):
                await asyncio.sleep(SLICE)
            self._wake.clear()
            await self.observe()

    def _restless(self) -> bool:
        return time.monotonic() - self._changed < RESTLESS or bool(self.tasks.running)

    def leave(self) -> None:
        """The connection is gone. Commands go on, or fail; their answers are remembered."""
        self.checks.stop()
        self.followed.close()
        self.shells.end_all("lost")
        self.forwards.end_all("lost")
        self.copies.end_all("lost")

    async def close(self) -> None:
        self.leave()
        await self.copies.close()
        await self.tasks.stop()

    def frame(self, frame: Frame) -> None:
        """What the controller sends to an agent."""
        kind = frame.get("t")
        if kind == "cmd":
            self.tasks.take(frame)
        elif kind == "credit":
            self.followed.credit(str(frame.get("stream")), int(frame.get("lines") or 0))
        elif kind == "input":
            self.shells.input(str(frame.get("task")), frame.get("data"))
            self.forwards.input(str(frame.get("task")), frame.get("data"))
            self.copies.input(str(frame.get("task")), frame.get("data"))
        elif kind == "names":  # no program here reads them from us: as good as applied
            self.names = int(frame.get("version") or 0)
            self.send({"t": "names", "version": self.names})
        elif kind == "ping":
            self.send({"t": "pong", "at": frame.get("at")})

    def again(self) -> None:
        self._wake.set()

    # looking

    async def observe(self, first: bool = False) -> None:
        """One look. Raises NotConnected, CommandError."""
        async with self._looking:
            fresh = await self._look()
            known = {flat(u) for u in self.records}
            for unit in fresh.units:
                if unit not in known:
                    await self._learn(unit)
            gone = [u for u in self.records if flat(u) not in fresh.units and not u.endswith(":0")]
            for unit in gone:
                self.records.pop(unit)
                self.tracks.pop(unit, None)
            self._watch(fresh)
            fresh.services = await self._services(fresh)
            self.look = fresh
            if first or time.monotonic() - self._verified > VERIFY:
                await self._verify()
        self.checks.sync()
        if not first:
            self.report()

    def report(self) -> None:
        """Send what differs from what was told."""
        fresh = {r["unit"]: r for r in self._reports()}
        for unit, doc in fresh.items():
            if _steady(self._told.get(unit)) != _steady(doc):
                self._changed = time.monotonic()
                self.send({"t": "unit", "unit": doc})
        for unit in self._told:
            if unit not in fresh:
                self.send({"t": "gone", "unit": unit})
        self._told = fresh
        if self.look.releases != self._releases:
            self._releases = self.look.releases
            self.send({"t": "releases", "releases": self._releases})

    def seen(self, unit: str) -> Seen:
        record = self.records[unit]
        return look.seen_of(self.look, unit, tuple(record["spec"]["processes"]), self.kind(unit), self.hertz)

    def newest(self, instance: str) -> Record:
        """Of the unit that runs, else of the last one. Raises CommandError."""
        mine = [u for u in self.records if u.rpartition(":")[0] == instance]
        if not mine:
            raise CommandError("missing", f"nothing of {instance} is on this host")
        return self.records[max(mine, key=lambda u: (self.seen(u).alive, int(u.rpartition(":")[2])))]

    def kind(self, unit: str) -> Kind:
        """Raises CommandError."""
        try:
            return look.kind_of(self.records[unit], self.dir, self.address)
        except TemplateError as e:
            raise CommandError("bad", f"runtime: {e}") from None

    def track(self, unit: str) -> Track:
        return self.tracks.setdefault(unit, Track())

    def _reports(self) -> list[Frame]:
        found = dict(self.refused)
        for unit, record in self.records.items():
            try:
                kind = self.kind(unit)
            except CommandError:
                continue
            now, gauge = self.seen(unit), self.checks.gauges.get(unit)
            track = self.track(unit)
            before = track.run
            doc = look.unit_report(self.look, record, kind, now, track, gauge)
            if unit.endswith(":0") and not now.alive:
                continue
            if before and track.run != before:  # another run: what was well before says nothing
                self.checks.renew(unit)
                self.checks.sync()
                doc = look.unit_report(self.look, record, kind, now, track, self.checks.gauges.get(unit))
            found[unit] = doc
        return list(found.values())

    def _watch(self, fresh: Look) -> None:
        """Instances that are expected here, run by others, and were never prepared: shown as they are, as gen 0."""
        prepared = {u.rpartition(":")[0] for u in self.records if not u.endswith(":0")}
        wanted = {}
        for spec in self.settings.get("watch") or []:
            instance = str(spec.get("instance"))
            if spec.get("runtime") and instance not in prepared:
                unit = f"{instance}:0"
                wanted[unit] = {"spec": {**spec, "unit": unit, "gen": 0}, "ports": spec.get("ports") or {}}
        for unit in [u for u in self.records if u.endswith(":0") and u not in wanted]:
            del self.records[unit]
            self.tracks.pop(unit, None)
        self.records.update(wanted)

    async def _look(self) -> Look:
        paths = []
        for unit, record in self.records.items():
            kind = self.kind(unit)
            if kind.kind == "pidfile":
                paths.append(kind.name)
            if posixpath.isabs(str(record["spec"].get("directory") or "")):
                paths.append(str(record["spec"]["directory"]))
        done = await self.run(scripts.POLL, *sorted(set(paths)))
        try:
            found = look.parse(done.out)
        except ValueError as e:
            raise CommandError("failed", f"{e}: {done.said()}") from None
        if found.boot != self.boot:
            raise NotConnected("it was booted again")
        return found

    async def _learn(self, name: str) -> None:
        done = await self.run(scripts.GET, f"units/{name}/spec.json", str(1024 * 1024))
        try:
            record = json.loads(done.out)
            unit = str(record["spec"]["unit"])
            if flat(unit) == name and isinstance(record["spec"]["processes"], dict):
                self.records[unit] = record
        except (ValueError, KeyError, TypeError):
            pass  # half a record, or somebody else's: nothing that was prepared

    async def _services(self, fresh: Look) -> dict[str, Seen]:
        names: dict[str, set[str]] = {"systemd": set(), "supervisord": set()}
        for unit in self.records:
            kind = self.kind(unit)
            if kind.kind in names:
                names[kind.kind].add(kind.name)
        found: dict[str, Seen] = {}
        if names["systemd"]:
            argv = systemd.show(sorted(names["systemd"]), user=self.user_manager)
            done = await self.program(argv)
            if done.code not in (0, 1) or not done.out:
                raise CommandError("failed", f"systemctl: {done.said()}")
            for name, seen in systemd.parse(done.out, fresh.now, fresh.uptime).items():
                found[f"systemd {name}"] = seen
        if names["supervisord"]:
            for name, seen in (await self._supervised(fresh.now)).items():
                found[f"supervisord {name}"] = seen
        return found

    @property
    def user_manager(self) -> bool:
        """Root speaks to the system's manager, others to their own, unless `manager` says which."""
        given = self.settings.get("manager")
        return given == "user" if given in ("user", "system") else self.uid != 0

    @property
    def supervisor_config(self) -> str:
        return str(self.settings.get("supervisord") or "")

    async def _supervised(self, now: float) -> dict[str, Seen]:
        """By XML-RPC through the connection; where that is not to be had, by supervisorctl (no exit codes then)."""
        if self._control is None:
            given = self.supervisor_config
            done = await self.run(scripts.FIRST, *([given] if given else supervisord.CONFIGS), plain=True)
            path, _, text = done.out.partition("\n")
            self._control = supervisord.control_of(text, posixpath.dirname(path)) if done.code == 0 else None
            self._control = self._control or supervisord.Control()
        if self._control.socket:
            try:
                return supervisord.parse_info(await self._rpc(self._control))
            except (ConnectionError, ValueError, TimeoutError):
                pass
        done = await self.program(supervisord.status([], self.supervisor_config))
        found = supervisord.parse_status(done.out, now)
        if not found and done.code not in (0, 3):
            return {}
        return found

    async def _rpc(self, control: supervisord.Control) -> bytes:
        import asyncssh

        async with self.kept.channel() as conn, asyncio.timeout(10.0):
            try:
                reader, writer = await conn.open_unix_connection(control.socket, encoding=None)
            except (asyncssh.Error, OSError) as e:
                raise ConnectionError(str(e)) from None
            try:
                writer.write(supervisord.info_request(control))
                data = b""
                while block := await reader.read(64 * 1024):
                    data += block
                    if len(data) > supervisord.MAX_ANSWER:
                        raise ValueError("supervisord's answer is too long")
                return data
            finally:
                writer.close()

    async def _verify(self) -> None:
        """Have files of the releases that run been altered? Digests are read when anything about them moved."""
        used: dict[str, list[str]] = {}
        for unit, record in self.records.items():
            artifact = record["spec"].get("artifact")
            if artifact and not unit.endswith(":0"):
                used.setdefault(f"{artifact['name']}/{artifact['version']}", []).append(unit)
        self._verified = time.monotonic()
        if not used:
            return
        done = await self.run(scripts.PRINT, *used, timeout=120.0)
        sender = Sender(self.kept, self.dir)
        for line in done.out.splitlines():
            release, _, print_ = line.partition(" ")
            if release not in used or self._prints.get(release) == print_:
                continue
            why = await sender.check(*release.split("/", 1))
            self._prints[release] = print_
            for unit in used[release]:
                self.track(unit).altered = f"release {release}: {why}" if why else ""

    def unverified(self, release: str) -> None:
        self._prints.pop(release, None)
        self._verified = 0.0

    async def _head(self) -> dict[str, Any] | None:
        done = await self.run(scripts.GET, "head.json", "200")
        if done.code != 0:
            return None
        try:  # the two fields stand first: the document may be large
            head = json.JSONDecoder().raw_decode(done.out.partition(',"document"')[0] + "}")[0]
            return {"revision": head["revision"], "digest": head.get("digest")}
        except (ValueError, KeyError, TypeError):
            return None

    # the far side

    async def run(
        self, script: str, *args: str, stdin: str | None = None, timeout: float = 30.0, plain: bool = False
    ) -> Done:
        """A script of ours; DIR is its first argument unless `plain`. Raises NotConnected, CommandError."""
        given = args if plain else (self.dir, *args)
        try:
            return await self.kept.run(scripts.command(script, *given), stdin=stdin, timeout=timeout)
        except TimeoutError:
            raise CommandError("failed", f"no answer from the host in {timeout:g} s") from None

    async def program(self, argv: list[str], cwd: str = "/", timeout: float = 60.0) -> Done:
        return await self.run(scripts.RUN, cwd, *argv, timeout=timeout, plain=True)


def _steady(doc: Frame | None) -> Frame | None:
    """Without the time of the look, and with whole seconds: clocks of both sides wobble."""
    if doc is None:
        return None
    rough = {**doc, "observed": 0}
    if doc.get("started") is not None:
        rough["started"] = 0.0
        rough["pid"] = doc["pid"]
    return rough
