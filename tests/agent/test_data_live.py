"""Deploys of data from the plan to the process: the real planner and executor, a real agent and keeper."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from cockpit.act import messages as ex
from cockpit.act.executor import Executor
from cockpit.model.actual import Actual, HostActual, Unit
from cockpit.model.patch import apply
from cockpit.model.topology import Data, Expected, Host, Region, Service, Update, from_doc, to_doc
from cockpit.plan.context import PlanContext
from cockpit.plan.steps import Intent, Plan
from cockpit.plan.undo import return_plan
from cockpit.plan.unitspec import unit_spec
from cockpit.plan.verbs import plan
from tests.agent.fake import AgentProcess, FakeController
from tests.agent.test_agent_activate import install, link
from tests.helpers import PATIENCE, alive, until

WEB = "p.web/0"
READER = """
import signal, sys
def say(*told):
    with open(sys.argv[1] + "/list") as f:
        words = f.read()
    print(words, flush=True)
    if told and words == "v6":
        sys.exit(3)
signal.signal(signal.SIGHUP, say)
say()
while True:
    signal.pause()
"""


class Cluster:
    """One host, and what a controller does with the commands of an action."""

    def __init__(self, agent: AgentProcess, controller: FakeController, change: str) -> None:
        self.agent, self.controller = agent, controller
        self.shas = {f"words/{n}": install(agent.dir, n)["sha256"] for n in "456"}
        words = Data(artifact="words", version="4", on_change=change)  # type: ignore[arg-type]
        web = Service(
            processes={"main": (sys.executable, "-c", READER, "{data.words}")}, data={"words": words},
            update=Update(healthy_for=0.2, deadline=15.0),
        )  # fmt: skip
        self.expected = Expected(
            name="t", regions={"bj": Region()}, hosts={"bj-1": Host(region="bj", address=controller.address)},
            services={"p.web": web}, placement={WEB: "bj-1"},
        )  # fmt: skip
        self.units: dict[str, Unit] = {}
        self.actions = 0

    def actual(self) -> Actual:
        units = tuple(sorted(self.units.values(), key=lambda u: u.gen))
        return Actual(
            hosts={"bj-1": HostActual(name="bj-1", presence="up", releases=tuple(self.shas))},
            units={WEB: units} if units else {}, where=dict.fromkeys(self.units, "bj-1"),
            artifacts=self.shas, kinds=dict.fromkeys(self.shas, "data"),
        )  # fmt: skip

    def context(self) -> PlanContext:
        return PlanContext(
            doc=to_doc(self.expected), expected=self.expected, revision=1, actual=self.actual(), now=0.0,
            artifacts=self.shas,
        )  # fmt: skip

    def args(self, send: ex.Send) -> dict[str, Any]:
        """What only the controller knows."""
        args = {**send.args, "unit": send.step.unit}
        if send.word == "activate":
            return {**args, "sha256": self.shas[f"{args['artifact']}/{args['version']}"]}
        if send.word == "prepare":
            step = send.step
            data = {
                name: {"version": id.partition("/")[2], "sha256": self.shas[id]}
                for name, id in step.args.get("data", {}).items()
            }
            return {"spec": unit_spec(self.expected, step.instance, int(step.unit.rpartition(":")[2]), None, data)}
        return args

    async def carry_out(self, made: Plan) -> tuple[ex.Finished, Executor]:
        self.expected = from_doc(apply(to_doc(self.expected), made.changes))
        self.actions += 1
        executor = Executor(
            made, f"#{self.actions}", time.time(), healthy_for={"p.web": 0.2}, hosts={"bj-1": "up"},
            units=self.units,
        )  # fmt: skip
        ends: list[ex.Finished] = []

        async def feed(event: ex.Event) -> None:
            for command in executor.handle(event, time.time()):
                if isinstance(command, ex.Send):
                    args = self.args(command)
                    await self.controller.send({
                        "t": "cmd", "task": command.task, "uuid": "6d8b2cb0-1111-4222-8333-444455556666",
                        "word": command.word, "args": args,
                    })  # fmt: skip
                elif isinstance(command, ex.SetDraining):
                    await feed(ex.NamesSet(command.step, 0))
                elif isinstance(command, ex.Finished):
                    ends.append(command)

        seen = len(self.controller.frames)
        await feed(ex.Go())
        deadline = time.monotonic() + PATIENCE
        while not ends:
            assert time.monotonic() < deadline, executor.steps_running()
            frames, seen = self.controller.frames[seen:], len(self.controller.frames)
            for frame in frames:
                if frame["t"] == "unit":
                    unit = msgspec.convert(frame["unit"], Unit)
                    self.units[unit.unit] = unit
                    await feed(ex.UnitSeen(unit, "bj-1"))
                elif frame["t"] == "gone":
                    self.units.pop(frame["unit"], None)
                    await feed(ex.UnitGone(frame["unit"]))
                elif frame["t"] == "result":
                    code, text = frame.get("code", ""), frame.get("text", "")
                    await feed(ex.Answer(frame["task"], frame["ok"], frame.get("data") or {}, code, text))
            await feed(ex.Tick())
            await asyncio.sleep(0.01)
        return ends[0], executor

    async def do(self, verb: str, **params: Any) -> tuple[ex.Finished, Executor, Plan]:
        targets = ("p.web",) if verb == "deploy" else ()
        made = plan(Intent(verb=verb, targets=targets, params=params), self.context())
        end, executor = await self.carry_out(made)
        return end, executor, made

    def said(self, gen: int = 1, run: int = 1) -> str:
        return (self.agent.dir / "logs" / f"p.web_0_{gen}" / f"{run}.main.out").read_text()


async def running(agent: AgentProcess, controller: FakeController, change: str) -> Cluster:
    c = Cluster(agent, controller, change)
    end, *_ = await c.do("converge")
    assert end.outcome == "done"
    await until(lambda: c.said() == "v4\n")
    assert c.units[f"{WEB}:1"].data == {"words": "4"}
    return c


async def test_told_by_a_signal_and_nothing_is_restarted(agent: AgentProcess, controller: FakeController) -> None:
    c = await running(agent, controller, "signal")
    pid = c.units[f"{WEB}:1"].pid
    end, *_ = await c.do("deploy", version="5", data="words")
    assert (end.outcome, end.reason) == ("done", "")
    assert c.said() == "v4\nv5\n" and list(c.units) == [f"{WEB}:1"]
    unit = c.units[f"{WEB}:1"]
    assert (unit.pid, unit.run, unit.data) == (pid, 1, {"words": "5"}) and pid is not None and alive(pid)
    assert plan(Intent(verb="converge"), c.context()).empty

    # data that it cannot take: the signal ends it, and it returns
    end, executor, made = await c.do("deploy", version="6", data="words")
    assert end.outcome == "failed" and end.reason.startswith("web/0 did not live on with words/6: exit 3")
    await until(lambda: c.said(run=2) == "v6\n")
    c.units = {f"{WEB}:1": msgspec.convert(await controller.sees(f"{WEB}:1", run=2, state=512), Unit)}
    back = return_plan(c.context(), replace(made.intent, cause="#3"), made.changes, executor.touched())
    end, _ = await c.carry_out(back)
    assert (end.outcome, end.reason) == ("done", "")
    assert c.said(run=2) == "v6\nv5\n" and c.expected.services["p.web"].data["words"].version == "5"
    assert plan(Intent(verb="converge"), c.context()).empty

    # a link that somebody changed is drift until it is given again
    await controller.ok("stop", unit=f"{WEB}:1")
    stopped = msgspec.convert(await controller.sees(f"{WEB}:1", state=640), Unit)
    link(agent.dir, WEB).unlink()
    link(agent.dir, WEB).symlink_to("../../../releases/words/4")
    controller.cut()
    controller.frames.clear()
    (full,) = (await controller.connected())["units"]
    assert stopped.data == {"words": "5"} and full["data"] == {"words": "5 (4 is linked)"}


@pytest.mark.parametrize("change", ["nothing", "restart"])
async def test_untold_and_restarted(agent: AgentProcess, controller: FakeController, change: str) -> None:
    c = await running(agent, controller, change)
    end, _, made = await c.do("deploy", version="5", data="words")
    assert (end.outcome, end.reason) == ("done", "")
    assert (link(agent.dir, WEB) / "list").read_text() == "v5"
    gen = 1 if change == "nothing" else 2
    assert {u: x.data for u, x in c.units.items()} == {f"{WEB}:{gen}": {"words": "5"}}
    await until(lambda: c.said(gen) == ("v4\n" if change == "nothing" else "v5\n"))
    assert ("start" in {s.kind for s in made.steps}) == (change == "restart")
