"""From rows to conditions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cockpit.alerts.detect import OVER, Detector
from cockpit.model import view
from cockpit.model.view import ActionRow, DriftRow, HostRow, InstanceRow, RelayRow

T = 1000.0


def instance(id: str = "p.web/0", host: str = "h1", **facts: Any) -> InstanceRow:
    return InstanceRow(
        id=id, service=id.rpartition("/")[0], slot=0, host=host, version_expected="1", version_actual="1",
        state="RUNNING", desired="RUNNING", **facts,
    )


def host(name: str = "h1", **facts: Any) -> HostRow:
    return HostRow(**{"name": name, "region": "sh", "presence": "up", "address": "10.0.0.1", **facts})


def made(**tables: dict[str, Any]) -> Detector:
    d = Detector()
    every = {t: {} for t in ("instances", "hosts", "relays", "drift", "actions")}
    d.load({**every, **tables}, T)
    return d


def kinds(d: Detector, now: float = T) -> list[tuple[str, str]]:
    return sorted((c.kind, c.name) for c in d.conditions(now))


def test_restarts_are_crashes_and_an_old_count_is_not() -> None:
    row = instance(restarts=7)
    d = made(instances={row.id: row}, hosts={"h1": host()})
    assert kinds(d) == []
    d.feed({"instances": {row.id: msgspec.structs.replace(row, restarts=9, reason="exit 1 twice")}}, T + 1)
    crash, loop = sorted(d.conditions(T + 1), key=lambda c: c.kind)
    assert (crash.kind, crash.text, crash.since) == ("crash", "exit 1 twice", T + 1)
    assert (crash.host, crash.region) == ("h1", "sh")
    assert loop.times == (T + 1, T + 1)
    assert kinds(d, T + 31) == [("crash-loop", row.id)], "the crash is over, the count is remembered"
    assert [c.kind for c in d.conditions(T + 31, 2)] == ["crash-loop"]
    assert d.conditions(T + 31, 3) == [], "no rule asks for so few"
    assert [c.kind for c in d.conditions(T + 1, 3)] == ["crash"]
    d.forget(T + 5)
    assert kinds(d, T + 31) == []
    d.feed({"instances": {row.id: msgspec.structs.replace(row, restarts=0)}}, T + 40)
    assert kinds(d, T + 40) == [], "another run begins to count anew"


def test_giving_up_is_a_crash_and_stopping_is_none() -> None:
    row = instance()
    d = made(instances={row.id: row})
    d.feed({"instances": {row.id: msgspec.structs.replace(row, mark=view.FAILED, desired="SHUTDOWN")}}, T)
    assert kinds(d) == []
    d.feed({"instances": {row.id: row}}, T)
    d.feed({"instances": {row.id: msgspec.structs.replace(row, mark=view.FAILED)}}, T)
    assert ("crash", row.id) in kinds(d)
    d.feed({"instances": {row.id: None}}, T)
    assert kinds(d) == []


def test_hosts_behind_a_silent_relay_are_told_by_it() -> None:
    relay = RelayRow(name="r1", region="sh", address="x", links=True, mark=view.UNKNOWN, since=T - 5)
    lost = {f"h{n}": host(f"h{n}", mark=view.UNKNOWN, presence="unknown", path=("r1",), since=T) for n in range(3)}
    alone = host("far", mark=view.UNKNOWN, presence="unknown", reason="no answer for 12 s", since=T - 2)
    d = made(hosts={**lost, "far": alone}, relays={"r1": relay})
    found = {c.name: c for c in d.conditions(T)}
    assert set(found) == {"r1", "far"} and "3 hosts behind it" in found["r1"].text
    d.feed({"relays": {"r1": msgspec.structs.replace(relay, mark=view.OK)}}, T + 1)
    assert {c.name for c in d.conditions(T + 1)} == {"far", "h0", "h1", "h2"}
    d.feed({"hosts": {n: msgspec.structs.replace(h, mark=view.OK) for n, h in lost.items()}}, T + 2)
    assert {c.name: c.since for c in d.conditions(T + 2)} == {"far": T - 2}


@pytest.mark.parametrize(
    ("kind", "told"), [("wrong version", "drift"), ("unhealthy", "unhealthy"), ("missing", "drift"), ("unknown", "")],
)
def test_differences(kind: str, told: str) -> None:
    row = instance()
    drift = DriftRow(kind=kind, target=row.id, expected="1.1.0", actual="1.0.0", action="", since=T - 9)
    d = made(instances={row.id: row}, hosts={"h1": host()}, drift={f"{kind}|{row.id}": drift})
    assert [(c.kind, c.group, c.since) for c in d.conditions(T)] == ([(told, "p.web", T - 9)] if told else [])
    d.feed({"drift": {f"{kind}|{row.id}": None}}, T)
    assert kinds(d) == []


def action(state: str, id: str = "#1", **facts: Any) -> ActionRow:
    return ActionRow(
        id=id, verb="deploy", state=state, author="li", targets=("p.web",), title="deploy web 2", **facts
    )


def test_actions_that_stop_are_told_until_they_go_on_or_another_one_succeeds() -> None:
    d = made(actions={"#0": action("failed", "#0")})
    assert kinds(d) == [], "what failed before is no news"
    d.feed({"actions": {"#1": action("running")}}, T)
    d.feed({"actions": {"#1": action("paused", note="web/0 is not healthy")}}, T)
    (found,) = d.conditions(T)
    assert found.text == "deploy web 2 paused: web/0 is not healthy" and found.service == "p.web"
    assert kinds(d, T + 10 * OVER) == [("stopped", "#1")], "it is still held"
    d.feed({"actions": {"#1": action("running")}}, T)
    assert kinds(d) == []
    d.feed({"actions": {"#1": action("failed")}}, T)
    assert kinds(d) == [("stopped", "#1")] and kinds(d, T + OVER + 1) == []
    d.feed({"actions": {"#2": action("failed", "#2")}}, T)
    d.feed({"actions": {"#3": action("done", "#3")}}, T + 1)
    assert kinds(d, T + 1) == []
