"""Units of this host: prepared, started, stopped, drained, removed."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Dict, Mapping

from cockpit.agent import activate, checks, connections, ports, prepare, rotate, units
from cockpit.agent.builtin.host import Host, known, patiently, thread
from cockpit.agent.builtin.signals import signalled
from cockpit.agent.foreign import fixed_ports
from cockpit.agent.install import InstallError, guard_of
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.tasks import CommandError, Data, Progress, Word

DRAIN_POLL = 0.1
NAMES_POLL = 0.02


class Units:
    """Every word looks at the keeper's records first, so that doing it twice is doing it once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._choosing = asyncio.Lock()

    def table(self) -> Dict[str, Word]:
        return {
            "prepare": self.prepare, "start": self.start, "stop": self.stop, "remove": self.remove,
            "drain": self.drain, "signal": signalled(self._host),
        }

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
            code, text = getattr(e, "code", "port"), str(e)
            if isinstance(e, InstallError) and code in ("missing", "altered"):
                host.releases_changed()  # somebody was at the files: the controller counts on what was there
                text += self._cure(spec, code)
            host.book.refuse(units.refused(spec, units.REJECTED, text, time.time()))
            raise CommandError(code, text) from None

    def _cure(self, spec: Mapping[str, Any], code: str) -> str:
        """What a person can do about a release that is not as it was installed."""
        artifact = spec.get("artifact")
        if code == "missing" or not artifact:
            return "; converge again brings it"
        path = self._host.releases.path(str(artifact["name"]), str(artifact["version"]))
        return f"; migrate it, or move {path} away there: converge then brings it anew"

    async def _put(self, spec: Dict[str, Any], progress: Progress) -> Dict[str, int]:
        host = self._host
        release, manifest = "", None
        artifact = spec.get("artifact")
        if artifact:
            name, version = str(artifact["name"]), str(artifact["version"])
            if host.releases.needs_check(name, version):
                host.book.refuse(units.refused(spec, units.PREPARING, "", time.time()))
            sha256 = str(artifact.get("sha256") or "")
            manifest = await patiently(progress, host.releases.check, name, version, sha256)
            release = host.releases.path(name, version)
        for entry in (spec.get("data") or {}).values():
            sha256 = str(entry.get("sha256") or "")
            await patiently(progress, host.releases.check, entry["artifact"], entry["version"], sha256)
        user = await thread(prepare.find_user, str(spec.get("user") or ""))
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
            await thread(
                activate.switch, self._host.dir, str(spec["instance"]), name, entry["artifact"], entry["version"]
            )

    def _choose(self, spec: Mapping[str, Any], instance: str) -> Dict[str, int]:
        """Ports of the instance's dead units are its own again; everybody else's are taken."""
        if spec.get("runtime"):
            return fixed_ports(spec)
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
        record = known(self._host, unit)
        if not (record.get("wanted") and record.get("pids")):
            try:
                await host.keeper("start", unit=unit, by=str(args.get("by") or "controller"))
            finally:
                await host.refresh(unit)
            record = known(self._host, unit)
        instance, found = unit.rpartition(":")[0], units.ports_of(record)
        if found and host.memory.ports.get(instance) != found:
            host.memory.ports[instance] = found
            host.memory.save()
        pids = record.get("pids") or {}
        return {"pid": pids.get("main") or next(iter(pids.values()), None), "run": record.get("run")}

    async def stop(self, args: Mapping[str, Any], progress: Progress) -> Data:
        host = self._host
        unit = str(args["unit"])
        wanted = known(self._host, unit).get("stop") or {}
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
            await thread(activate.restore, host.dir, instance, host.book.given(last) if left else {})
        except (activate.ActivateError, OSError):
            pass  # the unit is gone all the same; links that are wrong are reported with those that are left
        if left and host.book.given(last):
            host.unit_changed(last)
        gens = {int(str(r["unit"]).rpartition(":")[2]) for r in host.book.of_instance(instance)}
        await thread(rotate.forget_old, host.dir, instance, gens)
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
            found = await thread(connections.count, address, numbers, frozenset(checks.ours))
            remaining = int(sum(found.values()))
            if host.book.connections.get(unit) != remaining:
                host.book.connections[unit] = remaining
                host.unit_changed(unit)
            if not remaining or time.monotonic() >= deadline:
                return remaining
            await asyncio.sleep(DRAIN_POLL)
