"""The reader of the history is a process of its own: it may die, be left in the middle, and rest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cockpit.history import archive
from cockpit.plan.steps import Bad
from tests.controller.fakes import agent, engine
from tests.helpers import alive, until

NOW = {"at": 2e9}


async def test_one_reader_answers_until_it_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LOOK", 0.05)
    async with engine(tmp_path) as c:
        assert c.archive.process is None  # nobody has asked
        one = await agent(c, tmp_path, "a-1")
        await until(lambda: c.world.up())
        asked: dict[str, Any] = {"start": 0, "end": 2e9}
        assert (await c.archive.ask("moments", asked))["newest"]
        first = c.archive.process
        assert first is not None
        with pytest.raises(Bad, match="a tea has no life here"):
            await c.archive.ask("lives", {"kind": "tea", "name": "x"})
        rows = [item async for item in c.archive.items("past", NOW)]
        assert "segment" in rows[0] and "part" in rows[1]
        assert c.archive.process is first
        monkeypatch.setattr(archive, "REST", 0.0)
        await until(lambda: not alive(first.pid), what="the reader rests")
        monkeypatch.setattr(archive, "REST", 60.0)
        assert (await c.archive.ask("moments", asked))["newest"]
        second = c.archive.process
        await one.stop()
    assert second is not None and not alive(second.pid)


async def test_a_reader_that_was_killed_is_said_and_replaced(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        assert "oldest" in await c.archive.ask("moments", {"start": 0, "end": 2e9})
        process = c.archive.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)  # so that it dies with the question in its hands
        asking = asyncio.create_task(c.archive.ask("moments", {"start": 0, "end": 2e9}))
        await until(lambda: c.archive.busy, what="it has the question")
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ConnectionError, match="ended by itself"):
            await asking
        assert [item async for item in c.archive.items("past", NOW)]


async def test_an_answer_that_is_left_in_the_middle_is_not_the_next_ones(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        async with contextlib.aclosing(c.archive.items("past", NOW)) as items:
            async for item in items:
                assert "segment" in item
                break
        assert "oldest" in await c.archive.ask("moments", {"start": 0, "end": 2e9})
