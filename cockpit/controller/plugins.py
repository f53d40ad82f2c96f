"""What the controller knows of its hosts' plug-ins: versions, what they tell, and the settings they get."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.link.messages import PluginData, Plugins
from cockpit.model.constraints import host_meets
from cockpit.model.topology import Expected, service_path

if TYPE_CHECKING:
    from cockpit.controller.core import Controller

MAX_PLUGINS = 100
KEPT_ENDS = 20
PERIOD = 5.0
AT_ONCE = 200
"""Hosts that are told before the loop has its turn."""

Settings = dict[str, dict[str, Any]]


def settings_of(expected: Expected, host: str, instances: Iterable[str] | None = None) -> Settings:
    """Plug-in -> its settings on one host. Pure. `instances`: those that are placed there, where that is known."""
    where = expected.hosts.get(host)
    if where is None:
        return {}
    schedules = {
        name: {
            "cron": s.cron, "argv": list(s.argv), "timeout": s.timeout, "user": s.user, "overlap": s.overlap,
        }
        for name, s in expected.schedules.items() if all(host_meets(host, where, need) for need in s.hosts)
    }
    if instances is None:
        instances = (instance for instance, place in expected.placement.items() if place == host)
    services = {service_path(instance) for instance in instances}
    logs = {
        path: dict(s.logs) for path in sorted(services) if (s := expected.services.get(path)) is not None and s.logs
    }
    return {
        "metrics": {"period": PERIOD},
        **({"schedule": {"schedules": schedules}} if schedules else {}),
        **({"logfiles": {"services": logs}} if logs else {}),
    }


class HostPlugins:
    """Tables by host. Bounded: a host that tells much replaces its own words only."""

    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self.tables: dict[str, tuple[dict[str, Any], ...]] = {}
        """Host -> rows of its last `plugins` frame."""
        self.facts: dict[str, dict[str, Any]] = {}
        """Of hosts, as their metrics told them."""
        self.ends: dict[str, dict[str, deque[dict[str, Any]]]] = {}
        """Host -> schedule -> its last ends."""
        self.next: dict[str, dict[str, Any]] = {}
        """Host -> schedule -> {"next", "running", "wrong"}."""
        self.changed: Callable[[str], None] = lambda host: None
        """Called with the host when something of it is new; set by whoever shows it."""
        self._sent: dict[str, Settings] = {}
        known = controller.ledger.meta.get("schedule_ends")
        self._noted: dict[str, dict[str, float]] = {h: dict(s) for h, s in (known or {}).items()}
        """Host -> schedule -> start of the last end that is in the journal or needed none."""
        self.unsaved = False

    # from hosts

    def table(self, host: str, frame: Plugins) -> None:
        self.tables[host] = tuple(msgspec.to_builtins(row) for row in frame.plugins[:MAX_PLUGINS])
        self.changed(host)

    def told(self, host: str, frame: PluginData) -> None:
        match frame.name:
            case "metrics":
                if isinstance(facts := frame.data.get("facts"), dict):
                    self.facts[host] = facts
                self.c.metrics.take(host, frame.data, time.time())
            case "schedule":
                self._schedule(host, frame.data)
            case _:
                return
        self.changed(host)

    def _schedule(self, host: str, data: Mapping[str, Any]) -> None:
        """An end is told until it was heard, and again with each connection: each is noted once."""
        state = data.get("schedules")
        if isinstance(state, dict):
            self.next[host] = state
        for end in data.get("ends") or ():
            if not isinstance(end, dict) or not isinstance(end.get("started"), (int, float)):
                continue
            name, started = str(end.get("schedule", ""))[:200], float(end["started"])
            noted = self._noted.setdefault(host, {})
            if started <= noted.get(name, 0.0):
                continue
            noted[name] = started
            self.unsaved = True
            self.ends.setdefault(host, {}).setdefault(name, deque(maxlen=KEPT_ENDS)).append(end)
            if end.get("why") or end.get("code") != 0:
                self.c.ledger.note(schedule_end(host, name, end))

    async def save(self) -> None:
        """What was noted, so that a controller that starts anew notes nothing twice. Raises OSError."""
        if self.unsaved:
            self.unsaved = False
            self.c.ledger.meta["schedule_ends"] = self._noted
            await self.c.ledger.commit([("meta", "schedule_ends", self._noted)])

    # to hosts

    def greet(self, host: str) -> None:
        """After welcome: all settings."""
        self._sent.pop(host, None)
        self._send(host)

    def expected_changed(self) -> None:
        hosts = list(self.c.hub.links)
        for host in hosts[:AT_ONCE]:
            self._send(host)
        if len(hosts) > AT_ONCE:
            self.c.spawn(self._send_rest(hosts[AT_ONCE:]))
        known = self.c.world.expected.hosts
        gone = [h for h in self.tables if h not in known]
        for host in gone:
            for table in (self.tables, self.facts, self.ends, self.next, self._sent, self._noted):
                table.pop(host, None)

    async def _send_rest(self, hosts: list[str]) -> None:
        for n in range(0, len(hosts), AT_ONCE):
            await asyncio.sleep(0)
            for host in hosts[n : n + AT_ONCE]:
                self._send(host)

    def _send(self, host: str) -> None:
        settings = settings_of(self.c.world.expected, host, self.c.world.placed_on(host))
        if self._sent.get(host) != settings and self.c.hub.send(host, {"t": "plugin-settings", "settings": settings}):
            self._sent[host] = settings

    # for commands and screens

    def rows(self) -> list[dict[str, Any]]:
        """One for each plug-in of each host: {"host","known" (False: no answer now), ...row of the frame}."""
        return [
            {"host": host, "known": host in self.c.hub.links, **row}
            for host, rows in sorted(self.tables.items()) for row in rows
        ]

    def schedules(self) -> list[dict[str, Any]]:
        """{"host","schedule","next","running","wrong","ends"}"""
        return [
            {"host": host, "schedule": name, **facts, "ends": list(self.ends.get(host, {}).get(name, ()))}
            for host, schedules in sorted(self.next.items()) for name, facts in sorted(schedules.items())
            if isinstance(facts, dict)
        ]


def schedule_end(host: str, name: str, end: Mapping[str, Any]) -> dict[str, Any]:
    """The journal entry of a scheduled command that did not end well."""
    facts = {k: end.get(k) for k in ("planned", "started", "ended", "code", "signal", "why")}
    last = [str(line)[:500] for line in (end.get("last") or ())[-5:]]
    return {"kind": "schedule", "host": host, "schedule": name, **msgspec.to_builtins(facts), "last": last}
