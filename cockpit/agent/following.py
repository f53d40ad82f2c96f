"""One agent of a host follows another: what both sides do, apart from what an agent does all day."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Coroutine, Dict, List, Optional, Tuple

from cockpit.agent.follow import Stream
from cockpit.agent.identity import Identity
from cockpit.agent.install import Releases
from cockpit.agent.keeper_client import KeeperError
from cockpit.agent.keeper_link import KeeperGone, KeeperLink
from cockpit.agent.link import Link, Outbox, Owner
from cockpit.agent.names import Names
from cockpit.agent.plugins.manager import Plugins
from cockpit.agent.saying import say
from cockpit.agent.supervised import Supervised
from cockpit.agent.takeover import Candidacy, NearSocket
from cockpit.agent.tasks import Tasks
from cockpit.agent.turns import Turn, made_up_boot
from cockpit.agent.units import Book, Memory
from cockpit.agent.upgrade import Upgrader
from cockpit.agent.waiting import within
from cockpit.link.frames import Frame

LAST_WORDS = 15.0
"""Seconds that an agent which was replaced waits for a connection to tell its last results on."""
PLUGINS_WAIT = 3600.0
"""Seconds that it stays for what its plug-ins still run (schedules); then they are killed, and the log says so."""
GONE_WAIT = 3.0
KEEPER_WAIT = 10.0


class Following(Owner):
    """The part of an agent that concerns upgrades."""

    dir: str
    identity: Identity
    releases: Releases
    memory: Memory
    version: str
    turn: Turn
    upgrader: Upgrader
    supervised: Supervised
    keeper_ready: asyncio.Event
    argv: List[str]
    """How this agent is started."""
    boot_id: str
    role: str
    """candidate: not yet the agent of this host; retired: not any more. Else it holds the turn."""
    telling: bool
    """The full set was told: changes may follow. An acknowledgement of one event counts for all before it."""
    taking: bool
    queue: List[Frame]
    """Commands that came before the turn did."""
    candidacy: Optional[Candidacy]
    keeper_link: Optional[KeeperLink]
    stopped: asyncio.Event
    book: Book
    names: Names
    names_told: int
    local: NearSocket
    tasks: Tasks
    plugins: Plugins
    link: Link
    outbox: Outbox
    streams: Dict[str, Tuple[Stream, "asyncio.Task[None]"]]

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        raise NotImplementedError

    def releases_changed(self) -> None:
        raise NotImplementedError

    async def refresh(self, unit: str = "") -> None:
        raise NotImplementedError

    async def keeper(self, op: str, **args: Any) -> Dict[str, Any]:
        raise NotImplementedError

    async def aside(self) -> Optional[List[Frame]]:
        """What an agent tells on a new connection while it is not the one that serves; None for that one."""
        if self.role == "candidate" and self.candidacy is not None:
            return [await self.candidacy.test(self)]
        return list(self.upgrader.ended) if self.role else None

    def boot_arguments(self) -> List[str]:
        return [*(["--boot-id", self.boot_id] if self.boot_id else []), *self.supervised.arguments()]

    async def units_now(self) -> List[str]:
        await self.refresh()
        return list(self.book.records)

    def keeper_hello(self) -> Dict[str, Any]:
        return self.keeper_link.hello if self.keeper_link is not None else {}

    async def exec_keeper(self, argv: List[str]) -> None:
        """The keeper ends the connection when it becomes another version. Raises KeeperError, KeeperGone."""
        keeper = self.keeper_link
        if keeper is None:
            raise KeeperGone("no keeper answers on this host")
        await keeper.request("exec", argv=argv)
        await within(keeper.lost.wait(), KEEPER_WAIT)

    def set_names(self, names: Names) -> None:
        self.names, self.names_told = names, names.version
        self.local = NearSocket(self.dir, names)

    async def _stand_by(self, candidacy: Candidacy) -> None:
        """A candidate without the agent that started it is nobody's, unless its turn has come."""
        reading = asyncio.ensure_future(candidacy.read())
        try:
            yours = asyncio.ensure_future(candidacy.yours.wait())
            lost = asyncio.ensure_future(candidacy.lost.wait())
            await asyncio.wait({yours, lost}, return_when=asyncio.FIRST_COMPLETED)
            if candidacy.yours.is_set():
                await self._serve()
            elif not self.taking:
                say("candidate: the agent that started this one is gone, and so goes this one")
                self.stopped.set()
            yours.cancel()
            lost.cancel()
            await self.stopped.wait()
        finally:
            reading.cancel()

    async def _serve(self) -> None:
        """The turn of a candidate: by the controller's word, or by the agent before it."""
        if self.role != "candidate" or self.taking or self.candidacy is None:
            return
        self.taking = True
        await self.candidacy.take_over(self)
        queue, self.queue = self.queue, []
        self.link.again()
        for frame in queue:
            self.tasks.take(frame)

    def retired(self) -> None:
        self.telling = False
        for id, (_, task) in list(self.streams.items()):
            task.cancel()
            self.outbox.put({
                "t": "log", "stream": id, "unit": "", "lines": [], "dropped": 0,
                "end": "the agent of this host was replaced: open it again",
            })
        self.streams.clear()

    def followed(self) -> None:
        self.spawn(self._finish())

    async def _finish(self) -> None:
        """The last of a replaced agent: its tasks end, their results are told, and it goes."""
        await self.local.stop()  # whoever watches names comes again, and meets the other one
        leaving = asyncio.ensure_future(self.plugins.retire())  # they begin nothing; the other agent's begin now
        try:
            while self.tasks.running:
                self.names_told = max(self.names_told, Names(self.dir).version)
                await asyncio.sleep(0.05)
            await asyncio.wait({leaving}, timeout=PLUGINS_WAIT)
            if not leaving.done():
                say(f"plug-ins still run something after {PLUGINS_WAIT:g} s: it is killed")
        finally:
            leaving.cancel()
        until = time.monotonic() + LAST_WORDS
        while not self.link.connected and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self.outbox.put({"t": "eof"})
        await self.outbox.flushed(GONE_WAIT)
        until = time.monotonic() + GONE_WAIT
        while self.link.connected and time.monotonic() < until:  # the controller closes it: all was read
            await asyncio.sleep(0.01)
        self.stopped.set()

    def serve_again(self) -> None:
        self.outbox.put({"t": "serving"})
        self.link.again()
        self.spawn(self._be_kept())

    async def _introduce(self, keeper: KeeperLink) -> None:
        """The keeper keeps this agent alive. One that it started itself is started again in the same way."""
        hello = keeper.hello
        boot_id = str(hello.get("boot_id") or "")
        if made_up_boot(boot_id) and boot_id != self.boot_id:
            self.boot_id = boot_id
        if self.role:
            return
        if self.supervised.on:
            await self.supervised.introduce(keeper)
            return
        known = hello.get("agent_argv") if hello.get("agent_pid") == os.getpid() else None
        if known:
            self.argv = [str(word) for word in known]
        if self.boot_id and "--boot-id" not in self.argv:
            self.argv += self.boot_arguments()
        if self.argv != known:
            leave = self.candidacy.old if self.candidacy is not None else None
            await keeper.request("agent", argv=self.argv, pid=os.getpid(), leave=leave)

    async def keep_me(self, old: int, trial: float) -> None:
        """Whoever keeps agents here keeps this one, in place of the one with the pid `old`."""
        if self.supervised.on:
            self.supervised.took_over(self.argv, trial)
            return
        try:
            await self.keeper("agent", argv=self.argv, pid=os.getpid(), leave=old, trial=trial)
        except (KeeperError, KeeperGone) as e:
            say(f"keeper: {e}")  # it is told again with the next connection

    def keeper_became(self, argv: List[str]) -> None:
        self.supervised.keeper(argv)

    async def _be_kept(self) -> None:
        if self.supervised.on:
            self.supervised.take_back()
            return
        try:
            await self.keeper("agent", argv=self.argv, pid=os.getpid())
        except (KeeperError, KeeperGone) as e:
            say(f"keeper: {e}")
