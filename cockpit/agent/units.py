"""The units of this host as the controller sees them: keeper records and health in, reports out."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set

from cockpit.agent import activate
from cockpit.agent.files import read_json, write_json
from cockpit.agent.health import NO_CHECK, Gauge, Record

# numbers of cockpit.model.states.State, which the agent does not import
PREPARING, READY, STARTING, RUNNING = 320, 384, 448, 512
SHUTDOWN, REJECTED = 640, 768
MAX_REFUSED = 200
EXIT = ("run", "code", "signal", "core", "reason", "started", "ended", "peak_rss", "process")
Report = Dict[str, Any]


def state_of(record: Record, gauge: Optional[Gauge]) -> int:
    """State of the present run. Without a process the keeper's word counts, with one our health does."""
    if not record.get("pids"):
        return int(record.get("state") or READY)
    if gauge is None or gauge.good_once:
        return RUNNING
    return STARTING


def report(
    record: Record, gauge: Optional[Gauge], *, probe: Optional[Mapping[str, Any]] = None,
    connections: Optional[int] = None, data: Optional[Mapping[str, str]] = None, now: float,
) -> Report:
    """UNIT of docs/protocols.md. `gauge` is None only for units without a process."""
    meta = record.get("meta") or {}
    spec = meta.get("spec") or {}
    unit = str(record["unit"])
    instance, _, gen = unit.rpartition(":")
    pids = {str(k): int(v) for k, v in (record.get("pids") or {}).items() if v}
    artifact = spec.get("artifact") or {}
    found: Report = {
        "unit": unit, "instance": instance, "gen": int(gen), "version": str(spec.get("version", "")),
        "sha256": artifact.get("sha256"), "config": str(spec.get("config", "")),
        "state": state_of(record, gauge), "wanted": bool(record.get("wanted")),
        "run": int(record.get("run") or 0), "restarts": int(record.get("restarts") or 0),
        "pid": pids.get("main") or next(iter(pids.values()), None), "pids": pids,
        "started": record.get("started"), "ports": meta.get("ports") or {},
        "health": gauge.health if gauge is not None else NO_CHECK,
        "health_since": gauge.since if gauge is not None else None,
        "health_reason": gauge.reason if gauge is not None else "",
        "exit": exit_of(record.get("exit")), "next_start": record.get("next_start"),
        "connections": connections, "pinned": str(record.get("pinned") or ""),
        "altered": str(record.get("altered") or ""), "probe": dict(probe or {}), "data": dict(data or {}),
        "observed": now,
    }
    linked = record.get("linked")  # of a service that others run: what its release link names
    if linked is not None and linked != found["version"]:
        found.update(version=linked, sha256=None)
    return found


def exit_of(exit: Any) -> Optional[Dict[str, Any]]:
    """The exit record with the fields the controller knows."""
    if not isinstance(exit, dict):
        return None
    return {k: exit[k] for k in EXIT if k in exit and (exit[k] is not None or k in ("code", "signal"))}


def exit_words(exit: Any) -> str:
    """`exit 1`, `signal 9`, the reason it never ran, or `exit unknown`."""
    if not isinstance(exit, dict):
        return "ended"
    if exit.get("signal") is not None:
        return f"signal {exit['signal']}"
    if exit.get("code") is not None:
        return f"exit {exit['code']}"
    return str(exit.get("reason") or "exit unknown")


def refused(spec: Mapping[str, Any], state: int, reason: str, now: float) -> Record:
    """A record for a unit that never got to the keeper: being prepared, or REJECTED."""
    record: Record = {
        "unit": spec["unit"], "processes": [], "meta": {"spec": dict(spec)}, "state": state, "pids": {},
    }
    if reason:
        record["exit"] = {"run": 0, "code": None, "signal": None, "reason": reason, "ended": now}
    return record


class Memory:
    """DIR/agent.json: what an agent that starts anew should still know. Losing it harms nobody.

    `ports`: the last ports of each instance. `good`: the run of each unit that was well once.
    `data`: what units were given since they were prepared. `welcome`: the controller's last word about
    this host.
    """

    def __init__(self, host_dir: str) -> None:
        self.host_dir = host_dir
        self._path = os.path.join(host_dir, "agent.json")
        doc = read_json(self._path)
        doc = doc if isinstance(doc, dict) else {}

        def part(name: str) -> Dict[str, Any]:
            found = doc.get(name)
            return found if isinstance(found, dict) else {}

        self.ports: Dict[str, Dict[str, int]] = part("ports")
        self.good: Dict[str, int] = part("good")
        self.data: Dict[str, activate.Given] = part("data")
        self.welcome: Dict[str, Any] = part("welcome")

    def save(self) -> None:
        doc = {"ports": self.ports, "good": self.good, "data": self.data, "welcome": self.welcome}
        try:
            write_json(self._path, doc, sync=False)
        except OSError:
            pass  # a full disk must not stop the agent


class Book:
    """Latest records, and what was last reported of each unit."""

    def __init__(self, memory: Memory, changed: Callable[[str], None]) -> None:
        self.records: Dict[str, Record] = {}
        self.refused: Dict[str, Record] = {}
        self.connections: Dict[str, int] = {}
        self.draining: Set[str] = set()
        self._told: Dict[str, Dict[str, str]] = {}
        """Unit -> the data that was reported last, where it has any."""
        self._memory = memory
        self._changed = changed

    def update(self, records: Iterable[Record]) -> List[str]:
        """Take the keeper's full list; calls `changed` for what differs, returns what is gone."""
        fresh = {str(r["unit"]): plain(r) for r in records}
        gone = [u for u in self.records if u not in fresh]
        before, self.records = self.records, fresh
        for unit in gone:
            self.connections.pop(unit, None)
            self._told.pop(unit, None)
        for unit in [u for u in self._memory.good if u not in fresh]:
            del self._memory.good[unit]
        for unit in [u for u in self._memory.data if u not in fresh]:
            del self._memory.data[unit]
        for unit, record in fresh.items():
            self.refused.pop(unit, None)
            if before.get(unit) != record:
                self._changed(unit)
        return gone

    def put(self, record: Record) -> None:
        """Take one record of the list."""
        unit, fresh = str(record["unit"]), plain(record)
        self.refused.pop(unit, None)
        if self.records.get(unit) != fresh:
            self.records[unit] = fresh
            self._changed(unit)

    def record(self, unit: str) -> Optional[Record]:
        return self.records.get(unit) or self.refused.get(unit)

    def refuse(self, record: Record) -> None:
        """Remember a unit that the keeper does not have."""
        unit = str(record["unit"])
        if unit in self.records:
            return
        self.refused.pop(unit, None)
        self.refused[unit] = record
        while len(self.refused) > MAX_REFUSED:
            del self.refused[next(iter(self.refused))]
        self._changed(unit)

    def units(self) -> List[str]:
        return [*self.records, *self.refused]

    def report(
        self, unit: str, gauge: Optional[Gauge], probe: Optional[Mapping[str, Any]]
    ) -> Optional[Report]:
        record = self.record(unit)
        if record is None:
            return None
        if gauge is not None and gauge.good_once and record.get("pids"):
            run = int(record.get("run") or 0)
            if self._memory.good.get(unit) != run:
                self._memory.good[unit] = run
                self._memory.save()
        data = self._data(unit)
        if data:
            self._told[unit] = data
        return report(
            record, gauge, probe=probe, connections=self.connections.get(unit), data=data, now=time.time()
        )

    def look_at_links(self) -> None:
        """Calls `changed` for units whose links somebody else has changed."""
        for unit, told in list(self._told.items()):
            if self._data(unit) != told:
                self._changed(unit)

    def given(self, unit: str) -> activate.Given:
        """The data that a unit has been given last."""
        return activate.given(self.records.get(unit) or {}, self._memory.data.get(unit) or {})

    def give(self, unit: str, name: str, entry: Dict[str, str]) -> None:
        """Remember data that a unit has now."""
        self._memory.data.setdefault(unit, {})[name] = entry
        self._memory.save()
        self._changed(unit)

    def _data(self, unit: str) -> Dict[str, str]:
        given = self.given(unit)
        if not given:
            return {}
        instance = unit.rpartition(":")[0]
        newest = str(self.of_instance(instance)[-1]["unit"]) == unit
        return activate.versions(self._memory.host_dir, instance, given, newest)

    def of_instance(self, instance: str) -> List[Record]:
        """Records of an instance's units, ascending gen."""
        found = [r for u, r in self.records.items() if u.rpartition(":")[0] == instance]
        return sorted(found, key=lambda r: int(str(r["unit"]).rpartition(":")[2]))


def plain(record: Record) -> Record:
    """A keeper's record with the fields of its spec beside the others."""
    spec = record.get("spec")
    if not isinstance(spec, dict):
        return record
    return {**spec, **{k: v for k, v in record.items() if k != "spec"}}


def ports_of(record: Record) -> Dict[str, int]:
    ports = (record.get("meta") or {}).get("ports")
    return ports if isinstance(ports, dict) else {}


def ended(record: Record) -> bool:
    """No process now, and none to come."""
    state = int(record.get("state") or 0)
    return not record.get("pids") and (state > RUNNING or state == READY) and not (
        record.get("wanted") and record.get("next_start") is not None
    )
