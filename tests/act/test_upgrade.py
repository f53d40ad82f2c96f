"""Upgrades of agents in the executor and in the twin."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cockpit.act import messages as ex
from cockpit.act.twin import Twin
from cockpit.plan.steps import Intent, Step
from tests.act import worlds
from tests.act.hand import Hand, make_plan


def upgrade(id: str, host: str, *needs: str, part: str = "agent") -> Step:
    args: dict[str, Any] = {"name": "cockpit-agent", "version": "2", "sha256": "x", "timeout": 10.0, "part": part}
    return Step(id=id, kind="upgrade", host=host, needs=needs, args=args)


def fleet() -> Hand:
    steps = [upgrade("s1", "h1"), upgrade("s2", "h2"), upgrade("s3", "h3", "s1", "s2")]
    hand = Hand(make_plan(steps, on_failure="pause"), hosts={"h1": "up", "h2": "up", "h3": "up"})
    hand.go()
    return hand


def test_done_when_the_host_is_back_with_the_version_not_by_the_answer() -> None:
    hand = fleet()
    assert hand.sent() == [("upgrade", "#7/s1"), ("upgrade", "#7/s2")]
    hand.answer("#7/s1", {"pid": 9, "version": "2"})
    assert hand.state["s1"] == "running"
    hand.feed(ex.HostSeen("h1", "up", "1"))
    assert hand.state["s1"] == "running"
    hand.feed(ex.HostSeen("h1", "up", "2"))
    assert hand.state["s1"] == "done"
    hand.feed(ex.HostSeen("h2", "up", "2"))
    assert hand.state["s2"] == "done", "also when the answer is still to come"
    assert hand.sent() == [("upgrade", "#7/s3")]
    hand.answer("#7/s3", {"already": True})
    end = hand.finished()
    assert end is not None and end.outcome == "done"


def test_a_batch_that_fails_holds_the_rest_and_a_resume_tries_again() -> None:
    hand = fleet()
    hand.feed(ex.HostSeen("h1", "up", "2"))
    hand.refuse("#7/s2", "failed", "2 was called off and h2 goes on as before: it ended with exit 7")
    assert hand.executor.paused and hand.state["s3"] == "waiting"
    assert "could not upgrade h2 to cockpit-agent-2: 2 was called off" in hand.of(ex.Anchored)[0].reason
    hand.feed(ex.Resume(by="li"))
    assert hand.sent() == [("upgrade", "#7/s2/2")] and hand.state["s3"] == "waiting"


def test_a_host_that_does_not_come_back_holds_the_rest() -> None:
    hand = fleet()
    hand.feed(ex.HostSeen("h1", "up", "2"))
    hand.answer("#7/s2", {"pid": 9, "version": "2"})
    hand.feed(ex.HostSeen("h2", "unknown"))
    hand.tick(60)
    assert hand.executor.paused and hand.finished() is None and hand.state["s3"] == "waiting"
    assert "no answer from h2 for 60 s; it had to upgrade h2" in hand.of(ex.Anchored)[0].reason


def test_the_twin_knows_the_step() -> None:
    e = worlds.expected(hosts=3)
    have = worlds.running(e)
    have = replace(have, artifacts={**have.artifacts, "cockpit-agent/2": "dd"})
    twin = Twin(e, have)
    intent = Intent(verb="upgrade", params={"version": "2", "batch": "1", "keeper": True}, author="li")
    id = twin.submit(twin.plan(intent))
    twin.run()
    assert twin.acts[id].row.state == "done"
    assert {h.agent_version for h in twin.fleet.actual().hosts.values()} == {"2"}
