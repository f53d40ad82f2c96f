"""What must hold for relays, signatures and data artifacts."""

from __future__ import annotations

from collections.abc import Callable

from cockpit.model.problems import Path, Report
from cockpit.model.topology import Expected, Service


def check_artifacts(expected: Expected, to: Report, spot: Callable[[str], Path]) -> None:
    """Reports unknown regions, relays and roles, relays in a circle, data without a version."""
    _relays(expected, to)
    for path, service in expected.services.items():
        _signatures(path, service, expected, to, spot)
        _data(path, service, expected, to, spot)


def _relays(expected: Expected, to: Report) -> None:
    for name, relay in expected.relays.items():
        place = ("relays", name)
        if relay.region and relay.region not in expected.regions and not to.written("regions", relay.region):
            near = to.near(relay.region, expected.regions)
            to.problem((*place, "region"), f'unknown region "{relay.region}"', near)
        if name in expected.hosts:
            to.problem(place, f'"{name}" is a host, too: give the relay a name of its own', name=True)
        if not relay.port and relay.connection != "local":
            at = (*place, "port") if to.written(*place, "port") else place
            to.problem(at, "a relay on its own machine needs a port")
        if not relay.upstream:
            continue
        if relay.upstream not in expected.relays:
            near = to.near(relay.upstream, expected.relays)
            to.problem((*place, "upstream"), f'unknown relay "{relay.upstream}"', near)
        elif _circle(name, expected):
            to.problem((*place, "upstream"), f"{name} asks itself in the end: its upstream leads back to it")


def _circle(name: str, expected: Expected) -> bool:
    seen = {name}
    at = expected.relays[name].upstream
    while at in expected.relays and at not in seen:
        seen.add(at)
        at = expected.relays[at].upstream
    return at == name


def _signatures(
    path: str, service: Service, expected: Expected, to: Report, spot: Callable[[str], Path]
) -> None:
    for n, role in enumerate(service.signatures):
        if role not in expected.signers and not to.written("signers", role):
            place = (*spot(path), "signatures", str(n))
            text = f'nobody signs as "{role}": name its keys under signers'
            to.problem(place, text, to.near(role, expected.signers))
    if service.signatures and service.artifact is None and not service.data:
        to.problem((*spot(path), "signatures"), "there is no artifact to sign: the service has none")


def _data(path: str, service: Service, expected: Expected, to: Report, spot: Callable[[str], Path]) -> None:
    releases = {s.artifact for s in expected.services.values() if s.artifact}
    variables: dict[str, str] = {}
    for name, data in service.data.items():
        if data.artifact and data.artifact in releases:
            place = (*spot(path), "data", name, "artifact")
            to.problem(place, f'"{data.artifact}" is a release of a service, not data')
        variable = "COCKPIT_DATA_" + name.upper().replace("-", "_")
        other = variables.setdefault(variable, name)
        if other != name:
            text = f'"{name}" and "{other}" both mean {variable}: choose another name'
            to.problem((*spot(path), "data", name), text, name=True)
