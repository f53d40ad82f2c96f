"""How long steps took, and which versions became healthy: what the twin and estimates draw from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Any

import msgspec

from cockpit.act.messages import DONE, FAILED
from cockpit.model.view import StepRow
from cockpit.plan.blast import DATA
from cockpit.plan.steps import (
    ACTIVATE,
    BULK,
    DRAIN,
    FETCH,
    HEALTHY,
    PREPARE,
    REMOVE,
    SIGNAL,
    START,
    STOP,
    UPGRADE,
    WARM,
    Plan,
    Step,
)

KEPT = 40
"""Samples per key: the newest."""
RECENT = 12
"""So many of them say what to expect: what was long ago says little."""
ENOUGH = 5
"""Samples from which a host counts as slower or faster than the others."""
AT_ONCE = 500
"""Steps that are taken in as one piece."""
NOTABLE = 1.25
"""By so much, or by so much less: smaller differences are chance."""

ASSUMED = {
    FETCH: 2.0, WARM: 2.0, PREPARE: 0.05, START: 0.05, HEALTHY: 1.0, DRAIN: 0.5, STOP: 0.3, ACTIVATE: 0.05,
    REMOVE: 0.02, UPGRADE: 2.0, SIGNAL: 0.02,
}
"""Seconds of a step that was never recorded. HEALTHY is the time to the first good health."""

_SEP = "|"


class Health(msgspec.Struct):
    """What was seen of one version: how often an instance of it became healthy, and how it failed."""

    ok: int = 0
    failed: int = 0
    reason: str = ""
    """Of the last failure."""


class _Dump(msgspec.Struct):
    steps: dict[str, list[float]] = {}
    health: dict[str, Health] = {}
    turns: dict[str, list[float]] = {}
    bytes: dict[str, list[tuple[int, float]]] = {}
    """Artifact -> (bytes moved, seconds) of its pushes, of whatever version."""
    hosts: dict[str, list[float]] = {}
    """`<kind>|<host>` -> seconds there, relative to what was usual for the step."""


class Durations:
    """Samples by kind, service and version (its sha256, or the label where there is no artifact)."""

    def __init__(self) -> None:
        self._dump = _Dump()
        self._found: dict[tuple[str, str, str], tuple[list[float], bool]] = {}
        self._factors: dict[tuple[str, str], float] = {}
        self._lines: dict[str, tuple[float, float] | None] = {}

    @classmethod
    def load(cls, doc: Mapping[str, Any] | None) -> Durations:
        """Raises ValueError when `doc` is not what `dump` gave; None is empty."""
        new = cls()
        if doc:
            try:
                new._dump = msgspec.convert(doc, _Dump)
            except msgspec.ValidationError as e:
                raise ValueError(f"recorded durations are damaged: {e}") from None
        return new

    def dump(self) -> dict[str, Any]:
        doc = msgspec.to_builtins(self._dump)
        assert isinstance(doc, dict)
        return doc

    # writing

    def add(
        self, kind: str, service: str, version: str, seconds: float, *, host: str = "", moved: int | None = None
    ) -> None:
        """One step. `moved` is bytes on the way, of a fetch."""
        usual, assumed = self._samples(kind, service, version)
        if host and not assumed and len(usual) >= ENOUGH and (middle := median(usual)) > 0.02:
            _keep(self._dump.hosts, _SEP.join((kind, host)), seconds / middle)
        if moved is not None:
            points = self._dump.bytes.setdefault(service, [])
            points.append((moved, round(seconds, 4)))
            del points[:-KEPT]
        self._found.clear()
        self._factors.clear()
        self._lines.clear()
        _keep(self._dump.steps, _SEP.join((kind, service, version)), seconds)

    def judge(self, service: str, version: str, ok: bool, reason: str = "") -> None:
        health = self._dump.health.setdefault(service + _SEP + version, Health())
        if ok:
            health.ok += 1
        else:
            health.failed += 1
            health.reason = reason or health.reason

    def record(
        self, plan: Plan, rows: Iterable[StepRow], outcome: str, artifacts: Mapping[str, str],
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Take in a finished action. `artifacts` is `name/version` -> sha256, `names` service -> artifact.

        Seconds of a health step are those until health was good, without the time it had to stay so.
        """
        for _ in self.recording(plan, rows, outcome, artifacts, names):
            pass

    def recording(
        self, plan: Plan, rows: Iterable[StepRow], outcome: str, artifacts: Mapping[str, str],
        names: Mapping[str, str] | None = None,
    ) -> Iterator[None]:
        """`record` in pieces of AT_ONCE steps, for who has something else to do between them."""
        rows = [r for r in rows if r.started is not None and r.ended is not None]
        by_id = {s.id: s for s in plan.steps}
        versions = {s.unit: _version(s, artifacts, names) for s in plan.steps if s.kind == PREPARE}
        data = {s.unit: data_keys(s, artifacts) for s in plan.steps if s.kind in (PREPARE, HEALTHY)}
        yield
        for n, row in enumerate(rows, 1):
            if n % AT_ONCE == 0:
                yield
            step = by_id.get(row.id)
            if step is None or row.started is None or row.ended is None:
                continue
            service = subject(step)
            version = versions.get(step.unit, "")
            if step.kind in BULK:
                version = _version(step, artifacts, names)
            if step.kind == HEALTHY and row.state in (DONE, FAILED):
                for key in ([version] if version else []) + data.get(step.unit, []):
                    self.judge(service, key, row.state == DONE, row.note)
            if row.state == DONE and not (step.kind == HEALTHY and "data" in step.args):
                wait = float(step.args.get("for", 0.0)) if step.kind == HEALTHY else 0.0
                moved = step.args.get("to_move") if step.kind == FETCH else None
                self.add(
                    step.kind, service, version, max(0.0, row.ended - row.started - wait), host=step.host,
                    moved=moved if isinstance(moved, int) else None,
                )
        yield
        if outcome == DONE:
            self._turns([(by_id[r.id].instance, r) for r in rows if r.id in by_id])

    def _turns(self, rows: list[tuple[str, StepRow]]) -> None:
        turns: dict[str, list[StepRow]] = {}
        for instance, row in rows:
            if instance and row.state == DONE:
                turns.setdefault(instance, []).append(row)
        for instance, mine in turns.items():
            given = any(r.kind == ACTIVATE for r in mine)
            if given or any(r.kind == HEALTHY for r in mine):
                began, ended = min(r.started or 0.0 for r in mine), max(r.ended or 0.0 for r in mine)
                _keep(self._dump.turns, instance.rpartition("/")[0] + (DATA if given else ""), ended - began)

    # reading

    def draw(
        self, kind: str, service: str, version: str, u: float, host: str = "", moves: int | None = None
    ) -> tuple[float, bool]:
        """(seconds, assumed): of the newest samples of the best known key, the one at `u` (0 <= u < 1) of their
        middle half: what usually happens, with its spread and without its accidents.

        Best is the same version; for a fetch of `moves` bytes then what its bytes say; then other versions of the
        service; then the default, spread by half to one and a half. Only the first two are not assumed. A host
        that is known to be slower or faster than others counts.
        """
        key = (kind, service, version)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._samples(kind, service, version)
        samples, assumed = found
        if assumed and moves is not None and (line := self._line(service)) is not None:
            return max(0.0, line[0] + line[1] * moves), False
        if not samples:
            return ASSUMED.get(kind, 0.1) * (0.5 + u), True
        seconds = samples[int((0.25 + u / 2) * len(samples))]
        if self._dump.hosts and host:
            seconds *= self._factor(kind, host)
        return seconds, assumed

    def _samples(self, kind: str, service: str, version: str) -> tuple[list[float], bool]:
        """The newest, sorted; and whether they are of something else."""
        same = self._dump.steps.get(_SEP.join((kind, service, version)))
        if same:
            return sorted(same[-RECENT:]), False
        start = _SEP.join((kind, service, ""))
        return sorted(x for key, xs in self._dump.steps.items() if key.startswith(start) for x in xs[-RECENT:]), True

    def _factor(self, kind: str, host: str) -> float:
        """What a step takes on this host, relative to others; 1 where nothing notable is known."""
        known = self._factors.get((kind, host))
        if known is None:
            ratios = self._dump.hosts.get(_SEP.join((kind, host)), [])[-RECENT:]
            known = median(ratios) if len(ratios) >= ENOUGH else 1.0
            if 1 / NOTABLE < known < NOTABLE:
                known = 1.0
            self._factors[kind, host] = known
        return known

    def _line(self, artifact: str) -> tuple[float, float] | None:
        """(seconds of a push that moves nothing, seconds per byte): the median slope between its samples."""
        if artifact not in self._lines:
            points = self._dump.bytes.get(artifact, [])[-RECENT:]
            slopes = [
                (t2 - t1) / (b2 - b1) for n, (b1, t1) in enumerate(points) for b2, t2 in points[n + 1 :] if b1 != b2
            ]
            slope = max(0.0, median(slopes)) if slopes else 0.0
            self._lines[artifact] = (median(t - slope * b for b, t in points), slope) if len(points) > 2 else None
        return self._lines[artifact]

    def healthy(self, service: str, version: str) -> Health | None:
        """What was seen of this version; None when nothing."""
        return self._dump.health.get(service + _SEP + version)

    def by_service(self) -> dict[str, float]:
        """Service (`<service> data`: turns that only give data) -> seconds of one instance's turn, its first
        step to its last: the median."""
        return {s: median(xs[-RECENT:]) for s, xs in self._dump.turns.items() if xs}


def data_keys(step: Step, artifacts: Mapping[str, str]) -> list[str]:
    """The sha256 (or id) of every data version that a prepare or a health step is about."""
    data = step.args.get("data") or {}
    return [artifacts.get(id, id) for id in data.values()]


def subject(step: Step) -> str:
    """What a step's time depends on: the service, or for a fetch the artifact."""
    return str(step.args.get("name", "")) if step.kind in BULK else step.instance.rpartition("/")[0]


def version_key(artifact: str | None, version: str, artifacts: Mapping[str, str]) -> str:
    """The sha256 of a release, or the label when there is no artifact (or it is not known)."""
    return artifacts.get(f"{artifact}/{version}", version) if artifact else version


def _version(step: Step, artifacts: Mapping[str, str], names: Mapping[str, str] | None) -> str:
    version = str(step.args.get("version", ""))
    if step.kind in BULK:
        return version_key(str(step.args.get("name", "")), version, artifacts)
    return version_key((names or {}).get(subject(step)), version, artifacts)


def _keep(table: dict[str, list[float]], key: str, seconds: float) -> None:
    samples = table.setdefault(key, [])
    samples.append(round(seconds, 4))
    del samples[:-KEPT]
