"""What the board saw change: moments of instances, hosts and relays, and the index of what is wrong.

A part of the controller that follows the board like a screen does. It forgets the oldest moments first.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cockpit.explain.wrong import Wrong
from cockpit.model.view import DRIFT, OK, Delta, HostRow, InstanceRow, RelayRow
from cockpit.model.why_rows import CLUSTER, HOST, INSTANCE, RELAY, Moment

if TYPE_CHECKING:
    from cockpit.controller.board import Board

KEPT = 20_000
"""Moments."""
SLICE = 500
"""Rows that are taken over before the loop has its turn."""
JUMP = 2.0
"""Seconds by which the clock must differ from what passed, to have jumped."""
LOOK = 5.0
TABLES = ("instances", "hosts", "relays", "drift")


class Watching:
    """Follows a board. `run` never ends by itself."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.wrong = Wrong()
        self.moments: deque[Moment] = deque(maxlen=KEPT)
        self.began = time.time()
        """Before it nothing was watched."""
        self.lost = 0
        """Moments that were forgotten."""
        self._rows: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        self._offset = time.time() - time.monotonic()

    async def run(self) -> None:
        subscriber = self.board.subscribe()
        try:
            for table in TABLES:
                await self._take(table, list(self.board.tables[table].items()), fresh=True)
            look = asyncio.create_task(self._clock())
            try:
                async for delta in subscriber.deltas():
                    await self._follow(delta)
            finally:
                look.cancel()
        finally:
            subscriber.close()

    async def _follow(self, delta: Delta) -> None:
        for table in TABLES:
            changes = getattr(delta, table)
            if changes:
                await self._take(table, list(changes.items()))

    async def _take(self, table: str, changes: list[tuple[str, Any]], *, fresh: bool = False) -> None:
        mine = self._rows[table]
        for number, (key, row) in enumerate(changes, 1):
            before = mine.get(key)
            self.wrong.change(table, key, row)
            if row is None:
                mine.pop(key, None)
            else:
                mine[key] = row
            if not fresh:
                self._note(differences(table, key, before, row, time.time()))
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def _note(self, moments: Iterable[Moment]) -> None:
        for moment in moments:
            self.lost += len(self.moments) == KEPT
            self.moments.append(moment)

    async def _clock(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self.clock(time.time(), time.monotonic())

    def clock(self, now: float, monotonic: float) -> None:
        """Compare what the clock says with what passed since the last look."""
        jump = now - monotonic - self._offset
        self._offset += jump
        if abs(jump) > JUMP:
            text = f"the controller's clock was set {'forward' if jump > 0 else 'back'} by {abs(jump):.0f} s"
            self._note([_moment("clock", CLUSTER, "", now, text, DRIFT, ())])


def _moment(
    kind: str, of: str, name: str, at: float, text: str, mark: str, door: tuple[str, ...]
) -> Moment:
    return Moment(at=at, kind=kind, kinds=(of, name), text=text, mark=mark, source="watched", door=door)


def differences(table: str, key: str, old: Any, new: Any, now: float) -> list[Moment]:
    """What a change of a row tells. Times are the row's own where it has some."""
    if table == "instances":
        return _instance(key, old, new, now)
    if table == "hosts":
        return _host(key, old, new, now)
    if table == "relays":
        return _relay(key, old, new, now)
    return []


def _instance(id: str, old: InstanceRow | None, new: InstanceRow | None, now: float) -> list[Moment]:
    door = ("node", id)
    if new is None:
        return [_moment("state", INSTANCE, id, now, "is not there any more", OK, door)] if old is not None else []
    if old is None:
        return [_moment("state", INSTANCE, id, now, f"appeared: {new.word}", new.mark, door)]
    out: list[Moment] = []
    if old.word != new.word or (old.mark != new.mark and old.reason != new.reason):
        at = new.since if new.since is not None and old.since != new.since and new.since <= now else now
        text = f"{old.word or old.state} → {new.word or new.state}" + (f": {new.reason}" if new.reason else "")
        out.append(_moment("state", INSTANCE, id, at, text, new.mark, door))
    elif old.health != new.health:
        text = f"health {old.health} → {new.health}"
        out.append(_moment("health", INSTANCE, id, now, text, new.mark, door))
    if old.version_actual != new.version_actual and new.version_actual:
        text = f"version {old.version_actual or 'none'} → {new.version_actual}"
        out.append(_moment("version", INSTANCE, id, now, text, new.mark, door))
    if old.host != new.host:
        text = f"on {new.host or 'no host'}, before on {old.host or 'none'}"
        out.append(_moment("state", INSTANCE, id, now, text, new.mark, door))
    if old.pinned != new.pinned:
        text = f"held on the host: {new.pinned}" if new.pinned else "not held on the host any more"
        out.append(_moment("state", INSTANCE, id, now, text, new.mark, door))
    had = {(r.unit, r.run): r for r in old.runs}
    for run in new.runs:
        before = had.get((run.unit, run.run))
        if before is None and run.run:
            pid = f", pid {run.pid}" if run.pid else ""
            text = f"run {run.run} of {run.version} started on {run.host}{pid}"
            out.append(_moment("run", INSTANCE, id, run.started or now, text, OK, door))
        if run.exit and (before is None or before.exit != run.exit):
            # what ended is this run, or the one before it when a new one has begun already
            text = f"run {before.run if before else max(1, run.run - 1)} ended: {run.exit}"
            out.append(_moment("run", INSTANCE, id, now, text, new.mark, door))
    return out


def _host(name: str, old: HostRow | None, new: HostRow | None, now: float) -> list[Moment]:
    door = ("host", name)
    if new is None or old is None:
        return []
    out = []
    if old.presence != new.presence:
        text = f"{old.presence} → {new.presence}" + (f": {new.reason}" if new.reason else "")
        out.append(_moment("presence", HOST, name, new.since or now, text, new.mark, door))
    if old.boot_id and new.boot_id and old.boot_id != new.boot_id:
        out.append(_moment("boot", HOST, name, now, f"{name} was booted: it has another boot id", DRIFT, door))
    if old.agent_version and new.agent_version and old.agent_version != new.agent_version:
        text = f"agent of {name} {old.agent_version} → {new.agent_version}"
        out.append(_moment("agent", HOST, name, now, text, OK, door))
    elif old.agent_pid and new.agent_pid and old.agent_pid != new.agent_pid:
        out.append(_moment("agent", HOST, name, now, f"agent of {name} was started again", OK, door))
    for words in new.trouble:
        if words not in old.trouble:
            out.append(_moment("note", HOST, name, now, words, DRIFT, door))
    return out


def _relay(name: str, old: RelayRow | None, new: RelayRow | None, now: float) -> list[Moment]:
    if new is None or old is None:
        return []
    out = []
    if old.presence != new.presence:
        text = f"{old.presence or 'nothing'} → {new.presence}" + (f": {new.reason}" if new.reason else "")
        out.append(_moment("presence", RELAY, name, new.since or now, text, new.mark, ("relays",)))
    if old.version and new.version and old.version != new.version:
        text = f"relay {name} {old.version} → {new.version}"
        out.append(_moment("agent", RELAY, name, now, text, OK, ("relays",)))
    return out
