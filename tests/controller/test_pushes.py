"""Pushes as the controller sees them: what hosts are told, the rows, silence, holding and ending."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.artifacts import patches
from cockpit.artifacts.sign import approve, keygen, read_key, take
from cockpit.controller.core import Controller
from cockpit.controller.operations import operations
from cockpit.controller.pushes import fetch_args
from cockpit.controller.serving import here
from cockpit.model.topology import Data, Expected, Relay, Ssh
from cockpit.model.view import PushRow
from cockpit.plan.steps import Bad, Intent
from cockpit.swarm.layout import swarm_id
from tests.controller.fakes import FakeAgent, agent, engine, identity, topology
from tests.helpers import PATIENCE

FACTS = {
    "pieces": 4, "have": 1, "had": 0, "cells": "#...", "to_move": 400, "moved": 100, "from": {"": 100}, "rate": 50,
}  # fmt: skip


class Receiver(FakeAgent):
    """Answers `fetch` when it is told to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.tasks: dict[str, dict[str, Any]] = {}
        """Task -> arguments of fetches without an answer."""
        self.told: list[tuple[str, dict[str, Any]]] = []

    async def _command(self, task: str, word: str, args: dict[str, Any]) -> None:
        if word == "fetch":
            self.tasks[task] = args
            return
        self.told.append((word, args))
        await super()._command(task, word, args)

    async def tell(self, **facts: Any) -> None:
        for task in self.tasks:
            await self.send(t="progress", task=task, data={"bytes": 1, "size": 2, "swarm": {**FACTS, **facts}})

    async def done(self, **answer: Any) -> None:
        for task in list(self.tasks):
            del self.tasks[task]
            await self.send(t="result", task=task, **answer)


@pytest.fixture
async def c(short_dir: Path) -> AsyncIterator[Controller]:
    async with engine(short_dir) as made:
        for version in ("1", "2"):
            (short_dir / version).mkdir()
            content = bytearray(random.Random(7).randbytes(400_000))
            content[::4096] = bytes([int(version)]) * len(content[::4096])
            (short_dir / version / "file").write_bytes(content)
            await asyncio.to_thread(made.artifacts.add, short_dir / version, "words", version)
        await made.catalog.refresh()
        yield made


@contextlib.asynccontextmanager
async def receivers(c: Controller, root: Path, *hosts: str) -> AsyncIterator[list[Receiver]]:
    made = []
    for host in hosts:
        id = identity(c.authority, root / host, host)
        await c.joining.admit(host, id)
        made.append(Receiver(host, root / host, id, c.hub.port))
        await made[-1].start()
    try:
        yield made
    finally:
        for each in made:
            await each.stop()


async def until(condition: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (found := condition()):
            await asyncio.sleep(0.005)
    return found


def row(c: Controller, action: str, host: str) -> PushRow | None:
    found = c.board.tables["pushes"].get(f"{action}|{host}")
    assert found is None or isinstance(found, PushRow)
    return found


def state(c: Controller, action: str, host: str) -> str:
    found = row(c, action, host)
    return found.state if found is not None else ""


async def push(c: Controller, version: str = "1") -> str:
    intent = Intent(verb="push", targets=(f"words/{version}",), params={"hosts": ["a-1", "b-1"]})
    return (await c.session(here()).submit(intent)).id


async def test_a_push_from_the_first_byte_to_the_last(c: Controller, short_dir: Path) -> None:
    async with receivers(c, short_dir, "a-1", "b-1") as (a, b):
        id = await push(c)
        await until(lambda: a.tasks and b.tasks)
        args = next(iter(a.tasks.values()))
        record = c.catalog.records["words/1"]
        assert (args["sha256"], args["layout"], args["push"]) == (record["sha256"], record["layout"], id)
        assert args["trackers"] == [{"name": "", "address": "", "port": c.origin.port}]
        await a.tell()
        found = await until(lambda: (r := row(c, id, "a-1")) and r.moved and r)
        assert (found.state, found.from_source, found.eta, found.region) == ("running", 100, 6.0, "sh")
        assert (await c.session(here()).snapshot()).pushes[f"{id}|a-1"].moved == 100

        await a.stop()
        await until(lambda: state(c, id, "a-1") == "unknown")
        await a.start()  # the same command comes again, with the same task
        await until(lambda: a.tasks)
        await a.tell(moved=300)
        await until(lambda: state(c, id, "a-1") == "running")

        await a.done(ok=True, data={"bytes": 400, "swarm": {**FACTS, "have": 4, "moved": 400}})
        await b.done(ok=False, code="space", text="no room")
        await asyncio.wait_for(c.runner.ended[id].wait(), PATIENCE)
        first, second = row(c, id, "a-1"), row(c, id, "b-1")
        assert first is not None and second is not None
        assert (first.state, first.have, first.ended is not None) == ("done", 4, True)
        assert (second.state, second.note) == ("failed", "no room")
        await until(lambda: "pushed" in dict(a.told) and "pushed" in dict(b.told))


async def test_pause_resume_and_abort_reach_the_receivers(c: Controller, short_dir: Path) -> None:
    async with receivers(c, short_dir, "a-1", "b-1") as (a, b):
        id = await push(c)
        await until(lambda: a.tasks and b.tasks)
        session = c.session(here())
        await session.submit(Intent(verb="pause", targets=(id,)))
        await until(lambda: ("hold", True) in [(w, x.get("paused")) for w, x in a.told])
        assert state(c, id, "a-1") == state(c, id, "b-1") == "paused"
        await session.submit(Intent(verb="resume", targets=(id,)))
        await until(lambda: ("hold", False) in [(w, x.get("paused")) for w, x in b.told])
        assert state(c, id, "b-1") == "running"
        await session.submit(Intent(verb="abort", targets=(id,)), confirm=id.lstrip("#"))
        await until(lambda: "unfetch" in dict(a.told) and "unfetch" in dict(b.told))
        for each in (a, b):
            await each.done(ok=False, code="stopped", text="stopped")
        await asyncio.wait_for(c.runner.ended[id].wait(), PATIENCE)
        assert state(c, id, "a-1") == "failed"


async def test_what_is_aborted_is_paused_no_more(c: Controller, short_dir: Path) -> None:
    async with receivers(c, short_dir, "a-1", "b-1") as (a, b):
        id = await push(c)
        await until(lambda: a.tasks and b.tasks)
        session = c.session(here())
        await session.submit(Intent(verb="pause", targets=(id,)))
        await until(lambda: c.board.tables["actions"][id].state == "paused")
        await session.submit(Intent(verb="abort", targets=(id,)), confirm=id.lstrip("#"))
        await until(lambda: "unfetch" in dict(a.told) and "unfetch" in dict(b.told))
        shown = c.board.tables["actions"][id]
        assert shown.state == "running" and shown.note.startswith("aborted by "), "its commands come to their end"
        for each in (a, b):
            await each.done(ok=False, code="stopped", text="stopped")
        await asyncio.wait_for(c.runner.ended[id].wait(), PATIENCE)
        assert c.board.tables["actions"][id].state == "aborted"


async def test_rows_of_old_pushes_go(c: Controller, short_dir: Path) -> None:
    async with receivers(c, short_dir, "a-1", "b-1") as (a, b):
        ids = []
        for _ in range(7):
            ids.append(await push(c))
            await until(lambda: a.tasks and b.tasks)
            for each in (a, b):
                await each.done(ok=True, data={})
            await asyncio.wait_for(c.runner.ended[ids[-1]].wait(), PATIENCE)
        shown = {key.partition("|")[0] for key in c.board.tables["pushes"]}
        assert shown == set(ids[-5:])


def test_what_a_host_is_told() -> None:
    base = topology()
    host = msgspec.structs.replace(base.hosts["a-1"], push_rate=5000)
    web = msgspec.structs.replace(
        base.services["shop.web"], data={"w": Data(artifact="words", version="1")}, signatures=("qa",)
    )
    expected: Expected = msgspec.structs.replace(
        base, hosts={**base.hosts, "a-1": host}, services={**base.services, "shop.web": web},
        signers={"qa": ("ed25519:x",)},
        relays={
            "r-2": Relay(region="sh", address="10.0.0.2", port=7000), "r-1": Relay(region="sh", address="10.0.0.1"),
            "far": Relay(region="bj", address="10.0.0.3", port=7000), "r-3": Relay(region="sh", address="10.0.0.4"),
        },
    )
    record = {
        "name": "words", "version": "1", "sha256": "a", "layout": "b", "kind": "data", "size": 9, "packed": 3,
    }
    args = fetch_args(
        expected, "a-1", record, action="#1", origin=("10.0.0.1", 99), relay_port={"r-1": 7001, "r-3": 0}.__getitem__,
        signatures=[{"role": "qa"}], patch=None, receivers=1000,
    )
    assert [(t["name"], t["address"], t["port"]) for t in args["trackers"]] == [
        ("r-1", "10.0.0.1", 7001), ("r-2", "10.0.0.2", 7000), ("", "", 99),
    ], "the region's relays that are known to listen, then the origin"
    assert args["rates"] == {"down": 5000, "up": 5000} and args["every"] == 4.0
    assert (args["require"], args["signers"]) == (["qa"], {"qa": ["ed25519:x"]})
    assert "packed" not in args
    other = fetch_args(
        expected, "b-1", {**record, "name": "free"}, action="#1", origin=("10.0.0.1", 99), relay_port=lambda _: 0,
        signatures=[], patch={"sha256": "p"}, receivers=1,
    )
    assert other["require"] == [] and "rates" not in other and other["patch"] == {"sha256": "p"}
    assert [t["name"] for t in other["trackers"]] == ["far", ""]


@pytest.mark.parametrize(
    ("ssh", "link_port", "address", "origin"),
    [
        (None, None, "10.0.0.1", ("", 99)),
        (None, 7001, "10.0.0.1", ("10.0.0.1", 99)),
        (None, 7001, "0.0.0.0", None),
        (Ssh(listen=7710, listen_origin=7711), None, "10.0.0.1", ("127.0.0.1", 7711)),
        (Ssh(listen=7710), None, "10.0.0.1", None),
    ],
)
def test_where_a_host_finds_the_origin(
    ssh: Ssh | None, link_port: int | None, address: str, origin: tuple[str, int] | None
) -> None:
    """Beside the controller, which is not always where its link goes."""
    base = topology()
    host = msgspec.structs.replace(base.hosts["a-1"], ssh=ssh)
    relay = Relay(region="sh", address="10.0.0.2", port=7000, link_port=link_port)
    expected = msgspec.structs.replace(base, hosts={**base.hosts, "a-1": host}, relays={"r": relay})
    record = {"name": "w", "version": "1", "sha256": "a", "layout": "b", "kind": "data", "size": 9}
    args = fetch_args(
        expected, "a-1", record, action="#1", origin=(address, 99), relay_port=lambda _: 0, signatures=[], patch=None
    )
    found = [(t["address"], t["port"]) for t in args["trackers"] if not t["name"]]
    assert found == ([] if origin is None else [origin])


async def test_the_catalog_knows_signatures_and_patches(c: Controller, short_dir: Path) -> None:
    keygen(short_dir / "qa.pem")
    record = c.catalog.records["words/2"]
    signed = approve(record, "qa", read_key(short_dir / "qa.pem"), by="li", now=1.0)
    take(c.artifacts, "words", "2", signed, by="li")
    base = c.catalog.records["words/1"]
    made = await asyncio.to_thread(patches.make, c.artifacts, base, record)
    await c.catalog.refresh()
    assert [s.role for s in c.catalog.signed["words/2"]] == ["qa"] and "words/1" not in c.catalog.signed
    patch = c.catalog.patch_for(record, ("other/1", "words/1"))
    assert patch is not None and patch["sha256"] == made["sha256"]
    assert patch["from"] == {"version": "1", "sha256": base["sha256"]}
    assert c.catalog.patch_for(record, ()) is None and c.catalog.patch_for(base, ("words/2",)) is None
    assert c.catalog.by_digest(made["sha256"], made["layout"]) is not None
    moves = c.catalog.moves["words/2"]
    assert 0 < moves.to_host(("words/1",)) < moves.to_host(()) == record["packed"]


async def test_what_screens_are_told_of_the_store(c: Controller, short_dir: Path) -> None:
    one = await agent(c, short_dir, "a-1")
    await one.send(t="releases", releases=["words/1"])
    await until(lambda: c.world.hosts["a-1"].releases)
    session = c.session(here())
    shown = {r.id: r for r in await session.artifact_rows()}
    assert (shown["words/1"].hosts, shown["words/2"].hosts) == (1, 0)
    assert not shown["words/1"].wanted and shown["words/1"].services == ()
    detail = await session.artifact("words/2")
    assert detail.diff is not None and detail.diff.base == "1" and detail.diff.changed == ("file",)
    assert 0 < detail.diff.to_move <= detail.row.packed
    assert (await session.artifact("words/1")).hosts == ("a-1",)
    for id, base, why in (("words/3", "", "words/"), ("words/2", "7", "no version '7'")):
        with pytest.raises(Bad, match=why):
            await session.artifact(id, base)
    await one.stop()


async def test_what_was_collected_is_served_no_more(c: Controller, short_dir: Path) -> None:
    record = c.catalog.records["words/2"]
    swarm = swarm_id(record["sha256"], record["layout"])
    await c.catalog.publish(c.origin, record)
    assert c.origin.published(swarm)
    collect = operations(c)["artifact_collect"]
    kept = await collect(here(), {"newest": 0, "days": 0, "dry_run": True})
    assert kept["versions"] == ("words/2",) and c.origin.published(swarm)
    await collect(here(), {"newest": 0, "days": 0})
    assert not c.origin.published(swarm) and set(c.catalog.records) == {"words/1"}
