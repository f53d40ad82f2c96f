"""Batches of a fleet whose agents are replaced."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cockpit.plan.context import PlanContext
from cockpit.plan.steps import Bad, Plan
from cockpit.plan.upgrading import batch_size
from cockpit.plan.verbs import plan
from tests.plan import world

RELEASE = "cockpit-agent/1.2.0"


def fleet(hosts: int = 6, at: dict[str, str] | None = None, **presence: str) -> PlanContext:
    e = world.expected({"p.web": world.service()}, hosts)
    have = world.actual([], e.hosts, **presence)
    seen = {n: replace(h, agent_version=(at or {}).get(n, "1.1.0")) for n, h in have.hosts.items()}
    have = replace(have, hosts=seen, artifacts={RELEASE: "ab" * 32})
    return world.context(e, have, artifacts={RELEASE: {"size": 1}})


def made(ctx: PlanContext, *hosts: str, **params: Any) -> Plan:
    return plan(world.intent("upgrade", *hosts, version="1.2.0", **params), ctx)


def by_batch(p: Plan) -> list[list[str]]:
    found: dict[int, list[str]] = {}
    for step in p.steps:
        if step.kind == "upgrade" and step.args["part"] == "agent":
            found.setdefault(step.batch, []).append(step.host)
    return [found[n] for n in sorted(found)]


def test_fetched_everywhere_at_once_then_replaced_batch_by_batch() -> None:
    p = made(fleet(5), batch="2")
    assert [s.kind for s in p.steps] == ["fetch"] * 5 + ["upgrade"] * 5
    assert all(not s.needs for s in p.steps[:5])
    assert by_batch(p) == [["sh-1", "sh-2"], ["sh-3", "sh-4"], ["sh-5"]]
    assert p.steps[7].needs == ("s3", "s6", "s7"), "its fetch, and all of the batch before"
    assert p.on_failure == "pause" and p.deadline >= 60 and not p.changes
    assert p.steps[5].text == "replace the agent of sh-1 (1.1.0) by 1.2.0"
    assert p.steps[5].args["sha256"] == "ab" * 32
    assert p.title == "upgrade 5 agents to 1.2.0"


def test_the_keeper_of_a_host_follows_its_agent() -> None:
    p = made(fleet(2), batch="1", keeper=True)
    ours = [s for s in p.steps if s.kind == "upgrade"]
    assert [(s.host, s.args["part"]) for s in ours] == [
        ("sh-1", "agent"), ("sh-1", "keeper"), ("sh-2", "agent"), ("sh-2", "keeper"),
    ]  # fmt: skip
    assert ours[1].needs == (ours[0].id,) and ours[1].id in ours[2].needs


def test_who_is_left_out_is_named() -> None:
    ctx = fleet(5, {"sh-4": "1.2.0"}, sh_2="unknown")
    ctx = replace(ctx, expected=replace(ctx.expected, modes={"sh-3": "draining"}))
    p = made(ctx)
    assert sorted(h for batch in by_batch(p) for h in batch) == ["sh-1", "sh-5"]
    assert p.warnings == (
        "sh-2 gives no answer: its agent stays as it is", "sh-3 is in draining: its agent stays as it is",
    )
    assert p.skipped == ("sh-2", "sh-3")
    assert made(fleet(1, {"sh-1": "1.2.0"})).empty


def test_one_batch_at_a_time_and_the_same_again_goes_on() -> None:
    p = made(fleet(5), batch="40%", pause=True)
    assert by_batch(p) == [["sh-1", "sh-2"]] and p.skipped == ("sh-3", "sh-4", "sh-5")
    assert "3 hosts wait" in p.warnings[0]
    p = made(fleet(5, {"sh-1": "1.2.0", "sh-2": "1.2.0"}), batch="40%", pause=True)
    assert by_batch(p) == [["sh-3"]]


def test_what_makes_no_sense() -> None:
    with pytest.raises(Bad, match="has no version '1.2.0'; `cockpit artifact add` makes one"):
        made(replace(fleet(), artifacts={}))
    with pytest.raises(Bad, match="batch must be"):
        made(fleet(), batch="0")
    with pytest.raises(Bad, match="more than all"):
        made(fleet(), batch="101%")
    with pytest.raises(Bad, match="no host 'sh-9'"):
        made(fleet(), "sh-9")
    ctx = fleet(2)
    hosts = {**ctx.expected.hosts, "sh-1": replace(ctx.expected.hosts["sh-1"], connection="ssh")}
    ctx = replace(ctx, expected=replace(ctx.expected, hosts=hosts))
    assert by_batch(made(ctx)) == [["sh-2"]]
    with pytest.raises(Bad, match="sh-1 has no agent"):
        made(ctx, "sh-1")


@given(st.integers(1, 60), st.integers(1, 100))
def test_every_host_once_and_no_batch_before_the_one_before(hosts: int, percent: int) -> None:
    p = made(fleet(hosts), batch=f"{percent}%")
    batches = by_batch(p)
    assert sorted(h for b in batches for h in b) == sorted(f"sh-{n}" for n in range(1, hosts + 1))
    assert all(len(b) <= batch_size(f"{percent}%", hosts) for b in batches)
    ids = {s.id: s for s in p.steps}
    for step in p.steps:
        if step.kind == "upgrade" and step.batch:
            needs = {m for n in step.needs for m in p.gates.get(n, (n,))}
            before = {s.id for s in p.steps if s.kind == "upgrade" and s.batch == step.batch - 1}
            assert before <= needs and all(n in ids for n in needs)
