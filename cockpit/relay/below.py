"""Relays below a relay: what they may say, and which agents are reached through them. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from cockpit.link import trunk_frames as t

if TYPE_CHECKING:
    from cockpit.relay.switch import Switch

PING = 4.0
SILENT = 12.0
"""Seconds without a word (there is a ping every four) after which a connection counts as broken."""

Answer = Callable[[bool, dict[str, Any]], None]


class Line(Protocol):
    """A connection from below, as the switch uses it. Neither method waits, or calls back."""

    def put(self, text: str) -> None:
        """Queue a frame."""
        ...

    def cut(self, why: str) -> None:
        """End it; nobody is told that it is gone."""
        ...


class Lower:
    """One relay below that is connected."""

    def __init__(self, name: str, line: Line, transport: str) -> None:
        self.name, self.line, self.transport = name, line, transport
        self.sids: set[str] = set()
        self.states: dict[str, t.RelayState] = {}
        self.heard = 0.0
        self.latency: float | None = None


class Below:
    """The relays below, by name, and the way to each sid."""

    def __init__(self, switch: Switch) -> None:
        self.allowed: dict[str, frozenset[str]] = {}
        """Relays that may connect here -> the names that they may speak for, their own included."""
        self.relays: dict[str, Lower] = {}
        self._switch = switch
        self._ways: dict[str, Lower] = {}
        self._hosts: dict[str, str] = {}
        """sid -> host."""
        self._uuids: dict[str, str] = {}
        """Of relays that were connected, by name."""

    def connect(self, line: Line, name: str, uuid: str, hello: bytes, transport: str, now: float) -> Lower | None:
        """A relay whose certificate says NAME and UUID has said hello. None: it was cut off."""
        why = self._refusal(name, uuid, hello)
        if why:
            self._switch.remark(f"relay {name} is refused: {why}")
            line.cut(why)
            return None
        old = self.relays.get(name)
        if old is not None:
            self._drop(old, "the relay connected anew")
        lower = self.relays[name] = Lower(name, line, transport)
        lower.heard = now
        line.put(t.text(t.Welcome(self._switch.cluster)))
        if names := self._switch.memory.names():
            line.put(names)
        return lower

    def heard(self, lower: Lower, data: str | bytes, now: float) -> None:
        """One frame of a relay. What is none, or not its to say, ends its connection."""
        if self.relays.get(lower.name) is not lower:
            return
        lower.heard = now
        try:
            self._heard(lower, t.decode_up(data), now)
        except msgspec.DecodeError as e:
            self._switch.remark(f"relay {lower.name} is cut off: {e}")
            self._drop(lower, f"bad frame: {e}")

    def gone(self, lower: Lower, why: str) -> None:
        """Its connection ended."""
        if self.relays.get(lower.name) is lower:
            self._forget(lower, why)

    def carries(self, relay: str, host: str) -> bool:
        """Is an agent of HOST connected through this relay below?"""
        lower = self.relays.get(relay)
        return lower is not None and any(self._hosts.get(sid) == host for sid in lower.sids)

    def allow(self, allowed: dict[str, frozenset[str]]) -> None:
        """Other settings: who is not below any more is cut off."""
        self.allowed = allowed
        for lower in list(self.relays.values()):
            if lower.name not in allowed:
                self._drop(lower, f"{lower.name} is not below {self._switch.name} any more")

    # what comes from above

    def pass_on(self, sid: str, data: str | bytes) -> None:
        lower = self._ways.get(sid)
        if lower is not None:
            lower.line.put(_text(data))

    def everyone(self, data: str | bytes) -> None:
        text = _text(data)
        for lower in self.relays.values():
            lower.line.put(text)

    def fan(self, frame: t.Fan) -> None:
        parts: dict[str, dict[str, str]] = {}
        for sid, task in frame.tasks.items():
            if (lower := self._ways.get(sid)) is not None:
                parts.setdefault(lower.name, {})[sid] = task
        for name, tasks in parts.items():
            self.relays[name].line.put(t.text(t.Fan(frame.word, frame.args, tasks)))

    def close(self, sid: str, data: str | bytes) -> None:
        lower = self._ways.pop(sid, None)
        if lower is not None:
            lower.sids.discard(sid)
            self._hosts.pop(sid, None)
            self._switch.unseen(sid)
            lower.line.put(_text(data))

    def settings(self, name: str, data: str | bytes) -> None:
        for lower in self.relays.values():
            if name in lower.states:
                lower.line.put(_text(data))

    def revoked(self, uuids: frozenset[str]) -> None:
        for lower in list(self.relays.values()):
            if self._uuids.get(lower.name) in uuids:
                self._drop(lower, "its certificate was revoked")

    def end(self, why: str) -> None:
        """The relay has no upstream any more: each below answers for its own."""
        for lower in list(self.relays.values()):
            self._drop(lower, why, quiet=True)

    # time

    def ping(self, now: float) -> None:
        text = t.text(t.Ping(now))
        for lower in self.relays.values():
            lower.line.put(text)

    def heard_all(self, now: float) -> None:
        for lower in self.relays.values():
            lower.heard = now

    def silent(self, now: float) -> None:
        for lower in [r for r in self.relays.values() if now - r.heard > SILENT]:
            self._drop(lower, f"relay {lower.name} does not answer")

    def states(self) -> Iterator[tuple[str, t.RelayState]]:
        """Of the relays below, as this one tells them: paths and latencies go on growing upward."""
        for lower in self.relays.values():
            for name, state in lower.states.items():
                if name == lower.name:
                    state = msgspec.structs.replace(state, transport=lower.transport, latency=0.0)
                latency = None if lower.latency is None else _steps((state.latency or 0.0) + lower.latency)
                yield name, msgspec.structs.replace(state, path=(*state.path, self._switch.name), latency=latency)

    # what comes from below

    def _refusal(self, name: str, uuid: str, hello: bytes) -> str:
        """Why a relay may not connect; empty when it may."""
        if not self._switch.up:
            return f"{self._switch.name} has no controller now"
        if uuid in self._switch.memory.revoked:
            return "its certificate was revoked"
        if name not in self.allowed:
            return f"{name} is not below {self._switch.name} in the topology"
        try:
            said = t.decode_up(hello)
        except msgspec.DecodeError as e:
            return f"no hello: {e}"
        if not isinstance(said, t.RelayHello) or (said.relay, said.uuid) != (name, uuid):
            return "hello does not match the certificate"
        self._uuids[name] = uuid
        return ""

    def _heard(self, lower: Lower, frame: t.Upward, now: float) -> None:
        switch = self._switch
        match frame:
            case t.Up(frames=frames, bulk=bulk):
                for sid, raw in frames:
                    if self._ways.get(sid) is not lower:
                        continue  # closed meanwhile
                    if bulk:
                        switch.queue.bulk(sid, bytes(raw))
                    else:
                        switch.queue.put(sid, bytes(raw), now, at_once=True)  # it was held back below already
                switch.wake()
            case t.Open():
                self._open(lower, frame)
            case t.Shut(sid=sid):
                if self._ways.get(sid) is lower:
                    self._leave(lower, sid)
                    switch.queue.own(frame)
                    switch.wake()
            case t.Seen(hosts=hosts):
                for sid, latency in hosts.items():
                    if self._ways.get(sid) is lower:
                        switch.seen(sid, None if latency is None else latency + (lower.latency or 0.0))
            case t.State(relays=relays):
                if switch.name in relays or not relays.keys() <= self.allowed.get(lower.name, frozenset()):
                    raise msgspec.ValidationError(f"it speaks for {', '.join(sorted(relays))}")
                lower.states = relays
            case t.Ask(id=id, what=what, body=body, relay=relay):
                relay = relay or lower.name
                if relay not in self.allowed.get(lower.name, frozenset()):
                    raise msgspec.ValidationError(f"it asks for {relay}")
                self._ask(lower, id, what, body, relay)
            case t.Pong(at=at):
                lower.latency = max(0.0, now - at)
            case t.RelayHello():
                raise msgspec.ValidationError("a second hello")

    def _open(self, lower: Lower, frame: t.Open) -> None:
        path, owner = frame.path, t.owner_of(frame.sid)
        names = self.allowed.get(lower.name, frozenset())
        if self._switch.name in path:
            raise msgspec.ValidationError(f"the relays form a circle: {' > '.join((*path, self._switch.name))}")
        if not path or path[0] != owner or path[-1] != lower.name or not set(path) <= names:
            raise msgspec.ValidationError(f"it opens {frame.sid} by the path {' > '.join(path) or 'none'}")
        if frame.sid in self._ways:
            raise msgspec.ValidationError(f"it opens {frame.sid} twice")
        self._ways[frame.sid] = lower
        self._hosts[frame.sid] = frame.host
        lower.sids.add(frame.sid)
        self._switch.queue.own(msgspec.structs.replace(frame, path=(*path, self._switch.name)))
        self._switch.wake()

    def _ask(self, lower: Lower, id: int, what: str, body: dict[str, Any], relay: str) -> None:
        def answer(ok: bool, told: dict[str, Any]) -> None:
            if self.relays.get(lower.name) is lower:
                lower.line.put(t.text(t.Told(id, ok, told)))

        self._switch.ask(what, body, answer, relay)

    def _leave(self, lower: Lower, sid: str) -> None:
        lower.sids.discard(sid)
        del self._ways[sid]
        self._hosts.pop(sid, None)
        self._switch.unseen(sid)

    def _drop(self, lower: Lower, why: str, *, quiet: bool = False) -> None:
        lower.line.cut(why)
        self._forget(lower, why, quiet=quiet)

    def _forget(self, lower: Lower, why: str, *, quiet: bool = False) -> None:
        """Its agents are cut off with it: upstream is told of each, unless there is none."""
        del self.relays[lower.name]
        for sid in sorted(lower.sids):
            self._leave(lower, sid)
            if not quiet:
                self._switch.queue.own(t.Shut(sid, f"{lower.name}: {why}"))
        if not quiet:
            self._switch.wake()


def _steps(latency: float) -> float:
    """In steps of 5 ms: what is told on every change should not change all the time."""
    return round(latency * 200) / 200


def _text(data: str | bytes) -> str:
    return data if isinstance(data, str) else data.decode()
