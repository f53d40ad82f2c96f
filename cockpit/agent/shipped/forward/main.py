"""`forward`: connections from an operator's machine to one port of an instance here. They end with the link.

forward {"task","instance","port": name, number or "","unit","window": bytes on their way, each way of a connection}
-> {"why": stopped | lost | replaced,"connections","in","out"}. Progress: first {"begun": {"port","address"}}, then
{"ev": [events],"got": so many inputs were taken}. Input: {"ev": [events]}. Events: streams.py. forward-end {"task"}.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from .streams import Streams
from .where import NotOurs, find

if TYPE_CHECKING:
    from cockpit.agent.plugins.inside import Call, Host

MAX_FORWARDS = 50
MAX_CONNECTIONS = 500
"""Of all forwards of this host."""
FRESH = 0.5
"""Seconds for which it is known where an instance listens."""
MAX_WINDOW = 1024 * 1024


class Forwards:
    def __init__(self, host: "Host") -> None:
        self._host = host
        self._running: Dict[str, Streams] = {}
        self._stopped: Dict[str, None] = {}
        """Tasks that were stopped before they began."""

    def forward(self, call: "Call") -> Dict[str, Any]:
        args, error = call.args, self._host.error
        task, instance, port = (str(args.get(name) or "") for name in ("task", "instance", "port"))
        if not task or not instance:
            raise error("bad", "forward: task and instance are wanted")
        if len(self._running) >= MAX_FORWARDS:
            raise error("busy", f"{MAX_FORWARDS} ports are forwarded from this host")
        if self._host.finishing:
            raise error("busy", "the agent of this host is being replaced: try again")
        window = max(1, min(MAX_WINDOW, int(args.get("window") or 0)))

        known: "Dict[str, Tuple[float, Tuple[int, List[str]]]]" = {}

        def place(unit: str) -> "Tuple[int, List[str]]":
            """A hundred connections at once look once."""
            now = time.monotonic()
            if unit not in known or now - known[unit][0] > FRESH:
                known.clear()
                known[unit] = now, find(self._host.units, instance, unit, port)
            return known[unit][1]

        try:
            number, places = place(str(args.get("unit") or ""))
        except NotOurs as e:
            raise error(e.code, str(e)) from None
        streams = Streams(window, place, self._room)
        self._running[task] = streams
        try:
            call.on_cancel(streams.stop)
            if self._stopped.pop(task, "") is None:
                streams.stop()
            call.progress({"begun": {"port": number, "address": places[0]}})
            call.on_input(streams.take)
            streams.run(call)
        finally:
            self._running.pop(task, None)
        return {
            "why": streams.why or "stopped", "connections": streams.connections, "in": streams.into,
            "out": streams.out,
        }

    def _room(self) -> bool:
        return sum(map(len, list(self._running.values()))) <= MAX_CONNECTIONS

    def end(self, call: "Call") -> Dict[str, Any]:
        task = str(call.args.get("task") or "")
        streams = self._running.get(task)
        if streams is not None:
            streams.stop()
        else:
            self._stopped[task] = None
            while len(self._stopped) > 1000:
                del self._stopped[next(iter(self._stopped))]
        return {}

    def end_all(self, why: str) -> None:
        for streams in list(self._running.values()):
            streams.stop(why)


def start(host: "Host") -> None:
    work = Forwards(host)
    host.word("forward", work.forward)
    host.word("forward-end", work.end)
    host.on("disconnected", lambda: work.end_all("lost"))
    host.on("finish", lambda: work.end_all("replaced"))
