"""The frames an agent sends, as typed structs. The controller decodes straight into them."""

from __future__ import annotations

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


class Full(Frame, frozen=True, tag="full"):
    units: tuple[Unit, ...] = ()
    releases: tuple[str, ...] = ()
    names: int = 0
    head: dict[str, Any] | None = None
    keeper_pid: int | None = None
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


class Log(Frame, frozen=True, tag="log"):
    stream: str
    lines: tuple[tuple[int, str, str, str], ...] = ()
    dropped: int = 0
    end: str | None = None
    unit: str = ""


class Beat(Frame, frozen=True, tag="beat"):
    at: float = 0.0


class Pong(Frame, frozen=True, tag="pong"):
    at: float = 0.0


AnyFrame = (
    Hello | Full | UnitFrame | Gone | Event | Result | Progress | Releases | Names | Log | Beat | Pong
)

decode = msgspec.json.Decoder(AnyFrame).decode
"""bytes or str -> frame. Raises msgspec.DecodeError or msgspec.ValidationError."""
