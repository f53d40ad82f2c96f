"""The protocols between the engine and everything outside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from cockpit.model.view import (
    ActionDetail,
    ActionRow,
    Delta,
    InstanceDetail,
    LogLine,
    RevisionRow,
    Snapshot,
    Who,
)
from cockpit.plan.steps import Intent, Plan


class Session(Protocol):
    """How screens and commands reach an engine: embedded, remote, or a recording.

    All methods raise `plan.steps.Bad`, `plan.steps.Refused`, or ConnectionError when there is
    no answer.
    """

    @property
    def who(self) -> Who: ...

    async def snapshot(self) -> Snapshot: ...

    def changes(self) -> AsyncIterator[Delta]:
        """Deltas that follow the last snapshot of this session, at most ten a second."""
        ...

    async def plan(self, intent: Intent) -> Plan:
        """What the intent would do now. Changes nothing."""
        ...

    async def submit(self, intent: Intent, *, digest: str = "", confirm: str = "") -> ActionRow:
        """Carry it out. With a digest it is refused when the plan would be another one now."""
        ...

    async def action(self, id: str) -> ActionDetail: ...

    async def instance(self, id: str) -> InstanceDetail: ...

    async def revisions(self, limit: int = 50) -> Sequence[RevisionRow]: ...

    async def artifacts(self) -> dict[str, dict[str, Any]]:
        """`name/version` -> {sha256, size, added}."""
        ...

    def logs(
        self, instances: Sequence[str], *, lines: int = 200, follow: bool = True
    ) -> AsyncIterator[LogLine]: ...

    async def close(self) -> None: ...


class ArtifactStore(Protocol):
    """Immutable, content-addressed releases."""

    def add(self, source: Path, name: str, version: str) -> dict[str, Any]: ...

    def find(self, name: str, version: str) -> dict[str, Any] | None: ...

    def listing(self) -> dict[str, dict[str, Any]]: ...

    def blob(self, sha256: str) -> Path | None: ...


Write = tuple[str, str, Any]
"""Table, key, JSON value; None deletes."""


class StateStore(Protocol):
    """Durable state of one controller: tables of JSON values by key."""

    async def load(self) -> dict[str, dict[str, Any]]:
        """Everything: table -> key -> value."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """One transaction; on disk when it returns. Raises OSError when it cannot be kept."""
        ...

    async def lost(self) -> bool:
        """True when the state was taken away under a running controller."""
        ...

    async def close(self) -> None: ...
