"""A tracker's side of the connections for words: heads, and who is in which swarm.

The origin and each relay have one. What a relay asks its own upstream for goes through its `Library`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, NamedTuple, Optional, Set, Tuple

from cockpit.swarm import wire
from cockpit.swarm.exchange import Exchange, Target
from cockpit.swarm.handing import SMALL, Ask, Decisions, Handing, Holder, Over, Wanted
from cockpit.swarm.heads import HeadError, Heads, blob, refuse
from cockpit.swarm.layout import swarm_id
from cockpit.swarm.link import Link
from cockpit.swarm.manifest import HEX
from cockpit.swarm.passing import Outgoing
from cockpit.swarm.tracker import Changes, Dial, Node, Tracker

MAX_ASKED = 16
"""Questions of one node that are being answered."""
WAIT = 15.0
"""Seconds after which somebody who waits for a head is told that it is not forgotten."""


class Head(NamedTuple):
    manifest: str
    """Path of its text, plain or zlib'ed."""
    layout: bytes


class Library:
    """What a desk can hand out."""

    async def find(self, sha256: str, layout: str) -> Optional[Head]:
        """The heads of a swarm; None when nobody has them. May take long. Raises HeadError."""
        raise NotImplementedError

    def place(self, sha256: str) -> Optional[str]:
        """Path of a manifest that is here, also of an older version: a difference may start from it."""
        raise NotImplementedError


class Desk(Target):
    """`on_words(link, doc)` hears what is none of a tracker's words; False when it does not know them either."""

    def __init__(self, exchange: Exchange, library: Library, tracker: Tracker) -> None:
        self.library = library
        self.tracker = tracker
        self.heads = Heads(exchange.worker, library.place)
        self.handing = Handing()
        self.regions: Dict[str, str] = {}
        """Region of each node that joined, by name."""
        self.links: Dict[str, Link] = {}
        self.on_words: Callable[[Link, Dict[str, Any]], bool] = lambda link, doc: False
        self.on_join: Callable[[str, Dict[str, Any]], None] = lambda swarm, doc: None
        """Somebody joins this swarm; `doc` may name its sha256 and layout."""
        self.on_here: Callable[[Link], None] = lambda link: None
        self.on_gone: Callable[[Link], None] = lambda link: None
        self._asked: Dict[Link, Set["asyncio.Task[None]"]] = {}
        self._waiting: Dict[int, "asyncio.Future[Optional[Holder]]"] = {}
        """Questions that `handing` decides, by their token."""
        self._tokens = 0
        self._timer: Optional[asyncio.TimerHandle] = None
        self._out = Outgoing()
        self._loop = asyncio.get_running_loop()
        exchange.targets[""] = self

    def attach(self, link: Link) -> None:
        old = self.links.get(link.node)
        if old is not None:  # it came back before we noticed that it was gone
            self.detached(old, "")
            old.close()
        self.links[link.node] = link
        self._asked[link] = set()
        self.on_here(link)

    def detached(self, link: Link, why: str) -> None:
        for task in self._asked.pop(link, ()):
            task.cancel()
        if self.links.get(link.node) is not link:
            return
        del self.links[link.node]
        self.regions.pop(link.node, None)
        for swarm, changes in self.tracker.gone(link.node).items():
            self._tell(swarm, changes)
        self._decided(self.handing.gone(link.node, self._loop.time()))
        self.on_gone(link)

    def heard(self, link: Link, message: wire.Message) -> None:
        if not isinstance(message, wire.Words):
            raise wire.WireError(f"{type(message).__name__} is no word for a tracker")
        doc = message.doc
        op = doc.get("op")
        if op in ("manifest", "layout"):
            self._question(link, doc)
        elif op == "join":
            self._join(link, doc)
        elif op == "holds":
            self._holds(link, doc)
        elif op in ("leave", "rescue"):
            swarm = str(doc.get("swarm"))
            change = self.tracker.leave if op == "leave" else self.tracker.rescue
            self._tell(swarm, change(swarm, link.node))
            if op == "leave":
                self._decided(self.handing.left(swarm, link.node, self._loop.time()))
        elif not self.on_words(link, doc):
            raise wire.WireError(f"the word {str(op)[:40]!r} is unknown")

    def _join(self, link: Link, doc: Dict[str, Any]) -> None:
        swarm, address, port = _place(doc)
        region = doc.get("region")
        if isinstance(region, str) and len(region) <= wire.NAME:
            self.regions[link.node] = region
        self.on_join(swarm, doc)
        self._tell(swarm, self.tracker.join(swarm, Node(link.node, address, port)))

    def _holds(self, link: Link, doc: Dict[str, Any]) -> None:
        swarm, address, port = _place(doc)
        base = str(doc.get("base", ""))
        if base and not HEX.fullmatch(base):
            raise wire.WireError("it holds a difference to what is no digest")
        holder = Holder(link.node, link.name.kind, address, port)
        now = self._loop.time()
        self._decided(self.handing.holds(swarm, holder, _region(doc), base, now))

    def _tell(self, swarm: str, changes: Changes) -> None:
        """One message for each node that something changes for."""
        news: Dict[str, Dict[str, Any]] = {}
        for change in changes:
            doc = news.setdefault(change.name, {"op": "peers", "swarm": swarm, "add": [], "drop": []})
            if isinstance(change, Dial):
                doc["add"].append(change.node._asdict())
            else:
                doc["drop"].append(change.other)
        for name, doc in news.items():
            link = self.links.get(name)
            if link is not None:
                link.send(wire.Words(doc))

    def _question(self, link: Link, doc: Dict[str, Any]) -> None:
        id, sha256, layout = doc.get("id"), doc.get("sha256"), doc.get("layout")
        fine = isinstance(sha256, str) and HEX.fullmatch(sha256) and isinstance(layout, str) and HEX.fullmatch(layout)
        if type(id) is not int or not fine:
            raise wire.WireError("a question without id, sha256 and layout")
        asked = self._asked.get(link)
        if asked is None:
            return
        if len(asked) >= MAX_ASKED:
            raise wire.WireError(f"more than {MAX_ASKED} questions at once")
        task = self._loop.create_task(self._answer(link, id, str(sha256), str(layout), doc))
        asked.add(task)
        task.add_done_callback(asked.discard)

    async def _answer(self, link: Link, id: int, sha256: str, layout: str, doc: Dict[str, Any]) -> None:
        """Whatever happens here, whoever asks is told: silence costs it a minute."""
        try:
            await self._answered(link, id, sha256, layout, doc)
        except HeadError as error:
            refuse(link, id, error.code, str(error))
        except Exception as error:
            refuse(link, id, "broken", f"{type(error).__name__}: {error}")
            raise

    async def _answered(self, link: Link, id: int, sha256: str, layout: str, doc: Dict[str, Any]) -> None:
        head = await self.library.find(sha256, layout)
        if head is None:
            raise HeadError("unknown", f"nothing is published with the manifest {sha256[:12]}")
        base, data = "", head.layout
        if doc["op"] == "manifest":
            base, data = await self.heads.encoded(head.manifest, sha256, doc.get("bases"))
        if len(data) >= SMALL:
            if doc.get("hand"):  # another tracker sent it here
                if not self._out.enter(link):
                    refuse(link, id, "busy", "enough others are getting it")
                    return
            else:
                wanted = Wanted(doc["op"], base)
                holder = await self._handed(link, id, swarm_id(sha256, layout), wanted, len(data), doc)
                if holder is not None:
                    link.send(wire.Words({"id": id, "ask": holder._asdict(), "size": len(data)}))
                    return
        if doc["op"] == "manifest":
            link.send(wire.Words({"id": id, "base": base}))
        blob(link, id, data)

    async def _handed(
        self, link: Link, id: int, swarm: str, wanted: Wanted, size: int, doc: Dict[str, Any]
    ) -> Optional[Holder]:
        """Whom to ask for it; None: it is to be sent from here. When it is this one's turn."""
        self._tokens += 1
        token = self._tokens
        decided: "asyncio.Future[Optional[Holder]]" = self._loop.create_future()
        self._waiting[token] = decided
        failed = str(doc.get("failed", ""))[: wire.NAME]
        now = self._loop.time()
        try:
            self._decided(self.handing.asked(swarm, token, link.node, wanted, _region(doc), size, now, failed))
            while not decided.done():
                await asyncio.wait([decided], timeout=WAIT)
                if not decided.done():
                    link.send(wire.Words({"id": id, "wait": True}))
            return decided.result()
        finally:
            self._waiting.pop(token, None)
            self.handing.cancelled(token)

    def _decided(self, decisions: Decisions) -> None:
        for decision in decisions:
            waiting = self._waiting.get(decision.token)
            if waiting is None or waiting.done():
                continue
            if isinstance(decision, Over):
                waiting.set_exception(HeadError("bad", "it was asked again"))
            else:
                waiting.set_result(decision.holder if isinstance(decision, Ask) else None)
        wake = self.handing.wake(self._loop.time())
        if wake is not None and self._timer is None:
            self._timer = self._loop.call_at(wake, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._decided(self.handing.tick(self._loop.time()))


def _place(doc: Dict[str, Any]) -> Tuple[str, str, int]:
    """(swarm, address, port) of a node that takes part. Raises wire.WireError."""
    swarm, address, port = doc.get("swarm"), doc.get("address"), doc.get("port")
    if isinstance(swarm, str) and HEX.fullmatch(swarm) and isinstance(address, str) and type(port) is int:
        if 0 < port < 65536 and 0 < len(address) <= wire.NAME:
            return swarm, address, port
    raise wire.WireError("it takes part without a proper swarm, address and port")


def _region(doc: Dict[str, Any]) -> str:
    return str(doc.get("region", ""))[: wire.NAME]
