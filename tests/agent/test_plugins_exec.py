"""The shipped plug-in `exec` on a real agent."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.agent.fake import AgentProcess, FakeController
from tests.helpers import alive, until


def lines_of(controller: FakeController, task: str) -> list[Any]:
    return [line for f in controller.of("progress") if f["task"] == task for line in f["data"].get("lines", ())]


async def begin(controller: FakeController, task: str, argv: list[str], **args: Any) -> None:
    frame = {
        "t": "cmd", "task": task, "uuid": controller.hellos[-1][1], "word": "exec",
        "args": {"task": task, "argv": argv, "timeout": 60, **args},
    }
    await controller.send(frame)


async def ended(controller: FakeController, task: str) -> dict[str, Any]:
    answer = await controller.result(task)
    assert answer["ok"], answer
    found: dict[str, Any] = answer["data"]
    await until(lambda: len(lines_of(controller, task)) >= found["lines"], what="all lines")
    return found


async def test_output_codes_and_signals_come_back(controller: FakeController, agent: AgentProcess) -> None:
    await begin(controller, "e1", ["sh", "-c", "echo one; echo two >&2; printf three; exit 7"])
    data = await ended(controller, "e1")
    assert (data["code"], data["signal"], data["why"], data["lines"]) == (7, None, "", 3)
    assert sorted(map(tuple, lines_of(controller, "e1"))) == [("err", "two"), ("out", "one"), ("out", "three")]
    await begin(controller, "e2", ["sh", "-c", "kill -9 $$"])
    assert (await ended(controller, "e2"))["signal"] == signal.SIGKILL
    await begin(controller, "e3", ["/no/such/program"])
    answer = await controller.result("e3")
    assert (answer["code"], answer["text"]) == ("exec", "exec: ENOENT /no/such/program")
    await begin(controller, "e4", ["true"], user="no-such-user")
    answer = await controller.result("e4")
    assert answer["code"] == "bad" and "no-such-user" in answer["text"]


async def test_a_timeout_ends_all_of_it(controller: FakeController, agent: AgentProcess, tmp_path: Path) -> None:
    """Also what ignores SIGTERM, and what made itself a session of its own."""
    pids = tmp_path / "pids"
    child = f"import os,time;os.setsid();open({str(pids)!r},'a').write(f'{{os.getpid()}} ');time.sleep(600)"
    script = f'trap "" TERM; echo $$ >> {pids}; {sys.executable} -c "{child}" & while :; do sleep 1; done'
    await begin(controller, "t1", ["sh", "-c", script], timeout=1.0)
    data = await ended(controller, "t1")
    assert data["why"] == "timeout" and data["signal"] == signal.SIGKILL
    found = [int(p) for p in pids.read_text().split()]
    assert len(found) == 2
    await until(lambda: not any(alive(p) for p in found), what="nothing of it is left")


async def test_stopping_and_a_lost_connection_end_it(
    controller: FakeController, agent: AgentProcess, tmp_path: Path
) -> None:
    for task in ("s1", "s2"):
        await begin(controller, task, ["sh", "-c", f"echo $$ > {tmp_path}/{task}; exec sleep 600"])
    await until(lambda: (tmp_path / "s1").exists() and (tmp_path / "s2").exists())
    pids = [int(await until((tmp_path / t).read_text)) for t in ("s1", "s2")]
    await controller.send({
        "t": "cmd", "task": "u1", "uuid": controller.hellos[-1][1], "word": "unexec", "args": {"task": "s1"},
    })  # fmt: skip
    assert (await ended(controller, "s1"))["why"] == "stopped"
    assert alive(pids[1])
    controller.cut()
    await until(lambda: not alive(pids[1]), what="the command ends with its connection")


async def test_much_output_is_bounded_and_counted(controller: FakeController, agent: AgentProcess) -> None:
    script = "import sys\nfor n in range(400000): sys.stdout.write('x' * 60 + '\\n')"
    await begin(controller, "b1", [sys.executable, "-c", script])
    data = await ended(controller, "b1")
    assert data["code"] == 0 and data["dropped"] > 0 and data["lines"] + data["dropped"] in (400000, 400001)


async def test_many_run_side_by_side_and_leave_nothing(
    controller: FakeController, agent: AgentProcess, tmp_path: Path
) -> None:
    """The first can only end through the second, asked later; a background child goes with its parent."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    await begin(controller, "p1", ["cat", str(fifo)])
    await begin(controller, "p2", ["sh", "-c", f"echo through > {fifo}; sleep 600 & echo $! > {tmp_path}/pid"])
    assert (await ended(controller, "p2"))["code"] == 0
    assert (await ended(controller, "p1"))["code"] == 0
    assert lines_of(controller, "p1") == [["out", "through"]]
    await until(lambda: not alive(int((tmp_path / "pid").read_text())), what="the background child ends")
