"""`f` and `:forwards`: asked for, shown, used by a real connection, ended. Real agents: tests/e2e/test_forward.py."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cockpit.plan.steps import Bad
from screens.aim import Aim
from screens.forwarding import question, wanted
from tests.screens.canned import CannedSession
from tests.screens.drive import LARGE, SMALL, Driver, driven, until

WEB = "puzzle.web/0"


class Echo(CannedSession):
    """The far side of a forward: says again what it hears."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.asked: list[dict[str, Any]] = []
        self.ended = 0
        self.answers["direct"] = {"intent": {"verb": "forward"}, "base": 1}

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        if op != "forward_tell":
            return await super().call(op, args)
        assert args is not None
        for number, kind, *more in args["ev"]:
            if kind == "open":
                self.items.put_nowait({"ev": [[number, "open"]]})
            elif kind == "data":
                size = len(base64.b64decode(more[0]))
                self.items.put_nowait({"ev": [[number, "took", size], [number, "data", more[0]]]})
            elif kind == "eof":
                self.items.put_nowait({"ev": [[number, "eof"], [number, "over", ""]]})
        return {}

    def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        return self._forward(args or {}) if op == "forward" else super().stream(op, args)

    async def _forward(self, args: dict[str, Any]) -> AsyncIterator[Any]:
        self.asked.append(args)
        if args["port"] == "nosuch":
            raise Bad("sh-1: nosuch is no port of puzzle.web/0; it has http 20000")
        try:
            yield {"forward": "forward-1", "instance": args["instance"], "window": 65536, "most": 200}
            yield {"begun": {"host": "sh-1", "port": 20000, "address": "127.0.1.1"}}
            while True:
                yield await self.items.get()
        finally:
            self.ended += 1


@pytest.mark.parametrize(("aim", "said"), [
    (Aim("instance", (WEB,)), ""),
    (Aim("host", ("bj-1",)), "put the cursor on an instance"),
    (Aim(), "put the cursor on an instance"),
    (Aim("instance", ("a/0", "b/0")), "2 are marked"),
])  # fmt: skip
def test_where(aim: Aim, said: str) -> None:
    found = wanted(aim)
    assert said in found and bool(found) == bool(said)


@pytest.mark.parametrize(("ports", "value", "says"), [
    ({"http": 20000}, "", ""), ({"http": 1, "admin": 2}, "", "Which port?"), ({}, "", "Which port?"),
    ({}, "0:8080", ""), ({"http": 1}, "x:http", "[LOCAL:]PORT"), ({"http": 1}, "70000:http", "below 65536"),
])  # fmt: skip
def test_what_may_be_typed(ports: dict[str, int], value: str, says: str) -> None:
    found = question("web/0", ports).check(value)
    assert says in found and bool(found) == bool(says)


async def at_web(d: Driver) -> None:
    await d.press("i")
    await d.at("InstancesScreen")
    screen: Any = d.app.screen
    assert screen.grid.seek(WEB)
    await d.settled()


async def exchange(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    writer.write_eof()
    said = await reader.read()
    writer.close()
    return said


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "160x50"])
async def test_from_the_key_to_its_end(size: tuple[int, int]) -> None:
    session = Echo()
    async with driven(size, session=session) as d:
        await at_web(d)
        await d.press("f")
        await d.at("PortScreen")
        await d.sees("forward a port of web/0")
        await d.type("0:http")
        await d.press("enter")
        await d.sees("leads to port 20000 of web/0 on sh-1")
        assert session.asked[0] == {"instance": WEB, "port": "http"}
        (running,) = d.app.forwards.running()
        assert await exchange(running.local, b"hello") == b"hello"
        await d.sees("1 forward")
        await d.press(":")
        await d.type("forwards")
        await d.press("enter")
        await d.at("ForwardsScreen")
        await d.sees(f"127.0.0.1:{running.local}")
        await until(lambda: (running.sent, running.received, running.open) == (5, 5, 0))
        d.app.screen.tick()  # type: ignore[attr-defined]
        await d.sees("open")
        session.items.put_nowait({"lost": "contact with sh-1 was lost"})
        await until(lambda: running.state == "lost")
        d.app.screen.tick()  # type: ignore[attr-defined]
        await d.sees("contact with sh-1 was lost")
        with pytest.raises(ConnectionResetError):
            await exchange(running.local, b"hello")
        session.items.put_nowait({"begun": {"host": "sh-1", "port": 20000, "address": "127.0.1.1"}})
        await until(lambda: running.state == "open")
        assert await exchange(running.local, b"again") == b"again"
        await d.press("ctrl+d")
        await d.sees("is closed")
        await until(lambda: session.ended == 1)
        with pytest.raises(ConnectionRefusedError):
            await exchange(running.local, b"")
        await d.press("ctrl+d")
        await d.sees("There is no forward under the cursor.")


async def test_typed_with_its_name_and_refused() -> None:
    session = Echo()
    async with driven(session=session) as d:
        for line, says in (
            ("forward web/0 nosuch", "nosuch is no port of puzzle.web/0"),
            ("forward nobody/9 http", "no instance 'nobody/9'"),
            ("forward web/0 0:http", "leads to port 20000"),
        ):  # fmt: skip
            await d.press(":")
            await d.type(line)
            await d.press("enter")
            await d.sees(says)
        assert len(d.app.forwards.running()) == 1
    await until(lambda: session.ended == 1, "it ends with the screens")


async def test_read_only_has_none() -> None:
    session = Echo(read_only="this is a view-only socket")
    async with driven(session=session) as d:
        await at_web(d)
        await d.press("f")
        await d.sees("forward is off: this is a view-only socket")
    assert not session.asked
