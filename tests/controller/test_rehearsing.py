"""Rehearsals of the controller: in a thread, in a process, ended by who asked."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cockpit.act.duration import Durations
from cockpit.controller import rehearsing
from cockpit.controller.rehearsing import Rehearsals, Request
from cockpit.model.rehearsal_rows import Fault
from cockpit.model.topology import to_doc
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Intent, Plan
from tests.act.worlds import ARTIFACTS, expected, recorded, running, twin
from tests.helpers import alive, until

WHO = Who(author="li", role="viewer", read_only="a viewer")
DEPLOY = {"verb": "deploy", "targets": ("a.web",), "params": {"version": "1.1.0"}}


def controller(count: int = 4) -> Any:
    e = expected(count=count)
    actual = running(e)

    async def looked() -> None: ...

    async def plan(intent: Intent, who: Who) -> Plan:
        return twin(expected=e).plan(intent)

    durations: Durations = recorded()
    return SimpleNamespace(
        world=SimpleNamespace(
            doc=to_doc(e), revision=1, hosts=actual.hosts, registry=SimpleNamespace(endpoints={}),
            artifacts=ARTIFACTS, kinds={}, moves={}, gens={}, where=actual.where,
            units={i: {u.unit: u for u in us} for i, us in actual.units.items()},
        ),
        desk=SimpleNamespace(
            durations=durations, stable={}, plan=plan,
        ),
        ledger=SimpleNamespace(revisions=[], last_import=None, actions={}), looked=looked,
    )  # fmt: skip


async def everything(r: Rehearsals, **request: Any) -> list[dict[str, Any]]:
    stream: Any = r.run(Request(**(DEPLOY | request)), WHO)
    async with contextlib.aclosing(stream):
        return [item async for item in stream]


async def test_thread_and_process_foretell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    r = Rehearsals(controller())
    faults = (Fault(host="h1"),)
    here = (await everything(r, faults=faults))[-1]["forecast"]
    monkeypatch.setattr(rehearsing, "STEPS", 0)
    there = (await everything(r, faults=faults))[-1]["forecast"]
    for field in ("outcome", "seconds", "steps", "kinds", "batches", "digest"):
        assert _plain(here[field]) == _plain(there[field]), field
    assert await everything(r, quick=True) == [], "what takes long is not told in passing"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


async def test_who_leaves_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsing, "STEPS", 0)
    pids: list[int] = []
    start = asyncio.create_subprocess_exec

    async def noted(*argv: Any, **more: Any) -> Any:
        process = await start(*argv, **more)
        pids.append(process.pid)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    stream: Any = Rehearsals(controller(count=3000)).run(Request(**DEPLOY), WHO)
    assert "progress" in await anext(stream)
    await stream.aclose()
    await until(lambda: not alive(pids[0]), what="the process ended")


async def test_what_cannot_be_rehearsed_is_said() -> None:
    r = Rehearsals(controller())
    with pytest.raises(Bad, match="no step"):
        await everything(r, faults=(Fault(step="s999"),))
    with pytest.raises(Bad, match="nothing to rehearse"):
        await everything(r, params={"version": "1.0.0"})
    with pytest.raises(Bad, match="at most"):
        await everything(r, faults=tuple(Fault(step=f"s{n}") for n in range(101)))


@pytest.mark.parametrize("steps", [rehearsing.STEPS, 0], ids=["thread", "process"])
async def test_a_forecast_of_what_begins(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    monkeypatch.setattr(rehearsing, "STEPS", steps)
    c = controller()
    r = Rehearsals(c)
    plan = await c.desk.plan(Intent(verb="deploy", targets=("a.web",), params={"version": "1.1.0"}), WHO)
    coming = r.foretell(plan)
    assert coming is not None
    forecast = await coming
    assert forecast is not None and forecast.outcome == "done" and forecast.total == len(plan.steps)
    monkeypatch.setattr(rehearsing, "MOST_STEPS", len(plan.steps) - 1)
    assert r.foretell(plan) is None


async def test_a_large_action_is_foretold_as_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its own steps change while the process is told of the world, is not in the forecast."""
    c = controller(count=30)
    plan = await c.desk.plan(Intent(verb="deploy", targets=("a.web",), params={"version": "1.1.0"}), WHO)
    near = await Rehearsals(c).foretell(plan) or pytest.fail("no forecast")
    monkeypatch.setattr(rehearsing, "STEPS", 0)
    coming = Rehearsals(c).foretell(plan)
    assert coming is not None
    c.world.units.clear()
    far = await coming
    assert far is not None and near.total == len(plan.steps) > 100
    for field in ("outcome", "seconds", "steps", "kinds", "ready", "total"):
        here, there = (_plain(msgspec.to_builtins(getattr(f, field))) for f in (near, far))
        assert here == there, field


async def test_an_action_that_is_over_ends_its_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsing, "STEPS", 0)
    pids: list[int] = []
    start = asyncio.create_subprocess_exec

    async def noted(*argv: Any, **more: Any) -> Any:
        process = await start(*argv, **more)
        pids.append(process.pid)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    c = controller(count=3000)
    coming = Rehearsals(c).foretell(await c.desk.plan(Intent(**DEPLOY), WHO))
    assert coming is not None
    await until(lambda: bool(pids))
    coming.cancel()
    await asyncio.wait([coming])
    assert coming.cancelled() and not alive(pids[0])
