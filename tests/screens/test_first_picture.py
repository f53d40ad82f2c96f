"""What the first picture needs, and what comes after it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from cockpit.model.view import Snapshot
from screens import preload
from screens.app import CockpitApp
from screens.places import PLACES
from screens.preload import Preload, modules
from tests.house import tree
from tests.screens.canned import CannedSession
from tests.screens.drive import driven, make_app, until

LATER = {
    "importlib.metadata", "importlib.resources", "statistics", "getpass", "json", "cockpit.explain.asked",
    "cockpit.model.topology", "cockpit.act.score", "screens.table", "screens.tour", "screens.palette", "screens.plan",
    "networkx", "asyncssh", "aiohttp", "jinja2", "cryptography", "yaml", "httpx",
}  # fmt: skip
"""Nothing of this is imported before a quiet cluster is drawn."""
MOST = 102
"""Of our own modules, those of `cockpit attach` together; each costs half a millisecond of somebody's start."""

DRAWN = """
import asyncio, sys
from cockpit.cli.main import build_parser
build_parser("attach")
import cockpit.session.client
from cockpit.cli.faces import face
face("textual")
from cockpit.model.view import Delta, Head, HostRow, InstanceRow, NodeRow, Snapshot, Who
from screens.app import CockpitApp

class Quiet:
    who = Who(author="li", role="operator")
    async def snapshot(self):
        one = InstanceRow(id="shop.web/0", service="shop.web", slot=0, host="sh-1", version_expected="1",
            version_actual="1", state="RUNNING", desired="RUNNING", health="ok", word="running")
        nodes = {"shop": NodeRow(path="shop", kind="cluster", want=1, have=1),
                 "shop.web": NodeRow(path="shop.web", kind="service", want=1, have=1)}
        host = HostRow(name="sh-1", region="sh", presence="up", address="127.0.0.1", instances=1, want=1)
        return Snapshot(head=Head(cluster="quiet", revision=1, digest="0" * 64, now=1_700_000_000.0), nodes=nodes,
                        instances={one.id: one}, hosts={"sh-1": host})
    async def changes(self):
        await asyncio.get_running_loop().create_future()
        yield

async def main():
    app = CockpitApp(Quiet(), ascii=False, address="overview")
    await app.ask_first()
    found = []
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        found = sorted(sys.modules)
        assert app.screen.tree_list.order, "nothing is drawn"
    print("\\n".join(found))

asyncio.run(main())
"""


def test_a_quiet_cluster_is_drawn_with_few_modules() -> None:
    result = subprocess.run([sys.executable, "-c", DRAWN], cwd=tree.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert loaded & LATER == set()
    ours = {m for m in loaded if m.startswith(("cockpit", "screens", "themes"))}
    assert len(ours) <= MOST, sorted(ours)
    behind = {p.where.partition(":")[0] for p in PLACES.values() if p.where}
    assert ours & behind == set()


class Counting(CannedSession):
    asked = 0

    async def snapshot(self) -> Snapshot:
        self.asked += 1
        return await super().snapshot()


async def test_a_cluster_that_answers_at_once_is_on_the_board_before_anything_is_drawn() -> None:
    session = Counting()
    app = make_app(session)
    await app.ask_first()
    assert app.board.head is not None
    async with app.run_test(size=(120, 40)):
        await until(lambda: app._feeder is not None and app._loaded is None)
        assert session.asked == 1


async def test_one_that_is_slow_is_asked_once_and_shown_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Counting):
        async def snapshot(self) -> Snapshot:
            found = await super().snapshot()
            await answer.wait()
            return found

    monkeypatch.setattr("screens.app.SOON", 0.0)
    answer = asyncio.Event()
    session = Slow()
    app = make_app(session)
    await app.ask_first()
    async with app.run_test(size=(120, 40)):
        assert app.board.head is None
        answer.set()
        await until(lambda: app.board.head is not None)
        assert session.asked == 1


async def test_one_that_fails_is_asked_again() -> None:
    class Failing(Counting):
        async def snapshot(self) -> Snapshot:
            if not self.asked:
                self.asked += 1
                raise ConnectionError("gone")
            return await super().snapshot()

    app = make_app(Failing())
    await app.ask_first()
    async with app.run_test(size=(120, 40)):
        await until(lambda: app.board.head is not None and app.board.lost is None)


async def test_the_rest_is_imported_while_nobody_presses_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven() as d:
        app: CockpitApp = d.app
        rest = Preload(app)
        before = list(rest.left)
        app.pressed_at = time.monotonic() + 3600
        rest._step()
        assert rest.left == before
        app.pressed_at = 0.0
        monkeypatch.setattr(preload, "APART", 0.0)
        monkeypatch.setattr(preload, "AFTER", 0.0)
        rest._step()
        await until(lambda: not rest.left, "everything is imported")
        assert set(modules()) <= set(sys.modules)


def test_every_screen_is_imported_beforehand() -> None:
    behind = {p.where.partition(":")[0] for p in PLACES.values() if p.where}
    assert behind <= set(modules())
