"""Run by the bench on a terminal: the host matrix of 1,000 hosts and 200 services, driven by its own keys.

    python -m tests.bench.matrix_program OUT PER_HOST     writes its figures as JSON to OUT and ends
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from screens.app import CockpitApp  # isort: skip  (before Textual)

from cockpit.model.view import OK, InstanceRow, NodeRow
from cockpit.ports import Session
from tests.bench import crowd
from tests.bench.grid_program import QUIET, Counting

HOSTS, SERVICES = 1000, 200
RATE = 1000


class Wide(crowd.Crowd):
    """Each host has so many instances, each of another service; one host in forty has a failed one."""

    def __init__(self, per_host: int) -> None:
        super().__init__(10 * HOSTS)
        names = list(self._hosts)
        self._nodes = {"co": NodeRow(path="co", kind="group", want=per_host * HOSTS, have=per_host * HOSTS)}
        for n in range(SERVICES):
            path = f"co.service-{n}"
            self._nodes[path] = NodeRow(path=path, kind="service", want=1, have=1, version="1.1.0")
        self._rows = {}
        slots = dict.fromkeys(range(SERVICES), 0)
        for number, host in enumerate(names):
            for k in range(per_host):
                n = (number * 7 + k) % SERVICES
                service, slot = f"co.service-{n}", slots[n]
                slots[n] += 1
                self._rows[f"{service}/{slot}"] = InstanceRow(
                    id=f"{service}/{slot}", service=service, slot=slot, host=host, version_expected="1.1.0",
                    version_actual="1.1.0", state="RUNNING", desired="RUNNING", health="ok", word="running",
                    mark=OK if number % 40 or k else "failed", started=crowd.STARTED, since=crowd.STARTED,
                )  # fmt: skip
        self._keys = list(self._rows)


class Bench(CockpitApp):
    def __init__(self, out: Path, session: Wide) -> None:
        super().__init__(
            cast(Session, session), theme="dark", ascii=False, address="overview",
            clock=lambda: crowd.STARTED + 86400,
        )
        self.driver_class = Counting
        self.out = out
        self.crowd = session
        self.measuring: asyncio.Task[None] | None = None

    def on_ready(self) -> None:
        super().on_ready()
        self.measuring = asyncio.create_task(self.measure())
        self.measuring.add_done_callback(lambda _: self.exit())

    @property
    def there(self) -> bool:
        """Is the matrix on top, with its columns?"""
        matrix = getattr(self.screen, "matrix", None)
        return matrix is not None and matrix.is_mounted and len(matrix.columns) == SERVICES

    async def cost(self, act: Callable[[], object], done: Callable[[], bool] = lambda: True) -> tuple[float, int]:
        """(CPU milliseconds, bytes) from an act until all is quiet."""
        bytes_, cpu = Counting.bytes, time.process_time()
        act()
        await asyncio.sleep(QUIET)
        while not done():
            await asyncio.sleep(QUIET)
        return (time.process_time() - cpu) * 1e3, Counting.bytes - bytes_

    async def costs(self, *keys: str) -> tuple[float, float]:
        found = [await self.cost(lambda k=key: self.simulate_key(k)) for key in keys]  # type: ignore[misc]
        return statistics.median(c for c, _ in found), statistics.median(b for _, b in found)

    async def measure(self) -> None:
        while self.board.head is None or not self.board.instances or self._preload.left:
            await asyncio.sleep(0.01)
        await asyncio.sleep(2)
        figures: dict[str, float] = {}
        idle = statistics.median([(await self.cost(lambda: None))[0] for _ in range(9)])
        opens = []
        for _ in range(5):
            opens.append((await self.cost(lambda: self.simulate_key("M"), lambda: self.there))[0])
            await self.cost(lambda: self.simulate_key("escape"), lambda: not self.there)
        figures["open-first"], figures["open"] = opens[0] - idle, statistics.median(opens) - idle
        await self.cost(lambda: self.simulate_key("M"), lambda: self.there)
        for name, keys in (
            ("cursor", ["down"] * 25), ("side", ["right"] * 25), ("page", ["pagedown"] * 9),
            ("page-side", ["greater_than_sign"] * 5), ("trouble", ["exclamation_mark"] * 6),
        ):  # fmt: skip
            cost, figures[f"{name}-bytes"] = await self.costs(*keys)
            figures[name] = cost - idle
        cast(Any, self.screen).matrix.move("home")
        self.crowd.rate = RATE
        await asyncio.sleep(2)
        start, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(4)
        figures["live-cpu"] = (time.process_time() - cpu) / (time.perf_counter() - start) * 100
        waits = []
        for _ in range(40):
            await asyncio.sleep(QUIET / 2)
            before, begun = cast(Any, self.screen).matrix.cursor, time.perf_counter()
            self.simulate_key("down")
            while cast(Any, self.screen).matrix.cursor == before or Counting.last < begun:
                await asyncio.sleep(0.0005)
            waits.append((Counting.last - begun) * 1e3)
        figures["live-key"], figures["live-key-worst"] = statistics.median(waits), max(waits)
        self.out.write_text(json.dumps(figures))


def main() -> None:
    Bench(Path(sys.argv[1]), Wide(int(sys.argv[2]))).run()


if __name__ == "__main__":
    main()
