"""A hub in this process, relays as the processes they are, and agents that speak the link's frames."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cockpit.agent.identity import Identity
from cockpit.link import frames, messages
from cockpit.link import trunk_frames as t
from cockpit.link.channel import Channel, ChannelClosed
from cockpit.link.dial import dial
from cockpit.link.hub import Hub
from cockpit.link.pki import Authority
from tests.helpers import PATIENCE, alive, until


class Owner:
    """The hub's owner, for hosts and relays: notes what it is told."""

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}
        """Host -> the region it is in."""
        self.regions: dict[str, set[str]] = {}
        """Relay -> regions it may speak for."""
        self.told: dict[str, dict[str, Any]] = {}
        """Relay -> its settings."""
        self.happened: list[tuple[str, str]] = []
        self.frames: list[tuple[str, messages.AnyFrame]] = []
        self.relays: dict[str, dict[str, t.RelayState]] = {}
        self.remarks: list[tuple[str, str]] = []
        self.names: dict[str, Any] | None = None

    def welcome(self, host: str, uuid: str) -> dict[str, Any] | None:
        return {"cluster": "test", "region": self.hosts[host]} if host in self.hosts else None

    def connected(self, host: str, hello: messages.Hello) -> None:
        self.happened.append(("connected", host))

    def frame(self, host: str, frame: messages.AnyFrame) -> None:
        self.frames.append((host, frame))

    def heard(self, host: str, latency: float | None) -> None:
        """It may come at any time."""

    def disconnected(self, host: str, why: str) -> None:
        self.happened.append((why, host))

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("token") != "good":
            raise PermissionError("this token is not known here")
        return {"host": request["host"]}

    def of(self, host: str) -> list[messages.AnyFrame]:
        """What a host said."""
        return [f for h, f in self.frames if h == host]


class RelaysOf:
    """The relays' part of an owner."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    def admit(self, relay: str, uuid: str) -> dict[str, Any] | None:
        return self.owner.told.get(relay)

    def carries(self, relay: str, host: str) -> bool:
        return self.owner.hosts.get(host) in self.owner.regions.get(relay, set())

    def greeting(self) -> str | None:
        return None if self.owner.names is None else frames.encode(self.owner.names)

    def connected(self, relay: str, hello: t.RelayHello, transport: str) -> None:
        self.owner.happened.append((f"relay by {transport}", relay))

    def state(self, relay: str, states: dict[str, t.RelayState]) -> None:
        self.owner.relays[relay] = states

    def beat(self, relay: str, latency: float | None) -> None:
        pass

    def lost(self, relay: str, why: str) -> None:
        self.owner.relays.pop(relay, None)
        self.owner.happened.append((why, relay))

    def remark(self, relay: str, text: str) -> None:
        self.owner.remarks.append((relay, text))

    async def ask(self, relay: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"relay": relay, "what": what, **body}


class Agent:
    """Connected, welcome, and all reported; answers every command with its word."""

    def __init__(self, name: str, id: str, channel: Channel) -> None:
        self.name, self.id, self.channel = name, id, channel
        self.got: list[dict[str, Any]] = []
        self.answers = True
        self.closed = ""
        self.units: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None

    async def begin(self, **facts: Any) -> dict[str, Any]:
        """Say hello and everything; the answer to the hello."""
        await self.send(t="hello", host=self.name, uuid=self.id, agent_pid=7, **facts)
        async with asyncio.timeout(PATIENCE):
            first: dict[str, Any] = json.loads(await self.channel.recv())
        if first["t"] == "welcome":
            if not facts.get("role"):
                await self.everything()
            self._task = asyncio.create_task(self._read())
        return first

    async def everything(self) -> None:
        await self.send(t="full", units=list(self.units.values()), releases=["web/1"], names=0, head=None)

    async def unit(self, name: str, **facts: Any) -> None:
        instance, _, gen = name.rpartition(":")
        self.units[name] = {"unit": name, "instance": instance, "gen": int(gen), **facts}
        await self.send(t="unit", unit=self.units[name])

    async def send(self, **frame: Any) -> None:
        await self.channel.send(json.dumps(frame))

    def seen(self, kind: str) -> list[dict[str, Any]]:
        return [f for f in self.got if f["t"] == kind]

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.channel.abort()

    async def _read(self) -> None:
        try:
            while True:
                frame = json.loads(await self.channel.recv())
                self.got.append(frame)
                if frame["t"] == "ping":
                    await self.send(t="pong", at=frame["at"])
                elif frame["t"] == "cmd" and self.answers:
                    await self.send(t="result", task=frame["task"], ok=True, data={"word": frame["word"]})
        except ChannelClosed as e:
            self.closed = str(e)


class Field:
    """`hub`, `owner`, relays by name and agents; `close` ends it all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.authority = Authority.create(root / "ca", "test")
        self.owner = Owner()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.agents: list[Agent] = []
        self.uuids: dict[str, str] = {}
        self.hub: Hub = None  # type: ignore[assignment]
        self.port = 0

    async def start_hub(self) -> None:
        """Also again, at the port of before."""
        self.hub = Hub(self.owner, self.authority.controller_context())
        self.hub.relays = RelaysOf(self.owner)
        await self.hub.start("127.0.0.1", self.port)
        self.port = self.hub.port

    def url(self, relay: str = "") -> str:
        if not relay:
            return f"https://127.0.0.1:{self.port}"
        return f"https://127.0.0.1:{int((self.root / relay / 'link.port').read_text())}"

    def settings(self, name: str, upstreams: list[str], below: dict[str, list[str]]) -> dict[str, Any]:
        return {
            "region": "sh", "address": "127.0.0.1", "port": 0, "cache": 2**30, "rate": 0,
            "upstream": {"name": "", "address": "127.0.0.1", "port": 9},
            "link": {"port": 0, "upstream": upstreams, "proxy": "", "below": below},
        }

    async def relay(
        self, name: str, *upstreams: str, regions: set[str] | None = None, below: dict[str, list[str]] | None = None,
        up: bool = True,
    ) -> None:
        """Start it, for the first time or again. `upstreams` are relays' names; the hub when there are none.

        With `up` it is connected upstream, too.
        """
        place = self.root / name
        if name not in self.uuids:
            self.uuids[name] = str(uuid.uuid4())
            self.authority.issue_local_relay(place, name, self.uuids[name], [])
            urls = [self.url(above) for above in upstreams] or [self.url()]
            self.owner.told[name] = self.settings(name, urls, below or {})
            self.owner.regions[name] = regions or {"sh"}
        (place / "relay.json").write_text(json.dumps(self.owner.told[name]))
        log = (place / "out").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-I", "-m", "cockpit.relay", "--dir", str(place)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        words = ('"ready"', "connected upstream") if up else ('"ready"',)
        await until(lambda: all(w in self.log(name).rpartition("--\n")[2] for w in words), what=f"{name} is ready")

    def log(self, relay: str) -> str:
        return (self.root / relay / "out").read_text()

    async def kill(self, relay: str) -> None:
        process = self.processes.pop(relay)
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        with (self.root / relay / "out").open("a") as f:
            f.write("--\n")

    async def dial(self, host: str, way: str = "", transport: str = "websocket", region: str = "sh") -> Agent:
        """Connected; nothing is said yet. `way` is a relay's name; empty: the hub."""
        if host not in self.uuids:
            self.uuids[host] = str(uuid.uuid4())
            self.authority.issue_local_host(self.root / host, host, self.uuids[host], [])
            self.owner.hosts.setdefault(host, region)
        identity = Identity.load(str(self.root / host))
        assert identity is not None
        async with asyncio.timeout(PATIENCE):
            channel = await dial(
                self.url(way), context=identity.context(), transport=transport, cluster="test"
            )
        agent = Agent(host, self.uuids[host], channel)
        self.agents.append(agent)
        return agent

    async def agent(self, host: str, way: str = "", units: int = 0, **options: Any) -> Agent:
        """Welcome, and known to the hub with all its units."""
        made = await self.dial(host, way, **options)
        made.units = {f"w/{n}:1": {"unit": f"w/{n}:1", "instance": f"w/{n}", "gen": 1} for n in range(units)}
        first = await made.begin()
        assert first["t"] == "welcome", first
        return made

    async def close(self) -> None:
        for agent in self.agents:
            await agent.close()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.to_thread(process.wait, 5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        await self.hub.stop()
        assert not [p for p in self.processes.values() if alive(p.pid)]


def kinds(frames: list[messages.AnyFrame]) -> list[str]:
    return [f.__struct_config__.tag if not isinstance(f, messages.Unknown) else f.t for f in frames]  # type: ignore[misc]


async def settled(look: Callable[[], Any], times: int = 5) -> None:
    """The answer stays the same for some turns of the loop and the network."""
    last, same = look(), 0
    while same < times:
        await asyncio.sleep(0.02)
        now = look()
        same = same + 1 if now == last else 0
        last = now
