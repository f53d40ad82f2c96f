"""The puzzle cluster in the middle of a deploy that hangs at its canary: rows, steps and a log."""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.model.view import (
    ActionRow,
    DriftRow,
    EndpointRow,
    Head,
    HostRow,
    InstanceRow,
    NodeRow,
    RelayRow,
    RunRow,
    Snapshot,
    StepRow,
)

NOW = 1_700_000_602.0  # 22:23:22 UTC
DAY = 86400.0

HOSTS = {"sh-1": "sh", "sh-2": "sh", "sh-3": "sh", "bj-1": "bj", "bj-2": "bj", "bj-3": "bj"}


def instance(
    service: str, slot: int, host: str, version: str, *, expected: str = "", port: int = 0, **more: Any
) -> InstanceRow:
    values: dict[str, Any] = {
        "id": f"{service}/{slot}",
        "service": service,
        "slot": slot,
        "host": host,
        "version_expected": expected or version,
        "version_actual": version,
        "state": "RUNNING",
        "desired": "RUNNING",
        "pid": 4000 + slot,
        "health": "ok",
        "ports": {"main": port} if port else {},
        "word": "running",
        "started": NOW - 2 * DAY,
        "since": NOW - 2 * DAY,
        "address": f"127.0.1.{slot + 1}",
        "observed": NOW - 1,
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
            "puzzle.sudoku",
            3,
            "bj-2",
            "1.2.0",
            port=20013,
            mark="drift",
            word="unhealthy",
            state="STARTING",
            health="failing",
            restarts=3,
            reason="tcp 127.0.2.4:20013 refused, exit 1 three times since 22:22:51",
            since=NOW - 14,
            started=NOW - 3,
            pid=4711,
            runs=(
                RunRow(
                    unit="puzzle.sudoku/3:7",
                    host="bj-2",
                    run=3,
                    state="STARTING",
                    version="1.2.0",
                    pid=4711,
                    started=NOW - 3,
                ),
                RunRow(
                    unit="puzzle.sudoku/3:7",
                    host="bj-2",
                    run=2,
                    state="FAILED",
                    version="1.2.0",
                    started=NOW - 8,
                    exit="exit 1 after 0.8s",
                ),
                RunRow(
                    unit="puzzle.sudoku/3:6",
                    host="bj-2",
                    run=1,
                    state="SHUTDOWN",
                    version="1.1.0",
                    started=NOW - 2 * DAY,
                    exit="stopped after 2d",
                ),
            ),
        ),
    ]
    out += [instance("puzzle.batch", n, list(HOSTS)[n], "0.9.4", started=NOW - 5 * DAY) for n in range(6)]
    return {row.id: row for row in out}


def node(path: str, kind: str, want: int, have: int, **more: Any) -> NodeRow:
    return NodeRow(path=path, kind=kind, want=want, have=have, **more)


ACTION = ActionRow(
    id="#118",
    verb="deploy",
    state="running",
    author="li@jump-1",
    targets=("puzzle.sudoku",),
    title="deploy sudoku 1.2.0",
    started=NOW - 48,
    done=5,
    total=26,
    note="waits for sudoku/3 to be healthy",
    gives_up=NOW + 29,
    revision=42,
    params={"version": "1.2.0"},
)


RELAYS = {
    "relay-sh": RelayRow(
        name="relay-sh", region="sh", address="127.0.1.9", links=True, presence="up", agents=3, path=("relay-sh",),
        version="0.3.0", latency=0.0004, transport="websocket", since=NOW - 5 * DAY, connection="local",
    ),
    "relay-bj": RelayRow(
        name="relay-bj", region="bj", address="127.0.2.9", upstream="relay-sh", links=True, presence="up", agents=3,
        path=("relay-bj", "relay-sh"), version="0.3.0", latency=0.03, transport="http2", since=NOW - 5 * DAY,
    ),
    "relay-gz": RelayRow(
        name="relay-gz", region="gz", address="127.0.3.9", mark="absent",
        reason="it carries artifacts only: it has no link_port",
    ),
}  # fmt: skip



def snapshot(now: float = NOW) -> Snapshot:
    hosts = {
        name: HostRow(
            name=name,
            region=region,
            presence="up",
            address=f"127.0.{1 if region == 'sh' else 2}.{name[-1]}",
            agent_pid=300,
            keeper_pid=299,
            labels={"disk": "ssd"} if name.endswith("1") else {},
            instances=2,
            want=2,
            since=NOW - 5 * DAY,
            seen=NOW - 1,
            latency=0.0004 if region == "sh" else 0.031,
            boot_id="b",
            names_applied=17,
            releases=("sudoku/1.1.0", "web/1.1.0"),
        )
        for name, region in HOSTS.items()
    }
    endpoints = {
        f"{row.id}:5|main": EndpointRow(
            service=row.service,
            address=row.address,
            port=row.ports["main"],
            state="ready",
            instance=row.id,
            name="main",
            since=NOW - 2 * DAY,
            attributes={"weight": "1"},
        )
        for row in rows().values()
        if row.ports and row.mark != "drift"
    }
    return Snapshot(
        head=Head(cluster="puzzle-prod", revision=42, digest="9f2c", now=now, names_version=17, zone="UTC"),
        nodes={
            "puzzle": node("puzzle", "cluster", 12, 11, drift=1, mark="drift"),
            "puzzle.web": node(
                "puzzle.web", "service", 2, 2, version="1.1.0", versions={"1.1.0": 2}, depends=("puzzle.sudoku",)
            ),
            "puzzle.sudoku": node(
                "puzzle.sudoku",
                "service",
                4,
                3,
                drift=1,
                mark="drift",
                version="1.2.0",
                versions={"1.1.0": 3, "1.2.0": 1},
            ),
            "puzzle.batch": node(
                "puzzle.batch",
                "service",
                6,
                6,
                version="0.9.4",
                versions={"0.9.4": 6},
                depends=("puzzle.sudoku", "puzzle.web"),
            ),
        },
        instances=rows(),
        hosts=hosts,
        relays=RELAYS,
        drift={
            "unhealthy|puzzle.sudoku/3": DriftRow(
                kind="unhealthy",
                target="puzzle.sudoku/3",
                expected="RUNNING",
                actual="STARTING",
                action="converge puzzle.sudoku/3",
                since=NOW - 14,
                reason="tcp 127.0.2.4:20013 refused",
            ),
        },
        endpoints=endpoints,
        actions={
            "#118": ACTION,
            "#117": ActionRow(
                id="#117",
                verb="migrate",
                state="done",
                author="li@jump-1",
                targets=("puzzle.web/1",),
                title="migrate web/1 sh-1 to bj-2",
                started=NOW - 700,
                ended=NOW - 688,
                done=7,
                total=7,
                revision=41,
                mark="ok",
            ),
            "#116": ActionRow(
                id="#116",
                verb="push",
                state="done",
                author="wang@jump-2",
                targets=("sudoku/1.2.0",),
                title="push sudoku/1.2.0 to 6 hosts",
                started=NOW - 1300,
                ended=NOW - 1296,
                done=6,
                total=6,
                mark="ok",
            ),
            "#115": ActionRow(
                id="#115",
                verb="deploy",
                state="returned",
                author="wang@jump-2",
                targets=("puzzle.sudoku",),
                title="deploy sudoku 1.2.0",
                started=NOW - 3900,
                ended=NOW - 3810,
                done=9,
                total=26,
                revision=39,
                mark="failed",
                note="sudoku/3 did not become healthy in 60s: exit 1 three times. "
                "Last log: Address already in use. Returned to 1.1.0.",
            ),
        },
    )


STEPS = (
    StepRow(
        id="1",
        kind="fetch",
        text="fetch sudoku 1.2.0 on bj-2",
        state="done",
        host="bj-2",
        instance="puzzle.sudoku/3",
        started=NOW - 48,
        ended=NOW - 46,
    ),
    StepRow(
        id="2",
        kind="prepare",
        text="prepare sudoku/3 on bj-2",
        state="done",
        host="bj-2",
        instance="puzzle.sudoku/3",
        started=NOW - 46,
        ended=NOW - 45,
        needs=("1",),
    ),
    StepRow(
        id="3",
        kind="start",
        text="start sudoku/3 beside the old one on bj-2",
        state="done",
        host="bj-2",
        instance="puzzle.sudoku/3",
        started=NOW - 45,
        ended=NOW - 44,
        needs=("2",),
    ),
    StepRow(
        id="4",
        kind="healthy",
        text="wait until sudoku/3 is healthy for 1s",
        state="running",
        host="bj-2",
        instance="puzzle.sudoku/3",
        started=NOW - 44,
        note="tcp refused for 14s",
        needs=("3",),
    ),
    StepRow(
        id="5",
        kind="drain",
        text="drain the old sudoku/3",
        state="waiting",
        host="bj-2",
        instance="puzzle.sudoku/3",
        needs=("4",),
    ),
    StepRow(
        id="6",
        kind="stop",
        text="stop the old sudoku/3",
        state="waiting",
        host="bj-2",
        instance="puzzle.sudoku/3",
        needs=("5",),
    ),
    StepRow(
        id="7",
        kind="fetch",
        text="fetch sudoku 1.2.0 on sh-2",
        state="waiting",
        host="sh-2",
        instance="puzzle.sudoku/0",
        needs=("6",),
    ),
)

LOG = (
    "22:22:34 deploy sudoku 1.2.0 by li@jump-1, revision 42",
    "22:22:36 sudoku 1.2.0 is on bj-2, 3.1 MiB",
    "22:22:38 sudoku/3 started beside the old one on bj-2, pid 4702",
    "22:22:51 sudoku/3 ended: exit 1 after 0.8s, started again at once",
    "22:23:08 sudoku/3 is unhealthy: tcp 127.0.2.4:20013 refused",
)


def relay_lost() -> Snapshot:
    """One relay does not answer, and with it the hosts behind it."""
    first = snapshot()
    relay = msgspec.structs.replace(
        RELAYS["relay-bj"], presence="unknown", mark="unknown", reason="relay-sh has lost it", since=NOW - 75,
        latency=None, agents=0,
    )
    away: dict[str, Any] = {"presence": "unknown", "mark": "unknown", "reason": "relay-bj does not answer"}
    hosts = {
        name: msgspec.structs.replace(row, path=relay.path, **away) if row.region == "bj" else row
        for name, row in first.hosts.items()
    }
    return msgspec.structs.replace(first, relays=RELAYS | {relay.name: relay}, hosts=hosts)
