"""Pausing, resuming and aborting a rolling update; actions that get in each other's way."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cockpit.plan.steps import Intent, Plan, Refused
from cockpit.session.client import RemoteSession
from tests.e2e.gate import Gates, gates


@pytest.fixture(scope="module")
def g() -> Iterator[Gates]:
    with gates() as g:
        yield g


def test_pause_holds_before_the_next_step_and_resume_goes_on(g: Gates) -> None:
    c = g.c
    id = g.hold("2", 0)
    out = c.cli("pause", id)
    assert id in out and "paused" in out, out
    row = c.action(id)
    assert row["state"] == "paused" and row["note"].startswith("paused by "), row
    g.open("2", 0)
    c.wait(lambda: c.instances()["shop.gate/0"]["state"] == "RUNNING")
    assert g.versions() == ["2", "1", "1"]
    assert "paused" in c.cli("pause", id)  # it is: nothing to complain about
    g.open("2")
    out = c.cli("resume", id)
    assert "running" in out, out
    c.wait(lambda: c.action(id)["state"] == "done")
    assert g.versions() == ["2", "2", "2"]
    c.wait_calm()
    done = c.run("resume", id)
    assert done.returncode == 3 and "is done" in done.stderr, done.stderr


def test_abort_leaves_what_is_expected_and_drift_shows(g: Gates) -> None:
    c = g.c
    id = g.hold("3", 0)
    asked = c.run("abort", id)
    assert asked.returncode == 3 and "--confirm" in asked.stderr, asked
    assert c.action(id)["state"] == "running"
    c.cli("abort", id, "--confirm", id.lstrip("#"))
    row = c.action(id)
    assert row["state"] == "aborted" and "aborted by" in row["note"], row
    status = c.status()
    assert {i["version_expected"] for i in status["instances"] if i["service"] == "shop.gate"} == {"3"}
    wrong = {d["target"] for d in status["drift"] if d["kind"] == "wrong version"}
    assert wrong == {"shop.gate/1", "shop.gate/2"}
    g.open("3")
    c.cli("converge", "gate")
    assert g.versions() == ["3", "3", "3"]
    c.wait_calm()


def test_abort_with_undo_returns(g: Gates) -> None:
    c = g.c
    g.open("3.5")
    c.cli("deploy", "gate", "3.5")
    id = g.hold("4", 1)
    out = c.cli("abort", id, "--undo", "--confirm", id.lstrip("#"))
    row = c.action(id)
    assert row["state"] == "returned", (row, out)
    assert re.fullmatch(r"aborted by \S+\. Returned to 3\.5\.", row["note"]), row
    assert g.versions() == ["3.5"] * 3
    c.wait_calm()
    back = [a for a in c.status()["actions"] if a["cause"] == id]
    assert [a["state"] for a in back] == ["done"]


def test_two_actions_on_the_same_targets_exclude_each_other(g: Gates) -> None:
    c = g.c
    id = g.hold("5", 0)
    for words in (("deploy", "gate", "6"), ("restart", "gate/0"), ("scale", "gate", "4")):
        refused = c.run(*words)
        assert refused.returncode == 3, refused
        assert id in refused.stderr and "since" in refused.stderr and "(by " in refused.stderr, refused.stderr
    c.cli("restart", "other")  # has nothing to do with it
    g.open("5")
    c.wait(lambda: c.action(id)["state"] == "done")
    c.wait_calm()


def test_the_plan_that_was_reviewed_is_the_plan_that_runs(g: Gates) -> None:
    c = g.c

    async def with_session(work: Any) -> Any:
        session = RemoteSession(c.state / "control.sock")
        await session.connect()
        try:
            return await work(session)
        finally:
            await session.close()

    intent = Intent(verb="deploy", targets=("shop.gate",), params={"version": "7"})
    plan: Plan = asyncio.run(with_session(lambda s: s.plan(intent)))
    c.cli("restart", "other")
    same: Plan = asyncio.run(with_session(lambda s: s.plan(intent)))
    assert same.digest == plan.digest  # what it does not touch does not matter
    c.cli("stop", "gate/1", "--confirm", "gate/1")
    before = c.status()
    with pytest.raises(Refused, match="changed"):
        asyncio.run(with_session(lambda s: s.submit(intent, digest=plan.digest)))
    after = c.status()
    assert (after["revision"], len(after["actions"])) == (before["revision"], len(before["actions"]))


def test_exit_codes_tell_bad_from_refused(g: Gates) -> None:
    c = g.c
    assert c.run("pause", "#999").returncode == 2
    assert c.run("deploy", "gaet", "2").returncode == 2
    assert "gate" in c.run("deploy", "gaet", "2").stderr
    assert c.run("stop", "gate").returncode == 3
    assert c.run("restart", "gate", "--read-only").returncode == 3
    assert json.loads(c.cli("status", "--json"))["cluster"] == "gates"
