"""Rehearsals on a simulated copy: asked for by somebody, and one for each action that begins.

Small ones run in a thread, others in a process of their own; neither holds up the controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from cockpit.act.rehearsal import Stopped, check, nothing, rehearse
from cockpit.act.seed import Line, Order, Placed, Seed, chunks, parts, placed
from cockpit.children import ended
from cockpit.controller.ledger import number_of
from cockpit.model.actual import Unit
from cockpit.model.rehearsal_rows import Fault, Forecast
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Intent, Plan, Refused

if TYPE_CHECKING:
    from cockpit.controller.core import Controller
    from cockpit.controller.operations import Stream

STEPS, UNITS = 1500, 5000
"""Plans and clusters up to this size are rehearsed in a thread."""
MOST_STEPS = 100_000
"""An action that begins with more has no forecast of its own, and so no score."""
AT_ONCE = 2
MAX_FAULTS = 100
LINE = 64 * 2**20
"""Bytes of one line of the process, at most."""
KEPT_BARS = 40
"""Lines of the timeline that are kept with an action."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """`quick`: only when it can be told in a moment; else there is no forecast."""

    verb: str
    targets: tuple[str, ...] = ()
    params: dict[str, Any] = {}
    faults: tuple[Fault, ...] = ()
    quick: bool = False


class Rehearsals:
    def __init__(self, controller: Controller) -> None:
        self.c = controller
        self._turn = asyncio.Semaphore(AT_ONCE)

    def small(self, plan: Plan) -> bool:
        return len(plan.steps) <= STEPS and len(self.c.world.units) <= UNITS

    def seed(self) -> Seed:
        c = self.c
        endpoints = c.world.registry.endpoints.values()
        return Seed(
            doc=c.world.doc, revision=c.world.revision, now=time.time(), hosts=dict(c.world.hosts),
            draining=tuple(e for e in endpoints if e.state == "draining"), artifacts=dict(c.world.artifacts),
            kinds=dict(c.world.kinds), moves=dict(c.world.moves), durations=c.desk.durations.dump(),
            gens=dict(c.world.gens), revisions=tuple(c.ledger.revisions), last_import=c.ledger.last_import,
            stable=dict(c.desk.stable), actions=max((number_of(a) for a in c.ledger.actions), default=0),
        )

    def units(self) -> list[tuple[Unit, str]]:
        return [pair for chunk in chunks(self.c.world.units, self.c.world.where) for pair in chunk]

    async def run(self, request: Request, who: Who) -> AsyncIterator[dict[str, Any]]:
        """Items: `{"progress": [steps that ended, all, virtual seconds]}`, `{"waiting": n}`, at last
        `{"forecast": F}`.

        Raises Bad and Refused as the plan does. When the stream is closed the rehearsal ends.
        """
        if len(request.faults) > MAX_FAULTS:
            raise Bad(f"at most {MAX_FAULTS} faults at once")
        intent = Intent(
            verb=request.verb, targets=request.targets, params=request.params, author=who.author
        )
        await self.c.looked()
        plan = None
        if len(self.c.world.units) <= UNITS:  # else the process makes the plan, and says what is wrong with it
            plan = await self.c.desk.plan(intent, who)
            check(plan, request.faults)
            if plan.empty:
                raise Bad(nothing(plan))
            plan = plan if self.small(plan) else None
        if request.quick and (plan is None or self._turn.locked()):
            return
        if self._turn.locked():
            yield {"waiting": AT_ONCE}
        async with self._turn:
            items = self._in_thread(plan, request.faults) if plan else self._in_process(intent, request.faults)
            async with contextlib.aclosing(items):
                async for item in items:
                    yield item

    def foretell(self, plan: Plan) -> asyncio.Future[Forecast | None] | None:
        """A forecast of what begins now, as the world is at this moment; None where it would take too long."""
        if not plan.steps or len(plan.steps) > MOST_STEPS:
            return None
        if not self.small(plan):
            world = self.c.world  # what the plan itself will touch is told as it is now
            held = {i: placed(world.units, world.where, i) for i in {s.instance for s in plan.steps} if i}
            order = Order(seed=self.seed(), intent=plan.intent, plan=plan, bars=KEPT_BARS)
            return asyncio.ensure_future(self._far(order, held))
        return asyncio.ensure_future(asyncio.to_thread(_foretell, self.seed(), self.units(), plan))

    async def _far(self, order: Order, held: dict[str, Placed]) -> Forecast | None:
        """The forecast of a large action that runs already. Cancelled, it ends its process."""
        async with self._turn, contextlib.aclosing(self._process(order, held)) as items:
            async for item in items:
                if "forecast" in item:
                    return msgspec.convert(item["forecast"], Forecast)
        return None

    async def _in_thread(self, plan: Plan, faults: tuple[Fault, ...]) -> AsyncGenerator[dict[str, Any], None]:
        end = threading.Event()
        seed, units = self.seed(), self.units()

        def work() -> Forecast:
            return rehearse(seed.twin(units), plan, faults, lambda *_: not end.is_set())

        yield {"progress": [0, len(plan.steps), 0.0]}
        task = asyncio.create_task(asyncio.to_thread(work))
        try:
            forecast = await asyncio.shield(task)
            yield {"forecast": msgspec.to_builtins(forecast)}
        finally:
            end.set()
            with contextlib.suppress(Stopped, Bad, Refused):
                await task

    def _in_process(self, intent: Intent, faults: tuple[Fault, ...]) -> AsyncGenerator[dict[str, Any], None]:
        return self._process(Order(seed=self.seed(), intent=intent, faults=faults), {})

    async def _process(self, order: Order, held: dict[str, Placed]) -> AsyncGenerator[dict[str, Any], None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "cockpit.act.worker", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, cwd="/", limit=LINE,
        )
        assert process.stdin is not None and process.stdout is not None
        feeding = asyncio.create_task(self._feed(process.stdin, order, held))
        try:
            async for line in process.stdout:
                item = msgspec.json.decode(line)
                if "wrong" in item:
                    raise Bad(str(item["wrong"]))
                if "refused" in item:
                    raise Refused(str(item["refused"]))
                yield item
            if await ended(process):
                raise Bad(f"the rehearsal ended by itself (exit {process.returncode}): too little memory?")
        finally:
            feeding.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await ended(process)
            await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self, pipe: asyncio.StreamWriter, order: Order, held: dict[str, Placed]) -> None:
        """The order, then units, in pieces that hold nobody up."""
        with contextlib.suppress(ConnectionError):
            for part in parts(order):
                await self._line(pipe, part)
            for units in chunks(self.c.world.units, self.c.world.where, held):
                await self._line(pipe, Line(units=units))
            pipe.close()

    async def _line(self, pipe: asyncio.StreamWriter, what: object) -> None:
        pipe.write(msgspec.json.encode(what) + b"\n")
        await pipe.drain()
        await asyncio.sleep(0)


def _foretell(seed: Seed, units: list[tuple[Unit, str]], plan: Plan) -> Forecast | None:
    try:
        return rehearse(seed.twin(units), plan, bars=KEPT_BARS)
    except (Bad, Refused):
        return None


def streams(c: Controller) -> dict[str, Stream]:
    def run(who: Who, args: dict[str, Any]) -> AsyncIterator[Any]:
        try:
            request = msgspec.convert(args, Request)
        except msgspec.ValidationError as e:
            raise Bad(f"rehearse: {e}") from None
        return c.rehearsals.run(request, who)

    return {"rehearse": run}
