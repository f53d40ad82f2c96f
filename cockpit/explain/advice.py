"""What could hurt though nothing is wrong now: rules over what is expected and what runs. Pure.

A rule is a function that yields what it finds; RULES says which there are, how heavy each is and what it looks for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cockpit.model.advice_rows import ADVICE, CLUSTER, HOST, REGION, RISK, SERVICE, WEIGHTS, AdviceRow
from cockpit.model.topology import Expected, Service
from cockpit.model.units import plural, tally
from cockpit.model.view import CHANGING, HostRow, InstanceRow, RelayRow

MANY_RESTARTS = 10
MANY_HOSTS = 5
"""In a region: so many fetch an artifact one by one where there is no relay."""
CANARY_FROM = 4
"""So many instances are worth a canary."""


def _same(name: str) -> str:
    return name


@dataclass
class Whole:
    """What the rules look at: one revision, and the rows of what is actual."""

    expected: Expected
    instances: Mapping[str, InstanceRow] = field(default_factory=dict)
    hosts: Mapping[str, HostRow] = field(default_factory=dict)
    relays: Mapping[str, RelayRow] = field(default_factory=dict)
    told: bool = True
    """Is anybody told of alerts?"""
    short: Callable[[str], str] = _same

    def __post_init__(self) -> None:
        self.callers: dict[str, list[str]] = defaultdict(list)
        for path, service in sorted(self.expected.services.items()):
            for other in service.depends:
                self.callers[other].append(path)
        self.slots: dict[str, list[tuple[str, str]]] = defaultdict(list)
        """Service -> instance and host of every slot that should run."""
        for id, host in self.expected.placement.items():
            if id not in self.expected.stopped:
                self.slots[id.rpartition("/")[0]].append((id, host))

    def running(self) -> Iterator[tuple[str, Service]]:
        """Services that should have an instance."""
        return ((p, s) for p, s in sorted(self.expected.services.items()) if self.slots.get(p))

    def rows(self, path: str) -> list[InstanceRow]:
        found = (self.instances.get(id) for id, _ in self.slots[path])
        return [row for row in found if row is not None]

    def used_by(self, path: str) -> str:
        """`web and api`; empty when nothing declares that it calls it."""
        names = [self.short(c) for c in self.callers.get(path, ())]
        return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}" if names else ""


class Found(NamedTuple):
    name: str
    text: str
    do: str
    weight: str = ""
    """When it differs from the rule's."""


class Rule(NamedTuple):
    name: str
    kind: str
    weight: str
    look: Callable[[Whole], Iterable[Found]]
    about: str


def advise(whole: Whole, name: str = "") -> list[AdviceRow]:
    """What every rule finds, risks first, then by rule and name. `name`: a node of the tree, a host or a region."""
    out = []
    for rule in RULES:
        for found in rule.look(whole):
            if name and found.name != name and not found.name.startswith(name + "."):
                continue
            out.append(AdviceRow(
                key=f"{rule.name} {found.name}".strip(), rule=rule.name, weight=found.weight or rule.weight,
                kind=rule.kind, name=found.name, text=found.text, do=found.do, door=_door(rule.kind, found.name),
            ))  # fmt: skip
    order = {rule.name: n for n, rule in enumerate(RULES)}
    return sorted(out, key=lambda r: (WEIGHTS.index(r.weight), order[r.rule], r.name))


def _door(kind: str, name: str) -> tuple[str, ...]:
    if kind == SERVICE:
        return ("instances", name)
    return {HOST: ("host", name), REGION: ("regions",)}.get(kind, ())


# services


def _no_check(w: Whole) -> Iterable[Found]:
    for path, service in w.running():
        if service.check is None:
            yield Found(path, "no health check: a process that hangs counts as well",
                        "add check: to it")


def _alone(w: Whole) -> Iterable[Found]:
    for path, _ in w.running():
        if len(w.slots[path]) == 1:
            host, users = w.slots[path][0][1], w.used_by(path)
            if users:
                yield Found(path, f"one instance, on {host}, and {users} cannot do without it", "scale it to 2")
            else:
                yield Found(path, f"one instance, on {host}", "scale it to 2, if it may run twice", ADVICE)


def _together(w: Whole) -> Iterable[Found]:
    for path, _ in w.running():
        places = Counter(host for _, host in w.slots[path])
        size = sum(places.values())
        host, most = places.most_common(1)[0]
        if size < 2:
            continue
        if len(places) == 1:
            yield Found(path, f"all {size} instances are on {host}", "migrate one, or give instances: a spread")
        elif size >= 3 and most * 2 > size:
            yield Found(path, f"{most} of {size} instances are on {host}", "migrate one", ADVICE)


def _one_region(w: Whole) -> Iterable[Found]:
    region_of = {name: host.region for name, host in w.expected.hosts.items()}
    if len(set(region_of.values())) < 2:
        return
    for path, _ in w.running():
        regions = {region_of.get(host, "") for _, host in w.slots[path]}
        if len(w.slots[path]) > 1 and len(regions) == 1:
            yield Found(path, f"all {len(w.slots[path])} instances are in region {regions.pop()}",
                        "spread: region, if the others can reach it")


def _versions(w: Whole) -> Iterable[Found]:
    for path, _ in w.running():
        rows = w.rows(path)
        found = Counter(r.version_actual for r in rows if r.version_actual)
        if len(found) > 1 and not any(r.mark == CHANGING for r in rows):
            words = tally(found)
            yield Found(path, f"{len(found)} versions run side by side and no action is at work: {words}",
                        "converge it, or deploy one of them")


def _restarts(w: Whole) -> Iterable[Found]:
    for path, service in w.running():
        worst = max(w.rows(path), key=lambda r: r.restarts, default=None)
        if worst is not None and worst.restarts >= MANY_RESTARTS:
            ever = ", and the keeper never gives up" if service.restart.attempts is None else ""
            yield Found(path, f"{w.short(worst.id)} was restarted {worst.restarts} times{ever}",
                        "look at its log; restart: attempts makes it fail loudly")


def _stays_down(w: Whole) -> Iterable[Found]:
    for path, service in w.running():
        if service.restart.mode == "never" and service.runtime is None:
            yield Found(path, "restart: never: after its first exit it stays down", "restart: on-failure")


def _update(w: Whole) -> Iterable[Found]:
    for path, service in w.running():
        size, update = len(w.slots[path]), service.update
        if update.on_failure == "continue" and size > 1:
            yield Found(path, "a bad deploy goes on to the last instance: on_failure is continue",
                        "on_failure: return", RISK)
        elif size > 1 and max(update.parallel, update.canary) >= size:
            yield Found(path, f"a deploy takes all {size} instances at once", "a smaller parallel:", RISK)
        elif size == 1 and update.order == "stop-first" and w.used_by(path):
            yield Found(path, f"every deploy is an outage for {w.used_by(path)}: one instance, stopped first",
                        "order: start-first, or scale it to 2", RISK)
        elif size >= CANARY_FROM and not update.canary:
            yield Found(path, f"a deploy to {size} instances begins without a canary", "canary: 1")


def _memory(w: Whole) -> Iterable[Found]:
    for path, service in w.running():
        if service.limits.memory is None and service.runtime is None:
            yield Found(path, "no limit of memory: a leak takes its whole host down", "limits: memory")


def _unsigned(w: Whole) -> Iterable[Found]:
    for path, service in w.running():
        if w.expected.signers and service.artifact and not service.signatures:
            yield Found(path, "it runs whatever is in the store, signed or not, though there are signers",
                        "signatures: [build]")


def _forgotten(w: Whole) -> Iterable[Found]:
    stopped = Counter(id.rpartition("/")[0] for id in w.expected.stopped if id in w.expected.placement)
    for path, count in sorted(stopped.items()):
        if path in w.expected.services:
            all_ = count + len(w.slots.get(path, ()))
            yield Found(path, f"{count} of {plural(all_, 'instance')} stopped on purpose", "start, or scale it down")


def _pinned(w: Whole) -> Iterable[Found]:
    for path, _ in w.running():
        pinned = [r for r in w.rows(path) if r.pinned]
        if pinned:
            more = f" and {len(pinned) - 1} more" if len(pinned) > 1 else ""
            yield Found(path, f"{w.short(pinned[0].id)}{more} pinned by {pinned[0].pinned}: what acts by itself "
                        "leaves it alone", "`cockpit-agent ctl unpin` on its host")


# hosts, regions, the whole


def _out(w: Whole) -> Iterable[Found]:
    for name, mode in sorted(w.expected.modes.items()):
        yield Found(name, f"takes nothing new: {mode}", "start it when the work there is over")


def _full(w: Whole) -> Iterable[Found]:
    used = Counter(host for slots in w.slots.values() for _, host in slots)
    for name, host in sorted(w.expected.hosts.items()):
        if host.max_instances is not None and used[name] >= host.max_instances:
            yield Found(name, f"full: {used[name]} of at most {plural(host.max_instances, 'instance')}",
                        "nothing can be migrated here when another host fails")


def _one_relay(w: Whole) -> Iterable[Found]:
    """Hosts that are reached through a relay now, in regions that have no other."""
    carrying = defaultdict(list)
    for name, relay in w.relays.items():
        if relay.links:
            carrying[relay.region].append(name)
    behind = Counter(host.path[0] for host in w.hosts.values() if host.path)
    for region, names in sorted(carrying.items()):
        if len(names) == 1 and behind[names[0]]:
            yield Found(region, f"{plural(behind[names[0]], 'host')} reached through {names[0]} alone: when it fails "
                        "nothing is heard of them", "a second relay with link_port")


def _no_relay(w: Whole) -> Iterable[Found]:
    counts = Counter(host.region for host in w.expected.hosts.values())
    have = {relay.region for relay in w.expected.relays.values()}
    for region, count in sorted(counts.items()):
        if len(counts) > 1 and count >= MANY_HOSTS and region not in have:
            yield Found(region, f"{count} hosts and no relay: a push crosses the way there more than once",
                        "a relay in the region")


def _agents(w: Whole) -> Iterable[Found]:
    found = Counter(h.agent_version for h in w.hosts.values() if h.agent_version and not h.upgrading)
    if len(found) > 1:
        words = tally(found)
        yield Found("", f"agents of {len(found)} versions: {words}", "cockpit upgrade")


def _nobody(w: Whole) -> Iterable[Found]:
    if not w.told:
        yield Found("", "nobody is told of alerts who does not look at a screen", "targets in alerts.yaml")


def _guards(w: Whole) -> Iterable[Found]:
    if not w.expected.guards:
        yield Found("", "no guard rails: any operator may do anything at any hour", "guards: in the topology")


RULES: tuple[Rule, ...] = (
    Rule("no-check", SERVICE, RISK, _no_check, "services without a health check"),
    Rule("alone", SERVICE, RISK, _alone, "services with one instance"),
    Rule("together", SERVICE, RISK, _together, "instances of a service on the same host"),
    Rule("one-relay", REGION, RISK, _one_relay, "hosts that are reached through one relay only"),
    Rule("versions", SERVICE, RISK, _versions, "different versions of a service, and no action at work"),
    Rule("restarts", SERVICE, RISK, _restarts, "instances that were restarted often"),
    Rule("stays-down", SERVICE, RISK, _stays_down, "services that are not restarted"),
    Rule("update", SERVICE, ADVICE, _update, "deploys that take all at once, or go on after a failure"),
    Rule("nobody-told", CLUSTER, RISK, _nobody, "alerts that reach nobody"),
    Rule("one-region", SERVICE, ADVICE, _one_region, "services in one region"),
    Rule("no-memory-limit", SERVICE, ADVICE, _memory, "services without a limit of memory"),
    Rule("unsigned", SERVICE, ADVICE, _unsigned, "services that need no signature, where there are signers"),
    Rule("stopped", SERVICE, ADVICE, _forgotten, "instances that were stopped, perhaps forgotten"),
    Rule("pinned", SERVICE, ADVICE, _pinned, "instances that are pinned, perhaps forgotten"),
    Rule("out", HOST, ADVICE, _out, "hosts in draining or maintenance, perhaps forgotten"),
    Rule("full", HOST, ADVICE, _full, "hosts without room"),
    Rule("no-relay", REGION, ADVICE, _no_relay, "regions with many hosts and no relay"),
    Rule("agents", CLUSTER, ADVICE, _agents, "agents of different versions"),
    Rule("no-guards", CLUSTER, ADVICE, _guards, "a cluster without guard rails"),
)
