"""Services that systemd, supervisord or a program of their own run on this host: they stay where they are.

Acts on them as the keeper would on its own. Processes that Cockpit began over SSH, before there was an agent, are
watched and stopped here, and started by the keeper the next time.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal as signals
import time
from typing import Any, Awaitable, Callable, Dict, List, Mapping, Optional

from cockpit.agent import local_look as near
from cockpit.agent.files import flat, make_dir, write_atomic, write_json
from cockpit.agent.held import Doc, Held
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.prepare import PrepareError, instance_dir, make_places
from cockpit.agent.runtimes import judge, supervisord, systemd
from cockpit.agent.runtimes.judge import Kind, Track

ACT = 150.0
"""Seconds for systemctl and supervisorctl; systemd itself gives up after 90."""
SHOWS = 15.0
"""Seconds that a program may take to write its pid file."""
KILL_WAIT = 5.0
ACTS = ("start", "stop", "remove", "signal")
Ask = Callable[..., Awaitable[Doc]]


class Foreign(Held):
    """Answers the keeper's operations for its units."""

    def __init__(self, host_dir: str, address: Callable[[], str], changed: Callable[[], None]) -> None:
        super().__init__(host_dir, address, changed)
        self._instances: Dict[str, asyncio.Lock] = {}

    async def take(self, op: str, args: Doc, keeper: Ask) -> Optional[Doc]:
        """The answer for a unit that is held here; None: the operation is the keeper's. Raises KeeperError."""
        if op == "put":
            runtime = ((args["spec"].get("meta") or {}).get("spec") or {}).get("runtime")
            return await self.request(op, **args) if runtime else None
        unit = str(args.get("unit") or "")
        if op not in ACTS or not self.has(unit):
            return None
        if op == "start" and self.own(unit):
            await self.observe()
            if not self.alive(unit):  # from now on the keeper's, like every service without a runtime
                made = self._keeper_spec(unit)
                make_places(self.dir, unit.rpartition(":")[0], self._user(unit))
                await keeper("put", spec={**made, "guard": self.held[unit].get("guard") or []})
                self.forget(unit)
                self._changed()
                return None
        return await self.request(op, **args)

    async def request(self, op: str, **args: Any) -> Doc:
        """`put`, `start`, `stop`, `remove` or `signal`. Raises KeeperError."""
        unit = str(args["spec"]["unit"] if op == "put" else args["unit"])
        # a signal waits for nobody: it may be for what another word hangs in
        lock = self._instances.setdefault(unit.rpartition(":")[0], asyncio.Lock())
        async with asyncio.Lock() if op == "signal" else lock:
            try:
                if op == "put":
                    await self._put(args["spec"])
                    return {}
                await self.observe()
                if unit not in self.held:
                    raise KeeperError("missing", f"{unit} is not on this host")
                if op == "start":
                    return await self._start(unit)
                if op == "stop":
                    return await self._stop(unit, str(args.get("signal") or "TERM"), float(args.get("grace") or 0.0))
                if op == "remove":
                    return await self._remove(unit)
                if op == "signal":
                    return await self._signal(unit, str(args["signal"]), args)
            except OSError as e:
                raise KeeperError("failed", f"{e.filename or self.dir}: {e.strerror}") from None
            finally:
                await self.observe()
        raise KeeperError("bad", f"{op} is not for a service of another program")

    async def _put(self, made: Doc) -> None:
        """`made` is a keeper's spec; what counts is the UNITSPEC in it."""
        spec, ports = made["meta"]["spec"], made["meta"]["ports"]
        unit = str(spec["unit"])
        record: Doc = {"spec": spec, "ports": ports, "guard": made.get("guard") or []}
        self.held[unit] = record
        try:
            if self.kind(unit).kind == "own":
                raise KeeperError("bad", f"{unit} has no runtime: the keeper is meant")
            write = os.path.join(self.dir, "units", flat(unit))
            make_dir(os.path.join(self.dir, "units"))
            make_dir(write)
            write_json(os.path.join(write, "spec.json"), record)
        except BaseException:
            del self.held[unit]
            raise
        self._made.pop(unit, None)

    async def _start(self, unit: str) -> Doc:
        """Once: what ran before is noted down first, so that a repeated word sees that it is done."""
        kind, now = self.kind(unit), self.seen(unit)
        files = self.look.units.get(flat(unit))
        track = self._tracks.setdefault(unit, Track())
        track.rejected = ""
        if kind.kind == "own":
            raise KeeperError("busy", f"{unit} was started over SSH and still runs; stop it first")
        if now.alive and files is not None and files.wanted:
            return {"pids": {"main": now.pid}, "pid": now.pid, "run": track.run, "already": True}
        run = max(files.run if files else 0, track.run) + 1
        try:
            await self._begin(unit, kind, run)
        except KeeperError as e:
            track.rejected = e.text
            raise
        self._mark(unit, True, run)
        await self.observe()
        now = self.seen(unit)
        return {"pid": now.pid, "pids": {"main": now.pid} if now.pid else {}, "run": track.run}

    async def _begin(self, unit: str, kind: Kind, run: int) -> None:
        before = self._identity(kind)
        path = os.path.join(self.dir, "units", flat(unit), "before")
        if os.path.exists(path):
            if before and near.small(path, 200).strip() != before:
                return  # it was restarted by the word that was cut off
        else:
            write_atomic(path, before.encode() + b"\n")
        self._switch(unit)
        verb = "restart" if before else "start"
        if kind.kind == "systemd":
            user = self._user_manager()
            await near.run(systemd.act("reset-failed", kind.name, user))
            await _done(f"systemctl {verb} {kind.name}", systemd.act(verb, kind.name, user))
        elif kind.kind == "supervisord":
            await self._supervisor(verb, kind.name)
        else:
            if before:
                await self._stop_file(unit, kind, "TERM", 10.0)
            await self._start_file(unit, kind, run)

    def _identity(self, kind: Kind) -> str:
        """Of what runs now, whoever's it is; empty: nothing."""
        if kind.kind == "pidfile":
            file = self.look.files.get(kind.name)
            return f"{file.pid}/{file.ticks}" if file is not None and file.ticks is not None else ""
        found = self.look.services.get(f"{kind.kind} {kind.name}")
        return found.identity if found is not None and found.alive else ""

    async def _supervisor(self, verb: str, name: str) -> None:
        done = await near.run(supervisord.act(verb, name, self.config), ACT)
        why = supervisord.refusal(done.out) or ("" if done.code in (0, 7) else done.said())
        if why:
            raise KeeperError("failed", f"supervisorctl {verb}: {why}")

    async def _start_file(self, unit: str, kind: Kind, run: int) -> None:
        """By the command of `main`; it is there once its pid file says so."""
        process = self._process(unit, "main")
        logs = os.path.join(self.dir, "logs", flat(unit))
        make_dir(logs)
        user = self._user(unit)
        as_user: Doc = {}
        if user is not None:
            as_user = {"user": user.uid, "group": user.gid, "extra_groups": list(user.groups)}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        out = os.open(os.path.join(logs, f"{run}.main.out"), flags, 0o600)
        err = os.open(os.path.join(logs, f"{run}.main.err"), flags, 0o600)
        try:
            begun = await asyncio.create_subprocess_exec(
                *process["argv"], cwd=process["cwd"], env=process["env"], stdin=asyncio.subprocess.DEVNULL,
                stdout=out, stderr=err, start_new_session=True, **as_user,
            )
        except OSError as e:
            raise KeeperError("exec", f"exec: {e.strerror} {process['argv'][0]}") from None
        finally:
            os.close(out)
            os.close(err)
        deadline = time.monotonic() + SHOWS
        while time.monotonic() < deadline:
            await self.observe()
            if self._identity(kind):
                return
            if begun.returncode:
                text = f"{process['argv'][0]} ended with {begun.returncode}, and {kind.name} names nobody"
                raise KeeperError("failed", text)
            await asyncio.sleep(0.1)
        raise KeeperError("failed", f"{process['argv'][0]} runs, but {kind.name} names no process after {SHOWS:g} s")

    def _process(self, unit: str, name: str) -> Doc:
        processes: Dict[str, Doc] = {p["name"]: p for p in self._keeper_spec(unit)["processes"]}
        others = [p for n, p in processes.items() if n != "stop"]
        if name in processes:
            return processes[name]
        if not others:
            raise KeeperError("bad", f"{unit} has no command to start it by")
        return others[0]

    async def _stop(self, unit: str, signal: str, grace: float) -> Doc:
        kind, files = self.kind(unit), self.look.units.get(flat(unit))
        if kind.kind == "own":
            await self._stop_own(unit, signal, grace)
            return {}
        if self.look.current.get(flat(unit.rpartition(":")[0]), unit) != unit:
            pass  # the service is another unit's now
        elif kind.kind == "systemd":
            await _done(f"systemctl stop {kind.name}", systemd.act("stop", kind.name, self._user_manager()))
        elif kind.kind == "supervisord":
            await self._supervisor("stop", kind.name)
        else:
            await self._stop_file(unit, kind, signal, grace)
        self._mark(unit, False, files.run if files else 0)
        return {}

    async def _stop_own(self, unit: str, signal: str, grace: float) -> None:
        """Signals to the process groups that Cockpit began over SSH, KILL after the grace."""
        files = self.look.units.get(flat(unit))
        if files is None:
            return
        self._mark(unit, False, files.run)
        deadline = time.monotonic() + grace
        number = _number(signal)
        for pid in near.group_alive(files):
            _kill_group(pid, number)
        killed = False
        while near.group_alive(files):
            if time.monotonic() >= deadline:
                if killed:
                    raise KeeperError("failed", f"{unit} does not end")
                for pid in near.group_alive(files):
                    _kill_group(pid, signals.SIGKILL)
                killed, deadline = True, time.monotonic() + KILL_WAIT
            await asyncio.sleep(0.05)

    async def _stop_file(self, unit: str, kind: Kind, signal: str, grace: float) -> None:
        file = self.look.files.get(kind.name)
        if file is None or file.pid is None or file.ticks is None:
            return
        pid, ticks = file.pid, file.ticks
        processes = {p["name"]: p for p in self._keeper_spec(unit)["processes"]}
        if "stop" in processes:
            stop = processes["stop"]
            done = await near.run(stop["argv"], grace + 30.0, stop["cwd"])
            if done.code != 0:
                raise KeeperError("failed", f"{stop['argv'][0]}: {done.said()}")
        elif near.ticks_of(pid) == ticks:
            os.kill(pid, _number(signal))
        deadline, killed = time.monotonic() + grace, False
        while near.ticks_of(pid) == ticks:
            if time.monotonic() >= deadline:
                if killed:
                    raise KeeperError("failed", f"{unit} does not end")
                os.kill(pid, signals.SIGKILL)
                killed, deadline = True, time.monotonic() + KILL_WAIT
            await asyncio.sleep(0.05)

    async def _signal(self, unit: str, signal: str, chosen: Mapping[str, Any]) -> Doc:
        """By whoever runs it, who knows its child; else to a process that is still the one that was looked at."""
        now, kind, run = self.seen(unit), self.kind(unit), self._tracks.setdefault(unit, Track()).run
        number, every, process = _number(signal), chosen.get("all") is True, str(chosen.get("process") or "")
        pids = judge.pids_of(self.look, unit, kind, now)
        if chosen.get("run") is not None and chosen["run"] != run:
            raise KeeperError("busy", f"{unit}: its run is {run} now; nobody was told")
        if kind.kind == "systemd" and now.alive:
            whom = "" if chosen.get("run") is None else "all" if every else "main"
            await _done(f"systemctl kill {kind.name}", systemd.kill(kind.name, signal, self._user_manager(), whom))
            return {"pids": pids, "run": run}
        if every and kind.kind != "own":
            raise KeeperError("bad", f"{kind.name}: {kind.kind} knows its main process only; leave out --all")
        if kind.kind == "supervisord" and pids:
            done = await near.run(supervisord.kill(kind.name, signal, self.config), ACT)
            if done.code != 0 or ": ERROR" in done.out:
                raise KeeperError("failed", f"supervisorctl signal {kind.name}: {done.said()}")
            return {"pids": pids, "run": run}
        told = {}
        for name, pid in pids.items():
            if process in ("", name) and self._same(unit, kind, name, pid):
                (_kill_group if every else _kill)(pid, number)
                told[name] = pid
        return {"pids": told, "run": run}

    def _same(self, unit: str, kind: Kind, process: str, pid: int) -> bool:
        """Is it still the process that the last look saw?"""
        files, file = self.look.units.get(flat(unit)), self.look.files.get(kind.name)
        own = files.pids.get(process) if files is not None else None
        ticks = own.ticks if kind.kind == "own" and own is not None else file.ticks if file is not None else None
        return ticks is not None and near.ticks_of(pid) == ticks

    async def _remove(self, unit: str) -> Doc:
        if self.seen(unit).alive:
            raise KeeperError("busy", f"{unit} runs; stop it first")
        self.forget(unit)
        return {}

    def forget(self, unit: str) -> None:
        """Its record goes; its logs are rotated away with those of its instance."""
        current = os.path.join(instance_dir(self.dir, unit.rpartition(":")[0]), "current")
        if near.small(current, 512).strip() == unit:
            os.unlink(current)
        shutil.rmtree(os.path.join(self.dir, "units", flat(unit)), ignore_errors=True)
        for table in (self.held, self._tracks, self._made):
            table.pop(unit, None)
        self._records = [r for r in self._records if r["unit"] != unit]

    def _switch(self, unit: str) -> None:
        """The release link, and which unit the instance's service is."""
        own = instance_dir(self.dir, unit.rpartition(":")[0])
        make_dir(own)
        artifact = self.held[unit]["spec"].get("artifact")
        link = os.path.join(own, "release")
        if artifact:
            target = f"../../releases/{artifact['name']}/{artifact['version']}"
            if not os.path.islink(link) or os.readlink(link) != target:
                new = os.path.join(own, ".release.new")
                if os.path.lexists(new):
                    os.unlink(new)
                os.symlink(target, new)
                os.replace(new, link)
        write_atomic(os.path.join(own, "current"), unit.encode() + b"\n")

    def _mark(self, unit: str, wanted: bool, run: int) -> None:
        own = os.path.join(self.dir, "units", flat(unit))
        mark, before = os.path.join(own, "wanted"), os.path.join(own, "before")
        write_atomic(os.path.join(own, "run"), f"{run}\n".encode())
        if wanted:
            write_atomic(mark, b"")
        for path in [before] if wanted else [before, mark]:
            if os.path.exists(path):
                os.unlink(path)


def fixed_ports(spec: Mapping[str, Any]) -> Dict[str, int]:
    """Ports of a service that somebody else starts: it cannot be told a number. Raises PrepareError."""
    ports: Dict[str, int] = dict(spec.get("ports") or {})
    unknown = [name for name, number in ports.items() if not number]
    if unknown:
        kind = next((k for k in judge.KINDS if (spec.get("runtime") or {}).get(k)), "another program")
        raise PrepareError("bad", f"port {unknown[0]} is dynamic, but {kind} starts it: give its number")
    return ports


async def _done(what: str, argv: List[str]) -> None:
    done = await near.run(argv, ACT)
    if done.code != 0:
        raise KeeperError("failed", f"{what}: {done.said()}")


def _number(signal: str) -> int:
    name = signal if signal.startswith("SIG") else f"SIG{signal}"
    try:
        return int(signals.Signals[name])
    except KeyError:
        raise KeeperError("bad", f"{signal!r:.20} is no signal") from None


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
