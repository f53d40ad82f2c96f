"""What the controller knows: expected (the head revision) and actual (what agents reported).

Mutable on purpose and owned by one loop; everything that leaves it is immutable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cockpit.link.messages import Full, Hello
from cockpit.link.trunk_frames import RelayHello, RelayState
from cockpit.model.actual import Actual, HostActual, Moves, Unit
from cockpit.model.relay_rows import RelayActual
from cockpit.model.states import DOWN, SUSPECT, UNKNOWN, UP
from cockpit.model.topology import Doc, Expected, digest, from_doc, service_path
from cockpit.naming.registry import Registry

SILENT = 12.0
"""Seconds without any frame (there is a ping every four) after which a link counts as broken."""
SUSPECT_FOR = 5.0
"""Seconds a host stays suspect after its link broke; then it is unknown."""


class World:
    """Expected and actual, with the set of what changed since the board last looked."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.doc: Doc = {"name": ""}
        self.expected = Expected(name="")
        self.revision = 0
        self.digest = digest(self.doc)
        self.hosts: dict[str, HostActual] = {}
        self.units: dict[str, dict[str, Unit]] = {}
        self._by_gen: dict[str, tuple[Unit, ...]] = {}
        """The same for planning, kept with every change: sorting 100,000 at once would hold up the loop."""
        self._by_service: dict[str, dict[str, None]] = {}
        """Service -> its instances that have units."""
        self.where: dict[str, str] = {}
        """Unit id -> the host that tells of it; with `_on`, which is the same by host."""
        self._on: dict[str, dict[str, None]] = {}
        self._placed: dict[str, list[str]] = {}
        """Host -> instances that are expected there."""
        self.artifacts: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self.moves: dict[str, Moves] = {}
        self.gens: dict[str, int] = {}
        """Highest generation handed out per instance; never used twice."""
        self.relays: dict[str, RelayActual] = {}
        """Those of the topology, and others that are still connected."""
        self.dirty: set[str] = set()
        self.dirty_hosts: set[str] = set()
        self._suspects: set[str] = set()
        self.dirty_relays: set[str] = set()
        self.everything = True
        """The whole board must be drawn anew (expected changed)."""

    def set_expected(self, doc: Doc, revision: int, mark: str = "", made: Expected | None = None) -> None:
        """Raises msgspec.ValidationError and changes nothing when the document is not one. `mark`: its digest, and
        `made`: its typed view, where they are known."""
        expected, before = made or from_doc(doc), self.expected.placement
        self.doc, self.expected, self.revision, self.digest = doc, expected, revision, mark or digest(doc)
        if expected.placement is not before and expected.placement != before:
            self._placed = {}
            for instance, host in expected.placement.items():
                self._placed.setdefault(host, []).append(instance)
        for name in expected.hosts:
            self.hosts.setdefault(name, HostActual(name=name))
        for name in [n for n in self.hosts if n not in expected.hosts and not self._holds(n)]:
            del self.hosts[name]
            self._suspects.discard(name)
        for name in expected.relays:
            self.relays.setdefault(name, RelayActual(name=name))
        for name in [n for n, r in self.relays.items() if n not in expected.relays and r.presence == UNKNOWN]:
            del self.relays[name]
            self.dirty_relays.add(name)
        self.everything = True

    def _holds(self, host: str) -> bool:
        return self.hosts[host].presence != UNKNOWN or host in self._on

    def actual(self) -> Actual:
        """An immutable copy for planning: a few ms with 100,000 units."""
        return Actual(
            hosts=self.hosts.copy(),
            units=self._by_gen.copy(),
            where=self.where.copy(),
            endpoints=tuple(self.registry.endpoints.values()),
            artifacts=dict(self.artifacts),
            kinds=dict(self.kinds),
            moves=dict(self.moves),
        )

    def actual_of(self, instance: str) -> Actual:
        """What there is to know of one instance; nothing is copied, so it holds only until the loop's next turn."""
        units = self._by_gen.get(instance)
        return Actual(
            hosts=self.hosts, units={instance: units} if units else {}, where=self.where, artifacts=self.artifacts,
            kinds=self.kinds, moves=self.moves,
        )

    def connected(
        self, host: str, hello: Hello, now: float, path: tuple[str, ...] = (), transport: str = "websocket"
    ) -> None:
        """Its link ends here, directly or by the relays of `path`."""
        self._host(
            host, presence=UP, uuid=hello.uuid, boot_id=hello.boot_id, agent_pid=hello.agent_pid,
            keeper_pid=hello.keeper_pid, agent_version=hello.version, since=now, seen=now, reason=hello.note,
            keeper_version=hello.keeper_version, path=path if transport != "ssh" else (), transport=transport,
            missing=hello.missing,
        )
        self._touch(host)

    def full(self, host: str, frame: Full, now: float) -> list[str]:
        """The full set of a host. Returns the unit ids that vanished there."""
        self.registry.at_least(frame.names)
        reported = {u.unit for u in frame.units}
        gone = [u for u in self._on.get(host, ()) if u not in reported]
        for unit in gone:
            self.gone(host, unit, now)
        for unit_now in frame.units:
            self.unit(host, unit_now, now)
        facts: dict[str, object] = {"releases": tuple(sorted(frame.releases)), "names_applied": frame.names}
        if frame.keeper_pid is not None:
            facts["keeper_pid"] = frame.keeper_pid
            facts["keeper_version"] = frame.keeper_version
        self._host(host, seen=now, **facts)
        self.registry.full_report(host, reported, now)
        return gone

    def unit(self, host: str, unit: Unit, now: float) -> None:
        """One observation. An older one of the same run never replaces a truer one.

        What names no instance of ours is left out: a damaged report must not reach the tables.
        """
        if not sound(unit):
            return
        units = self.units.setdefault(unit.instance, {})
        before = units.get(unit.unit)
        same = before is not None and before.run == unit.run
        if same and before is not None and unit.observed < before.observed and unit.state < before.state:
            return
        units[unit.unit] = unit
        self._order(unit.instance, units)
        self._put(unit.unit, host)
        self.gens[unit.instance] = max(self.gens.get(unit.instance, 0), unit.gen)
        self.dirty.add(unit.instance)
        self.dirty_hosts.add(host)
        self._name(host, unit, now)

    def _put(self, unit: str, host: str | None) -> None:
        """This host tells of the unit now; None: nobody does."""
        old = self.where.get(unit)
        if old is not None and old != host:
            del self._on[old][unit]
            if not self._on[old]:
                del self._on[old]
        if host is None:
            self.where.pop(unit, None)
        else:
            self.where[unit] = host
            self._on.setdefault(host, {})[unit] = None

    def _order(self, instance: str, units: Mapping[str, Unit]) -> None:
        """Its units are others now."""
        service = service_path(instance)
        if units:
            several = len(units) > 1
            self._by_gen[instance] = tuple(sorted(units.values(), key=lambda u: u.gen) if several else units.values())
            self._by_service.setdefault(service, {})[instance] = None
        elif self._by_gen.pop(instance, None) is not None:
            del self._by_service[service][instance]
            if not self._by_service[service]:
                del self._by_service[service]

    def placed_on(self, host: str) -> Sequence[str]:
        """The instances that are expected there."""
        return self._placed.get(host, ())

    def units_of(self, services: Iterable[str]) -> list[tuple[Unit, str]]:
        """The units of these services, each with the host that tells of it."""
        instances = (i for s in services for i in self._by_service.get(s, ()))
        return [(u, self.where[u.unit]) for i in instances for u in self._by_gen[i]]

    def _name(self, host: str, unit: Unit, now: float) -> None:
        path = service_path(unit.instance)
        service = self.expected.services.get(path)
        where = self.expected.hosts.get(host)
        if where is None:
            return
        attributes = service.attributes if service is not None else {}
        self.registry.observe(unit, host, where.address, path, attributes, now)

    def gone(self, host: str, unit_id: str, now: float) -> None:
        if self.where.get(unit_id) != host:
            return
        self._put(unit_id, None)
        instance = unit_id.rpartition(":")[0]
        units = self.units.get(instance, {})
        units.pop(unit_id, None)
        if not units:
            self.units.pop(instance, None)
        self._order(instance, units)
        self.registry.forget(unit_id, now)
        self.dirty.add(instance)
        self.dirty_hosts.add(host)

    def down(self, host: str, why: str, now: float) -> None:
        """It said itself that it goes down: nobody has to guess."""
        if host in self.hosts:
            self._host(host, presence=DOWN, since=now, reason=why)
            self.registry.host_lost(host)
            self._touch(host)

    def lost(self, host: str, why: str, now: float) -> None:
        """Silence. A host that said that it goes down is not asked for a better reason."""
        if host in self.hosts and self.hosts[host].presence != DOWN:
            self._host(host, presence=SUSPECT, since=now, reason=why)
            self.registry.host_lost(host)
            self._touch(host)

    def age(self, now: float) -> list[str]:
        """Suspect hosts become unknown after a while. Returns their names."""
        late = [name for name in self._suspects if now - (self.hosts[name].since or 0) >= SUSPECT_FOR]
        for name in late:
            self._host(name, presence=UNKNOWN, since=now)
            self._touch(name)
        for relay in list(self.relays.values()):
            if relay.presence == SUSPECT and now - (relay.since or 0) >= SUSPECT_FOR:
                self._relay(relay.name, now, UNKNOWN)
        return late

    # relays

    def relay_connected(self, relay: str, hello: RelayHello, transport: str, now: float) -> None:
        """Its trunk ends here."""
        self._relay(
            relay, now, UP, pid=hello.pid, version=hello.version, path=(relay,), transport=transport, reason="",
            latency=None, note="",
        )

    def relay_states(self, trunk: str, states: Mapping[str, RelayState], now: float) -> None:
        """What the relay of a trunk tells of itself and of those below it. Who is not named has left it."""
        above = self.relays.get(trunk)
        first = above.latency if above is not None else None
        for name, told in states.items():
            latency = first if name == trunk else _sum(first, told.latency)
            facts = {"transport": told.transport} if name != trunk else {}
            self._relay(
                name, now, UP, agents=told.agents, path=told.path, pid=told.pid, version=told.version,
                started=told.since or None, latency=latency, reason="", note=told.note, **facts,
            )
        for relay in list(self.relays.values()):
            if relay.presence == UP and relay.path[-1:] == (trunk,) and relay.name not in states:
                self._relay_lost(relay, f"{relay.path[1]} has lost it" if len(relay.path) > 1 else "it left", now)

    def relay_lost(self, trunk: str, why: str, now: float) -> None:
        """The trunk broke: nothing is known of it, or of the relays below it that were heard by it."""
        for relay in list(self.relays.values()):
            if relay.presence == UP and relay.path[-1:] == (trunk,):
                text = why if relay.name == trunk else f"{trunk}, which it is behind, does not answer"
                self._relay_lost(relay, text, now)

    def relay_fact(self, relay: str, **facts: object) -> None:
        """A fact that is not worth a look at anything else."""
        known = self.relays.get(relay)
        if known is not None:
            self.relays[relay] = msgspec.structs.replace(known, **facts)
            self.dirty_relays.add(relay)

    def _relay(self, name: str, now: float, presence: str, **facts: object) -> None:
        known = self.relays.get(name) or RelayActual(name=name)
        since = known.since if known.presence == presence else now
        self.relays[name] = msgspec.structs.replace(known, presence=presence, since=since, **facts)
        self.dirty_relays.add(name)

    def _relay_lost(self, relay: RelayActual, why: str, now: float) -> None:
        self._relay(relay.name, now, SUSPECT, reason=why, latency=None, agents=0, pid=None)

    def silent(self, now: float) -> list[str]:
        """Hosts whose link stands but says nothing: a cut cable does not close a connection."""
        return [h.name for h in self.hosts.values() if h.presence == UP and now - (h.seen or now) > SILENT]

    def seen(self, host: str, now: float, latency: float | None = None) -> None:
        """A beat: remembered without marking anything dirty."""
        known = self.hosts.get(host)
        if known is not None:
            self.hosts[host] = msgspec.structs.replace(known, seen=now, latency=latency)

    def host_fact(self, host: str, **facts: object) -> None:
        if host in self.hosts:
            self._host(host, **facts)

    def _host(self, name: str, **facts: object) -> None:
        known = self.hosts.get(name) or HostActual(name=name)
        self.hosts[name] = fresh = msgspec.structs.replace(known, **facts)
        self.dirty_hosts.add(name)
        (self._suspects.add if fresh.presence == SUSPECT else self._suspects.discard)(name)

    def _touch(self, host: str) -> None:
        """Every instance on a host looks different when its presence changes."""
        self.dirty.update(u.rpartition(":")[0] for u in self._on.get(host, ()))
        self.dirty.update(self._placed.get(host, ()))

    def up(self) -> Iterable[str]:
        return [h.name for h in self.hosts.values() if h.presence == UP]


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def sound(unit: Unit) -> bool:
    """Its id is `<service>/<slot>:<gen>`, as those that the controller gave out are."""
    service, _, slot = unit.instance.rpartition("/")
    number = slot.isascii() and slot.isdigit() and len(slot) < 10
    return bool(service) and number and unit.unit == f"{unit.instance}:{unit.gen}"
