"""Who is behind which relay, and by which ways hosts and relays reach the controller. Pure.

Everything follows from the topology: relays by region, and the relay that each has above it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from cockpit.model.topology import Expected, Relay

Ports = Callable[[str], int]
"""A local relay's actual port for links; 0: not known yet."""


def above(relay: str, relays: Mapping[str, Relay]) -> tuple[str, ...]:
    """The relays on its way up, nearest first. A circle (the topology's check refuses it) ends the way."""
    found: list[str] = []
    name = relays[relay].upstream if relay in relays else ""
    while name in relays and name not in found and name != relay:
        found.append(name)
        name = relays[name].upstream
    return tuple(found)


def under(relay: str, relays: Mapping[str, Relay]) -> tuple[str, ...]:
    """The relays that have it on their way up, in order of their names."""
    return tuple(sorted(name for name in relays if relay in above(name, relays)))


def below(relay: str, relays: Mapping[str, Relay]) -> dict[str, list[str]]:
    """The relays that may connect to it, each with those that it may speak for beside itself."""
    carrying = [name for name in under(relay, relays) if relays[name].link_port is not None]
    return {name: list(under(name, relays)) for name in carrying}


def regions(relay: str, relays: Mapping[str, Relay]) -> frozenset[str]:
    """The regions whose hosts it may speak for: its own, and those of the relays below it."""
    return frozenset(relays[name].region for name in (relay, *under(relay, relays)) if name in relays)


def carries(relay: str, host: str, expected: Expected) -> bool:
    """May this relay speak for this host?"""
    where, by = expected.hosts.get(host), expected.relays.get(relay)
    if where is None or by is None or by.link_port is None or where.connection == "ssh":
        return False
    return where.region in regions(relay, expected.relays)


def url(relay: str, relays: Mapping[str, Relay], ports: Ports) -> str:
    """Where it takes links; empty when it does not, or nobody knows where."""
    found = relays[relay]
    if found.link_port is None:
        return ""
    port = found.link_port or ports(relay)
    address = f"[{found.address}]" if ":" in found.address else found.address
    return f"https://{address}:{port}" if port else ""


def upstreams(relay: str, relays: Mapping[str, Relay], controller: str, ports: Ports) -> list[str]:
    """Where a relay dials, in order: the relay above it, those above that one, the controller.

    A relay that the controller enters dials where the controller appears on its own machine.
    """
    ssh = relays[relay].ssh
    if ssh is not None and ssh.listen:
        return [f"https://127.0.0.1:{ssh.listen}"]
    found = [url(name, relays, ports) for name in above(relay, relays)]
    return [way for way in (*found, controller) if way]


def ways(host: str, expected: Expected, controller: str, ports: Ports) -> list[str]:
    """Where a host dials, in order: the relays of its region, then the controller.

    Each host has its own order of relays, so that they share the hosts, and those of a relay that dies.
    """
    where = expected.hosts[host]
    if where.ssh is not None and where.ssh.listen:
        return [f"https://127.0.0.1:{where.ssh.listen}"]
    near = [name for name, relay in expected.relays.items() if relay.region == where.region]
    near.sort(key=lambda relay: hashlib.sha256(f"{host} {relay}".encode()).digest())
    found = [url(name, expected.relays, ports) for name in near]
    return [way for way in (*found, controller) if way]
