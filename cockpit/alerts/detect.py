"""From changes of rows to conditions: what holds now, of which object, since when. Pure; time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cockpit.alerts.settings import CRASH, DRIFT, LOOP, STOPPED, UNHEALTHY, UNKNOWN
from cockpit.model import view
from cockpit.model.view import ActionRow, DriftRow, HostRow, InstanceRow, RelayRow

CALM = 30.0
"""Seconds without another crash after which a crash is over."""
OVER = 3600.0
"""Seconds for which an action that ended badly stays a condition, unless its targets are changed by another."""
CRASHES = 1000
"""Most crashes of one instance that are remembered."""
ENDED_BADLY = ("failed", "returned")
HELD = ("paused", "interrupted")


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Something that holds. The key names it as long as it does."""

    kind: str
    key: str
    name: str
    """The object: an instance, a host, a relay, an action."""
    group: str
    """What is told together: a service, a region, an action."""
    service: str = ""
    host: str = ""
    region: str = ""
    since: float
    text: str
    mark: str = view.FAILED
    times: tuple[float, ...] = ()
    """Of crashes, oldest first."""


class Detector:
    """Feed it the tables once, then every change; `conditions` is what holds."""

    def __init__(self) -> None:
        self.instances: dict[str, InstanceRow] = {}
        self.hosts: dict[str, HostRow] = {}
        self.relays: dict[str, RelayRow] = {}
        self._drift: dict[str, Condition] = {}
        self._unknown: dict[str, Condition] = {}
        self._stopped: dict[str, Condition] = {}
        self._crashes: dict[str, tuple[float, ...]] = {}
        """As conditions have them: with many that crash they are told again and again, and nothing is copied."""
        self._actions: dict[str, str] = {}

    def load(self, tables: Mapping[str, Mapping[str, Any]], now: float) -> None:
        """What is so already; crashes and actions of the past are not news."""
        self.instances = dict(tables["instances"])
        self._actions = {id: row.state for id, row in tables["actions"].items() if row.state in ENDED_BADLY}
        self.feed({t: tables[t] for t in ("hosts", "relays", "drift", "actions")}, now)

    def feed(self, changes: Mapping[str, Mapping[str, Any]], now: float) -> None:
        """Rows by table and key; None for a row that is gone."""
        for key, row in changes.get("instances", {}).items():
            self._instance(key, row, now)
        hosts, relays = changes.get("hosts", {}), changes.get("relays", {})
        _merge(self.hosts, hosts)
        _merge(self.relays, relays)
        if hosts or relays:
            self._unknown = self._silence(now)
        for key, row in changes.get("drift", {}).items():
            self._differs(key, row, now)
        for id, row in changes.get("actions", {}).items():
            self._action(id, row, now)

    def conditions(self, now: float, restarts: int = 1) -> list[Condition]:
        """What is so now; loops of fewer than `restarts` crashes are left out, when no rule asks for them."""
        for id in [i for i, c in self._stopped.items() if id_over(c, now)]:
            del self._stopped[id]
        crashed = self._crashed(now, restarts)
        return [*crashed, *self._unknown.values(), *self._drift.values(), *self._stopped.values()]

    # instances

    def _instance(self, id: str, row: InstanceRow | None, now: float) -> None:
        before = self.instances.get(id)
        if row is None:
            self.instances.pop(id, None)
            self._crashes.pop(id, None)
            return
        self.instances[id] = row
        if before is None:
            return
        more = row.restarts - before.restarts
        gave_up = row.mark == view.FAILED and before.mark != view.FAILED and row.desired == "RUNNING"
        count = more if more > 0 else int(gave_up)
        if count:
            self._crashes[id] = (*self._crashes.get(id, ()), *[now] * count)[-CRASHES:]

    def _crashed(self, now: float, restarts: int) -> Iterable[Condition]:
        for id, times in list(self._crashes.items()):
            loops, fresh = len(times) >= restarts, now - times[-1] < CALM
            if not (loops or fresh):
                continue
            row = self.instances[id]
            host = self.hosts.get(row.host)
            region = host.region if host is not None else ""
            what = row.reason or last_exit(row) or "its process ended"
            loop = Condition(
                kind=LOOP, key=f"crash-loop|{id}", name=id, group=row.service, service=row.service, host=row.host,
                region=region, since=times[0], text=what, times=times,
            )
            if loops:
                yield loop
            if fresh:
                yield msgspec.structs.replace(loop, kind=CRASH, key=f"crash|{id}", since=times[-1])

    def forget(self, before: float) -> None:
        """Crashes older than any rule looks back."""
        for id, times in list(self._crashes.items()):
            if min(times) >= before:
                continue
            if kept := tuple(t for t in times if t >= before):
                self._crashes[id] = kept
            else:
                del self._crashes[id]

    # hosts and relays

    def _silence(self, now: float) -> dict[str, Condition]:
        """Hosts behind a relay that is not heard are told by the relay."""
        found: dict[str, Condition] = {}
        silent = {r.name: r for r in self.relays.values() if r.links and r.mark == view.UNKNOWN}
        behind: dict[str, int] = dict.fromkeys(silent, 0)
        for host in self.hosts.values():
            if host.mark != view.UNKNOWN:
                continue
            relay = next((r for r in reversed(host.path) if r in silent), "")
            if relay:
                behind[relay] += 1
                continue
            key = f"unknown|{host.name}"
            since = self._unknown[key].since if key in self._unknown else host.since or now
            found[key] = Condition(
                kind=UNKNOWN, key=key, name=host.name, group=host.region, host=host.name, region=host.region,
                since=since, text=host.reason or "no answer", mark=view.UNKNOWN,
            )
        for name, relay_row in silent.items():
            key = f"unknown|{name}"
            hosts = behind[name]
            more = f"; {hosts} host{'s' * (hosts != 1)} behind it are unknown with it" if hosts else ""
            found[key] = Condition(
                kind=UNKNOWN, key=key, name=name, group=relay_row.region, host=name, region=relay_row.region,
                since=relay_row.since or now, text=f"{relay_row.reason or 'no answer'}{more}", mark=view.UNKNOWN,
            )
        return found

    # differences

    def _differs(self, key: str, row: DriftRow | None, now: float) -> None:
        kind = "" if row is None else {"unknown": "", "unhealthy": UNHEALTHY}.get(row.kind, DRIFT)
        if row is None or not kind:
            self._drift.pop(key, None)
            return
        instance = self.instances.get(row.target)
        host = self.hosts.get(instance.host if instance is not None else row.target)
        service = instance.service if instance is not None else ""
        before = self._drift.get(key)
        text = row.reason or f"{row.kind}: expected {row.expected or 'nothing'}, found {row.actual or 'nothing'}"
        self._drift[key] = Condition(
            kind=kind, key=f"{kind}|{key}", name=row.target, group=service or row.target, service=service,
            host=host.name if host is not None else "", region=host.region if host is not None else "",
            since=before.since if before is not None else row.since or now, text=text,
            mark=view.FAILED if kind == UNHEALTHY else view.DRIFT,
        )

    # actions

    def _action(self, id: str, row: ActionRow | None, now: float) -> None:
        state = "" if row is None else row.state
        news = self._actions.get(id) != state
        if row is None or state not in (*ENDED_BADLY, *HELD):
            self._stopped.pop(id, None)
            if row is not None and state == "done":
                done = set(row.targets)
                self._stopped = {i: c for i, c in self._stopped.items() if c.group not in done}
        elif news or id in self._stopped:
            before = self._stopped.get(id)
            self._stopped[id] = Condition(
                kind=STOPPED, key=f"stopped|{id}|{state}", name=id, group=row.targets[0] if row.targets else id,
                service=row.targets[0].partition("/")[0] if row.targets else "",
                since=before.since if before is not None else now,
                text=f"{row.title or row.verb} {state}{': ' if row.note else ''}{row.note}",
            )
        if row is None:
            self._actions.pop(id, None)
        else:
            self._actions[id] = state


def id_over(condition: Condition, now: float) -> bool:
    """Has an action that ended badly been shown long enough? One that is held stays."""
    return condition.key.rpartition("|")[2] in ENDED_BADLY and now - condition.since > OVER


def last_exit(row: InstanceRow) -> str:
    return next((r.exit for r in reversed(row.runs) if r.exit), "")


def _merge(rows: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, row in changes.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
