"""Names on a host: the socket for programs, and the cache on disk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cockpit.agent.local import LocalSocket
from cockpit.agent.names import Names, UnknownName, find_path
from tests.agent.fake import AgentProcess, FakeController
from tests.helpers import PATIENCE, until


def endpoint(port: int, state: str = "ready") -> dict[str, Any]:
    return {"address": "127.0.1.1", "port": port, "name": "http", "state": state, "instance": "a/0", "attributes": {}}


def full(version: int, **services: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "t": "names", "version": version, "full": True,
        "services": {k.replace("_", "."): v for k, v in services.items()},
    }


class Program:
    """A program on the host, at the agent's socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, dir: Path) -> Program:
        return cls(*await asyncio.open_unix_connection(str(dir / "agent.sock")))

    async def ask(self, **request: Any) -> dict[str, Any]:
        self.writer.write(json.dumps(request).encode() + b"\n")
        return await self.next()

    async def next(self) -> dict[str, Any]:
        doc: dict[str, Any] = json.loads(await asyncio.wait_for(self.reader.readline(), PATIENCE))
        return doc


@pytest.mark.parametrize(
    ("name", "is_"),
    [
        ("puzzle.web", "puzzle.web"), ("web", None), ("sudoku", "puzzle.sudoku"), ("puzzle", None),
        ("bank.web", "bank.web"), ("doku", None), ("", None), ("b", "b"),
    ],
)
def test_the_shortest_unique_suffix(name: str, is_: str | None) -> None:
    assert find_path(name, dict.fromkeys(["puzzle.web", "bank.web", "puzzle.sudoku", "a.b", "b"], [])) == is_


def test_frames_are_applied_in_order(tmp_path: Path) -> None:
    names = Names(str(tmp_path))
    assert (names.version, names.services) == (0, {})
    assert names.apply(full(5, a_b=[endpoint(1)], a_c=[])) == ["a.b", "a.c"]
    delta = {"version": 6, "full": False, "services": {"a.b": [endpoint(2)], "a.c": None}}
    assert names.apply(delta) == ["a.b", "a.c"]
    assert names.apply({"version": 4, "full": False, "services": {"a.b": []}}) == []
    assert names.endpoints("b") == [endpoint(2)] and names.version == 6
    assert Names(str(tmp_path)).services == {"a.b": [endpoint(2)]}
    assert (tmp_path / "names.json").stat().st_mode & 0o777 == 0o644
    assert names.apply(full(2, x=[])) == ["a.b", "x"], "a full set always counts: the state may have been rebuilt"
    assert names.version == 2


def test_a_damaged_cache_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"version": 3, "serv')
    assert Names(str(tmp_path)).version == 0


def test_an_unknown_name_says_what_is_near(tmp_path: Path) -> None:
    names = Names(str(tmp_path))
    names.apply(full(1, puzzle_web=[], bank_web=[], puzzle_sudoku=[]))
    with pytest.raises(UnknownName, match=r"bank\.web, puzzle\.web"):
        names.find("web")
    with pytest.raises(UnknownName, match=r"did you mean puzzle\.sudoku"):
        names.find("puzzle.sodoku")


async def test_resolve_watch_and_the_cache_after_a_restart(agent: AgentProcess, controller: FakeController) -> None:
    await controller.send(full(1, puzzle_sudoku=[endpoint(1)], puzzle_web=[]))
    await until(lambda: {"t": "names", "version": 1} in controller.frames)
    program = await Program.open(agent.dir)
    found = await program.ask(id=1, op="resolve", name="sudoku")
    assert found["ok"] and found["version"] == 1 and found["endpoints"] == [endpoint(1)]
    assert (await program.ask(id=2, op="resolve", name="sudok"))["code"] == "none"
    first = await program.ask(id=3, op="watch", names=["sudoku", "puzzle.new"])
    assert first == {"id": 3, "ok": True, "version": 1, "services": {"sudoku": [endpoint(1)], "puzzle.new": []}}
    await controller.send({"t": "names", "version": 2, "full": False, "services": {"puzzle.web": [endpoint(9)]}})
    await controller.send({"t": "names", "version": 3, "full": False, "services": {"puzzle.sudoku": []}})
    assert await program.next() == {"watch": 3, "version": 3, "services": {"sudoku": [], "puzzle.new": []}}
    await controller.send({"t": "names", "version": 4, "full": False, "services": {"puzzle.new": [endpoint(4)]}})
    assert (await program.next())["services"]["puzzle.new"] == [endpoint(4)]
    await until(lambda: {"t": "names", "version": 4} in controller.frames)

    await controller.stop()
    os.kill(agent.pid, signal.SIGKILL)
    assert await program.reader.read() == b""

    async def again() -> dict[str, Any]:
        try:
            return await (await Program.open(agent.dir)).ask(id=1, op="resolve", name="new")
        except (OSError, ValueError):
            return {}

    found = await until(again, what="the new agent answers while the controller is away")
    assert (found["version"], found["endpoints"]) == (4, [endpoint(4)]), "from the disk cache"


async def test_bad_requests_get_an_answer(short_dir: Path) -> None:
    names = Names(str(short_dir))
    local = LocalSocket(str(short_dir), names)
    await local.start()
    try:
        assert (short_dir / "agent.sock").stat().st_mode & 0o777 == 0o666
        program = await Program.open(short_dir)
        for request in (
            {"id": 1, "op": "delete"}, {"id": 1, "op": "resolve"}, {"id": 1, "op": "resolve", "name": "x" * 1000},
            {"id": 1, "op": "watch", "names": []}, {"id": "a", "op": "watch", "names": ["x"]},
            {"id": 1, "op": "watch", "names": ["x"] * 1001},
        ):
            answer = await program.ask(**request)
            assert answer["ok"] is False and answer["code"] == "bad" and answer["text"], request
        program.writer.write(b"[1]\nnonsense\n")
        assert (await program.next())["code"] == "bad"
        assert (await program.next())["code"] == "bad"
        program.writer.write(b"x" * 100_000)
        with pytest.raises((ConnectionError, AssertionError)):
            assert await program.reader.read(), "a line that is too long ends the connection"
    finally:
        await local.stop()


async def test_a_watcher_that_does_not_read_holds_nobody_up(short_dir: Path) -> None:
    names = Names(str(short_dir))
    local = LocalSocket(str(short_dir), names)
    await local.start()
    try:
        deaf, good = await Program.open(short_dir), await Program.open(short_dir)
        big = [endpoint(n) for n in range(8000)]
        for program in (deaf, good):
            await program.ask(id=1, op="watch", names=["a.b"])
        for version in range(1, 6):
            local.publish(names.apply(full(version, a_b=big[version:])))
        await local.flushed(0.05)
        # the one that reads sees the latest; the other holds at most what its socket takes
        data = b""
        while b'"version":5' not in data:
            data = data[-100:] + await asyncio.wait_for(good.reader.read(1 << 20), PATIENCE)
    finally:
        deaf.writer.transport.abort()
        await local.stop()
