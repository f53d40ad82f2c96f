"""What one look at a host means for its units that the keeper does not hold. Pure.

Shared by the agent (services of systemd and supervisord on its host) and by the SSH gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from cockpit.agent.files import flat
from cockpit.agent.health import Gauge
from cockpit.agent.prepare import Place, instance_dir, template_values
from cockpit.agent.runtimes import pidfile, seen, systemd
from cockpit.agent.runtimes.seen import Seen
from cockpit.agent.template import fill
from cockpit.agent.units import READY, REJECTED, RUNNING, SHUTDOWN, STARTING, report

# numbers of cockpit.model.states.State, which the agent does not import
COMPLETE, FAILED = 576, 704
Spec = Mapping[str, Any]
Record = Mapping[str, Any]
"""{"spec": UNITSPEC, "ports"} and what else its holder keeps."""
KINDS = ("systemd", "supervisord", "pidfile")


class Own(NamedTuple):
    """One process of ours."""

    process: Optional[pidfile.Process]
    ticks: Optional[int]
    """Start time of what runs under its pid now."""


@dataclass
class UnitFiles:
    wanted: bool
    run: int
    pids: Dict[str, Own] = field(default_factory=dict)


class ForeignFile(NamedTuple):
    pid: Optional[int]
    written: float
    ticks: Optional[int]


@dataclass
class Look:
    now: float = 0.0
    uptime: float = 0.0
    boot: str = ""
    units: Dict[str, UnitFiles] = field(default_factory=dict)
    """By flat unit id."""
    current: Dict[str, str] = field(default_factory=dict)
    """Flat instance id -> the unit that its service is."""
    links: Dict[str, str] = field(default_factory=dict)
    """Flat instance id -> where its release link points."""
    releases: List[str] = field(default_factory=list)
    files: Dict[str, ForeignFile] = field(default_factory=dict)
    paths: Dict[str, str] = field(default_factory=dict)
    services: Dict[str, Seen] = field(default_factory=dict)
    """`systemd UNIT` and `supervisord NAME` -> what it is."""

    @property
    def booted(self) -> float:
        return self.now - self.uptime


class Kind(NamedTuple):
    """Who runs a unit: `own`, or one of KINDS with the name there (pidfile: its path)."""

    kind: str
    name: str = ""


def place_of(record: Record, dir: str, address: str) -> Place:
    spec = record["spec"]
    artifact = spec.get("artifact") or {}
    release = f"{dir}/releases/{artifact['name']}/{artifact['version']}" if artifact else ""
    return Place(dir, address, record.get("ports") or {}, release)


def kind_of(record: Record, dir: str, address: str) -> Kind:
    """Raises TemplateError."""
    spec = record["spec"]
    runtime = spec.get("runtime") or {}
    for kind in KINDS:
        if runtime.get(kind):
            values = template_values(spec, place_of(record, dir, address), instance_dir(dir, spec["instance"]))
            name = fill(str(runtime[kind]), values)
            return Kind(kind, systemd.full_name(name) if kind == "systemd" else name)
    return Kind("own")


def seen_of(look: Look, unit: str, processes: Tuple[str, ...], kind: Kind, hertz: int = 100) -> Seen:
    """What runs of a unit now. A foreign service is only one unit's at a time: the current one's."""
    instance = unit.rpartition(":")[0]
    files = look.units.get(flat(unit))
    if kind.kind == "own":
        return _own(look, files, processes, hertz)
    current = look.current.get(flat(instance), "")
    if current != unit and not (not current and unit.endswith(":0")):
        return Seen(seen.STOPPED)
    if kind.kind == "pidfile":
        found = look.files.get(kind.name, ForeignFile(None, 0.0, None))
        return pidfile.foreign(found.pid, look.boot, found.ticks, look.booted, found.written, hertz)
    return look.services.get(f"{kind.kind} {kind.name}") or Seen(
        seen.MISSING, reason=f"{kind.kind} does not tell of {kind.name}"
    )


def _own(look: Look, files: Optional[UnitFiles], processes: Tuple[str, ...], hertz: int) -> Seen:
    if files is None or not files.pids:
        return Seen(seen.STOPPED)
    each = {
        name: pidfile.own(own.process, look.boot, own.ticks, look.booted, hertz)
        for name in processes
        for own in [files.pids.get(name, Own(None, None))]
    }
    dead = [name for name, one in each.items() if not one.alive]
    first = each.get("main") or next(iter(each.values()))
    identity = ",".join(one.identity for one in each.values())
    if not dead:
        return Seen(seen.RUNNING, pid=first.pid, identity=identity, started=first.started)
    alive = next((one.pid for one in each.values() if one.alive), None)
    reason = f"{', '.join(dead)} is gone, others of its group run" if alive is not None else ""
    return Seen(seen.FAILED, pid=alive, identity=identity, reason=reason)


def pids_of(look: Look, unit: str, kind: Kind, now: Seen) -> Dict[str, int]:
    if kind.kind != "own":
        return {"main": now.pid} if now.pid is not None else {}
    files = look.units.get(flat(unit))
    return {
        name: own.process.pid
        for name, own in (files.pids if files else {}).items()
        if own.process and own.process.boot == look.boot and own.process.ticks == own.ticks
    }


def state_of(now: Seen, kind: Kind, *, wanted: bool, run: int, well: bool) -> int:
    """`well`: it was healthy once in this run, or nobody checks."""
    if now.state == seen.MISSING:
        return REJECTED
    if now.state in (seen.RUNNING, seen.STOPPING):
        return RUNNING if well else STARTING
    if now.state == seen.STARTING:
        return STARTING
    if not run:
        return READY
    if not wanted:
        return SHUTDOWN
    if now.state == seen.EXITED:
        return COMPLETE if now.code == 0 else FAILED
    if now.state in (seen.STOPPED, seen.UNKNOWN) and kind.kind in ("systemd", "supervisord"):
        return SHUTDOWN  # its own manager was told to stop it
    return FAILED


@dataclass
class Track:
    """What is remembered of one unit between two looks."""

    identity: str = ""
    run: int = 0
    restarts: int = 0
    ended: Optional[float] = None
    altered: str = ""
    rejected: str = ""
    """Why its last start came to nothing."""
    connections: Optional[int] = None

    def follow(self, now: Seen, run: int) -> None:
        """`run`: the number in its record, which our own starts raise. A start that was not ours raises it here."""
        if run > self.run:
            self.run, self.restarts, self.identity = run, 0, now.identity
        elif now.alive and now.identity != self.identity:
            if self.identity:
                self.run, self.restarts = self.run + 1, self.restarts + 1
            self.run, self.identity = max(1, self.run), now.identity
        if now.restarts is not None:
            self.restarts = now.restarts

    def end(self, now: Seen, at: float) -> float:
        """When it ended: as its runtime says, or when it was first seen gone."""
        if now.alive:
            self.ended = None
        elif self.ended is None:
            self.ended = now.ended or at
        return self.ended or at


def unit_record(look: Look, record: Record, kind: Kind, now: Seen, track: Track, well: bool) -> Dict[str, Any]:
    """A record in the keeper's shape. `well`: it was healthy once in this run, or nobody checks."""
    spec = record["spec"]
    unit = str(spec["unit"])
    files = look.units.get(flat(unit))
    wanted = files.wanted if files is not None else now.alive
    track.follow(now, files.run if files is not None else 0)
    ended = track.end(now, look.now)
    state = state_of(now, kind, wanted=wanted, run=track.run, well=well)
    if track.rejected and not now.alive:
        state = REJECTED
    doc: Dict[str, Any] = {
        "unit": unit, "wanted": wanted, "run": track.run, "restarts": track.restarts,
        "pids": pids_of(look, unit, kind, now), "started": now.started, "state": state, "altered": track.altered,
        "meta": {"spec": dict(spec), "ports": record.get("ports") or {}},
    }
    if not now.alive and state > RUNNING:
        doc["exit"] = {
            "run": track.run, "code": now.code, "signal": now.signal, "reason": _reason(now, state, track.rejected),
            "ended": ended,
        }
    return doc


def unit_report(
    look: Look, record: Record, kind: Kind, now: Seen, track: Track, gauge: Optional[Gauge]
) -> Dict[str, Any]:
    """UNIT of docs/protocols.md."""
    spec = record["spec"]
    well = gauge.good_once if gauge is not None else not spec.get("check")
    doc = unit_record(look, record, kind, now, track, well)
    made = report(doc, gauge if now.alive else None, connections=track.connections, now=look.now)
    made["state"] = int(doc["state"])
    version = linked(look, spec, kind)
    if version is not None:
        made["version"] = version
        if (spec.get("artifact") or {}).get("version") != version:
            made["sha256"] = None
    return made


def _reason(now: Seen, state: int, rejected: str) -> str:
    if state == REJECTED:
        return rejected or now.reason
    if now.reason:
        return now.reason
    if state == SHUTDOWN and now.code is None and now.signal is None:
        return "stopped"
    return ""


def linked(look: Look, spec: Spec, kind: Kind) -> Optional[str]:
    """The version that the release link of a foreign service names; None: nothing to say."""
    artifact = spec.get("artifact")
    instance = str(spec["instance"])
    if not artifact or kind.kind == "own":
        return None
    current = look.current.get(flat(instance), "")
    if current and current != spec["unit"]:
        return None
    target = look.links.get(flat(instance)) or look.paths.get(str(spec.get("directory") or ""))
    if target is None:
        return "" if str(spec["unit"]).endswith(":0") else None
    return target.rstrip("/").rpartition("/")[2]
