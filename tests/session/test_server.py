"""The session server and its client over a real Unix socket, on an engine that only the test drives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from cockpit.controller.board import TABLES
from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.session.client import RemoteSession
from cockpit.session.server import MAX_OPEN, MAX_REQUEST
from tests.helpers import PATIENCE, until
from tests.session.engine import Engine, House, follow, raw, stop

# what is no request


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n", b"\xff\xfe\n", b"[]\n", b"7\n", b'"op"\n', b"\n", b"{}\n", b'{"op": 7}\n',
        b'{"id": [1], "op": "who"}\n', b'{"id": {"a": 1}, "op": "who"}\n', b'{"id": 1, "op": "who", "args": [1]}\n',
        b"GET / HTTP/1.1\r\n", b'{"id": 1, "op": "who"',
    ],
    ids=repr,
)
async def test_garbage_is_cut_off_and_nobody_else_notices(house: House, line: bytes) -> None:
    session = await house.client()
    async with raw(house) as client:
        client.send(line)
        if not line.endswith(b"\n"):
            client.writer.write_eof()
        assert await client.cut()
    assert (await session.call("who"))["role"] == "operator"
    await session.close()
    await until(lambda: all(e.closed for e in Engine.open))


async def test_a_huge_line_is_cut_off_at_the_limit(house: House) -> None:
    async with raw(house) as client:
        piece = b"x" * (1 << 20)
        with contextlib.suppress(ConnectionError):
            for _ in range((MAX_REQUEST >> 20) * 3):
                client.send(piece)
                await client.writer.drain()
        assert await client.cut()
    async with raw(house) as client:
        client.send({"id": 1, "op": "export", "args": {"x": "y" * (MAX_REQUEST // 2)}})
        assert len((await client.read())["result"]["x"]) == MAX_REQUEST // 2


@pytest.mark.parametrize(
    ("request_", "code", "word"),
    [
        ({"op": "nothing"}, "bad", "no op 'nothing'"), ({"op": "secret"}, "bad", "no op 'secret'"),
        ({"op": "plan"}, "bad", "intent"), ({"op": "plan", "args": {"intent": 7}}, "bad", "object"),
        ({"op": "action"}, "bad", "id"), ({"op": "logs"}, "bad", "list of instances"),
        ({"op": "logs", "args": {"instances": "web"}}, "bad", "list of instances"),
        ({"op": "revisions", "args": {"limit": "many"}}, "bad", "many"),
        ({"op": "action", "args": {"id": "bad"}}, "bad", "no such action"),
        ({"op": "action", "args": {"id": "refused"}}, "refused", "not now"),
        ({"op": "action", "args": {"id": "none"}}, "none", "host is silent"),
        ({"op": "action", "args": {"id": "late"}}, "none", "no answer"),
        ({"op": "action", "args": {"id": "disk"}}, "none", "No space left"),
        ({"op": "action", "args": {"id": "bug"}}, "bad", "a bug"),
        ({"op": "action", "args": {"id": "key"}}, "bad", "action"),
        ({"op": "action", "args": {"id": "attribute"}}, "bad", "action"),
    ],
    ids=str,
)
async def test_every_failure_is_answered(house: House, request_: dict[str, Any], code: str, word: str) -> None:
    async with raw(house) as client:
        client.send({"id": 5, **request_})
        answer = await client.read()
        assert (answer["id"], answer["ok"], answer["code"]) == (5, False, code)
        assert word in answer["text"]
        client.send({"id": "six", "op": "who"})
        assert (await client.read())["id"] == "six"


async def test_errors_become_exceptions_of_the_client(house: House) -> None:
    session = await house.client()
    for id, error in (("bad", Bad), ("refused", Refused), ("none", ConnectionError), ("bug", Bad)):
        with pytest.raises(error):
            await session.action(id)
    assert (await session.action("#1")).row.note == "é\u2028\n" * 3
    await session.close()


# many at once


async def test_many_requests_at_once_are_answered_by_their_ids(house: House) -> None:
    session = await house.client()
    slow = [asyncio.create_task(session.plan(Intent(verb="deploy", targets=(str(n),)))) for n in range(200)]
    await until(lambda: house.engine.waiting == 200)
    answers = await asyncio.gather(*(session.call("export", {"n": n}) for n in range(300)))
    assert [a["n"] for a in answers] == list(range(300))
    house.engine.gate.set()
    assert [(await task).intent.targets for task in slow] == [(str(n),) for n in range(200)]
    assert session._replies == {}
    await session.close()


async def test_a_long_answer_is_whole_whatever_goes_on_beside_it(house: House) -> None:
    """It is written in pieces: others of the same client wait for it, and one that was given up is still finished."""
    many = {str(n): "x" * 50 for n in range(20_000)}
    async with raw(house) as client:
        client.send({"id": 1, "op": "export", "args": many})
        client.send({"id": 2, "op": "who"})
        found = [await client.read(), await client.read()]
        assert {a["id"] for a in found} == {1, 2}
        assert next(a for a in found if a["id"] == 1)["result"].items() >= many.items()
        client.send({"id": 3, "op": "export", "args": many})
        client.send({"op": "cancel", "stream": 3})
        client.send({"id": 4, "op": "who"})
        while (answer := await client.read())["id"] != 4:
            assert answer["id"] == 3
        assert answer["ok"]


async def test_an_id_that_is_under_way_is_not_taken_twice(house: House) -> None:
    async with raw(house) as client:
        client.send({"id": 1, "op": "plan", "args": {"intent": {"verb": "deploy"}}})
        client.send({"id": 1, "op": "who"})
        answer = await client.read()
        assert (answer["id"], answer["code"]) == (1, "bad")
        house.engine.gate.set()
        assert (await client.read())["ok"]
        client.send({"id": 1, "op": "who"})
        assert (await client.read())["ok"]


async def test_there_is_an_end_to_requests_under_way(house: House) -> None:
    async with raw(house) as client:
        for n in range(MAX_OPEN + 1):
            client.send({"id": n, "op": "plan", "args": {"intent": {"verb": "deploy"}}})
        answer = await client.read()
        assert (answer["id"], answer["code"]) == (MAX_OPEN, "refused")


async def test_a_client_that_goes_takes_its_work_along(house: House) -> None:
    async with raw(house) as client:
        client.send({"id": 1, "op": "plan", "args": {"intent": {"verb": "deploy"}}})
        client.send({"id": 2, "op": "logs", "args": {"instances": ["web/0"], "lines": 1}})
        client.send({"id": 3, "op": "snapshot"})
        client.send({"id": 4, "op": "changes"})
        await until(lambda: Engine.open)
        engine = house.engine
        await until(lambda: engine.waiting == 1 and engine.streams == 1 and engine._open)
    await until(lambda: engine.closed)
    assert (engine.waiting, engine.streams, engine._open) == (0, 0, set())
    assert house.desk.board._subscribers == set()


# ends and beginnings


async def test_nobody_listens(short_dir: Path) -> None:
    session = RemoteSession(short_dir / "control.sock")
    with pytest.raises(ConnectionError, match=r"no controller answers on .*control\.sock"):
        await session.connect()
    with pytest.raises(ConnectionError):
        await session.snapshot()
    await session.close()


async def test_the_client_comes_back_after_the_controller_did(house: House) -> None:
    session = await house.client()
    house.row("#1")
    await session.snapshot()
    tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    stream = asyncio.create_task(follow(session, tables))
    pending = asyncio.create_task(session.plan(Intent(verb="deploy")))
    await until(lambda: house.engine.waiting and house.engine._open)
    assert house.server is not None
    await house.server.stop()
    assert not (house.directory / "control.sock").exists()
    for task in (stream, pending):
        with pytest.raises(ConnectionError, match="went away"):
            await asyncio.wait_for(task, PATIENCE)
    with pytest.raises(ConnectionError, match="no controller answers"):
        await session.snapshot()
    await house.start()
    house.row("#2")
    assert set((await session.snapshot()).actions) == {"#1", "#2"}
    stream = asyncio.create_task(follow(session, tables))
    await until(lambda: house.engine._open)
    house.row("#3")
    await until(lambda: "#3" in tables["actions"])
    await stop(stream)
    await session.close()


@pytest.mark.parametrize(
    "answer",
    [b'{"id":1,"ok":true,"resu', b"", b"garbage\n", b"\xff\n", b'{"id":1,"ok":true,"result":{"author":"li"'],
    ids=repr,
)
async def test_a_server_that_dies_in_the_middle_of_an_answer(short_dir: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, str(short_dir / "control.sock"))
    session = RemoteSession(short_dir / "control.sock")
    with pytest.raises(ConnectionError, match="went away"):
        await asyncio.wait_for(session.connect(), PATIENCE)
    await session.close()
    server.close()


async def test_stop_does_not_take_a_successors_sockets(house: House) -> None:
    other = House(house.directory)
    await other.start()  # it replaces what it finds, as after a kill -9
    assert house.server is not None
    await house.server.stop()
    session = await other.client()
    assert (await session.call("who"))["role"] == "operator"
    await session.close()
    assert other.server is not None
    await other.server.stop()
    assert sorted(p.name for p in house.directory.iterdir()) == []


async def test_the_author_is_who_the_kernel_says(house: House) -> None:
    session = await house.client()
    assert session.who.author == f"{pwd.getpwuid(os.getuid()).pw_name}@{os.uname().nodename}"
    await session.close()
