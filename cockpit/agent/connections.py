"""Established TCP connections of this host's services, from /proc/net/tcp and tcp6."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from typing import Collection, Dict, Iterable, Iterator, Tuple

ESTABLISHED = b"01"
FILES = ("/proc/net/tcp", "/proc/net/tcp6")
Place = Tuple[str, int]


def established(lines: Iterable[bytes], ports: Collection[int]) -> Iterator[Tuple[str, int, int]]:
    """(local address, local port, remote port) of the connections whose local port is in `ports`."""
    for line in lines:
        fields = line.split(None, 4)
        if len(fields) < 4 or fields[3] != ESTABLISHED:
            continue
        local, _, port = fields[1].partition(b":")
        number = int(port, 16)
        if number in ports:
            yield _address(local), number, int(fields[2].partition(b":")[2], 16)


def _address(text: bytes) -> str:
    """The kernel prints 32-bit words in the machine's byte order."""
    raw = bytes.fromhex(text.decode())
    if sys.byteorder == "little":
        raw = b"".join(struct.pack(">I", word) for word in struct.unpack(f"<{len(raw) // 4}I", raw))
    if len(raw) == 4:
        return socket.inet_ntoa(raw)
    if raw[:12] == b"\0" * 10 + b"\xff\xff":
        return socket.inet_ntoa(raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def count(address: str, ports: Collection[int], ours: Collection[int] = ()) -> Dict[int, int]:
    """Port -> established connections, all ports of all units in one reading.

    `ours`: local ports of our own health checks, which do not count. Several hosts may share one
    machine when their addresses are loopback ones: then only the exact address counts. Elsewhere any
    address of this machine does (a local proxy connects to 127.0.0.1).
    """
    found = {port: 0 for port in ports}
    if not found:
        return found
    exact = _loopback(address)
    for path in FILES:
        try:
            with open(path, "rb") as f:
                for local, port, remote in established(f, found):
                    if remote not in ours and (not exact or local == address):
                        found[port] += 1
        except FileNotFoundError:
            continue
    return found


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
