"""What the hub asks of whoever owns it: about hosts, about relays, about agents that would replace others."""

from __future__ import annotations

from typing import Any, Protocol

from cockpit.link import messages
from cockpit.link import trunk_frames as t
from cockpit.link.links import Link


class HubOwner(Protocol):
    """What the hub asks of the controller. All are called on the loop and must not block."""

    def welcome(self, host: str, uuid: str) -> dict[str, Any] | None:
        """Facts for the welcome frame; None refuses the host."""
        ...

    def connected(self, host: str, hello: messages.Hello) -> None: ...

    def frame(self, host: str, frame: messages.AnyFrame) -> None: ...

    def heard(self, host: str, latency: float | None) -> None:
        """It lives: it answered a ping, here or at its relay. Seconds of the round trip."""
        ...

    def disconnected(self, host: str, why: str) -> None: ...

    async def join(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises PermissionError with a sentence."""
        ...


class RelayOwner(Protocol):
    """What the hub asks of the controller about relays."""

    def admit(self, relay: str, uuid: str) -> dict[str, Any] | None:
        """What relay.json there should hold; None refuses the relay."""
        ...

    def carries(self, relay: str, host: str) -> bool:
        """May it speak for this host?"""
        ...

    def greeting(self) -> str | None:
        """All names as a frame; None while they are held back."""
        ...

    def connected(self, relay: str, hello: t.RelayHello, transport: str) -> None: ...

    def state(self, relay: str, states: dict[str, t.RelayState]) -> None:
        """Of the relay itself and of all that are connected below it."""
        ...

    def beat(self, relay: str, latency: float | None) -> None: ...

    def lost(self, relay: str, why: str) -> None: ...

    def remark(self, relay: str, text: str) -> None:
        """It did what it may not."""
        ...

    async def ask(self, relay: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises PermissionError with a sentence, KeyError, ValueError."""
        ...


class Candidates(Protocol):
    """Agents that would replace others (`cockpit.link.candidates`)."""

    def admits(self, link: Link, hello: messages.Hello) -> str:
        """Why it is refused, or empty."""
        ...

    def connected(self, link: Link, hello: messages.Hello) -> None: ...

    def frame(self, link: Link, frame: messages.AnyFrame) -> None:
        """Of a candidate, and `eof` of an agent that was replaced."""
        ...

    def gone(self, link: Link, why: str) -> None:
        """A candidate, or an agent that was replaced."""
        ...
