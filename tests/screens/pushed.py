"""Pushes in all their states, and versions in a store: rows for the screens and for the text of them."""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.model.view import ActionRow, ArtifactDetail, ArtifactDiff, ArtifactRow, HostRow, PushRow, Snapshot
from tests.screens.puzzle import DAY, NOW, snapshot

MIB = 1 << 20
ID = "#119"
ACTION = ActionRow(
    id=ID, verb="push", state="running", author="li@jump-1", targets=("sudoku/1.2.0",), started=NOW - 12,
    title="push sudoku/1.2.0 to 6 hosts", done=1, total=6, note="5 hosts receive",
)  # fmt: skip
PIECES, HAD = 320, 295
OLD = "=" * 59
"""Cells of what every host had before; 5 of 64 are new."""


def receiver(host: str, region: str = "", came: str = "#####", **more: Any) -> PushRow:
    """A host of which these of the 5 new cells came."""
    have = HAD + 5 * came.count("#")
    values: dict[str, Any] = {
        "action": ID, "artifact": "sudoku/1.2.0", "host": host, "region": region or host[:2], "state": "running",
        "phase": "pieces", "pieces": PIECES, "have": have, "had": HAD, "cells": came + OLD, "size": 41 * MIB,
        "to_move": 3_250_000, "moved": (have - HAD) * 130_000, "rate": 2.4 * MIB, "eta": 3.0, "peers": 5,
        "from_peers": (have - HAD) * 110_000, "from_relay": (have - HAD) * 20_000, "sent": 1_900_000,
        "started": NOW - 12,
    }  # fmt: skip
    return PushRow(**(values | more))


def relay(region: str, came: str = "#####", **more: Any) -> PushRow:
    moved = 650_000 * came.count("#")
    return receiver(
        f"relay-{region}", region, came, relay=True, from_source=moved, wan=moved, from_relay=0, from_peers=0,
        sent=5_100_000, **more,
    )  # fmt: skip


def rows() -> dict[str, PushRow]:
    """One of each: done, receives, slow, installs, no answer, failed, and two relays."""
    ended: dict[str, Any] = {"rate": 0.0, "eta": None}
    out = [
        relay("sh", state="done", phase="seed", ended=NOW - 6, mark="ok", **ended),
        receiver("sh-1", state="done", phase="seed", ended=NOW - 4, mark="ok", **ended),
        receiver("sh-2", came="##+..", duplicates=1),
        receiver("sh-3", came="#....", rate=0.3 * MIB, eta=41.0, fallbacks=2, peers=2, mark="drift"),
        relay("bj", came="###+."),
        receiver("bj-1", phase="install", **ended),
        receiver("bj-2", came=".....", state="failed", phase="manifest", moved=0, from_peers=0, from_relay=0,
                 note="no space: 44.1 MiB are needed in /var/lib/cockpit, 12.0 MiB are free", mark="failed", **ended),
        receiver("bj-3", came="#....", state="unknown", note="no answer for 9s", mark="unknown", bad=1, **ended),
    ]  # fmt: skip
    return {f"{r.action}|{r.host}": r for r in out}


def pushing(now: float = NOW) -> Snapshot:
    """The puzzle cluster, with a push under way."""
    first = snapshot(now)
    return msgspec.structs.replace(first, actions={**first.actions, ID: ACTION}, pushes=rows())


def crowd(count: int, regions: int = 4) -> Snapshot:
    """A push to so many hosts, of which one in fifty lags behind."""
    first = snapshot()
    names = [(f"h-{n}", f"region-{n % regions}") for n in range(count)]
    hosts = {n: HostRow(name=n, region=r, presence="up", address=f"10.0.{i >> 8}.{i & 255}")
             for i, (n, r) in enumerate(names)}  # fmt: skip
    out = [relay(f"region-{n}") for n in range(regions)]
    for n, (name, region) in enumerate(names):
        slow = n % 50 == 7
        out.append(receiver(name, region, ("#" * (n % 5)).ljust(5, "."), rate=(0.2 if slow else 2.0) * MIB))
    return msgspec.structs.replace(
        first, hosts=hosts, actions={ID: ACTION}, pushes={f"{r.action}|{r.host}": r for r in out}
    )


def artifact(name: str, version: str, age: float, **more: Any) -> ArtifactRow:
    values: dict[str, Any] = {
        "id": f"{name}/{version}", "name": name, "version": version, "sha256": "9f2c41d0" * 8, "size": 41 * MIB,
        "packed": 17 * MIB, "files": 212, "added": NOW - age, "signed": ("build", "qa"),
        "services": (f"puzzle.{name}",),
    }  # fmt: skip
    return ArtifactRow(**(values | more))


def artifacts() -> list[ArtifactRow]:
    return [
        artifact("sudoku", "1.2.0", 4000, wanted=True, hosts=1, signed=("build",), missing=("qa",), mark="drift"),
        artifact("sudoku", "1.1.0", 9 * DAY, hosts=5),
        artifact("sudoku", "1.0.0", 40 * DAY, signed=("build",), missing=("qa",)),
        artifact("web", "1.1.0", 3 * DAY, wanted=True, hosts=2, platform="linux-x86_64"),
        artifact("words", "7", 7000, kind="data", wanted=True, hosts=6, size=2048 * MIB, packed=900 * MIB, files=3,
                 services=("puzzle.sudoku",), signed=()),
    ]  # fmt: skip


def detail(id: str, base: str) -> ArtifactDetail:
    row = next(r for r in artifacts() if r.id == id)
    others = [r for r in artifacts() if r.name == row.name and r.version != row.version]
    signatures: list[dict[str, Any]] = [
        {"role": role, "key": "ed25519:q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=", "by": "ci@build-1",
         "time": NOW - 3900, "verdict": "valid"} for role in row.signed
    ]  # fmt: skip
    if row.missing:
        signatures.append({"role": "qa", "key": "ed25519:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                           "by": "wang@jump-2", "time": NOW - 1800, "verdict": "made for sudoku/1.1.0"})
    diff = None
    if others:
        diff = ArtifactDiff(
            artifact=id, base=base or others[0].version, added=("lib/solver/dlx.py", "lib/solver/hints.json"),
            removed=("lib/solver/old.py",), changed=("bin/sudoku", *(f"lib/grid/{n}.py" for n in range(9))),
            to_move=3_250_000, pieces=25, patch=410_000, size=row.size,
        )  # fmt: skip
    build = {"argv": ["make", "release"], "host": "build-1", "commit": "41d09f2c", "seconds": 48.2}
    return ArtifactDetail(
        row=row, md5="5d41402abc4b2a76b9719d911017c592", build=build if row.kind == "release" else None,
        signatures=tuple(signatures), diff=diff,
        hosts=("bj-2",) if row.version == "1.2.0" else ("bj-1", "bj-3", "sh-1", "sh-2", "sh-3"),
    )  # fmt: skip
