"""The keeper's socket, and a client that blocks: for commands on the host and for tests."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

MAX_PATH = 107
"""Bytes of a socket's path in sockaddr_un."""
Doc = dict[str, Any]


class KeeperError(Exception):
    """The keeper refused. `code` is bad, exists, missing, busy, exec or altered."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Near:
    """A socket's path in a form that fits into an address, however long the directory's is."""

    def __init__(self, directory: str | os.PathLike[str], name: str = "keeper.sock") -> None:
        self._path = os.path.join(directory, name)
        self._fd = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= MAX_PATH:
            return self._path
        self._fd = os.open(os.path.dirname(self._path), os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}/{os.path.basename(self._path)}"

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def connected(directory: str | os.PathLike[str], timeout: float | None = None) -> socket.socket:
    """To the keeper of a host directory. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        with Near(directory) as path:
            sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def answers(directory: str | os.PathLike[str]) -> bool:
    """Does a keeper accept connections?"""
    try:
        connected(directory, 2.0).close()
    except OSError:
        return False
    return True


class KeeperClient:
    """One connection. Every method raises KeeperError when refused, ConnectionError (or its kin
    FileNotFoundError) when there is no keeper, TimeoutError when it does not answer in time."""

    def __init__(self, directory: str | os.PathLike[str], timeout: float = 30.0) -> None:
        self.timeout = timeout
        self.events: deque[Doc] = deque()
        """Pushed and not yet taken."""
        self._last = 0
        self._held = b""
        self._replies: dict[object, Doc] = {}
        self._sock = connected(directory)

    def __enter__(self) -> KeeperClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def call(self, op: str, **args: object) -> Doc:
        """One operation, and its answer."""
        return self.result(self.send(op, **args))

    def send(self, op: str, **args: object) -> int:
        """Sends a request without waiting for the answer, which `result` gives."""
        self._last += 1
        self._sock.sendall(json.dumps({"id": self._last, "op": op, **args}).encode() + b"\n")
        return self._last

    def result(self, id: int, timeout: float | None = None) -> Doc:
        """The answer to an earlier `send`."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while id not in self._replies:
            if not self._read(deadline):
                raise TimeoutError("the keeper does not answer")
        reply = self._replies.pop(id)
        if not reply.get("ok"):
            raise KeeperError(str(reply.get("code")), str(reply.get("text")))
        return reply

    def units(self) -> list[Doc]:
        """The records of all units."""
        found: list[Doc] = self.call("list")["units"]
        return found

    def unit(self, unit: str) -> Doc:
        """The record of one unit."""
        record: Doc = self.call("list", unit=unit)["units"][0]
        return record

    def event(self, wanted: Callable[[Doc], bool], timeout: float = 10.0) -> Doc:
        """The next pushed event for which `wanted` is true; those before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            while self.events:
                found = self.events.popleft()
                if wanted(found):
                    return found
            if not self._read(deadline):
                raise TimeoutError("no such event")

    def _read(self, deadline: float) -> bool:
        """Reads what there is. False when nothing came until the deadline."""
        ready, _, _ = select.select([self._sock], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        data = self._sock.recv(1 << 18)
        if not data:
            raise ConnectionResetError("the keeper closed the connection")
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            doc = json.loads(line)
            if "id" in doc:
                self._replies[doc["id"]] = doc
            else:
                self.events.append(doc)
        return True
