"""Heads between nodes: asking the node that a tracker names, and giving what we hold to those who were sent to us."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Set, Union

from cockpit.swarm import wire
from cockpit.swarm.exchange import Exchange, Target
from cockpit.swarm.handing import patience
from cockpit.swarm.heads import Answer, HeadError, blob_of, refuse
from cockpit.swarm.link import Link
from cockpit.swarm.tls import Name

SILENCE = 2.0
"""Seconds without a byte, or without a connection: somebody else is asked."""
LOOK = 0.1
OUT = 4
"""Heads on their way from us at once: trackers send us half as many, but they do not see when one is through."""
LINKS = 16
"""Connections for that; whoever comes then is told so."""
SLACK = 64 * 1024


class Passed(NamedTuple):
    """A head that we hold: a file, as it travels."""

    base: str
    path: str
    size: int


class _Question(Target):
    """The one question of a connection."""

    def __init__(self, doc: Dict[str, Any], limit: int) -> None:
        self.answer = Answer(limit)
        self._doc = doc

    def attach(self, link: Link) -> None:
        link.send(wire.Words({**self._doc, "id": 1, "hand": True}))

    def heard(self, link: Link, message: wire.Message) -> None:
        id = message.doc.get("id") if isinstance(message, wire.Words) else getattr(message, "id", None)
        if id != 1 or not isinstance(message, (wire.Words, wire.Blob)):
            raise wire.WireError(f"{type(message).__name__} is no answer to a question")
        self.answer.heard(message)

    def detached(self, link: Link, why: str) -> None:
        self.answer.fail(HeadError("unreachable", f"{link.name}: {why or 'it closed the connection'}"))


async def ask_node(exchange: Exchange, doc: Dict[str, Any], holder: Any, size: Any, limit: int) -> Answer:
    """Ask the node that a tracker named (`ask` and `size` of its answer). Raises HeadError, in bounded time."""
    try:
        name, kind, address, port = (holder[key] for key in ("name", "kind", "address", "port"))
        fine = all(isinstance(text, str) and 0 < len(text) <= wire.NAME for text in (name, kind, address))
        if not fine or kind not in ("host", "relay") or type(port) is not int or not 0 < port < 65536:
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise HeadError("bad", "the tracker names a node without proper name, kind, address and port") from None
    if type(size) is not int or size < 0:
        raise HeadError("bad", "the tracker names a node without a size")
    node = Name(kind, name)
    question = _Question(doc, min(limit, 2 * size + SLACK))
    answer = question.answer
    loop = asyncio.get_running_loop()
    until = loop.time() + patience(size)
    try:
        link = await asyncio.wait_for(exchange.dial(address, port, node, "", question), SILENCE)
    except (OSError, asyncio.TimeoutError) as error:
        raise HeadError("unreachable", f"{node} at {address}:{port}: {error}") from None
    try:
        turns, since = 0, loop.time()
        while not answer.done.done():
            await asyncio.wait([answer.done], timeout=LOOK)
            now = loop.time()
            if answer.turns != turns:
                turns, since = answer.turns, now
            if link.closed or now - since > SILENCE or now > until:
                answer.fail(HeadError("unreachable", f"{node}: {link.why or 'it does not give it in time'}"))
        answer.done.result()
        if "ask" in answer.words:
            raise HeadError("unreachable", f"{node} names another one")
        return answer
    finally:
        answer.done.cancel()
        link.close()


class Outgoing:
    """How many links send a head at this moment."""

    def __init__(self) -> None:
        self._links: Set[Link] = set()

    def enter(self, link: Link) -> bool:
        """False: there are enough of them."""
        self._links = {other for other in self._links if other.uploading and not other.closed}
        if link in self._links or len(self._links) >= OUT:
            return False
        self._links.add(link)
        return True


class Handout(Target):
    """What a peer answers to others: the words `manifest` and `layout`, from what it holds and nothing else.

    `find(what, sha256, layout, bases)` is the head that is asked for, `allow(sha256, count)` limits what goes out
    (see Link.allow).
    """

    def __init__(
        self, exchange: Exchange, find: Callable[[str, str, str, Any], Optional[Passed]],
        allow: Callable[[str, int], float],
    ) -> None:
        self._find = find
        self._allow = allow
        self._out = Outgoing()
        self._links: Set[Link] = set()
        exchange.targets[""] = self

    def attach(self, link: Link) -> None:
        if len(self._links) >= LINKS:
            link.close("enough of them ask already")
        else:
            self._links.add(link)

    def detached(self, link: Link, why: str) -> None:
        self._links.discard(link)

    def heard(self, link: Link, message: wire.Message) -> None:
        doc = message.doc if isinstance(message, wire.Words) else {}
        op, id, sha256, layout = (doc.get(key) for key in ("op", "id", "sha256", "layout"))
        fine = type(id) is int and isinstance(sha256, str) and isinstance(layout, str)
        if op not in ("manifest", "layout") or not fine or not doc.get("hand"):
            raise wire.WireError("a peer is asked for manifests and layouts, and for nothing else")
        found = self._find(str(op), str(sha256), str(layout), doc.get("bases"))
        if found is None:
            refuse(link, id, "unknown", "it is not here")
            return
        if not self._out.enter(link):
            refuse(link, id, "busy", "enough others are getting it")
            return
        link.allow = lambda count: self._allow(str(sha256), count)
        if op == "manifest":
            link.send(wire.Words({"id": id, "base": found.base}))
        path = found.path
        blob_of(link, int(id or 0), found.size, lambda at, count: _part(path, at, count))


def passed(path: str, base: str = "") -> Optional[Passed]:
    """The file as something to pass on; None when it is not there."""
    try:
        return Passed(base, path, os.stat(path).st_size)
    except OSError:
        return None


def _part(path: str, at: int, count: int) -> Union[bytes, memoryview]:
    """Opened for each slice: nothing is left open when the other side goes away. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.pread(fd, count, at)
    finally:
        os.close(fd)
