"""Which port of an instance is meant, and on which address of this host its processes listen there."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Any, Dict, Iterable, Iterator, List, Set, Tuple

LISTEN = b"0A"
FILES = ("/proc/net/tcp", "/proc/net/tcp6")
MARK = "COCKPIT_RUN_MARK"
MAX_ENVIRON = 256 * 1024
ANY = {"0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}
Place = Tuple[str, int]


class NotOurs(Exception):
    """A sentence for the person who asked."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def find(units: Dict[str, Any], instance: str, unit: str, port: str) -> "Tuple[int, List[str]]":
    """The number of the port and the addresses to try, the likeliest first.

    `units`: what the agent says of its units. `unit` is the one that serves, as far as the controller knows. `port`:
    a declared name, a number, or empty for the only one. Only what is declared, or what a process of the instance
    listens on, is a port of it. Raises NotOurs.
    """
    facts, id = _unit(units, instance, unit)
    declared: Dict[str, int] = facts.get("ports") or {}
    heard = listening(_pids(facts, ()))
    number = named(declared, port)
    if number is None or not any(n == number for _, n in heard):
        heard |= listening(_pids(facts, marked(id)))
    if number is None:
        number = unnamed(instance, port, declared, heard)
    found = [address for address, n in heard if n == number]
    return number, addresses(found, str(facts.get("address") or ""))


def addresses(found: Iterable[str], own: str) -> List[str]:
    """Where to connect to: the host's own address before loopback before others. Nothing is seen to listen (another
    user's process, a container): the host's own, then loopback. Pure."""
    places: Dict[str, None] = {}
    for address in sorted(found, key=lambda a: (a != own, a not in ANY, not a.startswith("127."), a)):
        places.update(dict.fromkeys(ANY.get(address, (address,))))
    if not places:
        places = dict.fromkeys([own] if own else [])
        if not own.startswith("127."):
            places["127.0.0.1"] = None
    return list(places)


def _unit(units: Dict[str, Any], instance: str, unit: str) -> "Tuple[Dict[str, Any], str]":
    mine = {id: facts for id, facts in units.items() if facts.get("instance") == instance}
    if not mine:
        raise NotOurs("missing", f"nothing of {instance} is on this host")
    if unit in mine:
        return mine[unit], unit
    id = max(mine, key=lambda u: (bool(mine[u].get("pids")), int(u.rpartition(":")[2])))
    return mine[id], id


def named(declared: Dict[str, int], port: str) -> "int | None":
    """Its number when it is declared. Pure."""
    if port in declared:
        return declared[port]
    if not port and len(declared) == 1:
        return next(iter(declared.values()))
    return int(port) if port.isdigit() and int(port) in declared.values() else None


def unnamed(instance: str, port: str, declared: Dict[str, int], heard: Set[Place]) -> int:
    """Of a port that is not declared: its number when the instance listens there. Pure; raises NotOurs."""
    numbers = sorted({n for _, n in heard})
    if port.isdigit() and int(port) in numbers:
        return int(port)
    if not port and not declared and len(numbers) == 1:
        return numbers[0]
    known = [f"{name} {number}" for name, number in sorted(declared.items())]
    known += [str(n) for n in numbers if n not in declared.values()]
    there = f"it has {', '.join(known[:20])}" if known else "it has none: none is declared and nothing listens"
    if not port:
        raise NotOurs("bad", f"{instance}: say which port; {there}")
    raise NotOurs("bad", f"{port} is no port of {instance}; {there}")


# what listens


def place(text: bytes) -> Place:
    """`0100007F:1F90` as address and port; the kernel prints 32-bit words in the machine's byte order."""
    words, _, port = text.partition(b":")
    raw = bytes.fromhex(words.decode())
    if sys.byteorder == "little":
        raw = b"".join(struct.pack(">I", word) for word in struct.unpack(f"<{len(raw) // 4}I", raw))
    if len(raw) == 16 and raw[:12] == b"\0" * 10 + b"\xff\xff":
        raw = raw[12:]
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw), int(port, 16)


def doors(lines: Iterable[bytes]) -> Iterator[Tuple[str, Place]]:
    """Inode and place of every listening socket in /proc/net/tcp."""
    for line in lines:
        if b" 0A " not in line:  # most are connections
            continue
        part = line.split(None, 10)
        if len(part) >= 10 and part[3] == LISTEN:
            yield part[9].decode(), place(part[1])


def listening(pids: Iterable[int]) -> Set[Place]:
    """Where these processes listen, as far as we may look."""
    by_inode: Dict[str, Place] = {}
    for path in FILES:
        try:
            with open(path, "rb") as f:
                next(f, None)
                by_inode.update(doors(f))
        except OSError:
            continue
    found: Set[Place] = set()
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in by_inode:
                found.add(by_inode[target[8:-1]])
    return found


def _pids(facts: Dict[str, Any], more: Iterable[int]) -> Set[int]:
    return {*map(int, (facts.get("pids") or {}).values()), *more}


def marked(unit: str) -> Set[int]:
    """Every process of a unit, also children of children."""
    wanted = f"\0{MARK}={unit}\0".encode()
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as f:
                if wanted in b"\0" + f.read(MAX_ENVIRON) + b"\0":
                    found.add(int(name))
        except OSError:
            continue
    return found
