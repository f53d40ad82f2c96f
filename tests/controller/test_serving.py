"""Starting, ending and losing a controller; log streams and joining on a real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cockpit.controller import logs as logs_module
from cockpit.controller.core import Controller
from cockpit.controller.serving import Options, controller, here
from cockpit.model.view import LogLine
from cockpit.plan.steps import Bad, Intent, Refused
from tests.controller.fakes import FakeAgent, agent, engine, topology
from tests.helpers import PATIENCE, until


@contextlib.asynccontextmanager
async def running(root: Path) -> AsyncIterator[tuple[Controller, dict[str, FakeAgent]]]:
    """A controller with both hosts, and everything runs."""
    async with engine(root) as c:
        agents = {host: await agent(c, root, host) for host in ("a-1", "b-1")}
        await done(c, Intent(verb="converge"))
        yield c, agents
        for each in agents.values():
            await each.stop()


@pytest.fixture
async def up(short_dir: Path) -> AsyncIterator[tuple[Controller, dict[str, FakeAgent]]]:
    async with running(short_dir) as both:
        yield both


async def done(c: Controller, intent: Intent) -> None:
    session = c.session(here())
    row = await session.submit(intent, confirm=(await session.plan(intent)).confirm)
    await asyncio.wait_for(c.runner.ended[row.id].wait(), PATIENCE)
    assert c.ledger.actions[row.id].row.state == "done"


async def scale(c: Controller, *counts: int) -> None:
    for count in counts:
        await done(c, Intent(verb="scale", targets=("shop.web",), params={"count": count}))


async def refused(state: Path, *, port: int = 0, error: type[Exception] = Refused) -> str:
    with pytest.raises(error) as e:
        async with controller(Options(state=state, port=port), None):
            pass
    return str(e.value)


# one at a time, on a sound state


async def test_two_controllers_on_one_state(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        text = await refused(c.state)
        assert f"(pid {os.getpid()})" in text and str(c.state) in text
        assert (await c.session(here()).snapshot()).head.revision == 1  # the first one goes on
        assert (c.state / "control.sock").exists()
    async with engine(short_dir) as c:
        assert c.world.revision == 1


async def test_a_taken_port(short_dir: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        text = await refused(short_dir / "s", port=s.getsockname()[1])
    assert "address already in use" in text


async def test_a_path_that_no_socket_can_have(short_dir: Path) -> None:
    state = short_dir / ("d" * 120)
    assert "too long" in await refused(state, error=Bad)
    assert not state.exists()


async def test_a_state_in_a_place_that_cannot_be(short_dir: Path) -> None:
    (short_dir / "file").write_text("")
    with pytest.raises(OSError):
        async with controller(Options(state=short_dir / "file" / "s"), None):
            pass


async def test_a_damaged_database_is_named_and_kept(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        path = c.state / "state.db"
    path.write_bytes(b"no database" * 1000)
    assert "state.db: file is not a database" in await refused(short_dir / "s")
    assert path.read_bytes() == b"no database" * 1000


@pytest.mark.parametrize("how", ["altered", "cut", "gone"])
async def test_a_journal_that_is_not_what_was_written(short_dir: Path, how: str) -> None:
    async with running(short_dir) as (c, _):
        await scale(c, 3, 1)
        path = c.state / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    match how:
        case "altered":
            path.write_bytes(b"".join(lines).replace(b'"author":"', b'"author":"x', 1))
        case "cut":
            path.write_bytes(b"".join(lines[:-2]))
        case "gone":
            path.unlink()
    assert "journal.jsonl" in await refused(short_dir / "s")


async def test_a_restart_goes_on_where_the_last_one_stopped(short_dir: Path) -> None:
    async with running(short_dir) as (c, _):
        await scale(c, 3)
        before = (c.world.revision, c.world.digest, c.journal.head, c.hub.port, c.authority.fingerprint)
        rows = {k: (r.verb, r.state) for k, r in c.board.tables["actions"].items()}
    async with engine(short_dir, topology("cockpit: 1\nname: other\nregions: {x: }\n")) as c:
        assert (c.world.revision, c.world.digest, c.journal.head, c.hub.port, c.authority.fingerprint) == before
        assert {k: (r.verb, r.state) for k, r in c.board.tables["actions"].items()} == rows
        assert c.world.expected.name == "still"  # the file of an old state is not taken by itself


async def test_old_actions_are_left_out_and_numbers_go_on(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cockpit.controller.ledger.KEPT_ACTIONS", 2)
    async with running(short_dir) as (c, _):
        await scale(c, 3, 4, 5, 6)
        kept = list(c.ledger.actions)
        assert len(kept) <= 4 and kept[-1] == "#6"
    async with engine(short_dir) as c:
        assert list(c.ledger.actions) == kept
        assert c.ledger.next_id() == "#7"
        assert len(c.ledger.revisions) == 5


async def test_a_deleted_state_directory_ends_the_controller(short_dir: Path) -> None:
    import shutil

    async with engine(short_dir) as c:
        shutil.rmtree(c.state)
        await asyncio.wait_for(c.ended.wait(), PATIENCE)
        assert c.lost
        assert "cockpit recover" in c.why and str(c.state) in c.why
    assert not c.state.exists()


# logs


async def collect(lines: AsyncIterator[LogLine], into: list[LogLine]) -> None:
    async for line in lines:
        into.append(line)


async def test_log_lines_of_several_instances(up: tuple[Controller, dict[str, FakeAgent]]) -> None:
    c, agents = up
    session = c.session(here())
    lines = [line async for line in session.logs(["shop.web/0", "shop.web/1"], follow=False)]
    assert sorted((line.instance, line.text) for line in lines) == [
        ("shop.web/0", "first"), ("shop.web/0", "second"), ("shop.web/1", "first"), ("shop.web/1", "second"),
    ]  # fmt: skip
    assert c.logs._queues == {}
    with pytest.raises(Bad, match="no instance shop.web/9"):
        await collect(session.logs(["shop.web/9"]), [])
    agents["a-1"].fails["logs"] = ("missing", "no such log")
    lines = [line async for line in session.logs(["shop.db/0", "shop.web/0"], follow=False)]
    assert ("shop.db/0", "cockpit", "no such log") in [(x.instance, x.stream, x.text) for x in lines]
    assert len(lines) == 3
    assert c.logs._queues == {}


async def test_dropped_lines_and_the_end_are_remarks(up: tuple[Controller, dict[str, FakeAgent]]) -> None:
    c, agents = up
    agents["a-1"].logs = []
    seen: list[LogLine] = []
    task = asyncio.create_task(collect(c.session(here()).logs(["shop.db/0"]), seen))
    stream = next(iter(await until(lambda: c.logs._queues)))
    await agents["a-1"].send(t="log", stream=stream, lines=[[1, "stderr", "main", "x"]], dropped=7, end=None)
    await agents["a-1"].send(t="log", stream="log-99-0", lines=[[1, "stderr", "main", "other"]], dropped=0, end=None)
    await agents["a-1"].send(t="log", stream=stream, lines=[], dropped=0, end="run 1 ended: exit 0")
    await asyncio.wait_for(task, PATIENCE)
    assert [(x.stream, x.text) for x in seen] == [
        ("stderr", "x"), ("cockpit", "7 lines dropped: they came faster than they could be sent"),
        ("cockpit", "run 1 ended: exit 0"),
    ]  # fmt: skip
    assert c.logs._queues == {}


async def test_a_reader_that_leaves_ends_the_stream_on_the_host(
    up: tuple[Controller, dict[str, FakeAgent]],
) -> None:
    c, agents = up
    seen: list[LogLine] = []
    task = asyncio.create_task(collect(c.session(here()).logs(["shop.db/0"]), seen))
    await until(lambda: len(seen) == 2)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: agents["a-1"].words[-1] == "unlog")
    assert c.logs._queues == {}


async def test_a_lost_host_ends_its_lines_with_a_remark(
    up: tuple[Controller, dict[str, FakeAgent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "LOOK", 0.05)
    c, agents = up
    seen: list[LogLine] = []
    task = asyncio.create_task(collect(c.session(here()).logs(["shop.db/0", "shop.web/0"]), seen))
    await until(lambda: len(seen) == 4)
    await agents["a-1"].stop()
    await until(lambda: len(seen) == 5)
    assert (seen[-1].instance, seen[-1].text) == ("shop.db/0", "lost contact with a-1: the lines end here")
    assert not task.done()
    await agents["b-1"].stop()
    await asyncio.wait_for(task, PATIENCE)
    with pytest.raises(ConnectionError, match="no answer from a-1"):
        await collect(c.session(here()).logs(["shop.db/0"]), [])
    assert c.logs._queues == {}


# a report that makes no sense


async def test_a_damaged_report_does_not_stop_the_beat(up: tuple[Controller, dict[str, FakeAgent]]) -> None:
    c, agents = up
    before = c.board.tables["instances"].copy()
    await agents["a-1"].send(t="unit", unit={"unit": "web:1", "instance": "web", "gen": 1, "state": 512})
    await agents["a-1"].send(t="full", units=[{"unit": "x", "instance": "p.x/z", "gen": 1}], releases=[], names=0)
    await until(lambda: not [u for u in c.world.where.values() if u == "a-1"])
    await until(lambda: c.board.tables["instances"]["shop.db/0"].state == "NEW")
    assert c.board.tables["instances"].keys() == before.keys()


# joining


def csr() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def asks(token: str, host: str = "a-1", n: int = 1) -> dict[str, Any]:
    return {"token": token, "host": host, "uuid": f"00000000-0000-0000-0000-{n:012}", "csr": csr()}


async def test_a_token_works_once_and_survives_a_restart(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        token = await c.joining.token("a-1", "")
        other = await c.joining.token("", "")
        answer = await c.reports.join(asks(token))
        assert answer["host"] == "a-1" and answer["cluster"] == "still" and "BEGIN CERT" in answer["cert"]
        with pytest.raises(PermissionError, match="used already"):
            await c.reports.join(asks(token))
    async with engine(short_dir) as c:
        assert c.joining.admits("a-1", asks("")["uuid"])
        with pytest.raises(PermissionError, match="used already"):
            await c.reports.join(asks(token))
        assert (await c.reports.join(asks(other, "b-1", 2)))["host"] == "b-1"
        assert c.joining._tokens == {}


async def test_tokens_that_do_not_fit(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        mine = await c.joining.token("a-1", "")
        late = await c.joining.token("", "", ttl=-1)
        with pytest.raises(PermissionError, match="is for a-1, not for b-1"):
            await c.reports.join(asks(mine, "b-1"))
        with pytest.raises(PermissionError, match="expired"):
            await c.reports.join(asks(late))
        anybody = await c.joining.token("", "")
        with pytest.raises(PermissionError, match="not a host of the topology"):
            await c.reports.join(asks(anybody, "c-1"))
        forged = mine[:-6] + ("AAAAAA" if not mine.endswith("AAAAAA") else "BBBBBB")
        with pytest.raises((PermissionError, ValueError)):
            await c.reports.join(asks(forged))
        with pytest.raises(ValueError, match="not a join token"):
            await c.reports.join(asks("hello"))
        with pytest.raises(PermissionError, match="not valid"):
            await c.reports.join(asks(mine) | {"csr": "nonsense"})
        assert (await c.reports.join(asks(mine)))["host"] == "a-1"  # a failed try does not spend it


async def test_a_name_is_given_to_another_machine_only_by_name(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        await c.reports.join(asks(await c.joining.token("", ""), n=1))
        anybody = await c.joining.token("", "")
        with pytest.raises(PermissionError, match="belongs to another machine already"):
            await c.reports.join(asks(anybody, n=2))
        with pytest.raises(PermissionError, match="belongs to another machine already"):
            await c.reports.join(asks(anybody, n=1))  # its UUID stands in its certificate: it is no proof
        await c.reports.join(asks(await c.joining.token("a-1", ""), n=2))
        assert c.joining.admits("a-1", asks("", n=2)["uuid"])
        assert not c.joining.admits("a-1", asks("", n=1)["uuid"])


async def test_two_at_once_with_one_token(short_dir: Path) -> None:
    async with engine(short_dir) as c:
        token = await c.joining.token("", "")
        answers = await asyncio.gather(
            c.reports.join(asks(token, "a-1")), c.reports.join(asks(token, "b-1", 2)), return_exceptions=True
        )
        assert sorted(type(a).__name__ for a in answers) == ["PermissionError", "dict"]
