"""A channel: one authenticated connection that carries whole frames both ways, in order.

Which transport it is (`cockpit.link.dial`, `cockpit.link.listen`) is nobody's business above it.
Standard library only; both sides use it.
"""

from __future__ import annotations

from typing import Any, Dict, Protocol, Union

WEBSOCKET, HTTP2, POLLING = "websocket", "http2", "polling"
TRANSPORTS = (WEBSOCKET, HTTP2, POLLING)
"""In the order in which they are tried unless somebody says otherwise."""


CLOSE_TIME = 1.0
"""Seconds that a polite end may take."""


class ChannelClosed(ConnectionError):
    """It carries nothing any more; the text says why."""


def cut(transport: Any) -> None:
    """Abort a transport, also one that has ended: of TLS ones, some releases of Python 3.11 fail at that."""
    try:
        transport.abort()
    except AttributeError:
        pass


class Channel(Protocol):
    """One end. `send` and `recv` are used by one task each at a time."""

    @property
    def kind(self) -> str:
        """One of TRANSPORTS (or another word for connections inside one machine)."""
        ...

    @property
    def peercert(self) -> Dict[str, Any]:
        """The other side's verified certificate, as `getpeercert()` gives it."""
        ...

    async def send(self, text: str) -> None:
        """One frame of at most MAX_FRAME bytes. Waits while the other side does not read.

        Raises ChannelClosed.
        """
        ...

    async def recv(self) -> Union[str, bytes]:
        """The next frame. Raises ChannelClosed."""
        ...

    def abort(self) -> None:
        """End it now, without ceremony; what was not sent yet is lost. May be called twice."""
        ...


class PoliteChannel(Channel, Protocol):
    """As the transports make it: it can also be ended without losing what was sent."""

    async def close(self) -> None:
        """Let the other side have what was sent, for at most CLOSE_TIME, and end it. Never raises."""
        ...


class DialledChannel(PoliteChannel, Protocol):
    """The dialling end, which watches over its link."""

    def quiet(self) -> float:
        """Seconds since anything came from the other side, be it a part of a frame."""
        ...
