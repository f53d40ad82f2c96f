"""The controller records itself, and answers about its past: over sessions, sockets and commands."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cockpit.history import recording
from cockpit.history.fetching import past
from cockpit.history.frames import segments
from cockpit.history.session import PastSession
from cockpit.history.writing import Limits
from cockpit.model import history_rows
from cockpit.model.view import Who
from cockpit.plan.steps import Bad, Intent, Refused
from cockpit.session.client import RemoteSession
from tests.controller.fakes import agent, background, engine
from tests.helpers import PATIENCE, until, wait_for

OPERATOR = Who(author="li@here", role="operator")


async def deployed(c: Any, root: Path) -> tuple[Any, float, float]:
    """Both hosts connect, everything starts, then web becomes another version: session, before, after."""
    session = c.session(OPERATOR)
    agents = [await agent(c, root, host) for host in ("a-1", "b-1")]
    await until(lambda: len(c.world.up()) == 2, what="both hosts are up")
    await session.submit(Intent(verb="converge"))
    await until(lambda: not c.runner.running and not any(c.board.tables["drift"]), what="all runs")
    before = c.board.head(0).now or max(r.ended or 0 for r in c.board.tables["actions"].values())
    await c.history.flush()
    before = (await history_rows.moments(session, 0, 2e9, 1e6)).newest or 0.0
    await session.submit(Intent(verb="deploy", targets=("shop.web",), params={"version": "1.0.1"}))
    await until(lambda: not c.runner.running and not any(c.board.tables["drift"]), what="1.0.1 runs")
    await c.history.flush()
    after = (await history_rows.moments(session, 0, 2e9, 1e6)).newest or 0.0
    for each in agents:
        await each.stop()
    return session, before, after


async def test_a_deploy_is_seen_from_before_and_after(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        session, before, after = await deployed(c, tmp_path)
        old, new = await past(session, before), await past(session, after)
        assert {i.version_actual for i in old.instances.values() if i.service == "shop.web"} == {"1.0.0"}
        assert {i.version_actual for i in new.instances.values() if i.service == "shop.web"} == {"1.0.1"}
        assert new.head.revision == old.head.revision + 1
        found = await history_rows.between(session, before, after)
        told = {(r.table, r.key): r for r in found.rows}
        web = told["instances", "shop.web/0"]
        assert web.how == "changed" and web.before.startswith("1.0.0") and web.after.startswith("1.0.1")
        assert ("actions", "#3") in told and told["actions", "#3"].how == "new"
        assert ("instances", "shop.db/0") not in told
        life = await history_rows.life(session, "instance", "shop.web/0")
        assert any("1.0.1" in e.after for e in life.events) and life.events == tuple(
            sorted(life.events, key=lambda e: e.at)
        )
        acted = [e for e in life.events if e.table == "actions"]
        assert {e.key for e in acted} >= {"#3"} and acted[-1].after == "done"
        moments = await history_rows.moments(session, before - 60, after, 1.0)
        assert sum(m.kinds.get("revision", 0) for m in moments.moments) >= 1
        with pytest.raises(Bad, match="a tea has no life here"):
            await history_rows.life(session, "tea", "x")
        with pytest.raises(Bad):
            await session.call("moments", {"start": "soon"})


async def test_the_past_is_a_session_that_changes_nothing(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        live, before, after = await deployed(c, tmp_path)
        travel = PastSession(live, after)
        assert "past" in travel.who.read_only
        rows = dict((await travel.snapshot()).instances)
        deltas = travel.changes()
        seen = 0
        while travel.at > before:
            found = await travel.go(way=-1)
            delta = await asyncio.wait_for(anext(deltas), PATIENCE)
            assert delta.head.now == found.at == travel.at
            for key, row in delta.instances.items():
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
            seen += 1
        assert seen
        at = await past(live, travel.at)
        assert {k: r.version_actual for k, r in rows.items()} == {
            k: r.version_actual for k, r in at.instances.items()
        }
        await travel.go(to=after)
        assert (await travel.snapshot()).instances["shop.web/0"].version_actual == "1.0.1"
        detail = await travel.instance("shop.web/0")
        assert detail.row.version_actual == "1.0.1" and "not in the history" in detail.last_lines[0]
        assert (await travel.action("#3")).row.verb == "deploy"
        intent = Intent(verb="restart", targets=("shop.web",))
        for refused in (travel.plan(intent), travel.submit(intent), travel.call("artifact_collect")):
            with pytest.raises(Refused, match="this is the past"):
                await refused
        with pytest.raises(Bad, match="not in the state history"):
            travel.logs(["shop.web/0"])
        with pytest.raises(Bad, match="not in the state history"):
            await travel.call("plugins")
        await travel.go(to=before)
        with pytest.raises(Bad, match="there was no action #3 yet"):
            await travel.action("#3")
        assert all(r.time <= travel.at for r in await travel.revisions())


def test_commands(tmp_path: Path) -> None:
    with background(tmp_path) as b:
        session, before, _ = b.do(deployed(b.c, tmp_path))

        def cli(*words: str, code: int = 0) -> str:
            argv = [sys.executable, "-I", "-m", "cockpit.cli.main", *words, "--state", str(b.state)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == code, done.stderr
            return done.stdout + done.stderr

        assert "kept is" in cli("history") and "instance" in cli("history")
        listed = json.loads(cli("history", "--from", "-1h", "--json"))
        assert {r["key"] for r in listed["rows"] if r["table"] == "instances"} >= {"shop.web/0", "shop.db/0"}
        assert "shop.web/0" in cli("history", "--from", "#3", "--to", "now")
        then = json.loads(cli("status", "--at", "#3", "--json"))
        assert {i["version_actual"] for i in then["instances"] if i["service"] == "shop.web"} == {"1.0.0"}
        assert cli("status", "--at", "#3").startswith("as it was at ")
        assert json.loads(cli("history", "--at", "#3", "--json"))["instances"] == then["instances"]
        assert "wants 1.0.1" in cli("history", "web/0") and "1.0.1" in cli("history", "web")
        assert "presence" not in cli("history", "a-1") and "host a-1 since" in cli("history", "a-1")
        assert "deploy" in cli("history", "3")
        assert "is no moment" in cli("history", "--at", "tea", code=2)
        assert "--from" in cli("history", "--to", "-1m", code=2)
        assert "goes with neither" in cli("history", "--at", "-1m", "--from", "-2m", code=2)


async def test_a_viewer_may_look_at_the_past(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        session = RemoteSession(c.state / "view.sock")
        await session.connect()
        try:
            await until(lambda: c.history.writer._key_size)
            then = await past(session, 2e9)
            assert set(then.hosts) == {"a-1", "b-1"}
        finally:
            await session.close()


async def test_a_full_disk_is_said_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "AGAIN", 0.05)
    monkeypatch.setattr(recording, "BATCH", 0.05)
    async with engine(tmp_path) as c:
        writer = c.history.writer
        await until(lambda: writer._key_size)
        path = writer.path
        real = writer._append
        writer._append = _full  # type: ignore[method-assign]
        c.world.host_fact("a-1", trouble=("x",))
        await until(lambda: c.history.trouble)
        assert c.history.notices() == (
            f"state history is not recorded: {c.state / 'history'}: No space left on device; it is tried again",
        )
        await until(lambda: writer.path is None, what="the segment is given up")
        assert not c.ended.is_set()
        writer._append = real  # type: ignore[method-assign]
        await until(lambda: not c.history.trouble and writer.path not in (None, path))
        assert not c.history.notices()
        (gap,) = (await history_rows.moments(c.session(OPERATOR), 0, 2e9, 1e6)).gaps
        assert gap.end > gap.start and "No space left on device" in gap.why


def _full(data: bytes) -> None:
    raise OSError(28, "No space left on device")


async def test_it_can_be_turned_off(tmp_path: Path) -> None:
    from cockpit.controller.serving import Options, controller
    from tests.controller.fakes import topology

    options = Options(state=tmp_path / "s", history=Limits(days=0))
    async with controller(options, topology()) as c:
        with pytest.raises(Bad, match="no state history is recorded here"):
            await history_rows.between(c.session(OPERATOR), 0, 1)
    assert segments(tmp_path / "s" / "history") == []


def test_kill_9_leaves_what_was_written(tmp_path: Path, short_dir: Path) -> None:
    """A real controller process: killed, started again, and asked about before."""
    from tests.controller.fakes import TOPOLOGY

    file, state = short_dir / "t.yaml", short_dir / "s"
    file.write_text(TOPOLOGY)
    cockpit = [sys.executable, "-I", "-m", "cockpit.cli.main"]

    def serve() -> subprocess.Popen[bytes]:
        argv = [*cockpit, "serve", str(file), "--state", str(state)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: status().returncode == 0, what="the controller answers")
        return process

    def status(*more: str) -> subprocess.CompletedProcess[str]:
        argv = [*cockpit, *more, "--state", str(state)] if more else [*cockpit, "status", "--state", str(state)]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)

    first = serve()
    try:
        wait_for(lambda: "revision" in status("history", "--json").stdout, what="the first import is recorded")
        written = segments(state / "history")
        first.kill()
        first.wait()
        with written[-1].open("ab") as torn:
            torn.write(b"\x10\x00\x00\x00half a frame")
        first = serve()
        found = wait_for(lambda: json.loads(status("history", "--json").stdout or "{}").get("gaps"), what="a gap")
        assert found[0]["why"] == "the controller ended without a word"
        then = status("status", "--at", "now", "--json")
        assert {h["name"] for h in json.loads(then.stdout)["hosts"]} == {"a-1", "b-1"}
        assert segments(state / "history")[: len(written)] == written
        first.terminate()
        assert first.wait(PATIENCE) == 0
    finally:
        if first.poll() is None:
            first.kill()
            first.wait()
