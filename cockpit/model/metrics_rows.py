"""What is known in numbers: of hosts, of instances, of who calls whom. Rows, and how a session is asked."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.model.units import size_text

if TYPE_CHECKING:
    from cockpit.model.asking import Caller

SHARE, BYTES, RATE, CORES, TASKS = "%", "bytes", "bytes/s", "cores", "tasks"

HOST_FIELDS = {
    "cpu": (SHARE, "processors busy"), "memory": (BYTES, "memory in use"), "disk": (SHARE, "fullest disk"),
    "io": (RATE, "disk traffic"), "received": (RATE, "received"), "sent": (RATE, "sent"),
    "load": (TASKS, "load, 1 min"),
}  # fmt: skip
INSTANCE_FIELDS = {"cpu": (CORES, "processor"), "memory": (BYTES, "memory in use")}
FIELDS = {"host": HOST_FIELDS, "instance": INSTANCE_FIELDS}

NO_DATA = "no data"


class Trail(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One series, oldest first; the last slot ends now."""

    step: float
    """Seconds of one value."""
    values: tuple[float | None, ...]
    """None: nothing was measured then."""


class Numbers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one host or instance is known to take."""

    kind: str
    """host or instance."""
    name: str
    at: float | None = None
    """Unix time of the last sample; None: there was none."""
    note: str = ""
    """Why there is nothing, or only the latest."""
    latest: dict[str, float] = {}
    """Field -> number. Shares are 0 to 1."""
    limits: dict[str, float] = {}
    """Field -> what it cannot go beyond, where that is known."""
    trails: dict[str, Trail] = {}
    processes: dict[str, dict[str, float]] = {}
    """Of an instance: process -> {"pid", "cpu" (cores), "rss" (bytes), "threads", "fds"}, what is known."""
    facts: dict[str, Any] = {}
    """Of a host: kernel, distribution, cpus, ..."""


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One service was seen to have connections to another."""

    caller: str
    callee: str
    declared: bool
    connections: int = 0
    seen: float = 0.0


class ServiceLoad(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """None: nobody tells."""

    connections: int | None = None
    """Clients that are connected now, over all instances."""
    latency: float | None = None
    """Seconds, the slowest instance, as its probe says (`latency` or `latency_ms`)."""
    cpu: float | None = None
    """Cores of its busiest instance."""
    memory: float | None = None
    """Bytes of all instances."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is seen between and in services."""

    services: dict[str, ServiceLoad] = {}
    calls: tuple[Call, ...] = ()
    outside: dict[str, int] = {}
    """Service -> addresses it is connected to that belong to no service."""
    watched: int = 0
    """Hosts that tell of connections."""


Loads = dict[str, dict[str, float] | None]
"""Name -> latest numbers by field; None: nothing is heard of it any more."""


async def numbers(session: Caller, kind: str, name: str, span: float = 360.0) -> Numbers:
    """Raises Bad for an unknown name, ConnectionError without an answer."""
    return msgspec.convert(await session.call("metrics", {"kind": kind, "name": name, "span": span}), Numbers)


async def traffic(session: Caller) -> Traffic:
    return msgspec.convert(await session.call("traffic"), Traffic)


async def loads(session: Caller, kind: str, names: Sequence[str] | None = None) -> AsyncIterator[Loads]:
    """All of one kind, or of these names, in parts and then an empty one; then what changed in the same manner,
    until it is closed."""
    ask = {"kind": kind} if names is None else {"kind": kind, "names": list(names)}
    async for item in session.stream("loads", ask):
        yield msgspec.convert(item, Loads)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _sum(values: list[float]) -> float:
    known = [v for v in values if v == v]
    return sum(known) if known else math.nan


def host_numbers(sample: Mapping[str, Any]) -> list[float]:
    """The numbers of HOST_FIELDS of a sample from outside, in order; NaN where it does not say."""
    cpu, memory = sample.get("cpu"), sample.get("memory")
    busy = math.nan
    if isinstance(cpu, Mapping) and "idle" in cpu:
        idle = _number(cpu.get("idle")) + _number(cpu.get("iowait", 0))
        busy = idle if idle != idle else max(0.0, min(1.0, 1.0 - idle))
    used = math.nan
    if isinstance(memory, Mapping):
        used = _number(memory.get("total")) - _number(memory.get("available"))
    full, moved = math.nan, []
    disks = sample.get("disks")
    for disk in disks[:64] if isinstance(disks, list) else ():
        if not isinstance(disk, Mapping):
            continue
        size, free = _number(disk.get("size")), _number(disk.get("free"))
        if size > 0 and free == free:
            share = max(0.0, min(1.0, 1.0 - free / size))
            full = share if full != full else max(full, share)
        moved += [_number(disk.get("read")), _number(disk.get("written"))]
    net = sample.get("net")
    ways = [w for n, w in net.items() if n != "lo" and isinstance(w, Mapping)] if isinstance(net, Mapping) else []
    load = sample.get("load")
    return [
        busy, used, full, _sum(moved), _sum([_number(w.get("received")) for w in ways]),
        _sum([_number(w.get("sent")) for w in ways]),
        _number(load[0]) if isinstance(load, list) and load else math.nan,
    ]


def process_numbers(processes: Any) -> dict[str, dict[str, float]]:
    """What a sample says of the processes of one unit, bounded."""
    if not isinstance(processes, Mapping):
        return {}
    return {
        str(name)[:100]: {
            k: v for k in ("pid", "cpu", "rss", "threads", "fds") if (v := _number(facts.get(k))) == v
        }
        for name, facts in list(processes.items())[:50] if isinstance(facts, Mapping)
    }


def instance_numbers(processes: Mapping[str, Mapping[str, float]]) -> list[float]:
    """The numbers of INSTANCE_FIELDS, over all processes."""
    return [
        _sum([p.get("cpu", math.nan) for p in processes.values()]),
        _sum([p.get("rss", math.nan) for p in processes.values()]),
    ]


def named(kind: str, values: list[float]) -> dict[str, float]:
    """Without what is not known."""
    return {f: round(v, 4) for f, v in zip(FIELDS[kind], values, strict=True) if v == v}


def probe_latency(probe: Mapping[str, Any]) -> float | None:
    """Seconds, where a probe tells them."""
    for key, scale in (("latency", 1.0), ("latency_ms", 0.001)):
        value = _number(probe.get(key))
        if value == value and value >= 0:
            return value * scale
    return None


def amount(unit: str, value: float) -> str:
    """A number with its unit: `12 %`, `1.4 GiB`, `35 kB/s`... for sentences; columns say the unit in the header."""
    if unit == SHARE:
        return f"{value * 100:.0f} %"
    if unit == BYTES:
        return size_text(int(value))
    if unit == RATE:
        return f"{size_text(int(value))}/s"
    return f"{value:.2f}" if unit == CORES else f"{value:.1f}"
