"""The protocols between the engine and everything outside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cockpit.model.view import (
    ActionDetail,
    ActionRow,
    ArtifactDetail,
    ArtifactRow,
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

    async def artifact(self, id: str, base: str = "") -> ArtifactDetail:
        """Of `name/version`; its diff is against version `base`, or the one that most hosts have."""
        ...

    async def artifact_rows(self) -> Sequence[ArtifactRow]: ...

    def logs(
        self, instances: Sequence[str], *, lines: int = 200, follow: bool = True, since: float = 0.0,
        until: float = 0.0, streams: Sequence[str] = (), previous: int = 0, grep: str = "", before: int = 0,
        after: int = 0,
    ) -> AsyncIterator[LogLine]:
        """Lines of these instances by time: the last `lines` of what is stored, then what comes.

        `since` and `until` are Unix times, 0 is no limit. `streams`: stdout, stderr, names of declared log files;
        none: all. `previous`: only of the run so many before the newest. `grep` as people type it
        (`session.log_text.sought`), with `before` and `after` lines around; what is stored is searched on the hosts.
        """
        ...

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        """One of the ops beside these methods (`cockpit.session.ops`), with plain data both ways."""
        ...

    def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        """One that answers with many items, until it ends or is closed."""
        ...

    async def close(self) -> None: ...


class Object(NamedTuple):
    """One object of an object store. `modified` is Unix time."""

    key: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """A flat space of objects that are written once: a directory, a bucket.

    Keys are words of letters, digits and `._+-` joined by `/`. Methods block and may be called from several
    threads. All raise OSError when the store does not answer or a key is malformed.
    """

    def put_once(self, key: str, content: Path | bytes) -> bool:
        """Whole or not at all; False, and nothing is changed, when there is such an object.

        A file that is given must not be written to any more: it may become the object.
        """
        ...

    def get(self, key: str, limit: int) -> bytes:
        """Raises FileNotFoundError, and OSError when it has more than `limit` bytes."""
        ...

    def file(self, key: str) -> Path:
        """A local file with the content, only to be read. Raises FileNotFoundError."""
        ...

    def size(self, key: str) -> int | None:
        """None: there is none."""
        ...

    def list(self, prefix: str) -> Iterator[Object]:
        """Those whose key begins with `prefix`, sorted by key."""
        ...

    def delete(self, key: str) -> None:
        """There is none afterwards; that there was none is no error."""
        ...


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
