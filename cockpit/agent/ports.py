"""Which port numbers an instance gets on this host."""

from __future__ import annotations

import errno
import socket
import zlib
from typing import Callable, Collection, Dict, Mapping, Tuple

Bindable = Callable[[int], bool]


class PortError(Exception):
    """A port is taken, or none is left; the text says which."""


def choose(
    wanted: Mapping[str, int],
    *,
    instance: str,
    last: Mapping[str, int],
    known: Collection[int],
    fixed_by: Mapping[int, str],
    port_range: Tuple[int, int],
    bindable: Bindable,
) -> Dict[str, int]:
    """Resolve `wanted` (name -> number, 0 is dynamic). Raises PortError.

    `last`: what the instance had on this host and nobody uses now; it gets these again.
    `known`: ports of every other unit here, alive or not. `fixed_by`: port -> unit, of alive units of
    other instances. Otherwise the search begins at a place of the instance's own, so that a port that
    was just given up is seldom somebody else's at once.
    """
    chosen: Dict[str, int] = {}
    for name, number in wanted.items():
        if number:
            if number in fixed_by:
                raise PortError(f"port {number} ({name}) is used by {fixed_by[number]}")
            if number not in known and not bindable(number):
                raise PortError(f"port {number} ({name}) is used by another program on this host")
            chosen[name] = number
    taken = set(known) | set(chosen.values())
    first, end = port_range
    size = max(0, end - first + 1)
    for name, number in wanted.items():
        if number:
            continue
        begin = zlib.crc32(f"{instance}|{name}".encode()) % size if size else 0
        tries = [first + (begin + n) % size for n in range(size)]
        if name in last:
            tries.insert(0, last[name])
        for port in tries:
            if port not in taken and bindable(port):
                chosen[name] = port
                taken.add(port)
                break
        else:
            raise PortError(f"no free port for {name}: all of {first}-{end} are in use")
    return {name: chosen[name] for name in wanted}


def bindable_at(address: str) -> Bindable:
    """Says whether a listener could be opened at `address`; only `in use` counts as no."""

    def check(port: int) -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((address, port))
                s.listen(1)
            except OSError as e:
                return e.errno != errno.EADDRINUSE
        return True

    return check
