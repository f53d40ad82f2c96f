"""Log streams of a real agent: searches while following, floods, rotation, restarts, ends."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from cockpit.agent import rotate
from tests.agent.fake import AgentProcess, FakeController, unitspec
from tests.agent.test_agent_logs import UNIT, talker
from tests.helpers import until


async def begin(controller: FakeController, code: str, **more: Any) -> int:
    await controller.ok("prepare", spec=unitspec(UNIT, **{**talker(code), **more}))
    return int((await controller.ok("start", unit=UNIT))["pid"])


async def follow(controller: FakeController, credit: int = 100_000, **args: Any) -> None:
    await controller.ok("logs", stream="s", instance="puzzle.web/2", times=True, **{"follow": True, **args})
    await controller.send({"t": "credit", "stream": "s", "lines": credit})


def lines(controller: FakeController) -> list[list[Any]]:
    return [line for frame in controller.of("log") for line in frame["lines"]]


def texts(controller: FakeController) -> list[str]:
    return [line[3] for line in lines(controller)]


async def test_lines_have_times_and_the_end_of_what_is_stored_is_told(
    agent: AgentProcess, controller: FakeController, tmp_path: Path
) -> None:
    before = time.time()
    go = tmp_path / "go"
    wait = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    await begin(controller, f"import os, time\nprint('a')\n{wait}\nprint('b'); time.sleep(60)")
    file = agent.dir / "logs/puzzle.web_2_5/1.main.out"
    times = file.with_name(f"{file.name}.times")
    await until(lambda: times.exists() and times.stat().st_size, what="the agent noted when the first line was there")
    go.touch()
    await until(lambda: file.read_bytes() == b"a\nb\n")
    await follow(controller)
    await until(lambda: [f for f in controller.of("log") if f.get("caught")])
    first, second = lines(controller)
    assert before - 1 <= first[4] <= second[4] <= time.time() + 1 and first[5] == ""
    assert second[4] > first[4]
    assert times.stat().st_size % 16 == 0


async def test_a_search_with_context_goes_on_while_it_follows(
    agent: AgentProcess, controller: FakeController
) -> None:
    go = agent.dir / "go"
    code = (
        "import os,time\nfor n in range(30): print('early', n)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "for n in range(30): print('late', n)\ntime.sleep(60)"
    )
    await begin(controller, code)
    file = agent.dir / "logs/puzzle.web_2_5/1.main.out"
    await until(lambda: file.exists() and file.read_bytes().count(b"\n") == 30)
    await follow(controller, grep={"text": "(early|late) (5|29)$", "regex": True}, before=1, after=1)
    await until(lambda: len(lines(controller)) == 5)
    go.touch()
    await until(lambda: texts(controller)[-1:] == ["late 29"])
    assert [(line[3], line[5]) for line in lines(controller)] == [
        ("early 4", "c"), ("early 5", ""), ("early 6", "c"), ("early 28", "g"), ("early 29", ""),
        ("late 0", "c"), ("late 4", "g"), ("late 5", ""), ("late 6", "c"), ("late 28", "g"), ("late 29", ""),
    ]  # fmt: skip


async def test_an_expression_without_end_ends_the_stream_only(
    agent: AgentProcess, controller: FakeController
) -> None:
    await begin(controller, "import time\nprint('a' * 60 + '!'); time.sleep(60)")
    file = agent.dir / "logs/puzzle.web_2_5/1.main.out"
    await until(lambda: file.exists() and file.read_bytes())
    await follow(controller, grep={"text": "(a+)+$", "regex": True})
    await controller.send({"t": "ping", "at": 1})
    await until(lambda: controller.of("pong"))
    await until(lambda: [f for f in controller.of("log") if f["end"]])
    assert "a simpler one is wanted" in controller.of("log")[-1]["end"]
    assert (await controller.ok("tail", unit=UNIT, lines=1))["lines"]


async def test_a_flood_is_dropped_and_counted_and_the_agent_answers(
    agent: AgentProcess, controller: FakeController
) -> None:
    go = agent.dir / "go"
    code = (
        "import os, time\nblock = b''.join(b'%07d and some words to make it a line of usual length\\n' % n "
        f"for n in range(20_000))\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "for n in range(60): os.write(1, block)\nprint('the very last')\ntime.sleep(60)"
    )
    await follow_first(controller)
    await begin(controller, code)
    await follow(controller, credit=500)
    go.touch()
    file = agent.dir / "logs/puzzle.web_2_5/1.main.out"
    await until(lambda: file.exists() and file.stat().st_size > 60_000_000)
    await controller.send({"t": "ping", "at": 7})
    await until(lambda: controller.of("pong"))
    assert len(lines(controller)) <= 500, "never more than the credit"
    await controller.send({"t": "credit", "stream": "s", "lines": 1_000_000})
    await until(lambda: "the very last" in texts(controller))
    got, dropped = len(lines(controller)), sum(f["dropped"] for f in controller.of("log"))
    assert dropped > 500_000 and abs(got + dropped - 1_200_001) <= 2


async def follow_first(controller: FakeController) -> None:
    """Nothing of this instance is there yet: the stream says so by ending."""
    await controller.ok("logs", stream="none", instance="puzzle.web/2", lines=5, follow=False, times=True)
    await until(lambda: [f for f in controller.of("log") if f["stream"] == "none" and f["end"] is not None])
    controller.frames.clear()


async def test_rotation_under_a_follower_loses_nothing(agent: AgentProcess, controller: FakeController) -> None:
    step = agent.dir / "step"
    code = (
        "import os,time\nn = 0\nfor part in range(4):\n"
        "    for _ in range(2000): print(n, 'x' * 40); n += 1\n"
        f"    while not os.path.exists({str(step)!r} + str(part)): time.sleep(0.01)\n"
        "time.sleep(60)"
    )
    await begin(controller, code)
    await follow(controller, lines=20_000)
    path, last = agent.dir / "logs/puzzle.web_2_5/1.main.out", 0
    for part in range(4):
        await until(lambda part=part: len(lines(controller)) == 2000 * (part + 1))
        segment = rotate.rotate(str(path), last, limit=20_000, keep=10_000)
        assert segment is not None
        last = int(segment.rsplit(".", 2)[1])
        (agent.dir / f"step{part}").touch()
    assert [int(t.split()[0]) for t in texts(controller)] == list(range(8000))
    assert sum(f["dropped"] for f in controller.of("log")) == 0
    controller.frames.clear()
    await controller.ok("logs", stream="t", instance="puzzle.web/2", lines=9, times=True,
                        grep={"text": "100 xx"})
    await controller.send({"t": "credit", "stream": "t", "lines": 100})
    await until(lambda: [f for f in controller.of("log") if f["end"] is not None])
    assert [t.split()[0] for t in texts(controller)] == ["100", *(f"{n}100" for n in range(1, 8))]


async def test_restart_kill_and_end_are_said(agent: AgentProcess, controller: FakeController) -> None:
    code = "import os,time\nprint('pid', os.getpid())\ntime.sleep(60)"
    pid = await begin(controller, code, restart={"delay": 0.01})
    await follow(controller)
    await until(lambda: len(lines(controller)) == 1)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: len(lines(controller)) == 2)
    notes = [f["note"] for f in controller.of("log") if f.get("note")]
    assert notes == ["run 1 ended: signal 9 (KILL); run 2 begins"]
    await asyncio.gather(controller.ok("stop", unit=UNIT))
    await until(lambda: [f for f in controller.of("log") if f["end"]])
    assert controller.of("log")[-1]["end"] == "signal 15 (TERM)"
    controller.frames.clear()
    await follow(controller, previous=1)
    await until(lambda: [f for f in controller.of("log") if f["end"] is not None])
    assert [line[0] for line in lines(controller)] == [1]
    assert (await controller.command("logs", stream="x", instance="puzzle.web/2", since="x"))["code"] == "bad"
