"""A relay's tables and its protocol, without sockets: frames come in, frames go out, times are arguments.

Below are agents (`connect`, `heard`, `gone`) and relays (`cockpit.relay.below`); above is at most one
upstream (`welcomed` by its first frame, `from_above`, `upstream_lost`). What goes up waits in `queue`. The
relay has an upstream only while that has a way to the controller itself: one that loses it breaks with the
relays below, and each of them answers for its own agents.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from cockpit.link import trunk_frames as t
from cockpit.relay import spoken as say
from cockpit.relay.below import PING, SILENT, Answer, Below, Line
from cockpit.relay.memory import Memory, delta
from cockpit.relay.spoken import Table, given, spoken
from cockpit.relay.upward import Upward

NO_CONTROLLER = "no controller now"


class Refused(ConnectionError):
    """Upstream wants nothing of us; the text says why."""


class Agent:
    """One agent's connection."""

    def __init__(self, sid: str, line: Line, host: str, uuid: str, hello: bytes, role: str, transport: str) -> None:
        self.sid, self.line, self.host, self.uuid = sid, line, host, uuid
        self.hello, self.role, self.transport = hello, role, transport
        self.table = Table()
        self.admitted = False
        """It was welcomed."""
        self.opened = False
        """The upstream of now knows it: what it says is passed on."""
        self.full = False
        """It has reported everything once."""
        self.partial = False
        """It has more events than are kept here: it must tell everything itself."""
        self.heard = 0.0
        self.latency: float | None = None

    def greeting(self) -> Raw:
        """Its hello, with the role that it has now."""
        doc: dict[str, Any] = msgspec.json.decode(self.hello)
        if str(doc.get("role", "")) != self.role:
            doc["role"] = self.role
            return Raw(msgspec.json.encode(doc))
        return Raw(self.hello)


class Switch:
    """`begin` is the Unix time of the start in ns: sids of two lives of a relay never meet."""

    def __init__(
        self, name: str, uuid: str, memory: Memory, *, begin: int, version: str = "", pid: int | None = None
    ) -> None:
        self.name, self.uuid, self.memory = name, uuid, memory
        self.version, self.pid, self.began = version, pid, begin / 1e9
        self.up = False
        self.cluster = ""
        self.agents: dict[str, Agent] = {}
        self.queue = Upward(self._unit, self._tell)
        self.wake: Callable[[], None] = lambda: None
        """Something waits to go up."""
        self.remark: Callable[[str], None] = lambda text: None
        self.on_revoked: Callable[[frozenset[str]], None] = lambda uuids: None
        self.on_settings: Callable[[dict[str, Any]], None] = lambda settings: None
        self.note = ""
        """For the operator, shown beside the relay."""
        self._numbers = itertools.count(begin)
        self._asks: dict[int, Answer] = {}
        self._seen: dict[str, float | None] = {}
        self._state: t.State | None = None
        self._pinged = self._ticked = float("-inf")
        self.below = Below(self)

    # agents

    def connect(
        self, line: Line, host: str, uuid: str, hello: bytes, transport: str, now: float
    ) -> Agent | None:
        """An agent whose certificate says HOST and UUID has said hello. None: it was cut off."""
        try:
            said = spoken(hello)
        except msgspec.DecodeError as e:
            line.cut(f"no hello: {e}")
            return None
        if not isinstance(said, say.Hello) or (said.host, said.uuid) != (host, uuid):
            line.cut("hello does not match the certificate")
            return None
        if uuid in self.memory.revoked:
            line.cut("its certificate was revoked")
            return None
        candidate = said.role == "candidate"
        if not candidate:
            for old in [a for a in self.agents.values() if a.host == host and a.role == ""]:
                self._drop(old, "the agent connected anew")
        sid = f"{self.name}:{next(self._numbers)}"
        agent = Agent(sid, line, host, uuid, bytes(hello), said.role, transport)
        agent.heard = now
        self.agents[agent.sid] = agent
        if self.up:
            self._up(self._open(agent, known=False))
        elif candidate or not self._from_memory(agent):
            del self.agents[agent.sid]
            line.cut(NO_CONTROLLER)
            return None
        return agent

    def heard(self, agent: Agent, data: bytes, now: float) -> None:
        """One frame of an agent. What is none ends its connection."""
        if self.agents.get(agent.sid) is not agent:
            return
        agent.heard = now
        try:
            self._heard(agent, data, now)
        except msgspec.DecodeError as e:
            self._drop(agent, f"bad frame: {e}")

    def gone(self, agent: Agent, why: str) -> None:
        """Its connection ended."""
        if self.agents.get(agent.sid) is agent:
            del self.agents[agent.sid]
            self._shut(agent, why)

    def _heard(self, agent: Agent, data: bytes, now: float) -> None:
        if len(data) > t.MAX_CARRIED:
            self._drop(agent, f"a frame of {len(data)} bytes is too large to be passed on")
            return
        if not agent.admitted:
            self._drop(agent, "it speaks before it is welcome")
            return
        frame = spoken(data)
        self._seen[agent.sid] = agent.latency
        if isinstance(frame, say.Pong):
            agent.latency = self._seen[agent.sid] = max(0.0, now - frame.at)
            return
        if isinstance(frame, say.Hello):
            self._drop(agent, "a second hello")
            return
        if not agent.full and isinstance(frame, say.UnitFrame | say.Gone | say.Event):
            self._drop(agent, "changes came before the full set")
            return
        self._note(agent, frame, data, now)

    def _note(self, agent: Agent, frame: say.AnySpoken | say.Other, data: bytes, now: float) -> None:
        """Keep what it says, and pass it on."""
        table, sid = agent.table, agent.sid
        match frame:
            case say.UnitFrame():
                unit = table.unit(frame)
                if agent.opened:
                    self.queue.unit(sid, unit, now)
                    self.wake()
                return
            case say.Full():
                table.full(frame)
                agent.full = True
                # what was on our disk may be older than what the agent has: then it keeps that
                if frame.names <= self.memory.version and (names := self.memory.names()):
                    agent.line.put(names)
            case say.Gone(unit=unit):
                table.units.pop(unit, None)
                self.queue.unmark(sid, unit)
            case say.Event(seq=seq):
                agent.partial |= not table.event(seq, bytes(data))
            case say.Result(task=task):
                if task.startswith(say.MINE):
                    return
                table.result(frame)
            case say.Releases(releases=releases):
                table.releases = bytes(releases)
            case say.Names(version=version):
                table.names = version
            case say.Plugins():
                table.plugins = bytes(data)
            case say.Log(stream=stream, end=end):
                if end is not None:
                    table.streams.discard(stream)
                if agent.opened:
                    self.queue.bulk(sid, data)
                    self.wake()
                return
        if agent.opened:
            self.queue.put(sid, data, now, at_once=isinstance(frame, say.Result | say.Full | say.Other))
            self.wake()

    def _open(self, agent: Agent, *, known: bool) -> t.Open:
        agent.opened = True
        return t.Open(
            agent.sid, agent.host, agent.uuid, agent.greeting(), agent.transport, (self.name,), known
        )

    def _from_memory(self, agent: Agent) -> bool:
        """Welcome it without asking anybody, if it was welcome before."""
        welcome = self.memory.welcome(agent.host, agent.uuid)
        if welcome is None:
            return False
        agent.admitted = True
        agent.line.put(welcome.decode())
        return True

    def _drop(self, agent: Agent, why: str) -> None:
        """We end it ourselves."""
        del self.agents[agent.sid]
        agent.line.cut(why)
        self._shut(agent, why)

    def _shut(self, agent: Agent, why: str) -> None:
        self.unseen(agent.sid)
        if agent.opened:
            self._up(t.Shut(agent.sid, why))

    def _unit(self, sid: str, unit: str) -> bytes | None:
        agent = self.agents.get(sid)
        found = agent.table.units.get(unit) if agent is not None else None
        return b'{"t":"unit","unit":%s}' % found if found is not None else None

    def _tell(self, sid: str) -> list[tuple[str, bytes]]:
        """All that an agent reported. From now on its changes are passed on."""
        agent = self.agents.get(sid)
        if agent is None:
            return []
        opened = ("", t.text(self._open(agent, known=True)).encode())
        return [opened, *((sid, frame) for frame in (agent.table.tell() if agent.full else ()))]

    # upstream

    def hello(self) -> t.RelayHello:
        return t.RelayHello(self.name, self.uuid, self.version, 1, self.pid, max(0, self.memory.version))

    def from_above(self, data: str | bytes, now: float) -> None:
        """A frame of upstream. Raises msgspec.DecodeError, Refused."""
        frame = t.decode_down(data)
        match frame:
            case t.Ping(at=at):
                self.queue.first(t.Pong(at))
                self.wake()
            case t.Welcome():
                self._welcomed(frame)
            case t.Refused(text=text):
                raise Refused(text)
            case _ if not self.up:
                raise msgspec.ValidationError("a welcome was expected first")
            case t.To(sid=sid, frame=inner):
                if sid in self.agents:
                    self._give(self.agents[sid], bytes(inner))
                else:
                    self.below.pass_on(sid, data)
            case t.All(frame=inner):
                self._everybody(bytes(inner))
                self.below.everyone(data)
            case t.Names(version=version, services=services):
                self.memory.set_names(version, services)
                self._greet()
                self.below.everyone(data)
            case t.Fan():
                self._fan(frame)
            case t.Close(sid=sid, why=why, refused=refused):
                agent = self.agents.pop(sid, None)
                if agent is None:
                    self.below.close(sid, data)
                    return
                self.unseen(sid)
                if refused:
                    self.memory.forget(agent.host)
                agent.line.cut(why)
            case t.Settings(relay=settings, name=name):
                if name in ("", self.name):
                    self.on_settings(settings)
                else:
                    self.below.settings(name, data)
            case t.Told(id=id, ok=ok, body=body):
                if (answer := self._asks.pop(id, None)) is not None:
                    answer(ok, body)

    def upstream_lost(self) -> None:
        """From now on the relay answers for its agents by itself."""
        was, self.up, self._state = self.up, False, None
        self.queue.clear()
        self._seen.clear()
        asks, self._asks = self._asks, {}
        for answer in asks.values():
            answer(False, {"error": NO_CONTROLLER})
        if not was:
            return
        self.below.end(f"{self.name} has {NO_CONTROLLER}")
        for agent in list(self.agents.values()):
            agent.opened = False
            for task, word, args in agent.table.ends():
                self._command(agent, task, word, Raw(msgspec.json.encode(args)))
            if agent.role == "candidate" or not agent.admitted and not self._from_memory(agent):
                self._drop(agent, NO_CONTROLLER)

    def ask(self, what: str, body: dict[str, Any], answer: Answer, relay: str = "") -> None:
        """Ask the controller; `answer` is called once."""
        if not self.up:
            answer(False, {"error": NO_CONTROLLER})
            return
        id = next(self._numbers)
        self._asks[id] = answer
        self._up(t.Ask(id, what, body, relay))

    def _welcomed(self, frame: t.Welcome) -> None:
        """Everything is told anew to this upstream."""
        self.up, self.cluster = True, frame.cluster
        if frame.relay:
            self.on_settings(frame.relay)
        self.queue.clear()
        self._state = None
        for agent in list(self.agents.values()):
            if agent.partial:
                self._drop(agent, "it has more to tell than its relay keeps")
            elif agent.admitted:
                self.queue.everything(agent.sid)
            else:
                self._up(self._open(agent, known=False))
        self._tell_state()

    def _give(self, agent: Agent, data: bytes) -> None:
        """A frame for one agent."""
        frame = given(data)
        match frame.t:
            case "welcome":
                agent.admitted = True
                if agent.role != "candidate":
                    self.memory.admit(agent.host, agent.uuid, data)
            case "ack":
                agent.table.acknowledged(frame.seq)
            case "cmd":
                agent.table.command(frame.task, frame.word, frame.args)
            case "retire":
                agent.role = "retiring"
            case "serve":
                agent.role = ""
        agent.line.put(data.decode())

    def _everybody(self, data: bytes) -> None:
        kind = given(data).t
        if kind == "names":
            self.memory.merge_names(delta(data))
        elif kind == "revoked":
            self._revoked(msgspec.json.decode(data, type=_Revoked).uuids)
        text = data.decode()
        for agent in self.agents.values():
            if agent.full or agent.admitted and kind != "names":  # all names come after its full set
                agent.line.put(text)

    def _revoked(self, uuids: frozenset[str]) -> None:
        self.memory.revoke(uuids)
        self.on_revoked(uuids)
        for agent in [a for a in self.agents.values() if a.uuid in uuids]:
            self._drop(agent, "its certificate was revoked")
        self.below.revoked(uuids)

    def _greet(self) -> None:
        text = self.memory.names()
        for agent in self.agents.values():
            if agent.full:
                agent.line.put(text)

    def _fan(self, frame: t.Fan) -> None:
        for sid, task in frame.tasks.items():
            agent = self.agents.get(sid)
            if agent is not None:
                agent.table.command(task, frame.word, frame.args)
                self._command(agent, task, frame.word, frame.args)
        self.below.fan(frame)

    def _command(self, agent: Agent, task: str, word: str, args: Raw) -> None:
        command = {"t": "cmd", "task": task, "uuid": agent.uuid, "word": word, "args": args}
        agent.line.put(msgspec.json.encode(command).decode())

    # time

    def tick(self, now: float) -> None:
        """Once a second: what was seen, who is silent, how many there are."""
        if now - self._ticked > PING:  # we stood still, not they: what they said meanwhile is not read yet
            for agent in self.agents.values():
                agent.heard = now
            self.below.heard_all(now)
        self._ticked = now
        if now - self._pinged >= PING:
            self._pinged = now
            ping = msgspec.json.encode({"t": "ping", "at": now}).decode()
            for agent in self.agents.values():
                if agent.admitted:
                    agent.line.put(ping)
            self.below.ping(now)
        for agent in [a for a in self.agents.values() if now - a.heard > SILENT]:
            self._drop(agent, f"it said nothing for {SILENT:g} s")
        self.below.silent(now)
        if self.up:
            if self._seen:
                self._up(t.Seen(self._seen))
                self._seen = {}
            self._tell_state()

    def seen(self, sid: str, latency: float | None) -> None:
        """An agent of a relay below was heard there."""
        self._seen[sid] = latency

    def unseen(self, sid: str) -> None:
        """It is shut."""
        self._seen.pop(sid, None)
        self.queue.forget(sid)

    def _tell_state(self) -> None:
        own = t.RelayState(
            self.pid, len(self.agents), (self.name,), self.version, self.began, note=self.note
        )
        state = t.State({self.name: own, **dict(self.below.states())})
        if state != self._state:
            self._state = state
            self._up(state)

    def _up(self, frame: msgspec.Struct) -> None:
        self.queue.own(frame)
        self.wake()


class _Revoked(msgspec.Struct):
    uuids: frozenset[str]
