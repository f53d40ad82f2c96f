"""What must hold between the parts of a topology: names that exist, ports, checks, dependencies.

Whether everything has room is in `room`. Checks skip what was complained about before, so that one
mistake gives one message.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import msgspec

from cockpit.model.check_artifacts import check_artifacts
from cockpit.model.check_guards import check_guards
from cockpit.model.check_links import check_links
from cockpit.model.constraints import OWN_KEYS, eligible_of_all, parse_requirement, value_on
from cockpit.model.problems import Path, Report, Wrong, nearest
from cockpit.model.room import Eligible, check_room
from cockpit.model.templates import check_template, variables
from cockpit.model.topology import Expected, HttpGet, Service

GIVEN = frozenset(
    f"COCKPIT_{name}" for name in (
        "CLUSTER", "SERVICE", "INSTANCE", "HOST", "REGION", "VERSION", "ADDRESS", "RUN_MARK",
        "AGENT_SOCKET", "NAMES_CACHE",
    )
) | {"NOTIFY_SOCKET"}  # fmt: skip
"""Variables that every process gets; a file cannot set them."""


def spot(service: str) -> Path:
    """Where a tree path stands in the file: `("tree", "puzzle", "children", "web")`."""
    return ("tree", *".children.".join(service.split(".")).split("."))


def resolve(expected: Expected, to: Report) -> Expected:
    """Dependencies as full paths. Reports unknown and ambiguous ones and leaves them out."""
    by_ending = endings(expected.services)
    services = {}
    for path, service in expected.services.items():
        full: list[str] = []
        for n, name in enumerate(service.depends):
            place = (*spot(path), "depends", str(n))
            found = by_ending.get(name, [])
            if name in expected.services:
                full.append(name)
            elif len(found) == 1:
                full.append(found[0])
            elif found:
                to.problem(place, f'"{name}" may be {" or ".join(found[:4])}; write more of the path')
                continue
            elif name in expected.groups or any(g.endswith("." + name) for g in expected.groups):
                to.problem(place, f'"{name}" is a group; depend on services')
                continue
            elif not to.written(*spot(name)):
                to.problem(place, f'unknown service "{name}"', to.near(name, by_ending))
                continue
            if full[-1:] and full[-1] in full[:-1]:
                to.problem(place, f"{full.pop()} is listed twice")
        services[path] = msgspec.structs.replace(service, depends=tuple(full))
    return msgspec.structs.replace(expected, services=services)


def endings(paths: Iterable[str]) -> dict[str, list[str]]:
    """Every ending of the paths -> the paths that have it."""
    found: dict[str, list[str]] = {}
    for path in paths:
        parts = path.split(".")
        for n in range(len(parts)):
            found.setdefault(".".join(parts[n:]), []).append(path)
    return found


def check(expected: Expected, to: Report) -> None:
    """Reports everything that does not hold."""
    _regions_and_labels(expected, to)
    sound = not to.tainted("hosts")
    _addresses(expected, to)
    eligible = eligible_of_all(expected)
    values = _label_values(expected)
    for path, service in expected.services.items():
        _service_ports(path, service, to)
        _service_check(path, service, to)
        _service_templates(path, service, to)
        _service_rest(path, service, to)
        _instances(path, service, expected, values, to, sound)
    check_artifacts(expected, to, spot)
    check_links(expected, values, to, spot)
    check_guards(expected, values, to)
    _cycles(expected, to)
    if sound and not to.tainted("regions"):
        _reach(expected, eligible, to)
    check_room(expected, eligible, to, spot, sound)
    _unused(expected, eligible, to)


def _label_values(expected: Expected) -> dict[str, set[str]]:
    """What a constraint can name -> its values on the hosts."""
    values: dict[str, set[str]] = {key: set() for key in OWN_KEYS}
    for name, host in expected.hosts.items():
        for key in (*OWN_KEYS, *host.labels):
            values.setdefault(key, set()).add(value_on(name, host, key) or "")
    return values


def _regions_and_labels(expected: Expected, to: Report) -> None:
    for name, region in expected.regions.items():
        for n, other in enumerate(region.reaches or ()):
            if other not in expected.regions:
                place = ("regions", name, "reaches", str(n))
                to.problem(place, f'unknown region "{other}"', to.near(other, expected.regions))
    for name, host in expected.hosts.items():
        if host.region and host.region not in expected.regions and not to.written("regions", host.region):
            near = to.near(host.region, expected.regions)
            to.problem(("hosts", name, "region"), f'unknown region "{host.region}"', near)
        for label in host.labels.keys() & set(OWN_KEYS):
            text = f'"{label}" cannot be a label; constraints use it'
            to.problem(("hosts", name, "labels", label), text, name=True)


def _addresses(expected: Expected, to: Report) -> None:
    """Hosts with one address share its ports: their dynamic ranges must not overlap."""
    at: dict[str, list[str]] = {}
    for name, host in expected.hosts.items():
        if host.address:
            at.setdefault(host.address, []).append(name)
    order = {name: n for n, name in enumerate(expected.hosts)}
    for address, names in at.items():
        ranges = sorted((expected.hosts[n].port_range, order[n], n) for n in names)
        for (low, _, a), (high, _, b) in pairwise(ranges):
            if high[0] <= low[1]:
                first, second = sorted((a, b), key=order.__getitem__)
                text = f"{second} has the address of {first} ({address}), and their port ranges overlap"
                to.problem(("hosts", second, "address"), text)


def _service_ports(path: str, service: Service, to: Report) -> None:
    numbers: dict[int, str] = {}
    variables_of: dict[str, str] = {}
    for name, number in service.ports.items():
        place = (*spot(path), "ports", name)
        same = variables_of.setdefault(name.replace("-", "_"), name)
        if same != name:
            to.problem(place, f'ports "{same}" and "{name}" would be the same variable')
        if number and numbers.setdefault(number, name) != name:
            to.problem(place, f'port {number} is taken by "{numbers[number]}" of the same service')
        if number and service.update.order == "start-first" and not to.tainted(*spot(path), "update"):
            to.problem(
                place,
                f"port {number} is fixed, so with start-first two runs would need it on one host; "
                "write update: {order: stop-first}, or make the port dynamic",
            )


def _service_check(path: str, service: Service, to: Report) -> None:
    base = spot(path)
    if service.check is not None and not to.tainted(*base, "check"):
        check = service.check
        chosen = [
            word for word, there in (
                ("tcp", check.tcp is not None), ("http", check.http is not None),
                ("exec", check.exec is not None), ("notify", check.notify),
            ) if there
        ]  # fmt: skip
        if len(chosen) != 1:
            found = " and ".join(chosen) or "none"
            to.problem((*base, "check"), f"a health check is one of tcp, http, exec, notify; found {found}")
        if check.tcp is not None:
            _port_name(check.tcp, service, (*base, "check", "tcp"), to)
        _request(check.http, service, (*base, "check", "http"), to)
    if service.probe is not None and not to.tainted(*base, "probe"):
        if (service.probe.http is None) == (service.probe.exec is None):
            found = "none" if service.probe.http is None else "both"
            to.problem((*base, "probe"), f"a probe is either http or exec; found {found}")
        _request(service.probe.http, service, (*base, "probe", "http"), to)


def _request(request: HttpGet | None, service: Service, place: Path, to: Report) -> None:
    if request is not None:
        inner = (*place, "port")
        _port_name(request.port or "", service, inner if to.written(*inner) else place, to)


def _port_name(name: str, service: Service, place: Path, to: Report) -> None:
    """Reports a port that the service has not; the empty name is its only one."""
    if to.tainted(*place[: place.index("check" if "check" in place else "probe")], "ports"):
        return
    if not service.ports:
        to.problem(place, "this needs a port, and the service has none")
    elif not name and len(service.ports) > 1:
        to.problem(place, f"which port? name one of {', '.join(service.ports)}")
    elif name and name not in service.ports:
        to.problem(place, f'unknown port "{name}"', to.near(name, service.ports))


def _service_templates(path: str, service: Service, to: Report) -> None:
    base = spot(path)
    if to.tainted(*base, "ports"):
        return
    found: list[tuple[Path, str]] = []
    for process, argv in service.processes.items():
        whole = (*base, "processes", process) if to.written(*base, "processes") else (*base, "command")
        found += [((*whole, str(n)), word) for n, word in enumerate(argv)]
    found += [((*base, "env", name), value) for name, value in service.env.items()]
    for key, own in (("check", service.check), ("probe", service.probe)):
        argv = own.exec or () if own is not None else ()
        found += [((*base, key, "exec", str(n)), word) for n, word in enumerate(argv)]
    for place, template in found:
        try:
            check_template(template, service.ports, service.data)
        except Wrong as e:
            to.problem(place, str(e), e.hint)
        else:
            if service.artifact is None and "release" in variables(template):
                to.warn(place, "{release} is empty: the service has no artifact")


def _service_rest(path: str, service: Service, to: Report) -> None:
    base = spot(path)
    for section, names in (("env", service.env), ("secrets", service.secrets)):
        for name in names:
            if name in GIVEN or name.startswith(("COCKPIT_PORT_", "COCKPIT_DATA_")):
                text = f"{name} is set for every process; choose another name"
                to.problem((*base, section, name), text, name=True)
    for name in service.env.keys() & service.secrets.keys():
        to.problem((*base, "secrets", name), f'"{name}" is in env too', name=True)
    if not service.directory.startswith("/") and ".." in PurePosixPath(service.directory).parts:
        to.problem((*base, "directory"), "the directory must stay inside the release, or be absolute")
    if service.artifact is not None and not service.version and not to.tainted(*base, "version"):
        to.problem((*base, "artifact"), "a service with an artifact needs a version")


def _instances(
    path: str, service: Service, expected: Expected, values: dict[str, set[str]], to: Report, sound: bool
) -> None:
    base, wanted = (*spot(path), "instances"), service.instances
    if wanted.hosts is not None:
        for key in ("count", "require", "spread", "max_per_host"):
            if to.written(*base, key):
                to.problem((*base, key), f'"{key}" has no meaning beside a list of hosts')
        for n, name in enumerate(wanted.hosts):
            if name not in expected.hosts and not to.written("hosts", name):
                place = (*base, "hosts", str(n))
                to.problem(place, f'unknown host "{name}"', to.near(name, expected.hosts))
        return
    if not sound:
        return
    hosts = expected.hosts
    if wanted.spread not in values:
        near_label = to.near(wanted.spread, values)
        to.problem((*base, "spread"), f'no host has the label "{wanted.spread}"', near_label)
    for n, text in enumerate(wanted.require):
        requirement, place = parse_requirement(text), (*base, "require", str(n))
        key, value = requirement.key, requirement.value
        near = partial(to.near, value)
        if key == "region" and value not in expected.regions:
            to.problem(place, f'unknown region "{value}"', near(expected.regions))
        elif key == "host" and value not in hosts:
            to.problem(place, f'unknown host "{value}"', near(hosts))
        elif key not in values:
            say = to.problem if requirement.equal else to.warn
            say(place, f'no host has the label "{key}"', nearest(key, values))
        elif requirement.equal and value not in values[key]:
            to.problem(place, f"no host meets {text}", near(values[key]))


def _cycles(expected: Expected, to: Report) -> None:
    """Names every cycle once, at the first dependency that is part of it."""
    graph = {p: [d for d in s.depends if d in expected.services] for p, s in expected.services.items()}
    for cycle in _find_cycles(graph):
        order = [p for p in graph if p in cycle]
        start = cycle.index(order[0])
        turned = cycle[start:] + cycle[:start]
        after = turned[1] if len(turned) > 1 else turned[0]
        place = (*spot(turned[0]), "depends", str(expected.services[turned[0]].depends.index(after)))
        text = f"{turned[0]} depends on itself" if len(turned) == 1 else "dependency cycle"
        to.problem(place, f"{text}: {' -> '.join([*turned, turned[0]])}")


def _find_cycles(graph: dict[str, list[str]]) -> list[list[str]]:
    """One cycle of each strongly connected component."""
    try:  # nearly always there is none, and networkx takes long to import
        TopologicalSorter(graph).prepare()
    except CycleError:
        networkx: Any = import_module("networkx")
        whole = networkx.DiGraph(graph)
        parts = [whole.subgraph(c) for c in networkx.strongly_connected_components(whole)]
        looping = [p for p in parts if len(p) > 1 or p.number_of_edges()]
        return [[edge[0] for edge in networkx.find_cycle(p, min(p))] for p in looping]
    return []


def _reach(expected: Expected, eligible: Eligible, to: Report) -> None:
    """Each region where the caller may run must reach one where the callee may."""
    regions = {
        path: {expected.hosts[h].region for h in eligible[path] if h in expected.hosts}
        for path in expected.services if not to.tainted(*spot(path), "instances")
    }  # fmt: skip
    for path, service in expected.services.items():
        for n, callee in enumerate(service.depends):
            for region in sorted(regions.get(path, ())):
                there = regions.get(callee, set())
                reaches = expected.regions[region].reaches
                if there and region not in there and reaches is not None and not there & set(reaches):
                    place = (*spot(path), "depends", str(n))
                    to.problem(
                        place,
                        f"{path} may run in region {region}, which reaches none of the regions of "
                        f"{callee} ({', '.join(sorted(there))})",
                    )


def _unused(expected: Expected, eligible: Eligible, to: Report) -> None:
    """Warnings about what nothing can use."""
    used = {h for hosts in eligible.values() for h in hosts}
    for name in expected.hosts:
        if name not in used and expected.services:
            to.warn(("hosts", name), f"no service may run on host {name}")
    for name in expected.regions:
        if all(h.region != name for h in expected.hosts.values()):
            to.warn(("regions", name), f"region {name} has no hosts")
    for path, service in expected.services.items():
        size = service.instances.size
        if size and service.update.canary >= size and service.update.canary > 1:
            to.warn((*spot(path), "update", "canary"), f"the canary is all of the {size} instances")
