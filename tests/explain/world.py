"""Rows for the engine's tests: a few words make an instance, a host, a relay, an action."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cockpit.explain.facts import Facts
from cockpit.explain.wrong import Wrong
from cockpit.model.view import ActionRow, DriftRow, HostRow, InstanceRow, NodeRow, RelayRow

NOW = 10_000.0


def instance(id: str, host: str = "h-1", mark: str = "ok", word: str = "", **more: Any) -> InstanceRow:
    service, _, slot = id.rpartition("/")
    words = {"ok": "running", "failed": "unhealthy", "unknown": "no answer", "drift": "wrong version"}
    values: dict[str, Any] = {
        "id": id, "service": service, "slot": int(slot), "host": host, "version_expected": "1", "version_actual": "1",
        "state": "RUNNING", "desired": "RUNNING", "mark": mark, "word": word or words.get(mark, mark),
        "since": NOW - 100 if mark != "ok" else NOW - 9000, "address": f"10.0.0.{host[-1]}",
        "ports": {"main": 20000 + int(slot)}, "health": "failing" if mark == "failed" else "ok",
    }  # fmt: skip
    return InstanceRow(**(values | more))


def host(name: str, presence: str = "up", **more: Any) -> HostRow:
    marks = {"unknown": "unknown", "down": "failed", "suspect": "changing", "draining": "draining"}
    values: dict[str, Any] = {
        "name": name, "region": "sh", "presence": presence, "address": f"10.0.0.{name[-1]}",
        "mark": marks.get(presence, "ok"), "since": NOW - (110 if presence != "up" else 9000), "seen": NOW - 1,
        "reason": "the link broke" if presence == "unknown" else "",
    }  # fmt: skip
    return HostRow(**(values | more))


def relay(name: str, presence: str = "up", **more: Any) -> RelayRow:
    values: dict[str, Any] = {
        "name": name, "region": "sh", "address": "10.0.0.99", "links": True, "presence": presence,
        "mark": "ok" if presence == "up" else "unknown", "since": NOW - 120, "path": (name,),
        "reason": "" if presence == "up" else "the trunk broke",
    }  # fmt: skip
    return RelayRow(**(values | more))


def action(id: str, verb: str = "deploy", state: str = "done", *targets: str, **more: Any) -> ActionRow:
    values: dict[str, Any] = {
        "id": id, "verb": verb, "state": state, "author": "li@jump", "targets": targets, "title": f"{verb} it",
        "started": NOW - 160, "ended": NOW - 134 if state == "done" else None, "revision": 7, "mark": "ok",
    }  # fmt: skip
    return ActionRow(**(values | more))


def facts(
    instances: Iterable[InstanceRow] = (), hosts: Iterable[HostRow] = (), relays: Iterable[RelayRow] = (),
    actions: Iterable[ActionRow] = (), drift: Iterable[DriftRow] = (),
    depends: dict[str, tuple[str, ...]] | None = None, **more: Any,
) -> Facts:  # fmt: skip
    """The tree is rolled up from the instances; hosts that are named and not given are up."""
    rows = {i.id: i for i in instances}
    places = {h.name: h for h in hosts}
    for row in rows.values():
        if row.host and row.host not in places:
            places[row.host] = host(row.host)
    order = {"ok": 0, "absent": 1, "changing": 2, "unknown": 5, "drift": 6, "failed": 7}
    nodes: dict[str, NodeRow] = {}
    for path in {r.service for r in rows.values()} | set(depends or ()):
        mine = [r for r in rows.values() if r.service == path]
        versions: dict[str, int] = {}
        for r in mine:
            versions[r.version_actual] = versions.get(r.version_actual, 0) + 1
        nodes[path] = NodeRow(
            path=path, kind="service", want=len(mine), have=sum(r.mark == "ok" for r in mine), versions=versions,
            mark=max((r.mark for r in mine), key=lambda m: order[m], default="ok"),
            depends=(depends or {}).get(path, ()),
        )  # fmt: skip
    differences = {f"{d.kind}|{d.target}": d for d in drift}
    return Facts(
        now=NOW, wrong=Wrong.of(rows, places, differences), instances=rows, hosts=places, nodes=nodes,
        relays={r.name: r for r in relays}, drift=differences, actions={a.id: a for a in actions}, **more,
    )  # fmt: skip
