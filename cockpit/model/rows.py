"""Rows that screens show, from expected and actual; and the tree's roll-up, kept up to date row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cockpit.model import drift as kinds
from cockpit.model import view
from cockpit.model.actual import Actual, HostActual, Unit
from cockpit.model.actual import serving_unit as serving
from cockpit.model.drift import trouble
from cockpit.model.judge import heard, settled
from cockpit.model.states import LIVE, NO_CHECK, OK, State
from cockpit.model.topology import Expected, service_path, slot_of
from cockpit.model.view import DriftRow, HostRow, InstanceRow, NodeRow, RunRow

RUNNING, SHUTDOWN = State.RUNNING.name, State.SHUTDOWN.name

_LOOK = {
    kinds.UNHEALTHY: (view.FAILED, "unhealthy"),
    kinds.ALTERED: (view.FAILED, "altered"),
    kinds.MISSING: (view.DRIFT, "missing"),
    kinds.EXTRA: (view.DRIFT, "extra"),
    kinds.WRONG_VERSION: (view.DRIFT, "wrong version"),
    kinds.WRONG_CONFIG: (view.DRIFT, "wrong config"),
    kinds.WRONG_DATA: (view.DRIFT, "wrong data"),
    kinds.WRONG_HOST: (view.DRIFT, "wrong host"),
    kinds.WRONG_ROLE: (view.DRIFT, "wrong role"),
    kinds.SILENT: (view.UNKNOWN, "no answer"),
}
"""Drift kind -> mark and word."""

_ORDER = {kind: n for n, kind in enumerate(_LOOK)}
"""When a row has several differences, the first of these names it."""


def instance_row(
    instance: str, expected: Expected, actual: Actual, drift: Iterable[DriftRow], *, busy: bool = False
) -> InstanceRow | None:
    """The row of one instance, given its drift; None when it is neither expected nor seen.

    `busy`: a running action moves it now, so what differs is shown as changing (but failure as failed).
    """
    units = actual.units.get(instance, ())
    path = service_path(instance)
    service = expected.services.get(path)
    placed = expected.placement.get(instance) if service is not None else None
    if placed is None and not units:
        return None
    where = actual.where
    unit = serving(tuple(u for u in units if heard(actual, where.get(u.unit)))) or serving(units)
    host = where.get(unit.unit, placed or "") if unit is not None else (placed or "")
    stopped = placed is None or expected.stopped.get(instance, False)
    silent = not heard(actual, host)
    differences = sorted(drift, key=lambda d: _ORDER.get(d.kind, len(_ORDER)))
    mark, word = _look(unit, differences, stopped, silent, busy)
    if unit is not None and service is not None and not differences and settled(unit, service):
        word = "complete"
    reason = _reasons(differences)
    if busy and differences and unit is not None and unit.serving and not silent:
        # an update works on it and it serves meanwhile: nothing is wrong yet
        mark, word, reason = view.CHANGING, *_updating(unit, units)
    entry = expected.hosts.get(host)
    if silent:
        state = "UNKNOWN"
    else:
        state = (unit.state if unit is not None else State.NEW).name
    return InstanceRow(
        id=instance,
        service=path,
        slot=slot_of(instance),
        host=host,
        version_expected=service.version if service is not None and placed is not None else "",
        version_actual=unit.version if unit is not None else "",
        state=state,
        desired=SHUTDOWN if stopped else RUNNING,
        pid=unit.pid if unit is not None else None,
        ports=unit.ports if unit is not None else {},
        health=unit.health if unit is not None else "none",
        restarts=unit.restarts if unit is not None else 0,
        runs=tuple(_run(u, where.get(u.unit, "")) for u in reversed(units)),
        mark=mark,
        word=word,
        reason=reason,
        since=differences[0].since if differences else _calm_since(unit),
        started=unit.started if unit is not None else None,
        address=entry.address if entry is not None else "",
        observed=(unit.observed or None) if unit is not None else None,
        pinned=next((u.pinned for u in units if u.pinned), ""),
    )


def _look(
    unit: Unit | None, differences: list[DriftRow], stopped: bool, silent: bool, busy: bool
) -> tuple[str, str]:
    if not differences:
        if stopped:
            return view.ABSENT, "stopped"
        if silent:
            return view.UNKNOWN, "no answer"
        return view.OK, "running"
    first = differences[0]
    mark, word = _LOOK.get(first.kind, (view.DRIFT, first.kind))
    if first.kind == kinds.UNHEALTHY and unit is not None:
        if unit.state == State.STARTING:
            mark, word = view.DRIFT, "starting"
        elif unit.state in (State.FAILED, State.REJECTED):
            word = unit.state.name.lower()
    if busy and mark == view.DRIFT:
        mark = view.CHANGING
    return mark, word


def _updating(unit: Unit, units: tuple[Unit, ...]) -> tuple[str, str]:
    """Word and reason of an instance that serves while an action replaces it or will."""
    new = max(units, key=lambda u: u.gen)
    if new is unit:
        return "leaving" if len(units) > 1 else "waiting", ""
    why = trouble(new)
    return "updating", f"{new.version or 'the new run'} is {new.state.name}" + (f": {why}" if why else "")


def _reasons(differences: list[DriftRow]) -> str:
    """All of them, each thing once. What an old run left behind is only told when nothing else is wrong."""
    telling = [d for d in differences if d.kind != kinds.EXTRA] or differences
    out: list[str] = []
    for text in (_reason(d) for d in telling):
        if not any(text in said for said in out):
            out.append(text)
    return "; ".join(out)


def _reason(row: DriftRow) -> str:
    """One difference as a fragment: `runs 1.0.0, expected 1.1.0`."""
    if row.kind in (kinds.UNHEALTHY, kinds.ALTERED, kinds.SILENT):
        return row.reason
    if row.kind == kinds.WRONG_VERSION:
        text = f"has version {row.actual or 'none'}, expected {row.expected or 'none'}"
    elif row.kind == kinds.WRONG_HOST:
        text = f"is on {row.actual}, expected on {row.expected}"
    elif row.kind == kinds.WRONG_CONFIG:
        text = "was started with another configuration"
    elif row.kind == kinds.WRONG_ROLE:
        text = f"says it is {row.actual}, expected {row.expected}"
    elif row.kind == kinds.EXTRA:
        text = f"should not be: {row.actual}"
    else:
        text = f"expected {row.expected}, there is {row.actual}"
    return f"{text} ({row.reason})" if row.reason else text


def _calm_since(unit: Unit | None) -> float | None:
    if unit is None:
        return None
    if unit.state in LIVE:
        return unit.health_since if unit.health_since is not None else unit.started
    return unit.exit.ended or None if unit.exit is not None else None


def _run(unit: Unit, host: str) -> RunRow:
    return RunRow(
        unit=unit.unit, host=host, run=unit.run, state=unit.state.name, version=unit.version, pid=unit.pid,
        started=unit.started, exit=unit.exit.words() if unit.exit is not None else "",
    )  # fmt: skip


def placed_counts(expected: Expected) -> Counter[str]:
    """Host -> instances that should run there."""
    stopped = expected.stopped
    return Counter(h for i, h in expected.placement.items() if not stopped.get(i))


def host_row(name: str, expected: Expected, actual: Actual, *, instances: int, want: int) -> HostRow:
    """The row of a host, declared or only seen. `instances` live there, `want` should (see Rollup)."""
    entry = expected.hosts.get(name)
    seen = actual.hosts.get(name) or HostActual(name=name, reason="never heard")
    mode = expected.modes.get(name)
    present = heard(actual, name)
    presence = mode if mode is not None and present else seen.presence
    mark, reason = view.OK, seen.reason
    if not present:
        mark = view.FAILED if seen.presence == "down" else view.UNKNOWN
        reason = reason or "no answer"
    elif mode == "draining":
        mark = view.DRAINING
    elif mode == "maintenance":
        mark = view.PAUSED
    elif seen.presence != "up":
        mark, reason = view.CHANGING, reason or "late"
    elif entry is None:
        mark, reason = view.DRIFT, reason or "not in the topology"
    return HostRow(
        name=name, region=entry.region if entry is not None else "", presence=presence,
        address=entry.address if entry is not None else "",
        labels=entry.labels if entry is not None else {},
        agent_pid=seen.agent_pid, keeper_pid=seen.keeper_pid, boot_id=seen.boot_id,
        instances=instances, want=want, mark=mark, reason=reason,
        since=seen.since, seen=seen.seen, latency=seen.latency,
        names_applied=seen.names_applied, releases=seen.releases,
        connection=entry.connection if entry is not None else "agent",
        agent_version=seen.agent_version, keeper_version=seen.keeper_version, upgrading=seen.upgrading,
        path=seen.path, transport=seen.transport, missing=seen.missing, trouble=seen.trouble,
    )  # fmt: skip


class _Tally:
    """Counts of one node of the tree."""

    __slots__ = ("have", "marks", "rows", "versions", "want")

    def __init__(self) -> None:
        self.rows = self.want = self.have = 0
        self.marks: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()

    def count(self, row: InstanceRow, by: int) -> None:
        self.rows += by
        if row.desired == RUNNING:
            self.want += by
            if row.word == "complete" or (row.state == RUNNING and row.health in _WELL):
                self.have += by
        self.marks[row.mark] += by
        if row.version_actual and row.state in _LIVE_NAMES:
            self.versions[row.version_actual] += by


_WELL = (OK, NO_CHECK)
_LIVE_NAMES = frozenset(s.name for s in LIVE)
_DRIFTING = (view.DRIFT, view.FAILED, view.UNKNOWN)


class Rollup:
    """Per-node and per-host counts under replacement of instance rows, O(depth) each.

    Feed every row once by `replace(None, row)`; for a new revision `rebase`.
    """

    def __init__(self, expected: Expected) -> None:
        self._nodes: dict[str, _Tally] = {}
        self._hosts: Counter[str] = Counter()
        self.rebase(expected)

    def rebase(self, expected: Expected) -> None:
        """Other nodes are declared now; the rows that were fed still count until they are replaced."""
        self._expected = expected
        self._inner: set[str] = set(expected.groups)
        for path in (*expected.groups, *expected.services):
            own, *above = _upward(path)
            self._inner.update(above)
            for node in (own, *above):
                self._nodes.setdefault(node, _Tally())

    def replace(self, old: InstanceRow | None, new: InstanceRow | None) -> tuple[set[str], set[str]]:
        """Takes `old` out and `new` in; returns the node paths and the hosts whose counts may differ."""
        nodes: set[str] = set()
        hosts: set[str] = set()
        for row, by in ((old, -1), (new, 1)):
            if row is None:
                continue
            for path in _upward(row.service):
                tally = self._nodes.get(path)
                if tally is None:
                    tally = self._nodes[path] = _Tally()
                tally.count(row, by)
                nodes.add(path)
            for run in row.runs:
                hosts.add(run.host)
                if run.state in _LIVE_NAMES:
                    self._hosts[run.host] += by
        return nodes, hosts

    def live_on(self, host: str) -> int:
        """Units that live on the host, by the last that was heard of it."""
        return self._hosts[host]

    def row(self, path: str) -> NodeRow | None:
        """None when the node is neither declared nor has rows (any more)."""
        tally = self._nodes.get(path)
        expected = self._expected
        service, group = expected.services.get(path), expected.groups.get(path)
        inner = path in self._inner
        if tally is None or (service is None and group is None and not tally.rows and not inner):
            return None
        marks = [m for m, n in tally.marks.items() if n > 0]
        if service is not None or (group is None and not inner):
            kind = "service"
        else:
            kind = "cluster" if group is not None and group.cluster else "group"
        return NodeRow(
            path=path, kind=kind, want=tally.want, have=tally.have,
            drift=sum(tally.marks[m] for m in _DRIFTING),
            mark=max(marks, key=lambda m: view.BADNESS[m], default=view.ABSENT),
            versions={v: n for v, n in sorted(tally.versions.items()) if n > 0},
            version=service.version if service is not None else "",
            depends=service.depends if service is not None else (),
        )  # fmt: skip

    def rows(self) -> dict[str, NodeRow]:
        """Every node, parents before children."""
        rows = ((path, self.row(path)) for path in sorted(self._nodes, key=lambda p: p.split(".")))
        return {path: row for path, row in rows if row is not None}


def _upward(path: str) -> list[str]:
    """`a.b.c` -> `a.b.c`, `a.b`, `a`."""
    result = [path]
    while (cut := path.rfind(".")) >= 0:
        path = path[:cut]
        result.append(path)
    return result


def tree_rows(expected: Expected, rows: Iterable[InstanceRow]) -> dict[str, NodeRow]:
    """The whole tree at once."""
    rollup = Rollup(expected)
    for row in rows:
        rollup.replace(None, row)
    return rollup.rows()
