"""The process between the controller and machines that SSH enters: the lower end of a trunk (docs/links.md)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from backends.ssh.downlink import Downlink
from backends.ssh.host import Host
from backends.ssh.pool import NotConnected, Pool
from backends.ssh.prompts import Prompts
from backends.ssh.reach import Hops, ReachError, Settings, hops_of
from backends.ssh.wire import Wire, WireClosed
from cockpit import __version__
from cockpit.agent.tasks import CommandError
from cockpit.link.frames import PROTOCOL

NAME = "ssh"
SEEN = 1.0
AGAIN = 3.0
"""Seconds before a host that could be entered, but not worked with, is tried again."""
WELCOME = 10.0
TOLD = 600.0
"""Seconds that the controller may take to lay a release out."""
Frame = dict[str, Any]


class Entry:
    """One host or downlink of the list, with the connection it uses."""

    def __init__(self, settings: Frame, hops: Hops) -> None:
        self.settings = settings
        self.hops = hops
        self.host: Host | None = None
        self.link: Downlink | None = None
        self.task: asyncio.Task[None] | None = None
        self.sid = ""
        self.welcomed = asyncio.Event()
        self.why = ""
        """Why it cannot be worked with though it can be entered."""
        self.since = time.time()


class Gateway:
    """`run` until the controller is gone."""

    def __init__(self, settings: Settings) -> None:
        self.wire = Wire()
        self.prompts = Prompts(self._prompt)
        self.pool = Pool(settings, self.prompts, self._changed)
        self.hosts: dict[str, Entry] = {}
        self.links: dict[str, Entry] = {}
        self._broken: dict[str, tuple[str, float]] = {}
        """Entries that make no sense: why, since when."""
        self._sids: dict[str, Entry] = {}
        self._number = itertools.count(time.time_ns())
        self._asks = itertools.count(1)
        self._told: dict[int, asyncio.Future[Frame]] = {}
        self._dirty = asyncio.Event()
        self._states: Frame = {}
        self._names = 0

    async def run(self, sock: socket.socket) -> None:
        await self.wire.open(sock)
        self.wire.put({
            "t": "relay", "relay": NAME, "uuid": "", "version": __version__, "protocol": PROTOCOL,
            "pid": os.getpid(), "names": 0,
        })  # fmt: skip
        work = [asyncio.create_task(self._tell()), asyncio.create_task(self._beat())]
        try:
            while True:
                await self._frame(await self.wire.receive())
        except WireClosed:
            pass
        finally:
            for task in work:
                task.cancel()
            entries = [*self.hosts.values(), *self.links.values()]
            await asyncio.gather(*(self._close(e) for e in entries), return_exceptions=True)
            await self.pool.close()
            await self.wire.close()

    async def _frame(self, frame: Frame) -> None:
        kind = frame.get("t")
        if kind == "hosts":
            await self._set(frame.get("hosts") or {}, frame.get("downlinks") or {})
        elif kind == "to":
            self._to(str(frame.get("sid")), frame.get("frame") or {})
        elif kind in ("all", "names"):
            inner = frame.get("frame") or {} if kind == "all" else {"t": "names", "version": frame.get("version")}
            if inner.get("t") == "names":
                self._names = int(inner.get("version") or 0)
            for sid in list(self._sids):
                self._to(sid, inner)
        elif kind == "fan":
            for sid, task in (frame.get("tasks") or {}).items():
                entry = self._sids.get(sid)
                if entry is not None and entry.host is not None:
                    cmd = {"t": "cmd", "task": task, "uuid": entry.host.uuid, "word": frame.get("word")}
                    self._to(sid, {**cmd, "args": frame.get("args") or {}})
        elif kind == "close":
            entry = self._sids.get(str(frame.get("sid")))
            if entry is not None and entry.task is not None:
                self._shut(entry, str(frame.get("why") or "closed by the controller"))
                entry.task.cancel()
                if not frame.get("refused"):
                    entry.task = asyncio.create_task(self._serve(entry, AGAIN))
        elif kind == "answer":
            text = frame.get("text")
            self.prompts.answer(int(frame.get("prompt") or 0), text if isinstance(text, str) else None)
            self._changed()
        elif kind == "told":
            future = self._told.pop(int(frame.get("id") or 0), None)
            if future is not None and not future.done():
                future.set_result(frame)
        elif kind == "ping":
            self.wire.put({"t": "pong", "at": frame.get("at")})
        elif kind == "welcome":
            self._states = {}
            self._changed()

    def _to(self, sid: str, frame: Frame) -> None:
        entry = self._sids.get(sid)
        if entry is None or entry.host is None:
            return
        if frame.get("t") == "welcome":
            entry.welcomed.set()
        else:
            entry.host.frame(frame)

    # what there is to enter

    async def _set(self, hosts: Frame, downlinks: Frame) -> None:
        """The whole list. What did not change stays connected."""
        self._broken.clear()
        both = ((self.hosts, hosts, self._begin_host), (self.links, downlinks, self._begin_link))
        for known, wanted, begin in both:
            gone = [n for n, e in known.items() if n not in wanted or e.settings != wanted[n]]
            kept = {n: known[n] for n in gone if n in wanted and self._only_watch(known[n], wanted[n])}
            for name, entry in kept.items():
                entry.settings.clear()
                entry.settings.update(wanted[name])
                if entry.host is not None:
                    entry.host.again()
            await asyncio.gather(*(self._close(known.pop(n)) for n in gone if n not in kept))
            for name, settings in wanted.items():
                if name not in known:
                    try:
                        known[name] = begin(name, dict(settings))
                    except (ReachError, ValueError, TypeError) as e:
                        self._broken[name] = (str(e), time.time())
        self._changed()

    @staticmethod
    def _only_watch(entry: Entry, wanted: Frame) -> bool:
        """Nothing but the instances to look for has changed: no reason to connect anew."""
        return entry.host is not None and {**entry.settings, "watch": 0} == {**wanted, "watch": 0}

    def _begin_host(self, name: str, settings: Frame) -> Entry:
        ssh = settings.get("ssh") or {}
        entry = Entry(settings, hops_of(ssh, str(settings.get("address") or "")))
        kept = self.pool.use(entry.hops, name)

        def send(frame: Frame) -> None:
            if entry.sid:
                bulk = {"bulk": True} if frame["t"] == "log" else {}
                self.wire.put({"t": "up", "frames": [[entry.sid, frame]], **bulk})

        entry.host = Host(name, settings, kept, send, self._ask, self.wire.room)
        entry.task = asyncio.create_task(self._serve(entry))
        return entry

    def _begin_link(self, name: str, settings: Frame) -> Entry:
        entry = Entry(settings, hops_of(settings.get("ssh") or {}, str(settings.get("address") or "")))
        entry.link = Downlink(name, settings, self.pool.use(entry.hops, name), self._changed)
        entry.link.start()
        return entry

    async def _close(self, entry: Entry) -> None:
        if entry.task is not None:
            entry.task.cancel()
            await asyncio.gather(entry.task, return_exceptions=True)
        if entry.link is not None:
            await entry.link.stop()
        if entry.host is not None:
            self._shut(entry, "it is not to be entered any more")
            await entry.host.close()
        await self.pool.done(entry.hops)

    # one host

    async def _serve(self, entry: Entry, pause: float = 0.0) -> None:
        """Its connections, one after the other."""
        host = entry.host
        assert host is not None
        await asyncio.sleep(pause)
        while True:
            await host.kept.ready()
            why = f"{host.kept.hop}: the connection broke"
            try:
                await self._session(entry, host)
            except NotConnected as e:
                why = host.kept.text or str(e)
            except CommandError as e:
                why = entry.why = f"{host.kept.hop}: {e.text}"
            except Exception as e:  # one host's odd answer must not take the others along
                why = entry.why = f"{host.kept.hop}: {type(e).__name__}: {e}"
            finally:
                host.leave()
                self._shut(entry, why)
            self._changed()
            await asyncio.sleep(AGAIN)

    async def _session(self, entry: Entry, host: Host) -> None:
        hello = await host.enter()
        host.names = self._names
        entry.welcomed.clear()
        entry.sid = f"{NAME}:{next(self._number)}"
        self._sids[entry.sid] = entry
        self.wire.put({
            "t": "open", "sid": entry.sid, "host": host.name, "uuid": host.uuid, "transport": "ssh",
            "path": [NAME], "hello": hello, "known": False,
        })  # fmt: skip
        try:
            async with asyncio.timeout(WELCOME):
                await entry.welcomed.wait()
        except TimeoutError:
            raise CommandError("failed", "the controller does not welcome it") from None
        serving = asyncio.ensure_future(host.serve())
        broken = asyncio.ensure_future(host.kept.lost())
        try:
            if entry.why:
                entry.why = ""
                self._changed()
            await asyncio.wait({serving, broken}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            serving.cancel()
            broken.cancel()
            await asyncio.gather(serving, broken, return_exceptions=True)

    def _shut(self, entry: Entry, why: str) -> None:
        if entry.sid:
            self._sids.pop(entry.sid, None)
            self.wire.put({"t": "shut", "sid": entry.sid, "why": why})
            entry.sid = ""

    async def _ask(self, what: str, body: Frame) -> Frame:
        """A question to the controller -> its `told`."""
        number = next(self._asks)
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._told[number] = future
        self.wire.put({"t": "ask", "id": number, "what": what, "body": body})
        try:
            async with asyncio.timeout(TOLD):
                return await future
        except TimeoutError:
            return {"ok": False, "body": {"text": "the controller did not answer"}}
        finally:
            self._told.pop(number, None)

    # what the controller is told of all

    def _prompt(self, frame: Frame) -> None:
        self.wire.put(frame)
        self._changed()

    def _changed(self) -> None:
        self._dirty.set()

    def states(self) -> Frame:
        found: Frame = {}
        for name, (text, since) in self._broken.items():
            found[name] = {"state": "failed", "text": text, "since": since}
        for name, entry in self.links.items():
            assert entry.link is not None
            state, text, since = entry.link.state
            found[name] = {"state": state, "text": text, "since": since}
        for name, entry in self.hosts.items():
            assert entry.host is not None
            kept = entry.host.kept
            state, text, since = kept.state, kept.text, kept.since
            if state == "connected" and entry.why:
                state, text = "failed", entry.why
            found[name] = {"state": state, "text": text, "since": since}
        return found

    async def _tell(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            fresh = self.states()
            if fresh != self._states:
                self._states = fresh
                self.wire.put({"t": "ssh", "states": fresh})
            await asyncio.sleep(0.05)

    async def _beat(self) -> None:
        """Hosts that are entered and answer; their way has no measured round trip."""
        while True:
            await asyncio.sleep(SEEN)
            alive = {sid: None for sid, e in self._sids.items() if e.host and e.host.kept.state == "connected"}
            self.wire.put({"t": "seen", "hosts": alive})


def set_up(dir: str) -> Settings:
    """DIR/ssh.json `{"config": [FILES...]}`: other files than ~/.ssh/config. Raises ValueError."""
    with contextlib.suppress(FileNotFoundError):
        with (Path(dir) / "ssh.json").open() as f:
            doc = json.loads(f.read(64 * 1024))
        return Settings(tuple(str(each) for each in doc.get("config") or ()))
    return Settings()
