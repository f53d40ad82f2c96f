"""What must survive the controller: revisions, actions, and where the journal stands.

An action's intent and the revision it writes are one transaction; the journal file is its export.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import msgspec

from cockpit.act.graph import Graph
from cockpit.act.journal import Journal
from cockpit.model.patch import apply
from cockpit.model.rehearsal_rows import Forecast, Score
from cockpit.model.topology import Doc, Expected, digest, from_doc, revised
from cockpit.model.view import ActionRow, RevisionRow, StepRow
from cockpit.plan.steps import Plan
from cockpit.ports import StateStore, Write
from cockpit.session.spelling import spelled

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


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """A record without its plan, which never changes, and its steps, of which each is kept by itself."""

    row: ActionRow
    log: list[str]
    undo: bool
    outcome: str
    reason: str
    forecast: Forecast | None
    score: Score | None
    lowest: dict[str, int]
    held: str


class Head(NamedTuple):
    """What a plan makes of a document."""

    base: Doc
    doc: Doc
    mark: str
    expected: Expected

    @classmethod
    def of(cls, plan: Plan, base: Doc, expected: Expected) -> Head:
        """`expected` is the typed view of `base`. Raises model.patch.Conflict."""
        doc = apply(base, plan.changes)
        return cls(base, doc, digest(doc), revised(doc, base, expected))


class Begun(NamedTuple):
    """What beginning a plan needs and may be made beside the loop: for 20,000 steps that takes a while."""

    plan: Plan
    text: msgspec.Raw
    """The plan as JSON."""
    steps: dict[str, StepRow]
    graph: Graph
    gens: dict[str, int]
    """Instance -> the highest generation of its units in the plan."""
    head: Head | None
    """None: the document stays as it is."""

    @classmethod
    def of(cls, plan: Plan, doc: Doc, expected: Expected) -> Begun:
        """`doc` is what the plan was made from. Raises model.patch.Conflict."""
        gens: dict[str, int] = {}
        for step in plan.steps:
            if step.unit:
                gens[step.instance] = max(gens.get(step.instance, 0), int(step.unit.rpartition(":")[2]))
        return cls(
            plan=plan, text=msgspec.Raw(b"".join(spelled(plan))), steps=waiting(plan),
            graph=Graph(plan.steps, plan.gates), gens=gens,
            head=Head.of(plan, doc, expected) if plan.changes else None,
        )  # fmt: skip


def waiting(plan: Plan) -> dict[str, StepRow]:
    """The steps of a plan before any began."""
    return {
        s.id: StepRow(
            id=s.id, kind=s.kind, text=s.text, state="waiting", instance=s.instance, host=s.host, needs=s.needs
        )
        for s in plan.steps
    }


class Ledger:
    """Revisions and actions, in memory and in the store."""

    def __init__(self, store: StateStore, journal: Journal) -> None:
        self.store = store
        self.journal = journal
        self.revisions: list[RevisionRow] = []
        self.actions: dict[str, ActionRecord] = {}
        self.last_import: Doc | None = None
        self.meta: dict[str, Any] = {}
        self._moved: dict[str, set[str]] = {}
        """Action -> steps that are not any more as they are kept."""
        self._whole: set[str] = set()
        """Actions that an earlier version has kept in one piece."""
        self._next = 1
        self._notes: list[Mapping[str, Any]] = []
        self._writing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "journal")

    def load(self, tables: dict[str, dict[str, Any]]) -> None:
        self.meta = dict(tables.get("meta", {}))
        self.last_import = self.meta.get("import")
        rows = [msgspec.convert(r, RevisionRow) for r in tables.get("revision", {}).values()]
        self.revisions = sorted(rows, key=lambda r: r.number)
        moved: dict[str, list[Any]] = {}
        for key, (row, attempt) in tables.get("step", {}).items():
            moved.setdefault(key.partition("|")[0], []).append((msgspec.convert(row, StepRow), attempt))
        for key, raw in tables.get("action", {}).items():
            if "plan" in raw:  # as an earlier version kept it: whole
                self.actions[key] = record = msgspec.convert(raw, ActionRecord)
                self._whole.add(key)
                continue
            plan = msgspec.convert(tables["plan"][key], Plan)
            brief = msgspec.convert(raw, Brief)
            record = self.actions[key] = ActionRecord(**msgspec.structs.asdict(brief), plan=plan, steps=waiting(plan))
            for step, attempt in moved.get(key, ()):
                record.steps[step.id] = step
                if attempt:
                    record.attempts[step.id] = attempt
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

    def revise(self, plan: Plan, made: Head, *, action: str, now: float) -> tuple[Head, RevisionRow]:
        """The next revision, not yet written, with what it makes of the head. That is `made`, unless the head is
        another one by now. Raises model.patch.Conflict."""
        doc, number = self.head or ({"name": ""}, 0)
        if made.base is not doc:
            made = Head.of(plan, doc, from_doc(doc))
        row = RevisionRow(
            number=number + 1, mark=made.mark, author=plan.intent.author, time=now, action=action,
            changes=plan.changes, undo=plan.intent.verb == "rollback",
        )
        return made, row

    def revision_writes(self, doc: Doc, row: RevisionRow) -> list[Write]:
        self.meta["head"] = {"doc": doc, "revision": row.number}
        self.revisions.append(row)
        return [("meta", "head", self.meta["head"]), ("revision", f"{row.number:09d}", row)]

    def action_writes(self, record: ActionRecord, text: msgspec.Raw) -> list[Write]:
        """Of an action that begins; `text` is its plan as JSON."""
        id = record.row.id
        self.actions[id] = record
        writes: list[Write] = [("plan", id, text), *self.kept(record), ("meta", "last_action", number_of(id))]
        old = sorted((k for k, a in self.actions.items() if a.row.ended is not None), key=number_of)
        for key in old[: max(0, len(old) - KEPT_ACTIONS)]:
            gone = self.actions.pop(key)
            self._moved.pop(key, None)
            self._whole.discard(key)
            writes += [("action", key, None), ("plan", key, None)]
            writes += [("step", f"{key}|{s.id}", None) for s in gone.steps.values() if s.state != "waiting"]
        return writes

    def moved(self, id: str, *steps: str) -> None:
        """Steps of an action are others now; `kept` writes them."""
        self._moved.setdefault(id, set()).update(steps)

    def unkept(self, id: str) -> bool:
        return bool(self._moved.get(id))

    def kept(self, record: ActionRecord) -> list[Write]:
        """What of a record is not on disk yet, to be committed at once."""
        id, steps = record.row.id, self._moved.pop(record.row.id, set())
        brief = Brief(**{name: getattr(record, name) for name in Brief.__struct_fields__})
        writes: list[Write] = [("action", id, brief)]
        if id in self._whole:
            self._whole.discard(id)
            steps = {s.id for s in record.steps.values() if s.state != "waiting"} | set(record.attempts)
            writes.append(("plan", id, record.plan))
        writes += [
            ("step", f"{id}|{step}", (record.steps[step], record.attempts.get(step, 0))) for step in sorted(steps)
        ]
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
