"""Streams of many instances on a real controller: order, credit, what is asked of agents, what is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.controller import logs as logs_module
from cockpit.controller.core import Controller
from cockpit.controller.serving import here
from cockpit.model.view import LogLine
from cockpit.plan.steps import Bad
from tests.controller.fakes import FakeAgent, agent, engine
from tests.helpers import PATIENCE, until

Up = tuple[Controller, FakeAgent]


@pytest.fixture
async def up(short_dir: Path) -> AsyncIterator[Up]:
    """One agent; shop.db/0 is on it."""
    async with engine(short_dir) as c:
        a = await agent(c, short_dir, "a-1")
        a.logs = []
        yield c, a
        await a.stop()


async def collect(lines: AsyncIterator[LogLine], into: list[LogLine]) -> None:
    async for line in lines:
        into.append(line)


@contextlib.asynccontextmanager
async def following(c: Controller, **ask: Any) -> AsyncIterator[tuple[str, list[LogLine], asyncio.Task[None]]]:
    seen: list[LogLine] = []
    task = asyncio.create_task(collect(c.session(here()).logs(["shop.db/0"], **ask), seen))
    try:
        yield next(iter(await until(lambda: c.logs._queues))), seen, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_asked_reaches_the_agent(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    c, a = up
    asked: list[dict[str, Any]] = []
    command = c.hub.command

    async def noted(host: str, word: str, args: dict[str, Any], **more: Any) -> Any:
        asked.append(args)
        return await command(host, word, args, **more)

    monkeypatch.setattr(c.hub, "command", noted)
    async with following(c, grep="!/a.b/", since=5.0, streams=["stderr"], previous=2, before=1, after=3, lines=7):
        await until(lambda: "logs" in a.words)
        args = next(args for args in asked if "stream" in args)
        assert args["grep"] == {"text": "a.b", "regex": True, "inverse": True} and args["times"] is True
        assert (args["since"], args["streams"], args["previous"], args["before"], args["after"], args["lines"]) == (
            5.0, ["stderr"], 2, 1, 3, 7,
        )  # fmt: skip


async def test_times_marks_and_notes_reach_the_reader(up: Up) -> None:
    c, a = up
    async with following(c) as (stream, seen, task):
        line = [1, "stderr", "main", "x", 12.5, "g"]
        await a.send(t="log", stream=stream, lines=[line], dropped=0, end=None)
        await a.send(t="log", stream=stream, lines=[], caught=True, left=1204, note="older were not searched")
        await a.send(t="log", stream=stream, lines=[], note="run 2 begins")
        await a.send(t="log", stream=stream, lines=[], dropped=1204, end=None)
        await a.send(t="log", stream=stream, lines=[], end="exit 3")
        await asyncio.wait_for(task, PATIENCE)
        assert (seen[0].time, seen[0].mark, seen[0].text) == (12.5, "g", "x")
        assert [(x.text, x.dropped) for x in seen[1:]] == [
            ("1,204 older lines are left out; older were not searched", 0), ("run 2 begins", 0),
            ("1,204 lines dropped: they came faster than they could be sent", 1204), ("exit 3", 0),
        ]  # fmt: skip
        assert all(x.time == 12.5 for x in seen), "a remark stands where it belongs"


async def test_credit_comes_back_as_lines_are_read_and_no_faster(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    c, a = up
    monkeypatch.setattr(logs_module, "RATE", 400.0)
    given: list[int] = []
    send = c.hub.send

    def noted(host: str, frame: dict[str, Any]) -> bool:
        given.append(frame["lines"] if frame["t"] == "credit" else 0)
        return send(host, frame)

    monkeypatch.setattr(c.hub, "send", noted)
    async with following(c) as (stream, seen, _):
        await a.send(t="log", stream=stream, lines=[], caught=True)
        lines = [[1, "stdout", "main", str(n), 5.0, ""] for n in range(4000)]
        for n in range(0, 4000, 500):
            await a.send(t="log", stream=stream, lines=lines[n : n + 500])
        await until(lambda: len(seen) >= 100)
        assert sum(given) <= 4000 + len(seen) + logs_module.BATCH and len(seen) < 4000
        assert [x.text for x in seen] == [str(n) for n in range(len(seen))]


async def test_what_cannot_be_asked_is_refused(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    c, _ = up
    with pytest.raises(Bad, match="no regular expression"):
        await collect(c.session(here()).logs(["shop.db/0"], grep="/(/"), [])
    monkeypatch.setattr(logs_module, "MOST", 1)
    with pytest.raises(Bad, match="2 instances at once; 1 is the most"):
        await collect(c.session(here()).logs(["shop.web/0", "shop.web/1"]), [])
    assert c.logs._queues == {}
