"""The operators' socket with real uids: who gets in is the kernel's word, and so is who they are."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cockpit.controller.core import Controller
from cockpit.controller.serving import Options, controller
from cockpit.model import guard_rows
from cockpit.plan.steps import Refused
from cockpit.session.client import RemoteSession
from cockpit.session.ops import CHANGING, OPERATORS
from cockpit.session.server import make_operators_dir, operators_socket
from tests.controller.fakes import TOPOLOGY, FakeAgent, agent, topology
from tests.helpers import PATIENCE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")

GUARDS = "guards:\n  - {name: two, verbs: [restart], effect: approve, reason: four eyes}\n"
LI, WU, EVE = 40101, 40102, 40103
CLIENT = """
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except OSError as e:
    print(json.dumps([{"errno": e.errno}]))
    sys.exit()
f = s.makefile("rw")
out = []
for n, (op, args) in enumerate(json.loads(sys.argv[2])):
    f.write(json.dumps({"id": n, "op": op, "args": args}) + "\\n")
    f.flush()
    out.append(json.loads(f.readline()))
print(json.dumps(out))
"""


def group() -> str:
    """Any group of this machine that nobody of ours has."""
    return next(g.gr_name for g in grp.getgrall() if g.gr_gid not in (0, *os.getgroups()) and g.gr_gid < 60000)


Ask = tuple[str, dict[str, Any]]


async def as_uid(uid: int, path: Path, *asks: Ask, member: bool = True) -> list[dict[str, Any]]:
    """Answers to requests of a process with this uid."""
    gid = grp.getgrnam(group()).gr_gid
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    process = await asyncio.create_subprocess_exec(
        python, "-I", "-S", "-c", CLIENT, str(path), json.dumps(asks), user=uid, group=uid,
        extra_groups=[gid] if member else [], cwd="/", stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    answers: list[dict[str, Any]] = json.loads(out)
    return answers


@pytest.fixture
async def c(short_dir: Path) -> AsyncIterator[Controller]:
    short_dir.chmod(0o711)
    options = Options(state=short_dir / "s", operators=group())
    async with controller(options, topology(TOPOLOGY + GUARDS)) as made:
        agents: list[FakeAgent] = [await agent(made, short_dir, host) for host in ("a-1", "b-1")]
        yield made
        for each in agents:
            await each.stop()


def test_the_operators_socket_has_no_op_that_guards_do_not_hold() -> None:
    assert set(OPERATORS) < CHANGING and not {"exec", "end", "token", "plugin_push"} & set(OPERATORS)


async def test_modes_and_owners(c: Controller) -> None:
    path = operators_socket(c.state)
    gid = grp.getgrnam(group()).gr_gid
    facts, above = path.stat(), path.parent.stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_gid) == (0o660, gid)
    assert (stat.S_IMODE(above.st_mode), above.st_gid, above.st_uid) == (0o710, gid, 0)
    assert stat.S_IMODE((c.state / "control.sock").stat().st_mode) == 0o600


async def test_who_gets_in(c: Controller) -> None:
    path = operators_socket(c.state)
    (answer,) = await as_uid(LI, path, ("who", {}))
    who = answer["result"]
    assert (who["uid"], who["role"], who["read_only"], who["ops"]) == (LI, "operator", "", list(OPERATORS))
    assert await as_uid(EVE, path, ("who", {}), member=False) == [{"errno": 13}]
    assert await as_uid(LI, c.state / "control.sock", ("who", {})) == [{"errno": 13}]


async def test_only_what_guards_hold_exists_there(c: Controller) -> None:
    path = operators_socket(c.state)
    asks = [(op, {}) for op in sorted(CHANGING - set(OPERATORS))]
    answers = await as_uid(LI, path, *asks)
    assert [a for a in answers if a.get("code") != "refused" or "operators' socket" not in a["text"]] == []
    assert not c.ended.is_set()


async def test_one_asks_another_approves(c: Controller) -> None:
    path = operators_socket(c.state)
    intent = {"verb": "restart", "targets": ["shop.web/0"], "author": "wu@forged"}
    plan, row = await as_uid(LI, path, ("plan", {"intent": intent}), ("submit", {"intent": intent}))
    assert row["result"]["state"] == "asked" and row["result"]["author"].startswith(f"uid {LI}@")
    digest = plan["result"]["digest"]
    yes = ("approve", {"id": "a1", "digest": digest})
    (own,) = await as_uid(LI, path, yes)
    assert own["code"] == "refused" and f"uid {LI} asked for it" in own["text"]
    (seen,) = await as_uid(WU, path, ("approval", {"id": "a1"}))
    assert seen["result"]["same"] and seen["result"]["plan"]["digest"] == digest
    (done,) = await as_uid(WU, path, yes)
    assert (done["result"]["state"], done["result"]["by_uid"]) == ("approved", WU)
    await asyncio.wait_for(c.runner.ended[done["result"]["action"]].wait(), PATIENCE)


async def test_the_owner_is_a_second_person_for_an_operator(c: Controller) -> None:
    path = operators_socket(c.state)
    intent = {"verb": "restart", "targets": ["shop.web/0"]}
    await as_uid(LI, path, ("submit", {"intent": intent}))
    session = RemoteSession(c.state / "control.sock")
    await session.connect()
    found = await guard_rows.approval(session, "a1")
    assert found.same and session.who.uid == 0 and session.who.ops is None
    assert (await guard_rows.approve(session, "a1", found.row.digest)).by_uid == 0
    await session.close()


def test_a_place_that_is_not_ours_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no Unix group"):
        make_operators_dir(tmp_path / "x", "no-such-group-here")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Refused, match="not a directory of ours"):
        make_operators_dir(tmp_path / "link", group())
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", LI, -1)
    with pytest.raises(Refused, match="not a directory of ours"):
        make_operators_dir(tmp_path / "theirs", group())
