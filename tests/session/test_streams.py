"""Streams of a session: changes and logs, embedded and over the socket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from cockpit.controller.board import TABLES
from cockpit.model.view import Who
from tests.helpers import PATIENCE, until
from tests.session.engine import Engine, House, follow, raw, stop


async def test_a_stream_ends_when_it_is_over(house: House) -> None:
    session = await house.client()
    lines = [line.text async for line in session.logs(["web/0"], lines=500, follow=False)]
    assert lines == [f"line {n}" for n in range(500)]
    assert session._streams == {}
    await until(lambda: house.engine.streams == 0)
    await session.close()


async def test_a_cancelled_stream_ends_on_both_sides(house: House) -> None:
    session = await house.client()
    seen: list[str] = []

    async def follow() -> None:
        async for line in session.logs(["web/0"], lines=3):
            seen.append(line.text)

    for _ in range(3):
        task = asyncio.create_task(follow())
        await until(lambda: len(seen) == 3)
        assert house.engine.streams == 1
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await until(lambda: house.engine.streams == 0)
        seen.clear()
    assert session._streams == {}
    assert (await session.call("who"))["role"] == "operator"
    await session.close()


async def test_cancelling_what_does_not_run_does_nothing(house: House) -> None:
    async with raw(house) as client:
        for stream in (7, "x", None):
            client.send({"op": "cancel", "stream": stream})
        client.send({"id": 1, "op": "who"})
        assert (await client.read())["ok"]


@pytest.mark.parametrize("remote", [False, True], ids=["embedded", "remote"])
async def test_changes_follow_the_last_snapshot(house: House, remote: bool) -> None:
    who = Who(author="li", role="operator")
    session: Any = await house.client() if remote else Engine(house.desk, who)
    house.row("#1")
    snapshot = await session.snapshot()
    tables = {name: dict(getattr(snapshot, name)) for name in TABLES}
    house.row("#2", "between snapshot and changes")
    task = asyncio.create_task(follow(session, tables))
    await until(lambda: tables == house.desk.board.tables)
    again = await session.snapshot()  # does not end the stream
    assert set(again.actions) == {"#1", "#2"}
    house.row("#1", "changed")
    house.row("#3")
    await until(lambda: tables == house.desk.board.tables)
    await stop(task)
    snapshot = await session.snapshot()
    tables = {name: dict(getattr(snapshot, name)) for name in TABLES}
    task = asyncio.create_task(follow(session, tables))  # and another one may follow
    house.row("#4")
    await until(lambda: tables == house.desk.board.tables)
    await stop(task)
    await session.close()
    await until(lambda: not house.desk.board._subscribers)


async def test_several_streams_of_one_session_see_everything(house: House) -> None:
    session = await house.client()
    await session.snapshot()
    found: list[dict[str, dict[str, Any]]] = [{name: {} for name in TABLES} for _ in range(3)]
    tasks = [asyncio.create_task(follow(session, tables)) for tables in found]
    await until(lambda: len(house.engine._open) == 3)
    for n in range(50):
        house.row(f"#{n}")
        if n % 10 == 0:
            await asyncio.sleep(0)
    await until(lambda: all(tables == house.desk.board.tables for tables in found))
    for task in tasks:
        await stop(task)
    await session.close()


async def test_the_end_of_an_embedded_session_ends_its_streams(house: House) -> None:
    session = Engine(house.desk, Who(author="li", role="operator"))
    await session.snapshot()
    tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    task = asyncio.create_task(follow(session, tables))
    await until(lambda: session._open)
    await session.close()
    await asyncio.wait_for(task, PATIENCE)


async def test_a_slow_reader_loses_no_row(house: House) -> None:
    """Its socket fills up; what it then reads are merged deltas, and they end where everybody is."""
    async with raw(house) as client:
        client.send({"id": 1, "op": "snapshot"})
        assert (await client.read())["ok"]
        client.send({"id": 2, "op": "changes"})
        engine = Engine.open[-1]
        await until(lambda: engine._open)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        told = 0
        for n in range(3000):
            house.row(f"#{n % 37}", "x" * 1500)
            told += 1
            await asyncio.sleep(0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        deltas = 0
        final = {k: r.done for k, r in house.desk.board.tables["actions"].items()}
        while final != {k: r["done"] for k, r in tables["actions"].items()}:
            item = (await client.read())["item"]
            tables["actions"].update(item["actions"])
            deltas += 1
        assert len(tables["actions"]) == 37
        assert deltas < told / 2  # moments were skipped
