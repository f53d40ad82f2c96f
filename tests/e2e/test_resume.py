"""The controller dies in the middle of an action: services run on, and the action is finished or undone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from backends.sqlite import open_store
from tests.e2e.gate import Gates, gates, once_each
from tests.helpers import PATIENCE


@pytest.fixture(scope="module")
def g() -> Iterator[Gates]:
    with gates() as g:
        yield g


def test_resume_completes_an_interrupted_deploy_and_starts_nothing_twice(g: Gates) -> None:
    c = g.c
    id = g.hold("2", 1)
    pids = c.pids()
    c.kill()
    c.start()
    c.wait(c.up)
    row = c.action(id)
    assert row["state"] == "interrupted" and "resume" in row["note"], row
    assert c.pids() == pids
    text = c.cli("status")
    assert f"resume {id}" in text and "interrupted" in text, text
    g.open("2")
    c.wait(lambda: c.instances()["shop.gate/1"]["state"] == "RUNNING")
    assert g.versions() == ["2", "2", "1"]  # nothing went on by itself
    c.cli("resume", id)
    c.wait(lambda: c.action(id)["state"] == "done")
    assert g.versions() == ["2", "2", "2"]
    c.wait_calm()
    assert {k: p for k, p in c.pids().items() if k != "shop.gate/2"} == {
        k: p for k, p in pids.items() if k != "shop.gate/2"
    }
    assert once_each(c)
    c.cli("log", "--verify")


def test_an_interrupted_deploy_can_be_undone(g: Gates) -> None:
    c = g.c
    id = g.hold("3", 1)
    last = c.pids()["shop.gate/2"]
    c.kill()
    c.start()
    refused = c.run("abort", id, "--undo")
    assert refused.returncode == 3 and "--confirm" in refused.stderr
    c.cli("abort", id, "--undo", "--confirm", id.lstrip("#"))
    row = c.action(id)
    assert row["state"] == "returned" and "Returned to 2." in row["note"], row
    assert g.versions() == ["2", "2", "2"]
    assert {i["version_expected"] for i in c.instances().values() if i["service"] == "shop.gate"} == {"2"}
    assert c.pids()["shop.gate/2"] == last  # it was not touched, neither there nor back
    c.wait_calm()


def test_a_second_crash_while_it_is_resumed(g: Gates) -> None:
    c = g.c
    id = g.hold("4", 0)
    c.kill()
    c.start()
    c.cli("resume", id)
    g.open("4", 0)
    g.held("4", 1)
    assert c.process is not None
    c.process.terminate()  # not every end is a crash
    assert c.process.wait(PATIENCE) == 0
    c.start()
    assert c.action(id)["state"] == "interrupted"
    g.open("4")
    c.cli("resume", id)
    c.wait(lambda: c.action(id)["state"] == "done")
    c.wait_calm()
    assert g.versions() == ["4", "4", "4"]
    assert once_each(c)


def test_what_was_overtaken_is_not_resumed(g: Gates) -> None:
    c = g.c
    id = g.hold("5", 0)
    c.kill()
    c.start()
    g.open("6")
    c.cli("deploy", "gate", "6")
    late = c.run("resume", id)
    assert late.returncode == 3, late
    assert c.newest("deploy") in late.stderr and "abort" in late.stderr, late.stderr
    c.cli("abort", id, "--confirm", id.lstrip("#"))
    assert c.action(id)["state"] == "aborted"
    assert g.versions() == ["6", "6", "6"]
    c.wait_calm()


@pytest.fixture(scope="module")
def quick() -> Iterator[Gates]:
    """A failed update is given up after a few seconds."""
    with gates(deadline="4s") as g:
        yield g




def test_an_interrupted_return_is_offered_and_resumed(quick: Gates) -> None:
    g, c = quick, quick.c
    (c.root / "open-1-0").unlink()
    id = g.hold("2", 0)
    c.wait(lambda: c.action(id)["state"] == "returning", 30)
    back = next(a["id"] for a in c.status()["actions"] if a["cause"] == id)
    g.held("1", 0)
    c.kill()
    c.start()
    cause, row = c.action(id), c.action(back)
    assert row["state"] == "interrupted", row
    assert cause["state"] == "returning" and back in cause["note"], cause
    text = c.cli("status")
    assert f"resume {back}" in text and f"resume {id}" not in text, text
    g.open("1", 0)
    c.cli("resume", back)
    c.wait(lambda: c.action(back)["state"] == "done")
    c.wait(lambda: c.action(id)["state"] == "returned")
    assert "Returned to 1." in c.action(id)["note"]
    assert g.versions() == ["1", "1", "1"]
    c.wait_calm()


def test_an_interrupted_return_that_is_aborted_leaves_the_deploy_failed(quick: Gates) -> None:
    g, c = quick, quick.c
    (c.root / "open-1-0").unlink()
    id = g.hold("3", 0)
    c.wait(lambda: c.action(id)["state"] == "returning", 30)
    back = next(a["id"] for a in c.status()["actions"] if a["cause"] == id)
    g.held("1", 0)
    c.kill()
    c.start()
    c.cli("abort", back, "--confirm", back.lstrip("#"))
    c.wait(lambda: c.action(id)["state"] == "failed")
    assert back in c.action(id)["note"]
    g.open("1", 0)
    c.cli("converge", "gate")
    c.wait_calm()


def test_a_crash_just_before_the_return_began(quick: Gates) -> None:
    """The deploy is known to have failed, but nothing of its return is written down."""
    g, c = quick, quick.c
    (c.root / "open-1-0").unlink()
    id = g.hold("4", 0)
    c.wait(lambda: c.action(id)["state"] == "returning", 30)
    back = next(a["id"] for a in c.status()["actions"] if a["cause"] == id)
    g.open("1", 0)
    c.wait(lambda: c.action(id)["state"] == "returned")
    c.kill()

    async def forget() -> None:
        store = open_store(c.state)
        tables = await store.load()
        record = tables["action"][id]
        record["row"] |= {"state": "returning", "note": "it failed", "ended": None}
        await store.commit([("action", id, record), ("action", back, None)])
        await store.close()

    asyncio.run(forget())
    c.start()
    row = c.action(id)
    assert row["state"] == "interrupted" and "undo" in row["note"], row
    assert msgspec.json.decode(c.cli("abort", id, "--confirm", id[1:], "--json"))["row"]["state"] == "aborted"
