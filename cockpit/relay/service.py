"""The relay's link part: it listens for agents and for relays below, and dials upstream, for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cockpit import __version__
from cockpit.agent.files import read_json, write_atomic, write_json
from cockpit.agent.identity import Identity
from cockpit.link.channel import TRANSPORTS, Channel, ChannelClosed
from cockpit.link.dial import dial
from cockpit.link.listen import Listener, Who
from cockpit.link.proxy import Unreachable, source
from cockpit.link.trunk_frames import text
from cockpit.relay import memory
from cockpit.relay.http import Passing
from cockpit.relay.lines import BELOW_QUEUED, ChannelLine
from cockpit.relay.memory import Memory
from cockpit.relay.switch import Refused, Switch
from cockpit.relay.upward import Overflow
from cockpit.swarm.settings import Settings

HELLO_TIME = 10.0
CONNECT_TIME = 8.0
WELCOME_TIME = 4.0
"""Seconds from the connection to the first frame of upstream."""
HEARD_TIME = 8.5
"""Seconds without a word of upstream, which pings every four."""
TICK = 1.0
KEEP = 2.0
"""Seconds between looks at what must be written to disk."""

FAILURES = (OSError, EOFError, ValueError, TimeoutError, Overflow, msgspec.DecodeError)


class LinkPart:
    """`start`, `apply` (other settings), `stop`."""

    def __init__(self, directory: str, settings: Settings, remark: Callable[[str], None]) -> None:
        """Raises IdentityError, ssl.SSLError, OSError."""
        found = Identity.load(directory)
        if found is None:
            raise OSError(f"{directory} has no identity")
        self.identity = found
        self.settings = settings
        self.port = 0
        self.upstream = ""
        """URL of the upstream of now; empty while there is none."""
        self.directory = directory
        self.switch = Switch(
            found.name, found.uuid, Memory.load(directory), begin=time.time_ns(), version=__version__,
            pid=os.getpid(),
        )  # fmt: skip
        self.switch.remark = remark
        self.switch.wake = self._wakes
        self.switch.below.allow(_below(settings))
        self._remark = remark
        self._context = self._server_context()
        self._listener: Listener | None = None
        self._wake = asyncio.Event()
        self._again = asyncio.Event()
        """Other ways upstream are known now."""
        self._tasks: list[asyncio.Task[None]] = []
        self._said = ""
        self._trunk: Channel | None = None
        self.on_upstream: Callable[[bool], None] = lambda up: None

    async def start(self) -> None:
        """Raises OSError when it cannot listen."""
        await self._listen(self.settings)
        self._tasks = [asyncio.create_task(w) for w in (self._upstream(), self._ticking(), self._keeping())]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            await self._listener.stop()
        with contextlib.suppress(OSError):
            memory.write(self.directory, self.switch.memory.take())

    async def apply(self, settings: Settings) -> None:
        """Other settings, without a restart. Raises OSError when it cannot listen there; it listens on as before."""
        before, self.settings = self.settings, settings
        self.switch.below.allow(_below(settings))
        if (before.link_upstream, before.link_proxy) != (settings.link_upstream, settings.link_proxy):
            self._again.set()
        if (before.address, before.link_port) != (settings.address, settings.link_port):
            old = self._listener
            try:
                await self._listen(settings)
            except OSError:
                self.settings = settings._replace(address=before.address, link_port=before.link_port)
                raise
            if old is not None:
                await old.stop()

    def renewed(self) -> None:
        """The identity on disk is another one: new connections show it."""
        (Path(self.directory) / "chain.pem").unlink(missing_ok=True)
        self._load_chain(self._context)

    # below

    async def _listen(self, settings: Settings) -> None:
        """With any port allowed the one of before is tried first: that is where agents look."""
        wanted = settings.link_port or 0
        ports = [wanted]
        path = Path(self.directory) / "link.port"
        if not wanted:
            with contextlib.suppress(OSError, ValueError):
                ports.insert(0, int(path.read_text()))
        for n, port in enumerate(ports):
            passing = Passing(self.switch, self.identity.context, lambda: self.upstream)
            listener = Listener(self._context, passing.app(), self._channel)
            try:
                self.port = await listener.start(settings.address, port)
            except (OSError, OverflowError):
                await listener.stop()
                if n == len(ports) - 1:
                    raise
                continue
            self._listener = listener
            write_atomic(str(path), f"{self.port}\n".encode(), sync=False)
            return

    def _server_context(self) -> ssl.SSLContext:
        """As the controller's: clients may show no certificate (to join), but not a foreign one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._load_chain(context)
        context.load_verify_locations(str(Path(self.identity.dir) / "ca.pem"))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0
        return context

    def _load_chain(self, context: ssl.SSLContext) -> None:
        """The CA is in the chain: a joining host checks its fingerprint."""
        identity = Path(self.identity.dir)
        chain = Path(self.directory) / "chain.pem"
        write_atomic(str(chain), (identity / "cert.pem").read_bytes() + (identity / "ca.pem").read_bytes())
        context.load_cert_chain(chain, identity / "key.pem")

    async def _channel(self, channel: Channel, who: Who) -> None:
        try:
            async with asyncio.timeout(HELLO_TIME):
                hello = await channel.recv()
        except (ChannelClosed, TimeoutError):
            return
        data = hello.encode() if isinstance(hello, str) else hello
        if who.kind == "host":
            await self._agent(ChannelLine(channel), who, data)
        elif who.kind == "relay":
            await self._below(ChannelLine(channel, BELOW_QUEUED), who, data)

    async def _agent(self, line: ChannelLine, who: Who, hello: bytes) -> None:
        switch = self.switch
        agent = switch.connect(line, who.name, who.uuid, hello, line.channel.kind, _now())
        if agent is None:
            await line.farewell()
            return
        await self._served(
            line, lambda data: switch.heard(agent, data, _now()), lambda why: switch.gone(agent, why)
        )

    async def _below(self, line: ChannelLine, who: Who, hello: bytes) -> None:
        below = self.switch.below
        lower = below.connect(line, who.name, who.uuid, hello, line.channel.kind, _now())
        if lower is None:
            await line.farewell()
            return
        await self._served(line, lambda data: below.heard(lower, data, _now()), lambda why: below.gone(lower, why))

    async def _served(self, line: ChannelLine, heard: Callable[[bytes], None], gone: Callable[[str], None]) -> None:
        """Until it ends, or is cut off. What waits for it then is not sent any more."""
        pump = asyncio.create_task(line.pump())
        reading = asyncio.create_task(_read(line.channel, heard))
        cut = asyncio.create_task(line.ended.wait())
        try:
            await asyncio.wait([reading, cut], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, reading, cut):
                task.cancel()
            ends = await asyncio.gather(pump, reading, cut, return_exceptions=True)
            why = line.why or (ends[1] if isinstance(ends[1], str) else "connection failed")
            gone(why)
        if isinstance(ends[1], Exception):
            raise ends[1]
        if line.ended.is_set():
            await line.farewell()

    # above

    async def _upstream(self) -> None:
        """One way after the other, the one that worked last first; never gives up."""
        failures = 0
        while True:
            self._again.clear()
            ways = self._ways()
            closed = ""
            for url, transport in ways:
                if url == closed:
                    continue
                connected = time.monotonic()
                try:
                    await self._session(url, transport)
                except Unreachable as e:
                    closed = url  # no other transport gets there either
                    self._say(f"upstream {url}: {_why(e)}")
                except FAILURES as e:
                    self._say(f"upstream {url} ({transport}): {_why(e)}")
                was = self.switch.up
                self.upstream = ""
                self.switch.upstream_lost()
                if was:
                    failures = 0 if time.monotonic() - connected > 5.0 else failures + 1
                    break  # begin with the first again
                if self._again.is_set():
                    break
            else:
                failures += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.1, min(2.0, 0.25 * 2.0 ** min(failures, 4)))):
                    await self._again.wait()

    def _ways(self) -> list[tuple[str, str]]:
        """(URL, transport): the URLs in their order, each begun with what worked there."""
        worked = read_json(str(Path(self.directory) / "link.json"))
        known = worked if isinstance(worked, dict) else {}
        found: list[tuple[str, str]] = []
        for url in self.settings.link_upstream:
            first = known.get(url)
            order = sorted(TRANSPORTS, key=lambda t: t != first)
            found += [(url, transport) for transport in order]
        return found

    async def _session(self, url: str, transport: str) -> None:
        """Dial and serve until it breaks; raises why."""
        async with asyncio.timeout(CONNECT_TIME):
            channel = await dial(
                url, context=self.identity.context(), transport=transport, cluster=self.identity.cluster,
                proxy=self.settings.link_proxy, address=source(self.settings.address),
            )
        try:
            await channel.send(text(self.switch.hello()))
            async with asyncio.timeout(WELCOME_TIME):
                self.switch.from_above(await channel.recv(), _now())
            self.upstream, self._trunk = url, channel
            self.on_upstream(True)
            self._say(f"connected upstream to {url} ({transport})")
            self._remember(url, transport)
            await self._serve(channel)
        finally:
            self._trunk = None
            self.on_upstream(False)
            channel.abort()

    async def _serve(self, channel: Channel) -> None:
        receiving = asyncio.create_task(self._receive(channel))
        sending = asyncio.create_task(self._send(channel))
        again = asyncio.create_task(self._again.wait())
        tasks = [receiving, sending, again]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _receive(self, channel: Channel) -> None:
        while True:
            async with asyncio.timeout(HEARD_TIME):
                data = await channel.recv()
            self.switch.from_above(data, _now())
            await asyncio.sleep(0)

    async def _send(self, channel: Channel) -> None:
        queue = self.switch.queue
        while True:
            frame = queue.take(_now())
            if frame is not None:
                await channel.send(frame)
                continue
            due = queue.due()
            self._wake.clear()
            if due is None:
                await self._wake.wait()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - _now())):
                    await self._wake.wait()

    def _remember(self, url: str, transport: str) -> None:
        path = str(Path(self.directory) / "link.json")
        known = read_json(path)
        known = known if isinstance(known, dict) else {}
        if known.get(url) != transport:
            with contextlib.suppress(OSError):
                write_json(path, {**known, url: transport}, sync=False)

    # time

    async def _ticking(self) -> None:
        while True:
            self.switch.tick(_now())
            if self.switch.queue.over and self._trunk is not None:
                self._say("upstream does not read: it is told everything anew")
                self._trunk.abort()
            await asyncio.sleep(TICK)

    async def _keeping(self) -> None:
        """What changed goes to the disk, off the loop. A full disk takes nothing but the memory of a restart."""
        while True:
            await asyncio.sleep(KEEP)
            files = self.switch.memory.take()
            if files:
                try:
                    await asyncio.to_thread(memory.write, self.directory, files)
                except OSError as e:
                    self._remark(f"what is known cannot be kept: {e.strerror or e}")

    def _wakes(self) -> None:
        self._wake.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._remark(f"the relay fails: {task.exception()!r}")

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self._remark(sentence)


async def _read(channel: Channel, heard: Callable[[bytes], None]) -> str:
    """Returns why it ended."""
    try:
        while True:
            data = await channel.recv()
            heard(data.encode() if isinstance(data, str) else data)
    except ChannelClosed as e:
        return str(e)


def _below(settings: Settings) -> dict[str, frozenset[str]]:
    return {name: frozenset({name, *names}) for name, names in settings.below}


def _now() -> float:
    return time.monotonic()


def _why(e: BaseException) -> str:
    if isinstance(e, Refused):
        return f"refused: {e}"
    if isinstance(e, ssl.SSLError) and e.reason:
        return f"TLS: {e.reason}"
    if isinstance(e, TimeoutError):
        return "no answer"
    found: Any = getattr(e, "strerror", None)
    return str(found or e or type(e).__name__)
