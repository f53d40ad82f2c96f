"""The state history: what recording costs, and how soon a past moment is there.

    python -m tests.bench.history [INSTANCES ...]        (default 10000 100000; a tenth as many hosts)

The real recorder follows a real board, whose rows change a hundred times a second for a quarter of an hour of
recorded time; the clock of the changes runs faster than ours, so that it takes seconds.
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from cockpit.controller.board import Board
from cockpit.controller.world import World
from cockpit.history import writing
from cockpit.history.blocks import packed
from cockpit.history.fetching import past as fetched
from cockpit.history.folding import folded
from cockpit.history.patience import calm
from cockpit.history.questions import QUESTIONS
from cockpit.history.reading import History
from cockpit.history.writing import Limits, Writer
from cockpit.model.history_rows import TABLES
from cockpit.model.view import Delta, DriftRow, EndpointRow, Head, HostRow, InstanceRow, NodeRow, RunRow
from cockpit.naming.registry import Registry
from tests.bench.table import Figure, measures, median, timed

NOW = 1_700_000_000.0
SLOTS = 20
RATE, LENGTH = 100, 1800.0
"""Changes a second, seconds that are recorded."""
TICK = 0.05


def rows(count: int) -> dict[str, dict[str, Any]]:
    """`count` instances of services with twenty each, ten to a host."""
    chance = random.Random(1)
    tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    hosts = [f"sh-{n}" for n in range(count // 10)]
    for name in hosts:
        tables["hosts"][name] = HostRow(
            name=name, region="sh", presence="up", address=f"10.0.{len(name)}.1", agent_pid=chance.randrange(9999),
            keeper_pid=chance.randrange(9999), instances=10, want=10, since=NOW - chance.random() * 1e6, seen=NOW,
            latency=chance.random(), boot_id=f"{chance.getrandbits(128):032x}", names_applied=17,
            releases=("sudoku/1.1.0", "web/1.1.0"), agent_version="0.3.0", keeper_version="0.3.0",
        )
    for n in range(count):
        service, slot = f"company.shop.s{n // SLOTS:04}", n % SLOTS
        id, host, since = f"{service}/{slot}", chance.choice(hosts), NOW - chance.random() * 1e6
        pid, port = chance.randrange(1, 4_000_000), 20000 + chance.randrange(1000)
        address = f"10.{chance.randrange(4)}.{chance.randrange(255)}.{chance.randrange(255)}"
        tables["instances"][id] = InstanceRow(
            id=id, service=service, slot=slot, host=host, version_expected="1.2.0", version_actual="1.2.0",
            state="RUNNING", desired="RUNNING", pid=pid, ports={"main": port}, health="ok", word="running",
            runs=(RunRow(unit=f"{id}:3", host=host, run=1, state="RUNNING", version="1.2.0", pid=pid),),
            since=since, started=since, address=address, observed=NOW,
        )
        tables["endpoints"][f"{id}:3|main"] = EndpointRow(
            service=service, address=address, port=port, state="ready", instance=id, name="main", since=since
        )
        if slot == 0:
            tables["nodes"][service] = NodeRow(
                path=service, kind="service", want=SLOTS, have=SLOTS, version="1.2.0", versions={"1.2.0": SLOTS}
            )
    return tables


class Change:
    """Instances fail and come back: each time their row, their drift, their service."""

    def __init__(self, tables: dict[str, dict[str, Any]]) -> None:
        self.tables = tables
        self.chance = random.Random(2)
        self.ids = list(tables["instances"])

    def delta(self, at: float, count: int) -> Delta:
        out: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        instances, nodes = self.tables["instances"], self.tables["nodes"]
        while sum(map(len, out.values())) < count:
            row = instances[self.chance.choice(self.ids)]
            well = row.state != "RUNNING"
            pid = self.chance.randrange(1, 4_000_000) if well else None
            run = RunRow(unit=f"{row.id}:3", host=row.host, run=row.restarts + 1, state=row.state, version="1.2.0",
                         pid=pid, started=at)
            new = msgspec.structs.replace(
                row, state="RUNNING" if well else "FAILED", mark="ok" if well else "failed", pid=pid, since=at,
                word="running" if well else "failed", reason="" if well else "exit 1 after 0.8 s", runs=(run,),
                restarts=row.restarts + well, observed=at, health="ok" if well else "none",
            )
            out["instances"][row.id] = instances[row.id] = new
            drift = None if well else DriftRow(
                kind="unhealthy", target=row.id, expected="RUNNING", actual="FAILED", action=f"converge {row.id}",
                since=at, reason=new.reason,
            )
            key = f"unhealthy|{row.id}"
            if drift is None:
                self.tables["drift"].pop(key, None)
            else:
                self.tables["drift"][key] = drift
            out["drift"][key] = drift
            node = nodes[row.service]
            node = msgspec.structs.replace(node, have=node.have + (1 if well else -1), mark=new.mark)
            out["nodes"][row.service] = nodes[row.service] = node
        return Delta(head=head(at), **out)


def head(at: float) -> Head:
    return Head(cluster="bench", revision=42, digest="9f2c", now=at, names_version=17)


def record(directory: Path, tables: dict[str, dict[str, Any]], length: float = LENGTH) -> dict[str, float]:
    """CPU seconds of writing per recorded hour, bytes of it, and those of one keyframe."""
    writer = Writer(directory, Limits())
    before = time.thread_time()
    writer.begin({t: dict(r) for t, r in tables.items()}, head(NOW), (), "")
    key = time.thread_time() - before
    key_bytes = writer._size
    change, spent, at = Change({t: dict(r) for t, r in tables.items()}), 0.0, NOW
    while at < NOW + length:
        deltas = []
        for _ in range(int(1 / TICK)):
            at += TICK
            deltas.append(change.delta(at, int(RATE * TICK)))
        before = time.thread_time()
        writer.write(deltas, at)
        spent += time.thread_time() - before
    writer.stop(at)
    size = sum(p.stat().st_size for p in directory.iterdir())
    return {
        "cpu": spent / length * 100, "bytes": size / length * 3600, "keyframe": key * 1000, "key_bytes": key_bytes,
        "segments": len(list(directory.iterdir())),
    }


def slices(tables: dict[str, dict[str, Any]]) -> float:
    """CPU of the longest piece of work of a keyframe between two chances for the loop, in ms: a block, or the copy of
    a table for the first one."""
    found = []
    for table, rows in tables.items():
        before = time.thread_time()
        dict(rows)
        found.append(time.thread_time() - before)
        keys, all_rows = list(rows), list(rows.values())
        for start in range(0, len(keys), writing.BLOCK):
            some = slice(start, start + writing.BLOCK)
            before = time.thread_time()
            packed(table, keys[some], all_rows[some])
            found.append(time.thread_time() - before)
    return max(found) * 1000


async def stalls(directory: Path, tables: dict[str, dict[str, Any]]) -> tuple[float, float]:
    """Longest and median lateness of a loop that wakes up each 5 ms, in ms, while a keyframe is written."""
    from cockpit.history.recording import Recorder

    board = Board(World(Registry()))
    board.tables = tables
    late: list[float] = []
    recorder = Recorder(board, directory, Limits())
    task = asyncio.create_task(recorder.run())
    while recorder.writer.path is None or not recorder.writer._key_size:
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append((time.perf_counter() - before - 0.005) * 1000)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return max(late), sorted(late)[len(late) // 2]


class Reading:
    """A session whose questions a reader that was just started answers."""

    def __init__(self, directory: Path) -> None:
        self.history = History(directory)

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        return next(iter(QUESTIONS[op](self.history, args or {})))

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        for item in QUESTIONS[op](self.history, args or {}):
            yield item


async def seconds_to(directory: Path, at: float) -> float:
    """From the question to the state."""
    before = time.perf_counter()
    found = await fetched(Reading(directory), at)
    took = time.perf_counter() - before
    assert found.instances
    return took


def past(count: int) -> dict[str, float]:
    tables = rows(count)
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root) / "history"
        out = record(directory, tables)
        piece = slices(tables)
        worst, usual = asyncio.run(stalls(Path(root) / "other", tables))
        gc.collect()
        first = [asyncio.run(seconds_to(directory, NOW + 900.0)) * 1000 for _ in range(5)]
        name, moment, data = History(directory).excerpt(NOW + 900.0)
        cpu = []
        for _ in range(3):
            before = time.thread_time()
            calm(lambda: folded(Path(name), data, moment))
            cpu.append((time.thread_time() - before) * 1000)
        history = History(directory)
        history.step(NOW + 900.0)
        at = NOW + 900.0
        steps: list[float] = []
        for way in [-1] * 20 + [1] * 20:
            before = time.perf_counter()
            at = history.step(at, way=way).at
            steps.append((time.perf_counter() - before) * 1000)
        lists = timed(lambda: calm(lambda: history.between(NOW + 600, NOW + 900, 5000)), 3)
        dense = timed(lambda: history.moments(NOW, NOW + LENGTH, 10), 3)
    return {
        **out, "longest_slice": piece, "stall": worst, "stall_median": usual,
        "state": median(first), "state_cpu": min(cpu),
        "step": median(steps), "step_worst": max(steps), "between": median(lists), "moments": median(dense),
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


@measures("past", needs=["cockpit.history.reading"])
def moment_of_many() -> Figure:
    found = past(100_000)
    hourly = found["bytes"] / 2**20
    return Figure(found["state"] / 1000, note=f"a step {found['step']:.0f} ms; {hourly:.0f} MiB an hour")


def main() -> None:
    for count in [int(a) for a in sys.argv[1:]] or [10_000, 100_000]:
        found = past(count)
        print(f"{count} instances, {RATE} changes/s: " + ", ".join(f"{k} {v:,.1f}" for k, v in found.items()))


if __name__ == "__main__":
    main()
