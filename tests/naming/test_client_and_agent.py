"""The naming client against the agent's own naming socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.agent.local import LocalSocket
from cockpit.agent.names import Names as Applied
from cockpit.model.actual import Unit
from cockpit.model.states import State
from cockpit.naming.client import Names, Unresolved
from cockpit.naming.registry import Registry
from tests.helpers import PATIENCE, wait_for


class Host:
    """The naming part of an agent, fed by a registry, on a loop of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registry = Registry()
        self.start()

    def start(self) -> None:
        self.sent = 0
        directory = self.directory
        self.applied = Applied(str(directory))
        self.local = LocalSocket(str(directory), self.applied)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.call(self.local.start())

    def call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def _apply(self, frame: dict[str, Any]) -> None:
        self.local.publish(self.applied.apply(frame))

    def see(self, slot: int, **facts: Any) -> None:
        instance = f"puzzle.sudoku/{slot}"
        unit = Unit(
            unit=f"{instance}:1", instance=instance, gen=1, ports={"http": 20000 + slot}, wanted=True,
            **{"run": 1, "state": State.RUNNING, "health": "ok", **facts},
        )  # fmt: skip
        self.registry.observe(unit, "bj-1", "127.0.1.1", "puzzle.sudoku", {}, 1000.0)
        version, services = self.registry.delta_since(self.sent)
        full, self.sent = self.sent == 0, version
        self.call(self._apply({"t": "names", "version": version, "full": full, "services": services}))

    def close(self) -> None:
        self.call(self.local.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()


@pytest.fixture
def host(short_dir: Path) -> Iterator[Host]:
    host = Host(short_dir)
    yield host
    host.close()


def test_from_an_observation_to_a_program(host: Host, short_dir: Path) -> None:
    with Names(str(short_dir / "agent.sock"), str(short_dir / "names.json")) as names:
        with pytest.raises(Unresolved, match="no service sudoku"):
            names.resolve("sudoku")
        host.see(0)
        host.see(1)

        def ports() -> list[int]:
            try:
                return [e["port"] for e in names.resolve("sudoku")]
            except Unresolved:
                return []

        wait_for(lambda: ports() == [20000, 20001])
        host.see(0, state=State.FAILED)
        wait_for(lambda: ports() == [20001])
        assert names.pick("puzzle.sudoku") == ("127.0.1.1", 20001)
        host.see(1, state=State.FAILED)
        wait_for(lambda: ports() == [])
        with pytest.raises(Unresolved, match="no endpoint is ready"):
            names.pick("sudoku")
        host.see(1, run=2)
        wait_for(lambda: ports() == [20001])
        host.close()
        assert ports() == [20001]
        host.start()  # anew, from its disk cache
        host.see(2)
        wait_for(lambda: ports() == [20001, 20002])
    with Names("", str(short_dir / "names.json")) as names:
        assert {names.pick("sudoku", key=str(n))[1] for n in range(20)} == {20001, 20002}
