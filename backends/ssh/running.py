"""Starting and stopping on the far side: programs of our own, systemd, supervisord, programs with a pid file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.ssh import scripts
from backends.ssh.look import Kind, place_of
from backends.ssh.pool import Done
from cockpit.agent.files import flat
from cockpit.agent.prepare import LIMITS, environment, instance_dir, template_values, working_dir
from cockpit.agent.runtimes import supervisord, systemd
from cockpit.agent.tasks import CommandError
from cockpit.agent.template import fill

if TYPE_CHECKING:
    from backends.ssh.host import Host

NOT_OURS = ("PATH", "HOME", "LANG", "COCKPIT_AGENT_SOCKET", "COCKPIT_NAMES_CACHE")
"""Of the environment that an agent would give: those of the login stay."""
SHOWS = 15.0
"""Seconds that a program may take to write its pid file."""
ACT = 150.0
"""Seconds for systemctl and supervisorctl; systemd itself gives up after 90."""


class Running:
    def __init__(self, host: Host) -> None:
        self._host = host

    async def find_user(self, name: str) -> dict[str, Any]:
        """Raises CommandError."""
        host = self._host
        done = await host.run(scripts.USER, name, plain=True)
        if done.code != 0:
            raise CommandError("bad", f"there is no user {name!r:.80} on this host")
        uid, gid, home = done.out.rstrip("\n").split(" ", 2)
        if int(uid) == host.uid:
            return {}
        if host.uid != 0:
            raise CommandError("bad", f"only a login as root can start processes as {name}")
        return {"uid": int(uid), "gid": int(gid), "home": home}

    def command_of(self, record: Mapping[str, Any], process: str) -> tuple[str, list[str], list[str]]:
        """Working directory, what stands before, argv. Raises TemplateError, PrepareError."""
        host = self._host
        spec = record["spec"]
        own = instance_dir(host.dir, str(spec["instance"]))
        place = place_of(record, host.dir, host.address)
        values = template_values(spec, place, own)
        env = environment(spec, place, None, values)
        env = {k: v for k, v in env.items() if k not in NOT_OURS or k in (spec.get("env") or {})}
        before: list[str] = []
        limits = {LIMITS[k]: v for k, v in (spec.get("limits") or {}).items() if k in LIMITS and v is not None}
        if limits:
            before += ["prlimit", *(f"--{k}={'unlimited' if v == -1 else v}" for k, v in limits.items()), "--"]
        if record.get("uid") is not None:
            env.setdefault("HOME", str(record.get("home") or "/"))
            before += ["setpriv", f"--reuid={record['uid']}", f"--regid={record['gid']}", "--init-groups", "--"]
        argv = [fill(str(a), values) for a in spec["processes"][process]]
        cwd = working_dir(str(spec.get("directory") or ""), place.release or own)
        return cwd, ["env", *(f"{k}={v}" for k, v in env.items()), *before], argv

    async def start(self, unit: str) -> None:
        """Raises CommandError, NotConnected. The host was just looked at."""
        host = self._host
        record, kind, track = host.records[unit], host.kind(unit), host.track(unit)
        files = host.look.units.get(flat(unit))
        now = host.seen(unit)
        track.rejected = ""
        if now.alive and files is not None and files.wanted:
            return
        run = max(files.run if files else 0, track.run) + 1
        if kind.kind == "own":
            if now.alive:
                raise CommandError("busy", f"{unit}: a part of it still runs; stop it first")
            await self._switch(unit, record)
            await self._mark(unit, True, run)
            try:
                await self._start_own(unit, record, run)
            except CommandError as e:
                track.rejected = e.text
                await self._mark(unit, False, run)
                raise
            return
        try:
            await self._start_foreign(unit, record, kind, run)
        except CommandError as e:
            track.rejected = e.text
            raise
        await self._mark(unit, True, run)

    async def _start_own(self, unit: str, record: Mapping[str, Any], run: int) -> None:
        host = self._host
        secrets = [
            (name, str(s.get("file", "")) if isinstance(s, dict) else str(s))
            for name, s in (record["spec"].get("secrets") or {}).items()
        ]
        if record.get("uid") is not None:
            own = instance_dir(host.dir, str(record["spec"]["instance"]))
            await host.program(["chown", f"{record['uid']}:{record['gid']}", own])
        begun: list[str] = []
        for process in record["spec"]["processes"]:
            cwd, before, argv = self.command_of(record, process)
            command = scripts.start_command(
                host.dir, flat(unit), run, process, cwd, argv[0], secrets, [*before, *argv]
            )
            done = await self._patient(command, 30.0)
            if done.code == 5:
                continue  # begun already, by a word that was cut off
            if done.code != 0 or not done.out.strip():
                if begun:
                    await host.run(scripts.STOP, flat(unit), "TERM", "20", timeout=30.0)
                raise CommandError("exec" if done.code == 4 else "failed", f"{process}: {done.said()}")
            begun.append(process)

    async def _start_foreign(self, unit: str, record: Mapping[str, Any], kind: Kind, run: int) -> None:
        """Once: what ran before is noted down there first, so that a repeated word sees that it is done."""
        host = self._host
        found = host.look.services.get(f"{kind.kind} {kind.name}")
        file = host.look.files.get(kind.name)
        if kind.kind == "pidfile":
            identity = f"{file.pid}/{file.ticks}" if file and file.ticks is not None else ""
        else:
            identity = found.identity if found is not None and found.alive else ""
        flatly = flat(unit)
        if not unit.endswith(":0"):
            done = await host.run(scripts.GET, f"units/{flatly}/before", "200")
            if done.code == 0:
                if identity and identity != done.out.strip():
                    return  # it was restarted by the word that was cut off
            else:
                await host.run(scripts.PUT, f"units/{flatly}/before", stdin=identity + "\n")
        await self._switch(unit, record)
        verb = "restart" if identity else "start"
        if kind.kind == "systemd":
            user = host.user_manager
            await host.program(systemd.act("reset-failed", kind.name, user))
            done = await host.program(systemd.act(verb, kind.name, user), timeout=ACT)
            if done.code != 0:
                raise CommandError("failed", f"systemctl {verb} {kind.name}: {done.said()}")
        elif kind.kind == "supervisord":
            await self._supervisor(verb, kind.name)
        else:
            if identity:
                await self._stop_file(unit, record, kind, "TERM", 10.0)
            await self._start_file(unit, record, kind, run)

    async def _supervisor(self, verb: str, name: str) -> None:
        host = self._host
        done = await host.program(supervisord.act(verb, name, host.supervisor_config), timeout=ACT)
        why = supervisord.refusal(done.out) or ("" if done.code in (0, 7) else done.said())
        if why:
            raise CommandError("failed", f"supervisorctl {verb}: {why}")

    async def _start_file(self, unit: str, record: Mapping[str, Any], kind: Kind, run: int) -> None:
        """By the command of `main`; it is there once its pid file says so."""
        host = self._host
        cwd, before, argv = self.command_of(record, "main" if "main" in record["spec"]["processes"] else next(
            p for p in record["spec"]["processes"] if p != "stop"))  # fmt: skip
        command = scripts.start_command(host.dir, flat(unit), run, "main", cwd, argv[0], [], [*before, *argv])
        done = await self._patient(command, 30.0)
        if done.code not in (0, 5):
            raise CommandError("exec" if done.code == 4 else "failed", done.said())
        deadline = time.monotonic() + SHOWS
        while time.monotonic() < deadline:
            await host.observe()
            if host.seen(unit).alive:
                return
            await asyncio.sleep(0.2)
        raise CommandError("failed", f"{argv[0]} was run, but {kind.name} names no running process after {SHOWS:g} s")

    async def stop(self, unit: str, signal: str, grace: float) -> None:
        """Raises CommandError, NotConnected."""
        host = self._host
        record, kind = host.records[unit], host.kind(unit)
        if kind.kind == "own":
            tenths = str(int(grace * 10) + 1)
            done = await host.run(scripts.STOP, flat(unit), signal, tenths, timeout=grace + 30.0)
            if done.code != 0:
                raise CommandError("failed", f"{unit} does not end: {done.said()}")
            return
        if host.look.current.get(flat(unit.rpartition(":")[0]), unit) != unit:
            pass  # the service is another unit's now
        elif kind.kind == "systemd":
            done = await host.program(systemd.act("stop", kind.name, host.user_manager), timeout=ACT)
            if done.code != 0:
                raise CommandError("failed", f"systemctl stop {kind.name}: {done.said()}")
        elif kind.kind == "supervisord":
            await self._supervisor("stop", kind.name)
        else:
            await self._stop_file(unit, record, kind, signal, grace)
        if not unit.endswith(":0"):
            files = host.look.units.get(flat(unit))
            await self._mark(unit, False, files.run if files else 0)

    async def signal(self, unit: str, signal: str, process: str, every: bool) -> dict[str, int]:
        """By whoever runs it; else to a process that is still the one that was begun. Pids by name.

        Raises CommandError, NotConnected. The host was just looked at.
        """
        host, kind, now = self._host, self._host.kind(unit), self._host.seen(unit)
        main = {"main": now.pid} if now.pid is not None else {}
        if kind.kind == "systemd":
            argv = systemd.kill(kind.name, signal, host.user_manager, "all" if every else "main")
            done = await host.program(argv, timeout=ACT)
            if done.code != 0:
                raise CommandError("failed", f"systemctl kill {kind.name}: {done.said()}")
            return main
        if every and kind.kind != "own":
            raise CommandError("bad", f"{kind.name}: {kind.kind} knows its main process only; leave out --all")
        if kind.kind == "supervisord":
            done = await host.program(supervisord.kill(kind.name, signal, host.supervisor_config), timeout=ACT)
            if done.code != 0 or ": ERROR" in done.out:
                raise CommandError("failed", f"supervisorctl signal {kind.name}: {done.said()}")
            return main
        if kind.kind == "pidfile":
            file = host.look.files.get(kind.name)
            ticks = str(file.ticks) if file is not None and file.ticks is not None else "-"
            done = await host.run(scripts.SIGNAL_FILE, kind.name, ticks, signal, plain=True)
        else:
            done = await host.run(scripts.SIGNAL, flat(unit), signal, process or "*", "1" if every else "0")
        if done.code == 6:
            raise CommandError("missing", f"{unit} has no such process any more; nothing was sent")
        if done.code != 0:
            raise CommandError("failed", f"kill: {done.said()}")
        if kind.kind == "pidfile":
            return main
        found = dict(line.split(" ", 1) for line in done.out.splitlines() if " " in line)
        return {name: int(pid) for name, pid in found.items() if pid.isdigit()}

    async def _stop_file(
        self, unit: str, record: Mapping[str, Any], kind: Kind, signal: str, grace: float
    ) -> None:
        host = self._host
        file = host.look.files.get(kind.name)
        if file is None or file.pid is None or file.ticks is None:
            return
        if "stop" in record["spec"]["processes"]:
            cwd, before, argv = self.command_of(record, "stop")
            done = await host.program([*before, *argv], cwd=cwd, timeout=grace + 30.0)
            if done.code != 0:
                raise CommandError("failed", f"{argv[0]}: {done.said()}")
            signal = "0"  # it was told; only wait, and kill after the grace
        if not host.seen(unit).alive and host.look.current:
            return  # the file names somebody else's process
        tenths = str(int(grace * 10) + 1)
        done = await host.run(
            scripts.STOP_FILE, kind.name, str(file.ticks), signal, tenths, timeout=grace + 30.0, plain=True
        )
        if done.code != 0:
            raise CommandError("failed", f"{unit} does not end: {done.said()}")

    async def _switch(self, unit: str, record: Mapping[str, Any]) -> None:
        artifact = record["spec"].get("artifact")
        target = f"../../releases/{artifact['name']}/{artifact['version']}" if artifact else ""
        done = await self._host.run(scripts.SWITCH, flat(unit.rpartition(":")[0]), unit, target)
        if done.code != 0:
            raise CommandError("failed", f"the release link: {done.said()}")

    async def _mark(self, unit: str, wanted: bool, run: int) -> None:
        if unit.endswith(":0"):
            return
        done = await self._host.run(scripts.MARK, flat(unit), "1" if wanted else "0", str(run))
        if done.code != 0:
            raise CommandError("failed", f"its record: {done.said()}")

    async def _patient(self, command: str, timeout: float) -> Done:
        try:
            return await self._host.kept.run(command, timeout=timeout)
        except TimeoutError:
            raise CommandError("failed", f"no answer from the host in {timeout:g} s") from None
