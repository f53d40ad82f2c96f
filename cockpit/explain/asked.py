"""The engine's way in: why is this object as it is? Root causes first, the same order every time."""

from __future__ import annotations

from collections.abc import Iterable

from cockpit.explain.causes import ODD, Graph, Trouble, explore, group_trouble
from cockpit.explain.evidence import host_facts
from cockpit.explain.facts import ENDED, Facts, touches
from cockpit.explain.findings import Writer
from cockpit.explain.wrong import BAD, Sort
from cockpit.model.units import plural
from cockpit.model.view import BADNESS, FAILED, OK, UNKNOWN
from cockpit.model.why_rows import ACTION, CLUSTER, HOST, INSTANCE, RELAY, Evidence, Finding, Findings, Remedy
from cockpit.model.why_rows import GROUP as NODES
from cockpit.model.why_rows import SERVICE as LEAF

MOST = 40
"""Findings of one answer."""


def explain(facts: Facts, kind: str, name: str) -> Findings:
    """Why the object is as it is. Of a kind or name that nobody knows: that it is not known."""
    start = troubles_of(facts, kind, name)
    # everything, so that what hangs on a cause is counted, whatever was asked about
    graph = explore(facts, start, everything=bool(start) or kind == CLUSTER)
    writer = Writer(facts, graph, full=kind == INSTANCE)
    order = [n for n in _ordered(facts, graph) if writer.shown(n)]
    if kind == CLUSTER:
        order = [n for n in order if not graph.causes[n]]
    else:
        mine = graph.behind(start)
        order = [n for n in order if n in mine]
    found = [writer.finding(n) for n in order[:MOST]]
    if not found:
        fallback = _unexplained(facts, kind, name)
        found = [fallback] if fallback is not None else []
    return Findings(
        kind=kind, name=name, now=facts.now, findings=tuple(found), left_out=max(0, len(order) - MOST),
        calm="" if found else calm(facts, kind, name),
    )


def needs_you(facts: Facts, most: int = 1000) -> tuple[list[Finding], int]:
    """The roots of all troubles in brief, the worst first, for a line each; and how many more there are."""
    graph = explore(facts, everything=True)
    writer = Writer(facts, graph, brief=True)
    order = [n for n in graph.roots() if writer.shown(n)]
    if len(order) > most:
        order.sort(key=lambda n: _rank(facts, graph.knots[n][0]))
    return [writer.finding(n) for n in order[:most]], max(0, len(order) - most)


def troubles_of(facts: Facts, kind: str, name: str) -> list[Trouble]:
    """The troubles that an object has itself; of the cluster none, they are those of its objects."""
    wrong = facts.wrong
    if kind == INSTANCE:
        held = wrong.held(name)
        if held is None:
            return []
        return [group_trouble(held)] if isinstance(held, Sort) else [Trouble(HOST, held[1])]
    if kind == HOST:
        out = [Trouble(HOST, name)] if name in wrong.hosts or name in wrong.silent else []
        rows = facts.instances
        here = {s for s, g in wrong.groups.items() if any(i in rows and rows[i].host == name for i in g.ids)}
        return out + [group_trouble(s) for s in sorted(here)]
    if kind == RELAY:
        return [Trouble(RELAY, name)] if facts.bad_relay(name) is not None else []
    if kind == ACTION:
        row = facts.actions.get(name)
        bad = row is not None and (row in facts.stuck or row.state in ("failed", "aborted", "returned", "refused"))
        return [Trouble(ACTION, name), *_of_action(facts, name)] if bad else _of_action(facts, name)
    if kind in (LEAF, NODES):
        under = [s for s in wrong.sorts if s == name or s.startswith(name + ".")]
        away = {h for s, hosts in wrong.silent_of.items() if s == name or s.startswith(name + ".") for h in hosts}
        out = [group_trouble(s) for u in sorted(under) for s in sorted(wrong.sorts[u])]
        out += [Trouble(HOST, h) for h in sorted(away)]
        return out + [Trouble(ODD, k) for k in facts.odd() if facts.drift[k].target.rpartition("/")[0] == name
                      or facts.drift[k].target == name]  # fmt: skip
    return []


def _of_action(facts: Facts, id: str) -> list[Trouble]:
    """What is wrong with its targets."""
    row = facts.actions.get(id)
    if row is None or (row.state in ENDED and row.state == "done"):
        return []
    groups = [s for s, g in facts.wrong.groups.items() if touches(row, g.first)]
    hosts = [Trouble(HOST, t) for t in row.targets if t in facts.wrong.hosts]
    return [group_trouble(s) for s in sorted(groups)] + hosts


def _ordered(facts: Facts, graph: Graph) -> list[int]:
    """Knots with causes before effects; among those that may stand next the worst, the oldest, by name."""
    depth: list[int] = []
    for causes in graph.causes:  # knots come with causes first
        depth.append(1 + max((depth[c] for c in causes), default=-1))
    ranks = [_rank(facts, graph.knots[n][0]) for n in range(len(depth))]
    return sorted(range(len(depth)), key=lambda n: (depth[n] > 0, depth[n], ranks[n]))


def _rank(facts: Facts, trouble: Trouble) -> tuple[int, float, str, str]:
    mark, since = UNKNOWN, None
    if trouble.sort is not None:
        group = facts.wrong.groups[trouble.sort]
        mark, since = group.mark, group.since
    elif trouble.kind == HOST and trouble.name in facts.hosts:
        mark, since = facts.hosts[trouble.name].mark, facts.hosts[trouble.name].since
    elif trouble.kind == RELAY:
        mark, since = FAILED, facts.relays[trouble.name].since
    elif trouble.kind == ACTION:
        mark = FAILED
    return -BADNESS.get(mark, 0), since if since is not None else facts.now, trouble.name, str(trouble.sort)


def worst_instances(facts: Facts, kind: str, name: str, limit: int) -> list[str]:
    """Instances whose last log lines say most about the object: of each trouble one, the one asked about first."""
    out = [name] if kind == INSTANCE and name in facts.instances else []
    start = troubles_of(facts, kind, name)
    groups = [t.sort for t in explore(facts, start, everything=kind == CLUSTER).edges if t.sort is not None]
    groups.sort(key=lambda s: _rank(facts, group_trouble(s)))
    out += [facts.wrong.groups[s].first for s in groups]
    return list(dict.fromkeys(out))[:limit]


# nothing is wrong, or nobody knows what


def calm(facts: Facts, kind: str, name: str) -> str:
    """How an object is that needs no explanation."""
    if kind == INSTANCE and name in facts.instances:
        row = facts.instances[name]
        work = next((a for a in facts.actions.values() if a.state not in ENDED and touches(a, name)), None)
        if row.mark != OK and work is not None:
            return f"{facts.short(name)} is {row.word or row.state.lower()}: {work.id} {work.verb} works on it"
        return f"{facts.short(name)} is {row.word or row.state.lower()}, as expected: nothing to explain"
    if kind in (LEAF, NODES) and name in facts.nodes:
        node = facts.nodes[name]
        return f"{facts.short(name)}: {node.have} of {node.want} healthy; nothing to explain"
    if kind == HOST and name in facts.hosts:
        return f"{name} is {facts.hosts[name].presence}, and what is there is well: nothing to explain"
    if kind == RELAY and name in facts.relays:
        row_ = facts.relays[name]
        return f"{name} is {row_.presence or 'for artifacts only, nobody watches it'}: nothing to explain"
    if kind == ACTION and name in facts.actions:
        action = facts.actions[name]
        return f"{name} is {action.state}: nothing to explain"
    if kind == CLUSTER:
        things = f"{plural(len(facts.instances), 'instance')} and {plural(len(facts.hosts), 'host')}"
        return f"{things}, all as expected: nothing to explain"
    return f"nothing is known of {name}"


def _unexplained(facts: Facts, kind: str, name: str) -> Finding | None:
    """Something shows itself as bad and no trouble was found for it: that is said, and nothing made up."""
    mark, reason, since = OK, "", None
    door: tuple[str, ...] = ()
    proof: Iterable[Evidence] = ()
    if kind == INSTANCE and name in facts.instances:
        row = facts.instances[name]
        mark, reason, since, door = row.mark, row.reason, row.since, ("node", name)
    elif kind in (LEAF, NODES) and name in facts.nodes:
        mark, door = facts.nodes[name].mark, ("instances", name)
    elif kind == HOST and name in facts.hosts:
        host = facts.hosts[name]
        mark, reason, since, door = host.mark, host.reason, host.since, ("host", name)
        proof = host_facts(facts, host)
    elif kind == RELAY and name in facts.relays:
        relay = facts.relays[name]
        mark, reason, since, door = relay.mark, relay.reason, relay.since, ("relays",)
    if mark not in BAD:
        return None
    what = f"{facts.short(name)} is {mark}, and nobody says why" if not reason else f"{facts.short(name)} is {mark}"
    return Finding(
        key=f"{kind} {name}", kind=kind, name=name, word=mark, what=what, mark=mark, since=since,
        reason=reason or "why is not known", objects=(name,), evidence=tuple(proof), door=door,
        remedies=(Remedy(text="look at it", door=door),),
    )  # fmt: skip
