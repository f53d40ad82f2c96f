"""Simulated hosts: what agents and keepers would do with a command, and how long they would take.

No queue and no clock: the twin asks for the seconds, and has the effect carried out when they are
over. Waits are drawn per (seed, instance, step).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from msgspec.structs import replace

from cockpit.act.duration import Durations, Health, subject, version_key
from cockpit.act.messages import Answer, Event, HostSeen, Send, UnitGone, UnitSeen
from cockpit.act.stepper import HEARD
from cockpit.model.actual import Actual, Endpoint, Exit, HostActual, Unit
from cockpit.model.judge import Digests
from cockpit.model.signals import SIGNALS
from cockpit.model.states import FAILING, LIVE, NO_CHECK, OK, UP, WAITING, State
from cockpit.model.topology import Expected, service_path
from cockpit.plan.data import data_ids
from cockpit.plan.steps import BULK, HEALTHY, Step

LATER = "?"
"""The digest of a configuration that nobody has asked for yet."""
TAIL = 0.05
"""Seconds to read a log."""
NAMES = 0.05
"""Seconds until the agents have applied a change of names."""

_READY, _STARTING, _RUNNING = State.READY, State.STARTING, State.RUNNING  # a look-up costs more than a comparison
_SHUTDOWN, _FAILED = State.SHUTDOWN, State.FAILED


class Fleet:
    """Hosts, units and traffic. A host that is not heard never answers."""

    def __init__(self, expected: Expected, actual: Actual, durations: Durations, seed: int) -> None:
        self.hosts = dict(actual.hosts)
        self.units: dict[str, Unit] = {u.unit: u for us in actual.units.values() for u in us}
        self.where = dict(actual.where)
        self.artifacts = dict(actual.artifacts)
        self.kinds = dict(actual.kinds)
        self.draining = {e.unit for e in actual.endpoints if e.state == "draining"}
        self.ready: dict[str, int] = {}
        """Service -> units that take traffic now."""
        self.lowest: dict[str, tuple[int, float]] = {}
        """The smallest that has been since `watch_lowest`, and when first."""
        self._clock: Callable[[], float] = lambda: 0.0
        self.assumed: dict[tuple[str, str, str], None] = {}
        """What was never recorded: (what, service, version), in the order it was met."""
        self._prepared: dict[str, Digests] = {}
        """Unit -> what its configuration is worked out from, when somebody asks."""
        self._durations = durations
        self._salt = zlib.crc32(str(seed).encode())
        self.set_expected(expected)
        for unit in self.units.values():
            self._count(unit, 1)
        self.effects: dict[str, Callable[[Send, float], Event]] = {
            "fetch": self._fetch, "prepare": self._prepare, "start": self._start, "stop": self._stop,
            "remove": self._remove, "drain": self._drained, "tail": self._tail, "activate": self._activate,
            "upgrade": self._upgrade, "signal": self._signal,
        }  # fmt: skip
        """By command word: carries it out; returns what the controller learns of it."""

    def set_expected(self, expected: Expected) -> None:
        """New hosts of the document are up at once."""
        self.expected = expected
        self._digests = Digests(expected)
        self._shas: dict[tuple[str, str], str | None] = {}
        for name in expected.hosts:
            self.hosts.setdefault(name, HostActual(name=name, presence=UP))

    def actual(self, *, configs: bool = True) -> Actual:
        """What agents would report. Without `configs` the digests of what was prepared meanwhile are left out."""
        units: dict[str, list[Unit]] = {}
        for id, unit in self.units.items() if configs else ():
            if unit.config == LATER:
                self.units[id] = replace(unit, config=self._prepared[id].of(unit.instance))
        for unit in self.units.values():
            units.setdefault(unit.instance, []).append(unit)
        return Actual(
            hosts=dict(self.hosts),
            units={i: tuple(sorted(us, key=lambda u: u.gen) if len(us) > 1 else us) for i, us in units.items()},
            where=dict(self.where), endpoints=tuple(self._endpoints()), artifacts=dict(self.artifacts),
            kinds=dict(self.kinds),
        )  # fmt: skip

    # time

    def seconds(self, send: Send) -> float | None:
        """Until the command has its effect; None: its host does not answer."""
        host, word = self.hosts.get(send.host), send.word
        if host is not None and host.presence not in HEARD:
            return None
        if word == "tail":
            return TAIL
        seconds = self._draw(word, send.step)
        # what was recorded of a drain holds the time until the names were out
        return max(0.0, seconds - NAMES) if word == "drain" else seconds

    def warm_up(self, step: Step) -> tuple[float, int] | None:
        """(seconds, run): from its start until a unit is healthy; None: never, or it is already."""
        unit = self.units.get(step.unit)
        if unit is None or unit.state != _STARTING or unit.health == FAILING:
            return None
        return self._draw(HEALTHY, step), unit.run

    def _draw(self, kind: str, step: Step) -> float:
        instance, args = step.instance, step.args
        u = zlib.crc32(f"{instance or step.host}/{kind}/{step.id}".encode(), self._salt) / 4294967296.0
        if kind in BULK:
            service = subject(step)
            version = version_key(str(args.get("name")), str(args.get("version", "")), self.artifacts)
            seconds, assumed = self._durations.draw(kind, service, version, u, step.host, args.get("to_move"))
        else:
            service = instance.rpartition("/")[0]
            version = self._version(service, step)
            seconds, assumed = self._durations.draw(kind, service, version, u, step.host)
            assumed = assumed and kind == HEALTHY
        if assumed:
            self.assumed[(kind, service, version)] = None
        return seconds

    def _version(self, service: str, step: Step) -> str:
        """The sha256 (or label) that a step of an instance is about."""
        label = step.args.get("version")
        if label is not None:
            return self._release(service, str(label)) or str(label)
        unit = self.units.get(step.unit)
        return (unit.sha256 or unit.version) if unit is not None else ""

    def _release(self, service: str, version: str) -> str | None:
        """The sha256 that a version of a service is; None without an artifact."""
        key = (service, version)
        if key not in self._shas:
            known = self.expected.services.get(service)
            name = known.artifact if known is not None else None
            self._shas[key] = self.artifacts.get(f"{name}/{version}") if name else None
        return self._shas[key]

    # effects

    def _fetch(self, send: Send, now: float) -> Event:
        host = self.hosts.get(send.host) or HostActual(name=send.host, presence=UP)
        release = f"{send.args['name']}/{send.args['version']}"
        if release not in host.releases:
            self.hosts[send.host] = replace(host, releases=tuple(sorted((*host.releases, release))))
        return Answer(send.task, True)

    def _upgrade(self, send: Send, now: float) -> Event:
        host = self.hosts.get(send.host) or HostActual(name=send.host, presence=UP)
        version = str(send.args["version"])
        if send.args["part"] == "keeper":
            return HostSeen(send.host, host.presence, host.agent_version, version)
        self.hosts[send.host] = replace(host, agent_version=version)
        return HostSeen(send.host, host.presence, version)

    def _prepare(self, send: Send, now: float) -> Event:
        step, version = send.step, str(send.args.get("version", ""))
        path = service_path(step.instance)
        service = self.expected.services.get(path)
        self.where[step.unit] = send.host
        self._prepared[step.unit] = self._digests
        return self._see(Unit(
            unit=step.unit, instance=step.instance, gen=int(step.unit.rpartition(":")[2]), version=version,
            sha256=self._release(path, version), config=LATER,
            state=_READY, observed=now,
            ports=dict(service.ports) if service is not None else {},
            health=NO_CHECK if service is None or service.check is None else WAITING,
            data={name: id.rpartition("/")[2] for name, id in (send.args.get("data") or {}).items()},
        ))  # fmt: skip

    def _start(self, send: Send, now: float) -> Event:
        unit = self.units.get(send.step.unit)
        if unit is None:
            return self._missing(send)
        self.draining.discard(send.step.unit)  # a new run is not the one that was taken out
        known = self._health(unit)
        checked = unit.health != NO_CHECK
        state, health, reason = _STARTING, WAITING, ""
        if known is not None and known.failed and not known.ok:
            # it was seen never to become healthy: it does not here either, and the deadline decides
            health, reason = FAILING, known.reason or "as recorded"
        elif not checked:
            state, health = _RUNNING, NO_CHECK
        return self._see(replace(
            unit, state=state, wanted=True, run=unit.run + 1, started=now, observed=now, health=health,
            health_since=now, health_reason=reason, exit=None, next_start=None,
        ))  # fmt: skip

    def _health(self, unit: Unit) -> Health | None:
        service = service_path(unit.instance)
        known = self._durations.healthy(service, unit.sha256 or unit.version)
        if known is None:
            self.assumed[("health", service, unit.version)] = None
        if known is None or known.ok or not known.failed:
            return self._bad_data(unit) or known
        return known

    def _bad_data(self, unit: Unit) -> Health | None:
        """What was seen of a data version of the unit that nothing ever became healthy with."""
        if not unit.data:
            return None
        service = service_path(unit.instance)
        declared = self.expected.services.get(service)
        for name, id in (data_ids(declared) if declared is not None else {}).items():
            id = f"{id.partition('/')[0]}/{unit.data.get(name)}"
            known = self._durations.healthy(service, self.artifacts.get(id, id))
            if known is not None and known.failed and not known.ok:
                return known
        return None

    def _activate(self, send: Send, now: float) -> Event:
        unit = self.units.get(send.step.unit)
        if unit is None:
            return self._missing(send)
        unit = replace(unit, data={**unit.data, send.args["data"]: send.args["version"]}, observed=now)
        bad = self._bad_data(unit) if send.args["signal"] and unit.state == _RUNNING else None
        if bad is not None:
            unit = replace(unit, health=FAILING, health_since=now, health_reason=bad.reason or "as recorded")
        self._see(unit)
        return Answer(send.task, True, {"run": unit.run})

    def _signal(self, send: Send, now: float) -> Event:
        """Who is asked to end is assumed to end; other signals change nothing that is seen from outside."""
        unit = self.units.get(send.step.unit)
        if unit is None or unit.state not in LIVE:
            return self._missing(send)
        if SIGNALS[send.args["signal"]].takes:
            checked = unit.health != NO_CHECK
            if send.args["signal"] != "STOP":
                self._see(self._ended(unit, SIGNALS[send.args["signal"]].number, now))
            elif checked:
                self._see(replace(unit, health=FAILING, health_since=now, health_reason="frozen", observed=now))
        return Answer(send.task, True, {"run": unit.run})

    def _ended(self, unit: Unit, number: int, now: float) -> Unit:
        """A run that ended of a signal, and the one that the keeper starts then."""
        end = Exit(run=unit.run, signal=number, started=unit.started or 0.0, ended=now)
        service = self.expected.services.get(service_path(unit.instance))
        checked = unit.health != NO_CHECK
        health = WAITING if checked else NO_CHECK
        if service is not None and service.restart.mode == "never":
            return replace(unit, state=_FAILED, exit=end, observed=now, next_start=None, health=health)
        return replace(
            unit, state=_STARTING if checked else _RUNNING, run=unit.run + 1, restarts=unit.restarts + 1, exit=end,
            started=now, observed=now, health=health, health_since=now, health_reason="",
        )

    def become_healthy(self, id: str, run: int, since: float, now: float) -> Event | None:
        """The run, if it is still that one, turns out to have been healthy since `since`."""
        unit = self.units.get(id)
        if unit is None or unit.run != run or unit.state != _STARTING:
            return None
        return self._see(replace(unit, state=_RUNNING, health=OK, health_since=since, observed=now))

    def _drained(self, send: Send, now: float) -> Event:
        return Answer(send.task, True, {"remaining": 0})

    def _stop(self, send: Send, now: float) -> Event:
        unit = self.units.get(send.step.unit)
        if unit is None:
            return self._missing(send)
        state, end = unit.state, unit.exit
        if state in LIVE or state == _FAILED:
            state = _SHUTDOWN
            end = Exit(run=unit.run, signal=15, reason="stopped", started=unit.started or 0.0, ended=now)
        health = NO_CHECK if unit.health == NO_CHECK else WAITING
        return self._see(
            replace(unit, state=state, wanted=False, exit=end, observed=now, next_start=None, health=health)
        )

    def _remove(self, send: Send, now: float) -> Event:
        unit = self.units.pop(send.step.unit, None)
        if unit is None:
            return self._missing(send)
        self._count(unit, -1)
        self.where.pop(send.step.unit, None)
        self.draining.discard(send.step.unit)
        return UnitGone(send.step.unit)

    def _tail(self, send: Send, now: float) -> Event:
        return Answer(send.task, True, {"lines": []})

    def _missing(self, send: Send) -> Event:
        return Answer(send.task, False, {}, "missing", "no such unit")

    def _see(self, unit: Unit) -> Event:
        id, units = unit.unit, self.units
        old, units[id] = units.get(id), unit
        # only what runs can serve
        before = old is not None and old.state == _RUNNING and old.serving
        after = unit.state == _RUNNING and unit.serving
        if before != after:
            self._count(unit if after else old or unit, 1 if after else -1)
        return UnitSeen(unit, self.where[id])

    def sicken(self, id: str, now: float, why: str) -> Event | None:
        """A unit is unhealthy from now on."""
        unit = self.units.get(id)
        if unit is None:
            return None
        return self._see(replace(unit, health=FAILING, health_since=now, health_reason=why, observed=now))

    # traffic

    def watch_lowest(self, clock: Callable[[], float]) -> None:
        """From now on `lowest` is kept anew; `clock` tells the virtual time."""
        self._clock = clock
        now = clock()
        self.lowest = {service: (n, now) for service, n in self.ready.items()}

    def drain(self, id: str, on: bool) -> None:
        """Take a unit out of naming, or let it back in."""
        unit = self.units.get(id)
        if unit is None or (id in self.draining) == on:
            return
        if on:
            self._count(unit, -1)
            self.draining.add(id)
        else:
            self.draining.discard(id)
            self._count(unit, 1)

    def _count(self, unit: Unit, by: int) -> None:
        if unit.serving and unit.unit not in self.draining:
            service = service_path(unit.instance)
            n = self.ready[service] = self.ready.get(service, 0) + by
            if by < 0 and ((low := self.lowest.get(service)) is None or n < low[0]):
                self.lowest[service] = (n, self._clock())

    def _endpoints(self) -> list[Endpoint]:
        found = []
        for unit in self.units.values():
            path = service_path(unit.instance)
            service = self.expected.services.get(path)
            if service is None or not unit.serving:
                continue
            where = self.expected.hosts.get(self.where[unit.unit])
            for name, port in unit.ports.items():
                found.append(Endpoint(
                    service=path, instance=unit.instance, unit=unit.unit, host=self.where[unit.unit],
                    name=name, address=where.address if where else "", port=port,
                    attributes=service.attributes, state="draining" if unit.unit in self.draining else "ready",
                ))  # fmt: skip
        return found
