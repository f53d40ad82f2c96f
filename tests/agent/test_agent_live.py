"""The agent with a real keeper and real programs, against a fake controller over real TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from tests.agent.fake import UUID, AgentProcess, FakeController, unitspec
from tests.helpers import PATIENCE, alive, until

WEB = "puzzle.web/2:5"


async def started(controller: FakeController, unit: str = WEB, **facts: Any) -> dict[str, Any]:
    """Prepare and start a unit; its first healthy report."""
    await controller.ok("prepare", spec=unitspec(unit, **facts))
    await controller.ok("start", unit=unit)
    return await controller.sees(unit, state=512, health="ok")


async def test_hello_then_full_comes_before_anything_else(agent: AgentProcess, controller: FakeController) -> None:
    host, uuid, hello = controller.hellos[0]
    assert (host, uuid) == ("bj-1", UUID)
    assert hello["t"] == "hello" and hello["uuid"] == UUID and hello["boot_id"] == "boot-1"
    assert hello["keeper_pid"] == await agent.keeper_pid()
    assert controller.frames[0]["t"] == "full"
    await controller.send({"t": "ping", "at": 12.5})
    await until(lambda: {"t": "pong", "at": 12.5} in controller.frames)


async def test_prepare_start_health_stop_remove(agent: AgentProcess, controller: FakeController) -> None:
    spec = unitspec(WEB, env={"GREETING": "{service} at {address}:{port}"})
    data = await controller.ok("prepare", spec=spec)
    port = data["ports"]["http"]
    assert 20000 <= port <= 20999
    ready = await controller.sees(WEB, state=384)
    assert ready["pid"] is None and ready["ports"] == {"http": port}
    assert await controller.ok("prepare", spec=spec) == data, "preparing twice is preparing once"
    other = await controller.command("prepare", spec={**spec, "version": "9"})
    assert not other["ok"] and other["code"] == "exists"

    data = await controller.ok("start", unit=WEB)
    assert alive(data["pid"]) and data["run"] == 1
    starting = await controller.sees(WEB, pid=data["pid"])
    assert starting["state"] in (448, 512)
    healthy = await controller.sees(WEB, state=512, health="ok")
    assert healthy["run"] == 1 and healthy["restarts"] == 0 and healthy["observed"] > 0
    assert await controller.ok("start", unit=WEB) == data
    with open(f"/proc/{data['pid']}/environ", "rb") as f:
        env = dict(e.split("=", 1) for e in f.read().decode().split("\0") if "=" in e)
    assert env["GREETING"] == f"puzzle.web at {controller.address}:{port}"
    assert env["COCKPIT_PORT_HTTP"] == str(port) and env["COCKPIT_RUN_MARK"] == WEB
    assert env["COCKPIT_AGENT_SOCKET"] == str(agent.dir / "agent.sock")

    assert (await controller.ok("stop", unit=WEB))["exit"]["signal"] == signal.SIGTERM
    assert not alive(data["pid"])
    await controller.sees(WEB, state=640, pid=None)
    assert await controller.ok("remove", unit=WEB) == {}
    await until(lambda: {"t": "gone", "unit": WEB} in controller.frames)
    missing = await controller.command("start", unit=WEB)
    assert not missing["ok"] and missing["code"] == "missing"


async def test_a_unit_report_comes_before_the_result_that_made_it(
    agent: AgentProcess, controller: FakeController
) -> None:
    await controller.ok("prepare", spec=unitspec(WEB, check=None))
    await controller.ok("start", unit=WEB)
    kinds = [(f["t"], f["unit"]["state"] if f["t"] == "unit" else f.get("task")) for f in controller.frames]
    assert kinds.index(("unit", 384)) < kinds.index(("result", "t1"))
    assert kinds.index(("unit", 512)) < kinds.index(("result", "t2"))


async def test_crash_is_told_as_event_and_report(agent: AgentProcess, controller: FakeController) -> None:
    first = await started(controller)
    os.kill(first["pid"], signal.SIGKILL)
    again = await controller.sees(WEB, run=2, state=512, health="ok")
    assert again["restarts"] == 1 and again["exit"]["signal"] == signal.SIGKILL
    assert again["ports"] == first["ports"]
    exits = [f["event"] for f in controller.of("event") if f["event"]["event"] == "exit"]
    assert [e["exit"]["signal"] for e in exits] == [signal.SIGKILL]


async def test_a_task_is_done_once_and_answered_again(agent: AgentProcess, controller: FakeController) -> None:
    spec = unitspec(WEB)
    first = await controller.command("prepare", task="once", spec=spec)
    after = len(controller.frames)
    again = await controller.command("prepare", task="once", spec=unitspec("puzzle.web/3:1"))
    assert again == first and controller.unit("puzzle.web/3:1") is None
    assert len([f for f in controller.frames[after:] if f["t"] == "result"]) == 1


async def test_repeated_while_it_runs_the_answer_comes_once(
    agent: AgentProcess, controller: FakeController
) -> None:
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    stubborn = [sys.executable, "-c", code]
    await controller.ok(
        "prepare", spec=unitspec(WEB, processes={"main": stubborn}, ports={}, check=None, stop={"grace": 0.5})
    )
    await controller.ok("start", unit=WEB)
    stop = {"t": "cmd", "task": "s", "uuid": UUID, "word": "stop", "args": {"unit": WEB, "grace": 0.5}}
    await until(lambda: (agent.dir / "logs" / "puzzle.web_2_5" / "1.main.out").read_bytes())
    await controller.send(stop)
    await controller.send(stop)
    answer = await controller.result("s")
    assert answer["data"]["exit"]["signal"] == signal.SIGKILL
    await controller.send({"t": "ping", "at": 1})
    await until(lambda: controller.of("pong"))
    assert len([f for f in controller.of("result") if f["task"] == "s"]) == 1


async def test_a_command_for_another_uuid_is_refused(agent: AgentProcess, controller: FakeController) -> None:
    answer = await controller.command("prepare", uuid="00000000-0000-4000-8000-000000000000", spec=unitspec())
    assert not answer["ok"] and answer["code"] == "uuid"
    unknown = await controller.command("reboot")
    assert unknown["code"] == "bad" and "fetch" in unknown["text"]


async def test_an_unhealthy_start_stays_starting_and_says_why(
    agent: AgentProcess, controller: FakeController
) -> None:
    sleeper = {"main": [sys.executable, "-c", "import time; time.sleep(60)"]}
    data = await controller.ok("prepare", spec=unitspec(WEB, processes=sleeper, check={"tcp": ""}))
    await controller.ok("start", unit=WEB)
    reason = f"tcp {controller.address}:{data['ports']['http']} refused"
    report = await controller.sees(WEB, health_reason=reason)
    assert report["state"] == 448 and report["health"] == "starting"


async def test_dynamic_ports_are_sticky_and_nobody_elses(agent: AgentProcess, controller: FakeController) -> None:
    first = (await started(controller))["ports"]["http"]
    beside = (await controller.ok("prepare", spec=unitspec("puzzle.web/2:6")))["ports"]["http"]
    other = (await controller.ok("prepare", spec=unitspec("puzzle.web/3:1")))["ports"]["http"]
    assert len({first, beside, other}) == 3
    await controller.ok("stop", unit=WEB)
    await controller.ok("remove", unit=WEB)
    await controller.ok("remove", unit="puzzle.web/2:6")
    again = await controller.ok("prepare", spec=unitspec("puzzle.web/2:7"))
    assert again["ports"]["http"] == first
    clash = await controller.command("prepare", spec=unitspec("puzzle.web/3:2", ports={"http": other}))
    assert clash["ok"], "another unit of the same instance holds it, and does not live"


async def test_a_fixed_port_that_is_taken_is_rejected(agent: AgentProcess, controller: FakeController) -> None:
    port = (await started(controller))["ports"]["http"]
    answer = await controller.command("prepare", spec=unitspec("puzzle.api/0:1", ports={"http": port}))
    assert not answer["ok"] and answer["code"] == "port" and WEB in answer["text"]
    report = await controller.sees("puzzle.api/0:1", state=768)
    assert WEB in report["exit"]["reason"]
    await controller.ok("remove", unit="puzzle.api/0:1")
    assert controller.unit("puzzle.api/0:1") is None


async def test_a_program_that_is_not_there_is_rejected(agent: AgentProcess, controller: FakeController) -> None:
    await controller.ok("prepare", spec=unitspec(WEB, processes={"main": ["./nothing"]}))
    answer = await controller.command("start", unit=WEB)
    assert not answer["ok"] and answer["code"] == "exec" and "ENOENT" in answer["text"]
    await controller.sees(WEB, state=768, pid=None)


async def test_drain_waits_for_names_and_connections(agent: AgentProcess, controller: FakeController) -> None:
    code = (
        "import socket,sys,time\ns=socket.socket(); s.setsockopt(1,2,1); s.bind((sys.argv[1],int(sys.argv[2])))\n"
        "s.listen()\nkept=[]\nwhile True: kept.append(s.accept()[0])"
    )
    argv = [sys.executable, "-c", code, "{address}", "{port}"]
    port = (await started(controller, processes={"main": argv}, check={"tcp": "", "interval": 0.1}))["ports"]["http"]
    reader, writer = await asyncio.open_connection(controller.address, port)
    late = await controller.ok("drain", unit=WEB, names=0, timeout=0.2)
    assert late["remaining"] >= 1
    await controller.send(
        {"t": "cmd", "task": "d", "uuid": UUID, "word": "drain", "args": {"unit": WEB, "names": 7, "timeout": 8}}
    )
    await controller.send({"t": "names", "version": 7, "full": True, "services": {"puzzle.web": []}})
    await until(lambda: {"t": "names", "version": 7} in controller.frames)
    await controller.sees(WEB, connections=1)
    assert not [f for f in controller.of("result") if f["task"] == "d"]
    writer.close()
    await writer.wait_closed()
    # the program never closes its end; that it is no longer ESTABLISHED counts
    assert (await controller.result("d"))["data"] == {"remaining": 0}


async def test_agent_killed_services_live_and_come_back_running(
    agent: AgentProcess, controller: FakeController
) -> None:
    before = await started(controller)
    first = agent.pid
    after = len(controller.frames)
    os.kill(first, signal.SIGKILL)
    full = await controller.connected(after)
    assert agent.pid != first, "the keeper started another one"
    (unit,) = full["units"]
    assert unit["pid"] == before["pid"] and unit["run"] == 1
    assert (unit["state"], unit["health"]) == (512, "ok")


async def test_keeper_killed_is_replaced_and_adopts(agent: AgentProcess, controller: FakeController) -> None:
    before = await started(controller)
    keeper = await agent.keeper_pid()
    assert keeper is not None
    after = len(controller.frames)
    os.kill(keeper, signal.SIGKILL)
    full = await controller.connected(after)
    assert full["keeper_pid"] == await agent.keeper_pid() != keeper
    (unit,) = full["units"]
    assert (unit["pid"], unit["run"], unit["state"]) == (before["pid"], 1, 512)
    assert (await controller.ok("stop", unit=WEB))["exit"]["signal"] == signal.SIGTERM


async def test_reconnect_brings_the_full_set_then_unacknowledged_events(
    agent: AgentProcess, controller: FakeController
) -> None:
    controller.acking = False
    await started(controller)
    await until(lambda: controller.of("event"))
    seqs = [f["seq"] for f in controller.of("event")]
    port = controller.port
    await controller.stop()
    controller.frames.clear()
    controller.acking = True
    await controller.start(port)
    await controller.connected()
    await until(lambda: [f["seq"] for f in controller.of("event")] == seqs)
    assert controller.frames[0]["t"] == "full"
    controller.cut()
    controller.frames.clear()
    await controller.connected()
    await controller.send({"t": "ping", "at": 1})
    await until(lambda: controller.of("pong"))
    assert not controller.of("event"), "acknowledged ones are forgotten"


async def test_another_agent_of_the_same_directory_goes_away(
    agent: AgentProcess, controller: FakeController, monkeypatch: Any
) -> None:
    from cockpit.agent.turns import turn

    assert turn(str(agent.dir), wait=0.05) is None


async def test_end_stops_everything(short_dir: Any, controller: FakeController) -> None:
    process = AgentProcess(short_dir / "h", controller)
    process.enroll()
    first = await process.start()
    await controller.connected()
    unit = await started(controller)
    keeper = await process.keeper_pid()
    assert keeper is not None
    assert await controller.ok("end") == {}
    await until(lambda: controller.of("bye"), what="it says that everything was ended")
    await until(lambda: not alive(keeper) and not alive(unit["pid"]))
    assert await asyncio.wait_for(first.wait(), PATIENCE) == 0


async def test_head_is_kept_and_told(agent: AgentProcess, controller: FakeController) -> None:
    none = await controller.command("head-get")
    assert not none["ok"] and none["code"] == "missing"
    content = {"document": {"name": "puzzle"}, "revision": 42, "digest": "ab" * 32, "journal": [], "import": None}
    await controller.ok("head", **content)
    assert await controller.ok("head-get") == content
    assert (agent.dir / "head.json").stat().st_mode & 0o777 == 0o600
    controller.cut()
    controller.frames.clear()
    assert (await controller.connected())["head"] == {"revision": 42, "digest": "ab" * 32}
