"""A session made of canned data: the puzzle cluster in the middle of a deploy that hangs at its canary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from cockpit.model.view import (
    ActionDetail,
    ActionRow,
    Change,
    Delta,
    Diff,
    DriftRow,
    EndpointRow,
    Head,
    HostRow,
    InstanceDetail,
    InstanceRow,
    LogLine,
    NodeRow,
    RevisionRow,
    RunRow,
    Snapshot,
    StepRow,
    Who,
)
from cockpit.plan.steps import Bad, Intent, Plan, Refused, Step

NOW = 1_700_000_602.0  # 22:23:22 UTC
DAY = 86400.0

HOSTS = {"sh-1": "sh", "sh-2": "sh", "sh-3": "sh", "bj-1": "bj", "bj-2": "bj", "bj-3": "bj"}


def instance(service: str, slot: int, host: str, version: str, *, expected: str = "", port: int = 0, **more: Any) -> InstanceRow:
    values: dict[str, Any] = {
        "id": f"{service}/{slot}", "service": service, "slot": slot, "host": host, "version_expected": expected or version,
        "version_actual": version, "state": "RUNNING", "desired": "RUNNING", "pid": 4000 + slot, "health": "ok",
        "ports": {"main": port} if port else {}, "word": "running", "started": NOW - 2 * DAY, "since": NOW - 2 * DAY,
        "address": f"127.0.1.{slot + 1}", "observed": NOW - 1,
    }
    return InstanceRow(**(values | more))


def rows() -> dict[str, InstanceRow]:
    out = [
        instance("puzzle.web", 0, "sh-1", "1.1.0", port=20011),
        instance("puzzle.web", 1, "bj-2", "1.1.0", port=20007),
        instance("puzzle.sudoku", 0, "sh-2", "1.1.0", expected="1.2.0", port=20012, mark="changing", word="waits"),
        instance("puzzle.sudoku", 1, "sh-3", "1.1.0", expected="1.2.0", port=20013, mark="changing", word="waits"),
        instance("puzzle.sudoku", 2, "bj-1", "1.1.0", expected="1.2.0", port=20014, mark="changing", word="waits"),
        instance(
            "puzzle.sudoku", 3, "bj-2", "1.2.0", port=20013, mark="drift", word="unhealthy", state="STARTING",
            health="failing", restarts=3, reason="tcp 127.0.2.4:20013 refused, exit 1 three times since 22:22:51",
            since=NOW - 14, started=NOW - 3, pid=4711,
            runs=(
                RunRow(unit="puzzle.sudoku/3:7", host="bj-2", run=3, state="STARTING", version="1.2.0", pid=4711, started=NOW - 3),
                RunRow(unit="puzzle.sudoku/3:7", host="bj-2", run=2, state="FAILED", version="1.2.0", started=NOW - 8, exit="exit 1 after 0.8s"),
                RunRow(unit="puzzle.sudoku/3:6", host="bj-2", run=1, state="SHUTDOWN", version="1.1.0", started=NOW - 2 * DAY, exit="stopped after 2d"),
            ),
        ),
    ]
    out += [instance("puzzle.batch", n, list(HOSTS)[n], "0.9.4", started=NOW - 5 * DAY) for n in range(6)]
    return {row.id: row for row in out}


def node(path: str, kind: str, want: int, have: int, **more: Any) -> NodeRow:
    return NodeRow(path=path, kind=kind, want=want, have=have, **more)


ACTION = ActionRow(
    id="#118", verb="deploy", state="running", author="li@jump-1", targets=("puzzle.sudoku",), title="deploy sudoku 1.2.0",
    started=NOW - 48, done=5, total=26, note="waits for sudoku/3 to be healthy", gives_up=NOW + 29, revision=42,
    params={"version": "1.2.0"},
)


def snapshot(now: float = NOW) -> Snapshot:
    hosts = {
        name: HostRow(
            name=name, region=region, presence="up", address=f"127.0.{1 if region == 'sh' else 2}.{name[-1]}", agent_pid=300,
            keeper_pid=299, labels={"disk": "ssd"} if name.endswith("1") else {}, instances=2, want=2, since=NOW - 5 * DAY,
            seen=NOW - 1, latency=0.0004 if region == "sh" else 0.031, boot_id="b", names_applied=17,
            releases=("sudoku/1.1.0", "web/1.1.0"),
        )
        for name, region in HOSTS.items()
    }
    endpoints = {
        f"{row.id}:5|main": EndpointRow(
            service=row.service, address=row.address, port=row.ports["main"], state="ready", instance=row.id, name="main",
            since=NOW - 2 * DAY, attributes={"weight": "1"},
        )
        for row in rows().values() if row.ports and row.mark != "drift"
    }
    return Snapshot(
        head=Head(cluster="puzzle-prod", revision=42, digest="9f2c", now=now, names_version=17, zone="UTC"),
        nodes={
            "puzzle": node("puzzle", "cluster", 12, 11, drift=1, mark="drift"),
            "puzzle.web": node("puzzle.web", "service", 2, 2, version="1.1.0", versions={"1.1.0": 2}, depends=("puzzle.sudoku",)),
            "puzzle.sudoku": node(
                "puzzle.sudoku", "service", 4, 3, drift=1, mark="drift", version="1.2.0", versions={"1.1.0": 3, "1.2.0": 1}
            ),
            "puzzle.batch": node(
                "puzzle.batch", "service", 6, 6, version="0.9.4", versions={"0.9.4": 6}, depends=("puzzle.sudoku", "puzzle.web")
            ),
        },
        instances=rows(),
        hosts=hosts,
        drift={
            "unhealthy|puzzle.sudoku/3": DriftRow(
                kind="unhealthy", target="puzzle.sudoku/3", expected="RUNNING", actual="STARTING",
                action="converge puzzle.sudoku/3", since=NOW - 14, reason="tcp 127.0.2.4:20013 refused",
            ),
        },
        endpoints=endpoints,
        actions={
            "#118": ACTION,
            "#117": ActionRow(
                id="#117", verb="migrate", state="done", author="li@jump-1", targets=("puzzle.web/1",),
                title="migrate web/1 sh-1 to bj-2", started=NOW - 700, ended=NOW - 688, done=7, total=7, revision=41, mark="ok",
            ),
            "#116": ActionRow(
                id="#116", verb="push", state="done", author="wang@jump-2", targets=("sudoku/1.2.0",),
                title="push sudoku/1.2.0 to 6 hosts", started=NOW - 1300, ended=NOW - 1296, done=6, total=6, mark="ok",
            ),
            "#115": ActionRow(
                id="#115", verb="deploy", state="returned", author="wang@jump-2", targets=("puzzle.sudoku",),
                title="deploy sudoku 1.2.0", started=NOW - 3900, ended=NOW - 3810, done=9, total=26, revision=39, mark="failed",
                note="sudoku/3 did not become healthy in 60s: exit 1 three times. Last log: Address already in use. Returned to 1.1.0.",
            ),
        },
    )


STEPS = (
    StepRow(id="1", kind="fetch", text="fetch sudoku 1.2.0 on bj-2", state="done", host="bj-2", instance="puzzle.sudoku/3", started=NOW - 48, ended=NOW - 46),
    StepRow(id="2", kind="prepare", text="prepare sudoku/3 on bj-2", state="done", host="bj-2", instance="puzzle.sudoku/3", started=NOW - 46, ended=NOW - 45, needs=("1",)),
    StepRow(id="3", kind="start", text="start sudoku/3 beside the old one on bj-2", state="done", host="bj-2", instance="puzzle.sudoku/3", started=NOW - 45, ended=NOW - 44, needs=("2",)),
    StepRow(id="4", kind="healthy", text="wait until sudoku/3 is healthy for 1s", state="running", host="bj-2", instance="puzzle.sudoku/3", started=NOW - 44, note="tcp refused for 14s", needs=("3",)),
    StepRow(id="5", kind="drain", text="drain the old sudoku/3", state="waiting", host="bj-2", instance="puzzle.sudoku/3", needs=("4",)),
    StepRow(id="6", kind="stop", text="stop the old sudoku/3", state="waiting", host="bj-2", instance="puzzle.sudoku/3", needs=("5",)),
    StepRow(id="7", kind="fetch", text="fetch sudoku 1.2.0 on sh-2", state="waiting", host="sh-2", instance="puzzle.sudoku/0", needs=("6",)),
)

LOG = (
    "22:22:34 deploy sudoku 1.2.0 by li@jump-1, revision 42",
    "22:22:36 sudoku 1.2.0 is on bj-2, 3.1 MiB",
    "22:22:38 sudoku/3 started beside the old one on bj-2, pid 4702",
    "22:22:51 sudoku/3 ended: exit 1 after 0.8s, started again at once",
    "22:23:08 sudoku/3 is unhealthy: tcp 127.0.2.4:20013 refused",
)


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
            LogLine(instance="puzzle.sudoku/3", run=3, stream="stdout", text="sudoku 1.2.0 listens on 127.0.2.4:20013"),
            LogLine(instance="puzzle.sudoku/3", run=3, stream="stderr", text="OSError: [Errno 98] Address already in use"),
            LogLine(instance="puzzle.sudoku/3", run=3, stream="cockpit", text="run 3 ended: exit 1"),
        ]
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
            row=row, expected_by="rev 42, li, 22:22",
            diffs=(
                Diff(field="version", expected=row.version_expected, actual=row.version_actual, same=row.version_expected == row.version_actual),
                Diff(field="state", expected="RUNNING", actual="STARTING, 3rd try" if bad else "RUNNING", same=not bad, note="next try in 2s" if bad else ""),
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

    async def logs(self, instances: Sequence[str], *, lines: int = 200, follow: bool = True) -> AsyncIterator[LogLine]:
        for line in self.lines:
            if line.instance in instances:
                yield line
        while follow:
            item = await self.log_feed.get()
            if isinstance(item, Exception):
                raise item
            yield item

    async def close(self) -> None:
        pass


if __name__ == "__main__":
    import sys
    import time

    import screens.app

    offset = time.time() - NOW
    session = CannedSession(snapshot(NOW), read_only="started with --read-only" if "--read-only" in sys.argv else "")
    address = next((a for a in sys.argv[1:] if not a.startswith("--")), "overview")
    sys.exit(screens.app.run(session, address=address, ascii=True if "--ascii" in sys.argv else None))
