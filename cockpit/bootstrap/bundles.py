"""Which program a host gets: the one-file agent, or the zipapp where Python is. Reading files apart from choosing."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cockpit.bootstrap.found import Found

MAX_BUNDLE = 256 * 1024 * 1024
ONE, ZIP = "cockpit-agent", "cockpit-agent.pyz"
MACHINES = {
    3: ("i386", "i586", "i686"),
    62: ("x86_64",),
    40: ("armv6l", "armv7l"),
    183: ("aarch64",),
    243: ("riscv64",),
}
"""e_machine of an ELF file -> what `uname -m` says there."""
OLDEST = (3, 9)


class BadBundle(ValueError):
    """The file is no bundle of ours."""


class NoBundle(ValueError):
    """Nothing that is here runs on that host; the sentence says what would."""


@dataclass(frozen=True)
class Bundle:
    """One program that hosts can get."""

    data: bytes
    name: str
    """ONE or ZIP."""
    machine: int = 0
    """Of the one file; 0: any."""
    source: str = ""
    """Where it is from, for the operator."""

    @property
    def sum(self) -> str:
        return sha256(self.data).hexdigest()

    @property
    def digest(self) -> str:
        """Names its directory on the host."""
        return self.sum[:32]

    @property
    def room(self) -> int:
        """Bytes that it takes on a host, unpacked and with what the first days write."""
        return (10 if self.name == ZIP else 4) * len(self.data) + 32 * 1024 * 1024


def read(path: Path) -> Bundle:
    """Raises BadBundle, OSError."""
    if path.stat().st_size > MAX_BUNDLE:
        raise BadBundle(f"{path} is larger than any bundle")
    return of(path.read_bytes(), str(path))


def of(data: bytes, source: str) -> Bundle:
    """Raises BadBundle."""
    if data[:4] == b"\x7fELF" and data[-8:] == b"COCKPIT1":
        order = "<" if data[5] == 1 else ">"
        return Bundle(data, ONE, struct.unpack_from(order + "H", data, 18)[0], source)
    if data[:2] == b"#!" and b"PK\x05\x06" in data[-65557:] and b"bundle.json" in data:
        return Bundle(data, ZIP, 0, source)
    raise BadBundle(f"{source} is neither a cockpit-agent nor a cockpit-agent.pyz: `make agent` makes both")


def why_not(bundle: Bundle, found: Found) -> str:
    """What speaks against this bundle on this host; empty: nothing."""
    if bundle.name == ONE:
        fits = MACHINES.get(bundle.machine, ())
        if found.arch not in fits:
            return f"{bundle.source} is for {' or '.join(fits) or 'another machine'}, and this host is {found.arch}"
        return ""
    if not any(version >= OLDEST for version in found.pythons.values()):
        half = f"; {found.halves[0]} lacks a part of its standard library" if found.halves else ""
        return f"a zipapp needs Python {OLDEST[0]}.{OLDEST[1]} or newer{half}"
    if not found.openssl:
        return "a zipapp needs the `openssl` command to make its key"
    return ""


def choose(bundles: list[Bundle], found: Found) -> Bundle:
    """The first that runs there. Raises NoBundle."""
    reasons = []
    for bundle in bundles:
        why = why_not(bundle, found)
        if not why:
            return bundle
        reasons.append(why)
    hint = "make the one-file agent on such a machine (make agent) and give it with --bundle FILE"
    raise NoBundle("; ".join([*reasons, hint]))


def program(name: str, directory: str, found: Found) -> list[str]:
    """How it is started there. Raises NoBundle when the Python of a zipapp is gone."""
    path = f"{directory}/bin/current/{name}"
    if name == ONE:
        return [path]
    fits = [p for p, version in found.pythons.items() if version >= OLDEST]
    if not fits:
        raise NoBundle("the Python that ran its agent is gone: install one, or give --bundle with a one-file agent")
    return [fits[0], path]
