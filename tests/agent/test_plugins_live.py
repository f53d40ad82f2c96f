"""Plug-ins on a real agent: what is refused, what goes wrong in one, and that nothing else notices."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cockpit.swarm.records import identity
from cockpit.swarm.signatures import Subject, format_key, statement
from tests.agent.fake import AgentProcess, FakeController, unitspec
from tests.helpers import PATIENCE, alive, until

KEY = Ed25519PrivateKey.generate()
PUBLIC = format_key(KEY.public_key().public_bytes_raw())
MAIN = """
import os, time

def start(host):
    host.word("hello", lambda call: {"version": host.version, "pid": os.getpid()})
    host.word("slow", slow)
    host.word("sleepy", lambda call: time.sleep(600))
    host.word("crash", lambda call: os._exit(5))
    host.word("leak", leak)

def slow(call):
    call.progress({"begun": os.getpid()})
    while not os.path.exists(call.args["until"]):
        time.sleep(0.01)
        if call.cancelled.is_set():
            return {"cancelled": True}
    return {"done": True}

def leak(call):
    kept = []
    while True:
        kept.append(b"x" * 1000000)
        time.sleep(0.001)
"""
WORDS = {
    "hello": {"timeout": 60}, "slow": {"timeout": 60}, "sleepy": {"timeout": 0.3}, "crash": {"timeout": 60},
    "leak": {"timeout": 60},
}  # fmt: skip


def installed(
    agent: AgentProcess, version: str, *, name: str = "tester", words: Any = None, main: str = MAIN,
    more: Any = None,
) -> dict[str, Any]:
    """A release on the host, as `fetch` leaves it; the arguments of the word `plugin`."""
    words = WORDS if words is None else words
    facts = {"name": name, "version": version, "words": words, "limits": {"memory": 64 << 20}, **(more or {})}
    root = agent.dir / "releases" / name / version
    root.mkdir(parents=True)
    files = {}
    for path, text in (("plugin.json", json.dumps(facts)), ("main.py", main)):
        (root / path).write_text(text)
        (root / path).chmod(0o644)
        files[path] = [hashlib.sha256(text.encode()).hexdigest(), *identity(str(root / path))]
    sha256 = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    record = {"sha256": sha256, "kind": "plugin", "size": 1, "files": files, "links": {}}
    (root.parent / f".{version}.json").write_text(json.dumps(record))
    signed = KEY.sign(statement("plugin", Subject(name, version, "any", "plugin", sha256)))
    signature = {"role": "plugin", "key": PUBLIC, "signature": base64.b64encode(signed).decode()}
    return {
        "name": name, "version": version, "sha256": sha256, "platform": "any", "signatures": [signature],
        "signers": {"plugin": [PUBLIC]},
    }


async def word(controller: FakeController, word_: str, **args: Any) -> dict[str, Any]:
    return await controller.command(word_, **args)


def row(controller: FakeController, name: str = "tester") -> dict[str, Any]:
    for frame in reversed(controller.of("plugins")):
        return next((r for r in frame["plugins"] if r["name"] == name), {})
    return {}


async def test_a_new_version_serves_while_the_old_finishes(
    controller: FakeController, agent: AgentProcess, tmp_path: Path
) -> None:
    await controller.ok("plugin", **installed(agent, "1.0.0"))
    pid, go = agent.pid, tmp_path / "go"
    await controller.send({
        "t": "cmd", "task": "long", "uuid": controller.hellos[-1][1], "word": "slow", "args": {"until": str(go)},
    })  # fmt: skip
    old = (await until(lambda: [f for f in controller.of("progress") if f["task"] == "long"]))[0]["data"]["begun"]
    await controller.ok("plugin", **installed(agent, "1.1.0"))
    answer = await controller.ok("hello")
    assert answer["version"] == "1.1.0" and answer["pid"] != old and alive(old)
    go.touch()
    assert (await controller.result("long"))["data"] == {"done": True}
    await until(lambda: not alive(old), what="the old process goes")
    assert row(controller)["version"] == "1.1.0" and agent.pid == pid
    await controller.ok("plugin-remove", name="tester")
    assert (await word(controller, "hello"))["code"] == "bad"


async def test_crash_timeout_and_leak_harm_nobody(controller: FakeController, agent: AgentProcess) -> None:
    spec = unitspec()
    await controller.ok("prepare", spec=spec)
    started = await controller.ok("start", unit=spec["unit"])
    pid = agent.pid
    await controller.ok("plugin", **installed(agent, "1.0.0"))
    answer = await word(controller, "crash")
    assert answer["code"] == "broken" and "exit 5" in answer["text"]
    await until(lambda: row(controller).get("state") == "broken", what="it is shown as broken")
    await until(lambda: _ok(word(controller, "hello")), what="it is started anew")
    answer = await word(controller, "sleepy")
    assert answer["code"] == "timeout" and "was killed" in answer["text"]
    await until(lambda: _ok(word(controller, "hello")))
    answer = await controller.command("leak", timeout=PATIENCE)
    assert "than its 64" in answer["text"] or "MemoryError" in answer["text"], answer  # whichever limit was first
    report = controller.unit(spec["unit"])
    assert report is not None and report["pid"] == started["pid"] and alive(started["pid"]) and alive(pid)


async def _ok(answer: Any) -> bool:
    return bool((await answer)["ok"])


@pytest.mark.parametrize(("change", "code", "says"), [
    ({"signatures": []}, "unsigned", "plugin"),
    ({"signers": {}}, "unsigned", "plugin"),
    ({"platform": "linux-arm64"}, "unsigned", "does not fit"),
    ({"version": "9.9.9"}, "missing", "not on this host"),
])  # fmt: skip
async def test_what_is_not_signed_is_not_loaded(
    controller: FakeController, agent: AgentProcess, change: dict[str, Any], code: str, says: str
) -> None:
    answer = await word(controller, "plugin", **{**installed(agent, "1.0.0"), **change})
    assert (answer["ok"], answer.get("code")) == (False, code) and says in answer["text"], answer


async def test_what_was_altered_clashes_or_does_not_start_is_refused(
    controller: FakeController, agent: AgentProcess
) -> None:
    altered = installed(agent, "1.0.0")
    (agent.dir / "releases/tester/1.0.0/main.py").write_text(MAIN + "#")
    assert (await word(controller, "plugin", **altered))["code"] == "altered"
    more = installed(agent, "1.0.1")
    (agent.dir / "releases/tester/1.0.1/json.py").write_text("")
    answer = await word(controller, "plugin", **more)
    assert answer["code"] == "altered" and "json.py" in answer["text"]
    for number, words in enumerate(({"fetch": {}}, {"exec": {}}, {"plugin": {}})):
        answer = await word(controller, "plugin", **installed(agent, f"2.0.{number}", words=words))
        assert answer["code"] == "clash", answer
    answer = await word(controller, "plugin", **installed(agent, "3.0.0", main="raise SystemExit('no luck')"))
    assert answer["code"] == "broken", answer
    assert not row(controller)


async def test_it_comes_back_with_the_agent_and_leaves_with_it(
    controller: FakeController, agent: AgentProcess
) -> None:
    await controller.ok("plugin", **installed(agent, "1.0.0"))
    old = (await controller.ok("hello"))["pid"]
    after = len(controller.frames)
    os.kill(agent.pid, signal.SIGKILL)
    await until(lambda: not alive(old), what="its processes do not outlive the agent")
    await controller.connected(after)
    assert (await controller.ok("hello"))["version"] == "1.0.0"
    after = len(controller.frames)
    (agent.dir / "releases/tester/1.0.0/main.py").write_text("# other\n")
    os.kill(agent.pid, signal.SIGTERM)
    await controller.connected(after)
    await until(lambda: row(controller).get("state") == "refused")
    assert "other content" in row(controller)["text"]
    assert (await word(controller, "hello"))["code"] == "bad"


async def test_schedules_run_and_metrics_flow(controller: FakeController, agent: AgentProcess) -> None:
    bad = {"bad": {"cron": "61 * * * *", "argv": ["true"]}}
    settings = {"metrics": {"period": 1}, "schedule": {"schedules": bad}}
    await controller.send({"t": "plugin-settings", "settings": settings})
    samples = await until(lambda: [f for f in controller.of("plugin") if "sample" in f["data"]])
    assert samples[0]["data"]["sample"]["memory"]["total"] > 0
    told = await until(lambda: [
        f for f in controller.of("plugin") if f["name"] == "schedule" and f["data"].get("schedules")
    ])  # fmt: skip
    assert "minute" in told[-1]["data"]["schedules"]["bad"]["wrong"]
    state = agent.dir / "plugin-data" / "schedule" / "schedules.json"
    kept = {"tick": {"checked": 1.0e9, "cron": "0 3 * * *", "ends": [], "running": []}}
    await until(lambda: row(controller, "schedule")["state"] == "running")
    await controller.send({"t": "plugin-settings", "settings": {}})
    await until(lambda: [row(controller, "schedule")[k] for k in ("state", "leaving")] == ["ready", 0])
    state.write_text(json.dumps(kept))
    tick = {"cron": "0 3 * * *", "argv": ["sh", "-c", "echo said; exit 3"], "timeout": 5}
    await controller.send({"t": "plugin-settings", "settings": {"schedule": {"schedules": {"tick": tick}}}})

    def ends() -> list[dict[str, Any]]:
        return [e for f in controller.of("plugin") for e in f["data"].get("ends", ()) if e["schedule"] == "tick"]

    end = (await until(ends))[0]
    assert end["code"] == 3 and end["last"] == ["said"] and end["missed"] > 100, end
    assert len({e["started"] for e in ends()}) == 1


HEARING = """
import os, time

def start(host):
    heard = []
    host.on("settings", lambda: heard.append("settings"))
    host.on("units", lambda: heard.append("units"))
    host.on("connected", lambda: heard.append("connected"))
    host.word("heard", lambda call: {
        "version": host.version, "heard": heard, "settings": host.settings, "units": sorted(host.units),
    })
    open(GO + ".begun", "w").close()
    while not os.path.exists(GO):
        time.sleep(0.01)
"""


async def test_what_changes_while_it_starts_is_heard(
    controller: FakeController, agent: AgentProcess, tmp_path: Path
) -> None:
    """A process takes its time until it is ready, and nothing is told twice."""
    go = tmp_path / "go"
    facts = {"words": {"heard": {"timeout": 60}}, "main": f"GO = {str(go)!r}\n{HEARING}",
             "more": {"wants": ["units"], "settings": {"word": "text"}}}  # fmt: skip

    async def meanwhile(task: str, word: str) -> dict[str, Any]:
        """What it knows that was told `word`, and of a new unit, while a process of it started."""
        await until((tmp_path / "go.begun").exists, what="its process has begun")
        spec = unitspec(f"puzzle.{task}/0:1")
        await controller.ok("prepare", spec=spec)
        await controller.ok("start", unit=spec["unit"])
        await controller.send({"t": "plugin-settings", "settings": {"tester": {"word": word}}})
        await until(lambda: told(agent) == {"word": word}, what="the agent has the settings")
        go.touch()
        assert (await controller.result(task))["ok"]

        async def known() -> bool:
            answer = await controller.ok("heard")
            return answer["settings"] == {"word": word} and spec["unit"] in answer["units"]

        await until(known, what="it knows what came while it started")
        go.unlink()
        (tmp_path / "go.begun").unlink()
        return await controller.ok("heard")

    async def push(task: str, version: str) -> None:
        await controller.send({
            "t": "cmd", "task": task, "uuid": controller.hellos[-1][1], "word": "plugin",
            "args": installed(agent, version, **facts),
        })  # fmt: skip

    await push("first", "1.0.0")
    assert (await meanwhile("first", "a"))["version"] == "1.0.0"
    await push("second", "1.1.0")
    answer = await meanwhile("second", "b")
    assert answer["version"] == "1.1.0" and answer["heard"].count("settings") == 1


def told(agent: AgentProcess) -> Any:
    kept = agent.dir / "plugins.json"
    return json.loads(kept.read_text())["settings"].get("tester") if kept.exists() else None
