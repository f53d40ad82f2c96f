"""Guards over what runs at once: programs, shells, plug-ins. On a real controller, at every way in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.act import journal
from cockpit.act.telling import told
from cockpit.artifacts.building import pack_inputs
from cockpit.controller.core import Controller
from cockpit.controller.serving import Options, controller
from cockpit.model import guard_rows
from cockpit.model.guard_rows import APPROVE, CONFIRM, DENY, direct
from cockpit.model.view import Who
from cockpit.plan.steps import Intent, Refused
from tests.controller.fakes import TOPOLOGY, FakeAgent, agent, engine, topology

GUARDS = """\
guards:
  - {name: bulk, verbs: [exec], over_hosts: 1, effect: deny, reason: one at a time}
  - {name: ledger, verbs: [exec, shell, forward], targets: [db], effect: deny, break_glass: true,
     reason: the ledger runs here}
  - {name: typed, verbs: [exec], hosts: [region=bj], effect: confirm, max: 1, reason: far away}
  - {name: eyes, verbs: [shell, plugin-remove, artifact-build], regions: [bj], effect: approve, reason: four eyes}
  - {name: compiler, verbs: [artifact-build], targets: [bad/*], effect: deny, break_glass: true, reason: not here}
  - {name: night, verbs: [plugin-remove], inside: {from: "00:00", to: "24:00"}, effect: deny, reason: never now}
  - {name: all-of-it, max: 1, effect: deny, reason: no verb is named}
"""
LI = Who(author="li@here", role="operator", uid=1001)
WU = Who(author="wu@here", role="operator", uid=1002)


@pytest.fixture
async def agents() -> dict[str, FakeAgent]:
    return {}


@pytest.fixture
async def c(short_dir: Path, agents: dict[str, FakeAgent]) -> AsyncIterator[Controller]:
    async with engine(short_dir, topology(TOPOLOGY + GUARDS)) as made:
        for host in ("a-1", "b-1"):
            agents[host] = await agent(made, short_dir, host)
        yield made
        for each in agents.values():
            await each.stop()


async def run(c: Controller, verb: str, who: Who = LI, **request: Any) -> list[dict[str, Any]]:
    stream: Any = c.session(who).stream(verb, request)
    async with contextlib.aclosing(stream):
        return [item async for item in stream]


async def entries(c: Controller, *kinds: str) -> list[journal.Entry]:
    await c.ledger.keep()
    return [e for e in journal.read(c.state / "journal.jsonl")[0] if e.kind in kinds]


async def test_a_denied_program_runs_nowhere_and_the_attempt_is_written_down(
    c: Controller, agents: dict[str, FakeAgent]
) -> None:
    plan = await direct(c.session(LI), "exec", {"argv": ["df", "-h"], "hosts": ["a-1"]})
    assert plan.guard is not None and (plan.guard.effect, plan.guard.rule) == (DENY, "ledger")
    assert any("runs df -h, as the agent's user" in t for t in plan.touches) and "on a-1" in plan.touches
    with pytest.raises(Refused, match=r'exec df -h on a-1 is denied by guard "ledger".*the ledger runs here'):
        await run(c, "exec", argv=["df", "-h"], hosts=["a-1"])
    assert "exec" not in agents["a-1"].words and not await entries(c, "exec")
    assert "the ledger runs here" in told((await entries(c, "refused"))[-1])
    with pytest.raises(Refused, match="ledger"):
        await run(c, "shell", instance="shop.db/0")
    assert not await entries(c, "shell")
    with pytest.raises(Refused, match="copy from /etc/passwd on a-1 is denied by guard .ledger"):
        await run(c, "copy", host="a-1", path="/etc/passwd")
    assert not await entries(c, "copy") and "copy" not in agents["a-1"].words
    with pytest.raises(Refused, match=r'forward port 5432 on shop.db/0 is denied by guard "ledger"'):
        await run(c, "forward", instance="shop.db/0", port="5432")
    plan = await direct(c.session(LI), "forward", {"instance": "shop.db/0", "port": "5432"})
    assert any("to port 5432 of shop.db/0" in t for t in plan.touches) and not await entries(c, "forward")


async def test_more_hosts_than_the_maximum(c: Controller, agents: dict[str, FakeAgent]) -> None:
    with pytest.raises(Refused, match="2 hosts, more than 1"):
        await run(c, "exec", argv=["true"], break_glass="look")
    assert not any("exec" in a.words for a in agents.values())


async def test_the_glass(c: Controller) -> None:
    found = await run(c, "exec", argv=["true"], hosts=["a-1"], break_glass="disk\nburns")
    assert found[-1]["host"] == "a-1" and "end" in found[-1]
    (glass,), (ran,) = await entries(c, "glass"), await entries(c, "exec")
    assert (glass.body["rule"], glass.body["reason"], glass.body["uid"]) == ("ledger", "disk burns", 1001)
    assert glass.body["action"] == ran.body["id"] and "GLASS BROKEN by li@here" in told(glass)


async def test_a_typed_name_is_for_what_was_looked_at(c: Controller, agents: dict[str, FakeAgent]) -> None:
    request = {"argv": ["reboot"], "hosts": ["b-1"]}
    plan = await direct(c.session(LI), "exec", request)
    assert plan.guard is not None and plan.guard.effect == CONFIRM and plan.confirm == "b-1"
    with pytest.raises(Refused, match="far away.*add --confirm b-1 to run it"):
        await run(c, "exec", **request)
    with pytest.raises(Refused, match="'a-1' is not the name"):
        await run(c, "exec", **request, confirm="a-1")
    other = {**request, "argv": ["reboot", "-f"]}
    with pytest.raises(Refused, match="what you looked at has changed"):
        await run(c, "exec", **other, confirm="b-1", digest=plan.digest)
    assert "exec" not in agents["b-1"].words
    assert (await run(c, "exec", **request, confirm="b-1", digest=plan.digest))[-1]["host"] == "b-1"
    assert (await entries(c, "exec"))[-1].body["guard"] == "typed"


async def test_a_second_person_and_then_it_runs_once(c: Controller, agents: dict[str, FakeAgent]) -> None:
    shell = {"host": "b-1", "argv": ["top"], "tty": False}
    for _ in range(2):
        with pytest.raises(Refused, match="a1 shell top on b-1.*cockpit approve a1, then the same runs once"):
            await run(c, "shell", **shell)
    assert [r.id for r in c.approvals.rows()] == ["a1"], "asked twice is one request"
    found = await guard_rows.approval(c.session(WU), "a1")
    assert found.same and found.plan is not None and "runs top" in found.plan.touches[0]
    with pytest.raises(Refused, match="second person"):
        await guard_rows.approve(c.session(LI), "a1", found.row.digest)
    row = await guard_rows.approve(c.session(WU), "a1", found.row.digest)
    assert (row.state, row.action) == ("approved", "") and "shell" not in agents["b-1"].words
    for who, other in ((WU, shell), (LI, {**shell, "argv": ["sh"]})):
        with pytest.raises(Refused, match=r"a\d shell"):
            await run(c, "shell", who, **other)
    agents["b-1"].fails["shell"] = ("bad", "no such program")
    with pytest.raises(Exception, match="no such program"):
        await run(c, "shell", **shell)
    assert agents["b-1"].words.count("shell") == 1
    (begun,) = await entries(c, "shell")
    assert (begun.body["request"], begun.body["approved"]) == ("a1", "wu@here")
    assert "approved by wu@here" in told(begun)
    with pytest.raises(Refused, match="a4 shell top"):
        await run(c, "shell", **shell)
    assert agents["b-1"].words.count("shell") == 1, "an approval is for one time"


async def test_what_is_copied_is_what_was_approved(c: Controller, agents: dict[str, FakeAgent]) -> None:
    copy = {"host": "b-1", "path": "/etc/x", "put": True, "size": 3, "sha256": "ab" * 32}
    with pytest.raises(Refused, match="a1 copy to /etc/x on b-1.*cockpit approve a1"):
        await run(c, "copy", **copy)
    found = await guard_rows.approval(c.session(WU), "a1")
    assert found.plan is not None and "sha256 abababababab" in found.plan.touches[0]
    await guard_rows.approve(c.session(WU), "a1", found.row.digest)
    with pytest.raises(Refused, match="a2 copy to"):
        await run(c, "copy", **{**copy, "sha256": "cd" * 32})
    agents["b-1"].fails["copy"] = ("exists", "/etc/x is there already")
    with pytest.raises(Refused, match="b-1: /etc/x is there already; --overwrite replaces it"):
        await run(c, "copy", **copy)
    (begun,), (end,) = await entries(c, "copy"), await entries(c, "copy-end")
    assert (begun.body["sha256"], begun.body["approved"]) == ("ab" * 32, "wu@here")
    assert "is there already" in end.body["why"] and "is there already" in told(end)


async def test_an_approval_that_nobody_used_expires_and_outlives_a_restart(short_dir: Path) -> None:
    shell = {"host": "b-1", "argv": ["top"], "tty": False}
    async with engine(short_dir, topology(TOPOLOGY + GUARDS)) as c:
        b = await agent(c, short_dir, "b-1")
        with pytest.raises(Refused, match="a1"):
            await run(c, "shell", **shell)
        await guard_rows.approve(c.session(WU), "a1", c.approvals.rows()[0].digest)
        await b.stop()
    async with controller(Options(state=short_dir / "s"), topology(TOPOLOGY + GUARDS)) as c:
        (row,) = c.approvals.rows()
        assert row.state == "approved" and c.approvals.kept["a1"].intent.params["argv"] == ["top"]
        await c.approvals.sweep(row.expires + 1)
        (row,) = c.approvals.rows()
        assert row.state == "expired" and "wu@here approved it, and it was not run in time" in row.note


async def test_plug_ins(c: Controller, agents: dict[str, FakeAgent]) -> None:
    with pytest.raises(Refused, match="never now"):
        await run(c, "plugin_remove", name="backup", hosts=["a-1"])
    with pytest.raises(Refused, match="a1 remove plug-in backup on b-1.*four eyes"):
        await run(c, "plugin_remove", name="backup", hosts=["b-1"])
    plan = await direct(c.session(LI), "plugin-remove", {"name": "backup", "hosts": ["b-1"]})
    assert plan.guard is not None and plan.guard.effect == APPROVE
    await guard_rows.approve(c.session(WU), "a1", plan.digest)
    assert (await run(c, "plugin_remove", name="backup", hosts=["b-1"]))[0]["state"] == "removed"
    assert "plugin-remove" not in agents["a-1"].words and agents["b-1"].words.count("plugin-remove") == 1


def recipe(tmp_path: Path, host: str, name: str = "web", **more: Any) -> dict[str, Any]:
    """What `artifact_build` wants, with inputs that lie there."""
    (tmp_path / "hello").write_text("hello\n")
    archive = tmp_path / "inputs"
    archive.unlink(missing_ok=True)
    sha256, size = pack_inputs({"hello": tmp_path / "hello"}, archive)
    return {
        "name": name, "version": "1", "host": host, "argv": ["make", "all"], "outputs": ["out"], "timeout": 20.0,
        "inputs": str(archive), "sha256": sha256, "size": size, **more,
    }  # fmt: skip


async def test_builds(c: Controller, agents: dict[str, FakeAgent], tmp_path: Path) -> None:
    request = recipe(tmp_path, "b-1", env={"KEY": "hidden"})
    plan = await direct(c.session(LI), "artifact-build", request)
    assert plan.guard is not None and (plan.guard.effect, plan.guard.rule) == (APPROVE, "eyes")
    assert plan.touches[0].startswith("runs make all, as the agent's user") and "on b-1" in plan.touches
    assert "hidden" not in repr(plan)
    with pytest.raises(Refused, match="a1 build web/1 on b-1.*four eyes"):
        await run(c, "artifact_build", **request)
    assert "build" not in agents["b-1"].words and not await entries(c, "build")
    await guard_rows.approve(c.session(WU), "a1", plan.digest)
    assert (await guard_rows.approval(c.session(WU), "a1")).same
    with pytest.raises(Refused, match="a2 build web/1"):
        await run(c, "artifact_build", **{**request, "env": {"KEY": "other"}})
    agents["b-1"].fails["build"] = ("busy", "2 builds are running on this host")
    again = recipe(tmp_path, "b-1", env={"KEY": "hidden"})
    last = (await run(c, "artifact_build", **again))[-1]
    assert last["failed"] == "b-1: 2 builds are running on this host" and agents["b-1"].words.count("build") == 1
    begun, ended = await entries(c, "build", "build-end")
    assert (begun.body["request"], begun.body["approved"]) == ("a1", "wu@here")
    assert "web/1 by make all  on b-1  by li@here" in told(begun) and "approved by wu@here" in told(begun)
    assert "2 builds are running" in told(ended)


async def test_what_a_build_makes_can_be_named(c: Controller, agents: dict[str, FakeAgent], tmp_path: Path) -> None:
    request = recipe(tmp_path, "a-1", name="bad")
    with pytest.raises(Refused, match=r'build bad/1 on a-1 is denied by guard "compiler".*not here'):
        await run(c, "artifact_build", **request)
    assert "build" not in agents["a-1"].words
    agents["a-1"].fails["build"] = ("busy", "busy")
    assert (await run(c, "artifact_build", **request, break_glass="fire"))[-1]["failed"] == "a-1: busy"
    (glass,), (ran,) = await entries(c, "glass"), await entries(c, "build")
    assert glass.body["action"] == ran.body["id"] and glass.body["verb"] == "artifact-build"


async def test_a_guard_that_names_no_verb_lets_people_look(c: Controller) -> None:
    plan = await direct(c.session(LI), "shell", {"host": "a-1"})
    assert plan.guard is None or plan.guard.rule != "all-of-it"
    verbs = {"restart": Intent(verb="restart", targets=("shop.web",))}
    assert (await c.session(LI).plan(verbs["restart"])).intent.verb == "restart"


async def test_read_only_people_may_ask_and_run_nothing(c: Controller) -> None:
    looker = Who(author="x", role="viewer", read_only="view-only")
    plan = await direct(c.session(looker), "exec", {"argv": ["true"], "hosts": ["b-1"]})
    assert plan.guard is not None
    for verb, request in (("exec", {"argv": ["true"]}), ("shell", {"host": "b-1"}), ("plugin_remove", {"name": "x"}),
                          ("forward", {"instance": "shop.web/0"})):
        with pytest.raises(Refused, match="view-only"):
            await run(c, verb, looker, **request)
    await asyncio.sleep(0)
