"""The facts behind a finding, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from cockpit.act.table import VERBS
from cockpit.explain.facts import ENDED, Facts, touches
from cockpit.explain.wrong import Sort, unheard
from cockpit.model import drift as kinds
from cockpit.model.units import shorten
from cockpit.model.view import ABSENT, CHANGING, DRIFT, FAILED, OK, PAUSED, UNKNOWN, ActionRow, HostRow, InstanceRow
from cockpit.model.why_rows import Evidence, Remedy

EXAMPLES = 3
"""Instances of one group whose evidence is told."""
LINES = 5


def of_group(facts: Facts, sort: Sort, *, full: bool) -> tuple[Evidence, ...]:
    """Of instances with the same trouble. `full` also says what is well: for one that was asked about."""
    group = facts.wrong.groups[sort].ids
    ids, several = nsmallest(EXAMPLES, group), len(group) > 1
    rows = [facts.instances[i] for i in ids if i in facts.instances]
    out: list[Evidence] = []
    for row in rows:
        out += _of_instance(facts, row, several)
    out += _others(facts, sort, len(group))
    out += _dependencies(facts, sort.service, full)
    out += _places(facts, rows, full)
    out += _neighbours(facts, sort, rows)
    out += [_action(facts, a) for a in _at_work(facts, ids)]
    return tuple(out)


def _of_instance(facts: Facts, row: InstanceRow, several: bool) -> list[Evidence]:
    name = f"{facts.short(row.id)}: " if several else ""
    door, more = ("node", row.id), facts.more.get(row.id)
    out: list[Evidence] = []
    if row.reason:
        kind = "check" if row.health == "failing" else "drift" if row.word in DIFFERENCES else "check"
        out.append(Evidence(kind=kind, text=name + row.reason, at=row.since, mark=row.mark, door=door))
    elif row.mark != OK:
        text = f"{name}{row.word or row.state}; nobody says why"
        out.append(Evidence(kind="unknown", text=text, at=row.since, mark=UNKNOWN, door=door))
    if row.pinned:
        text = f"{name}held on the host itself: {row.pinned}"
        out.append(Evidence(kind="pin", text=text, mark=PAUSED, door=("host", row.host)))
    for run in [r for r in row.runs if r.exit][:EXAMPLES]:
        asked = run.state in ("SHUTDOWN", "COMPLETE")
        text = f"{name}run {run.run} ({run.version}) on {run.host} ended: {run.exit}"
        if run.state in ("STARTING", "RUNNING"):
            text = f"{name}the run before {run.run} ({run.version}) on {run.host} ended: {run.exit}"
        out.append(Evidence(kind="exit", text=text, mark=OK if asked else FAILED, door=door))
    if more is not None:
        cores = [e for e in more.exits if "core kept" in e]
        out += [Evidence(kind="exit", text=name + e, mark=FAILED, door=door) for e in cores[:EXAMPLES]]
    if row.restarts > 1:
        out.append(Evidence(kind="exit", text=f"{name}restarted {row.restarts} times", mark=DRIFT, door=door))
    if more is not None:
        logs = ("logs", row.id)
        out += [Evidence(kind="log", text=name + line, door=logs) for line in more.lines[-LINES:]]
        if more.no_lines:
            out.append(Evidence(kind="unknown", text=name + more.no_lines, mark=UNKNOWN, door=logs))
        if more.probe:
            out.append(Evidence(kind="check", text=f"{name}says of itself: {more.probe}", door=door))
    return out


DIFFERENCES = frozenset(
    {kinds.MISSING, kinds.EXTRA, kinds.WRONG_VERSION, kinds.WRONG_CONFIG, kinds.WRONG_DATA, kinds.WRONG_HOST,
     kinds.WRONG_ROLE, "altered"}
)  # fmt: skip


def _others(facts: Facts, sort: Sort, count: int) -> list[Evidence]:
    """How those of other versions and of the same one do."""
    node = facts.nodes.get(sort.service)
    if node is None or not sort.version or sort.word in DIFFERENCES:
        return []
    door = ("instances", sort.service)
    same = node.versions.get(sort.version, 0)
    other = {v: n for v, n in node.versions.items() if v != sort.version}
    if other and same <= count and node.have >= sum(other.values()) > 0:
        words = ", ".join(f"{n} with {v}" for v, n in sorted(other.items()))
        text = f"no instance with {sort.version} is healthy, all others are: {words}"
        return [Evidence(kind="version", text=text, mark=DRIFT, door=door)]
    if node.have:
        text = f"{node.have} of {node.want} instances of {facts.short(sort.service)} are healthy"
        return [Evidence(kind="version", text=text, door=door)]
    return []


def _dependencies(facts: Facts, service: str, full: bool) -> list[Evidence]:
    out, well = [], []
    for path in facts.depends(service):
        node, name = facts.nodes.get(path), facts.short(path)
        door = ("explain", path)
        if node is None:
            text = f"calls {name}, of which nothing is known"
            out.append(Evidence(kind="dependency", text=text, mark=UNKNOWN, door=()))
        elif facts.unwell(path):
            text = f"calls {name}: {node.have} of {node.want} healthy"
            out.append(Evidence(kind="dependency", text=text, mark=node.mark, door=door))
        else:
            well.append(f"{name} ({node.have} of {node.want})")
    if well and full:
        text = f"{', '.join(well)}, which it calls, {'is' if len(well) == 1 else 'are'} healthy"
        out.append(Evidence(kind="dependency", text=text, door=("instances", facts.depends(service)[0])))
    return out


def _places(facts: Facts, rows: Sequence[InstanceRow], full: bool) -> list[Evidence]:
    out = []
    for name in dict.fromkeys(r.host for r in rows if r.host):
        host = facts.hosts.get(name)
        if host is None:
            text = f"{name} is not a host of this cluster"
            out.append(Evidence(kind="host", text=text, mark=UNKNOWN))
        elif host.mark != OK or host.trouble:
            out += host_facts(facts, host)
        elif full:
            out.append(Evidence(kind="host", text=f"{name} is {host.presence}", at=host.since, door=("host", name)))
    return out


def host_facts(facts: Facts, host: HostRow) -> list[Evidence]:
    door = ("host", host.name)
    words = f"{host.name} is {host.presence}" + (f": {host.reason}" if host.reason else "")
    out = [Evidence(kind="host", text=words, at=host.since, mark=host.mark, door=door)]
    out += [Evidence(kind="host", text=f"{host.name}: {t}", mark=DRIFT, door=door) for t in host.trouble[:EXAMPLES]]
    if unheard(host):
        if host.seen is None:
            text = f"{host.name} was not heard since this controller began"
            out.append(Evidence(kind="unknown", text=text, mark=UNKNOWN, door=door))
        else:
            out.append(Evidence(kind="host", text=f"{host.name} was last heard", at=host.seen, door=door))
    if host.upgrading:
        text = f"agent {host.upgrading} is being started beside {host.agent_version or 'the present one'}"
        out.append(Evidence(kind="host", text=text, mark=CHANGING, door=door))
    return out


def _neighbours(facts: Facts, sort: Sort, rows: Sequence[InstanceRow]) -> list[Evidence]:
    """Others that are unwell on the same host, when those here are all on one: perhaps it is the host."""
    hosts = {r.host for r in rows if r.host}
    if len(hosts) != 1 or len(facts.wrong.groups) > 200:
        return []
    host = next(iter(hosts))
    beside = [
        i for s, group in facts.wrong.groups.items() if s.service != sort.service and len(group.ids) <= 200
        for i in group.ids if i in facts.instances and facts.instances[i].host == host
    ]
    if not beside:
        return []
    names = ", ".join(facts.short(i) for i in sorted(beside)[:EXAMPLES])
    more = f" and {len(beside) - EXAMPLES} more" if len(beside) > EXAMPLES else ""
    text = f"on {host} {names}{more} {'is' if len(beside) == 1 else 'are'} unwell too: perhaps it is the host"
    return [Evidence(kind="neighbour", text=text, mark=DRIFT, door=("instances", host))]


def _at_work(facts: Facts, ids: Iterable[str]) -> list[ActionRow]:
    some = list(ids)
    rows = [a for a in facts.actions.values() if a.state not in ENDED and any(touches(a, i) for i in some)]
    return sorted(rows, key=lambda a: (a.started, a.id))[:EXAMPLES]


def _action(facts: Facts, row: ActionRow) -> Evidence:
    title = shorten(row.title or row.verb, facts.short)
    text = f"{row.id} {title} is {row.state} here" + (f": {row.note}" if row.note else "")
    return Evidence(kind="action", text=text, at=row.started, mark=row.mark, door=("action", row.id))


# what can be done


def verb(name: str, text: str, kind: str, targets: Sequence[str]) -> Remedy:
    """A verb of the one table on its targets. Raises KeyError for one that is not there."""
    return Remedy(text=text, verb=name, key=VERBS[name].key, kind=kind, targets=tuple(targets))


def look(text: str, *door: str) -> Remedy:
    return Remedy(text=text, door=door)


def for_group(facts: Facts, sort: Sort, ids: Sequence[str], back: str, runs: str) -> tuple[Remedy, ...]:
    """`back`: id of an action that is suspected and whose inverse may help; `runs`: of one that has not ended."""
    kind, targets = ("node", (sort.service,)) if len(ids) > EXAMPLES else ("instance", tuple(ids))
    out: list[Remedy] = []
    if sort.word in DIFFERENCES or sort.word == "extra":
        out.append(verb("converge", "make it as expected", kind, targets))
        if sort.word != "altered":
            out.append(verb("adopt", "take what is there into what is expected", kind, targets))
    else:
        if back:
            out.append(verb("rollback", f"undo {back}", "action", (back,)))
        if runs:
            out.append(verb("abort", f"end {runs}, and return to what was before", "action", (runs,)))
        again = verb("restart", "restart", kind, targets)
        if len(ids) == 1:
            move = verb("migrate", "move it to another host", "instance", targets)
            # what was rejected never ran here: elsewhere it may
            out += [move, again] if sort.word == "rejected" else [again, move]
        else:
            out.append(again)
        out.append(look("read the log", "logs", *ids[:EXAMPLES]))
    return tuple(out)


def mark_of(row: ActionRow) -> str:
    return PAUSED if row.state in ("paused", "interrupted") else row.mark if row.mark != ABSENT else FAILED
