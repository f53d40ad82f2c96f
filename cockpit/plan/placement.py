"""Which host takes which slot: deterministic, and a new slot never moves an old one.

Greedy with repair: services with the fewest possible hosts go first; every slot takes the host that
keeps its spread most even, then the least loaded one; a slot that finds no room may push another *new*
slot elsewhere (augmenting paths, Kuhn 1955), so that room which exists is found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from heapq import heapify, heappop, heapreplace

from msgspec.structs import replace

from cockpit.model.constraints import host_meets, value_on
from cockpit.model.names import short_names
from cockpit.model.states import SUSPECT, UP
from cockpit.model.topology import Expected, Service, service_path, slot_of
from cockpit.plan.steps import Bad


def fixed_ports(service: Service) -> tuple[int, ...]:
    return tuple(n for n in service.ports.values() if n)


def address_of(expected: Expected, host: str) -> str:
    """Where a fixed port must be free; the host's name when it is not declared."""
    entry = expected.hosts.get(host)
    return (entry.address or host) if entry is not None else host


def allowed(service: Service, name: str, expected: Expected) -> bool:
    """The host exists and meets the service's constraints."""
    host = expected.hosts.get(name)
    return host is not None and all(host_meets(name, host, r) for r in service.instances.require)


def with_host(expected: Expected, instance: str, host: str) -> dict[str, Service]:
    """Services whose explicit host list must change when the instance moves there, changed."""
    path = service_path(instance)
    service = expected.services[path]
    hosts, slot = service.instances.hosts, slot_of(instance)
    if hosts is None or slot >= len(hosts) or hosts[slot] == host:
        return {}
    listed = (*hosts[:slot], host, *hosts[slot + 1 :])
    return {path: replace(service, instances=replace(service.instances, hosts=listed))}


class _Room:
    """What is taken on each host while slots are handed out."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self.load: Counter[str] = Counter()
        self.ports: dict[str, Counter[int]] = defaultdict(Counter)
        """Fixed ports by address: two hosts may share one."""
        self.of_service: dict[str, Counter[str]] = defaultdict(Counter)
        self.at: dict[str, str] = {}

    def put(self, instance: str, host: str) -> None:
        self._count(instance, host, 1)
        self.at[instance] = host

    def take(self, instance: str) -> str:
        host = self.at.pop(instance)
        self._count(instance, host, -1)
        return host

    def _count(self, instance: str, host: str, by: int) -> None:
        path = service_path(instance)
        self.load[host] += by
        self.of_service[path][host] += by
        service = self.expected.services.get(path)
        if service is not None:
            for port in fixed_ports(service):
                self.ports[address_of(self.expected, host)][port] += by

    def full(self, path: str, service: Service, host: str) -> str:
        """Why the host takes no more of this service; empty when it does."""
        for name, port in service.ports.items():
            if port and self.ports[address_of(self.expected, host)][port]:
                return f"port {port} ({name}) is fixed"
        most = service.instances.max_per_host
        if most is not None and self.of_service[path][host] >= most:
            return f"max_per_host is {most}"
        limit = self.expected.hosts[host].max_instances
        if limit is not None and self.load[host] >= limit:
            return f"max_instances is {limit}"
        return ""


def place(
    expected: Expected,
    wanted: Mapping[str, Iterable[int]],
    *,
    presence: Mapping[str, str] | None = None,
    avoid: Collection[str] = (),
) -> dict[str, str]:
    """Instance id -> host for every wanted slot of the services named in `wanted`.

    Slots that `expected.placement` already holds keep their host. With `presence` (host -> word)
    only hosts that are up or suspect take new ones; hosts in a mode or in `avoid` take none. Slot i of an
    explicit host list goes to its host, whatever its presence. Slots of other services count as load.
    Raises Bad with a sentence that says what is short.
    """
    result: dict[str, str] = {}
    slots = {path: sorted(set(numbers)) for path, numbers in wanted.items()}
    gone = {
        f"{path}/{slot}" for path in slots for slot in _placed(expected, path).difference(slots[path])
    }
    room = _Room(expected)
    for instance, host in expected.placement.items():
        if instance not in gone and host in expected.hosts:
            room.put(instance, host)
    new: dict[str, list[str]] = {}
    for path, numbers in slots.items():
        for slot in numbers:
            instance = f"{path}/{slot}"
            if instance in room.at:
                result[instance] = room.at[instance]
            else:
                new.setdefault(path, []).append(instance)
    closed = {
        name for name in expected.hosts
        if name in expected.modes or name in avoid
        or (presence is not None and presence.get(name) not in (UP, SUSPECT))
    }
    for path in [p for p in new if expected.services[p].instances.hosts is not None]:
        for instance in new.pop(path):
            listed = _listed(expected, room, path, slot_of(instance), avoid)
            room.put(instance, listed)
            result[instance] = listed
    able = {
        path: [
            h for h in expected.hosts if h not in closed and allowed(expected.services[path], h, expected)
        ]
        for path in new
    }
    movable: set[str] = set()
    for path in sorted(new, key=lambda p: (len(able[p]), p)):
        queue = _Queue(room, path, able[path])
        for instance in new[path]:
            best = queue.pick()
            if best is not None:
                room.put(instance, best)
            elif not _push(room, instance, able, movable, set()):
                raise Bad(_short(expected, room, path, len(slots[path]), closed, presence, avoid))
            movable.add(instance)
    result.update({i: room.at[i] for i in movable})
    return {f"{path}/{slot}": result[f"{path}/{slot}"] for path in slots for slot in slots[path]}


def _placed(expected: Expected, path: str) -> set[int]:
    head = path + "/"
    return {slot_of(i) for i in expected.placement if i.startswith(head)}


def _listed(expected: Expected, room: _Room, path: str, slot: int, avoid: Collection[str]) -> str:
    service = expected.services[path]
    hosts = service.instances.hosts or ()
    name = f"{short_names(expected.services)[path]}/{slot}"
    if slot >= len(hosts):
        raise Bad(f"{name} has no host: the host list of its service names {len(hosts)}")
    host = hosts[slot]
    if host not in expected.hosts:
        raise Bad(f"{name} is listed on {host}, which is not a host of this topology")
    if host in expected.modes or host in avoid:
        word = expected.modes.get(host, "left out")
        raise Bad(f"{name} is listed on {host}, which takes no new instances ({word})")
    why = room.full(path, service, host)
    if why:
        raise Bad(f"{name} is listed on {host}, which has no room for it: {why}")
    return host


class _Queue:
    """The hosts of one service, best first: fewest in the spread's group, on the host, least load."""

    def __init__(self, room: _Room, path: str, hosts: Iterable[str]) -> None:
        self.room, self.path = room, path
        self.service = room.expected.services[path]
        self.mine = room.of_service[path]
        spread = self.service.instances.spread
        # spread over hosts needs no groups: the count on the host decides already
        self.group = {
            n: None if spread == "host" else value_on(n, h, spread) for n, h in room.expected.hosts.items()
        }
        self.heaps: dict[str | None, list[tuple[int, int, int, str]]] = {}
        self.hosts = list(hosts)
        for order, host in enumerate(self.hosts):
            self.heaps.setdefault(self.group[host], []).append((*self._key(host), order, host))
        for heap in self.heaps.values():
            heapify(heap)

    def _key(self, host: str) -> tuple[int, int]:
        return self.mine[host], self.room.load[host]

    def pick(self) -> str | None:
        """The best host with room; the queue drops full ones and renews stale counts as it meets them."""
        in_group: Counter[str | None] = Counter()
        if len(self.heaps) > 1:
            for host, count in self.mine.items():
                in_group[self.group.get(host)] += count
        best: tuple[int, tuple[int, int, int, str]] | None = None
        for value, heap in self.heaps.items():
            while heap:
                *key, order, host = heap[0]
                if self.room.full(self.path, self.service, host):
                    heappop(heap)
                elif tuple(key) != self._key(host):
                    heapreplace(heap, (*self._key(host), order, host))
                else:
                    break
            if heap and (best is None or (in_group[value], heap[0]) < best):
                best = (in_group[value], heap[0])
        return best[1][3] if best else None


def _push(
    room: _Room, instance: str, able: Mapping[str, list[str]], movable: set[str], tried: set[str]
) -> bool:
    """Makes room for the instance by moving another new one away, which may move another in turn."""
    path = service_path(instance)
    service = room.expected.services[path]
    for host in able[path]:
        for other in sorted(i for i in movable if room.at.get(i) == host and i not in tried):
            room.take(other)
            if not room.full(path, service, host):
                room.put(instance, host)
                tried.add(other)
                free = _Queue(room, service_path(other), able[service_path(other)]).pick()
                if free is not None:
                    room.put(other, free)
                    return True
                if _push(room, other, able, movable, tried):
                    return True
                room.take(instance)
            room.put(other, host)
    return False


def _short(
    expected: Expected,
    room: _Room,
    path: str,
    wants: int,
    closed: set[str],
    presence: Mapping[str, str] | None,
    avoid: Collection[str],
) -> str:
    """The sentence of a placement that fails: what is wanted, what there is, and what stands in the way."""
    service = expected.services[path]
    fit = [h for h in expected.hosts if allowed(service, h, expected)]
    open_ = [h for h in fit if h not in closed]
    why: list[str] = []
    others = len(expected.hosts) - len(fit)
    if others:
        verb = "does" if others == 1 else "do"
        why.append(f"{_hosts(others)} {verb} not meet {' and '.join(service.instances.require)}")
    for host in fit:
        if host in expected.modes:
            mode = expected.modes[host]
            why.append(f"{host} is in maintenance" if mode == "maintenance" else f"{host} is {mode}")
        elif host in avoid:
            why.append(f"{host} is left out")
        elif host in closed and presence is not None:
            why.append(f"{host} gives no answer" if presence.get(host, "unknown") == "unknown"
                       else f"{host} is {presence[host]}")
    reasons: dict[str, list[str]] = {}
    for host in open_:
        reason = room.full(path, service, host)
        if reason:
            reasons.setdefault(reason, []).append(host)
    for reason, hosts in reasons.items():
        why.append(f"{reason}, one instance per host" if reason.startswith("port ")
                   else f"{reason} on {', '.join(hosts[:6])}{' ...' if len(hosts) > 6 else ''}")
    have = sum(1 for i in room.at if service_path(i) == path)
    name = short_names(expected.services)[path]
    instances = f"{wants} instance{'s' if wants != 1 else ''}"
    allow = "no host may take one"
    if open_:
        allow = f"{_hosts(len(open_))} allow{'s' if len(open_) == 1 else ''} at most {have}"
    return f"{name} wants {instances}, {allow}" + (f" because {'; '.join(why)}" if why else "")


def _hosts(n: int) -> str:
    return f"{n} host{'' if n == 1 else 's'}"


def misplaced(expected: Expected) -> tuple[str, ...]:
    """Placed instances that may not stay: host gone, constraint, host list, fixed port, limit per host.

    Not for a host's mode or its total: those only keep new ones away.
    """
    room = _Room(expected)
    bad: list[str] = []
    for instance in sorted(expected.placement, key=lambda i: (service_path(i), slot_of(i))):
        host = expected.placement[instance]
        path = service_path(instance)
        service = expected.services.get(path)
        if service is None:
            continue
        listed = service.instances.hosts
        slot = slot_of(instance)
        if listed is not None:
            fits = slot >= len(listed) or listed[slot] == host
        else:
            fits = allowed(service, host, expected)
        why = room.full(path, service, host) if fits and host in expected.hosts else ""
        if not fits or host not in expected.hosts or (why and not why.startswith("max_instances")):
            bad.append(instance)
        else:
            room.put(instance, host)
    return tuple(bad)


def why_not(expected: Expected, instance: str, host: str) -> str:
    """Why the instance cannot be placed on this host; empty when it can. Presence is not looked at."""
    path = service_path(instance)
    service = expected.services[path]
    if host not in expected.hosts:
        return f"{host} is not a host of this topology"
    if host in expected.modes:
        word = expected.modes[host]
        return f"{host} is in maintenance" if word == "maintenance" else f"{host} is {word}"
    if not allowed(service, host, expected):
        return f"{host} does not meet {' and '.join(service.instances.require)}"
    room = _Room(expected)
    for other, at in expected.placement.items():
        if other != instance:
            room.put(other, at)
    why = room.full(path, service, host)
    return f"{host} has no room: {why}" if why else ""


def relocate(
    expected: Expected, instances: Collection[str], *, presence: Mapping[str, str], avoid: Collection[str]
) -> Expected:
    """These instances on other hosts, chosen by `place`; explicit host lists follow. Raises Bad."""
    moving = set(instances)
    paths = {service_path(i) for i in moving}
    services = dict(expected.services)
    for path in paths:
        wants = services[path].instances
        if wants.hosts is not None:
            services[path] = replace(
                services[path], instances=replace(wants, hosts=None, count=len(wants.hosts))
            )
    stay = {i: h for i, h in expected.placement.items() if i not in moving}
    found = place(
        replace(expected, services=services, placement=stay),
        {path: _placed(expected, path) for path in paths}, presence=presence, avoid=avoid,
    )  # fmt: skip
    after = expected
    for instance in sorted(moving):
        after = put_on(after, instance, found[instance])
    return after


def put_on(expected: Expected, instance: str, host: str) -> Expected:
    """The instance on this host; an explicit host list follows."""
    return replace(
        expected,
        services={**expected.services, **with_host(expected, instance, host)},
        placement={**expected.placement, instance: host},
    )
