"""A session made of canned data (see `puzzle`), for tests and for a look: `python -m tests.screens.canned`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from cockpit.model.view import (
    ActionDetail,
    ActionRow,
    ArtifactDetail,
    ArtifactRow,
    Change,
    Delta,
    Diff,
    InstanceDetail,
    LogLine,
    RevisionRow,
    Snapshot,
    Who,
)
from cockpit.plan.steps import Bad, Intent, Plan, Refused, Step
from tests.screens import pushed
from tests.screens.puzzle import ACTION, DAY, HOSTS, LOG, NOW, STEPS, instance, rows, snapshot

__all__ = ["NOW", "CannedSession", "instance", "plan_for", "rows", "snapshot"]


def plan_for(intent: Intent) -> Plan:
    targets = intent.targets or ("puzzle",)
    steps: list[Step] = []
    for number, slot in enumerate((3, 0, 1, 2)):
        name, host = f"puzzle.sudoku/{slot}", list(HOSTS)[slot + 1]
        for kind in ("fetch", "prepare", "start", "healthy", "drain", "stop", "remove"):
            before = (steps[-1].id,) if steps else ()
            steps.append(Step(
                id=f"{kind}-{slot}", kind=kind, host=host, instance=name, unit=f"{name}:8", needs=before,
                batch=0 if number == 0 else number, text=f"{kind} sudoku/{slot} on {host}",
                args={"version": intent.params.get("version", "1.1.0")},
            ))
    destructive = intent.verb in ("stop", "drain", "abort") or intent.params.get("count") == 0
    name = targets[0].rpartition(".")[2]
    words = [intent.verb, name, *(str(v) for v in intent.params.values())]
    return Plan(
        intent=intent, base=42, steps=tuple(steps), digest="d1", title=" ".join(words), deadline=60.0, parallel=1,
        changes=(Change(path=("services", "puzzle.sudoku", "version"), old="1.1.0", new=intent.params["version"]),)
        if "version" in intent.params else (),
        risk="destructive" if destructive else "change", confirm=name.lstrip("#") if destructive else "",
        touches=("web uses sudoku: 2 instances, never below 3 ready", "batch uses sudoku: 6 instances"),
        warnings=("port range of bj-2: 3 left",), undo="u returns to 1.1.0", estimate=45.0,
    )


class CannedSession:
    """Answers from memory. Tests push deltas, break the connection, and read what was submitted."""

    def __init__(self, first: Snapshot | None = None, *, read_only: str = "") -> None:
        self.data = first or snapshot()
        self.deltas: asyncio.Queue[Delta | Exception] = asyncio.Queue()
        self.submitted: list[tuple[Intent, str, str]] = []
        self.planned: list[Intent] = []
        self.fail: Exception | None = None
        """Raised by plan and submit when set."""
        self.broken: Exception | None = None
        """Raised by snapshot when set."""
        self.hold = asyncio.Event()
        """Plans wait for it."""
        self.hold.set()
        self.lines = [
            LogLine(
                instance="puzzle.sudoku/3", run=3, stream="stdout", text="sudoku 1.2.0 listens on 127.0.2.4:20013"
            ),
            LogLine(
                instance="puzzle.sudoku/3", run=3, stream="stderr", text="OSError: [Errno 98] Address already in use"
            ),
            LogLine(instance="puzzle.sudoku/3", run=3, stream="cockpit", text="run 3 ended: exit 1"),
        ]
        self.stored = pushed.artifacts()
        self.compared: list[str] = []
        """Versions that somebody wanted a comparison with."""
        self.answers: dict[str, Any] = {}
        """Op of `call` and `stream` -> what it answers, as plain data."""
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.log_feed: asyncio.Queue[LogLine | Exception] = asyncio.Queue()
        self._who = Who(author="li@jump-1", role="viewer" if read_only else "operator", read_only=read_only)

    @property
    def who(self) -> Who:
        return self._who

    async def snapshot(self) -> Snapshot:
        if self.broken is not None:
            raise self.broken
        return self.data

    async def changes(self) -> AsyncIterator[Delta]:
        while True:
            item = await self.deltas.get()
            if isinstance(item, Exception):
                raise item
            yield item

    def push(self, **tables: Any) -> None:
        now = tables.pop("now", self.data.head.now)
        self.deltas.put_nowait(Delta(head=msgspec.structs.replace(self.data.head, now=now), **tables))

    async def plan(self, intent: Intent) -> Plan:
        await self.hold.wait()
        self.planned.append(intent)
        if self.fail is not None:
            raise self.fail
        if intent.targets and intent.targets[0].startswith("nothing"):
            raise Bad(f"no service {intent.targets[0]!r}; did you mean sudoku?")
        return plan_for(intent)

    async def submit(self, intent: Intent, *, digest: str = "", confirm: str = "") -> ActionRow:
        self.submitted.append((intent, digest, confirm))
        if self.fail is not None:
            raise self.fail
        if self._who.read_only:
            raise Refused(self._who.read_only)
        return msgspec.structs.replace(ACTION, verb=intent.verb)

    async def action(self, id: str) -> ActionDetail:
        row = self.data.actions.get(id)
        if row is None:
            raise Bad(f"no action {id}")
        return ActionDetail(row=row, steps=STEPS, log=LOG)

    async def instance(self, id: str) -> InstanceDetail:
        row = self.data.instances.get(id)
        if row is None:
            raise Bad(f"no instance {id}")
        bad = row.mark == "drift"
        return InstanceDetail(
            row=row,
            expected_by="rev 42, li, 22:22",
            diffs=(
                Diff(
                    field="version",
                    expected=row.version_expected,
                    actual=row.version_actual,
                    same=row.version_expected == row.version_actual,
                ),
                Diff(
                    field="state",
                    expected="RUNNING",
                    actual="STARTING, 3rd try" if bad else "RUNNING",
                    same=not bad,
                    note="next try in 2s" if bad else "",
                ),
                Diff(field="host", expected=row.host, actual=row.host),
                Diff(field="command", expected="./sudoku --port {port}", actual="./sudoku --port 20013"),
                Diff(field="health", expected="tcp ok", actual="refused for 14s" if bad else "ok", same=not bad),
                Diff(field="ports", expected="main dynamic", actual="main 20013"),
            ),
            drift=tuple(d for d in self.data.drift.values() if d.target == id),
            depends=(self.data.nodes["puzzle.web"],),
            exits=("run 2: exit 1 after 0.8s", "run 1: exit 1 after 0.8s") if bad else (),
            actions=(self.data.actions["#118"],),
            last_lines=("sudoku 1.2.0 listens on 127.0.2.4:20013", "OSError: [Errno 98] Address already in use"),
            probe={"role": "solver", "version": "1.2.0"},
        )

    async def revisions(self, limit: int = 50) -> Sequence[RevisionRow]:
        return [
            RevisionRow(
                number=42, mark="9f2c41d0", author="li@jump-1", time=NOW - 48, action="#118",
                changes=(Change(path=("services", "puzzle.sudoku", "version"), old="1.1.0", new="1.2.0"),),
            ),
            RevisionRow(
                number=41, mark="77ab01ff", author="li@jump-1", time=NOW - 700, action="#117",
                changes=(Change(path=("placement", "puzzle.web/1"), old="sh-1", new="bj-2"),),
            ),
            RevisionRow(number=1, mark="00aa11bb", author="li@jump-1", time=NOW - 6 * DAY, action="#1"),
        ]

    async def artifacts(self) -> dict[str, dict[str, Any]]:
        return {
            f"{name}/{version}": {"sha256": "ab" * 32, "size": 41_000_000 + n, "added": NOW - 10000 + n}
            for n, (name, version) in enumerate(
                [("web", "1.0.0"), ("web", "1.1.0"), ("sudoku", "1.0.0"), ("sudoku", "1.1.0"), ("sudoku", "1.2.0")]
            )
        }

    async def artifact_rows(self) -> Sequence[ArtifactRow]:
        return self.stored

    async def artifact(self, id: str, base: str = "") -> ArtifactDetail:
        if id not in [r.id for r in self.stored]:
            raise Bad(f"no artifact {id!r}; did you mean sudoku/1.2.0?")
        self.compared.append(base)
        return pushed.detail(id, base)

    async def logs(
        self, instances: Sequence[str], *, lines: int = 200, follow: bool = True, since: float = 0.0,
        until: float = 0.0, streams: Sequence[str] = (), previous: int = 0, grep: str = "", before: int = 0,
        after: int = 0,
    ) -> AsyncIterator[LogLine]:
        for line in self.lines:
            if line.instance in instances:
                yield line
        while follow:
            item = await self.log_feed.get()
            if isinstance(item, Exception):
                raise item
            yield item

    async def call(self, op: str, args: dict[str, Any] | None = None) -> Any:
        """What `answers` says; a function is called with the arguments."""
        self.called.append((op, args or {}))
        if op not in self.answers:
            raise Bad(f"no op {op!r}")
        answer = self.answers[op]
        return answer(args or {}) if callable(answer) else answer

    async def stream(self, op: str, args: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        if op != "loads":  # lists follow the load by themselves
            self.called.append((op, args or {}))
        for item in self.answers.get(op, ()):
            yield item

    async def close(self) -> None:
        pass


if __name__ == "__main__":
    import sys
    import time

    import screens.app

    offset = time.time() - NOW
    first = pushed.crowd(1000) if "--crowd" in sys.argv else pushed.pushing(NOW)
    session = CannedSession(first, read_only="started with --read-only" if "--read-only" in sys.argv else "")
    address = next((a for a in sys.argv[1:] if not a.startswith("--")), "overview")
    sys.exit(screens.app.run(session, address=address, ascii=True if "--ascii" in sys.argv else None))
