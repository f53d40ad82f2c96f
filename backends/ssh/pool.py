"""Connections that are kept open: one for each machine, shared by everything that goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh
from asyncssh.constants import OPEN_REQUEST_SESSION_FAILED

from backends.ssh.prompts import Prompts
from backends.ssh.reach import Hop, Hops, ReachError, Settings, connect
from cockpit.agent.tasks import CommandError

HANDSHAKES = 8
"""At once for one address and port: sshd's MaxStartups begins to refuse at 10."""
ALL_HANDSHAKES = 32
CHANNELS = 8
"""At once on one connection: sshd's MaxSessions is 10."""
LASTING = CHANNELS - 1
"""Of these for what goes on until somebody ends it (shells, logs, copies): looks keep one."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STEADY = 20.0
"""A connection that lived so long ends the row of quick failures."""
MAX_OUTPUT = 16 * 1024 * 1024

Stdin = str | bytes


class NotConnected(Exception):
    """There is no connection now; the text says why."""


class NotServed(NotConnected):
    """There is a connection, and the server does not do what was asked for."""


@dataclass(frozen=True)
class Done:
    """How a command ended. `code` None: by a signal, or the server did not say."""

    code: int | None
    out: str
    err: str

    def said(self) -> str:
        """The last line of what it said, for a sentence."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1][:300] if lines else f"exit {self.code}"


class Pool:
    def __init__(self, settings: Settings, prompts: Prompts, changed: Callable[[], None]) -> None:
        self.settings = settings
        self.prompts = prompts
        self.changed = changed
        self._kept: dict[Hops, Kept] = {}
        self._gates: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._all = asyncio.Semaphore(ALL_HANDSHAKES)

    def use(self, hops: Hops, name: str = "") -> Kept:
        """The connection through these hops to the last one. Give it back with `done`."""
        kept = self._kept.get(hops)
        if kept is None:
            before = self.use(hops[:-1], name) if len(hops) > 1 else None
            kept = self._kept[hops] = Kept(self, hops[-1], before, name or str(hops[-1]))
            kept.start()
        kept.users += 1
        return kept

    async def done(self, hops: Hops) -> None:
        kept = self._kept.get(hops)
        if kept is None:
            return
        kept.users -= 1
        if not kept.users:
            del self._kept[hops]
            await kept.stop()
            if len(hops) > 1:
                await self.done(hops[:-1])

    async def close(self) -> None:
        kept, self._kept = list(self._kept.values()), {}
        await asyncio.gather(*(k.stop() for k in reversed(kept)), return_exceptions=True)

    @contextlib.asynccontextmanager
    async def gate(self, hop: Hop) -> AsyncIterator[None]:
        one = self._gates.setdefault((hop.address, hop.port), asyncio.Semaphore(HANDSHAKES))
        async with one, self._all:
            yield


class Kept:
    """One connection, made again when it breaks. `state`: connecting, connected, waiting (for an answer), failed."""

    def __init__(self, pool: Pool, hop: Hop, before: Kept | None, name: str) -> None:
        self.hop = hop
        self.before = before
        self.name = name
        self.users = 0
        self.conn: asyncssh.SSHClientConnection | None = None
        self.times = 0
        """How often it was made."""
        self._state, self._text, self.since = "connecting", "", time.time()
        self._pool = pool
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._channels = asyncio.Semaphore(CHANNELS)
        self._lasting = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        if self._state == "connecting" and self.name in self._pool.prompts.waiting:
            return "waiting"
        if self._state == "connecting" and self.before is not None and self.before.state != "connected":
            return self.before.state
        return self._state

    @property
    def text(self) -> str:
        if self._state == "connecting" and self.before is not None and self.before.text:
            return self.before.text if self.before.text.startswith("jump") else f"jump host {self.before.text}"
        return self._text

    def start(self) -> None:
        self._task = asyncio.create_task(self._hold())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.conn is not None:
            self.conn.abort()

    async def ready(self) -> asyncssh.SSHClientConnection:
        """Waits for it."""
        while self.conn is None:
            await self._ready.wait()
        return self.conn

    async def lost(self) -> None:
        """Until the present connection is gone."""
        if self.conn is not None:
            await self._lost.wait()

    async def run(
        self, command: str, *, stdin: Stdin | None = None, timeout: float = 30.0, most: int = MAX_OUTPUT
    ) -> Done:
        """Raises NotConnected, TimeoutError (the command is told to end then)."""
        async with self.channel() as conn:
            process = await opened(conn, command)
            try:
                async with asyncio.timeout(timeout):
                    data = stdin.encode() if isinstance(stdin, str) else stdin or b""
                    out, err, _ = await asyncio.gather(
                        _most(process.stdout, most), _most(process.stderr, 64 * 1024), _feed(process.stdin, data)
                    )
                    await process.wait_closed()
            except (asyncssh.Error, OSError) as e:
                raise NotConnected(f"the connection to {self.hop} broke: {e}") from None
            finally:
                process.close()
            if process.exit_status is None and conn is not self.conn:
                raise NotConnected(f"the connection to {self.hop} broke")
            code = process.exit_status
            return Done(
                None if code is None or code < 0 else code, out.decode("utf-8", "replace"),
                err.decode("utf-8", "replace"),
            )

    @contextlib.asynccontextmanager
    async def channel(self, *, lasting: bool = False) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Room for one channel; `lasting`: until somebody ends it. Raises NotConnected, CommandError `busy`."""
        if lasting and self._lasting >= LASTING:
            text = f"{LASTING} shells, logs and copies are open on {self.name} already, and it has no agent for more"
            raise CommandError("busy", text)
        self._lasting += lasting
        try:
            async with self._channels:
                if self.conn is None:
                    raise NotConnected(self.text or f"{self.hop} is not connected")
                yield self.conn
        finally:
            self._lasting -= lasting

    async def open(self, address: str, port: int) -> tuple[Any, Any]:
        """A TCP stream from the far side; hold a `channel` meanwhile. Raises NotConnected, ConnectionError."""
        if self.conn is None:
            raise NotConnected(self.text)
        try:
            return await self.conn.open_connection(address, port, encoding=None)
        except asyncssh.ChannelOpenError as e:
            raise ConnectionError(str(e.reason)) from None
        except (asyncssh.Error, OSError) as e:
            raise NotConnected(str(e)) from None

    def _become(self, state: str, text: str) -> None:
        if (state, text) != (self._state, self._text):
            if state != self._state:
                self.since = time.time()
            self._state, self._text = state, text
            self._pool.changed()

    async def _hold(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._connected()
                assert self.conn is not None
                began = time.monotonic()
                await self.conn.wait_closed()
                why = f"{self.hop}: the connection broke"
            except ReachError as e:
                why = str(e)
            finally:
                self.conn = None
                self._ready.clear()
                self._lost.set()
            if time.monotonic() - began > STEADY:
                pause = FIRST_PAUSE
            self._become("failed", why)
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _connected(self) -> None:
        if self._state != "failed":
            self._become("connecting", "")
        tunnel = None
        if self.before is not None:
            if self.before.conn is None:
                self._become("connecting", "")  # what is wrong is told by the hop before
            tunnel = await self.before.ready()
        async with self._pool.gate(self.hop):
            if self._state != "failed":
                self._become("connecting", "")
            pool = self._pool
            conn = await connect(self.hop, tunnel, pool.settings, pool.prompts, self.name)
        self.conn = conn
        self.times += 1
        self._lost = asyncio.Event()
        self._ready.set()
        self._become("connected", "")


async def opened(conn: asyncssh.SSHClientConnection, command: str | None, **more: Any) -> Any:
    """A session. sshd forgets one that ended a little later than we: it is asked again. Raises NotConnected, and
    NotServed when there is no such `subsystem`."""
    for pause in (0.05, 0.2, 0.5, 1.0, 0.0):
        try:
            return await conn.create_process(command, encoding=None, **more)
        except asyncssh.ChannelOpenError as e:
            if e.code == OPEN_REQUEST_SESSION_FAILED and "subsystem" in more:
                raise NotServed(f"it has no subsystem {more['subsystem']}") from None
            if not pause or conn.is_closed():
                raise NotConnected(f"it opens no session: {e.reason}") from None
        except (asyncssh.Error, OSError) as e:
            raise NotConnected(f"no session: {e}") from None
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


async def _most(reader: Any, most: int) -> bytes:
    """The first bytes; what is more is read and dropped."""
    kept = bytearray()
    while block := await reader.read(64 * 1024):
        kept += block[: most - len(kept)]
    return bytes(kept)


async def _feed(writer: Any, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        for at in range(0, len(data), 32 * 1024):
            writer.write(data[at : at + 32 * 1024])
            await writer.drain()
        writer.write_eof()
