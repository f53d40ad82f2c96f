"""The session server and its client over a real Unix socket, on an engine that only the test drives."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cockpit.controller.board import TABLES, Board
from cockpit.controller.session import EngineSession
from cockpit.controller.world import World
from cockpit.model.view import ActionDetail, ActionRow, Delta, LogLine, RevisionRow, Who
from cockpit.naming.registry import Registry
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from cockpit.session.client import RemoteSession
from cockpit.session.server import MAX_OPEN, MAX_REQUEST, SessionServer
from tests.helpers import until


class Desk:
    """What EngineSession asks of a controller, as far as these tests go."""

    def __init__(self) -> None:
        self.board = Board(World(Registry()))


class Engine(EngineSession):
    """A session on a bare board; `plan` and the others wait, fail and answer as the test says."""

    open: list[Engine] = []  # noqa: RUF012

    def __init__(self, desk: Desk, who: Who) -> None:
        super().__init__(desk, who)  # type: ignore[arg-type]
        self.gate = asyncio.Event()
        self.waiting = 0
        self.streams = 0
        self.closed = False
        self.open.append(self)

    async def plan(self, intent: Intent) -> Plan:
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        return Plan(intent=intent, base=0)

    async def action(self, id: str) -> ActionDetail:
        errors: dict[str, Exception] = {
            "bad": Bad("no such action"), "refused": Refused("not now"), "none": ConnectionError("host is silent"),
            "late": TimeoutError(), "disk": OSError(28, "No space left on device"), "bug": RuntimeError("a bug"),
            "key": KeyError("x"), "attribute": AttributeError("x"),
        }  # fmt: skip
        if id in errors:
            raise errors[id]
        return ActionDetail(row=ActionRow(id=id, verb="deploy", state="done", author="li", note="é\u2028\n" * 3))

    async def revisions(self, limit: int = 50) -> Sequence[RevisionRow]:
        return [RevisionRow(number=n, mark="m", author="li", time=0.0, action="#1") for n in range(limit)]

    async def logs(
        self, instances: Sequence[str], *, lines: int = 200, follow: bool = True
    ) -> AsyncIterator[LogLine]:
        self.streams += 1
        try:
            for n in itertools.count():
                if n == lines and not follow:
                    return
                if n >= lines:
                    await asyncio.Event().wait()
                yield LogLine(instance=instances[0], run=1, stream="stdout", text=f"line {n}")
        finally:
            self.streams -= 1

    async def close(self) -> None:
        self.closed = True
        await super().close()


class House:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.desk = Desk()
        self.rows = itertools.count(1)
        self.server: SessionServer | None = None

    async def start(self) -> None:
        async def echo(who: Who, args: dict[str, Any]) -> Any:
            return {"who": who.author, **args}

        self.server = SessionServer(self.directory, self.session, {"export": echo, "token": echo, "secret": echo})
        await self.server.start()

    def session(self, who: Who) -> Engine:
        return Engine(self.desk, who)

    @property
    def engine(self) -> Engine:
        """The newest client's."""
        return Engine.open[-1]

    def row(self, id: str, note: str = "") -> None:
        """One row of the tables changes, and everybody is told."""
        self.desk.board.set_action(
            ActionRow(id=id, verb="deploy", state="running", author="li", note=note, done=next(self.rows))
        )
        self.desk.board.refresh(0.0)

    async def client(self) -> RemoteSession:
        session = RemoteSession(self.directory / "control.sock")
        await session.connect()
        return session


@pytest.fixture
async def house(short_dir: Path) -> AsyncIterator[House]:
    Engine.open.clear()
    made = House(short_dir)
    await made.start()
    yield made
    assert made.server is not None
    await made.server.stop()


class Raw:
    """A client that writes bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: Any) -> None:
        self.writer.write(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            answer = json.loads(await self.reader.readline())
        assert isinstance(answer, dict)
        return answer

    async def cut(self) -> bool:
        """The server ends the connection without a word."""
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read() == b""
            return True


@contextlib.asynccontextmanager
async def raw(house: House) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_unix_connection(str(house.directory / "control.sock"), limit=2**26)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


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


# streams


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


async def follow(session: RemoteSession | EngineSession, tables: dict[str, dict[str, Any]]) -> None:
    async for delta in session.changes():
        apply(tables, delta)


def apply(tables: dict[str, dict[str, Any]], delta: Delta) -> None:
    for name in TABLES:
        for key, row in getattr(delta, name).items():
            if row is None:
                tables[name].pop(key, None)
            else:
                tables[name][key] = row


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


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
    await asyncio.wait_for(task, 5)


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
            await asyncio.wait_for(task, 5)
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
        await asyncio.wait_for(session.connect(), 5)
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
    import os
    import pwd

    assert session.who.author == f"{pwd.getpwuid(os.getuid()).pw_name}@{os.uname().nodename}"
    await session.close()
