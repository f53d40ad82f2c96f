"""Several agents of one host at a time: the one that serves, one that may follow it, one that leaves.

The hub keeps one serving link per host. This class keeps those beside it and moves the downlink: a candidate
that passed its self-test gets `serve`, the one before it gets `retire` and only tells results until its `eof`.
What happens on the host does not hang on these words: there, whoever holds the lock of the directory serves, so
every message may be lost, repeated, or come after a restart of the controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from cockpit.link.links import Link
from cockpit.link.messages import AnyFrame, Eof, Hello, Tested, Unknown

MAIN, CANDIDATE, RETIRED = "", "candidate", "retired"
ROLES = {"candidate": CANDIDATE, "retired": RETIRED, "retiring": RETIRED}
SERVING = "serving"
"""A frame of an agent that was told to retire and serves after all: the candidate came to nothing."""
LEAVING_TELLS = frozenset({"result", "progress", "log", "releases", "plugin"})
"""Kinds of frames that count from an agent that leaves; all else is told by the one that serves."""


class Hub(Protocol):
    """What is asked of the hub."""

    def move(self, host: str, link: Link, hello: Hello) -> None:
        """From now on this link serves. The one before stays open, and unanswered commands stay open too.
        The owner learns of the new hello as of a host that connects."""
        ...

    def repeat(self, host: str) -> None:
        """Send every unanswered command of this host again, on the serving link."""
        ...

    def told(self, host: str, upgrading: str) -> None:
        """A word for the screen about an upgrade of this host; empty when it is over."""
        ...


class _Known(msgspec.Struct, eq=False):
    link: Link
    hello: Hello
    role: str
    tested: bool = False
    over: bool = False
    """It said `eof`."""


class Candidates:
    """Every link of every host, with its role."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._links: dict[str, list[_Known]] = {}

    def admit(self, link: Link, hello: Hello) -> str:
        """A link with a good hello: its role. `candidate` and `retired` stay beside the serving link; one that
        serves takes its place. The hub sends its welcome (`candidate: true` for a candidate), then calls `opened`.
        """
        role = ROLES.get(hello.role, MAIN)
        every = self._links.setdefault(link.host, [])
        for old in [k for k in every if k.hello.agent_pid == hello.agent_pid]:
            every.remove(old)  # the same agent connected anew
            old.link.cut()
        every.append(_Known(link, hello, role))
        return role

    def opened(self, link: Link) -> None:
        """After the welcome."""
        known = self._of(link)
        if known is None:
            return
        if known.role == MAIN:
            # perhaps it was away while its candidate passed the test
            for other in self._with(link.host, CANDIDATE):
                if other.tested:
                    self._swap(known, other)
        elif known.role == RETIRED:
            self._show(link.host)

    def frame(self, link: Link, frame: AnyFrame) -> bool:
        """Takes what concerns an upgrade. True: the owner may have it, too."""
        known = self._of(link)
        kind = frame.t if isinstance(frame, Unknown) else str(frame.__struct_config__.tag)
        if known is None:
            return kind not in ("tested", "eof", SERVING)
        if isinstance(frame, Tested):
            self._tested(known, frame)
            return False
        if isinstance(frame, Eof):
            known.over = True
            link.cut()
            return False
        if kind == SERVING:
            self._serves_again(known)
            return False
        if known.role == MAIN:
            return True
        return known.role == RETIRED and kind in LEAVING_TELLS

    def closed(self, link: Link) -> str:
        """A link has ended; the role it had. The hub reports a lost host only for one that served."""
        known = self._of(link)
        if known is None:
            return MAIN
        self._links[link.host].remove(known)
        if not self._links[link.host]:
            del self._links[link.host]
        if known.role == RETIRED:
            if not known.over:  # killed: what it has not answered is asked of the one that serves
                self._hub.repeat(link.host)
            self._show(link.host)
        elif known.role == CANDIDATE:
            self._show(link.host)
        return known.role

    def words(self, host: str) -> str:
        """`candidate 812 is tested`, `812 leaves`; empty when one agent serves and no other is there."""
        for known in self._links.get(host, ()):
            if known.role == CANDIDATE:
                return f"upgrading: candidate {known.hello.agent_pid} {'waits' if known.tested else 'is tested'}"
            if known.role == RETIRED:
                return f"upgrading: {known.hello.agent_pid} ends its tasks"
        return ""

    # inside

    def _of(self, link: Link) -> _Known | None:
        return next((k for k in self._links.get(link.host, ()) if k.link is link), None)

    def _with(self, host: str, role: str) -> Iterator[_Known]:
        return (k for k in list(self._links.get(host, ())) if k.role == role)

    def _tested(self, known: _Known, frame: Tested) -> None:
        if known.role != CANDIDATE:
            return
        if not frame.ok:  # the agent that started it knows, and ends it
            self._hub.told(known.link.host, f"upgrading: the candidate failed its self-test: {frame.text}")
            return
        known.tested = True
        self._show(known.link.host)
        for old in self._with(known.link.host, MAIN):
            self._swap(old, known)
            return
        # the agent before it left already, or is away for a moment: the candidate knows by the lock
        leaving = [k for k in self._with(known.link.host, RETIRED) if k.hello.agent_pid == known.hello.replaces]
        if leaving:
            self._serve(known)

    def _swap(self, old: _Known, new: _Known) -> None:
        """Step four: the downlink moves."""
        if old.hello.agent_pid != new.hello.replaces:
            new.link.cut()  # it would follow somebody else
            return
        old.role = RETIRED
        old.link.send({"t": "retire", "pid": new.hello.agent_pid})
        self._serve(new)

    def _serve(self, new: _Known) -> None:
        new.role = MAIN
        new.link.send({"t": "serve"})
        self._hub.move(new.link.host, new.link, new.hello)
        self._show(new.link.host)

    def _serves_again(self, known: _Known) -> None:
        host = known.link.host
        if known.role == MAIN:
            return
        for other in self._with(host, MAIN):
            other.role = CANDIDATE
            other.link.cut()
        known.role = MAIN
        self._hub.move(host, known.link, known.hello)
        self._hub.repeat(host)
        self._show(host)

    def _show(self, host: str) -> None:
        self._hub.told(host, self.words(host))


class Facts(Protocol):
    """What `HubCandidates` asks of the controller."""

    def connected(self, host: str, hello: Hello) -> None:
        """Another agent serves."""
        ...

    def again(self, host: str) -> None:
        """Commands of this host without an answer are to be sent again."""
        ...

    def upgrading(self, host: str, words: str) -> None: ...


class Mover(Protocol):
    """What `HubCandidates` uses of `cockpit.link.hub.Hub`."""

    links: dict[str, Link]

    def promote(self, link: Link) -> Link | None: ...


class HubCandidates:
    """`Candidates` as `cockpit.link.hub.Hub` calls it: the hub tells of links beside the serving one only."""

    def __init__(self, hub: Mover, facts: Facts) -> None:
        self._hub = hub
        self._facts = facts
        self._core = Candidates(self)

    # cockpit.link.owners.Candidates

    def admits(self, link: Link, hello: Hello) -> str:
        """Why a candidate (or an agent that leaves) is refused; empty when it may stay."""
        if hello.role == CANDIDATE and hello.replaces is None:
            return "a candidate must say which agent it replaces"
        self._core.admit(link, hello)
        return ""

    def connected(self, link: Link, hello: Hello) -> None:
        self._core.opened(link)

    def frame(self, link: Link, frame: AnyFrame) -> None:
        self._look(link.host)
        self._core.frame(link, frame)

    def gone(self, link: Link, why: str) -> None:
        self._core.closed(link)

    def _look(self, host: str) -> None:
        """The serving link as the hub has it now."""
        main = self._hub.links.get(host)
        for known in list(self._core._with(host, MAIN)):
            if known.link is not main:
                self._core._links[host].remove(known)
        if main is not None and self._core._of(main) is None:
            self._core.admit(main, msgspec.structs.replace(main.hello, role=MAIN))

    # Hub, for the core

    def move(self, host: str, link: Link, hello: Hello) -> None:
        self._hub.promote(link)
        self._facts.connected(host, hello)

    def repeat(self, host: str) -> None:
        self._facts.again(host)

    def told(self, host: str, upgrading: str) -> None:
        self._facts.upgrading(host, upgrading)
