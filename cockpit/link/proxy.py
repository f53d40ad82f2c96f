"""A TCP connection, straight or through an HTTP proxy (`CONNECT`), for every transport."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any, Awaitable, Optional, Tuple
from urllib.parse import urlsplit

CONNECT_TIME = 4.0
"""Seconds until somebody takes the connection."""
PROXY_TIME = 4.0
"""Seconds a proxy may take to answer."""
MAX_ANSWER = 8 * 1024
DEAD_AFTER = 15_000
"""Milliseconds without an acknowledgement of sent data after which the kernel ends the connection.
Pings are answered all the time, so a silent death is seen without pings that would wake both sides."""
TCP_USER_TIMEOUT = 18


class Unreachable(ConnectionError):
    """No TCP connection came about: another transport to the same place would not either."""


class BadProxy(ValueError):
    """The text is not the URL of a proxy."""


def proxy_address(proxy: str) -> Tuple[str, int]:
    """(host, port) of `http://HOST:PORT`. Raises BadProxy; what is in the URL is not repeated."""
    parts = urlsplit(proxy if "://" in proxy else "http://" + proxy)
    if "@" in parts.netloc:
        raise BadProxy("the proxy's URL must have no user name or password in it: URLs are shown")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadProxy("the proxy's URL must be http://HOST:PORT")
    return host, port or 3128


async def connect_tcp(
    host: str, port: int, *, proxy: str = "", local_addr: str = "", timeout: float = CONNECT_TIME
) -> socket.socket:
    """A connected, non-blocking socket with the options of a link.

    `local_addr` is its source address where this machine has it. Raises Unreachable (with the errno where
    there is one) and BadProxy.
    """
    if not proxy:
        return await _connect(host, port, local_addr, timeout)
    through, at = proxy_address(proxy)
    where = f"proxy {through}:{at}"
    try:
        sock = await _connect(through, at, local_addr, timeout)
    except Unreachable as e:
        raise Unreachable(e.errno, f"{where}: {e.strerror}") from None
    try:
        await _timed(_ask(sock, host, port, where), PROXY_TIME, f"{where} does not answer")
        return sock
    except OSError as e:
        sock.close()
        if isinstance(e, Unreachable):
            raise
        raise Unreachable(e.errno, f"{where}: {e.strerror or e}") from None
    except BaseException:
        sock.close()
        raise


def source(address: str) -> str:
    """What a connection from a host with this address is bound to: hosts that share a machine have a loopback address
    each; elsewhere the kernel knows which of a machine's addresses leads where."""
    return address if address.startswith("127.") else ""


async def _connect(host: str, port: int, local_addr: str, timeout: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = await _timed(
            loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), timeout, f"the name {host} is not resolved"
        )
    except (OSError, UnicodeError) as e:
        if isinstance(e, Unreachable):
            raise
        raise Unreachable(errno.EHOSTUNREACH, f"the name {host} is not known: {_text(e)}") from None
    last: Optional[Unreachable] = None
    for family, kind, protocol, _, address in found:
        try:
            return await _one(family, kind, protocol, address, local_addr, timeout / len(found))
        except OSError as e:
            last = e if isinstance(e, Unreachable) else Unreachable(e.errno, _text(e))
    raise last or Unreachable(errno.EHOSTUNREACH, f"{host} has no address")


async def _one(family: int, kind: int, protocol: int, address: Any, local_addr: str, timeout: float) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if local_addr and (":" in local_addr) == (family == socket.AF_INET6):
            try:
                sock.bind((local_addr, 0))
            except OSError as e:
                if e.errno != errno.EADDRNOTAVAIL:  # it is one that others see, not one of this machine's
                    raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER)
        await _timed(asyncio.get_running_loop().sock_connect(sock, address), timeout, "no answer")
        return sock
    except BaseException:
        sock.close()
        raise


async def _ask(sock: socket.socket, host: str, port: int, where: str) -> None:
    loop = asyncio.get_running_loop()
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await loop.sock_sendall(sock, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = await loop.sock_recv(sock, 1024)
        answer += more
        if not more or len(answer) > MAX_ANSWER:
            what = "closed the connection" if not more else "answers too much"
            raise Unreachable(errno.ECONNREFUSED, f"{where} {what} when asked for {target}")
    head, _, rest = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise Unreachable(errno.ECONNREFUSED, f"{where} does not speak HTTP")
    status = int(words[1])
    if status == 407:
        raise Unreachable(errno.EACCES, f"{where} wants a user name and password; it must let {target} pass without")
    if not 200 <= status < 300:
        reason = f" {words[2][:80]}" if len(words) > 2 else ""
        raise Unreachable(errno.ECONNREFUSED, f"{where} refuses a connection to {target}: {status}{reason}")
    if rest:
        raise Unreachable(errno.ECONNREFUSED, f"{where} sends data of its own into the connection to {target}")


async def _timed(work: "Awaitable[Any]", seconds: float, text: str) -> Any:
    """Its result. Raises Unreachable with `text` after so many seconds."""
    task: "asyncio.Future[Any]" = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise Unreachable(errno.ETIMEDOUT, text)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: it may fail in the moment in which we are cancelled


def _text(e: BaseException) -> str:
    return getattr(e, "strerror", None) or str(e) or type(e).__name__
