"""What was found to expected data: names made fit, addresses known, nothing that a topology refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from cockpit.inventory.found import Found, Machine, Place, Program, Remark
from cockpit.inventory.naming import HOST, LABEL, TREE, fit, make_names, make_paths
from cockpit.model.export import nested
from cockpit.model.fields import FILE
from cockpit.model.load import parse_topology
from cockpit.model.problems import BadTopology, Problem, Wrong
from cockpit.model.topology import Expected, Group, Host, Instances, Region, Service, Ssh
from cockpit.model.units import parse_address

Comments = dict[tuple[str, ...], list[str]]
"""Path in the file (`("hosts", "web1")`) -> the lines above it."""
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")
_JUMP = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.@-]*@)?[A-Za-z0-9_.:\[\]-]+")
_TARGET = re.compile(r"[A-Za-z0-9_.:-]+")
_PORTS = 1000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    name: str = "imported"
    region: str = "default"
    """Of machines whose source does not say one."""
    connection: str = "ssh"
    """`ssh` or `agent`, of machines that are not this one."""
    user: str = ""
    jump: tuple[str, ...] = ()
    under: tuple[str, ...] = ()
    """Node of the tree where services go."""


class Built(msgspec.Struct):
    expected: Expected
    comments: Comments
    remarks: list[Remark]
    origins: dict[str, str]
    """Host -> its name in the source."""


def build(found: Found, options: Options, addresses: Mapping[str, str]) -> Built:
    """`addresses`: what the machines' addresses resolve to; one that is missing leaves its machine out.

    The result always passes the checks of a topology: what does not is left out, and remarked.
    """
    built = Built(Expected(name=fit(options.name, LABEL)), {}, list(found.remarks), {})
    names = _hosts(found.machines, options, addresses, built)
    _services(found.programs, names, options, built)
    while (problem := _first_problem(built.expected)) is not None:
        _leave_out(problem, built)
    regions = sorted({h.region for h in built.expected.hosts.values()})
    built.expected = replace(built.expected, regions={r: Region() for r in regions})
    return built


def wanted_addresses(found: Found) -> list[str]:
    """What `build` wants resolved: names, no addresses. Sorted."""
    return sorted({a for m in found.machines if not m.local and not _ip(a := m.address or m.name)})


def _ip(text: str) -> str:
    try:
        return parse_address(text)
    except Wrong:
        return ""


def _hosts(
    machines: list[Machine], options: Options, addresses: Mapping[str, str], built: Built
) -> dict[str, str]:
    """Fills in the hosts; machine -> host for those that have one."""
    taken: dict[tuple[str, int, tuple[str, ...]], str] = {}
    same: dict[str, str] = {}
    kept: list[tuple[Machine, str]] = []
    for machine in sorted(machines, key=lambda m: _natural(m.name)):
        where = machine.address or machine.name
        ip = "127.0.0.1" if machine.local and not _ip(where) else _ip(where) or addresses.get(where, "")
        if not ip:
            built.remarks.append(
                Remark(machine.place, f"{machine.name} is left out: {where} has no address here; give it one by hand")
            )
            continue
        way = (ip, machine.port, machine.jump)
        if way in taken:
            same[machine.name] = taken[way]
            built.remarks.append(
                Remark(machine.place, f"{machine.name} is another name of {taken[way]} ({ip}, port {machine.port})")
            )
            continue
        taken[way] = machine.name
        kept.append((machine, ip))
    names = make_names([m.name for m, _ in kept], HOST)
    regions = make_names({m.region or options.region for m, _ in kept}, TREE)
    at_address: dict[str, int] = {}
    hosts: dict[str, Host] = {}
    for machine, ip in kept:
        host, notes = _host(machine, ip, options, built)
        number = at_address[ip] = at_address.get(ip, -1) + 1
        if number and number < 45:
            low = 20000 + number * _PORTS
            host = replace(host, port_range=(low, low + _PORTS - 1))
            notes.append("another host has this address: the dynamic ports are apart")
        name = names[machine.name]
        hosts[name] = replace(host, region=regions[machine.region or options.region])
        head = f"from {machine.place}" + (f" ({machine.name})" if name != machine.name else "")
        built.comments[("hosts", name)] = [head, *notes, *machine.notes]
        built.origins[name] = machine.name
    built.expected = replace(built.expected, hosts=hosts)
    return names | {alias: names[to] for alias, to in same.items()}


def _host(machine: Machine, ip: str, options: Options, built: Built) -> tuple[Host, list[str]]:
    notes: list[str] = []
    made = make_names(sorted(machine.labels), LABEL, ("region", "host"))
    labels = {made[k]: v for k, v in sorted(machine.labels.items()) if "\n" not in v and v.isprintable()}
    if machine.local:
        return Host(region="", address=ip, labels=labels, connection="local"), notes
    where = machine.address or machine.name
    if not _ip(where):
        notes.append(f"{where} had this address when it was imported")
    if options.connection == "agent":
        return Host(region="", address=ip, labels=labels), notes
    target = machine.target or ("" if _ip(where) else where)
    user, jump = machine.user or options.user, machine.jump or options.jump
    if user and not _USER.fullmatch(user):
        notes.append("its user is no name that can be written: left out")
        user = ""
    if not all(_JUMP.fullmatch(j) for j in jump):
        notes.append("its jump hosts are not [USER@]HOST[:PORT]: left out")
        jump = ()
    if target and not _TARGET.fullmatch(target):
        target = ""
    ssh = Ssh(address=target, port=machine.port, user=user, jump=jump)
    return Host(region="", address=ip, labels=labels, connection="ssh", ssh=ssh if ssh != Ssh() else None), notes


def _services(programs: list[Program], hosts: Mapping[str, str], options: Options, built: Built) -> None:
    """One service for each definition: where several machines run the same, it has them all."""
    groups: dict[tuple[str, ...], list[tuple[Service, list[Program]]]] = {}
    for program in sorted(programs, key=lambda p: (p.path, _natural(p.machine))):
        if program.machine not in hosts:
            name = ".".join(program.path)
            built.remarks.append(Remark(program.place, f"{name} is left out: {program.machine} is"))
            continue
        shapes = groups.setdefault(program.path, [])
        for service, alike in shapes:
            if service == program.service and program.slots <= 1 and alike[0].slots <= 1:
                alike.append(program)
                break
        else:
            shapes.append((program.service, [program]))
    wanted: dict[tuple[str, ...], tuple[Service, list[Program]]] = {}
    for base, shapes in groups.items():
        for number, shape in enumerate(shapes):
            own = base if number == 0 else (*base[:-1], f"{base[-1]}-{hosts[shape[1][0].machine]}")
            while own in wanted:
                own = (*own[:-1], own[-1] + "-2")
            wanted[own] = shape
    made = make_paths((*options.under, *p) for p in wanted)
    services: dict[str, Service] = {}
    for path, (service, alike) in sorted(wanted.items()):
        full = made[(*options.under, *path)]
        where = tuple(hosts[p.machine] for p in alike for _ in range(p.slots))
        instances = Instances(hosts=where) if where else Instances(count=0)
        services[".".join(full)] = replace(service, instances=instances)
        heads = [f"from {p.place}" + ("" if ".".join(p.path) == ".".join(full[len(options.under):]) else
                                      f" ({'.'.join(p.path)})") for p in alike]  # fmt: skip
        several = len(alike) > 1
        notes = [f"{p.machine}: {n}" if several else n for p in alike for n in p.notes]
        built.comments[spot(".".join(full))] = [*dict.fromkeys(heads), *dict.fromkeys(notes)]
    groups_ = {".".join(p.split(".")[:n]): Group() for p in services for n in range(1, p.count(".") + 1)}
    built.expected = replace(built.expected, services=services, groups=groups_)


def spot(service: str) -> tuple[str, ...]:
    """Where a service stands in the file."""
    return ("tree", *".children.".join(service.split(".")).split("."))


def _first_problem(expected: Expected) -> Problem | None:
    regions = {h.region: Region() for h in expected.hosts.values()}
    try:
        parse_topology(FILE.write(nested(replace(expected, regions=regions))))
    except BadTopology as e:
        return e.problems[0]
    return None


def _leave_out(problem: Problem, built: Built) -> None:
    """The host or service that a problem is about goes, and a remark says why."""
    parts = tuple(problem.path.split("."))
    now = built.expected
    text = f"left out: {problem.text}"
    for name in sorted(now.hosts, key=len, reverse=True):
        if problem.path == f"hosts.{name}" or problem.path.startswith(f"hosts.{name}."):
            place = built.comments.pop(("hosts", name), ["from ?"])[0]
            built.remarks.append(Remark(Place(place.removeprefix("from ")), f"host {name} is {text}"))
            hosts = {k: v for k, v in now.hosts.items() if k != name}
            services = {k: _without(s, name) for k, s in now.services.items()}
            built.expected = replace(now, hosts=hosts, services=services)
            return
    for name in now.services:
        at = spot(name)
        if parts[: len(at)] == at:
            place = built.comments.pop(at, ["from ?"])[0]
            built.remarks.append(Remark(Place(place.removeprefix("from ")), f"service {name} is {text}"))
            services = {k: s for k, s in now.services.items() if k != name}
            kept = {g: v for g, v in now.groups.items() if any(s.startswith(g + ".") for s in services)}
            built.expected = replace(now, services=services, groups=kept)
            return
    raise AssertionError(f"{problem}")


def _without(service: Service, host: str) -> Service:
    if service.instances.hosts is None or host not in service.instances.hosts:
        return service
    left = tuple(h for h in service.instances.hosts if h != host)
    return replace(service, instances=Instances(hosts=left) if left else Instances(count=0))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts `web2` before `web10`."""
    return [(0, int(p), p) if p.isdigit() else (1, 0, p) for p in re.findall(r"\d{1,18}|\D+", name)]
