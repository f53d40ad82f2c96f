"""Where a journal can be replayed: on the twin, or on a live session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cockpit.act import guard
from cockpit.act import messages as ex
from cockpit.act.replay import PAUSED, Ended, Hold, final_word
from cockpit.act.twin import Twin, versions
from cockpit.model.view import ActionRow
from cockpit.plan.steps import Intent, Plan, Refused
from cockpit.ports import Session

OVER = frozenset({ex.DONE, ex.FAILED, ex.ABORTED, "returned", "refused"})
FOLLOWS = 10.0
"""Seconds in which a derived action must appear."""


class TwinTarget:
    """Virtual time: everything happens inside the awaits, at once."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin

    async def plan(self, intent: Intent) -> Plan:
        return self.twin.plan(intent)

    async def submit(self, plan: Plan, holds: Sequence[Hold]) -> str:
        armed = [(ex.Pause if h.what == ex.PAUSE else ex.Abort)(h.by, h.step) for h in holds]
        return self.twin.submit(plan, armed, undo=any(h.undo for h in holds))

    async def paused(self, id: str) -> bool:
        act = self.twin.acts[id]
        self.twin.run(lambda: act.executor.paused or act.executor.over)
        self.twin.run()  # what runs beside a pause comes to its end
        return act.executor.paused

    async def resume(self, id: str) -> None:
        self.twin.send(id, ex.Resume("replay"))

    async def ended(self, id: str, derived: bool) -> Ended:
        self.twin.run()
        row = self.twin.acts[id].row
        return Ended(outcome=row.state, reason=row.note)

    async def versions(self, instances: Iterable[str]) -> dict[str, str]:
        return versions(instances, self.twin.fleet.units.values())

    async def sleep(self, seconds: float) -> None:
        self.twin.now += seconds


class SessionTarget:
    """The cluster itself, through any session that may submit."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def plan(self, intent: Intent) -> Plan:
        return await self.session.plan(intent)

    async def submit(self, plan: Plan, holds: Sequence[Hold]) -> str:
        row = await self.session.submit(plan.intent, digest=plan.digest, confirm=plan.confirm)
        for hold in holds:
            params: dict[str, Any] = {"after": hold.step} if hold.step else {}
            if hold.undo:
                params["undo"] = True
            intent = Intent(verb=hold.what, targets=(row.id,), params=params)
            with contextlib.suppress(Refused):  # it ended before: the comparison will tell
                await self.session.submit(intent, confirm=guard.short(row.id))
        return row.id

    async def paused(self, id: str) -> bool:
        row = await self._wait(lambda rows: _in(rows.get(id), OVER | {PAUSED}))
        return row.state == PAUSED

    async def resume(self, id: str) -> None:
        await self.session.submit(Intent(verb="resume", targets=(id,)))

    async def ended(self, id: str, derived: bool) -> Ended:
        row = await self._wait(lambda rows: _in(rows.get(id), OVER | {PAUSED}))
        if not derived or row.state not in (ex.FAILED, ex.ABORTED, "returned"):
            return Ended(outcome=row.state, reason=row.note)

        def caused(rows: dict[str, ActionRow]) -> ActionRow | None:
            return next((r for r in rows.values() if r.cause == id), None)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLLOWS):
                    await self._wait(caused)
            back = await self._wait(lambda rows: _in(caused(rows), OVER | {PAUSED}))
        return Ended(outcome=final_word(row.state, back.state), reason=row.note)

    async def versions(self, instances: Iterable[str]) -> dict[str, str]:
        rows = (await self.session.snapshot()).instances
        return {i: rows[i].version_actual for i in instances if i in rows}

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _wait(self, found: Callable[[dict[str, ActionRow]], ActionRow | None]) -> ActionRow:
        """The first row that fits. Raises ConnectionError when the session ends before."""
        rows = dict((await self.session.snapshot()).actions)
        if (row := found(rows)) is not None:
            return row
        async with contextlib.aclosing(self.session.changes()) as changes:  # type: ignore[type-var]
            async for delta in changes:
                for id, each in delta.actions.items():
                    if each is None:
                        rows.pop(id, None)
                    else:
                        rows[id] = each
                if (row := found(rows)) is not None:
                    return row
        raise ConnectionError("the session ended during the replay")


def _in(row: ActionRow | None, states: Iterable[str]) -> ActionRow | None:
    return row if row is not None and row.state in states else None
