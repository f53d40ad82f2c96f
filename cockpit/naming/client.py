"""Find services by name from a program on a host: ask the agent's socket, fall back to its disk cache.

    names = Names()
    address, port = names.pick("sudoku")

Standard library only, Python 3.9 and newer, so that the file can be copied beside any program.
Blocking and thread-safe. Every name that was asked for is watched by one background thread, so
that later calls answer at once from memory with what the agent pushed last. When the agent is
away, the last known endpoints stay; when nothing is known, the disk cache answers.

An endpoint is a dict: address, port, name (of the port), state (`ready` or `draining`),
instance, attributes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

Endpoint = dict[str, Any]
Callback = Callable[[list[Endpoint]], None]

MAX_LINE = 4 * 1024 * 1024
MAX_CACHE = 64 * 1024 * 1024
RETRY = (0.05, 1.0)
"""First and longest pause in seconds between two tries to reach the agent."""
ASK_AGAIN = 1.0
"""Seconds after which a name that the agent did not know is asked for again."""

log = logging.getLogger("cockpit.names")


class Unresolved(LookupError):
    """The name is unknown or ambiguous, or it has no endpoint that takes traffic."""


class Names:
    """A view of the naming registry. `close` it, use it in `with`, or let it end with the process.

    socket_path: the agent's socket; by default COCKPIT_AGENT_SOCKET. cache_path: the disk cache, by
    default COCKPIT_NAMES_CACHE. An empty string means none. timeout: seconds that the first call
    for a name waits for the agent.
    """

    def __init__(
        self, socket_path: str | None = None, cache_path: str | None = None, *, timeout: float = 2.0
    ) -> None:
        env = os.environ
        self.socket_path = env.get("COCKPIT_AGENT_SOCKET", "") if socket_path is None else socket_path
        self.cache_path = env.get("COCKPIT_NAMES_CACHE", "") if cache_path is None else cache_path
        self.timeout = timeout
        self._changed = threading.Condition()
        """Guards everything below, and is notified when an answer came."""
        self._known: dict[str, list[Endpoint]] = {}
        """Name as asked -> endpoints, as the agent said last."""
        self._refused: dict[str, str] = {}
        """Name -> what the agent said instead of endpoints."""
        self._callbacks: dict[str, list[Callback]] = {}
        self._wanted: set[str] = set()
        self._asked: dict[int, tuple[str, str]] = {}
        """On the present connection: id of a request or watch -> (op, name)."""
        self._watched: set[str] = set()
        """Names that the agent promised to push on the present connection."""
        self._next_id = 0
        self._socket: socket.socket | None = None
        self._away = not self.socket_path
        """The last try to reach the agent failed."""
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._cache: tuple[tuple[int, int, int], dict[str, Any]] | None = None
        """Identity of the cache file that was read last, and its services."""

    def __enter__(self) -> Names:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the background thread and the connection. Calls after it answer from memory."""
        self._closed.set()
        with self._changed:
            sock, thread = self._socket, self._thread
            self._changed.notify_all()
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    # asking

    def resolve(self, name: str) -> list[Endpoint]:
        """All endpoints of a service, draining ones too. The name may be the shortest unique suffix.

        Raises Unresolved when the name is unknown or ambiguous, or neither agent nor cache answers.
        """
        deadline = time.monotonic() + self.timeout
        with self._changed:
            self._want(name)
            while name not in self._known and name not in self._refused and not self._away:
                left = deadline - time.monotonic()
                if left <= 0 or self._closed.is_set():
                    break
                self._changed.wait(left)
            found = self._known.get(name)
            if found is not None:
                return [dict(e) for e in found]
            why = self._refused.get(name, "")
        if not why:
            found = _find(name, self._read_cache())
            if found is not None:
                return [dict(e) for e in found if _valid(e)]
            agent = f"the agent does not answer at {self.socket_path or '(no socket is set)'}"
            why = f"{name}: {agent}, and it is not in the cache {self.cache_path or '(none is set)'}"
        raise Unresolved(why)

    def watch(self, name: str, callback: Callback) -> Callable[[], None]:
        """Call `callback(endpoints)` from the background thread at each change, and once when first known.

        Returns a function that ends the watch. A callback must be quick; what it raises is logged.
        """
        with self._changed:
            self._callbacks.setdefault(name, []).append(callback)
            known = self._known.get(name)
            self._want(name)
        if known is not None:
            self._call([callback], known)

        def stop() -> None:
            with self._changed:
                if callback in self._callbacks.get(name, []):
                    self._callbacks[name].remove(callback)

        return stop

    def order(
        self, name: str, key: str | bytes | None = None, port: str | None = None
    ) -> list[tuple[str, int]]:
        """All (address, port) that take new traffic, the one to try first at the front.

        The order is random by `attributes.weight` (1 unless said, 0: no traffic). With a key it is
        weighted rendezvous hashing: the same key gets the same instance, and when one leaves only
        its keys move. `port` chooses among named ports. The list is empty when none is ready.
        """
        ranked = []
        for e in self.resolve(name):
            weight = _weight(e)
            if e.get("state") != "ready" or weight <= 0 or (port is not None and e.get("name") != port):
                continue
            at = (str(e["address"]), int(e["port"]))
            u = random.random() if key is None else _hash(key, str(e.get("instance") or at))
            # -ln(u)/w is exponential with rate w: the smallest of them is e with probability w / sum.
            ranked.append((-math.log(u or 5e-324) / weight, at))
        return [at for _, at in sorted(ranked)]

    def pick(self, name: str, key: str | bytes | None = None, port: str | None = None) -> tuple[str, int]:
        """The (address, port) to use now, see `order`. Raises Unresolved when none takes traffic."""
        order = self.order(name, key, port)
        if not order:
            raise Unresolved(f"{name}: no endpoint {'' if port is None else f'of port {port} '}is ready")
        return order[0]

    # the background thread

    def _want(self, name: str) -> None:
        """Called with the lock held."""
        if self._closed.is_set():
            return
        if name not in self._wanted:
            self._wanted.add(name)
            if self._socket is not None:
                self._ask(name)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cockpit-names", daemon=True)
            self._thread.start()

    def _ask(self, name: str) -> None:
        """Send resolve, and watch unless that stands already. Called with the lock held."""
        ops: list[dict[str, Any]] = [{"op": "resolve", "name": name}]
        if name not in self._watched:
            ops.insert(0, {"op": "watch", "names": [name]})
        lines = b""
        for op in ops:
            self._next_id += 1
            self._asked[self._next_id] = (op["op"], name)
            lines += json.dumps({"id": self._next_id, **op}).encode() + b"\n"
        try:
            assert self._socket is not None
            self._socket.sendall(lines)
        except OSError:
            pass  # the reader sees the same end, and asks again on the next connection

    def _run(self) -> None:
        pause = RETRY[0]
        while not self._closed.is_set():
            if self.socket_path:
                try:
                    with socket.socket(socket.AF_UNIX) as sock:
                        sock.settimeout(self.timeout)
                        sock.connect(self.socket_path)
                        sock.settimeout(ASK_AGAIN)
                        pause = RETRY[0]
                        try:
                            self._converse(sock)
                        finally:
                            with self._changed:
                                self._socket = None
                except (OSError, ValueError, RecursionError) as e:
                    log.debug("agent at %s: %s", self.socket_path, e)
            with self._changed:
                self._away = True
                self._changed.notify_all()
            self._reread()
            self._closed.wait(pause * (0.5 + random.random()))
            pause = min(pause * 2, RETRY[1])

    def _converse(self, sock: socket.socket) -> None:
        """Ask for every wanted name, then take in what comes until the connection ends."""
        with self._changed:
            self._asked.clear()
            self._watched.clear()
            self._refused.clear()
            self._socket = sock
            self._away = False
            for name in sorted(self._wanted):
                self._ask(name)
        buffer = b""
        asked_again = time.monotonic()
        while not self._closed.is_set():
            try:
                data = sock.recv(65536)
                if not data:
                    return
            except (TimeoutError, socket.timeout):  # noqa: UP041 - not the same class before 3.10
                data = b""
            buffer += data
            if b"\n" in data:
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
            if len(buffer) > MAX_LINE:
                raise ValueError(f"a line is longer than {MAX_LINE} bytes")
            if time.monotonic() - asked_again >= ASK_AGAIN:
                asked_again = time.monotonic()
                with self._changed:
                    for name in sorted(self._refused.keys() | (self._wanted - self._watched)):
                        self._ask(name)

    def _take(self, message: Any) -> None:
        """One line from the agent: an answer, or a push to a watch."""
        if not isinstance(message, dict):
            raise ValueError("not a JSON object")
        id = message.get("watch", message.get("id"))
        with self._changed:
            if not isinstance(id, int) or id not in self._asked:
                return
            op, name = self._asked[id]
            if "watch" not in message:
                refused = message.get("ok") is False
                if op == "resolve" or refused:
                    del self._asked[id]
                else:
                    self._watched.add(name)
                if refused and name not in self._known:
                    why = message.get("text") or f"{name}: the agent does not know it"
                    self._refuse(name, str(why))
                if refused or op == "watch":
                    return  # the answer to resolve follows: it alone tells unknown from empty
            try:
                pushed = message.get("services")
                found = message.get("endpoints") if op == "resolve" else _find(name, pushed)
            except Unresolved as e:
                self._refuse(name, str(e))
                return
            if op == "watch" and found == []:
                self._ask(name)  # nothing left, or the name is ambiguous now: resolve tells which
                return
            if found == [] and message.get("version") == 0 and self._known.get(name):
                return  # an agent that knows nothing yet: what is known stays
        if isinstance(found, list):
            self._update(name, found)

    def _refuse(self, name: str, why: str) -> None:
        self._refused[name] = why
        self._changed.notify_all()

    def _update(self, name: str, endpoints: list[Endpoint]) -> None:
        endpoints = [e for e in endpoints if _valid(e)]
        with self._changed:
            self._refused.pop(name, None)
            old = self._known.get(name)
            self._known[name] = endpoints
            callbacks = list(self._callbacks.get(name, ())) if old != endpoints else []
            self._changed.notify_all()
        self._call(callbacks, endpoints)

    @staticmethod
    def _call(callbacks: list[Callback], endpoints: list[Endpoint]) -> None:
        for callback in callbacks:
            try:
                callback([dict(e) for e in endpoints])
            except Exception:
                log.exception("a watch callback failed")

    # the disk cache

    def _read_cache(self) -> dict[str, Any] | None:
        """The `services` of the cache file, or None when there is none that can be read."""
        try:
            with open(self.cache_path, "rb") as f:
                stat = os.fstat(f.fileno())
                seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                cache = self._cache
                if cache is not None and cache[0] == seen:
                    return cache[1]
                data = f.read(MAX_CACHE + 1)
            doc = json.loads(data) if len(data) <= MAX_CACHE else None
        except (OSError, ValueError, RecursionError) as e:
            log.debug("cache %s: %s", self.cache_path, e)
            return None
        services = doc.get("services") if isinstance(doc, dict) else None
        if not isinstance(services, dict):
            return None
        self._cache = (seen, services)
        return services

    def _reread(self) -> None:
        """While the agent is away: tell watchers, and take what somebody wrote into the cache since."""
        before = self._cache
        services = self._read_cache()
        after = self._cache
        if services is None or after is None or (before is not None and before[0] == after[0]):
            return
        with self._changed:
            # The first reading may be older than what the agent said.
            names = [n for n in self._wanted if before is not None or n not in self._known]
        for name in names:
            try:
                found = _find(name, services)
            except Unresolved:
                continue
            if found is not None:
                self._update(name, found)


def _find(name: str, services: Any) -> list[Any] | None:
    """Endpoints of the service with this full path or unique suffix.

    Raises Unresolved when several services fit. Of those only one has endpoints: that one.
    """
    if not isinstance(services, dict):
        return None
    if isinstance(services.get(name), list):
        return list(services[name])
    fits = {p: es for p, es in services.items() if p.endswith("." + name) and isinstance(es, list)}
    if len(fits) > 1:
        fits = {p: es for p, es in fits.items() if es} or dict([min(fits.items())])
    if len(fits) > 1:
        raise Unresolved(f"{name}: ambiguous, one of {', '.join(sorted(fits))}")
    return list(next(iter(fits.values()))) if fits else None


def _valid(e: Any) -> bool:
    return (
        isinstance(e, dict)
        and isinstance(e.get("address"), str)
        and isinstance(e.get("port"), int)
        and 0 < e["port"] < 65536
    )


def _weight(e: Endpoint) -> float:
    """attributes.weight as a number; 1 when it is absent or not one."""
    attributes = e.get("attributes")
    try:
        weight = float(attributes.get("weight", 1)) if isinstance(attributes, dict) else 1.0
    except (TypeError, ValueError):
        return 1.0
    return max(0.0, weight) if math.isfinite(weight) else 1.0


def _hash(key: str | bytes, node: str) -> float:
    """A number in [0, 1) from key and node, the same in every process."""
    data = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    digest = hashlib.sha256(data + b"\0" + node.encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / float(1 << 53)
