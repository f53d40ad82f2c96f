"""An agent and a keeper that an init system keeps: this test is the init system."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import cockpit
from cockpit.agent.supervised import decide
from tests.agent.fake import AgentProcess, unitspec
from tests.agent.upgrading import UpgradeHub, release
from tests.helpers import alive, loopback, until

NEW = "99.1.0"
WEB = "puzzle.web/2:5"


@pytest.mark.parametrize(
    ("doc", "now", "program", "left"),
    [
        ({}, 10.0, [], {}),
        ({"agent": ["/b"]}, 10.0, ["/b"], {"agent": ["/b"]}),
        ({"agent": ["/b"], "before": ["/a"], "trial_ends": 5.0}, 10.0, ["/b"], None),
        ({"agent": ["/b"], "before": ["/a"], "trial_ends": 50.0, "keeper": ["/k"]}, 10.0, ["/a"],
         {"agent": ["/a"], "keeper": ["/k"]}),
        ({"agent": ["/b"], "before": [], "trial_ends": 50.0}, 10.0, [], {"agent": []}),
        ({"agent": "nonsense", "trial_ends": 50.0}, 10.0, [], None),
    ],
)  # fmt: skip
def test_which_program_is_started(
    doc: dict[str, Any], now: float, program: list[str], left: dict[str, Any] | None
) -> None:
    found, after = decide(doc, now)
    assert found == program
    note = after.pop("note", "")
    assert after == (doc if left is None else left)
    assert bool(note) == (after != doc)
    assert decide({**after, "note": note}, now)[0] == program  # a second start finds the same


class Init:
    """The socket that an init system gives to what it starts, and what was said on it."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.setblocking(False)
        self.said: list[str] = []

    def heard(self, line: str) -> str:
        while True:
            try:
                self.said += self.sock.recv(4096).decode().split("\n")
            except BlockingIOError:
                return next((said for said in self.said if said.startswith(line)), "")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[UpgradeHub]:
    hub = UpgradeHub(tmp_path, loopback())
    await hub.start()
    yield hub
    await hub.stop()


async def keeper(directory: Path) -> asyncio.subprocess.Process:
    argv = ["-I", "-m", "cockpit.agent", "keeper", "--dir", str(directory)]
    return await asyncio.create_subprocess_exec(sys.executable, *argv, stdin=asyncio.subprocess.DEVNULL)


async def test_kept_by_an_init_system(
    short_dir: Path, hub: UpgradeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = Init(short_dir / "n.sock")
    monkeypatch.setenv("NOTIFY_SOCKET", str(short_dir / "n.sock"))
    agent = AgentProcess(short_dir / "h", hub, boot_id="")
    agent.enroll()
    first = await agent.start("--supervised")
    last: asyncio.subprocess.Process | None = None
    held = None
    try:
        await until(lambda: init.heard("READY=1"), what="the agent is ready, without a keeper")
        assert await agent.keeper_pid() is None  # it starts none
        held = await keeper(agent.dir)
        await hub.connected()
        assert await agent.keeper_pid() == held.pid  # no parent stays between
        spec = unitspec(WEB, processes={"main": ["/bin/sleep", "600"]}, ports={}, check=None)
        await hub.ok("prepare", spec=spec)
        pid = (await hub.ok("start", unit=WEB))["pid"]

        held.send_signal(signal.SIGTERM)  # what stopping its unit does
        await held.wait()
        assert alive(pid)
        held = await keeper(agent.dir)
        await until(lambda: agent.keeper_pid(), what="the next keeper answers")
        await hub.sees(WEB, pid=pid)

        # another version takes over, and is the main process
        release(agent.dir, NEW)
        answer = await hub.upgrade(NEW)
        assert answer["ok"], answer
        await hub.served_by(NEW)
        told = init.heard("MAINPID=")
        assert told and int(told.partition("=")[2]) != first.pid
        await first.wait()
        new = int(told.partition("=")[2])
        assert alive(new) and alive(pid)
        doc = json.loads((agent.dir / "supervised.json").read_text())
        assert doc["before"] == [] and NEW in " ".join(doc["agent"])

        # it ends in its first minute: what is started now is the one before
        count = len(hub.hellos)
        os.kill(new, signal.SIGKILL)
        last = await agent.start("--supervised")
        await until(lambda: len(hub.hellos) > count and hub.hellos[-1][2]["agent_pid"] == last.pid, what="it is back")
        hello = hub.hellos[-1][2]
        assert hello["version"] == cockpit.__version__ and "first minute" in hello["note"]
        await hub.sees(WEB, pid=pid)
    finally:
        for process in (first, last):
            if process is not None and process.returncode is None:
                process.terminate()
                await process.wait()
        await agent.end()
        if held is not None:
            await held.wait()
        init.sock.close()
