"""Whether the hosts have room for the instances: counts, limits of hosts, fixed ports.

Places are found by maximum flow: services on one side, hosts on the other, an edge where a service may
run. When it does not fill every demand, the minimum cut names the services that compete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import msgspec

from cockpit.model.problems import Path, Report
from cockpit.model.topology import Expected, Service

Spot = Callable[[str], Path]
Eligible = Mapping[str, tuple[str, ...]]


class Demand(msgspec.Struct, frozen=True):
    service: str
    count: int
    bins: tuple[str, ...]
    """Hosts or addresses where instances may be."""
    each: int
    """At most so many in one."""


def check_room(expected: Expected, eligible: Eligible, to: Report, spot: Spot, sound: bool) -> None:
    """`sound`: the hosts are all right so far; otherwise only what does not depend on them is said."""
    counted = []
    _explicit_ports(expected, to, spot)
    _explicit_counts(expected, to, spot)
    if not sound:
        return
    for path, service in expected.services.items():
        base = spot(path)
        if to.tainted(*base, "instances") or to.tainted(*base, "ports"):
            continue
        _dynamic_ranges(path, eligible[path], expected, to, spot)
        if service.instances.hosts is None and _fits_alone(path, eligible[path], expected, to, spot):
            counted.append(path)
    _together(counted, expected, eligible, to, spot)
    _ports_apart(counted, expected, eligible, to, spot)


def _explicit_ports(expected: Expected, to: Report, spot: Spot) -> None:
    """Two listed instances with one fixed port on one address."""
    taken: dict[tuple[str, int], tuple[str, str, str]] = {}
    said: set[tuple[str, str, int]] = set()
    for path, host, name, number in _fixed(expected):
        address = expected.hosts[host].address if host in expected.hosts else ""
        key = (address or host, number)
        if key not in taken:
            taken[key] = (path, host, name)
            continue
        first, there, port = taken[key]
        if (first == path and port != name) or (path, first, number) in said:
            continue
        said.add((path, first, number))
        if first == path and there == host:
            text = f"port {number} is fixed, so one instance fits on {host}, and it is listed twice"
        elif there == host:
            text = f"port {number} on {host} is taken by {first}"
        else:
            text = f"port {number} on {host} is taken by {first}: {there} has the same address"
        to.problem((*spot(path), "ports", name), text)


def _fixed(expected: Expected) -> Iterator[tuple[str, str, str, int]]:
    """(service, host, port name, number) of every listed instance's fixed ports."""
    for path, service in expected.services.items():
        for host in service.instances.hosts or ():
            for name, number in service.ports.items():
                if number:
                    yield path, host, name, number


def _explicit_counts(expected: Expected, to: Report, spot: Spot) -> None:
    """More listed instances than `max_instances` of a host."""
    used: Counter[str] = Counter()
    for path, service in expected.services.items():
        for n, name in enumerate(service.instances.hosts or ()):
            used[name] += 1
            host = expected.hosts.get(name)
            if host is not None and host.max_instances is not None and used[name] == host.max_instances + 1:
                place = (*spot(path), "instances", "hosts", str(n))
                to.problem(place, f"host {name} takes at most {host.max_instances} (max_instances)")


def _dynamic_ranges(path: str, hosts: tuple[str, ...], expected: Expected, to: Report, spot: Spot) -> None:
    for name, number in expected.services[path].ports.items():
        inside = [
            h for h in (hosts if number else ())
            if h in expected.hosts and expected.hosts[h].port_range[0] <= number <= expected.hosts[h].port_range[1]
        ]  # fmt: skip
        if inside:
            low, high = expected.hosts[inside[0]].port_range
            more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
            text = f"port {number} is among the dynamic ports {low}-{high} of host {inside[0]}{more}"
            to.problem((*spot(path), "ports", name), text)


def _limit(service: Service) -> int:
    """At most so many of its instances on one host."""
    most = service.instances.max_per_host or service.instances.size
    return 1 if any(service.ports.values()) else most


def _fits_alone(path: str, hosts: tuple[str, ...], expected: Expected, to: Report, spot: Spot) -> bool:
    service = expected.services[path]
    count, each = service.instances.size, _limit(service)
    place = (*spot(path), "instances")
    if not hosts:
        need = service.instances.require
        if need:
            to.problem((*place, "require"), f"no host meets {' and '.join(need)}")
        elif count:
            to.problem(place, "there are no hosts to run on")
        return False
    fixed = any(service.ports.values())
    room: dict[str, int] = {}
    why = [f"max_per_host {service.instances.max_per_host}"] if service.instances.max_per_host else []
    why += ["one for each address because of a fixed port"] if fixed else []
    for name in hosts:
        host = expected.hosts[name]
        most = each if host.max_instances is None else min(each, host.max_instances)
        bin = host.address if fixed else name
        room[bin] = max(room.get(bin, 0), most)
    if sum(room.values()) >= count:
        return True
    if any(expected.hosts[h].max_instances is not None for h in hosts):
        why.append("max_instances")
    met = "host allows" if len(hosts) == 1 else "hosts allow"
    at = (*place, "count") if to.written(*place, "count") else place
    to.problem(at, f"{count} instances, but {len(hosts)} {met} {sum(room.values())} ({', '.join(why)})")
    return False


def _together(
    counted: list[str], expected: Expected, eligible: Eligible, to: Report, spot: Spot
) -> None:
    """All counted services beside the listed ones, within `max_instances`."""
    room = {n: h.max_instances for n, h in expected.hosts.items() if h.max_instances is not None}
    if not room:
        return
    for service in expected.services.values():
        for name in service.instances.hosts or ():
            if name in room:
                room[name] = max(0, room[name] - 1)
    demands = []
    for path in counted:
        service = expected.services[path]
        hosts, each = eligible[path], _limit(service)
        open_ended = each * sum(h not in room for h in hosts)
        if service.instances.size > open_ended:
            bins = tuple(h for h in hosts if h in room)
            demands.append(Demand(path, service.instances.size - open_ended, bins, each))
    missing, names = shortage(demands, room)
    if missing:
        place = (*spot(names[-1]), "instances")
        text = f"no room for {missing} of the instances of {_listed(names)} (max_instances of their hosts)"
        to.problem(place, text)


def _ports_apart(
    counted: list[str], expected: Expected, eligible: Eligible, to: Report, spot: Spot
) -> None:
    """Services that share a fixed port number must find an address each."""
    by_number: dict[int, dict[str, str]] = {}
    for path, service in expected.services.items():
        for name, number in service.ports.items():
            if number:
                by_number.setdefault(number, {})[path] = name
    for number, users in by_number.items():
        if len(users) < 2 or not any(path in counted for path in users):
            continue
        taken = {
            expected.hosts[h].address
            for path in users for h in expected.services[path].instances.hosts or () if h in expected.hosts
        }  # fmt: skip
        demands = []
        for path in users:
            if path in counted:
                service = expected.services[path]
                addresses = dict.fromkeys(expected.hosts[h].address for h in eligible[path])
                bins = tuple(a for a in addresses if a not in taken)
                demands.append(Demand(path, service.instances.size, bins, 1))
        missing, names = shortage(demands, {bin: 1 for d in demands for bin in d.bins})
        if missing:
            last = names[-1]
            others = [u for u in users if u != last]
            text = f"port {number} is fixed here and in {_listed(others)}: too few hosts to be apart"
            to.problem((*spot(last), "ports", users[last]), text)


def shortage(demands: list[Demand], room: dict[str, int]) -> tuple[int, list[str]]:
    """How many instances find no place, and the services that compete for it."""
    if _greedy(demands, dict(room)):
        return 0, []
    networkx: Any = import_module("networkx")
    users: dict[str, list[int]] = {}
    for n, demand in enumerate(demands):
        for bin in demand.bins:
            users.setdefault(bin, []).append(n)
    # hosts that look alike are one node with their capacities added: the flow is the same
    alike = Counter((tuple(who), room[bin]) for bin, who in users.items())
    graph = networkx.DiGraph()
    graph.add_nodes_from(("from", "to"))
    for n, demand in enumerate(demands):
        graph.add_edge("from", n, capacity=demand.count)
    for (who, most), hosts in alike.items():
        graph.add_edge((who, most), "to", capacity=most * hosts)
        for n in who:
            graph.add_edge(n, (who, most), capacity=min(demands[n].each, most) * hosts)
    placed, (near, _) = networkx.minimum_cut(graph, "from", "to")
    missing = sum(d.count for d in demands) - placed
    return missing, [d.service for n, d in enumerate(demands) if n in near] if missing else []


def _greedy(demands: list[Demand], room: dict[str, int]) -> bool:
    """True when placing the least flexible first, on the emptiest hosts, works out."""
    for demand in sorted(demands, key=lambda d: len(d.bins) * d.each - d.count):
        left = demand.count
        for bin in sorted(demand.bins, key=room.__getitem__, reverse=True):
            taken = min(left, demand.each, room[bin])
            room[bin] -= taken
            left -= taken
        if left:
            return False
    return True


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
