"""What holds the controller's loop up at 100,000 instances on 10,000 hosts: each op is called once.

    python -m tests.bench.late [INSTANCES] [OP ...]

The controller is a real one, whose hosts' links are there and say nothing. A session calls the op over the socket;
another asks for a small thing each 10 ms meanwhile, and an idle process for an echo of it. A piece is one callback of
the loop, by the CPU of its thread, so that it hardly depends on what else the machine does. Answers are on the clock:
what those of the idle process take is the machine's part of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.session.client import RemoteSession
from tests.bench.keeper import place
from tests.bench.table import Figure, measures

COUNT = 100_000
LONGEST = 60.0
"""Seconds that one op may take."""
NEEDS = ("tests.bench.late_program", "cockpit.controller.core")
Op = Callable[[RemoteSession], Awaitable[Any]]


def _call(op: str, **args: Any) -> Op:
    return lambda s: s.call(op, args)


def _plan(verb: str, *targets: str, **params: Any) -> Op:
    intent = {"verb": verb, "targets": list(targets), "params": params}
    return lambda s: s.call("plan", {"intent": intent})


async def _attach(s: RemoteSession) -> None:
    changes: Any = s._stream("changes", {})
    await s.call("snapshot")
    task = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await changes.aclose()


def _stream(op: str, parts: int, **args: Any) -> Op:
    async def run(s: RemoteSession) -> None:
        items: Any = s.stream(op, args)
        async with contextlib.aclosing(items):
            for _ in range(parts):
                item = await anext(items, None)
                if item is None or "forecast" in item:
                    return

    return run


def _submit(verb: str, *targets: str, seconds: float = 3.0, **params: Any) -> Op:
    async def run(s: RemoteSession) -> None:
        await s.submit(Intent(verb=verb, targets=targets, params=params), confirm=targets[0].rpartition(".")[2])
        await asyncio.sleep(seconds)

    return run


async def _end(s: RemoteSession) -> None:
    """Abort what runs, and see it written down."""
    rows = (await s.call("snapshot"))["actions"]
    for id in [i for i, a in rows.items() if a["state"] == "running"]:
        await s.submit(Intent(verb="abort", targets=(id,)), confirm=id.lstrip("#"))
    await asyncio.sleep(3)


async def _action(s: RemoteSession) -> None:
    rows = (await s.call("revisions", {"limit": 5}))
    await s.call("action", {"id": rows[0]["action"] if rows and rows[0].get("action") else "#1"})


OPS: dict[str, Op] = {
    "at rest": lambda s: asyncio.sleep(5),
    "attach (snapshot and changes)": _attach,
    "instance": _call("instance", id="shop.s3/7"),
    "a name that is not there": _call("explain", name="shop.s3/77777"),
    "explain a cluster": _call("explain", kind="cluster"),
    "explain a service of a ring": _call("explain", kind="service", name="shop.s1"),
    "explain a group": _call("explain", kind="group", name="shop"),
    "explain an instance": _call("explain", kind="instance", name="shop.s1/2"),
    "explain a host": _call("explain", kind="host", name="h-1"),
    "timeline of the cluster": _call("timeline", kind="cluster"),
    "timeline of a service": _call("timeline", kind="service", name="shop.s1"),
    "timeline of an instance": _call("timeline", kind="instance", name="shop.s1/2"),
    "journal": _call("journal"),
    "traffic": _call("traffic"),
    "loads of instances": _stream("loads", 1, kind="instance"),
    "advice": _call("advice"),
    "advice of a service": _call("advice", name="shop.s1"),
    "alerts": _call("alerts"),
    "export": _call("export"),
    "source": _call("source"),
    "twin": _call("twin"),
    "plan: restart of one": _plan("restart", "shop.s3/7"),
    "plan: deploy of 3,125": _plan("deploy", "shop.s3", version="1.2.0"),
    "plan: migrate of one": _plan("migrate", "shop.s3/7"),
    "plan: drain of a host": _plan("drain", "h-9"),
    "direct: true on all": _call("direct", verb="exec", targets=["shop"], argv=["true"]),
    "rehearse 3,125": _stream("rehearse", 10_000, verb="deploy", targets=["shop.s3"], params={"version": "1.2.0"}),
    "submit: restart of one": _submit("restart", "shop.s2/7"),
    "submit: deploy of 3,125": _submit("deploy", "shop.s3", version="1.2.0", seconds=10),
    "action": _action,
    "revision_diff": _call("revision_diff", **{"from": 1}),
    "instance_at": _call("instance_at", instance="shop.s3/7", revision=1),
    "at work": lambda s: asyncio.sleep(5),
    "abort": _end,
    "lives": _call("lives", kind="instance", name="shop.s3/7"),
    "moments": _call("moments", start=0.0, end=1e10),
}


@functools.cache
def figures(count: int = COUNT, only: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    with place() as where:
        return asyncio.run(_measure(where, count, only))


def _program(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.bench.late_program", *args]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _said(process: subprocess.Popen[str], word: str = "") -> str:
    assert process.stdin is not None and process.stdout is not None
    if word:
        process.stdin.write(word + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the program has ended")
    return line


async def _measure(where: Path, count: int, only: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    program = _program(str(where), str(count))
    echo = other = None
    try:
        await asyncio.to_thread(_said, program)
        socket = where / "state" / "control.sock"
        echo = _program("--echo", str(where / "echo"))
        await asyncio.to_thread(_said, echo)
        other = _program("--ask", str(socket), str(where / "echo"), "shop.s0/1", "shop.s2/2", "shop.s1/3")
        await asyncio.to_thread(_said, other)
        session = RemoteSession(socket)
        await session.connect()
        out = {}
        for name, op in OPS.items():
            if only and not name.startswith(only):
                continue
            await asyncio.to_thread(_said, program, "begin")
            await asyncio.to_thread(_said, other, "now")
            begun, trouble = time.perf_counter(), ""
            try:
                async with asyncio.timeout(LONGEST):
                    await op(session)
            except (Bad, Refused, ConnectionError, TimeoutError) as e:
                trouble = str(e) or type(e).__name__
            took = (time.perf_counter() - begun) * 1e3
            await asyncio.sleep(0.3)
            told = json.loads(await asyncio.to_thread(_said, program, "end"))
            times = json.loads(await asyncio.to_thread(_said, other, "now"))
            out[name] = told | {"took": took, "trouble": trouble, **_answers(times)}
            print(line(name, out[name]), file=sys.stderr, flush=True)
        await session.close()
        return out
    finally:
        for process in filter(None, (other, echo, program)):
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(told: dict[str, list[float]]) -> dict[str, float]:
    times, idle = sorted(told["times"]) or [0.0], sorted(told["idle"]) or [0.0]
    return {"p50": statistics.median(times), "p99": _p99(times), "idle": _p99(idle), "asked": len(times)}


def _p99(times: list[float]) -> float:
    return times[max(0, int(len(times) * 0.99) - 1)]


@measures("late", NEEDS)
def late() -> Figure:
    found = figures()
    worst = max(found, key=lambda n: found[n]["piece"])
    slow = max(found, key=lambda n: found[n]["p99"])
    note = f"CPU of one callback: {worst}; p99 of another session's answers {found[slow]['p99']:.0f} ({slow})"
    note += f", of an idle process then {found[slow]['idle']:.0f}"
    return Figure(found[worst]["piece"], note=note)


def line(name: str, f: dict[str, Any]) -> str:
    more = "".join(f"; {n} {ms:.0f}" for n, ms in f["over"][1:])
    return (
        f"{name:32} {f['took']:7.0f} {f['piece']:6.1f} {f['full']:5.1f} {f['late']:5.0f} {f['p50']:5.1f} "
        f"{f['p99']:5.0f} {f['idle']:5.0f} {f['asked']:5}  {f['what']}{more}  {f['trouble'][:90]}"
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    found = figures(count, tuple(sys.argv[2:]))
    print(f"{'op':32} {'took':>7} {'piece':>6} {'gc':>5} {'late':>5} {'p50':>5} {'p99':>5} {'idle':>5} {'asked':>5}")
    for name, figures_of in found.items():
        print(line(name, figures_of))


if __name__ == "__main__":
    main()
