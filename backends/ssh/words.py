"""The words of the controller on a host without an agent. Each reads what is there first: twice is once."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from backends.ssh import look, scripts
from backends.ssh.fetching import Fetching
from backends.ssh.follow import source_of
from backends.ssh.look import Kind
from backends.ssh.pool import NotConnected
from backends.ssh.releases import Sender
from backends.ssh.running import Running
from cockpit.agent import ports, prepare
from cockpit.agent.files import flat
from cockpit.agent.log_query import BadQuery, query_of
from cockpit.agent.tasks import CommandError, Data, Progress, Word
from cockpit.agent.template import TemplateError
from cockpit.agent.units import REJECTED, exit_of, refused, report

if TYPE_CHECKING:
    from backends.ssh.host import Host

MAX_TAIL = 5000
MAX_HEAD = 64 * 1024 * 1024
DRAIN_POLL = 0.5
NOT_HERE = {
    "activate": "data cannot be activated on a host without an agent: put it into the release",
    "build": "builds need an agent: this host is entered by SSH",
    "unbuild": "builds need an agent: this host is entered by SSH",
    "hold": "a transfer over SSH cannot be held, only stopped",
    "end": "there is nothing of Cockpit's to end on a host without an agent",
}


class Words:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._fetching = Fetching(host)
        self._running = Running(host)
        self._choosing = asyncio.Lock()
        self._instances: dict[str, asyncio.Lock] = {}

    def table(self) -> dict[str, Word]:
        named: dict[str, Callable[[Mapping[str, Any], Progress], Awaitable[Data]]] = {
            "fetch": self._fetching.fetch, "unfetch": self._fetching.unfetch, "pushed": self.pushed,
            "prepare": self.prepare, "start": self.start, "stop": self.stop, "remove": self.remove,
            "signal": self.signal, "drain": self.drain, "logs": self.logs, "unlog": self.unlog, "tail": self.tail,
            "head": self.head, "head-get": self.head_get, **{w: functools.partial(_not_here, w) for w in NOT_HERE},
        }  # fmt: skip
        host = self._host
        named["shell-end"], named["forward-end"] = host.shells.end, host.forwards.end
        named["copy-end"] = host.copies.end
        found = {word: functools.partial(self._translated, handler) for word, handler in named.items()}
        beside = (("shell", host.shells.shell), ("forward", host.forwards.forward), ("copy", host.copies.copy))
        for word, handler in beside:
            found[word] = functools.partial(self._translated, handler)
            found[word].parallel = True  # type: ignore[attr-defined]  # side by side with itself
        return {**found}

    async def _translated(self, handler: Word, args: Mapping[str, Any], progress: Progress) -> Data:
        try:
            return await handler(args, progress)
        except NotConnected as e:
            raise CommandError("unreachable", f"the SSH connection: {e}") from None
        except prepare.PrepareError as e:
            raise CommandError(e.code, str(e)) from None
        except TemplateError as e:
            raise CommandError("bad", str(e)) from None

    async def pushed(self, args: Mapping[str, Any], progress: Progress) -> Data:
        return {}

    async def prepare(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        spec = prepare.check_unitspec(args.get("spec"))
        unit = str(spec["unit"])
        known = host.records.get(unit)
        if known is not None:
            if known["spec"] != spec:
                raise CommandError("exists", f"{unit} is on this host already, with another content")
            return {"ports": known.get("ports") or {}}
        try:
            record = await self._made(spec)
        except (CommandError, prepare.PrepareError, ports.PortError, TemplateError) as e:
            text = str(e)
            host.refused[unit] = report(refused(spec, REJECTED, text, time.time()), None, now=time.time())
            host.refused[unit]["state"] = REJECTED
            host.report()
            code = "port" if isinstance(e, ports.PortError) else getattr(e, "code", "bad")
            raise CommandError(code, text) from None
        host.refused.pop(unit, None)
        await host.observe()
        return {"ports": record["ports"]}

    async def _made(self, spec: dict[str, Any]) -> dict[str, Any]:
        host = self._host
        if spec.get("data"):
            raise CommandError("unsupported", "data artifacts need an agent: this host is entered by SSH")
        artifact = spec.get("artifact")
        if artifact:
            name, version = str(artifact["name"]), str(artifact["version"])
            sender = Sender(host.kept, host.dir)
            if not await sender.installed(name, version, str(artifact.get("sha256") or "")):
                raise CommandError("missing", f"release {name}/{version} is not on this host")
            why = await sender.check(name, version)
            if why:
                raise CommandError("altered", f"release {name}/{version}: {why}")
        record: dict[str, Any] = {"spec": spec, "ports": dict(spec.get("ports") or {})}
        if spec.get("user"):
            record.update(await self._running.find_user(str(spec["user"])))
        async with self._choosing:
            kind = look.kind_of(record, host.dir, host.address)
            record["ports"] = await self._choose(spec, kind)
            self._running.command_of(record, "main" if "main" in spec["processes"] else next(iter(spec["processes"])))
            await self._put(f"units/{flat(str(spec['unit']))}/spec.json", json.dumps(record), "prepare")
        return record

    async def _choose(self, spec: Mapping[str, Any], kind: Kind) -> dict[str, int]:
        """As on a host with an agent; a foreign program cannot be told a number."""
        host = self._host
        wanted: dict[str, int] = spec.get("ports") or {}
        if kind.kind != "own":
            unknown = [name for name, number in wanted.items() if not number]
            if unknown:
                raise CommandError(
                    "bad", f"port {unknown[0]} is dynamic, but {kind.kind} starts {kind.name}: give its number"
                )
            return dict(wanted)
        if not wanted:
            return {}
        instance, taken, others, last = str(spec["instance"]), {}, {}, {}
        for unit, record in host.records.items():
            mine, alive = unit.rpartition(":")[0] == instance, host.seen(unit).alive
            for name, number in (record.get("ports") or {}).items():
                if alive or not mine:
                    taken[number] = unit
                if alive and not mine:
                    others[number] = unit
                if mine and not alive:
                    last[name] = number
        done = await host.run(scripts.LISTENING, plain=True)
        listening = {int(word, 16) for word in done.out.split()[:-1]}
        first, end = (host.settings.get("port_range") or [20000, 20999])[:2]
        return ports.choose(
            wanted, instance=instance, last=last, known=taken, fixed_by=others,
            port_range=(int(first), int(end)), bindable=lambda port: port not in listening,
        )

    async def start(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host, unit = self._host, str(args["unit"])
        async with self._alone(unit):
            await host.observe()
            self._known(unit)
            try:
                await self._running.start(unit)
            finally:
                await host.observe()
        now = host.seen(unit)
        return {"pid": now.pid, "run": host.track(unit).run}

    async def stop(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host, unit = self._host, str(args["unit"])
        async with self._alone(unit):
            await host.observe()
            wanted = self._known(unit)["spec"].get("stop") or {}
            signal = str(args.get("signal") or wanted.get("signal") or "TERM").removeprefix("SIG")
            given = args.get("grace")
            grace = float(wanted.get("grace", 10.0) if given is None else given)
            if not signal.isalnum():
                raise CommandError("bad", f"{signal!r:.20} is no signal")
            work = asyncio.ensure_future(self._running.stop(unit, signal, max(0.0, grace)))
            try:
                while not (await asyncio.wait({work}, timeout=2.0))[0]:
                    progress({})
                await work
            finally:
                work.cancel()
                await host.observe()
        doc = next((d for d in host._reports() if d["unit"] == unit), {})
        return {"exit": exit_of(doc.get("exit"))}

    async def signal(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """Beside whatever else the unit does, as on a host with an agent."""
        host, unit = self._host, str(args["unit"])
        await host.observe()
        self._known(unit)
        now, run = host.seen(unit), host.track(unit).run
        if not now.alive or now.pid is None:
            raise CommandError("missing", f"{unit} has no process now; nothing was sent")
        if args.get("run") is not None and args["run"] != run:
            text = f"{unit} was started again meanwhile (its run is {run}, not {args['run']}); nothing was sent"
            raise CommandError("busy", text)
        name = str(args["signal"]).removeprefix("SIG")
        if not (name.isascii() and name.isalnum()):
            raise CommandError("bad", f"{name!r:.20} is no signal")
        try:
            pids = await self._running.signal(unit, name, str(args.get("process") or ""), args.get("all") is True)
        finally:
            await host.observe()
        return {"pids": pids, "others": [], "run": run, "note": ""}

    async def remove(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host, unit = self._host, str(args["unit"])
        if host.refused.pop(unit, None) is not None:
            host.report()
        if unit in host.records and not unit.endswith(":0"):
            async with self._alone(unit):
                await host.observe()
                if unit in host.records and host.seen(unit).alive:
                    raise CommandError("busy", f"{unit} runs; stop it first")
                instance = unit.rpartition(":")[0]
                await host.run(scripts.REMOVE_UNIT, flat(unit), flat(instance), unit)
                await host.observe()
        return {}

    async def drain(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host, unit = self._host, str(args["unit"])
        deadline = time.monotonic() + max(0.0, float(args.get("timeout") or 0.0))
        host.checks.draining.add(unit)
        try:
            while True:
                record = host.records.get(unit)
                numbers = sorted(set((record or {}).get("ports", {}).values()))
                if record is None or not numbers or not host.seen(unit).alive:
                    return {"remaining": 0}
                done = await host.run(scripts.CONNECTED, *(f"{n:04X}" for n in numbers), plain=True)
                remaining = sum(int(word) for word in done.out.split()[:-1])
                host.track(unit).connections = remaining
                host.report()
                if not remaining or time.monotonic() >= deadline:
                    return {"remaining": remaining}
                progress({})
                await asyncio.sleep(min(DRAIN_POLL, max(0.0, deadline - time.monotonic())))
        finally:
            host.checks.draining.discard(unit)
            host.track(unit).connections = None
            host.report()

    async def logs(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        units = [str(u) for u in args.get("units") or []]
        if not units and args.get("instance"):
            mine = [u for u in host.records if u.rpartition(":")[0] == args["instance"]]
            units = sorted(mine, key=lambda u: int(u.rpartition(":")[2]))
        units = [u for u in units if u in host.records]
        if not units:
            raise CommandError("missing", "nothing of that is on this host")
        try:
            query = query_of(args)
        except BadQuery as e:
            raise CommandError("bad", str(e)) from None
        host.followed.open(str(args["stream"]), units, query)
        return {}

    async def unlog(self, args: Mapping[str, Any], progress: Progress) -> Data:
        self._host.followed.shut(str(args["stream"]))
        return {}

    async def tail(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host, unit = self._host, str(args["unit"])
        self._known(unit)
        lines = max(0, min(int(args.get("lines", 10)), MAX_TAIL))
        command, files = await source_of(host, unit, lines, follow=False)
        if not command:
            return {"lines": []}
        try:
            done = await host.kept.run(command)
        except TimeoutError:
            raise CommandError("failed", "no answer from the host in 30 s") from None
        headings = {f"==> {path} <==" for path in files}
        return {"lines": [t for t in done.out.splitlines() if t not in headings and (t or len(files) < 2)][-lines:]}

    async def head(self, args: Mapping[str, Any], progress: Progress) -> Data:
        """Revision and digest stand first: looking at them does not read the document."""
        doc = {k: args.get(k) for k in ("revision", "digest", "document", "import", "journal")}
        await self._put("head.json", json.dumps(doc, separators=(",", ":")), "head")
        return {}

    async def head_get(self, args: Mapping[str, Any], progress: Progress) -> Data:
        try:
            done = await self._host.kept.run(
                scripts.command(scripts.GET, self._host.dir, "head.json", str(MAX_HEAD)), most=MAX_HEAD
            )
            doc = json.loads(done.out) if done.code == 0 else None
        except (ValueError, TimeoutError):
            doc = None
        if not isinstance(doc, dict):
            raise CommandError("missing", "this host holds no copy of expected")
        return doc

    async def _put(self, file: str, text: str, what: str) -> None:
        if "/" in file:
            where = file.rpartition("/")[0]
            done = await self._host.run(scripts.MAKE, where)
            if done.code != 0:
                raise CommandError("failed", f"{what}: {done.said()}")
        if "/" not in file:
            file = f"./{file}"
        done = await self._host.run(scripts.PUT, file, stdin=text)
        if done.code != 0:
            raise CommandError("space" if "No space" in done.err else "failed", f"{what}: {done.said()}")

    def _alone(self, unit: str) -> asyncio.Lock:
        """One command at a time for an instance: its units may share one service."""
        return self._instances.setdefault(unit.rpartition(":")[0], asyncio.Lock())

    def _known(self, unit: str) -> dict[str, Any]:
        record = self._host.records.get(unit)
        if record is None:
            raise CommandError("missing", f"{unit} is not on this host")
        return record


async def _not_here(word: str, args: Mapping[str, Any], progress: Progress) -> Data:
    raise CommandError("unsupported", NOT_HERE[word])
