"""The frames an agent sends, as typed structs. The controller decodes straight into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cockpit.model.actual import Unit


class Frame(msgspec.Struct, frozen=True, tag_field="t"):
    """Base of all; the field `t` names the kind."""


class Hello(Frame, frozen=True, tag="hello"):
    host: str
    uuid: str
    boot_id: str = ""
    agent_pid: int | None = None
    keeper_pid: int | None = None
    version: str = ""
    protocol: int = 1
    role: str = ""
    """`candidate`: a new agent beside the serving one, to be tested first. A relay says `retiring` of an old one."""
    replaces: int | None = None
    """Pid of the agent that a candidate would replace."""
    keeper_version: str = ""
    missing: tuple[str, ...] = ()
    """What is not available on this host, in sentences (without an agent)."""
    note: str = ""
    """Why this agent serves and not the one that was asked for; empty otherwise."""


class Full(Frame, frozen=True, tag="full"):
    units: tuple[Unit, ...] = ()
    releases: tuple[str, ...] = ()
    names: int = 0
    head: dict[str, Any] | None = None
    keeper_pid: int | None = None
    keeper_version: str = ""
    agent_pid: int | None = None


class UnitFrame(Frame, frozen=True, tag="unit"):
    unit: Unit


class Gone(Frame, frozen=True, tag="gone"):
    unit: str


class Event(Frame, frozen=True, tag="event"):
    seq: int
    event: dict[str, Any]


class Result(Frame, frozen=True, tag="result"):
    task: str
    ok: bool
    data: dict[str, Any] = {}
    code: str = ""
    text: str = ""


class Progress(Frame, frozen=True, tag="progress"):
    task: str
    data: dict[str, Any] = {}


class Releases(Frame, frozen=True, tag="releases"):
    releases: tuple[str, ...]


class Names(Frame, frozen=True, tag="names"):
    version: int


class LogEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line. Agents that were not asked for times, or know none, send the first four."""

    run: int
    stream: str
    process: str
    text: str
    time: float = 0.0
    mark: str = ""
    """`c`: context only; `g`: context, and lines before it are left out."""


class Log(Frame, frozen=True, tag="log"):
    stream: str
    lines: tuple[LogEntry, ...] = ()
    dropped: int = 0
    end: str | None = None
    unit: str = ""
    caught: bool = False
    """All that is stored was sent; what follows is new."""
    left: int = 0
    """Stored lines that would fit and were left out at the beginning."""
    note: str = ""
    """A sentence for the reader: a search that was not finished, a run that begins."""


class Identity(Frame, frozen=True, tag="identity"):
    """The host's certificate, as it sees it; `text` says what is wrong with it."""

    serial: str = ""
    expires: float = 0.0
    text: str = ""


class Pong(Frame, frozen=True, tag="pong"):
    at: float = 0.0


class Tested(Frame, frozen=True, tag="tested"):
    """A candidate has looked at itself."""

    ok: bool
    text: str = ""


class Eof(Frame, frozen=True, tag="eof"):
    """A retired agent has nothing more to say."""


class Bye(Frame, frozen=True, tag="bye"):
    """The host goes down; it says why."""

    why: str = ""


class Renew(Frame, frozen=True, tag="renew"):
    csr: str


class Plugin(msgspec.Struct, frozen=True):
    name: str
    version: str = ""
    sha256: str = ""
    words: tuple[str, ...] = ()
    state: str = ""
    text: str = ""
    about: str = ""
    pid: int | None = None
    leaving: int = 0
    """Processes of versions before this one that finish what they began."""


class Plugins(Frame, frozen=True, tag="plugins"):
    plugins: tuple[Plugin, ...] = ()


class PluginData(Frame, frozen=True, tag="plugin"):
    name: str
    data: dict[str, Any] = {}


class Unknown(msgspec.Struct, frozen=True):
    """A frame of a kind that this version does not know."""

    t: str
    raw: bytes = b""


Known = (
    Hello | Full | UnitFrame | Gone | Event | Result | Progress | Releases | Names | Log | Pong | Tested | Eof
    | Bye | Renew | Identity | Plugins | PluginData
)
AnyFrame = Known | Unknown

_decode: Callable[[bytes | str], Known] = msgspec.json.Decoder(Known).decode
_unknown = msgspec.json.Decoder(Unknown).decode
_KINDS = {c.__struct_config__.tag for c in Known.__args__}


def decode(data: bytes | str) -> AnyFrame:
    """Raises msgspec.DecodeError (or its subclass ValidationError) for what is no frame, or a damaged one."""
    try:
        return _decode(data)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
    except msgspec.ValidationError:
        kind = _unknown(data).t
        if kind in _KINDS:
            raise
        return Unknown(kind, data.encode() if isinstance(data, str) else bytes(data))
