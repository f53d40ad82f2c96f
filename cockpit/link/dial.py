"""The dialling side: a channel to a controller or relay, over any transport, straight or through a proxy."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import Any, Callable, Dict, Optional, Tuple
from urllib.parse import unquote, urlsplit

from cockpit.agent.identity import WrongController, check_controller, origin
from cockpit.link.channel import HTTP2, POLLING, WEBSOCKET, ChannelClosed, DialledChannel, cut
from cockpit.link.polling import Connection, PollingChannel
from cockpit.link.proxy import connect_tcp

MAX_HEAD = 16 * 1024

# CPython keeps a buffer of this size per TLS connection: 256 KiB by default.
if hasattr(sslproto.SSLProtocol, "max_size"):
    sslproto.SSLProtocol.max_size = min(sslproto.SSLProtocol.max_size, 16 * 1024)


async def dial(
    url: str, *, context: ssl.SSLContext, transport: str, cluster: Optional[str], proxy: str = "", address: str = "",
    connected: Callable[[], None] = lambda: None,
) -> DialledChannel:
    """A channel to `url` (https://HOST:PORT), whose other side is a controller or relay of the cluster.

    `context` is loaded for this call: its ALPN is set here. `address` is the source address. `connected` is called
    when somebody has taken the TCP connection; from then on the caller limits the time.

    Raises Unreachable when no TCP connection comes about, WrongController, ssl.SSLError, other OSError,
    ChannelClosed, asyncio.TimeoutError, and ValueError for a URL, proxy or transport that is not one.
    """
    where = urlsplit(origin(url))
    host, port = where.hostname or "", where.port or 443
    if transport not in (WEBSOCKET, HTTP2, POLLING):
        raise ValueError(f"there is no transport {transport!r}")

    if transport == POLLING:
        context.set_alpn_protocols(["http/1.1"])

        async def connect() -> Connection:
            sock = await connect_tcp(host, port, proxy=proxy, local_addr=address)
            connected()
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=host, limit=MAX_HEAD
            )
            try:
                check_upstream(writer.get_extra_info("peercert"), cluster)
            except BaseException:
                cut(writer.transport)
                raise
            return reader, writer

        polling = PollingChannel(connect, where.netloc)
        await polling.open()
        return polling

    opener = _opener(transport)
    sock = await connect_tcp(host, port, proxy=proxy, local_addr=address)
    connected()
    try:
        channel: DialledChannel = await opener(sock, context, where.netloc, host)
    except BaseException:
        sock.close()
        raise
    try:
        check_upstream(channel.peercert, cluster)
    except BaseException:
        channel.abort()
        raise
    return channel


def _opener(transport: str) -> Any:
    """The libraries are loaded when they are needed: an agent uses one. Raises ChannelClosed."""
    try:
        if transport == WEBSOCKET:
            from cockpit.link.websocket import open_websocket

            return open_websocket
        from cockpit.link.http2 import open_http2

        return open_http2
    except ImportError as e:
        raise ChannelClosed(f"{transport} cannot be used here: {e}") from None


def check_upstream(peercert: Optional[Dict[str, Any]], cluster: Optional[str]) -> Tuple[str, str]:
    """("controller", its cluster) or ("relay", its name). TLS has checked the authority; each cluster has its own.

    Raises WrongController for anybody else.
    """
    for kind, value in (peercert or {}).get("subjectAltName", ()):
        if kind == "URI" and value.startswith("cockpit://relay/") and len(value) > len("cockpit://relay/"):
            return "relay", unquote(value[len("cockpit://relay/") :])
    try:
        return "controller", check_controller(peercert, cluster)
    except WrongController as e:
        if "not of" in str(e):
            raise
        raise WrongController("the other side is neither a controller nor a relay of this cluster") from None
