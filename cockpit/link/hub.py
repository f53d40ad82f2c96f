"""The hub: where agents and relays connect. One port for links, joining and the files of builds.

The hub knows identities, links and tasks; what reports mean is its owner's business (`HubOwner`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from cockpit.link import frames, messages
from cockpit.link import trunk_frames as t
from cockpit.link.channel import Channel, ChannelClosed
from cockpit.link.links import Direct, Link
from cockpit.link.listen import Listener, Who
from cockpit.link.owners import Candidates, HubOwner, RelayOwner
from cockpit.link.pki import peer_identity, peer_name
from cockpit.link.tasks import Answer, Tasks
from cockpit.link.trunk import Carried, Trunk

__all__ = ["Answer", "Candidates", "Hub", "HubOwner", "Link", "RelayOwner"]

HELLO_TIME = 10.0
HOST_HEADER = "X-Cockpit-Host"
"""In requests of a relay: for which of its hosts it asks."""


class Hub:
    """Listens; keeps links by host, trunks by relay, and commands by task id."""

    def __init__(self, owner: HubOwner, context: ssl.SSLContext) -> None:
        self.owner = owner
        self.relays: RelayOwner | None = None
        """None refuses every relay."""
        self.candidates: Candidates | None = None
        """None refuses every candidate."""
        self.links: dict[str, Link] = {}
        self.trunks: dict[str, Trunk] = {}
        self.cluster = ""
        self.port = 0
        self.build: Callable[[web.Request, str], Awaitable[web.StreamResponse]] | None = None
        """Serves `GET` and `PUT /build/ID` for the host that is named, set by the owner."""
        self.tasks = Tasks()
        self._context = context
        self._listener: Listener | None = None
        self._aside: dict[Link, bool] = {}
        """Candidates (True) and agents that were replaced and still report (False)."""
        self._work: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_post("/join", self._join)
        app.router.add_get("/build/{build}", self._build, allow_head=False)
        app.router.add_put("/build/{build}", self._build)
        listener = Listener(self._context, app, self._channel)
        self.port = await listener.start(address, port)
        self._listener = listener

    async def stop(self) -> None:
        for link in [*self.links.values(), *self._aside]:
            if isinstance(link, Direct):
                link.cut()
        for trunk in list(self.trunks.values()):
            trunk.cut("the controller stops")
        if self._listener is not None:
            await self._listener.stop()
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    # towards agents

    def send(self, host: str, frame: frames.Frame) -> bool:
        """False when the host has no link."""
        link = self.links.get(host)
        if link is None:
            return False
        link.send(frame)
        return True

    def cut(self, host: str) -> None:
        """Break the link of a host; it dials in again when it can."""
        link = self.links.get(host)
        if link is not None:
            link.cut("cut off")

    def silent(self, host: str) -> None:
        """A host says nothing: break its link. One behind a relay is that relay's business, or that of its trunk."""
        link = self.links.get(host)
        if isinstance(link, Direct):
            link.cut()

    def carried(self, host: str) -> bool:
        """Is it behind a relay, which keeps the names for it?"""
        return isinstance(self.links.get(host), Carried)

    def broadcast(self, frame: frames.Frame) -> None:
        """To every agent."""
        self.tell(frames.encode(frame))

    def tell(self, text: str) -> None:
        """A frame to every agent: each direct link its own, a trunk once for all of its agents."""
        for link in list(self.links.values()):
            if isinstance(link, Direct):
                link.put(text)
        if self.trunks:
            all_below = t.text(t.All(msgspec.Raw(text.encode())))
            for trunk in list(self.trunks.values()):
                trunk.put_text(all_below)

    def tell_below(self, relay: str, frame: frames.Frame) -> None:
        """To one relay and every agent below it."""
        if (trunk := self.trunks.get(relay)) is not None:
            trunk.put_text(t.text(t.All(msgspec.Raw(frames.encode(frame).encode()))))

    def expel(self, uuid: str, why: str) -> None:
        """End every connection of an identity that is not believed any more."""
        for link in [*self.links.values(), *self._aside]:
            if link.uuid == uuid:
                link.cut(why)
        for trunk in list(self.trunks.values()):
            if trunk.uuid == uuid:
                trunk.cut(why)

    def greet(self, text: str) -> None:
        """All names, to every agent and relay."""
        for link in list(self.links.values()):
            if isinstance(link, Direct):
                link.put(text)
        for trunk in list(self.trunks.values()):
            trunk.put_text(text)

    def ping(self, turn: int = 0, turns: int = 1) -> None:
        """A share of all connections, so that their answers do not come at once. A silent trunk is cut off."""
        text = frames.encode({"t": "ping", "at": time.time()})
        for link in [*self.links.values(), *self._aside]:
            if isinstance(link, Direct) and link.number % turns == turn:
                link.put(text)
        if turn == 0:
            for trunk in list(self.trunks.values()):
                trunk.ping()

    def review(self, settings: Callable[[str], dict[str, Any] | None]) -> None:
        """The topology changed: what each relay may carry, and what it is told. `settings` by relay."""
        for trunk in list(self.trunks.values()):
            trunk.review()
        self.configure(settings)

    def configure(self, settings: Callable[[str], dict[str, Any] | None]) -> None:
        """Tell every relay, also those below others, what its relay.json should hold."""
        if self.relays is None:
            return
        for trunk in list(self.trunks.values()):
            for name in {trunk.name, *trunk.below}:
                told = settings(name)
                if told is not None and trunk.told.get(name) != told:
                    trunk.told[name] = told
                    trunk.put(t.Settings(told, name))

    # commands

    def begin(self, task: str, host: str, word: str, args: dict[str, Any]) -> asyncio.Future[Answer]:
        """Send a command; the future ends with the agent's answer, however late.

        It fails with ConnectionError when the host has no link now or loses it meanwhile:
        repeating the same task id then gives the first answer.
        """
        link = self.links.get(host)
        if link is None:
            return self.tasks.unsent(task, f"no answer from {host}")
        future = self.tasks.begin(task, link)
        link.command(task, word, args)
        return future

    def fan(self, word: str, args: dict[str, Any], tasks: dict[str, str]) -> dict[str, asyncio.Future[Answer]]:
        """The same command to many, host -> task: once per trunk. As `begin` for each."""
        futures: dict[str, asyncio.Future[Answer]] = {}
        below: dict[Trunk, dict[str, str]] = {}
        for host, task in tasks.items():
            link = self.links.get(host)
            if isinstance(link, Carried):
                futures[host] = self.tasks.begin(task, link)
                below.setdefault(link.trunk, {})[link.sid] = task
            else:
                futures[host] = self.begin(task, host, word, args)
        for trunk, mine in below.items():
            trunk.fan(word, args, mine)
        return futures

    async def command(
        self, host: str, word: str, args: dict[str, Any], *, task: str, timeout: float = 30.0
    ) -> Answer:
        """Raises ConnectionError, TimeoutError."""
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self.begin(task, host, word, args))
        finally:
            self.forget(task)

    def forget(self, task: str) -> None:
        self.tasks.forget(task)

    # upgrades

    def promote(self, link: Link) -> Link | None:
        """From now on this candidate is the host's agent. Returns the one before, which may still report."""
        if self._aside.pop(link, None) is None:
            return None
        old = self.links.get(link.host)
        if old is not None:
            self._aside[old] = False
        self.links[link.host] = link
        return old

    # what links and trunks report

    def arrive(self, link: Link, hello: messages.Hello, *, known: bool = False) -> str:
        """A host is there; why it is refused, or empty. A known one needs no welcome."""
        link.hello = hello
        facts = self.owner.welcome(link.host, link.uuid)
        if facts is None:
            return "host is not in the topology"
        if hello.role == "candidate":
            why = "no upgrade of this host is under way" if self.candidates is None else ""
            if self.candidates is not None and not (why := self.candidates.admits(link, hello)):
                self._aside[link] = True
                link.send({**self._welcome(facts), "candidate": True})
                self.candidates.connected(link, hello)
            return why
        if hello.role in ("retiring", "retired"):
            self._aside[link] = False
            if self.candidates is not None:
                self.candidates.admits(link, hello)
            if not known:
                link.send(self._welcome(facts))
            return ""
        old = self.links.get(link.host)
        self.links[link.host] = link
        if old is not None:
            self.tasks.fail(old, "the agent connected anew")
            old.cut("the agent connected anew")
        if not known:
            link.send(self._welcome(facts))
        self.owner.connected(link.host, hello)
        return ""

    def receive(self, link: Link, data: bytes | str) -> None:
        """A frame of an agent. Raises msgspec.DecodeError."""
        frame = messages.decode(data)
        link.seen = time.time()
        if isinstance(frame, messages.Pong):
            if isinstance(link, Direct):
                link.measured = max(0.0, link.seen - frame.at)
            self.heard(link)
        elif self.links.get(link.host) is link:
            if isinstance(frame, messages.Result):
                self.tasks.answer(link.host, frame)
            self.owner.frame(link.host, frame)
        elif link in self._aside:
            self._beside(link, frame)

    def _beside(self, link: Link, frame: messages.AnyFrame) -> None:
        """Of a candidate, or of an agent that was replaced: that one still reports what it was asked for."""
        serves = isinstance(frame, messages.Unknown) and frame.t == "serving"
        if self._aside[link] or serves or isinstance(frame, messages.Eof):
            if self.candidates is not None:
                self.candidates.frame(link, frame)
        elif isinstance(frame, messages.Result | messages.Progress | messages.Log | messages.PluginData):
            if isinstance(frame, messages.Result):
                self.tasks.answer(link.host, frame)
            self.owner.frame(link.host, frame)

    def heard(self, link: Link) -> None:
        """It answered a ping, here or at its relay."""
        link.seen = time.time()
        if self.links.get(link.host) is link:
            self.owner.heard(link.host, link.latency)

    def leave(self, link: Link, why: str) -> None:
        """Its connection ended. Of one that was replaced meanwhile nobody hears."""
        self.tasks.fail(link, why)
        if self.links.get(link.host) is link:
            del self.links[link.host]
            self.owner.disconnected(link.host, why)
        elif self._aside.pop(link, None) is not None and self.candidates is not None:
            self.candidates.gone(link, why)

    def relay_state(self, trunk: Trunk, states: dict[str, t.RelayState]) -> None:
        if self.relays is not None and trunk.own:
            trunk.below = frozenset(states) - {trunk.name}
            self.relays.state(trunk.name, states)

    def relay_beat(self, trunk: Trunk) -> None:
        if self.relays is not None and trunk.own:
            self.relays.beat(trunk.name, trunk.latency)

    def relay_asks(self, trunk: Trunk, ask: t.Ask) -> None:
        task = asyncio.create_task(self._told(trunk, ask))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def remark(self, trunk: Trunk, text: str) -> None:
        if self.relays is not None and trunk.own:
            self.relays.remark(trunk.name, text)

    def _welcome(self, facts: dict[str, Any]) -> frames.Frame:
        return {"t": "welcome", **facts}

    # channels

    async def _channel(self, channel: Channel, who: Who) -> None:
        if who.kind == "host":
            await self._direct(channel, who)
        elif who.kind == "relay":
            await self._relay(channel, who)

    async def _direct(self, channel: Channel, who: Who) -> None:
        try:
            async with asyncio.timeout(HELLO_TIME):
                hello = messages.decode(await channel.recv())
        except (ChannelClosed, TimeoutError, msgspec.DecodeError):
            return
        if not isinstance(hello, messages.Hello) or (hello.host, hello.uuid) != (who.name, who.uuid):
            return
        link = Direct(who.name, who.uuid, channel)
        refused = self.arrive(link, hello)
        if refused:
            await _refuse(channel, refused)
            return
        pump = asyncio.create_task(link.pump())
        why = "connection failed"
        try:
            why = await self._receive(link)
        finally:  # also when a frame brought the owner down
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
            self.leave(link, why)

    async def _receive(self, link: Direct) -> str:
        try:
            while True:
                self.receive(link, await link.channel.recv())
                if self.links.get(link.host) is not link and link not in self._aside:
                    return "replaced"
        except ChannelClosed as e:
            return str(e)
        except msgspec.DecodeError as e:
            return f"bad frame: {e}"

    async def _relay(self, channel: Channel, who: Who) -> None:
        try:
            async with asyncio.timeout(HELLO_TIME):
                hello = t.decode_up(await channel.recv())
        except (ChannelClosed, TimeoutError, msgspec.DecodeError):
            return
        settings = self.relays.admit(who.name, who.uuid) if self.relays is not None else None
        if self.relays is None or settings is None:
            await _refuse(channel, f"{who.name} is not a relay of the topology that carries links")
            return
        relays = self.relays
        if not isinstance(hello, t.RelayHello) or (hello.relay, hello.uuid) != (who.name, who.uuid):
            await _refuse(channel, "hello does not match the certificate")
            return
        trunk = Trunk(who.name, who.uuid, channel, self, lambda host: relays.carries(who.name, host))
        trunk.told[who.name] = settings
        await self._serve(trunk, settings, hello)

    def attach(self, name: str, channel: Channel, allows: Callable[[str], bool]) -> asyncio.Task[None]:
        """Serve a trunk of this machine, of a program that we started; `allows` says for which hosts it speaks.

        The task ends with the channel.
        """
        trunk = Trunk(name, "", channel, self, allows)
        trunk.own = False

        async def serve() -> None:
            try:
                async with asyncio.timeout(HELLO_TIME):
                    hello = t.decode_up(await channel.recv())
            except (ChannelClosed, TimeoutError, msgspec.DecodeError):
                channel.abort()
                return
            if isinstance(hello, t.RelayHello):
                await self._serve(trunk, {}, hello)
            channel.abort()

        task = asyncio.create_task(serve())
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _serve(self, trunk: Trunk, settings: dict[str, Any], hello: t.RelayHello) -> None:
        old = self.trunks.get(trunk.name)
        if old is not None:
            old.cut(f"{trunk.name} connected anew")
            self._untie(old, f"{trunk.name} connected anew")
        self.trunks[trunk.name] = trunk
        relays = self.relays if trunk.own else None
        names = self.relays.greeting() if self.relays is not None else None
        trunk.put(t.Welcome(self.cluster, settings))
        if names is not None:
            trunk.put_text(names)
        trunk.ping()
        if relays is not None:
            relays.connected(trunk.name, hello, trunk.channel.kind)
        pump = asyncio.create_task(trunk.pump())
        why = "connection failed"
        try:
            why = await trunk.receive()
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
            if self.trunks.get(trunk.name) is trunk:
                del self.trunks[trunk.name]
                if relays is not None:
                    relays.lost(trunk.name, why)
            self._untie(trunk, f"{trunk.name} does not answer")

    def _untie(self, trunk: Trunk, why: str) -> None:
        """The trunk is gone, and with it every connection that it carried."""
        links, trunk.links = list(trunk.links.values()), {}
        for link in links:
            self.leave(link, why)

    async def _told(self, trunk: Trunk, ask: t.Ask) -> None:
        body: dict[str, Any]
        try:
            if ask.what == "join":
                ok, body = True, await self.owner.join(ask.body)
            elif self.relays is not None and trunk.own:
                ok, body = True, await self.relays.ask(ask.relay or trunk.name, ask.what, ask.body)
            else:
                raise ValueError(f"nobody answers {ask.what!r} here")
        except PermissionError as e:
            ok, body = False, {"error": str(e)}
        except (KeyError, ValueError) as e:
            ok, body = False, {"error": f"bad request: {e}"}
        trunk.put(t.Told(ask.id, ok, body))

    # HTTP

    async def _join(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = msgspec.json.decode(await request.read(), type=dict[str, Any])
            answer = await self.owner.join({**asked, "address": request.remote or ""})
        except PermissionError as e:
            return web.json_response({"error": str(e)}, status=403)
        except (msgspec.DecodeError, KeyError, ValueError, RecursionError) as e:
            return web.json_response({"error": f"bad request: {e}"}, status=400)
        return web.json_response(answer)

    async def _build(self, request: web.Request) -> web.StreamResponse:
        """Only for a host that has a link now: one that was put out keeps its certificate."""
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        host = self._speaks_for(certificate, request.headers.get(HOST_HEADER, ""))
        if not host:
            return web.Response(status=403, text="the certificate of a host that is connected is needed here\n")
        if self.build is None:
            return web.Response(status=404)
        return await self.build(request, host)

    def _speaks_for(self, certificate: Any, named: str) -> str:
        """The host that a request is for; empty when it is nobody's to ask for."""
        try:
            kind, name = peer_name(certificate or {})
            uuid = peer_identity(certificate)[1] if kind == "host" else ""
        except ValueError:
            return ""
        link = self.links.get(name if kind == "host" else named)
        if kind == "host":
            return name if link is not None and link.uuid == uuid else ""
        own = isinstance(link, Carried) and link.trunk is self.trunks.get(name)
        return named if kind == "relay" and own else ""


async def _refuse(channel: Channel, why: str) -> None:
    with contextlib.suppress(ChannelClosed):
        await channel.send(frames.encode({"t": "refused", "text": why}))
