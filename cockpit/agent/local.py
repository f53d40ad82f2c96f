"""DIR/agent.sock: programs on this host ask for names. Read-only, so that any user may connect."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import Any, Dict, List, Optional, Set

from cockpit.agent.keeper_client import Near
from cockpit.agent.names import Names, UnknownName
from cockpit.agent.waiting import within

MAX_REQUEST = 64 * 1024
MAX_CLIENTS = 512
MAX_NAMES = 1000
SLOW = 10.0
"""Seconds after which a watcher that does not read is cut off."""


class _Watcher:
    """One connection; what it watches, and whether it has to be told."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.watches: Dict[int, List[str]] = {}
        self.dirty: Set[int] = set()
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()


class LocalSocket:
    """Serves `resolve` and `watch`. A push is composed when it is sent: a slow reader gets the latest."""

    def __init__(self, host_dir: str, names: Names) -> None:
        self._host_dir = host_dir
        self._names = names
        self._server: Optional[asyncio.AbstractServer] = None
        self._clients: Set[_Watcher] = set()
        self._tasks: "Set[asyncio.Task[None]]" = set()

    async def start(self) -> None:
        with Near(self._host_dir, "agent.sock") as path:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(path)
            os.chmod(path, 0o666)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MAX_REQUEST)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for client in list(self._clients):
            client.writer.close()
        for task in list(self._tasks):
            task.cancel()

    def publish(self, changed: List[str]) -> None:
        """Tell watchers. An unknown name may have become known: each watch is looked at by its names."""
        for client in self._clients:
            for id, names in client.watches.items():
                if any(_touches(name, changed) for name in names):
                    client.dirty.add(id)
                    client.idle.clear()
                    client.wake.set()

    async def flushed(self, timeout: float) -> None:
        """Wait until every watcher was sent what it watches, at most `timeout` seconds."""
        waiting = [asyncio.ensure_future(c.idle.wait()) for c in self._clients if not c.idle.is_set()]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=timeout)
            for task in late:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            writer.close()
            return
        client = _Watcher(writer)
        self._clients.add(client)
        pusher = asyncio.ensure_future(self._push(client))
        self._tasks.add(pusher)
        try:
            while True:
                line = await reader.readline()
                if not line:
                    break
                await _send(writer, self._answer(client, line))
        except (OSError, ValueError, asyncio.TimeoutError):
            pass  # too long a line, or gone
        finally:
            pusher.cancel()
            self._tasks.discard(pusher)
            self._clients.discard(client)
            client.idle.set()
            writer.close()

    def _answer(self, client: _Watcher, line: bytes) -> Dict[str, Any]:
        id: Any = None
        try:
            doc = json.loads(line)
            id = doc.get("id") if isinstance(doc, dict) else None
            op = doc.get("op") if isinstance(doc, dict) else None
            if op == "resolve":
                path = self._names.find(_text(doc.get("name")))
                return {
                    "id": id, "ok": True, "name": path, "version": self._names.version,
                    "endpoints": self._names.services[path],
                }
            if op == "watch":
                names = doc.get("names")
                if not isinstance(names, list) or not 0 < len(names) <= MAX_NAMES:
                    raise ValueError(f"names: a list of 1 to {MAX_NAMES} is wanted")
                if not isinstance(id, int):
                    raise ValueError("id: a number is wanted")
                client.watches[id] = [_text(name) for name in names]
                if sum(len(n) for n in client.watches.values()) > MAX_NAMES:
                    del client.watches[id]
                    raise ValueError(f"at most {MAX_NAMES} names may be watched on one connection")
                return {"id": id, "ok": True, **self._state(client.watches[id])}
            raise ValueError(f"op: resolve or watch, not {op!r:.40}")
        except UnknownName as e:
            return {"id": id, "ok": False, "code": e.code, "text": str(e), "version": self._names.version}
        except (ValueError, RecursionError) as e:
            return {"id": id, "ok": False, "code": "bad", "text": str(e)}

    def _state(self, names: List[str]) -> Dict[str, Any]:
        """Keyed by the names as they were asked for."""
        services = {name: self._names.endpoints(name) for name in names}
        return {"version": self._names.version, "services": services}

    async def _push(self, client: _Watcher) -> None:
        try:
            while True:
                await client.wake.wait()
                client.wake.clear()
                while client.dirty:
                    id = client.dirty.pop()
                    await _send(client.writer, {"watch": id, **self._state(client.watches[id])})
                client.idle.set()
        except (OSError, asyncio.TimeoutError):
            client.writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, doc: Dict[str, Any]) -> None:
    writer.write(json.dumps(doc, separators=(",", ":")).encode() + b"\n")
    await within(writer.drain(), SLOW)


def _touches(name: str, changed: List[str]) -> bool:
    return any(path == name or path.endswith(f".{name}") for path in changed)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 500:
        raise ValueError("name: a string of at most 500 characters is wanted")
    return value
