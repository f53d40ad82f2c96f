"""The agent's word `signal`: which run is meant, who does not listen, and keepers that cannot choose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cockpit.agent.builtin.signals import handles, signalled
from cockpit.agent.tasks import CommandError
from tests.agent.fake import UUID, AgentProcess, FakeController, unitspec
from tests.helpers import alive, running, until, wait_for

U = "p.web/0:1"


class Book:
    def __init__(self, record: dict[str, Any]) -> None:
        self.records = {U: record}


class Host:
    """As much of an agent as the word needs, with a keeper of some version."""

    def __init__(self, version: int | None, **record: Any) -> None:
        self.book = Book({"run": 3, "pids": {"main": 7}, "processes": [{"name": "main"}], **record})
        self.version = version
        self.asked: list[dict[str, Any]] = []

    async def refresh(self, unit: str) -> None:
        assert unit == U

    async def keeper(self, op: str, **args: Any) -> dict[str, Any]:
        if op == "hello":
            return {"version": self.version}
        self.asked.append(args)
        return {"pids": self.book.records[U]["pids"], "run": 3}


async def told(host: Host, **args: Any) -> Any:
    return await signalled(host)({"unit": U, "signal": "HUP", **args}, lambda data: None)  # type: ignore[arg-type]


GROUP = {"pids": {"main": 7, "side": 8}, "processes": [{"name": "main"}, {"name": "side"}]}


@pytest.mark.parametrize(("version", "record", "args"), [
    (1, {}, {"run": 3}), (1, {}, {}), (2, {}, {"all": True}), (2, GROUP, {"process": "side", "run": 3}),
])  # fmt: skip
async def test_what_a_keeper_can_do_is_asked_of_it(version: int, record: Any, args: Any) -> None:
    host = Host(version, **record)
    assert (await told(host, **args))["run"] == 3
    assert host.asked == [{"unit": U, "signal": "HUP", "by": "controller", **args}]


@pytest.mark.parametrize(("version", "record", "args", "code", "said"), [
    (1, {}, {"all": True}, "unsupported", "the keeper of this host is too old"),
    (None, GROUP, {"process": "main"}, "unsupported", "--keeper` replaces it"),
    (2, {}, {"run": 2}, "busy", "started again meanwhile (its run is 3, not 2); nothing was sent"),
    (2, {"pids": {}}, {}, "missing", "has no process now; nothing was sent"),
])  # fmt: skip
async def test_nothing_is_sent_to_whom_it_was_not_meant_for(
    version: int | None, record: Any, args: Any, code: str, said: str
) -> None:
    host = Host(version, **record)
    with pytest.raises(CommandError) as error:
        await told(host, **args)
    assert error.value.code == code and said in error.value.text and host.asked == []


def test_who_listens_to_a_signal() -> None:
    listens = "import signal; signal.signal(signal.SIGHUP, lambda *_: 0); print('up', flush=True); signal.pause()"
    with running([sys.executable, "-S", "-c", listens], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert handles(process.pid, "HUP") and not handles(process.pid, "USR1") and handles(process.pid, "KILL")
        assert not handles(process.pid, "TERM") and handles(process.pid, "WINCH")
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: process.poll() is not None)
        assert handles(process.pid, "USR1"), "nobody can tell"


def state_of(pid: int) -> str:
    """T: it is frozen."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


async def test_one_with_a_pid_file_of_its_own(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    unit, file = "p.d/0:1", tmp_path / "d.pid"
    daemon = f"sh -c 'echo $$ >{file}; exec sleep 1000' >/dev/null 2>&1 &"
    made = unitspec(
        unit, processes={"main": ["sh", "-c", daemon]}, ports={}, check=None, runtime={"pidfile": str(file)}
    )
    await controller.ok("prepare", spec=made)
    pid = (await controller.ok("start", unit=unit))["pid"]
    told = await controller.ok("signal", unit=unit, signal="STOP", process="", all=False, run=1)
    assert told["pids"] == {"main": pid} and told["note"] == ""
    await until(lambda: state_of(pid) == "T")
    await controller.ok("signal", unit=unit, signal="CONT", run=1)
    await until(lambda: state_of(pid) == "S")
    every = await controller.command("signal", unit=unit, signal="KILL", all=True, run=1)
    assert not every["ok"] and "knows its main process only" in every["text"] and alive(pid)
    other = await controller.command("signal", unit=unit, signal="KILL", run=2)
    assert (other["ok"], other["code"]) == (False, "busy") and alive(pid)
    await controller.ok("signal", unit=unit, signal="KILL", run=1)
    await until(lambda: not alive(pid))
    gone = await controller.command("signal", unit=unit, signal="HUP")
    assert (gone["ok"], gone["code"]) == (False, "missing")


async def test_kill_reaches_what_hangs_in_its_stop(agent: AgentProcess, controller: FakeController) -> None:
    """The words of one unit wait for each other; this one does not."""
    unit = "p.job/0:1"
    deaf = "trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done"
    made = unitspec(unit, processes={"main": ["sh", "-c", deaf]}, ports={}, check=None)
    await controller.ok("prepare", spec=made)
    pid = (await controller.ok("start", unit=unit))["pid"]
    out = agent.dir / "logs/p.job_0_1/1.main.out"
    await until(lambda: out.exists() and "up" in out.read_text())
    await controller.send({
        "t": "cmd", "task": "hangs", "uuid": UUID, "word": "stop", "args": {"unit": unit, "grace": 3600},
    })
    await until(lambda: "asked" in out.read_text(), what="the stop has begun")
    await controller.ok("signal", unit=unit, signal="KILL", run=1)
    assert (await controller.result("hangs"))["ok"] and not alive(pid)
