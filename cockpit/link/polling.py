"""A channel over HTTPS short polling, for networks that let nothing stand: shared rules and the dialling half.

`POST /poll` carries `{"session": ID or "", "ack": n, "first": m, "frames": [text, ...]}` and is answered
with the same shape. Each side numbers its frames from 1 and sends again what was not acknowledged; the
other leaves out what it has. `most` in a question: no more characters of frames than so many, beyond one frame.
`more` in an answer: ask again at once. `end` in a question: the last one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import Any, Awaitable, Callable, Deque, Dict, List, Optional, Tuple

from cockpit.link.channel import CLOSE_TIME, POLLING, ChannelClosed, cut
from cockpit.link.frames import MAX_FRAME

FAST, SLOW = 0.2, 1.0
"""Seconds between two polls: while frames move, and when none has for a while."""
GROWS = 1.5
SESSION_TIME = 15.0
"""Seconds without a poll after which the listening side ends a session."""
TRY_TIME = 4.0
"""Seconds an answer may take; then the same is asked again on another connection."""
STALE_TIME = 2.0
"""As TRY_TIME, on a connection that was used before. Short, because something may have swallowed it: with
the time between two pings and two polls it stays below the silence that ends a link."""
PATIENCE = 8.5
"""Seconds without an answer after which the dialling side ends the channel."""
BATCH = 256 * 1024
"""Characters of frames in one body, unless a single frame is longer."""
LEAST = 512
MAX_BODY = 2 * MAX_FRAME + 64 * 1024
"""Bytes: a frame of which every character is escaped."""
MAX_WAITING = 1024 * 1024
"""Characters of frames that wait in either direction before the sender has to."""
MAX_COUNT = 4096
"""Frames that wait in either direction."""
SLOWEST = 64 * 1024
"""Bytes a second that a body may take."""
MAX_LINES = 64

Connection = Tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Numbers:
    """One side's memory of a session: what it sent and may send again, and what it has. Pure."""

    def __init__(self) -> None:
        self.out: Deque[str] = deque()
        self.first = 1
        """Number of the first frame in `out`."""
        self.out_size = 0
        self.inbox: Deque[str] = deque()
        self.received = 0
        self.in_size = 0

    def has_room(self) -> bool:
        """May another frame be put into `out`?"""
        return not self.out or (self.out_size < MAX_WAITING and len(self.out) < MAX_COUNT)

    def is_full(self) -> bool:
        """Does more wait in `out` than goes at once?"""
        return self.out_size > BATCH

    def put(self, text: str) -> None:
        self.out.append(text)
        self.out_size += len(text)

    def get(self) -> str:
        text = self.inbox.popleft()
        self.in_size -= len(text)
        return text

    def batch(self, most: int = BATCH) -> List[str]:
        """What to send now, from number `first` on: at least one frame, otherwise `most` characters."""
        found: List[str] = []
        size = 0
        for text in self.out:
            size += len(text)
            if found and size > most:
                break
            found.append(text)
        return found

    def take(self, ack: int, first: int, frames: List[str]) -> bool:
        """Note what the other side has and sends; what finds no room is left for later.

        True when anything moved. Raises ValueError for numbers that cannot be.
        """
        if not self.first - 1 <= ack < self.first + len(self.out):
            if ack >= self.first:
                raise ValueError(f"frame {ack} is acknowledged and was never sent")
            ack = self.first - 1  # an old question that came late
        if frames and not 0 < first <= self.received + 1:
            raise ValueError(f"frames from {first} on came after {self.received}")
        moved = False
        while self.first <= ack:
            self.out_size -= len(self.out.popleft())
            self.first += 1
            moved = True
        for text in frames[max(0, self.received + 1 - first) :]:
            if self.inbox and (self.in_size >= MAX_WAITING or len(self.inbox) >= MAX_COUNT):
                break
            self.inbox.append(text)
            self.in_size += len(text)
            self.received += 1
            moved = True
        return moved


class PollingChannel:
    """The dialling half. `connect` makes a TLS connection whose other side was checked; it is called for the
    first poll, and whenever the last connection cannot be used any more."""

    kind = POLLING

    def __init__(self, connect: Callable[[], Awaitable[Connection]], authority: str) -> None:
        self.peercert: Dict[str, Any] = {}
        self._connect = connect
        self._authority = authority
        self._connection: Optional[Connection] = None
        self._keeps = True
        """Is a connection used for more than one poll?"""
        self._most = BATCH
        """Characters of frames in one body: less where connections end before an answer is through."""
        self._session = ""
        self._numbers = Numbers()
        self._why = ""
        self._heard = time.monotonic()
        self._wake = asyncio.Event()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._task: "Optional[asyncio.Task[None]]" = None

    async def open(self) -> None:
        """The first poll. Raises OSError, ChannelClosed, asyncio.TimeoutError."""
        try:
            await self._poll()
        except BaseException:
            self._drop()
            raise
        self._task = asyncio.ensure_future(self._run())

    async def send(self, text: str) -> None:
        while not self._why and not self._numbers.has_room():
            self._room.clear()
            await self._room.wait()
        if self._why:
            raise ChannelClosed(self._why)
        self._numbers.put(text)
        self._wake.set()

    async def recv(self) -> str:
        while not self._numbers.inbox:
            if self._why:
                raise ChannelClosed(self._why)
            self._arrived.clear()
            await self._arrived.wait()
        return self._numbers.get()

    def quiet(self) -> float:
        return time.monotonic() - self._heard

    def abort(self) -> None:
        self._end("cut off")
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        if not self._why and self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            last = asyncio.ensure_future(self._last())
            await asyncio.wait({last}, timeout=CLOSE_TIME)
            last.cancel()
            await asyncio.gather(last, return_exceptions=True)
        self.abort()

    # inside

    async def _run(self) -> None:
        pause = FAST
        try:
            while True:
                began = time.monotonic()
                self._wake.clear()
                try:
                    moved, more = await self._poll()
                except (OSError, asyncio.TimeoutError, EOFError) as e:
                    if isinstance(e, ChannelClosed):
                        raise
                    self._most = max(LEAST, self._most // 8)
                    if time.monotonic() - self._heard > PATIENCE:
                        raise ChannelClosed(f"no answer to a poll for {PATIENCE:g} s") from None
                    moved, more = True, False
                pause = FAST if moved else min(SLOW, pause * GROWS)
                if not (more or (moved and self._session_runs() and self._numbers.is_full())):
                    await self._rest(began, pause)
        except ChannelClosed as e:
            self._end(str(e))
        except asyncio.CancelledError:
            raise
        except Exception as e:
            self._end(f"polling failed: {type(e).__name__}: {e}")

    async def _rest(self, began: float, pause: float) -> None:
        """Until `pause` is over; a frame to send ends it, but no two polls begin within FAST."""
        waiting = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({waiting}, timeout=pause)
        finally:
            waiting.cancel()
        await asyncio.sleep(max(0.0, began + FAST - time.monotonic()) if self._session_runs() else 0.0)

    def _session_runs(self) -> bool:
        """The first frame is a hello, and somebody waits for its answer."""
        return self._numbers.first > 1

    async def _last(self) -> None:
        try:
            while self._numbers.out:
                await self._poll()
            await self._exchange(self._body(end=True))
        except (OSError, asyncio.TimeoutError, EOFError):
            pass

    def _body(self, end: bool = False) -> bytes:
        numbers = self._numbers
        doc: Dict[str, Any] = {
            "session": self._session, "ack": numbers.received, "first": numbers.first,
            "frames": numbers.batch(self._most) if self._session and not end else [],
        }
        if self._most < BATCH:
            doc["most"] = self._most
        if end:
            doc["end"] = True
        return json.dumps(doc, separators=(",", ":"), ensure_ascii=False).encode()

    async def _poll(self) -> Tuple[bool, bool]:
        """(frames moved, more wait on the other side)."""
        body = self._body()
        answer = await self._exchange(body)
        try:
            doc = json.loads(answer)
            session, ack, first, frames = doc["session"], doc["ack"], doc["first"], doc["frames"]
            if not (isinstance(session, str) and session and isinstance(ack, int) and isinstance(first, int)):
                raise ValueError("numbers and a session are wanted")
            if not isinstance(frames, list) or not all(isinstance(text, str) for text in frames):
                raise ValueError("frames are a list of texts")
            if self._session and session != self._session:
                raise ValueError("it is of another session")
            more = bool(doc.get("more"))
        except (KeyError, TypeError, ValueError) as e:
            self._drop()
            raise ConnectionError(f"the answer to a poll is damaged: {e}") from None
        self._session = session
        self._most = min(BATCH, self._most * 2)
        self._heard = time.monotonic()
        try:
            moved = self._numbers.take(ack, first, frames)
        except ValueError as e:
            raise ChannelClosed(f"the answer to a poll: {e}") from None
        self._room.set()
        if self._numbers.inbox:
            self._arrived.set()
        return moved, more

    async def _exchange(self, body: bytes) -> bytes:
        """Ask on the connection that stands, and once more on a new one when that one had been closed."""
        if self._connection is not None:
            try:
                return await _within(self._ask(self._connection, body), STALE_TIME + len(body) / SLOWEST)
            except ChannelClosed:
                raise
            except (OSError, EOFError, asyncio.TimeoutError) as e:
                self._drop()
                if isinstance(e, asyncio.TimeoutError):  # something between swallows what stands too long
                    self._keeps = False
        try:
            self._connection = await self._connect()
            return await _within(self._ask(self._connection, body), TRY_TIME + len(body) / SLOWEST)
        except BaseException:
            self._drop()
            raise

    async def _ask(self, connection: Connection, body: bytes) -> bytes:
        reader, writer = connection
        if not self.peercert:
            self.peercert = writer.get_extra_info("peercert") or {}
        head = (
            f"POST /poll HTTP/1.1\r\nHost: {self._authority}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        status, stays, length = await _head(reader)
        if length is None:
            answer = await reader.read(MAX_BODY + 1)
            while len(answer) <= MAX_BODY and not reader.at_eof():
                answer += await reader.read(MAX_BODY + 1 - len(answer))
            stays = False
        else:
            answer = await reader.readexactly(length) if length <= MAX_BODY else b"x" * (MAX_BODY + 1)
        if len(answer) > MAX_BODY:
            raise ChannelClosed("the answer to a poll is too long")
        if not (stays and self._keeps):
            self._drop()
        if status != 200:
            text = answer[:200].decode("utf-8", "replace").strip()
            raise ChannelClosed("the other side ended the session" if status == 410 else
                                f"a poll was refused: {text or f'status {status}'}")
        return answer

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            cut(connection[1].transport)

    def _end(self, why: str) -> None:
        if not self._why:
            self._why = why
            self._drop()
            for event in (self._room, self._arrived):
                event.set()


async def _head(reader: asyncio.StreamReader) -> Tuple[int, bool, Optional[int]]:
    """(status, the connection stays, length of the body or None for: until the end) of an answer."""
    words = (await _line(reader)).split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise ConnectionError("the other side does not speak HTTP")
    stays = words[0] != "HTTP/1.0"
    length: Optional[int] = None
    for _ in range(MAX_LINES):
        line = await _line(reader)
        if not line:
            return int(words[1]), stays, length
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if name == "content-length":
            if not value.isdigit() or len(value) > 12:
                raise ConnectionError("the answer to a poll has no sound length")
            length = int(value)
        elif name == "connection":
            stays = "keep-alive" in value.lower() or (stays and "close" not in value.lower())
        elif name == "transfer-encoding":
            raise ConnectionError("the answer to a poll is chunked: something between rewrites it")
    raise ConnectionError("the answer to a poll has too many headers")


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n"))[:-2].decode("latin-1")
    except asyncio.LimitOverrunError:
        raise ConnectionError("the answer to a poll has a header that is too long") from None


async def _within(work: "Awaitable[bytes]", seconds: float) -> bytes:
    task: "asyncio.Future[bytes]" = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError(f"no answer within {seconds:.0f} s")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
