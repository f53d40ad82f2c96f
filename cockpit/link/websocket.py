"""The dialling half of the WebSocket transport, on `websockets`."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any, Dict, Union

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from cockpit.link.channel import CLOSE_TIME, WEBSOCKET, ChannelClosed, cut
from cockpit.link.frames import MAX_FRAME, SUBPROTOCOL

OPEN_TIME = 15.0
TCP_INFO = 11
LAST_DATA = 52
"""Where struct tcp_info has the milliseconds since data came."""


class WebSocketChannel:
    kind = WEBSOCKET

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws
        self.peercert: Dict[str, Any] = ws.transport.get_extra_info("ssl_object").getpeercert() or {}

    async def send(self, text: str) -> None:
        try:
            await self._ws.send(text)
        except (OSError, WebSocketException) as e:
            raise ChannelClosed(_why(e)) from None

    async def recv(self) -> Union[str, bytes]:
        try:
            return await self._ws.recv()
        except (OSError, WebSocketException) as e:
            raise ChannelClosed(_why(e)) from None

    def quiet(self) -> float:
        try:
            info = self._ws.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, TCP_INFO, 64)
        except (AttributeError, OSError):
            return float("inf")
        return int.from_bytes(info[LAST_DATA : LAST_DATA + 4], sys.byteorder) / 1000

    def abort(self) -> None:
        cut(self._ws.transport)

    async def close(self) -> None:
        closing = asyncio.ensure_future(self._ws.close())
        try:
            await asyncio.wait({closing}, timeout=CLOSE_TIME)
        finally:
            closing.cancel()
            self.abort()
        await asyncio.gather(closing, return_exceptions=True)


async def open_websocket(
    sock: socket.socket, context: ssl.SSLContext, authority: str, server_name: str
) -> WebSocketChannel:
    """On a connected socket, which is ours from now on. Raises OSError (TLS too), ChannelClosed."""
    context.set_alpn_protocols(["http/1.1"])
    try:
        ws = await connect(
            f"wss://{authority}/link", sock=sock, ssl=context, server_hostname=server_name,
            subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, max_size=MAX_FRAME, max_queue=64,
            proxy=None, ping_interval=None, open_timeout=OPEN_TIME, close_timeout=CLOSE_TIME,
            user_agent_header=None,
        )  # fmt: skip
    except InvalidStatus as e:
        text = (e.response.body or b"")[:200].decode("utf-8", "replace").strip()
        raise ChannelClosed(f"no WebSocket: {text or f'status {e.response.status_code}'}") from None
    except (WebSocketException, EOFError) as e:
        raise ChannelClosed(f"no WebSocket: {_why(e)}") from None
    return WebSocketChannel(ws)


def _why(e: BaseException) -> str:
    if isinstance(e, ConnectionClosed):
        reason = e.rcvd.reason if e.rcvd is not None else ""
        return reason or "connection closed"
    return str(e) or type(e).__name__
