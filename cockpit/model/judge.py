"""The few judgements that drift, rows and planning share: heard, active, right."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from cockpit.model.actual import Actual, Unit, serving_unit
from cockpit.model.states import DOWN, DRAINING, LIVE, MAINTENANCE, SUSPECT, UP, State
from cockpit.model.topology import Expected, Service, service_path

HEARD = frozenset({UP, SUSPECT, DRAINING, MAINTENANCE})
"""Presence words under which a host's reports can be believed."""


def is_down(actual: Actual, host: str) -> bool:
    """It said that it goes down; of one that only fell silent nothing is known."""
    return host in actual.hosts and actual.hosts[host].presence == DOWN


def heard(actual: Actual, host: str | None) -> bool:
    entry = actual.hosts.get(host) if host else None
    return entry is not None and entry.presence in HEARD


def active(unit: Unit) -> bool:
    """A process exists, or the keeper will start one by itself."""
    return unit.state in LIVE or (unit.wanted and unit.state == State.FAILED)


def wrong_data(unit: Unit, service: Service) -> tuple[str, ...]:
    """Names of the service's data of which the unit has another version than expected, or none."""
    return tuple(n for n, d in service.data.items() if d.version and unit.data.get(n) != d.version)


def outdated(unit: Unit, service: Service) -> bool:
    """It lives with data whose change asks for a restart."""
    return unit.state in LIVE and any(
        service.data[n].on_change == "restart" for n in wrong_data(unit, service)
    )


def settled(unit: Unit, service: Service) -> bool:
    """It did its work and was not meant to run for ever."""
    return unit.state == State.COMPLETE and service.restart.mode != "always"


class Digests(dict[str, str]):
    """Config digests of one revision by instance, each computed once: when it is first asked for."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self._services: dict[str, bytes] = {}

    def of(self, instance: str) -> str:
        """Digest of everything whose change asks for a new run, but the version: 16 hex digits.

        Not in it: count and constraints, attributes, update strategy, dependencies, drain time, and of
        data everything but its names and artifacts.
        Empty for an instance that is not expected.
        """
        return self[instance]

    def __missing__(self, instance: str) -> str:
        found = self[instance] = self._digest(instance)
        return found

    def _digest(self, instance: str) -> str:
        host = self.expected.placement.get(instance)
        path = service_path(instance)
        if host is None or path not in self.expected.services:
            return ""
        entry = self.expected.hosts.get(host)
        place = f"\0{entry.region}\0{entry.address}" if entry else "\0"
        return hashlib.sha256(self._service(path) + place.encode()).hexdigest()[:16]

    def _service(self, path: str) -> bytes:
        found = self._services.get(path)
        if found is None:
            s = self.expected.services[path]
            parts: dict[str, Any] = {
                "cluster": self.expected.cluster_of(path),
                "artifact": s.artifact,
                "processes": s.processes,
                "env": s.env,
                "secrets": s.secrets,
                "directory": s.directory,
                "user": s.user,
                "limits": s.limits,
                "ports": s.ports,
                "check": s.check,
                "probe": s.probe,
                "restart": s.restart,
                "stop": [s.stop.signal, s.stop.grace],
            }
            if s.data:
                parts["data"] = {name: data.artifact for name, data in s.data.items()}
            if s.runtime is not None:
                parts["runtime"] = s.runtime
            if s.logs:
                parts["logs"] = s.logs
            found = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).digest()
            self._services[path] = found
        return found


def right(unit: Unit, host: str | None, want_host: str, service: Service, config: str) -> bool:
    """It is on the expected host, of the expected version and configuration."""
    return (
        host == want_host
        and unit.version == service.version
        and (not unit.config or unit.config == config)
        and not unit.altered
    )


def main_unit(
    instance: str, units: tuple[Unit, ...], expected: Expected, actual: Actual, digests: Digests
) -> Unit | None:
    """The unit an instance is judged by: an active right one, else the best there, else any."""
    host = expected.placement.get(instance)
    service = expected.services.get(service_path(instance))
    if len(units) < 2 or host is None or service is None:
        return serving_unit(units)
    config = digests.of(instance)
    where = actual.where
    good = tuple(
        u for u in units
        if right(u, where.get(u.unit), host, service, config) and (active(u) or settled(u, service))
    )
    return serving_unit(good) or serving_unit(tuple(u for u in units if where.get(u.unit) == host)) \
        or serving_unit(units)
