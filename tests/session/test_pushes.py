"""Pushes and artifacts over a session: the table follows like the others, and looking is all it takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cockpit.controller.board import Board
from cockpit.controller.world import World
from cockpit.model.view import ArtifactDetail, ArtifactDiff, ArtifactRow, PushRow, Who
from cockpit.naming.registry import Registry
from cockpit.plan.steps import Bad
from cockpit.session.client import RemoteSession
from tests.session.engine import Engine, House

ROW = ArtifactRow(
    id="web/2", name="web", version="2", sha256="ab" * 32, size=100, packed=40, files=3, signed=("build",),
    missing=("qa",), services=("shop.web",), wanted=True, hosts=2,
)  # fmt: skip


def receiver(have: int, **more: Any) -> PushRow:
    return PushRow(action="#1", artifact="web/2", host="sh-1", region="sh", pieces=9, have=have, cells="#.", **more)


@pytest.fixture
def stored(house: House) -> House:
    """A controller that knows one version."""

    async def detail(id: str, base: str) -> ArtifactDetail:
        if id != ROW.id:
            raise Bad(f"no artifact {id!r}")
        diff = ArtifactDiff(artifact=id, base=base or "1", changed=("bin/web",), to_move=7, pieces=1, patch=3)
        return ArtifactDetail(row=ROW, md5="00", build={"argv": ["make"]}, diff=diff, hosts=("sh-1",),
                              signatures=({"role": "build", "verdict": "valid"},))  # fmt: skip

    async def rows() -> tuple[ArtifactRow, ...]:
        return (ROW,)

    desk: Any = house.desk
    desk.shelf = SimpleNamespace(detail=detail, rows=rows)
    return house


@pytest.mark.parametrize("where", ["embedded", "control.sock", "view.sock"])
async def test_artifacts_are_looked_at_from_everywhere(stored: House, where: str) -> None:
    session: Any = Engine(stored.desk, Who(author="li", role="viewer", read_only="looking only"))
    if where != "embedded":
        session = RemoteSession(stored.directory / where)
        await session.connect()
    assert await session.artifact_rows() == (ROW,)
    found = await session.artifact("web/2")
    assert found.row == ROW and found.diff.base == "1" and found.build == {"argv": ["make"]}
    assert (await session.artifact("web/2", "0.9")).diff.base == "0.9"
    with pytest.raises(Bad, match="no artifact 'web/3'"):
        await session.artifact("web/3")
    await session.close()


async def test_a_push_is_followed_over_the_socket(house: House) -> None:
    board = house.desk.board
    board.set_push("#1|sh-1", receiver(1))
    session = await house.client()
    assert (await session.snapshot()).pushes == {"#1|sh-1": receiver(1)}
    changes: Any = session.changes()
    board.set_push("#1|sh-1", receiver(4, note="no space"))
    board.refresh(0.0)
    assert (await anext(changes)).pushes == {"#1|sh-1": receiver(4, note="no space")}
    board.drop_push("#1|sh-1")
    board.refresh(0.0)
    assert (await anext(changes)).pushes == {"#1|sh-1": None}
    assert (await session.snapshot()).pushes == {}
    await changes.aclose()
    await session.close()


async def test_only_rows_that_really_changed_are_sent() -> None:
    board = Board(World(Registry()))
    board.refresh(0.0)
    subscriber = board.subscribe()
    board.set_push("#1|sh-1", receiver(1))
    board.set_push("#1|sh-2", receiver(1))
    board.refresh(0.0)
    for have in (1, 2, 3):
        board.set_push("#1|sh-1", receiver(have))
        board.refresh(0.0)
    board.drop_push("#1|sh-2")
    board.drop_push("#9|nobody")
    board.refresh(0.0)
    subscriber.close()
    found = [delta.pushes async for delta in subscriber.deltas()]
    assert found == [{"#1|sh-1": receiver(3), "#1|sh-2": None}]  # merged: it had not been read
