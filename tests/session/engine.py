"""An engine that only the test drives, behind the real session server, and a client that writes bytes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from cockpit.controller.board import TABLES, Board
from cockpit.controller.session import EngineSession
from cockpit.controller.world import World
from cockpit.model.view import ActionDetail, ActionRow, Delta, LogLine, RevisionRow, Who
from cockpit.naming.registry import Registry
from cockpit.plan.steps import Bad, Intent, Plan, Refused
from cockpit.session.client import RemoteSession
from cockpit.session.server import SessionServer
from tests.helpers import PATIENCE


async def echo(who: Who, args: dict[str, Any]) -> Any:
    return {"who": who.author, **args}


class Desk:
    """What EngineSession asks of a controller, as far as these tests go."""

    def __init__(self) -> None:
        self.board = Board(World(Registry()))
        self.operations = {"export": echo, "token": echo, "secret": echo}
        self.streams: dict[str, Any] = {}


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
        self, instances: Sequence[str], *, lines: int = 200, follow: bool = True, since: float = 0.0,
        until: float = 0.0, streams: Sequence[str] = (), previous: int = 0, grep: str = "", before: int = 0,
        after: int = 0,
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
        self.server = SessionServer(self.directory, self.session)
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


class Raw:
    """A client that writes bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: Any) -> None:
        self.writer.write(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            answer = json.loads(await self.reader.readline())
        assert isinstance(answer, dict)
        return answer

    async def cut(self) -> bool:
        """The server ends the connection without a word."""
        async with asyncio.timeout(PATIENCE):
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
