"""Numbers of hosts and instances over time, and who was seen to call whom. In memory only, and bounded."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.model.metrics_rows import (
    FIELDS,
    HOST_FIELDS,
    INSTANCE_FIELDS,
    Call,
    Numbers,
    ServiceLoad,
    Traffic,
    Trail,
    host_numbers,
    instance_numbers,
    named,
    probe_latency,
    process_numbers,
)
from cockpit.model.names import near
from cockpit.model.series import SHORT, TIERS, Rings, size_of, tier_for
from cockpit.model.topology import service_path
from cockpit.model.view import Who
from cockpit.plan.steps import Bad

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

ROOM = 192 << 20
"""Bytes of all series together: 10,000 hosts (7.3 kB each) with 90,000 instances (1.4 kB each). Of what comes
beyond it only the latest numbers are kept."""
FRESH = 30.0
"""Seconds after which a number is not the latest any more."""
QUIET = 3600.0
"""Seconds without a sample after which an instance's series are dropped."""
SWEEP = 60.0
LOOK = 10.0
"""Seconds between two looks at who calls whom."""
PIECE = 2000
"""Endpoints that are looked at in one turn of the loop."""
SEND = 2.0
"""Seconds between two items of a stream."""
PART = 1000
"""Names in one item of a stream, at most."""
MAX_NAMES = 2000
"""Names that a reader may ask for; who needs more asks for all."""
MAX_PEERS = 200
MAX_UNITS = 1000


class Owner:
    """One host or instance."""

    __slots__ = ("at", "host", "latest", "processes", "rings", "turn")

    def __init__(self, host: str, rings: Rings | None) -> None:
        self.host = host
        self.rings = rings
        self.at = 0.0
        self.latest: list[float] = []
        self.processes: dict[str, dict[str, float]] = {}
        self.turn = 0
        """Grows with each sample: streams send what is newer than their last look."""


class Metrics:
    """A part of the controller; `take` is its only way in."""

    def __init__(self, controller: Controller, room: int = ROOM) -> None:
        self.c = controller
        self.room = room
        self.used = 0
        self.owners: dict[str, dict[str, Owner]] = {"host": {}, "instance": {}}
        self.peers: dict[str, dict[str, tuple[tuple[str, int, int], ...]]] = {}
        """Host -> instance -> (address, port, connections)."""
        self._peers_at: dict[str, float] = {}
        self.calls: dict[str, tuple[str, ...]] = {}
        """Service -> services that it was connected to at the last look."""
        self._turn = 0

    # from hosts

    def take(self, host: str, data: Mapping[str, Any], now: float) -> None:
        """What the plug-in `metrics` of a host told. Anything malformed counts as not measured."""
        sample, peers = data.get("sample"), data.get("peers")
        if isinstance(sample, Mapping):
            self._put("host", host, host, host_numbers(sample), now)
            units = sample.get("units")
            found: dict[str, dict[str, dict[str, float]]] = {}
            for unit, processes in list(units.items())[:MAX_UNITS] if isinstance(units, Mapping) else ():
                mine = process_numbers(processes)
                # two units of one instance: an update; both take what they take
                instance, _, gen = str(unit).rpartition(":")
                together = found.setdefault(instance, {})
                together.update(mine if not together else {f"{name}:{gen}": p for name, p in mine.items()})
            for instance, running in found.items():
                if instance in self.c.world.units:
                    owner = self._put("instance", instance, host, instance_numbers(running), now)
                    owner.processes = running
        if isinstance(peers, Mapping):
            self.peers[host] = {
                str(unit).rpartition(":")[0]: _peers(ends) for unit, ends in list(peers.items())[:MAX_UNITS]
            }
            self._peers_at[host] = now

    def _put(self, kind: str, name: str, host: str, values: list[float], now: float) -> Owner:
        owner = self.owners[kind].get(name)
        if owner is None:
            owner = self.owners[kind][name] = Owner(host, self._room(kind))
        owner.host, owner.latest, owner.at = host, values, now
        self._turn += 1
        owner.turn = self._turn
        if owner.rings is not None:
            owner.rings.take(now, values)
        return owner

    def _room(self, kind: str) -> Rings | None:
        width, tiers = (len(HOST_FIELDS), TIERS) if kind == "host" else (len(INSTANCE_FIELDS), SHORT)
        need = size_of(width, tiers)
        if self.used + need > self.room:
            return None
        self.used += need
        return Rings(width, tiers)

    async def run(self) -> None:
        """Look who calls whom; once a minute forget what is gone."""
        swept = time.monotonic()
        while True:
            await asyncio.sleep(LOOK)
            await self.look()
            if time.monotonic() - swept >= SWEEP:
                swept = time.monotonic()
                self.sweep(time.time())

    async def look(self) -> None:
        """Work out `calls` in pieces, so that explanations find them ready."""
        doors = await self._doors() if self.peers else {}
        found: dict[str, set[str]] = {}
        for host, instances in list(self.peers.items()):
            if host not in self.c.hub.links:
                continue
            for instance, ends in instances.items():
                caller = service_path(instance)
                callees = {doors.get((address, port), caller) for address, port, _ in ends} - {caller}
                if callees:
                    found.setdefault(caller, set()).update(callees)
            await asyncio.sleep(0)
        self.calls = {caller: tuple(sorted(callees)) for caller, callees in sorted(found.items())}

    def sweep(self, now: float) -> None:
        known = self.c.world.expected.hosts
        for kind, owners in self.owners.items():
            gone = [
                n for n, o in owners.items()
                if (kind == "host" and n not in known) or (kind == "instance" and now - o.at > QUIET)
            ]
            for name in gone:
                rings = owners.pop(name).rings
                self.used -= rings.size if rings is not None else 0
        for host in [h for h in self.peers if h not in known]:
            del self.peers[host], self._peers_at[host]

    # for screens and commands

    def numbers(self, kind: str, name: str, span: float, now: float) -> Numbers:
        """Raises Bad for what is not in the cluster."""
        if kind not in FIELDS:
            raise Bad(f"metrics are of a host or an instance, not of a {kind}")
        known: Mapping[str, Any] = self.c.world.expected.hosts if kind == "host" else self.c.world.expected.placement
        owner = self.owners[kind].get(name)
        if owner is None:
            if name not in known and name not in self.c.board.tables[f"{kind}s"]:
                raise Bad(f"no {kind} {name}{near(name, known)}")
            return Numbers(kind=kind, name=name, note=self._why_none(kind, name))
        facts = self.c.plugins.facts.get(owner.host, {})
        note, trails = "", {}
        if owner.rings is None:
            note = f"only the latest: the series of this cluster take {self.room >> 20} MiB, which is all they may"
        else:
            tiers = TIERS if kind == "host" else SHORT
            tier = tier_for(span, tiers)
            trails = {
                field: Trail(step=tiers[tier].step, values=tuple(_short(owner.rings.read(n, tier, now))))
                for n, field in enumerate(FIELDS[kind])
            }
        fresh = now - owner.at <= FRESH
        return Numbers(
            kind=kind, name=name, at=owner.at, note=note, latest=named(kind, owner.latest) if fresh else {},
            limits=_limits(kind, facts), trails=trails, processes=owner.processes if fresh else {},
            facts=facts if kind == "host" else {},
        )

    def _why_none(self, kind: str, name: str) -> str:
        host = name if kind == "host" else self.c.world.expected.placement.get(name, "")
        rows = self.c.plugins.tables.get(host, ())
        mine = next((r for r in rows if r.get("name") == "metrics"), None)
        if host not in self.c.hub.links:
            return f"{host or 'its host'} does not answer"
        if mine is None:
            return f"{host} has no plug-in metrics"
        if mine.get("state") != "running":
            return f"the plug-in metrics of {host} is {mine.get('state')}: {mine.get('text', '')}".rstrip(": ")
        return "no sample came yet"

    def since(
        self, kind: str, turn: int, now: float, told: set[str], only: Collection[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The numbers that came after `turn`, None for those that are old or gone, in parts that may be empty.

        `told` is what the reader knows, and is kept here. A part costs a few milliseconds at most.
        """
        owners = self.owners[kind]
        for part in _parts(owners if only is None else [n for n in only if n in owners]):
            out: dict[str, Any] = {}
            for name in part:
                owner = owners.get(name)
                if owner is None or now - owner.at > FRESH:
                    if name in told:
                        out[name] = None
                        told.discard(name)
                elif owner.turn > turn:
                    out[name] = named(kind, owner.latest)
                    told.add(name)
            yield out
        for part in _parts(told):
            gone = [n for n in part if n not in owners]
            told.difference_update(gone)
            yield dict.fromkeys(gone)

    async def traffic(self, now: float) -> Traffic:
        """What is seen of services: who is connected to whom, and what their instances take. In pieces, as `look`."""
        doors = await self._doors()
        seen: dict[tuple[str, str], list[float]] = {}
        outside: dict[str, int] = {}
        for host, instances in list(self.peers.items()):
            if host not in self.c.hub.links:
                continue
            at = self._peers_at.get(host, 0.0)
            for instance, ends in instances.items():
                caller = service_path(instance)
                for address, port, count in ends:
                    callee = doors.get((address, port))
                    if callee is None:
                        outside[caller] = outside.get(caller, 0) + 1
                    elif callee != caller:
                        pair = seen.setdefault((caller, callee), [0, 0.0])
                        pair[0] += count
                        pair[1] = max(pair[1], at)
            await asyncio.sleep(0)
        loads, services = await self._services(now), self.c.world.expected.services
        return Traffic(
            services=loads,
            calls=tuple(
                Call(caller=a, callee=b, declared=a in services and b in services[a].depends,
                     connections=int(count), seen=at)
                for (a, b), (count, at) in sorted(seen.items())
            ),
            outside=outside, watched=sum(1 for h in self.peers if h in self.c.hub.links),
        )  # fmt: skip

    async def _doors(self) -> dict[tuple[str, int], str]:
        """Address and port of every endpoint -> its service."""
        doors: dict[tuple[str, int], str] = {}
        for n, endpoint in enumerate(list(self.c.world.registry.endpoints.values()), 1):
            doors[endpoint.address, endpoint.port] = endpoint.service
            if n % PIECE == 0:
                await asyncio.sleep(0)
        return doors

    async def _services(self, now: float) -> dict[str, ServiceLoad]:
        found: dict[str, dict[str, list[float]]] = {}
        for n, (instance, units) in enumerate(list(self.c.world.units.items()), 1):
            if n % PIECE == 0:
                await asyncio.sleep(0)
            mine = found.setdefault(service_path(instance), {n: [] for n in ServiceLoad.__struct_fields__})
            for unit in units.values():
                if unit.connections is not None:
                    mine["connections"].append(unit.connections)
                latency = probe_latency(unit.probe)
                if latency is not None:
                    mine["latency"].append(latency)
            owner = self.owners["instance"].get(instance)
            if owner is not None and now - owner.at <= FRESH:
                cpu, memory = owner.latest
                mine["cpu"] += [] if math.isnan(cpu) else [cpu]
                mine["memory"] += [] if math.isnan(memory) else [memory]
        return {
            service: ServiceLoad(
                connections=int(sum(m["connections"])) if m["connections"] else None,
                latency=max(m["latency"], default=None), cpu=max(m["cpu"], default=None),
                memory=sum(m["memory"]) if m["memory"] else None,
            )
            for service, m in found.items() if any(m.values())
        }  # fmt: skip

    def operations(self) -> dict[str, Callable[[Who, dict[str, Any]], Awaitable[Any]]]:
        async def metrics(who: Who, args: dict[str, Any]) -> Any:
            span = float(args.get("span", 360.0))
            found = self.numbers(str(args.get("kind", "host")), str(args.get("name", "")), span, time.time())
            return msgspec.to_builtins(found)

        async def traffic(who: Who, args: dict[str, Any]) -> Any:
            return msgspec.to_builtins(await self.traffic(time.time()))

        return {"metrics": metrics, "traffic": traffic}

    def streams(self) -> dict[str, Callable[[Who, dict[str, Any]], AsyncIterator[Any]]]:
        def loads(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
            kind, names = str(args.get("kind", "host")), args.get("names")
            if kind not in FIELDS:
                raise Bad(f"loads are of hosts or instances, not of a {kind}")
            if names is not None and not (isinstance(names, list) and len(names) <= MAX_NAMES):
                raise Bad(f"loads: names is a list of at most {MAX_NAMES}")
            return self._stream(kind, None if names is None else dict.fromkeys(map(str, names)))

        return {"loads": loads}

    async def _stream(self, kind: str, only: Collection[str] | None) -> AsyncIterator[Any]:
        """Rounds of parts, an empty item behind each. The first round comes at once, even when nothing is known."""
        turn, told, begun = 0, set[str](), False
        while True:
            here, some = self._turn, False
            for items in self.since(kind, turn, time.time(), told, only):
                if items:
                    some = True
                    yield items
                await asyncio.sleep(0)
            turn = here
            if some or not begun:
                begun = True
                yield {}
            await asyncio.sleep(SEND)


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    """All of them as they are now, PART at a time."""
    every = list(names)
    return (every[n: n + PART] for n in range(0, len(every), PART))


def _short(values: list[float | None]) -> list[float | None]:
    """Five digits say enough, and travel lighter."""
    return [None if v is None else float(f"{v:.5g}") for v in values]


def _limits(kind: str, facts: Mapping[str, Any]) -> dict[str, float]:
    memory, cpus = facts.get("memory"), facts.get("cpus")
    out: dict[str, float] = {"cpu": 1.0, "disk": 1.0} if kind == "host" else {}
    if isinstance(memory, int) and memory > 0:
        out["memory"] = float(memory)
    if kind == "instance" and isinstance(cpus, int) and cpus > 0:
        out["cpu"] = float(cpus)
    return out


def _peers(ends: Any) -> tuple[tuple[str, int, int], ...]:
    out = []
    for end in ends[:MAX_PEERS] if isinstance(ends, list) else ():
        match end:
            case [str(address), int(port), int(count)]:
                out.append((address[:64], port, count))
    return tuple(out)
