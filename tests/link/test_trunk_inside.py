"""A trunk over a channel of this machine, candidates, and frames that the hub does not know."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.controller.gateway import GatewayChannel
from cockpit.link import messages
from cockpit.link.candidates import HubCandidates
from cockpit.link.channel import ChannelClosed
from cockpit.link.frames import MAX_FRAME
from cockpit.link.hub import Hub
from cockpit.link.links import Link
from cockpit.link.pki import Authority
from tests.helpers import PATIENCE, until
from tests.relay.field import Owner


async def over(sock: socket.socket) -> GatewayChannel:
    return GatewayChannel(*await asyncio.open_unix_connection(sock=sock, limit=MAX_FRAME + 1))


class Inside:
    """A hub with a program attached that speaks for `h-1` and `h-2`."""

    def __init__(self, hub: Hub, owner: Owner, channel: GatewayChannel, task: asyncio.Task[None]) -> None:
        self.hub, self.owner, self.channel, self.task = hub, owner, channel, task

    async def send(self, **frame: Any) -> None:
        await self.channel.send(json.dumps(frame))

    async def read(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while True:
                frame: dict[str, Any] = json.loads(await self.channel.recv())
                if frame["t"] == kind:
                    return frame

    async def open(self, sid: str, host: str = "h-1", **hello: Any) -> None:
        await self.send(
            t="open", sid=sid, host=host, uuid="u", path=["ssh"], transport="inside", known=False,
            hello={"t": "hello", "host": host, "uuid": "u", **hello},
        )  # fmt: skip


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    owner = Owner()
    owner.hosts = {"h-1": "sh", "h-2": "sh", "h-3": "sh"}
    hub = Hub(owner, Authority.create(tmp_path / "ca", "test").controller_context())
    ours, theirs = socket.socketpair()
    task = hub.attach("ssh", await over(ours), {"h-1", "h-2"}.__contains__)
    made = Inside(hub, owner, await over(theirs), task)
    await made.send(t="relay", relay="ssh", uuid="")
    assert (await made.read("welcome"))["relay"] == {}
    try:
        yield made
    finally:
        made.channel.abort()
        await hub.stop()


async def test_a_program_of_this_machine_speaks_for_its_hosts_only(inside: Inside) -> None:
    await inside.open("ssh:1")
    assert (await inside.read("to"))["frame"]["t"] == "welcome"
    await inside.open("ssh:2", "h-3")
    closed = await inside.read("close")
    assert (closed["sid"], closed["refused"]) == ("ssh:2", True)
    assert list(inside.hub.links) == ["h-1"]
    asked = inside.hub.begin("t", "h-1", "stop", {})
    frame = (await inside.read("to"))["frame"]
    await inside.send(t="up", frames=[["ssh:1", {"t": "result", "task": frame["task"], "ok": True}]])
    assert (await asked).ok
    inside.channel.abort()
    await inside.task
    assert inside.owner.happened[-1] == ("ssh does not answer", "h-1") and inside.hub.trunks == {}


async def test_shuts_of_old_connections_mean_nothing(inside: Inside) -> None:
    await inside.open("ssh:1")
    await inside.open("ssh:2")
    assert (await inside.read("close"))["sid"] == "ssh:1"
    await inside.send(t="shut", sid="ssh:1", why="late")
    await inside.send(t="up", frames=[["ssh:1", {"t": "gone", "unit": "x"}], ["ssh:2", {"t": "gone", "unit": "y"}]])
    await until(lambda: inside.owner.frames)
    assert inside.owner.frames == [("h-1", messages.Gone("y"))]
    assert [why for why, _ in inside.owner.happened] == ["connected", "connected"]


async def test_only_the_host_that_was_asked_can_answer(inside: Inside) -> None:
    await inside.open("ssh:1")
    await inside.open("ssh:2", "h-2")
    await until(lambda: len(inside.hub.links) == 2)
    asked = inside.hub.begin("t", "h-1", "stop", {})
    await inside.send(t="up", frames=[["ssh:2", {"t": "result", "task": "t", "ok": False}]])
    await inside.send(t="up", frames=[["ssh:1", {"t": "result", "task": "t", "ok": True}]])
    assert (await asked).ok


class Candidates:
    """Lets every candidate in."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.frames: list[messages.AnyFrame] = []
        self.left: list[str] = []

    def admits(self, link: Link, hello: messages.Hello) -> str:
        return ""

    def connected(self, link: Link, hello: messages.Hello) -> None:
        self.links.append(link)

    def frame(self, link: Link, frame: messages.AnyFrame) -> None:
        self.frames.append(frame)

    def gone(self, link: Link, why: str) -> None:
        self.left.append(why)


async def test_a_candidate_stands_beside_until_it_is_promoted(inside: Inside) -> None:
    await inside.open("ssh:1")
    await inside.open("ssh:2", role="candidate", replaces=7)
    closed = await inside.read("close")
    assert closed["why"] == "no upgrade of this host is under way"
    inside.hub.candidates = others = Candidates()
    await inside.open("ssh:3", role="candidate", replaces=7)
    assert (await inside.read("to"))["frame"]["candidate"] is True
    await inside.send(t="up", frames=[["ssh:3", {"t": "tested", "ok": True}]])
    await until(lambda: others.frames == [messages.Tested(True)])
    old, waiting = inside.hub.links["h-1"], inside.hub.begin("t", "h-1", "stop", {})
    assert inside.hub.promote(others.links[0]) is old
    assert inside.hub.links["h-1"] is others.links[0]
    await inside.send(t="up", frames=[
        ["ssh:1", {"t": "gone", "unit": "old"}], ["ssh:1", {"t": "result", "task": "t", "ok": True}],
        ["ssh:3", {"t": "gone", "unit": "new"}], ["ssh:1", {"t": "eof"}],
    ])  # fmt: skip
    assert (await waiting).ok
    await until(lambda: others.frames[-1] == messages.Eof())
    assert messages.Gone("new") in [f for _, f in inside.owner.frames]
    assert messages.Gone("old") not in [f for _, f in inside.owner.frames]
    await inside.send(t="shut", sid="ssh:1", why="done")
    await until(lambda: others.left == ["done"])
    assert list(inside.hub.links) == ["h-1"]


class Facts:
    """What the controller is told of upgrades."""

    def __init__(self) -> None:
        self.agents: list[int | None] = []

    def connected(self, host: str, hello: messages.Hello) -> None:
        assert hello.uuid == "u"
        self.agents.append(hello.agent_pid)

    def again(self, host: str) -> None:
        """It has no commands without an answer."""

    def upgrading(self, host: str, words: str) -> None:
        """For the screen."""


async def test_the_old_agent_serves_after_all_with_all_that_it_said_of_itself(inside: Inside) -> None:
    facts = Facts()
    inside.hub.candidates = HubCandidates(inside.hub, facts)
    await inside.open("ssh:1", agent_pid=1)
    await until(lambda: "h-1" in inside.hub.links)
    old = inside.hub.links["h-1"]
    await inside.open("ssh:2", agent_pid=2, role="candidate", replaces=1)
    await inside.send(t="up", frames=[["ssh:2", {"t": "tested", "ok": True}]])
    await until(lambda: facts.agents == [2])
    assert inside.hub.links["h-1"] is not old
    await inside.send(t="up", frames=[["ssh:1", {"t": "serving"}]])
    await until(lambda: facts.agents == [2, 1])
    assert inside.hub.links["h-1"] is old


def test_a_frame_of_another_time_is_no_fault() -> None:
    said = {"t": "dance", "x": [1]}
    found = messages.decode(json.dumps(said))
    assert isinstance(found, messages.Unknown) and (found.t, json.loads(found.raw)) == ("dance", said)
    for bad in ('{"t":"unit","unit":7}', "[]", "{}", '{"t":5}'):
        with pytest.raises(ValueError):
            messages.decode(bad)


async def test_lines_have_a_limit_and_an_end() -> None:
    here, there = socket.socketpair()
    ours, theirs = await over(here), await over(there)
    big = json.dumps({"x": "y" * (MAX_FRAME - 100)})
    sending = asyncio.create_task(ours.send(big))
    assert await theirs.recv() == big + "\n"
    await sending
    sending = asyncio.create_task(ours.send("x" * (MAX_FRAME + 2)))
    with pytest.raises(ChannelClosed):
        await theirs.recv()
    theirs.abort()
    with pytest.raises(ChannelClosed):
        await ours.recv()
    await asyncio.gather(sending, return_exceptions=True)
    ours.abort()
