"""Who calls whom, and what is reached through what, as plain graphs: for the drawing and for exports. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from cockpit.model.metrics_rows import Call
from cockpit.model.view import BADNESS, OK, HostRow, NodeRow, RelayRow

READABLE = 80
"""More nodes than this nobody reads: then groups stand for their services."""
LARGEST = 500
"""More nodes are never drawn as one graph."""

DECLARED, UNDECLARED, LINK = "declared", "undeclared", "link"
SERVICE, GROUP, CONTROLLER, RELAY, REGION = "service", "group", "controller", "relay", "region"


class GraphNode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    id: str
    label: str
    kind: str
    """service, group, controller, relay or region."""
    mark: str = OK
    want: int = 0
    have: int = 0
    parts: int = 1
    """Services (of a group), hosts (of a region) or agents (of a relay) it stands for."""
    note: str = ""


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    source: str
    target: str
    kind: str = DECLARED
    """declared; undeclared: it was seen, and nobody expects it; link: how something is reached."""
    connections: int | None = None
    """Connections that were seen; None: nobody looked."""


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    services: int = 0
    """Services it stands for, folded ones included."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(e.source, e.target) for e in self.edges]


class Fold(msgspec.Struct, frozen=True):
    """Which groups are open. `depth` levels are by themselves; None: as many as stay readable."""

    depth: int | None = None
    opened: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()

    def open(self, group: str) -> Fold:
        return Fold(self.depth, self.opened | {group}, self.closed - {group})

    def close(self, group: str) -> Fold:
        return Fold(self.depth, self.opened - {group}, self.closed | {group})


EVERYTHING = Fold(10_000)


def homes(services: Iterable[str], fold: Fold) -> dict[str, str]:
    """Service -> the node that stands for it: itself, or the highest group above it that is closed."""
    paths = sorted(services)
    depth = fold.depth if fold.depth is not None else readable_depth(paths)
    return {path: _home(path, depth, fold) for path in paths}


def _home(path: str, depth: int, fold: Fold) -> str:
    parts = path.split(".")
    for level in range(1, len(parts)):
        group = ".".join(parts[:level])
        if group in fold.closed or (level > depth and group not in fold.opened):
            return group
    return path


def readable_depth(services: Sequence[str], most: int = READABLE) -> int:
    """The deepest level down to which groups may be open so that at most `most` nodes are seen; at least 0."""
    deepest = max((p.count(".") for p in services), default=0)
    for depth in range(deepest, 0, -1):
        if len({_home(p, depth, Fold()) for p in services}) <= most:
            return depth
    return 0


def service_graph(
    rows: Mapping[str, NodeRow], calls: Sequence[Call] = (), *, fold: Fold = EVERYTHING, around: str = "",
    hops: int = 0, short: Callable[[str], str] = str,
) -> Graph:
    """Services and what they depend on, with calls that were seen. `rows` are all nodes of the tree by path.

    With `around` (a service or a group) nothing is folded, and only what is `hops` steps away either way is in it.
    """
    services = {p: r for p, r in rows.items() if r.kind == SERVICE}
    seen = {(c.caller, c.callee): c for c in calls if c.caller in services and c.callee in services}
    pairs = {(p, d) for p, row in services.items() for d in row.depends if d in services and d != p}
    every = pairs | seen.keys()
    inside = set(services)
    if around:
        inside = near(every, [p for p in services if p == around or p.startswith(around + ".")], hops)
    home = homes(inside, EVERYTHING if around else fold)
    edges: dict[tuple[str, str], list[tuple[str, int | None]]] = {}
    for a, b in every:
        if a in home and b in home and home[a] != home[b]:
            call = seen.get((a, b))
            edges.setdefault((home[a], home[b]), []).append(
                (DECLARED if (a, b) in pairs else UNDECLARED, call.connections if call is not None else None)
            )
    parts: dict[str, list[NodeRow]] = {}
    for path, name in home.items():
        parts.setdefault(name, []).append(services[path])
    return Graph(
        title=short(around) if around else "services",
        nodes=tuple(_service_node(n, rows.get(n), parts[n], short) for n in sorted(parts)),
        edges=tuple(
            GraphEdge(
                source=a, target=b, kind=UNDECLARED if any(k == UNDECLARED for k, _ in found) else DECLARED,
                connections=_together(c for _, c in found),
            )
            for (a, b), found in sorted(edges.items())
        ),
        services=len(home),
    )  # fmt: skip


def _together(counts: Iterable[int | None]) -> int | None:
    known = [c for c in counts if c is not None]
    return sum(known) if known else None


def _service_node(name: str, row: NodeRow | None, parts: Sequence[NodeRow], short: Callable[[str], str]) -> GraphNode:
    if row is not None and row.kind == SERVICE:
        return GraphNode(id=name, label=short(name), kind=SERVICE, mark=row.mark, want=row.want, have=row.have)
    worst = max((r.mark for r in parts), key=lambda m: BADNESS.get(m, 0), default=OK)
    return GraphNode(
        id=name, label=short(name), kind=GROUP, mark=worst, parts=len(parts),
        want=sum(r.want for r in parts), have=sum(r.have for r in parts),
    )  # fmt: skip


def near(edges: Iterable[tuple[str, str]], start: Iterable[str], hops: int) -> set[str]:
    """What is at most so many steps away, along edges either way."""
    beside = _beside(edges, both=True)
    found = set(start)
    edge = found
    for _ in range(hops):
        edge = {n for name in edge for n in beside.get(name, ())} - found
        if not edge:
            break
        found |= edge
    return found


def reach(edges: Iterable[tuple[str, str]], start: str, *, back: bool = False) -> set[str]:
    """Everything that can be reached along edges (against them: `back`), without `start` itself."""
    beside = _beside(((b, a) for a, b in edges) if back else edges)
    found: set[str] = set()
    left = [start]
    while left:
        for name in beside.get(left.pop(), ()):
            if name not in found and name != start:
                found.add(name)
                left.append(name)
    return found


def _beside(edges: Iterable[tuple[str, str]], both: bool = False) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for a, b in edges:
        out.setdefault(a, []).append(b)
        if both:
            out.setdefault(b, []).append(a)
    return out


def relay_graph(
    cluster: str, hosts: Iterable[HostRow], relays: Mapping[str, RelayRow]
) -> Graph:
    """The controller, its relays, and behind them the hosts of each region as one node with counts.

    A host is where its link goes now; one that is not heard is behind the relays of its region, if they carry links.
    """
    nodes = [GraphNode(id="controller", label=cluster or "controller", kind=CONTROLLER, parts=0)]
    edges = []
    for name, relay in sorted(relays.items()):
        above = relay.path[1] if len(relay.path) > 1 else relay.upstream if not relay.path else ""
        agents = f"{relay.agents} agents" if relay.links else "artifacts only"
        nodes.append(GraphNode(
            id=f"relay {name}", label=name, kind=RELAY, mark=relay.mark, parts=relay.agents,
            note=", ".join(filter(None, (relay.presence, agents, _ping(relay.latency)))),
        ))  # fmt: skip
        edges.append(GraphEdge(source=f"relay {above}" if above in relays else "controller",
                               target=f"relay {name}", kind=LINK))  # fmt: skip
    carrying: dict[str, str] = {}
    for name, relay in sorted(relays.items()):
        if relay.links:
            carrying.setdefault(relay.region, name)
    groups: dict[tuple[str, str], list[HostRow]] = {}
    for host in hosts:
        way = host.path[0] if host.path else "" if host.transport else carrying.get(host.region, "")
        groups.setdefault((host.region, way if way in relays else ""), []).append(host)
    split = {region for region, _ in groups if sum(1 for r, _ in groups if r == region) > 1}
    for (region, way), rows in sorted(groups.items()):
        id = f"region {region}|{way}"
        more = f" by {way or 'controller'}" if region in split else ""
        nodes.append(region_node(id, region or "no region", rows, more))
        edges.append(GraphEdge(source=f"relay {way}" if way else "controller", target=id, kind=LINK))
    return Graph(title="relays", nodes=tuple(nodes), edges=tuple(edges), services=0)


def region_node(id: str, label: str, rows: Sequence[HostRow], more: str = "") -> GraphNode:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.presence] = counts.get(row.presence, 0) + 1
    pings = sorted(r.latency for r in rows if r.latency is not None)
    words = [f"{n} {presence}" for presence, n in sorted(counts.items(), key=lambda i: (i[0] != "up", i[0]))]
    words.append(_ping(pings[len(pings) // 2]) if pings else "")
    worst = max((r.mark for r in rows), key=lambda m: BADNESS.get(m, 0), default=OK)
    return GraphNode(
        id=id, label=label + more, kind=REGION, mark=worst, parts=len(rows), want=len(rows), have=counts.get("up", 0),
        note=", ".join(filter(None, words)),
    )  # fmt: skip


def _ping(latency: float | None) -> str:
    if latency is None:
        return ""
    return f"ping {latency * 1000:.0f} ms" if latency >= 0.01 else f"ping {latency * 1000:.1f} ms"
