"""The journal and the store agree about how far the journal goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cockpit.controller.core import Controller
from cockpit.controller.ledger import ActionRecord, Ledger
from cockpit.model.view import Who
from cockpit.plan.steps import Intent
from tests.controller.fakes import agent, engine
from tests.helpers import PATIENCE

WHO = Who(author="li@here", role="operator")


@contextlib.asynccontextmanager
async def running(root: Path) -> AsyncIterator[Controller]:
    """A controller whose services all run."""
    async with engine(root) as c:
        agents = [await agent(c, root, host) for host in ("a-1", "b-1")]
        await act(c, "converge")
        yield c
        for each in agents:
            await each.stop()


async def act(c: Controller, verb: str, *targets: str) -> str:
    row = await c.session(WHO).submit(Intent(verb=verb, targets=targets))
    await asyncio.wait_for(c.runner.ended[row.id].wait(), PATIENCE)
    return row.id


async def test_what_was_only_noted_is_known_to_the_store(short_dir: Path) -> None:
    """Entries without a commit of their own: exec, plug-ins, what somebody did on a host."""
    async with engine(short_dir) as c:
        c.ledger.note({"kind": "exec-end", "id": "exec-1", "stopped": False, "ok": 1, "others": {}, "open": []})
        await c.ledger.keep()
        meta = (await c.store.load())["meta"]
        assert meta["journal"] == {"hash": c.ledger.journal.head, "count": c.ledger.journal.count}


async def again(c: Controller) -> Ledger:
    """What a controller would find that began now."""
    found = Ledger(c.store, c.journal)
    found.load(await c.store.load())
    return found


def spoken(record: ActionRecord) -> bytes:
    return msgspec.json.encode(record, order="sorted")


async def test_an_action_is_kept_by_what_changed_and_is_the_same_again(short_dir: Path) -> None:
    async with running(short_dir) as c:
        id = await act(c, "restart", "shop.web")
        record = c.ledger.actions[id]
        assert record.row.state == "done" and {s.state for s in record.steps.values()} == {"done"}
        found = (await again(c)).actions[id]
        assert spoken(found) == spoken(record)
        assert found.plan.digest == record.plan.digest and found.attempts
        assert not c.ledger.unkept(id)


async def test_an_action_that_was_kept_whole_is_taken_over(short_dir: Path) -> None:
    async with running(short_dir) as c:
        id = await act(c, "restart", "shop.web")
        record = c.ledger.actions[id]
        gone = [("step", f"{id}|{s}", None) for s in record.steps]
        await c.store.commit([("action", id, record), ("plan", id, None), *gone])
        old = await again(c)
        assert spoken(old.actions[id]) == spoken(record)
        await old.commit(old.kept(old.actions[id]))
        assert "plan" not in (await c.store.load())["action"][id]
        assert spoken((await again(c)).actions[id]) == spoken(record)


async def test_what_is_forgotten_leaves_nothing_behind(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cockpit.controller.ledger.KEPT_ACTIONS", 1)
    async with running(short_dir) as c:
        for _ in range(3):
            await act(c, "restart", "shop.web")
        tables = await c.store.load()
        kept = {key.partition("|")[0] for key in tables["step"]}
        assert kept == set(tables["plan"]) == set(tables["action"]) == set(c.ledger.actions)
