"""A deploy on a real cluster, and back to the middle of it: on the screen, by command, and after a kill -9."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cockpit.session.client import RemoteSession
from screens.app import CockpitApp
from tests.e2e.gate import Gates, gates
from tests.helpers import until, wait_for
from tests.screens.drive import Driver


@pytest.fixture(scope="module")
def g() -> Iterator[Gates]:
    with gates() as g:
        yield g


def facts(status: dict[str, Any]) -> Any:
    """What must be the same then and now."""
    instances = {
        i["id"]: (i["version_expected"], i["version_actual"], i["state"], i["host"], i["pid"], i["health"])
        for i in status["instances"]
    }
    drift = {(d["kind"], d["target"], d["expected"], d["actual"]) for d in status["drift"]}
    return status["revision"], instances, drift, [(a["id"], a["state"]) for a in status["actions"]]


async def test_the_middle_of_a_deploy_comes_back(g: Gates) -> None:
    c = g.c
    id = g.hold("2", 1)
    seen = facts(c.status())
    held = int(time.time()) + 1
    wait_for(lambda: time.time() > held + 0.2)
    assert facts(c.status()) == seen, "it holds still"
    assert seen[1]["shop.gate/0"][1] == "2" and seen[1]["shop.gate/2"][1] == "1" and seen[2]
    g.open("2")
    c.wait(lambda: c.action(id)["state"] == "done")
    c.wait_calm()
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held))
    assert facts(json.loads(c.cli("status", "--at", when, "--json"))) == seen

    c.kill()
    c.start(from_file=False)
    c.wait_calm()
    assert facts(json.loads(c.cli("status", "--at", when, "--json"))) == seen
    between = json.loads(c.cli("history", "--from", when, "--json"))
    told = {(r["table"], r["key"]): r for r in between["rows"]}
    assert told["instances", "shop.gate/2"]["before"].startswith("1,")
    assert told["instances", "shop.gate/2"]["after"].startswith("2,")
    assert told["actions", id]["after"].startswith("done")
    assert [gap["why"] for gap in between["gaps"]] == ["the controller ended without a word"]
    life = c.cli("history", "gate/2")
    assert "wants 1" in life and "wants 2" in life and f"action {id}" in life

    session = RemoteSession(c.state / "control.sock")
    await session.connect()
    app = CockpitApp(session, ascii=False)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            d: Any = Driver(app, pilot, None)  # type: ignore[arg-type]
            await until(lambda: app.board.head is not None)
            await d.press(":")
            await d.type(f"past {when}")
            await d.press("enter")
            await d.sees("THE PAST")
            await until(lambda: len(app.board.drift) == len(seen[2]))
            rows = app.board.instances
            assert {k: r.version_actual for k, r in rows.items()} == {k: r[1] for k, r in seen[1].items()}
            assert app.board.head is not None and app.board.head.revision == seen[0]
            await d.sees("NEEDS YOU")
            await d.press("H")
            await until(lambda: app.travel is not None and app.travel.session.at < held)
            await d.press("escape")
            await d.sees("LIVE")
            await until(lambda: not app.board.drift)
    finally:
        await session.close()
