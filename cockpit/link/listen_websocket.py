"""The listening half of the WebSocket transport, on aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiohttp import ClientError, WSMsgType, web

from cockpit.link.channel import CLOSE_TIME, WEBSOCKET, ChannelClosed, cut
from cockpit.link.frames import MAX_FRAME, SUBPROTOCOL


class WebSocketServerChannel:
    kind = WEBSOCKET

    def __init__(self, response: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self.response = response
        self._transport = transport
        self._aborted = False

    @property
    def peercert(self) -> dict[str, Any]:
        found: dict[str, Any] = self._transport.get_extra_info("peercert")
        return found

    async def send(self, text: str) -> None:
        try:
            await self.response.send_str(text)
        except (OSError, ClientError, RuntimeError) as e:
            raise ChannelClosed(f"connection failed: {e}") from None

    async def recv(self) -> str | bytes:
        message = await self.response.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        if self._aborted:
            raise ChannelClosed("cut off")
        if message.type is WSMsgType.ERROR:
            raise ChannelClosed(f"connection failed: {message.data}")
        raise ChannelClosed("connection closed")

    def abort(self) -> None:
        self._aborted = True
        cut(self._transport)

    async def close(self) -> None:
        with contextlib.suppress(OSError, ClientError, RuntimeError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIME):
                await self.response.close()
        self.abort()


async def accept(request: web.Request) -> WebSocketServerChannel:
    """Raises web.HTTPException for what is no WebSocket handshake."""
    transport = request.transport
    assert transport is not None
    response = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,), compress=False, autoping=True, timeout=CLOSE_TIME,
        max_msg_size=MAX_FRAME + 1,  # aiohttp refuses this size itself
    )  # fmt: skip
    await response.prepare(request)
    return WebSocketServerChannel(response, transport)
