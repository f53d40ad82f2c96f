"""The naming side of an agent's socket, as docs/protocols.md says, for tests of programs that ask it."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

from tests.helpers import PATIENCE


def endpoint(
    address: str, port: int, state: str = "ready", instance: str = "", **attributes: str
) -> dict[str, Any]:
    return {
        "address": address, "port": port, "name": "http", "state": state,
        "instance": instance or f"s/{port}", "attributes": attributes,
    }  # fmt: skip


class FakeAgent:
    """Answers resolve and watch; `set` publishes. `stop` cuts everybody off, `start` comes back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = 0
        self.services: dict[str, list[dict[str, Any]]] = {}
        self.refuse_unknown = True
        self.ambiguous: set[str] = set()
        self.asked: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._connections: dict[socket.socket, dict[int, list[str]]] = {}
        self._threads: list[threading.Thread] = []
        self.start()

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(20)
        self._thread(self._accept, self._listener)

    def stop(self) -> None:
        assert self._listener is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._threads.clear()
        self.path.unlink(missing_ok=True)

    def set(self, name: str, *endpoints: dict[str, Any]) -> None:
        with self._lock:
            self.version += 1
            self.services[name] = list(endpoints)
            for connection, watches in self._connections.items():
                for id, names in watches.items():
                    if any(self._path(n) == name for n in names):
                        self._send(connection, self._push(id, [name]))

    @property
    def connected(self) -> int:
        with self._lock:
            return len(self._connections)

    def raw(self, data: bytes) -> None:
        """The same bytes to everybody."""
        with self._lock:
            for connection in self._connections:
                connection.sendall(data)

    def _thread(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections[connection] = {}
            self._thread(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as lines:
                for line in lines:
                    with self._lock:
                        self._answer(connection, json.loads(line))
        except OSError:
            pass
        with self._lock:
            del self._connections[connection]
            connection.close()

    def _answer(self, connection: socket.socket, ask: dict[str, Any]) -> None:
        self.asked.append(ask)
        names = ask["names"] if ask["op"] == "watch" else [ask["name"]]
        paths = [self._path(n) for n in names]
        if None in paths and (self.refuse_unknown or ask["op"] == "resolve"):
            error = {"id": ask["id"], "ok": False, "code": "missing", "text": f"no {names[0]}"}
            self._send(connection, error)
        elif ask["op"] == "watch":
            self._connections[connection][ask["id"]] = names
            self._send(connection, {"id": ask["id"], "ok": True})
            self._send(connection, self._push(ask["id"], [p for p in paths if p]))
        else:
            found = self.services[str(paths[0])]
            answer = {"id": ask["id"], "ok": True, "version": self.version, "endpoints": found}
            self._send(connection, answer)

    def _push(self, id: int, paths: list[str]) -> dict[str, Any]:
        return {"watch": id, "version": self.version, "services": {p: self.services[p] for p in paths}}

    def _path(self, name: str) -> str | None:
        if name in self.ambiguous:
            return None
        return next((p for p in self.services if p == name or p.endswith(f".{name}")), None)

    @staticmethod
    def _send(connection: socket.socket, message: dict[str, Any]) -> None:
        try:
            connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass
