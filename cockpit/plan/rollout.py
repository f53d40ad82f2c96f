"""From expected, actual and a set of instances to the ordered graph of steps.

Order: releases are fetched at once; what only ends, ends at once; what is replaced goes in batches
per service (canary first, then `update.parallel` at a time, each after the last of the batch before);
what starts where nothing runs starts together, callees before callers. Data that a running unit gets
without a restart takes its turn in the same batches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from cockpit.model.actual import Actual, Unit
from cockpit.model.topology import Expected, Service, Stop, slot_of
from cockpit.plan import ports
from cockpit.plan.data import artifact_id, data_ids, watch_time
from cockpit.plan.moves import Decider, Move
from cockpit.plan.steps import ACTIVATE, DRAIN, FETCH, HEALTHY, PREPARE, REMOVE, START, STOP, Step

Needs = tuple[str, ...]

DIRECT = 8
"""So many steps are waited for one by one; more of them by a gate, or edges would grow with the square."""


def weights(actual: Actual, host: str, release: str) -> dict[str, int]:
    """What is known of the bytes of a fetch: `to_move` on the way to this host, and `size`."""
    known = actual.moves.get(release)
    if known is None or host not in actual.hosts:
        return {}
    return {"to_move": known.to_host(actual.hosts[host].releases), "size": known.size}


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    steps: tuple[Step, ...] = ()
    gates: dict[str, tuple[str, ...]] = {}
    """As in the plan."""
    warnings: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Instances that live now and take their turn in a batch."""
    skipped: tuple[str, ...] = ()
    """Instances that are left as they are although they differ; `warnings` say why."""


def rollout(
    expected: Expected,
    actual: Actual,
    instances: Iterable[str],
    *,
    forced: Collection[str] = (),
    canary: bool = False,
    gen_floor: Mapping[str, int] | None = None,
    pinned_too: bool = False,
) -> Rollout:
    """The steps that make these instances right.

    `forced` ones are restarted even when they are. `pinned_too`: the operator named them, so what
    somebody pinned on the host gives way. Steps are in topological order; ids are `s1`, `s2`, ...
    """
    decider = Decider(expected, actual, forced=forced, gen_floor=gen_floor, pinned_too=pinned_too)
    ordered = sorted(set(instances), key=lambda i: (i.rpartition("/")[0], slot_of(i)))
    moves = [m for i in ordered if (m := decider.move(i)) is not None]
    moves = ports.unblocked(moves, decider)
    graph = _Graph(expected, actual, decider)
    graph.build(moves, canary)
    replaced = tuple(m.instance for m in moves if m.disturbs)
    needed = {need for step in graph.steps for need in step.needs} if graph.gates else set()
    gates = {id: members for id, members in graph.gates.items() if id in needed}
    return Rollout(
        steps=tuple(graph.steps), gates=gates, warnings=tuple(dict.fromkeys(decider.warnings)),
        replaced=replaced, skipped=tuple(sorted(decider.skipped)),
    )  # fmt: skip


class _Graph:
    def __init__(self, expected: Expected, actual: Actual, decider: Decider) -> None:
        self.expected = expected
        self.actual = actual
        self.short = decider.short
        self.steps: list[Step] = []
        self.gates: dict[str, Needs] = {}
        self.fetched: dict[tuple[str, str], str] = {}
        self.stopped: dict[str, str] = {}
        """Unit -> id of the step that ends its process."""
        self.ports = ports.Leaving(decider)

    def add(self, kind: str, host: str, text: str, needs: Needs = (), **more: Any) -> str:
        id = f"s{len(self.steps) + 1}"
        self.steps.append(Step(id=id, kind=kind, host=host, text=text, needs=needs, **more))
        return id

    def gate(self, ids: Needs) -> Needs:
        """What steps need that wait for all of these."""
        if len(ids) <= DIRECT:
            return ids
        id = f"g{len(self.gates) + 1}"
        self.gates[id] = ids
        return (id,)

    def build(self, moves: list[Move], canary: bool) -> None:
        moves, tied = self.ports.ties(moves)
        for move in moves:
            if move.fresh or move.activate:
                self._fetch(move)
        for move in moves:
            if not move.start and not (move.activate and move.disturbs):
                self._emit([move], (), 0)
        after = self._batches(moves, tied, canary)
        self._fresh([m for m in moves if m.start and not m.disturbs and m.instance not in tied], after)

    def _batches(
        self, moves: list[Move], tied: dict[str, str], canary: bool
    ) -> dict[str, tuple[Needs, int]]:
        """Emits what is replaced. Service -> what its fresh starts wait for (the canary), their batch."""
        items: dict[str, dict[str, list[Move]]] = {}
        for move in moves:
            if move.disturbs and move.activate or move.start and (move.disturbs or move.instance in tied):
                lead = tied.get(move.instance, move.instance)
                items.setdefault(lead.rpartition("/")[0], {}).setdefault(lead, []).append(move)
        after: dict[str, tuple[Needs, int]] = {}
        for path, by_lead in items.items():
            update = self.expected.services[path].update
            queue = list(by_lead.values())
            first = min(update.canary, len(queue)) if canary else 0
            batches = [queue[len(queue) - first :]] if first else []
            rest = queue[: len(queue) - first]
            size = max(1, update.parallel)
            batches += [rest[n : n + size] for n in range(0, len(rest), size)]
            gate: Needs = ()
            for number, batch in enumerate(batches):
                gate = self.gate(tuple(id for item in batch for id in self._emit(item, gate, number)))
                if first and number == 0:
                    after[path] = (gate, 1)
        return after

    def _fresh(self, moves: list[Move], after: dict[str, tuple[Needs, int]]) -> None:
        by_service: dict[str, list[Move]] = {}
        for move in moves:
            by_service.setdefault(move.service, []).append(move)
        healthy: dict[str, Needs] = {}
        for path in _callees_first(self.expected, by_service):
            gate, batch = after.get(path, ((), 0))
            calls = tuple(
                id for callee in _nearest(self.expected, path, by_service) for id in healthy.get(callee, ())
            )
            start = len(self.steps)
            for move in by_service[path]:
                self._emit([move], gate, batch, calls)
            healthy[path] = self.gate(tuple(s.id for s in self.steps[start:] if s.kind == HEALTHY))

    def _emit(self, item: list[Move], gate: Needs, batch: int, calls: Needs = ()) -> list[str]:
        """The steps of moves that belong together; returns the ids of the last ones.

        All their `early` units end before any of them starts (they may hold each other's ports).
        """
        ready = {m.instance: self._prepare(m, gate, batch) for m in item if m.fresh}
        for move in item:
            for unit in move.early:
                self._stop(move, unit, gate, batch)
        last: list[str] = []
        for move in item:
            last += self._bring(move, ready.get(move.instance), gate, batch, calls)
        return last

    def _bring(
        self, move: Move, ready: str | None, gate: Needs, batch: int, calls: Needs
    ) -> list[str]:
        service = self.expected.services.get(move.service)
        done: Needs = ()
        if move.start:
            assert service is not None
            ended = [self.stopped[u.unit] for u in move.early]
            needs = _join((ready,) if ready else gate, ended, self.ports.freed(move, self.stopped), calls)
            done = (self.add(
                START, move.host, self._start_text(move), needs,
                instance=move.instance, unit=move.unit, batch=batch,
            ),)  # fmt: skip
        if move.activate:
            assert service is not None
            done = self._activate(move, service, gate, batch)
        if move.wait:
            seconds = service.update.healthy_for if service else 0.0
            done = (self.add(
                HEALTHY, move.host,
                f"wait until {self.short(move.instance)} on {move.host} is healthy for {seconds:g} s",
                done or gate, instance=move.instance, unit=move.unit, batch=batch, args={"for": seconds},
            ),)  # fmt: skip
        for unit in move.late:
            self._stop(move, unit, done or gate, batch)
        removed: list[str] = []
        for unit in move.forget:
            ended = [self.stopped[unit.unit]] if unit.unit in self.stopped else []
            removed.append(self.add(
                REMOVE, self.actual.where[unit.unit], f"forget {self._old(move, unit)}",
                _join(done, ended) or gate, instance=move.instance, unit=unit.unit, batch=batch,
            ))  # fmt: skip
        return removed or list(done) or [self.stopped[u.unit] for u in move.early]

    def _fetch(self, move: Move) -> Needs:
        """The steps that bring the release and the data to the host, as far as it has them not."""
        service = self.expected.services[move.service]
        wanted = [artifact_id(service.data[name]) for name in move.activate]
        if move.fresh:
            wanted = [f"{service.artifact}/{service.version}"] if service.artifact is not None else []
            wanted += data_ids(service).values()
        found = []
        for release in dict.fromkeys(wanted):
            if release in self.actual.hosts[move.host].releases:
                continue
            key = (move.host, release)
            if key not in self.fetched:
                name, _, version = release.partition("/")
                self.fetched[key] = self.add(
                    FETCH, move.host, f"push {name}-{version} to {move.host}",
                    args={"name": name, "version": version, **weights(self.actual, move.host, release)},
                )  # fmt: skip
            found.append(self.fetched[key])
        return tuple(found)

    def _prepare(self, move: Move, gate: Needs, batch: int) -> str:
        fetched = self._fetch(move)
        service = self.expected.services[move.service]
        label = f" ({service.version})" if service.version else ""
        data = data_ids(service)
        return self.add(
            PREPARE, move.host, f"prepare {self.short(move.instance)}{label} on {move.host}",
            (*fetched, *gate), instance=move.instance, unit=move.unit, batch=batch,
            args={"version": service.version} | ({"data": data} if data else {}),
        )  # fmt: skip

    def _activate(self, move: Move, service: Service, gate: Needs, batch: int) -> Needs:
        """The data, one after the other; when that sends a signal, the unit must stay healthy after it."""
        done: Needs = (*self._fetch(move), *gate)
        who = {"instance": move.instance, "unit": move.unit, "batch": batch}
        signals = False
        for name in move.activate:
            data = service.data[name]
            signal = data.signal if data.on_change == "signal" and move.disturbs else ""
            signals = signals or bool(signal)
            told = f" and send it {signal}" if signal else ""
            text = f"give {self.short(move.instance)} on {move.host} {data.artifact}-{data.version}{told}"
            args = {"data": name, "artifact": data.artifact, "version": data.version, "signal": signal}
            done = (self.add(ACTIVATE, move.host, text, done, **who, args=args),)
        if not signals:
            return done
        seconds = watch_time(service)
        text = f"see that {self.short(move.instance)} on {move.host} stays healthy for {seconds:g} s"
        given = {name: artifact_id(service.data[name]) for name in move.activate}
        return (self.add(HEALTHY, move.host, text, done, **who, args={"for": seconds, "data": given}),)

    def _stop(self, move: Move, unit: Unit, gate: Needs, batch: int) -> None:
        """Out of naming and drained, whatever stops it; then the signal."""
        service = self.expected.services.get(move.service)
        stop = service.stop if service is not None else Stop()
        host, who = self.actual.where[unit.unit], self._old(move, unit)
        drained = self.add(
            DRAIN, host, f"take {who} out of naming and let its connections end", gate,
            instance=move.instance, unit=unit.unit, batch=batch, args={"timeout": stop.drain},
        )  # fmt: skip
        self.stopped[unit.unit] = self.add(
            STOP, host, f"stop {who}", (drained,),
            instance=move.instance, unit=unit.unit, batch=batch,
            args={"signal": stop.signal, "grace": stop.grace},
        )  # fmt: skip

    def _old(self, move: Move, unit: Unit) -> str:
        old = "the old " if move.unit and unit.unit != move.unit else ""
        return f"{old}{self.short(move.instance)} on {self.actual.where[unit.unit]}"

    def _start_text(self, move: Move) -> str:
        name = self.short(move.instance)
        if any(u.unit == move.unit for u in move.early):
            return f"start {name} on {move.host} again"
        if not move.late:
            return f"start {name} on {move.host}"
        old = self.actual.where[move.late[0].unit]
        if old == move.host:
            return f"start {name} beside the old one on {move.host}"
        return f"start {name} on {move.host} while the old one serves on {old}"


def _join(*parts: Iterable[str]) -> Needs:
    return tuple(dict.fromkeys(id for part in parts for id in part))


def _callees_first(expected: Expected, paths: Mapping[str, Any]) -> list[str]:
    """The services in an order in which callees come before callers (a cycle is cut somewhere)."""
    order: list[str] = []
    seen: set[str] = set()
    for root in sorted(paths):
        stack = [(root, False)]
        while stack:
            path, left = stack.pop()
            if left:
                order.append(path)
            elif path not in seen:
                seen.add(path)
                stack.append((path, True))
                service = expected.services.get(path)
                stack += [(d, False) for d in reversed(service.depends if service else ())]
    return [p for p in order if p in paths]


def _nearest(expected: Expected, path: str, among: Mapping[str, Any]) -> list[str]:
    """The services of `among` that this one reaches first along its dependencies."""
    found: dict[str, None] = {}
    seen = {path}
    stack = list(reversed(expected.services[path].depends))
    while stack:
        callee = stack.pop()
        if callee in seen:
            continue
        seen.add(callee)
        if callee in among:
            found[callee] = None
        elif callee in expected.services:
            stack += reversed(expected.services[callee].depends)
    return list(found)
