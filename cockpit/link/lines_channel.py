"""A channel inside one machine: newline-delimited frames over a Unix socket (a socketpair with a program of ours).

The other side is known by the descriptor that it holds: there is no certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from cockpit.link.channel import CLOSE_TIME, ChannelClosed
from cockpit.link.frames import MAX_FRAME

HIGH_WATER = 256 * 1024


class LinesChannel:
    kind = "inside"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._aborted = False
        writer.transport.set_write_buffer_limits(HIGH_WATER)

    @classmethod
    async def over(cls, sock: socket.socket) -> LinesChannel:
        """Takes the connected stream socket over."""
        sock.setblocking(False)
        return cls(*await asyncio.open_connection(sock=sock, limit=MAX_FRAME + 1))

    @property
    def peercert(self) -> dict[str, Any]:
        return {}

    async def send(self, text: str) -> None:
        data = text.encode()
        if len(data) > MAX_FRAME:
            raise ChannelClosed(f"a frame of {len(data)} bytes is over the limit of {MAX_FRAME}")
        try:
            self._writer.write(data + b"\n")  # JSON has no bare newline in it
            await self._writer.drain()
        except OSError as e:
            raise ChannelClosed(f"connection failed: {e}") from None

    async def recv(self) -> bytes:
        try:
            line = await self._reader.readline()
        except ValueError:
            raise ChannelClosed(f"a frame is over the limit of {MAX_FRAME} bytes") from None
        except OSError as e:
            raise ChannelClosed(f"connection failed: {e}") from None
        if not line.endswith(b"\n"):
            raise ChannelClosed("cut off" if self._aborted else "connection closed")
        return line[:-1]

    def abort(self) -> None:
        self._aborted = True
        self._writer.transport.abort()

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIME):
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()
        self.abort()
