"""What must survive the controller: revisions, actions, and where the journal stands.

An action's intent and the revision it writes are one transaction; the journal file is its export.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec

from cockpit.act.journal import Journal
from cockpit.model.patch import apply
from cockpit.model.rehearsal_rows import Forecast, Score
from cockpit.model.topology import Doc, digest
from cockpit.model.view import ActionRow, Change, RevisionRow, StepRow
from cockpit.plan.steps import Intent, Plan
from cockpit.ports import StateStore, Write

KEPT_ACTIONS = 500


class ActionRecord(msgspec.Struct, kw_only=True):
    """One action as it is kept: enough to show it, resume it, undo it."""

    row: ActionRow
    plan: Plan
    steps: dict[str, StepRow] = {}
    log: list[str] = []
    attempts: dict[str, int] = {}
    """How often each step was tried, so that task ids repeat exactly after a crash."""
    undo: bool = False
    """An abort asked to return to what was before."""
    outcome: str = ""
    """done, failed or aborted: how its own plan ended, whatever follows."""
    reason: str = ""
    forecast: Forecast | None = None
    """What was foretold when it began."""
    score: Score | None = None
    lowest: dict[str, int] = {}
    """Service -> the fewest of its units that took traffic at a time."""
    held: str = ""
    """Why its time cannot be compared with what was foretold."""


class Ledger:
    """Revisions and actions, in memory and in the store."""

    def __init__(self, store: StateStore, journal: Journal) -> None:
        self.store = store
        self.journal = journal
        self.revisions: list[RevisionRow] = []
        self.actions: dict[str, ActionRecord] = {}
        self.last_import: Doc | None = None
        self.meta: dict[str, Any] = {}
        self._next = 1
        self._notes: list[Mapping[str, Any]] = []
        self._writing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "journal")

    def load(self, tables: dict[str, dict[str, Any]]) -> None:
        self.meta = dict(tables.get("meta", {}))
        self.last_import = self.meta.get("import")
        rows = [msgspec.convert(r, RevisionRow) for r in tables.get("revision", {}).values()]
        self.revisions = sorted(rows, key=lambda r: r.number)
        for key, raw in tables.get("action", {}).items():
            self.actions[key] = msgspec.convert(raw, ActionRecord)
        self._next = 1 + max((number_of(k) for k in self.actions), default=int(self.meta.get("last_action", 0)))

    @property
    def head(self) -> tuple[Doc, int] | None:
        """Document and number of the head revision; None before the first."""
        doc = self.meta.get("head")
        return (doc["doc"], int(doc["revision"])) if doc else None

    @property
    def begun(self) -> int:
        """Number of the next action."""
        return self._next

    def next_id(self) -> str:
        number, self._next = self._next, self._next + 1
        return f"#{number}"

    def revise(
        self, changes: tuple[Change, ...], intent: Intent, *, action: str, now: float
    ) -> tuple[Doc, RevisionRow]:
        """The next revision, not yet written. Raises model.patch.Conflict."""
        doc, number = self.head or ({"name": ""}, 0)
        after = apply(doc, changes)
        row = RevisionRow(
            number=number + 1, mark=digest(after), author=intent.author, time=now, action=action,
            changes=changes, undo=intent.verb == "rollback",
        )
        return after, row

    def revision_writes(self, doc: Doc, row: RevisionRow) -> list[Write]:
        self.meta["head"] = {"doc": doc, "revision": row.number}
        self.revisions.append(row)
        return [("meta", "head", self.meta["head"]), ("revision", f"{row.number:09d}", row)]

    def action_writes(self, record: ActionRecord) -> list[Write]:
        self.actions[record.row.id] = record
        writes: list[Write] = [
            ("action", record.row.id, record),
            ("meta", "last_action", number_of(record.row.id)),
        ]
        old = sorted((k for k, a in self.actions.items() if a.row.ended is not None), key=number_of)
        for key in old[: max(0, len(old) - KEPT_ACTIONS)]:
            del self.actions[key]
            writes.append(("action", key, None))
        return writes

    def import_writes(self, doc: Doc) -> list[Write]:
        self.last_import = doc
        self.meta["import"] = doc
        return [("meta", "import", doc)]

    def text_writes(self, text: str) -> list[Write]:
        """The file as it was written, for its comments and its order."""
        self.meta["text"] = text
        return [("meta", "text", text)]

    def note(self, body: dict[str, Any]) -> None:
        """A journal entry, in order; on disk with the next `flush` or `commit`."""
        self._notes.append(body)

    async def keep(self) -> None:
        """Write what was noted; the store knows how far the journal goes: backups are cut there. Raises OSError."""
        if self._notes:
            await self.commit([])

    async def flush(self) -> None:
        """Write what was noted, with one sync, off the loop. Raises OSError."""
        async with self._writing:
            notes, self._notes = self._notes, []
            if notes:
                write = partial(self.journal.extend, notes, now=time.time())
                await asyncio.get_running_loop().run_in_executor(self._thread, write)

    def close(self) -> None:
        """Waits for what is being written, then closes the journal."""
        self._thread.shutdown()
        self.journal.close()

    async def commit(self, writes: list[Write]) -> None:
        """The journal first, then the store. Raises OSError when the state cannot be kept."""
        await self.flush()
        head = {"hash": self.journal.head, "count": self.journal.count}
        await self.store.commit([*writes, ("meta", "journal", head)])


def number_of(id: str) -> int:
    try:
        return int(id.lstrip("#"))
    except ValueError:
        return 0
