"""Relays as processes between a hub and agents, on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from cockpit.agent.identity import Identity
from cockpit.link import messages
from cockpit.link import trunk_frames as t
from cockpit.link.channel import TRANSPORTS, ChannelClosed
from cockpit.link.dial import dial
from tests.helpers import PATIENCE, until
from tests.relay.field import Agent, Field, kinds


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    made = Field(tmp_path)
    await made.start_hub()
    try:
        yield made
    finally:
        await made.close()


async def known(field: Field, *agents: Agent) -> None:
    """The hub has the full set of each."""
    for agent in agents:
        await until(lambda: "full" in kinds(field.owner.of(agent.name)), what=f"{agent.name} is known")  # noqa: B023


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_agent_behind_a_relay_is_as_one_before_it(field: Field, transport: str) -> None:
    field.owner.names = {"t": "names", "version": 3, "full": True, "services": {"w": []}}
    await field.relay("relay-a")
    agent = await field.agent("h-1", "relay-a", units=2, transport=transport)
    await known(field, agent)
    link = field.hub.links["h-1"]
    assert (link.path, link.transport) == (("relay-a",), transport)
    full = field.owner.of("h-1")[0]
    assert isinstance(full, messages.Full) and [u.unit for u in full.units] == ["w/0:1", "w/1:1"]
    answer = await field.hub.command("h-1", "start", {"unit": "u"}, task="t1", timeout=PATIENCE)
    assert answer.ok and answer.data == {"word": "start"}
    assert [c["uuid"] for c in agent.seen("cmd")] == [agent.id]
    await until(lambda: agent.seen("names") == [field.owner.names])  # greeted by the relay itself
    await agent.unit("w/0:1", state=512)
    await agent.send(t="event", seq=4, event={"event": "exit"})
    await agent.send(t="whatever", x=1)
    await until(lambda: len(field.owner.of("h-1")) == 5)
    assert kinds(field.owner.of("h-1")) == ["full", "result", "unit", "event", "whatever"]
    field.hub.send("h-1", {"t": "ack", "seq": 4})
    await until(lambda: agent.seen("ack"))
    field.hub.ping()
    await until(lambda: link.latency is not None)
    agent.channel.abort()
    await until(lambda: not field.hub.links)
    assert field.owner.happened[-1][1] == "h-1"


async def test_what_one_says_wrong_harms_nobody_else(field: Field) -> None:
    await field.relay("relay-a")
    good, bad = await field.agent("h-1", "relay-a"), await field.agent("h-2", "relay-a")
    await known(field, good, bad)
    await bad.send(t="unit", unit={"unit": "w/0:1", "gen": "x"})  # the relay passes it, the hub refuses it
    await until(lambda: bad.closed)
    assert list(field.hub.links) == ["h-1"]
    worse = await field.agent("h-3", "relay-a")
    await known(field, worse)
    await worse.channel.send("no JSON")
    await until(lambda: worse.closed and "h-3" not in field.hub.links)
    assert worse.seen("refused")[-1]["text"].startswith("bad frame")
    assert (await field.hub.command("h-1", "tail", {}, task="t", timeout=PATIENCE)).ok


async def test_a_host_that_is_not_behind_the_relay_is_refused(field: Field) -> None:
    await field.relay("relay-a")
    agent = await field.dial("h-1", "relay-a", region="bj")
    first = await agent.begin()
    assert first == {"t": "refused", "text": "it is not behind relay-a in the topology"}
    assert field.owner.remarks == [("relay-a", "it may not speak for h-1: it is not behind relay-a in the topology")]
    stranger = await field.dial("h-9", "relay-a")
    del field.owner.hosts["h-9"]
    assert (await stranger.begin())["t"] == "refused"
    assert field.hub.links == {}


async def test_while_the_controller_is_away_the_relay_answers_and_then_tells_everything_once(field: Field) -> None:
    field.owner.names = {"t": "names", "version": 3, "full": True, "services": {"w": [{"port": 1}]}}
    await field.relay("relay-a")
    stays, moves = await field.agent("h-1", "relay-a", units=1), await field.agent("h-2", "relay-a")
    await known(field, stays, moves)
    field.hub.begin("log", "h-1", "logs", {"stream": "s-1"})
    await until(lambda: stays.seen("cmd"))
    await field.hub.stop()
    assert ("relay-a does not answer", "h-1") in field.owner.happened
    await until(lambda: [c["args"] for c in stays.seen("cmd")][1:] == [{"stream": "s-1"}])  # unlog, by the relay
    await moves.close()
    again = await field.agent("h-2", "relay-a")  # welcomed by the relay
    await until(lambda: again.seen("names"))
    assert again.seen("names")[0]["services"] == {"w": [{"port": 1}]}
    late = await field.dial("h-3", "relay-a")
    assert await late.begin() == {"t": "refused", "text": "no controller now"}
    await stays.unit("w/0:1", state=448)
    await stays.unit("w/0:1", state=512)
    for seq in (5, 6):
        await stays.send(t="event", seq=seq, event={"event": "exit", "n": seq})
    await stays.send(t="gone", unit="none:1")
    field.owner.frames.clear()
    await field.start_hub()
    await known(field, stays, again)
    await until(lambda: len(field.owner.of("h-1")) >= 3)
    told = field.owner.of("h-1")
    assert kinds(told) == ["full", "event", "event"]
    assert isinstance(told[0], messages.Full) and [u.state for u in told[0].units] == [512]
    assert not stays.closed and not again.closed


async def test_a_relay_that_was_killed_comes_back_with_what_it_knew(field: Field) -> None:
    field.owner.names = {"t": "names", "version": 3, "full": True, "services": {}}
    await field.relay("relay-a")
    agent = await field.agent("h-1", "relay-a")
    await known(field, agent)
    waiting = field.hub.begin("t1", "h-1", "stop", {})
    await until(lambda: all((field.root / "relay-a" / f).exists() for f in ("hosts.json", "names.json")))
    port = field.url("relay-a")
    agent.answers = False
    waiting = field.hub.begin("t2", "h-1", "stop", {})
    await field.kill("relay-a")
    with pytest.raises(ConnectionError, match="h-1: relay-a does not answer"):
        await waiting
    await until(lambda: agent.closed)
    await field.hub.stop()
    await field.relay("relay-a", up=False)
    assert field.url("relay-a") == port
    again = await field.agent("h-1", "relay-a")  # no controller anywhere
    await until(lambda: again.seen("names"))
    field.owner.frames.clear()
    await field.start_hub()
    await known(field, again)


async def test_two_relays_in_a_row_and_the_middle_one_dies(field: Field) -> None:
    await field.relay("relay-a", regions={"sh", "bj"}, below={"relay-b": []})
    await field.relay("relay-b", "relay-a", regions={"bj"})
    await until(lambda: "relay-b" in field.owner.relays.get("relay-a", {}))
    state = field.owner.relays["relay-a"]["relay-b"]
    assert (state.path, state.transport) == (("relay-b", "relay-a"), "websocket")
    agents = [await field.agent(f"h-{n}", "relay-b", region="bj") for n in range(3)]
    direct = await field.agent("h-9", "relay-a")
    await known(field, *agents, direct)
    assert field.hub.links["h-0"].path == ("relay-b", "relay-a")
    asked = field.hub.fan("stop", {"x": 1}, {**{a.name: f"t-{a.name}" for a in agents}, "h-9": "t-9", "no": "t-no"})
    with pytest.raises(ConnectionError):
        await asked.pop("no")
    assert [(await f).ok for f in asked.values()] == [True] * 4
    field.hub.broadcast({"t": "names", "version": 1, "full": False, "services": {}})
    await until(lambda: all(len(a.seen("names")) == 1 for a in (*agents, direct)))
    await field.kill("relay-a")
    await until(lambda: not field.hub.links)
    assert {h for why, h in field.owner.happened if why == "relay-a does not answer"} >= {"h-0", "h-1", "h-2", "h-9"}
    field.owner.frames.clear()
    await field.relay("relay-a")
    await known(field, *agents)
    assert not any(a.closed for a in agents)


async def test_a_relay_goes_by_its_next_way_and_hosts_change_paths(field: Field) -> None:
    await field.relay("relay-a", regions={"sh", "bj"}, below={"relay-b": []})
    await field.relay("relay-b", "relay-a", regions={"bj"})
    agent = await field.agent("h-1", "relay-b", region="bj")
    await known(field, agent)
    await until(lambda: "relay-b" in field.hub.trunks["relay-a"].below)
    told = field.settings("relay-b", [field.url("relay-a"), field.url()], {})
    field.owner.told["relay-b"] = told
    field.hub.configure(field.owner.told.get)  # through the relay above
    await until(lambda: json.loads((field.root / "relay-b" / "relay.json").read_text()) == told)
    await until(lambda: "h-1" in field.hub.links)
    await field.kill("relay-a")
    await until(lambda: "relay-b" in field.hub.trunks and "h-1" in field.hub.links)
    assert field.hub.links["h-1"].path == ("relay-b",) and not agent.closed
    direct = await field.agent("h-1")  # the agent dials the hub itself
    await until(lambda: field.hub.links["h-1"].path == ())
    await until(lambda: agent.closed)
    assert (await field.hub.command("h-1", "tail", {}, task="t", timeout=PATIENCE)).ok and direct.seen("cmd")


async def test_a_relay_that_is_not_below_is_refused(field: Field) -> None:
    await field.relay("relay-a")
    await field.relay("relay-b", "relay-a", regions={"bj"}, up=False)
    await until(lambda: "refused: relay-b is not below relay-a in the topology" in field.log("relay-b"))
    del field.owner.told["relay-a"]
    await field.kill("relay-a")
    field.owner.told["x"] = {}
    (field.root / "relay-a" / "relay.json").write_text(json.dumps(field.settings("relay-a", [field.url()], {})))
    field.owner.told["relay-a"] = field.settings("relay-a", [field.url()], {})
    await field.relay("relay-a")
    await until(lambda: "relay-a" in field.hub.trunks)


async def test_joining_and_builds_go_through_relays(field: Field) -> None:
    await field.relay("relay-a", regions={"sh", "bj"}, below={"relay-b": []})
    await field.relay("relay-b", "relay-a", regions={"bj"})
    agent = await field.agent("h-1", "relay-b", region="bj")
    await known(field, agent)
    served: list[tuple[str, bytes]] = []

    async def build(request: web.Request, host: str) -> web.StreamResponse:
        served.append((host, b"".join([block async for block in request.content.iter_any()])))
        return web.Response(body=b"y" * 300_000, headers={"Digest": "d"})

    field.hub.build = build
    identity = Identity.load(str(field.root / "h-1"))
    assert identity is not None
    async with aiohttp.ClientSession() as http:
        where, tls = field.url("relay-b"), identity.context()
        async with http.put(f"{where}/build/b-1", data=b"x" * 200_000, ssl=tls) as answer:
            assert (answer.status, await answer.read(), answer.headers["Digest"]) == (200, b"y" * 300_000, "d")
        async with http.get(f"{where}/build/b-1", ssl=tls) as answer:
            assert answer.status == 200
        assert served == [("h-1", b"x" * 200_000), ("h-1", b"")]
        async with http.post(f"{where}/join", json={"token": "good", "host": "h"}, ssl=tls) as answer:
            assert (answer.status, await answer.json()) == (200, {"host": "h"})
        async with http.post(f"{where}/join", json={"token": "bad"}, ssl=tls) as answer:
            assert answer.status == 403 and "not known" in (await answer.json())["error"]
        other = await field.agent("h-2")
        await known(field, other)
        stranger = Identity.load(str(field.root / "h-2"))
        assert stranger is not None
        async with http.get(f"{where}/build/b-1", ssl=stranger.context()) as answer:
            assert answer.status == 403  # it is connected elsewhere
        await field.hub.stop()
        await until(lambda: "upstream" in field.log("relay-a"))
        async with http.post(f"{where}/join", json={"token": "good", "host": "h"}, ssl=tls) as answer:
            assert answer.status == 503


async def test_a_relay_speaks_for_a_host_to_the_hub_only_while_it_carries_it(field: Field) -> None:
    await field.relay("relay-a")
    carried, direct = await field.agent("h-1", "relay-a"), await field.agent("h-2")
    await known(field, carried, direct)

    async def build(request: web.Request, host: str) -> web.StreamResponse:
        return web.Response(text=host)

    field.hub.build = build
    identity = Identity.load(str(field.root / "relay-a"))
    assert identity is not None
    async with aiohttp.ClientSession() as http:
        for host, status in (("h-1", 200), ("h-2", 403), ("", 403)):
            headers = {"X-Cockpit-Host": host}
            async with http.get(f"{field.url()}/build/b", ssl=identity.context(), headers=headers) as answer:
                assert answer.status == status, host


async def test_other_settings_need_no_restart(field: Field) -> None:
    await field.relay("relay-a")
    agent = await field.agent("h-1", "relay-a")
    await known(field, agent)
    told = {**field.owner.told["relay-a"], "rate": 5_000_000}
    field.owner.told["relay-a"] = told
    field.hub.configure(field.owner.told.get)
    path = field.root / "relay-a" / "relay.json"
    await until(lambda: json.loads(path.read_text()) == told)
    assert field.processes["relay-a"].poll() is None and "h-1" in field.hub.links
    told = {**told, "address": "203.0.113.1"}  # not an address of this machine
    field.owner.told["relay-a"] = told
    field.hub.configure(field.owner.told.get)
    await until(lambda: field.owner.relays["relay-a"]["relay-a"].note, what="the operator is told")
    assert "203.0.113.1" in field.owner.relays["relay-a"]["relay-a"].note
    assert (await field.hub.command("h-1", "tail", {}, task="t", timeout=PATIENCE)).ok


async def test_a_relay_above_that_is_another_cluster_is_nobody(field: Field, tmp_path: Path) -> None:
    await field.relay("relay-a")
    identity = Identity.load(str(field.root / "relay-a"))
    assert identity is not None
    with pytest.raises(ChannelClosed):  # a relay that names somebody else in its hello
        channel = await dial(field.url(), context=identity.context(), transport="websocket", cluster="test")
        await channel.send(t.text(t.RelayHello("relay-x", identity.uuid)))
        async with asyncio.timeout(PATIENCE):
            assert json.loads(await channel.recv())["t"] == "refused"
            await channel.recv()
