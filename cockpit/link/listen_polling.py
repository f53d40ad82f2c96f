"""The listening half of the polling transport: sessions, each owned by the identity that opened it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from aiohttp import web

from cockpit.link.channel import CLOSE_TIME, POLLING, ChannelClosed, PoliteChannel
from cockpit.link.decoding import guarded
from cockpit.link.polling import BATCH, MAX_BODY, SESSION_TIME, TRY_TIME, Numbers

MAX_SESSIONS = 4
"""Of one identity: the oldest ends when another is opened."""
BODY_TIME = 15.0
SWEEP = 1.0


class Question(msgspec.Struct, frozen=True):
    session: str
    ack: int
    first: int
    frames: list[str] = []
    most: int = BATCH
    end: bool = False


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    session: str
    ack: int
    first: int
    frames: list[str]
    more: bool = False


_question = guarded(msgspec.json.Decoder(Question).decode)
_answer = msgspec.json.Encoder().encode


class Known(Protocol):
    """`cockpit.link.listen.Who`."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def uuid(self) -> str: ...


class PollingServerChannel:
    kind = POLLING

    def __init__(self, id: str, peercert: dict[str, Any], ended: Callable[[PollingServerChannel], None]) -> None:
        self.id = id
        self.peercert = peercert
        self.polled = time.monotonic()
        self.why = ""
        self._ended = ended
        self._numbers = Numbers()
        self._arrived = asyncio.Event()
        self._moved = asyncio.Event()

    async def send(self, text: str) -> None:
        while not self.why and not self._numbers.has_room():
            self._moved.clear()
            await self._moved.wait()
        if self.why:
            raise ChannelClosed(self.why)
        self._numbers.put(text)

    async def recv(self) -> str:
        while not self._numbers.inbox:
            if self.why:
                raise ChannelClosed(self.why)
            self._arrived.clear()
            await self._arrived.wait()
        return self._numbers.get()

    def abort(self) -> None:
        self.end("cut off")

    async def close(self) -> None:
        deadline = time.monotonic() + CLOSE_TIME
        while self._numbers.out and not self.why and (left := deadline - time.monotonic()) > 0:
            self._moved.clear()
            waiting = asyncio.ensure_future(self._moved.wait())
            await asyncio.wait({waiting}, timeout=left)
            waiting.cancel()
        self.end("closed")

    def end(self, why: str) -> None:
        if not self.why:
            self.why = why
            self._arrived.set()
            self._moved.set()
            self._ended(self)

    def exchange(self, asked: Question) -> Answer:
        """Raises ValueError for numbers that cannot be; the session is over then."""
        self.polled = time.monotonic()
        numbers = self._numbers
        try:
            numbers.take(asked.ack, asked.first, asked.frames)
        except ValueError as e:
            self.end(str(e))
            raise
        if numbers.inbox:
            self._arrived.set()
        self._moved.set()
        frames = numbers.batch(min(asked.most, BATCH))
        return Answer(self.id, numbers.received, numbers.first, frames, len(frames) < len(numbers.out))


class Sessions:
    def __init__(self, run: Callable[[PoliteChannel, Any], Awaitable[None]]) -> None:
        """`run` is called with each new session and who opened it."""
        self._run = run
        self._sessions: dict[tuple[str, str, str], dict[str, PollingServerChannel]] = {}
        """Sessions by identity and id: another's is as unknown as none."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def poll(self, request: web.Request, known: Known) -> web.StreamResponse:
        owner = (known.kind, known.name, known.uuid)
        try:
            asked = _question(await _body(request))
        except msgspec.DecodeError as e:
            return web.Response(status=400, text=f"not a poll: {e}\n")
        if asked.session:
            session = self._sessions.get(owner, {}).get(asked.session)
            if session is None:
                return web.Response(status=410, text="this session has ended\n")
        else:
            session = self._open(owner, request, known)
        if asked.end:
            session.end("connection closed")
        try:
            return web.Response(body=_answer(session.exchange(asked)), content_type="application/json")
        except ValueError as e:
            return web.Response(status=400, text=f"{e}\n")

    async def sweep(self) -> None:
        """For ever: sessions that nobody polls end, and on the way out all do."""
        try:
            while True:
                await asyncio.sleep(SWEEP)
                limit = time.monotonic() - SESSION_TIME
                for session in [s for found in self._sessions.values() for s in found.values()]:
                    if session.polled < limit:
                        session.end(f"no poll for {SESSION_TIME:g} s")
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open(self, owner: tuple[str, str, str], request: web.Request, known: Known) -> PollingServerChannel:
        found = self._sessions.setdefault(owner, {})
        if len(found) >= MAX_SESSIONS:
            next(iter(found.values())).end("too many sessions of this host")
            found = self._sessions.setdefault(owner, {})
        assert request.transport is not None
        session = PollingServerChannel(
            secrets.token_urlsafe(16), request.transport.get_extra_info("peercert"),
            lambda gone: self._forget(owner, gone),
        )  # fmt: skip
        found[session.id] = session
        task = asyncio.ensure_future(self._serve(session, known))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return session

    async def _serve(self, session: PollingServerChannel, known: Known) -> None:
        await self._run(session, known)

    def _forget(self, owner: tuple[str, str, str], session: PollingServerChannel) -> None:
        found = self._sessions.get(owner)
        if found is not None:
            found.pop(session.id, None)
            if not found:
                del self._sessions[owner]


async def _body(request: web.Request) -> bytes:
    """Raises web.HTTPException when it is too long, too slow or packed."""
    if "Content-Encoding" in request.headers:
        raise web.HTTPUnsupportedMediaType(text="a poll is sent as it is\n")
    if (request.content_length or 0) > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY, request.content_length or 0)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(TRY_TIME + BODY_TIME):
            async for part in request.content.iter_any():
                size += len(part)
                if size > MAX_BODY:
                    raise web.HTTPRequestEntityTooLarge(MAX_BODY, size)
                parts.append(part)
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the poll came too slowly\n") from None
    return b"".join(parts)
