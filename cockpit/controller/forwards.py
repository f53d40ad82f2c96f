"""Port forwards: who may open one, where its instance runs, and the bytes between its person and that host.

A forward lives as long as somebody reads its stream. It is carried by commands on hosts (`forward`), one after the
other: when the link to a host is lost, or the instance moves, connections end and new ones are taken as soon as there
is a host again. What goes over the link is in docs/protocols.md. The journal has who, where, when, how many bytes.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.controller.direct import Word
from cockpit.controller.hosttasks import BEGIN, end_there, mine, place_of, seen, size_of
from cockpit.link.hub import Answer
from cockpit.model.view import Who
from cockpit.plan.direct import direct_plan
from cockpit.plan.steps import Bad, Intent, Plan, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

WINDOW = 256 * 1024
"""Bytes of one connection that may be on their way, in each direction."""
MAX_DATA = 96 * 1024
"""Characters of one piece."""
MAX_EVENTS = 1000
"""Of one message."""
ON_THE_WAY = 16
"""Messages that the host has not taken yet; more wait at the person's."""
CONNECTIONS = 200
"""Of one forward."""
PER_PERSON, PER_HOST = 20, 40
LIFE = 24 * 3600.0
"""Seconds after which the host's side is begun anew."""
LATE = 30.0
LOOK = 1.0
AGAIN, MOST_AGAIN = 1.0, 10.0
MAX_PORT = 64


class Request(Word, frozen=True, kw_only=True):
    """`port`: a declared name or a number of the instance; empty: its only one."""

    instance: str
    port: str = ""


class Forwards:
    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self._open: dict[str, _Forward] = {}
        """By the id that its person knows, and nobody else."""
        self._legs: dict[str, _Leg] = {}

    def operations(self) -> dict[str, Any]:
        """`forward_tell {forward, ev: [events]}` answers when there is room for more. Events: `_Forward.tell`."""

        async def forward_tell(who: Who, args: dict[str, Any]) -> Any:
            forward = mine(self._open, args.get("forward"), who, "forward")
            events = args.get("ev")
            if not isinstance(events, list) or len(events) > MAX_EVENTS:
                raise Bad(f"forward_tell: ev is a list of at most {MAX_EVENTS}")
            await forward.tell(events)
            return {}

        return {"forward_tell": forward_tell}

    def streams(self) -> dict[str, Any]:
        """`forward` (see Request): {"forward": id,"instance","window","most"}, {"begun": {"host","port","address"}},
        then {"ev": [events]}; {"lost": why} when there is no host for it now, {"begun"} when there is one again;
        {"end": why} last. Raises when it cannot begin."""

        def forward(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
            return self.run(msgspec.convert(args, Request), who)

        return {"forward": forward}

    def progress(self, task: str, data: dict[str, Any]) -> bool:
        """From the host; False when the task is none of ours."""
        leg = self._legs.get(task)
        if leg is not None:
            leg.forward.take(leg, data)
        return leg is not None or task.startswith("forward-")

    async def run(self, request: Request, who: Who) -> AsyncIterator[dict[str, Any]]:
        """See `streams`. Raises Bad, Refused, ConnectionError. When it is closed the forward is ended."""
        plan = self.plan(request, who)
        forward = _Forward(self, request, who)
        guarded = await self.c.direct.admit(plan, who, request, forward.id[:14])
        self._open[forward.id] = forward
        # the id lets nobody send, and the journal is read by many: it gets only the beginning
        facts = {
            "id": forward.id[:14], "host": plan.intent.targets[0], "instance": request.instance, "port": request.port,
            "author": who.author,
        }  # fmt: skip
        self.c.ledger.note({"kind": "forward", **facts, **guarded})
        began, why = time.monotonic(), "ended"
        try:
            yield {"forward": forward.id, "instance": request.instance, "window": WINDOW, "most": CONNECTIONS}
            async for item in forward.items():
                yield item
            why = forward.over
            yield {"end": why}
        except (Bad, ConnectionError) as e:
            why = str(e)
            raise
        finally:
            del self._open[forward.id]
            forward.close()
            self.c.ledger.note({
                "kind": "forward-end", **facts, "host": forward.host or facts["host"], "why": why,
                "port": str(forward.port or request.port), "connections": forward.connections, "sent": forward.sent,
                "received": forward.received, "seconds": round(time.monotonic() - began, 3),
            })  # fmt: skip

    def plan(self, request: Request, who: Who) -> Plan:
        """What would be connected. Raises Bad, Refused, ConnectionError."""
        if not request.instance:
            raise Bad("forward wants an instance")
        if len(request.port) > MAX_PORT or not request.port.isprintable():
            raise Bad(f"forward: {request.port[:MAX_PORT]!r} is no port")
        if request.port.isdigit() and not 0 < int(request.port) < 65536:
            raise Bad(f"forward: a port is a number from 1 to 65535, not {request.port}")
        host, _ = place_of(self.c.world, request.instance)
        mine = list(self._open.values())
        if sum(f.who.author == who.author for f in mine) >= PER_PERSON:
            raise Refused(f"{who.author} has {PER_PERSON} forwards open already: end one")
        if sum(f.host == host for f in mine) >= PER_HOST:
            raise Refused(f"{PER_HOST} forwards are open to {host} already")
        if host not in self.c.hub.links:
            raise ConnectionError(f"no answer from {host}: nothing can be forwarded to it now")
        params = {"instance": request.instance, "port": request.port}
        intent = Intent(verb="forward", targets=(host,), params=params, author=who.author)
        return direct_plan(intent, self.c.world.revision)

    def begin(self, leg: _Leg) -> None:
        self._legs[leg.task] = leg

    def forget(self, leg: _Leg) -> None:
        self._legs.pop(leg.task, None)


class _Conn:
    def __init__(self, leg: _Leg) -> None:
        self.leg = leg
        self.sent = 0
        """Bytes that the port has not taken yet."""
        self.held = 0
        """Bytes that came and were not taken by the person's side yet."""


class _Leg:
    """The forward on one host, for as long as the link to it holds."""

    def __init__(self, forward: _Forward, number: int, host: str, unit: str) -> None:
        self.forward = forward
        self.host = host
        self.unit = unit
        self.task = f"{forward.id}.{number}"
        self.conns: set[int] = set()
        self.begun = False
        self.over = False
        self.trouble = ""
        """Why we ended it."""
        self.on_the_way = 0
        self.room = asyncio.Event()
        self.since = time.monotonic()
        self.work = asyncio.create_task(self._command())

    async def _command(self) -> Answer:
        f = self.forward
        args = {
            "task": self.task, "instance": f.request.instance, "port": f.request.port, "unit": self.unit,
            "window": WINDOW, "timeout": LIFE,
        }  # fmt: skip
        return await f.c.hub.command(self.host, "forward", args, task=self.task, timeout=LIFE + LATE)

    def send(self, events: list[Any]) -> None:
        self.on_the_way += 1
        self.forward.c.hub.send(self.host, {"t": "input", "task": self.task, "data": {"ev": events}})

    def why(self) -> str:
        """How it ended, as half a sentence."""
        if self.trouble:
            return self.trouble
        try:
            answer = self.work.result()
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            return f"contact with {self.host} was lost"
        if answer.ok:
            said = str(answer.data.get("why") or "")
            return {
                "lost": f"contact with {self.host} was lost", "replaced": f"the agent of {self.host} was replaced",
            }.get(said, f"{self.host}: it ended ({said})")
        text = answer.text or answer.code
        if answer.code == "bad" and text.startswith("no command"):
            text = "its agent is too old for forwards: cockpit upgrade"
        return f"{self.host}: {text}"

    def end(self) -> None:
        """The host is told; whoever waits goes on."""
        self.over = True
        self.room.set()
        c = self.forward.c
        if not self.work.done():
            end_there(c.hub, self.host, self.task, "forward-end")
            self.work.cancel()


class _Forward:
    def __init__(self, forwards: Forwards, request: Request, who: Who) -> None:
        self.c = forwards.c
        self.id = f"forward-{uuid.uuid4().hex}"
        self.request = request
        self.who = who
        self.host = ""
        self.port = 0
        self.over = ""
        """Why it is over, for good."""
        self.connections = self.sent = self.received = 0
        self._all = forwards
        self._numbers = 0
        self._legs: set[_Leg] = set()
        self._leg: _Leg | None = None
        """Where new connections go."""
        self._next: _Leg | None = None
        """Has not begun yet."""
        self._lost = ""
        self._unanswered = False
        self._again, self._pause = 0.0, AGAIN
        self._conns: dict[int, _Conn] = {}
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._wake = asyncio.Event()
        self._telling = asyncio.Lock()

    async def items(self) -> AsyncIterator[dict[str, Any]]:
        """To its end. Raises Bad or ConnectionError when it never begins."""
        self._start(*place_of(self.c.world, self.request.instance))
        limit = time.monotonic() + BEGIN
        while not self.over:
            while self._waiting:
                yield self._waiting.popleft()
            if self.port == 0:  # never begun
                if self._next is None:
                    raise ConnectionError(self._lost) if self._unanswered else Bad(self._lost)
                if time.monotonic() > limit:
                    raise ConnectionError(f"no forward to {self._next.host} within {BEGIN:g} s: the host is silent")
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._wake.wait()
            self._look()
        while self._waiting:
            yield self._waiting.popleft()

    # where it goes

    def _start(self, host: str, unit: str) -> None:
        self._numbers += 1
        leg = self._next = _Leg(self, self._numbers, host, unit)
        self._legs.add(leg)
        self._all.begin(leg)
        leg.work.add_done_callback(lambda _: self._ended(leg))

    def _look(self) -> None:
        """Is it still where the instance is? Level-triggered: called again and again."""
        try:
            host, unit = place_of(self.c.world, self.request.instance)
        except Bad:
            self.over = f"{self.request.instance} is not expected any more"
            return
        leg, now = self._leg, time.monotonic()
        for old in [x for x in self._legs if x is not leg and x is not self._next and not x.conns]:
            old.end()
        if self._next is not None or self.port == 0 or now < self._again or host not in self.c.hub.links:
            return
        stale = leg is not None and leg.host == host and not leg.conns and now - leg.since > LIFE / 2
        if leg is None or leg.host != host or stale:
            self._start(host, unit)

    def _begun(self, leg: _Leg, facts: dict[str, Any]) -> None:
        leg.begun = True
        if self._next is leg:
            self._leg, self._next = leg, None
        self.host, self.port = leg.host, int(facts.get("port") or 0)
        self._lost, self._pause = "", AGAIN
        address = str(facts.get("address") or "")[:100]
        self._waiting.append({"begun": {"host": leg.host, "port": self.port, "address": address}})

    def _ended(self, leg: _Leg) -> None:
        """The host's side is over, for whatever reason."""
        self._all.forget(leg)
        self._legs.discard(leg)
        wanted = not leg.over or bool(leg.trouble)
        leg.over = True
        leg.room.set()
        why = leg.why()
        gone = [n for n in leg.conns if self._conns.pop(n, None) is not None]
        if gone:
            self._waiting.append({"ev": [[n, "over", why] for n in gone]})
        if self._leg is leg or self._next is leg:
            if self._leg is leg:
                self._leg = None
            if self._next is leg:
                self._next = None
                self._again, self._pause = time.monotonic() + self._pause, min(MOST_AGAIN, 2 * self._pause)
            if wanted and self._leg is None and why != self._lost:
                self._lost = why
                self._unanswered = leg.work.cancelled() or leg.work.exception() is not None
                if self.port:
                    self._waiting.append({"lost": why})
        self._wake.set()

    def close(self) -> None:
        for leg in list(self._legs):
            leg.end()
            self._all.forget(leg)
            leg.work.add_done_callback(seen)

    # from the host

    def take(self, leg: _Leg, data: dict[str, Any]) -> None:
        if isinstance(data.get("begun"), dict) and not leg.begun:
            self._begun(leg, data["begun"])
        if isinstance(data.get("got"), int):
            leg.on_the_way = max(0, leg.on_the_way - int(data["got"]))
            leg.room.set()
        events = [e for e in data.get("ev") or () if self._came(leg, e)]
        if events:
            self._waiting.append({"ev": events})
        self._wake.set()

    def _came(self, leg: _Leg, event: Any) -> bool:
        """Counts it; False for what means nothing."""
        if not isinstance(event, list) or len(event) < 2 or not isinstance(event[0], int):
            return False
        number, kind, more = event[0], event[1], event[2] if len(event) > 2 else None
        conn = self._conns.get(number)
        if conn is None or conn.leg is not leg:
            return False
        match kind:
            case "open":
                self.connections += 1
            case "data" if isinstance(more, str):
                size = size_of(more)
                conn.held += size
                self.received += size
                if conn.held > 2 * WINDOW:  # it sends what nobody has asked for
                    leg.trouble = f"{leg.host} sends what nobody has asked for"
                    leg.end()
                    return False
            case "took" if isinstance(more, int):
                conn.sent = max(0, conn.sent - more)
                self.sent += max(0, more)
            case "over" | "no":
                del self._conns[number]
                leg.conns.discard(number)
            case "eof":
                pass
            case _:
                return False
        return True

    # from the person

    async def tell(self, events: list[Any]) -> None:
        """[number, kind, more]: `open`; `data` base64; `eof`; `took` bytes; `over`. Returns when there is room for
        more. Raises Bad for what is none of these, or more than was asked for."""
        async with self._telling:
            for leg, mine in self._sorted(events).items():
                leg.send(mine)
                while leg.on_the_way >= ON_THE_WAY and not leg.over:
                    leg.room.clear()
                    await leg.room.wait()

    def _sorted(self, events: list[Any]) -> dict[_Leg, list[Any]]:
        """By the host that they go to."""
        out: dict[_Leg, list[Any]] = {}
        for event in events:
            if not isinstance(event, list) or len(event) < 2 or not isinstance(event[0], int):
                raise Bad("forward_tell: an event is [number, kind, more]")
            number, kind = event[0], event[1]
            if kind == "open":
                self._opens(number, out)
                continue
            conn = self._conns.get(number)
            if conn is not None:  # else it is over, which they have not heard yet
                out.setdefault(conn.leg, []).append(self._checked(conn, number, kind, event[2:]))
        return out

    def _opens(self, number: int, out: dict[_Leg, list[Any]]) -> None:
        if number in self._conns:
            raise Bad(f"forward_tell: connection {number} is open already")
        leg, why = self._leg, ""
        if leg is None:
            why = self._lost or "it has not begun"
        elif len(self._conns) >= CONNECTIONS:
            why = f"{CONNECTIONS} connections are open through this forward"
        if leg is None or why:
            self._waiting.append({"ev": [[number, "no", why]]})
            self._wake.set()
            return
        self._conns[number] = _Conn(leg)
        leg.conns.add(number)
        host, unit = leg.host, leg.unit
        with contextlib.suppress(Bad):
            host, unit = place_of(self.c.world, self.request.instance)
        out.setdefault(leg, []).append([number, "open", unit if host == leg.host else leg.unit])

    def _checked(self, conn: _Conn, number: int, kind: Any, more: list[Any]) -> list[Any]:
        match [kind, *more]:
            case ["data", str(text)] if len(text) <= MAX_DATA:
                conn.sent += size_of(text)
                if conn.sent > 2 * WINDOW:
                    raise Bad("forward_tell: more than the port takes")
                return [number, "data", text]
            case ["took", int(count)]:
                count = max(0, min(count, conn.held))  # never credit for more than what came
                conn.held -= count
                return [number, "took", count]
            case ["eof"]:
                return [number, "eof"]
            case ["over"]:
                del self._conns[number]
                conn.leg.conns.discard(number)
                return [number, "over"]
        raise Bad(f"forward_tell: {kind!r:.40} is no event")
