"""What the readers of inventories find, whatever the source: machines, programs on them, remarks."""

from __future__ import annotations

import msgspec

from cockpit.model.topology import Service

MOST_MACHINES = 20_000
MOST_BYTES = 64 * 1024 * 1024
"""Of one source file or answer."""

SIGNALS = {
    "1": "HUP", "2": "INT", "3": "QUIT", "6": "ABRT", "9": "KILL", "10": "USR1", "12": "USR2", "13": "PIPE",
    "14": "ALRM", "15": "TERM", "18": "CONT", "28": "WINCH", "30": "PWR",
}  # fmt: skip
"""Numbers that a supervisor's file may have for a signal's name."""


class BadSource(Exception):
    """A source cannot be read at all; the sentence says where and why."""


class Place(msgspec.Struct, frozen=True, order=True):
    """Where something stands in its source. Line 0: the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Remark(msgspec.Struct, frozen=True, order=True):
    """Something that was not understood, or was left out on purpose."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One host of a source. Nothing here is checked yet but secrets, which never come in."""

    name: str
    place: Place
    address: str = ""
    """A name or an IP address; empty: `name`."""
    target: str = ""
    """What an SSH client is to be told, where that is not `address`: an alias of ssh_config."""
    port: int = 22
    user: str = ""
    jump: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    region: str = ""
    local: bool = False
    """It is the machine where this runs."""
    notes: tuple[str, ...] = ()


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """Something that runs on a machine under another runtime."""

    path: tuple[str, ...]
    """Names of the tree, the service's last; not yet made fit."""
    machine: str
    """`Machine.name`."""
    place: Place
    service: Service
    """Without instances."""
    slots: int = 1
    """So many instances of it run there; 0: it is known there, and stopped."""
    notes: tuple[str, ...] = ()


class Found(msgspec.Struct, kw_only=True):
    """All of one source."""

    title: str
    """What was read: `Ansible inventory hosts.ini`."""
    machines: list[Machine] = []
    programs: list[Program] = []
    remarks: list[Remark] = []

    def remark(self, place: Place, text: str) -> None:
        self.remarks.append(Remark(place, text))


def braces(text: str) -> str:
    """As a template that yields the text: `{` begins a variable in commands and environments."""
    return text.replace("{", "{{")
