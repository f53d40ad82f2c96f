"""What a relay keeps on its disk: hosts that were welcomed, the last names, revoked certificates.

With it the relay greets its agents while no controller answers. DIR/hosts.json, DIR/names.json, DIR/revoked.json.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
from msgspec import Raw

from cockpit.agent.files import write_atomic

MAX_FILE = 256 * 1024 * 1024


class Admitted(msgspec.Struct, frozen=True):
    uuid: str
    welcome: Raw
    """The frame that it was welcomed with."""


class NamesFile(msgspec.Struct, frozen=True):
    version: int
    services: dict[str, Raw]


class Delta(msgspec.Struct, frozen=True):
    """A `names` frame as agents get it."""

    version: int
    full: bool = False
    services: dict[str, Raw] = {}


delta = msgspec.json.Decoder(Delta).decode


class Memory:
    """`hosts` by name, and the merged names. What changed is told by `take`, to be written elsewhere."""

    def __init__(self) -> None:
        self.hosts: dict[str, Admitted] = {}
        self.revoked: frozenset[str] = frozenset()
        """UUIDs whose certificates count no more."""
        self.version = -1
        """Of the names; -1: none are known."""
        self._services: dict[str, bytes] = {}
        self._text = ""
        self._changed: set[str] = set()

    @classmethod
    def load(cls, directory: str) -> Memory:
        """What is damaged or missing is left out: the controller says it again."""
        made = cls()
        with contextlib.suppress(OSError, msgspec.DecodeError):
            made.hosts = msgspec.json.decode(_read(directory, "hosts.json"), type=dict[str, Admitted])
        with contextlib.suppress(OSError, msgspec.DecodeError):
            made.revoked = msgspec.json.decode(_read(directory, "revoked.json"), type=frozenset[str])
        with contextlib.suppress(OSError, msgspec.DecodeError):
            names = msgspec.json.decode(_read(directory, "names.json"), type=NamesFile)
            made.set_names(names.version, names.services)
        made._changed.clear()
        return made

    def admit(self, host: str, uuid: str, welcome: bytes) -> None:
        known = self.hosts.get(host)
        if known is None or known.uuid != uuid or bytes(known.welcome) != welcome:
            self.hosts[host] = Admitted(uuid, Raw(welcome))
            self._changed.add("hosts.json")

    def welcome(self, host: str, uuid: str) -> bytes | None:
        """The frame to welcome a host with that was here before."""
        known = self.hosts.get(host)
        return bytes(known.welcome) if known is not None and known.uuid == uuid else None

    def forget(self, host: str) -> None:
        if self.hosts.pop(host, None) is not None:
            self._changed.add("hosts.json")

    def revoke(self, uuids: frozenset[str]) -> None:
        if uuids != self.revoked:
            self.revoked = uuids
            self._changed.add("revoked.json")

    def set_names(self, version: int, services: dict[str, Raw]) -> None:
        self._services = {path: bytes(s) for path, s in services.items()}
        self._renamed(version)

    def merge_names(self, change: Delta) -> None:
        """What a `names` frame for agents says, taken as agents take it."""
        if change.full:
            self.set_names(change.version, change.services)
        elif self.version >= 0 and change.version >= self.version:
            for path, services in change.services.items():
                if bytes(services) == b"null":
                    self._services.pop(path, None)
                else:
                    self._services[path] = bytes(services)
            self._renamed(change.version)

    def _renamed(self, version: int) -> None:
        self.version = version
        self._text = ""
        self._changed.add("names.json")

    def names(self) -> str:
        """The frame with all names; empty: none are known."""
        if self.version >= 0 and not self._text:
            self._text = f'{{"t":"names","version":{self.version},"full":true,"services":{self._document()}}}'
        return self._text

    def _document(self) -> str:
        return msgspec.json.encode({path: Raw(s) for path, s in self._services.items()}).decode()

    def take(self) -> dict[str, bytes]:
        """File name -> content, of what changed since the last call."""
        found: dict[str, bytes] = {}
        for name in self._changed:
            if name == "hosts.json":
                found[name] = msgspec.json.encode(self.hosts)
            elif name == "revoked.json":
                found[name] = msgspec.json.encode(sorted(self.revoked))
            else:
                found[name] = f'{{"version":{self.version},"services":{self._document()}}}'.encode()
        self._changed.clear()
        return found


def write(directory: str, files: dict[str, bytes]) -> None:
    """Raises OSError."""
    for name, data in files.items():
        write_atomic(str(Path(directory) / name), data, 0o600)


def _read(directory: str, name: str) -> bytes:
    with (Path(directory) / name).open("rb") as f:
        return f.read(MAX_FILE)
