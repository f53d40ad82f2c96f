"""What a look at a host showed. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_LOOK = 256 * 1024


class Unclear(ValueError):
    """The answer of the host is not whole."""


@dataclass(frozen=True)
class Found:
    uid: int
    user: str = ""
    arch: str = ""
    system: str = "Linux"
    libc: str = ""
    """`glibc 2.36`, `musl`, or empty."""
    init: str = ""
    """Name of process 1."""
    systemd: int = 0
    """Its version, when it is process 1; 0: it is not."""
    pythons: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Path -> version, of those that have all that an agent imports."""
    halves: tuple[str, ...] = ()
    """Pythons that lack a part of their standard library."""
    openssl: bool = False
    lacks: tuple[str, ...] = ()
    directory: str = ""
    free: int = 0
    """Bytes where the directory is, or will be."""
    denied: str = ""
    """The directory that the login may not write to."""
    owner: int | None = None
    """Of the directory, where it exists."""
    identity: Mapping[str, Any] | None = None
    """host.json of an agent that joined."""
    broken_identity: bool = False
    current: str = ""
    """Digest that bin/current names."""
    sum: str = ""
    """SHA-256 of the program in it."""
    program: str = ""
    """Its file name."""
    records: bool = False
    """Cockpit has acted here by SSH: its records lie in the directory."""
    agents: tuple[int, ...] = ()
    keepers: tuple[int, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    """Unit -> SHA-256 of its file."""
    enabled: frozenset[str] = frozenset()
    active: frozenset[str] = frozenset()
    elsewhere: str = ""
    """The units are those of this other host directory: of another cluster, or of another host on this machine."""
    crontab: bool = False
    cron: str = ""
    """Name of the cron daemon that runs."""
    cronline: str = ""

    def sentence(self) -> str:
        """For the operator: the machine in one line."""
        libc = self.libc or "no libc known"
        init = f"systemd {self.systemd}" if self.systemd else f"init {self.init or 'unknown'}"
        python = ", ".join(f"Python {a}.{b}" for a, b in sorted(set(self.pythons.values()))) or "no Python"
        free = f"{self.free / (1 << 20):.0f} MiB free"
        return f"{self.user or self.uid}, {self.arch}, {libc}, {init}, {python}, {free}"


def parse(text: str) -> Found:
    """Output of scripts.LOOK. Raises Unclear."""
    facts: dict[str, list[str]] = {}
    for line in text[:MAX_LOOK].splitlines():
        name, tab, value = line.partition("\t")
        if tab:
            facts.setdefault(name, []).append(value)

    def one(name: str) -> str:
        return facts.get(name, [""])[0]

    if "end" not in facts or not one("uid").isdigit():
        raise Unclear("its answer to the first look is cut off")
    pythons = {}
    for each in facts.get("python", []):
        path, _, version = each.rpartition(" ")
        major, _, minor = version.partition(".")
        if path.startswith("/") and major.isdigit() and minor.isdigit():
            pythons[path] = (int(major), int(minor))
    identity, broken = None, False
    if "identity" in facts:
        try:
            identity = json.loads(one("identity"))
        except ValueError:
            broken = True
        if not isinstance(identity, dict) or not all(
            isinstance(identity.get(k), str) for k in ("name", "uuid", "cluster")
        ):
            identity, broken = None, True
    sum, _, program = one("sum").partition(" ")
    return Found(
        uid=int(one("uid")), user=one("user"), arch=one("arch"), system=one("system"), libc=one("libc"),
        init=one("init"), systemd=_number(one("systemd")), pythons=pythons,
        halves=tuple(facts.get("halfpython", [])), openssl="openssl" in facts, lacks=tuple(one("lacks").split()),
        directory=one("dir"), free=_number(one("free")) * 1024, denied=one("denied"),
        owner=_number(one("owner")) if one("owner").isdigit() else None, identity=identity, broken_identity=broken,
        current=one("current"), sum=sum, program=program, records="records" in facts,
        agents=_numbers(facts.get("agent")), keepers=_numbers(facts.get("keeper")),
        units=dict(u.split(" ", 1) for u in facts.get("unit", []) if " " in u),
        elsewhere=one("elsewhere"),
        enabled=frozenset(facts.get("enabled", [])), active=frozenset(facts.get("active", [])),
        crontab="crontab" in facts, cron=one("cron"), cronline=one("cronline"),
    )  # fmt: skip


def _number(text: str) -> int:
    digits = text.split(".")[0].split("-")[0].split("~")[0]
    return int(digits) if digits.isdigit() else 0


def _numbers(texts: list[str] | None) -> tuple[int, ...]:
    return tuple(int(t) for t in texts or [] if t.isdigit())
