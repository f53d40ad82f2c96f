"""Two people at once, the moment an action ends, and a state that cannot be kept any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from cockpit.controller.core import Controller
from cockpit.controller.serving import here
from cockpit.plan.steps import Intent, Refused
from cockpit.ports import Write
from tests.controller.fakes import agent, engine
from tests.helpers import PATIENCE, until


class Gate:
    """Commits that wait, or fail, as long as the test says so."""

    def __init__(self, c: Controller) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.error: OSError | None = None
        self.waiting = 0
        self._commit = c.store.commit
        c.store.commit = self.commit  # type: ignore[method-assign]

    async def commit(self, writes: Sequence[Write]) -> None:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        if self.error is not None:
            raise self.error
        await self._commit(writes)


async def test_of_two_at_once_on_the_same_targets_one_is_refused(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        agents = [await agent(c, short_dir, host) for host in ("a-1", "b-1")]
        await until(lambda: len(list(c.world.up())) == 2)
        session = c.session(here())
        intent = Intent(verb="converge")
        answers = await asyncio.gather(
            session.submit(intent), session.submit(intent), return_exceptions=True
        )
        assert sorted(type(a).__name__ for a in answers) == ["ActionRow", "Refused"]
        refusal = next(str(a) for a in answers if isinstance(a, Refused))
        assert "#2" in refusal and here().author in refusal
        for each in agents:
            await each.stop()


async def test_an_action_that_is_shown_as_done_is_in_nobodys_way(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        agents = [await agent(c, short_dir, host) for host in ("a-1", "b-1")]
        session = c.session(here())
        gate = Gate(c)
        first = await session.submit(Intent(verb="converge"))
        await asyncio.wait_for(c.runner.ended[first.id].wait(), PATIENCE)
        second = await session.submit(Intent(verb="restart", targets=("shop.db",)))
        gate.open.clear()
        await until(lambda: c.ledger.actions[second.id].row.ended is not None)
        asyncio.get_running_loop().call_later(0.05, gate.open.set)
        third = await session.submit(Intent(verb="restart", targets=("shop.db",)))
        await asyncio.wait_for(c.runner.ended[third.id].wait(), PATIENCE)
        assert {a.row.state for a in c.ledger.actions.values()} == {"done"}
        for each in agents:
            await each.stop()


@pytest.mark.filterwarnings("error")
async def test_a_state_that_cannot_be_kept_ends_the_controller(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        agents = [await agent(c, short_dir, host) for host in ("a-1", "b-1")]
        gate = Gate(c)
        await c.session(here()).submit(Intent(verb="converge"))
        gate.error = OSError(28, "No space left on device")
        await asyncio.wait_for(c.ended.wait(), PATIENCE)
        assert "No space left on device" in c.why and "services run on" in c.why
        gate.error = None
        for each in agents:
            await each.stop()
