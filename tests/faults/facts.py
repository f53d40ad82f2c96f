"""What a run of faults knows: what processes said themselves, what the runner did, and what Cockpit recorded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Doc = dict[str, Any]


@dataclass
class Life:
    """One service process, by its own words (its file is none of ours). Times are Unix seconds by the true clock."""

    host: str
    unit: str
    instance: str
    run: int
    pid: int
    ticks: int
    """Start time in clock ticks since boot: with the pid, who it is."""
    keeper: int
    """Pid of its parent when it said its first word: no keeper, when that died just before."""
    at: float
    told_by: int = 0
    """Pid of who sent it SIGTERM; 0: nobody."""
    told_at: float = 0.0
    code: int | None = None
    signal: int | None = None
    """How it said that it is going to end, just before."""
    ended: float = 0.0
    alive: bool = False
    """Does it run at the end?"""


@dataclass(frozen=True)
class Record:
    """An exit as a keeper wrote it down."""

    host: str
    seq: int
    unit: str
    run: int
    code: int | None
    signal: int | None
    reason: str
    rejected: bool = False
    """It is said that it never ran."""


@dataclass(frozen=True)
class Kill:
    """SIGKILL from the runner."""

    what: str
    """service, agent, keeper, relay, controller, peer, origin."""
    host: str
    pid: int
    at: float


@dataclass(frozen=True)
class Window:
    """A fault that lasted, and what of a client's requests it excuses."""

    kind: str
    host: str
    """The host whose clients, or endpoints, it concerns."""
    begin: float
    end: float
    why: str
    clients: bool = True
    """Requests of this host's clients are excused; else only those that the endpoint in `instance` got."""
    instance: str = ""


@dataclass(frozen=True)
class Request:
    """A request that failed."""

    host: str
    """Of the client."""
    begin: float
    end: float
    instance: str
    """Whose endpoint was asked; empty: there was none."""
    why: str


@dataclass(frozen=True)
class Done:
    """A step of an action that was at least begun."""

    action: str
    kind: str
    instance: str
    host: str
    began: float


@dataclass(frozen=True)
class Ended:
    """An action as it is at the end."""

    id: str
    title: str
    state: str
    note: str
    late: bool = False
    """It had not come to an end within its time."""


@dataclass
class Facts:
    lives: list[Life] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    keepers: set[tuple[str, int]] = field(default_factory=set)
    """(host, pid) of every keeper that was ever seen."""
    kills: list[Kill] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    requests: int = 0
    failed: list[Request] = field(default_factory=list)
    steps: list[Done] = field(default_factory=list)
    actions: list[Ended] = field(default_factory=list)
    journal: str = ""
    """Why the controller's journal does not verify; empty: it does."""
    rest: list[str] = field(default_factory=list)
    """Whatever else is not as it must be: not calm, a crash of one of our programs, unacknowledged events."""


def lives(path: Path) -> list[Life]:
    """What the processes wrote, in order. Raises ValueError for a line that is none: then nothing can be told."""
    found: dict[tuple[int, int], Life] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        doc = json.loads(line)
        key = (doc["pid"], doc["ticks"])
        if doc["what"] == "start":
            found[key] = Life(
                doc["host"], doc["unit"], doc["instance"], doc["run"], doc["pid"], doc["ticks"], doc["ppid"],
                doc["at"],
            )  # fmt: skip
        elif doc["what"] == "term":
            found[key].told_by, found[key].told_at = doc["by"], doc["at"]
        elif doc["what"] == "end":
            found[key].code, found[key].signal, found[key].ended = doc["code"], doc["signal"], doc["at"]
    for life in found.values():
        life.alive = runs(life.pid, life.ticks)
    return list(found.values())


def runs(pid: int, ticks: int) -> bool:
    """Is this process there, and no zombie?"""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(fields[19]) == ticks and fields[0] not in (b"Z", b"X")


def records(host: str, lines: Iterable[bytes]) -> list[Record]:
    """Exits in the lines of a keeper's journal; one that stands there twice (a rewrite) counts once."""
    found: dict[int, Record] = {}
    for line in lines:
        try:
            doc = json.loads(line)
        except ValueError:
            continue  # torn by a kill -9; the keeper cuts it off
        if doc.get("event") in ("exit", "rejected") and doc.get("exit"):
            e = doc["exit"]
            found[doc["seq"]] = Record(
                host, doc["seq"], doc["unit"], e["run"], e["code"], e["signal"], e["reason"],
                doc["event"] == "rejected",
            )  # fmt: skip
    return [found[seq] for seq in sorted(found)]


class Tap:
    """Reads a keeper's journal as it grows, so that nothing is missed when it is rewritten without what was
    acknowledged: the old file is read to its end before the new one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self._file: Any = None
        self._held = b""

    def look(self) -> None:
        while True:
            if self._file is None:
                try:
                    self._file = self.path.open("rb")
                except OSError:
                    return
            self._read()
            try:
                same = self.path.stat().st_ino == _inode(self._file)
            except OSError:
                return
            if same:
                return
            self._read()
            self._file.close()
            self._file, self._held = None, b""

    def _read(self) -> None:
        # a torn line that a new keeper cut off again: the file is shorter than what was read
        if _size(self._file) < self._file.tell():
            self._file.seek(0)
            self._held = b""
        *whole, self._held = (self._held + self._file.read()).split(b"\n")
        self.lines += whole

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _inode(file: Any) -> int:
    return os.fstat(file.fileno()).st_ino


def _size(file: Any) -> int:
    return os.fstat(file.fileno()).st_size
