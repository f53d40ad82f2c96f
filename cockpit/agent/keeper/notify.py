"""sd_notify: a datagram socket per unit that programs tell their readiness to.

Abstract sockets, so that a service that runs as another user reaches its own without a way into the
host directory; the sender's uid is checked instead, and the name is random.
"""

from __future__ import annotations

import os
import socket
import struct

MAX_DATAGRAM = 8192
MAX_STATUS = 400
CREDENTIALS = struct.Struct("3i")
SO_PASSCRED = 16


def new_name() -> str:
    """A value for NOTIFY_SOCKET (`@`: abstract)."""
    return "@cockpit-" + os.urandom(12).hex()


class Notify:
    """The receiving end. Raises OSError when the name is taken."""

    def __init__(self, name: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
            self.sock.bind("\0" + name[1:])
        except OSError:
            self.sock.close()
            raise

    @classmethod
    def of(cls, fd: int) -> Notify:
        """One that an earlier version of the keeper has opened, with what waits in it."""
        new = cls.__new__(cls)
        new.sock = socket.socket(fileno=fd)
        return new

    @property
    def fd(self) -> int:
        return self.sock.fileno()

    def read(self, uids: tuple[int, ...], most: int = 64) -> list[dict[str, str]]:
        """The messages that wait, from these users only; at most `most`, the rest next time."""
        found = []
        for _ in range(most):
            try:
                data, ancillary, flags, _ = self.sock.recvmsg(
                    MAX_DATAGRAM, socket.CMSG_SPACE(CREDENTIALS.size) + socket.CMSG_SPACE(64)
                )
            except OSError:
                break
            uid = -1
            for level, kind, content in ancillary:
                if level != socket.SOL_SOCKET:
                    continue
                if kind == socket.SCM_RIGHTS:  # nobody asked for descriptors
                    for n in range(len(content) // 4):
                        os.close(struct.unpack_from("i", content, 4 * n)[0])
                elif kind == 2 and len(content) >= CREDENTIALS.size:  # SCM_CREDENTIALS
                    uid = CREDENTIALS.unpack_from(content)[1]
            if uid in uids and not flags & socket.MSG_TRUNC:
                found.append(parse(data))
        return found

    def close(self) -> None:
        self.sock.close()


def parse(data: bytes) -> dict[str, str]:
    """`READY=1\\nSTATUS=..` as a dictionary; lines that are no assignment are left out."""
    out = {}
    for line in data.decode(errors="replace").split("\n"):
        key, equals, value = line.partition("=")
        if equals and key:
            out[key] = value
    return out
