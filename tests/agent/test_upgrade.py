"""A new agent beside the old one, over a real keeper and real TLS, with exits happening all the time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import cockpit
from tests.agent.fake import UUID, AgentProcess, Frame, unitspec
from tests.agent.upgrading import UpgradeHub, release
from tests.helpers import alive, loopback, until

OLD = cockpit.__version__
NEW = "99.1.0"
WEB = "puzzle.web/2:5"
SLEEPER = {"main": ["/bin/sleep", "600"]}
FLAPPING = {"main": ["/bin/sh", "-c", "exit 3"]}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[UpgradeHub]:
    hub = UpgradeHub(tmp_path, loopback())
    await hub.start()
    yield hub
    await hub.stop()


@pytest.fixture
async def agent(short_dir: Path, hub: UpgradeHub) -> AsyncIterator[AgentProcess]:
    process = AgentProcess(short_dir / "h", hub)
    process.enroll()
    first = await process.start()
    try:
        await hub.connected()
        yield process
    finally:
        await process.end()
        if first.returncode is None:
            await first.wait()


async def sleeper(hub: UpgradeHub, unit: str = WEB, **facts: Any) -> int:
    spec = unitspec(unit, **{"processes": SLEEPER, "ports": {}, "check": None, **facts})
    await hub.ok("prepare", spec=spec)
    pid: int = (await hub.ok("start", unit=unit))["pid"]
    return pid


def flapping(unit: str) -> dict[str, Any]:
    restart = {"mode": "always", "delay": 0.02, "max_delay": 0.02}
    return unitspec(unit, processes=FLAPPING, ports={}, check=None, restart=restart)


def exits(hub: UpgradeHub) -> dict[int, Frame]:
    return {f["seq"]: f["event"] for f in hub.of("event") if f["event"]["event"] == "exit"}


def gone(agent: AgentProcess, pid: int) -> Any:
    return until(lambda: not alive(pid), what=f"{pid} goes")


def results(hub: UpgradeHub, task: str) -> list[Frame]:
    return [f for f in hub.of("result") if f["task"] == task]


async def one_agent(agent: AgentProcess, hub: UpgradeHub, version: str) -> int:
    """There is one agent now, of this version, and the keeper keeps it."""
    link = await hub.served_by(version)
    pid = link.hello.agent_pid
    assert pid is not None
    others = {h["agent_pid"] for _, _, h in hub.hellos} - {pid}
    await until(lambda: not any(alive(p) for p in others), what="the others are gone")
    assert alive(pid)
    return pid


async def test_seven_steps_and_every_exit_is_told_once(agent: AgentProcess, hub: UpgradeHub) -> None:
    old = agent.pid
    service = await sleeper(hub)
    flaps = [f"puzzle.f/{n}:1" for n in range(3)]
    for unit in flaps:
        await hub.ok("prepare", spec=flapping(unit))
        await hub.ok("start", unit=unit)
    release(agent.dir, NEW)
    before = await hub.command("stop", task="before", unit="no.such/1:1")
    reader, writer = await asyncio.open_unix_connection(str(agent.dir / "agent.sock"))
    writer.write(b'{"id":1,"op":"watch","names":["web"]}\n')
    assert b'"ok":true' in await reader.readline()

    answer = await hub.upgrade(NEW)
    assert answer["ok"], answer
    new = answer["data"]["pid"]
    link = await hub.served_by(NEW)
    assert link.hello.agent_pid == new != old and link.hello.role == "candidate" and link.hello.replaces == old
    await gone(agent, old)
    assert any("ends its tasks" in w for w in hub.words) and hub.words[-1] == ""
    assert await reader.read() == b"", "who watched names comes again"
    reader, again = await asyncio.open_unix_connection(str(agent.dir / "agent.sock"))
    again.write(b'{"id":1,"op":"watch","names":["web"]}\n')
    assert b'"ok":true' in await reader.readline()

    count = len(exits(hub))
    await until(lambda: len(exits(hub)) > count + 5)
    for unit in flaps:
        await hub.ok("stop", unit=unit)
    for unit in flaps:
        await hub.sees(unit, pid=None, wanted=False)
        runs = [e["run"] for e in exits(hub).values() if e["unit"] == unit]
        assert runs == list(range(1, len(runs) + 1)), f"{unit}: each run's exit, once, in order"
    assert alive(service) and (await hub.sees(WEB, pid=service))["run"] == 1
    # what was answered before is answered again, and nothing twice
    assert await hub.command("stop", task="before", unit=WEB) == before and alive(service)
    assert len(results(hub, "up")) == 1
    old_link = next(x for x in hub.links if x.hello.agent_pid == old)
    assert old_link.frames[-1] == {"t": "eof"}
    after = old_link.frames[old_link.frames.index(results(hub, "up")[0]) :]
    assert not [f for f in after if f["t"] in ("unit", "event", "full", "names")]
    # the keeper keeps the new one
    os.kill(new, signal.SIGKILL)
    await until(lambda: hub.main is not None and hub.main.hello.agent_pid not in (old, new), what="it is back")
    for writing in (writer, again):
        writing.close()


async def test_tasks_under_way_end_where_they_began_and_are_not_begun_again(
    agent: AgentProcess, hub: UpgradeHub
) -> None:
    stubborn = {"main": ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]}
    await sleeper(hub, processes=stubborn)
    await sleeper(hub, "puzzle.other/1:1")
    release(agent.dir, NEW)
    stop = {"t": "cmd", "task": "slow", "uuid": UUID, "word": "stop", "args": {"unit": WEB, "grace": 4}}
    await hub.send(stop)
    old = agent.pid
    answer = await hub.upgrade(NEW)
    assert answer["ok"] and alive(old), "it stays for its task"
    await hub.served_by(NEW)
    await hub.send(stop)
    await hub.send({"t": "cmd", "task": "next", "uuid": UUID, "word": "start", "args": {"unit": WEB}})
    await hub.ok("stop", unit="puzzle.other/1:1")
    assert not results(hub, "slow") and not results(hub, "next"), "another unit need not wait, this one must"
    slow = await hub.result("slow", timeout=15)
    assert slow["ok"] and slow["data"]["exit"]["reason"] == "stopped: killed after 4 s"
    assert (await hub.result("next"))["data"]["run"] == 2
    await gone(agent, old)
    assert {f["task"]: f for f in results(hub, "slow")} == {"slow": slow}, "one answer, however often it is told"


async def test_a_schedule_under_way_ends_in_the_old_one_and_is_told(
    agent: AgentProcess, hub: UpgradeHub, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    data = agent.dir / "plugin-data" / "schedule"
    data.mkdir(parents=True, mode=0o700)
    cron = "0 3 * * *"
    # a moment of long ago was missed: it is run at once
    kept = {"tick": {"checked": 1.0e9, "cron": cron, "ends": [], "running": []}}
    (data / "schedules.json").write_text(json.dumps(kept))
    script = f"echo $$ >> {begun}; until [ -e {go} ]; do sleep 0.05; done; echo said"
    tick = {"cron": cron, "argv": ["sh", "-c", script], "timeout": 60}
    await hub.send({"t": "plugin-settings", "settings": {"schedule": {"schedules": {"tick": tick}}}})
    await until(begun.exists, what="the schedule runs")
    old = agent.pid
    old_link = hub.main
    assert old_link is not None
    release(agent.dir, NEW)
    assert (await hub.upgrade(NEW))["ok"]
    await hub.served_by(NEW)
    await until(lambda: hub.words[-1:] == [f"upgrading: {old} ends its tasks"])
    state = data / "schedules.json"

    def passed_on() -> bool:
        """The new one has looked at the clock: it runs the schedules now."""
        return bool(state.exists() and json.loads(state.read_text())["tick"]["running"] == [])

    await until(passed_on, what="the other one has the schedules")
    (shell,) = begun.read_text().split()
    assert alive(old) and alive(int(shell)), "it stays for what it runs"
    go.touch()
    await gone(agent, old)
    ends = [e for f in old_link.frames if f["t"] == "plugin" for e in f["data"].get("ends", ())]
    assert [(e["schedule"], e["code"], e["last"]) for e in ends] == [("tick", 0, ["said"])]
    assert old_link.frames[-1] == {"t": "eof"}
    assert begun.read_text().split() == [shell], "it was begun once"


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("print('no such luck', flush=True); sys.exit(7)", "ended with exit 7.*no such luck"),
        ("import no_module_of_this_name", "exit 1.*no_module_of_this_name"),
        ("import time; print('idle', flush=True); time.sleep(600)", "did not get beyond `start` in 4 s.*idle"),
        (
            "import cockpit.agent.takeover as t\ndef bad(d): raise OSError('the disk is read-only')\nt._files = bad",
            "self-test.*the disk is read-only|the disk is read-only",
        ),
        ("import cockpit.link.frames as f; f.PROTOCOL = 7", "speaks protocol 7"),
    ],
)
async def test_a_bad_candidate_is_called_off(
    agent: AgentProcess, hub: UpgradeHub, before: str, why: str
) -> None:
    import re

    pid = agent.pid
    service = await sleeper(hub)
    release(agent.dir, NEW, before)
    answer = await hub.upgrade(NEW, limit=4 if "idle" in before else 60)  # the time to say so
    assert not answer["ok"] and re.search(why, answer["text"]), answer
    assert "goes on as before" in answer["text"]
    again = await hub.upgrade(NEW, task="up2", limit=2)
    assert not again["ok"] and len(results(hub, "up")) == 1
    assert hub.main is not None and hub.main.hello.agent_pid == pid and alive(pid) and alive(service)
    assert not [link for link in hub.agents("candidate") if alive(int(link.hello.agent_pid or 0))]
    await hub.ok("stop", unit=WEB)


async def test_a_release_for_another_protocol_is_refused_by_either_side(
    agent: AgentProcess, hub: UpgradeHub
) -> None:
    release(agent.dir, NEW, protocol=2)
    answer = await hub.upgrade(NEW)
    assert answer["code"] == "bad" and "speaks protocol 2, this cluster 1" in answer["text"]
    release(agent.dir, "99.2.0")
    hub.refuse.add("99.2.0")
    answer = await hub.upgrade("99.2.0", task="up2", limit=2)
    assert not answer["ok"] and "did not get beyond" in answer["text"], answer
    release(agent.dir, "99.3.0", "cockpit.__version__ = '98.0'")
    misnamed = await hub.upgrade("99.3.0", task="up4")
    assert "is named 99.3.0, but it holds the agent 98.0" in misnamed["text"]
    missing = await hub.upgrade("77.0", task="up3")
    assert missing["code"] == "missing"
    assert hub.main is not None and hub.main.hello.version == OLD


DIES = """
import os
import cockpit.agent.{module} as m
kept = m.{name}
{kind} die(*a, **k):
    os.kill(os.getpid(), 9)
m.{name} = die
"""


@pytest.mark.parametrize(
    "step",
    [
        DIES.format(module="takeover", name="Candidacy.test", kind="async def"),
        DIES.format(module="takeover", name="Candidacy.take_over", kind="async def"),
        DIES.format(module="takeover", name="inherit", kind="def"),
        DIES.format(module="takeover", name="NearSocket.start", kind="async def"),
    ],
    ids=["at its test", "when it may serve", "with the turn", "when the keeper has it"],
)
async def test_kill_9_of_the_new_one(agent: AgentProcess, hub: UpgradeHub, step: str) -> None:
    service = await sleeper(hub)
    release(agent.dir, NEW, step)
    answer = await hub.upgrade(NEW)
    assert not answer["ok"] and "signal 9" in answer["text"], answer
    await one_agent(agent, hub, OLD)
    assert alive(service) and (await hub.sees(WEB, pid=service))["run"] == 1
    await hub.ok("stop", unit=WEB)


@pytest.mark.parametrize("stage", ["started", "tested", "retired", "served"])
async def test_kill_9_of_the_old_one(
    agent: AgentProcess, hub: UpgradeHub, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await sleeper(hub)
    old = agent.pid
    go = agent.dir / "go"
    held = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    release(agent.dir, NEW, held if stage == "started" else "")
    tested = hub.candidates._tested
    if stage == "tested":
        monkeypatch.setattr(hub.candidates, "_tested", lambda known, frame: os.kill(old, signal.SIGKILL))
    elif stage == "retired":

        def retired(known: Any, frame: Any) -> None:
            tested(known, frame)
            os.kill(old, signal.SIGKILL)

        monkeypatch.setattr(hub.candidates, "_tested", retired)
    await hub.order(NEW)
    if stage == "started":
        log = agent.dir / "logs" / "candidate.log"
        await until(log.exists)
        os.kill(old, signal.SIGKILL)
        await gone(agent, old)
        go.touch()
    if stage == "served":
        await hub.served_by(NEW)
        if alive(old):
            os.kill(old, signal.SIGKILL)
    await gone(agent, old)

    def follower() -> str:
        """Of whoever serves and has said so: a candidate that was moved to may go with the one that started it."""
        link = hub.main
        if link is None or link.hello.agent_pid == old or not any(f["t"] == "full" for f in link.frames):
            return ""
        return link.hello.version

    version = await until(follower)
    await one_agent(agent, hub, version)
    if stage in ("started", "tested"):
        assert version == OLD, "a candidate whose turn has not come goes with the one that started it"
    if stage == "served":
        assert version == NEW and (await hub.result("up"))["ok"]
    assert len({str(f) for f in results(hub, "up")}) <= 1, "never two answers"
    assert alive(service)
    await hub.ok("stop", unit=WEB)


async def test_the_word_of_the_controller_may_be_lost(agent: AgentProcess, hub: UpgradeHub) -> None:
    """The link of the old one breaks before `retire` arrives: it is told again."""
    release(agent.dir, NEW)
    old = agent.pid
    main = hub.main
    assert main is not None
    real = main.send

    def lossy(frame: Frame) -> None:
        if frame["t"] == "retire":
            main.cut()
        else:
            real(frame)

    main.send = lossy  # type: ignore[method-assign]
    await hub.order(NEW)
    await hub.served_by(NEW)
    await one_agent(agent, hub, NEW)
    assert not alive(old)
    assert len({str(f) for f in results(hub, "up")}) <= 1


async def test_an_upgrade_and_back_again_and_the_keeper_too(agent: AgentProcess, hub: UpgradeHub) -> None:
    keeper = await agent.keeper_pid()
    service = await sleeper(hub)
    await hub.ok("prepare", spec=flapping("puzzle.f/0:1"))
    await hub.ok("start", unit="puzzle.f/0:1")
    release(agent.dir, NEW)
    root = release(agent.dir, "99.0.1")
    for n, version in enumerate((NEW, "99.0.1", NEW)):
        answer = await hub.upgrade(version, task=f"up{n}")
        assert answer["ok"], answer
        await one_agent(agent, hub, version)
    assert (await hub.upgrade(NEW, task="same"))["data"]["already"]

    import shutil

    from tests.agent.keeper_host import KEEPER

    tree = root.parent / "tree" / "cockpit"
    shutil.copytree(KEEPER, tree / "agent" / "keeper", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "__init__.py").write_text('__version__ = "99.0.2"\n')
    argv = ["{python}", "-I", "-S", str(tree / "agent" / "keeper")]
    release(agent.dir, "99.0.2", keeper=argv)
    after = len(hub.frames)
    answer = await hub.upgrade("99.0.2", task="keeper", part="keeper")
    assert answer["ok"] and answer["data"] == {"pid": keeper, "version": "99.0.2"}, answer
    full = await hub.connected(after)
    assert full["keeper_version"] == "99.0.2" and full["keeper_pid"] == keeper
    assert (await hub.upgrade("99.0.2", task="keeper2", part="keeper"))["data"]["already"]
    (tree.parent / "broken").mkdir()
    (tree.parent / "broken" / "__main__.py").write_text("import nothing_of_this_name\n")
    release(agent.dir, "99.0.3", keeper=[*argv[:-1], str(tree.parent / "broken")])
    answer = await hub.upgrade("99.0.3", task="keeper3", part="keeper")
    assert answer["code"] == "exec" and "nothing_of_this_name" in answer["text"]
    await hub.ok("stop", unit="puzzle.f/0:1")
    await hub.sees("puzzle.f/0:1", pid=None, wanted=False)
    runs = [e["run"] for e in exits(hub).values()]
    assert runs == list(range(1, len(runs) + 1))
    assert alive(service) and await agent.keeper_pid() == keeper
