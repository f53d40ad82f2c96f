"""What a relay must know of the frames that it passes on, and the table it keeps of each agent.

The table is what the agent reported last, so that the relay can tell all of it to a new upstream by itself:
one `full`, then the events that nobody has acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from cockpit.link.decoding import guarded
from cockpit.link.trunk_frames import MAX_CARRIED

MAX_EVENTS = 2000
MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Events kept for one agent while nobody acknowledges. With more it is sent back to its own records, on disk."""
MINE = "relay/"
"""Task ids of commands that the relay gives by itself begin so."""


class Spoken(msgspec.Struct, frozen=True, tag_field="t"):
    """An agent's frame, as far as a relay looks."""


class Hello(Spoken, frozen=True, tag="hello"):
    host: str
    uuid: str
    role: str = ""


class Full(Spoken, frozen=True, tag="full"):
    units: tuple[Raw, ...] = ()
    releases: Raw = Raw(b"[]")
    names: int = 0
    head: Raw = Raw(b"null")
    keeper_pid: int | None = None
    agent_pid: int | None = None


class UnitFrame(Spoken, frozen=True, tag="unit"):
    unit: Raw


class Gone(Spoken, frozen=True, tag="gone"):
    unit: str


class Event(Spoken, frozen=True, tag="event"):
    seq: int


class Result(Spoken, frozen=True, tag="result"):
    task: str
    ok: bool = False


class Progress(Spoken, frozen=True, tag="progress"):
    task: str


class Releases(Spoken, frozen=True, tag="releases"):
    releases: Raw


class Names(Spoken, frozen=True, tag="names"):
    version: int


class Log(Spoken, frozen=True, tag="log"):
    stream: str
    end: str | None = None


class Pong(Spoken, frozen=True, tag="pong"):
    at: float = 0.0


class Plugins(Spoken, frozen=True, tag="plugins"):
    pass


class Other(msgspec.Struct, frozen=True):
    """A frame of a kind that this version does not know: it passes as it is."""

    t: str


AnySpoken = (
    Hello | Full | UnitFrame | Gone | Event | Result | Progress | Releases | Names | Log | Pong | Plugins
)
_decode: Callable[[bytes], AnySpoken] = guarded(msgspec.json.Decoder(AnySpoken).decode)
_other = msgspec.json.Decoder(Other).decode
_KINDS = {c.__struct_config__.tag for c in AnySpoken.__args__}


def spoken(data: bytes) -> AnySpoken | Other:
    """Raises msgspec.DecodeError."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        found = _other(data)
        if found.t in _KINDS:
            raise
        return found


class _Id(msgspec.Struct):
    unit: str


class Given(msgspec.Struct, frozen=True):
    """A frame for an agent, as far as a relay looks."""

    t: str
    seq: int = 0
    task: str = ""
    word: str = ""
    args: Raw = Raw(b"{}")


class _Args(msgspec.Struct, frozen=True):
    stream: str = ""
    revision: int = 0
    digest: str = ""


unit_id = msgspec.json.Decoder(_Id).decode
given = msgspec.json.Decoder(Given).decode
_args = msgspec.json.Decoder(_Args).decode

ENDED_BY = {
    "build": ("unbuild", "build"), "exec": ("unexec", "task"), "shell": ("shell-end", "task"),
    "copy": ("copy-end", "task"), "forward": ("forward-end", "task"),
}  # fmt: skip
"""Word of a command that goes on -> the word that ends it, and how that names the task."""


class Table:
    """What one agent reported, as it said it."""

    def __init__(self) -> None:
        self.units: dict[str, bytes] = {}
        self.releases = b"[]"
        self.names = 0
        self.head = b"null"
        self.keeper_pid: int | None = None
        self.agent_pid: int | None = None
        self.plugins = b""
        """Its last `plugins` frame."""
        self.events: dict[int, bytes] = {}
        """By sequence number: frames that nobody has acknowledged."""
        self.event_bytes = 0
        self.streams: set[str] = set()
        """Log streams that were opened."""
        self.running: dict[str, dict[str, None]] = {word: {} for word in ENDED_BY}
        """Tasks that go on until somebody ends them, by their word."""
        self._heads: dict[str, bytes] = {}

    def full(self, frame: Full) -> None:
        """Everything anew. Raises msgspec.DecodeError."""
        self.units = {unit_id(u).unit: bytes(u) for u in frame.units}
        self.releases, self.names, self.head = bytes(frame.releases), frame.names, bytes(frame.head)
        self.keeper_pid, self.agent_pid = frame.keeper_pid, frame.agent_pid

    def unit(self, frame: UnitFrame) -> str:
        """Returns its id. Raises msgspec.DecodeError."""
        unit = unit_id(frame.unit).unit
        self.units[unit] = bytes(frame.unit)
        return unit

    def event(self, seq: int, data: bytes) -> bool:
        """False when more are kept than may be: the agent must tell everything from its own records."""
        self.event_bytes += len(data) - len(self.events.get(seq, b""))
        self.events[seq] = data
        return len(self.events) <= MAX_EVENTS and self.event_bytes <= MAX_EVENT_BYTES

    def acknowledged(self, seq: int) -> None:
        for number in [n for n in self.events if n <= seq]:
            self.event_bytes -= len(self.events.pop(number))

    def command(self, task: str, word: str, args: Raw) -> None:
        """A command goes to the agent: remember what it begins, ends or changes there."""
        if word in self.running:
            self.running[word][task] = None
        if word not in ("logs", "unlog", "head"):
            return
        try:
            what = _args(args)
        except msgspec.DecodeError:
            return  # the agent says what is wrong with it
        if word == "logs":
            self.streams.add(what.stream)
        elif word == "unlog":
            self.streams.discard(what.stream)
        else:
            self._heads[task] = msgspec.json.encode({"revision": what.revision, "digest": what.digest})

    def result(self, frame: Result) -> None:
        for tasks in self.running.values():
            tasks.pop(frame.task, None)
        head = self._heads.pop(frame.task, None)
        if head is not None and frame.ok:
            self.head = head

    def ends(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(task, word, args) that end what belonged to an upstream that is gone. Forgets them."""
        found: list[tuple[str, str, dict[str, Any]]] = [
            (f"{MINE}{stream}", "unlog", {"stream": stream}) for stream in sorted(self.streams)
        ]
        for word, (end, name) in ENDED_BY.items():
            found += [(f"{MINE}{task}", end, {name: task}) for task in self.running[word]]
            self.running[word].clear()
        self.streams.clear()
        self._heads.clear()
        return found

    def tell(self) -> list[bytes]:
        """The frames that say it all: one `full`, what does not fit into it, plug-ins, events."""
        units, more = list(self.units.values()), []
        if sum(map(len, units)) + len(self.releases) > MAX_CARRIED - 4096:  # probes may be long
            more = [b'{"t":"unit","unit":' + u + b"}" for u in units]
            units = [_without_probe(u) for u in units]
        full = b'{"t":"full","units":[%s],"releases":%s,"names":%d,"head":%s,"keeper_pid":%s,"agent_pid":%s}' % (
            b",".join(units), self.releases, self.names, self.head, _number(self.keeper_pid), _number(self.agent_pid),
        )  # fmt: skip
        return [full, *more, *([self.plugins] if self.plugins else []), *self.events.values()]


def _without_probe(unit: bytes) -> bytes:
    doc: dict[str, Any] = msgspec.json.decode(unit)
    return msgspec.json.encode({**doc, "probe": {}})


def _number(value: int | None) -> bytes:
    return b"null" if value is None else b"%d" % value
