"""The socket to the controller: frames as JSON lines, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any

import msgspec

from cockpit.link.frames import MAX_FRAME

Frame = dict[str, Any]
MAX_QUEUED = 64 * 1024 * 1024
"""Bytes; a controller that does not read is left, and told all anew."""
HOSTS_FRAME = 64 * 1024 * 1024
"""The list of hosts may be longer than an agent's frame."""


class WireClosed(Exception):
    """The controller is gone, or does not read."""


class Wire:
    """`put` never waits; log lines wait in `room`."""

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None

    async def open(self, sock: socket.socket) -> None:
        self._reader, self._writer = await asyncio.open_connection(sock=sock, limit=HOSTS_FRAME)
        self._pump = asyncio.create_task(self._send())

    def put(self, frame: Frame) -> None:
        line = self._encode(frame) + b"\n"
        if len(line) > MAX_FRAME + 64 * 1024:
            raise ValueError(f"a frame of {len(line)} bytes is over the limit")
        self._bytes += len(line)
        if self._bytes > MAX_QUEUED:
            if self._writer is not None:
                self._writer.transport.abort()
            return
        self._queue.append(line)
        if self._bytes > 1024 * 1024:
            self._room.clear()
        self._wake.set()

    async def room(self) -> None:
        """Until little is waiting: for what may wait."""
        await self._room.wait()

    async def receive(self) -> Frame:
        """Raises WireClosed."""
        if self._reader is None:
            raise WireClosed("not open")
        try:
            line = await self._reader.readuntil(b"\n")
            frame = self._decode(line)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError) as e:
            raise WireClosed(f"the controller is gone ({type(e).__name__})") from None
        except msgspec.DecodeError as e:
            raise WireClosed(f"the controller sent no frame: {e}") from None
        return frame

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump
        if self._writer is not None:
            self._writer.close()

    async def _send(self) -> None:
        assert self._writer is not None
        with contextlib.suppress(ConnectionError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    line = self._queue.popleft()
                    self._bytes -= len(line)
                    self._writer.write(line)
                    await self._writer.drain()
                self._room.set()
