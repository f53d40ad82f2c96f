"""The frames of a trunk: one channel over which a relay carries many agents (docs/links.md).

What agents say passes through as `msgspec.Raw`: a relay decodes only what it must know (`cockpit.relay.spoken`).
`sid` names one agent's connection: `RELAY:N`, where RELAY is the relay that the agent is connected to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cockpit.link.decoding import guarded
from cockpit.link.frames import MAX_FRAME

MAX_CARRIED = MAX_FRAME - 4096
"""Bytes of an agent's frame that fit into one of ours."""


class TrunkFrame(msgspec.Struct, frozen=True, tag_field="t"):
    """Base of all; the field `t` names the kind."""


class RelayState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a relay tells of itself, or of one below it."""

    pid: int | None = None
    agents: int = 0
    path: tuple[str, ...] = ()
    """The relays that it is reached through, nearest to it first, itself included."""
    version: str = ""
    since: float = 0.0
    """Unix time of its start."""
    latency: float | None = None
    """Seconds, round trip between it and the relay that tells."""
    transport: str = ""
    """How it is connected to the relay that tells."""
    note: str = ""
    """What its operator must know (settings that need a restart)."""


# relay -> upstream


class RelayHello(TrunkFrame, frozen=True, tag="relay"):
    relay: str
    uuid: str
    version: str = ""
    protocol: int = 1
    pid: int | None = None
    names: int = 0
    """The version of the names it has."""


class Open(TrunkFrame, frozen=True, tag="open"):
    sid: str
    host: str
    uuid: str
    hello: msgspec.Raw
    transport: str = ""
    path: tuple[str, ...] = ()
    known: bool = False
    """It was welcomed before, by the cache or on an earlier trunk: no welcome is wanted."""


class Shut(TrunkFrame, frozen=True, tag="shut"):
    sid: str
    why: str = ""


class Up(TrunkFrame, frozen=True, tag="up", omit_defaults=True):
    frames: list[tuple[str, msgspec.Raw]]
    """(sid, an agent's frame), in order."""
    bulk: bool = False
    """Log lines: whoever passes it on lets everything else go first."""


class Seen(TrunkFrame, frozen=True, tag="seen"):
    hosts: dict[str, float | None]
    """sid -> seconds of its last round trip to the relay, for those that were heard since the last."""


class State(TrunkFrame, frozen=True, tag="state"):
    relays: dict[str, RelayState]
    """The relay itself and all that are connected below it."""


class Ask(TrunkFrame, frozen=True, tag="ask"):
    id: int
    what: str
    """join (for whoever asked the relay), renew (of the relay itself)."""
    body: dict[str, Any]
    relay: str = ""
    """Who asked first; filled in by the relay above it."""


class Pong(TrunkFrame, frozen=True, tag="pong"):
    at: float = 0.0


# upstream -> relay


class Welcome(TrunkFrame, frozen=True, tag="welcome"):
    cluster: str
    relay: dict[str, Any] = {}
    """What DIR/relay.json should hold; empty: nothing new."""


class To(TrunkFrame, frozen=True, tag="to"):
    sid: str
    frame: msgspec.Raw


class All(TrunkFrame, frozen=True, tag="all"):
    frame: msgspec.Raw


class Names(TrunkFrame, frozen=True, tag="names"):
    """All names; changes come as `all`."""

    version: int
    full: bool = True
    services: dict[str, msgspec.Raw] = {}


class Fan(TrunkFrame, frozen=True, tag="fan"):
    """One command for many: each agent gets it with its own uuid."""

    word: str
    args: msgspec.Raw
    tasks: dict[str, str]
    """sid -> task id."""


class Close(TrunkFrame, frozen=True, tag="close", omit_defaults=True):
    sid: str
    why: str = ""
    refused: bool = False
    """The host is not welcome any more, at this relay either."""


class Settings(TrunkFrame, frozen=True, tag="settings"):
    relay: dict[str, Any]
    name: str = ""
    """For which relay; empty: whoever reads it."""


class Told(TrunkFrame, frozen=True, tag="told"):
    id: int
    ok: bool
    body: dict[str, Any]


class Ping(TrunkFrame, frozen=True, tag="ping"):
    at: float = 0.0


class Refused(TrunkFrame, frozen=True, tag="refused"):
    """Instead of a welcome, or before the other side ends it."""

    text: str = ""


Upward = RelayHello | Open | Shut | Up | Seen | State | Ask | Pong
Downward = Welcome | To | All | Names | Fan | Close | Settings | Told | Ping | Refused

decode_up: Callable[[bytes | str], Upward] = guarded(msgspec.json.Decoder(Upward).decode)
"""What a relay says. Raises msgspec.DecodeError."""
decode_down: Callable[[bytes | str], Downward] = guarded(msgspec.json.Decoder(Downward).decode)
"""What a relay is told. Raises msgspec.DecodeError."""
_encode = msgspec.json.Encoder().encode


def text(frame: msgspec.Struct) -> str:
    return _encode(frame).decode()


def owner_of(sid: str) -> str:
    """The relay whose agent it is."""
    return sid.rpartition(":")[0]
