"""The agent's link over real TLS: whatever a middlebox eats, the next transport or way is taken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cockpit.agent import link as agent_link
from cockpit.agent.link import Link, Outbox, Owner
from cockpit.link.channel import TRANSPORTS, Channel
from cockpit.link.frames import Frame, decode, encode
from cockpit.link.listen import Who
from cockpit.link.ways import Pair
from tests.helpers import free_port, until
from tests.link.wires import House, box, house, is_h2, proxy

PING = 0.1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules at a fifth of the time."""
    monkeypatch.setattr(agent_link, "WELCOME_TIME", 1.5)
    monkeypatch.setattr(agent_link, "SILENCE", 1.5)
    monkeypatch.setattr(agent_link, "LOOK", 0.1)
    monkeypatch.setattr("cockpit.link.polling.STALE_TIME", 0.3)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A better pair is looked for early."""
    monkeypatch.setattr("cockpit.link.ways.RETURN", 0.5)


class Hub:
    """Welcomes, pings, and notes what comes. `welcome` is what it says; None: it refuses."""

    def __init__(self) -> None:
        self.welcome: Frame | None = {}
        self.hellos: list[Frame] = []
        self.frames: list[Frame] = []
        self.open: list[Channel] = []
        self.silent = False

    async def serve(self, channel: Channel, who: Who) -> None:
        hello = decode(await channel.recv())
        self.hellos.append(hello)
        if self.welcome is None:
            await channel.send(encode({"t": "refused", "why": "host is not in the topology"}))
            return
        for old in self.open:  # as the real one: the newest counts
            old.abort()
        self.open = [channel]
        await channel.send(encode({"t": "welcome", **self.welcome}))
        pinging = asyncio.ensure_future(self._ping(channel))
        try:
            with contextlib.suppress(ConnectionError):
                while True:
                    self.frames.append(decode(await channel.recv()))
        finally:
            pinging.cancel()
            if channel in self.open:
                self.open.remove(channel)

    async def _ping(self, channel: Channel) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                if not self.silent:
                    await channel.send(encode({"t": "ping", "at": time.time(), "pad": "x" * 300}))
                await asyncio.sleep(PING)


class Host(Owner):
    """An owner that notes what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.welcomes: list[Frame] = []
        self.frames: list[Frame] = []
        self.ends = 0
        self.is_busy = False
        self.blob = ""

    def hello(self) -> Frame:
        return {"t": "hello", "host": "h-1"}

    def source(self) -> str:
        return "10.255.255.1"  # one that others see: not of this machine

    def facts(self) -> dict[str, Any]:
        return self.told

    def busy(self) -> bool:
        return self.is_busy

    def welcome(self, frame: Frame) -> None:
        self.welcomes.append(frame)

    async def everything(self) -> list[Frame]:
        return [{"t": "full", "blob": self.blob}]

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def disconnected(self) -> None:
        self.ends += 1


class Place:
    def __init__(self, made: House, hub: Hub) -> None:
        self.made, self.hub, self.host = made, hub, Host()
        self.root = made.root / "h-1"
        self.link: Link

    @contextlib.asynccontextmanager
    async def running(self, *ports: int) -> AsyncIterator[Link]:
        """A link with controllers at these ports."""
        identity = replace(self.made.identity(), controllers=[f"https://127.0.0.1:{port}" for port in ports])
        outbox = Outbox(lambda unit: None)
        self.link = Link(identity, self.host, outbox)
        task = asyncio.ensure_future(self.link.run())
        try:
            yield self.link
        finally:
            assert not task.done() or task.exception() is None, task.exception()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def remembered(self) -> Any:
        return json.loads((self.root / "link.json").read_text())

    async def stands(self, transport: str, port: int) -> None:
        """For a good while."""
        pair = Pair(f"https://127.0.0.1:{port}", transport)
        await until(lambda: self.link.connected and self.link.pair == pair, what=f"{pair} stands")
        before = len([f for f in self.hub.frames if f["t"] == "pong"])
        await until(lambda: len([f for f in self.hub.frames if f["t"] == "pong"]) > before + 3)
        assert self.link.connected and self.link.pair == pair
        assert self.hub.hellos[-1]["transport"] == transport


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    hub = Hub()
    async with house(tmp_path, hub.serve) as made:
        yield Place(made, hub)


async def test_it_connects_and_remembers(place: Place) -> None:
    async with place.running(place.made.port):
        await place.stands("websocket", place.made.port)
        assert place.remembered() == {"way": f"https://127.0.0.1:{place.made.port}", "transport": "websocket"}
        assert any(f["t"] == "full" for f in place.hub.frames)
        assert place.host.ends == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_it_begins_with_what_worked_last(transport: str, place: Place) -> None:
    place.made.identity()
    url = f"https://127.0.0.1:{place.made.port}"
    (place.root / "link.json").write_text(json.dumps({"way": url, "transport": transport}))
    async with place.running(place.made.port):
        await place.stands(transport, place.made.port)
        assert len(place.hub.hellos) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"way": 7}', '{"way": "x", "transport": "smoke"}', "x" * 10_000])
async def test_a_damaged_memory_does_no_harm(text: str, place: Place) -> None:
    place.made.identity()
    (place.root / "link.json").write_text(text)
    async with place.running(place.made.port):
        await place.stands("websocket", place.made.port)


async def test_upgrades_to_a_websocket_are_swallowed(tmp_path: Path) -> None:
    """The connection stands, the request is never answered."""
    hub = Hub()
    made = House(tmp_path)
    made.serve = hub.serve

    @web.middleware
    async def swallow(request: web.Request, handler: Callable[[web.Request], Any]) -> Any:
        if request.path == "/link":
            await asyncio.Event().wait()
        return await handler(request)

    made.app.middlewares.append(swallow)
    await made.start()
    place = Place(made, hub)
    async with place.running(made.port):
        await place.stands("http2", made.port)
    await made.stop()


def all_but_polling(kind: str) -> Callable[[bytes], tuple[str, int]]:
    """HTTP/2 is not let in at all; other connections live for so many bytes only."""
    return lambda hello: ("rst", 0) if is_h2(hello) else (kind, 4200)


@pytest.mark.parametrize("kind", ["silent", "rst", "close"])
async def test_standing_connections_are_eaten_after_some_bytes(kind: str, place: Place) -> None:
    """What is left is polling: each time its connection is eaten it takes another."""
    async with box(place.made.port, all_but_polling(kind)) as between:
        async with place.running(between.port):
            await place.stands("polling", between.port)


@pytest.mark.parametrize("kind", ["silent", "rst", "close"])
async def test_http11_is_eaten_and_http2_is_not(kind: str, place: Place) -> None:
    place.host.blob = "x" * 10_000
    rule: Callable[[bytes], tuple[str, int]] = lambda hello: ("pass", 0) if is_h2(hello) else (kind, 2800)  # noqa: E731
    async with box(place.made.port, rule) as between:
        async with place.running(between.port):
            await place.stands("http2", between.port)


async def test_a_way_where_nobody_listens_is_left_at_once(place: Place) -> None:
    async with place.running(free_port(), place.made.port):
        await place.stands("websocket", place.made.port)


async def test_a_box_that_takes_connections_and_forwards_nothing(place: Place) -> None:
    async with box(place.made.port, lambda hello: ("drop", 0)) as dead:
        async with place.running(dead.port, place.made.port):
            await place.stands("websocket", place.made.port)
            assert dead.taken >= len(TRANSPORTS)


async def test_a_link_that_falls_silent_is_left(place: Place) -> None:
    async with place.running(place.made.port):
        await place.stands("websocket", place.made.port)
        place.hub.silent = True
        await until(lambda: len(place.hub.hellos) > 1)
        place.hub.silent = False
        assert place.hub.hellos[1]["transport"] == "http2"
        assert place.host.ends >= 1


async def test_a_refusal_is_said_and_tried_again_slowly(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cockpit.link.ways.REFUSED", (0.2, 0.3))
    monkeypatch.setattr("cockpit.link.ways.SOON", 0.3)
    place.hub.welcome = None
    async with place.running(place.made.port):
        await until(lambda: len(place.hub.hellos) >= 3)
        assert not place.link.connected and not place.host.welcomes
        assert "refused: host is not in the topology" in capfd.readouterr().err
        place.hub.welcome = {}
        await until(lambda: place.link.connected)


async def test_ways_transports_and_proxy_come_with_the_welcome(place: Place, soon: None) -> None:
    async with proxy() as (through, url), box(place.made.port, lambda hello: ("pass", 0)) as relay:
        ways = [f"https://127.0.0.1:{relay.port}", "rubbish", 7]
        place.hub.welcome = {"ways": ways, "transports": ["http2"], "proxy": url}
        async with place.running(place.made.port):
            await until(lambda: len(place.hub.hellos) >= 1)
            await place.stands("http2", relay.port)  # nearer: it moved there
            assert through.asked and place.host.ends == 1
            assert len(place.host.welcomes) == 2
        place.host.told = dict(place.hub.welcome)  # as it is after a restart of the agent
        through.asked.clear()
        async with place.running(free_port()):
            await place.stands("http2", relay.port)
            assert through.asked == [f"CONNECT 127.0.0.1:{relay.port} HTTP/1.1"]


async def test_it_returns_to_the_nearer_way_beside_the_link_that_stands(place: Place, soon: None) -> None:
    port = free_port()
    async with place.running(port, place.made.port):
        await place.stands("websocket", place.made.port)
        place.host.is_busy = True
        async with box(place.made.port, lambda hello: ("pass", 0)) as near:
            place.made.port, far = near.port, place.made.port
            place.hub.welcome = {"ways": [f"https://127.0.0.1:{near.port}"]}
            place.hub.open[0].abort()  # it learns of the nearer way with its next welcome
            await until(lambda: len(place.host.welcomes) == 2)
            ends = place.host.ends
            await place.stands("websocket", far)
            await place.stands("websocket", far)
            assert near.taken == 0  # something runs that belongs to the connection
            place.host.is_busy = False
            await place.stands("websocket", near.port)
            assert place.host.ends == ends + 1


async def test_frames_the_owner_chokes_on_end_the_link_and_unknown_ones_do_not(place: Place) -> None:
    async with place.running(place.made.port):
        await place.stands("websocket", place.made.port)
        await place.hub.open[0].send(encode({"t": "something new", "x": 1}))
        await until(lambda: place.host.frames)
        assert place.host.frames == [{"t": "something new", "x": 1}] and place.link.connected
        await place.hub.open[0].send("not json")
        await until(lambda: place.host.ends == 1)
        await until(lambda: place.link.connected)
