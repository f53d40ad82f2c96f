"""Explain, timeline, journal and earlier revisions on a real controller with agents that can be cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cockpit.act.journal import Journal
from cockpit.cli.main import main
from cockpit.controller import journals, why
from cockpit.controller.core import Controller
from cockpit.controller.watching import Watching, differences
from cockpit.model.view import Who
from cockpit.model.why_rows import JournalPage, explain, journal_page, timeline
from cockpit.plan.steps import Bad, Intent, Refused
from tests.controller.fakes import FakeAgent, agent, background, engine
from tests.explain.world import host, instance, relay
from tests.helpers import PATIENCE, until

LI = Who(author="li@jump", role="operator")


def ended(c: Controller) -> bool:
    return not c.runner.running


async def converged(c: Controller, root: Path) -> tuple[FakeAgent, FakeAgent]:
    """Two agents, and everything that is expected runs."""
    a, b = await agent(c, root, "a-1"), await agent(c, root, "b-1")
    session = c.session(LI)
    await session.submit(Intent(verb="converge", targets=("shop",)))
    await until(lambda: ended(c) and all(r.mark == "ok" for r in c.board.tables["instances"].values()))
    return a, b


async def test_a_silent_host_is_the_cause_and_its_log_is_not_waited_for(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        a, b = await converged(c, tmp_path)
        session = c.session(LI)
        answer = await explain(session, "web/0")
        assert (answer.kind, answer.name, answer.findings) == ("instance", "shop.web/0", ())
        assert answer.calm.endswith("nothing to explain")
        lost = c.board.tables["instances"]["shop.db/0"].host
        await (a if lost == "a-1" else b).stop()
        await until(lambda: c.world.hosts[lost].presence == "suspect")
        c.world.lost(lost, "cut", 1.0)  # long ago: it is not waited for
        await until(lambda: c.board.tables["instances"]["shop.db/0"].mark == "unknown")
        await until(lambda: lost in c.watching.wrong.silent)
        answer = await explain(session, "db/0")
        assert [f.what for f in answer.findings] == [f"host {lost} does not answer"]
        assert answer.unknown == (f"the log of db/0 was not asked for: {lost} is unknown",)
        assert [f.kind for f in (await explain(session)).findings] == ["host"]
        life = await timeline(session, lost)
        assert any(m.kind == "presence" and "unknown" in m.text for m in life.moments)
        await (b if lost == "a-1" else a).stop()


async def test_what_fails_is_told_with_its_last_lines(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        a, b = await converged(c, tmp_path)
        a.logs = ["starting", "Address already in use"]
        row = c.board.tables["instances"]["shop.db/0"]
        unit = next(iter(c.world.units["shop.db/0"]))
        exit = {"run": 1, "code": 1, "started": 5.0, "ended": 6.0}
        await a._unit(unit, state=704, pid=None, exit=exit, wanted=True)
        await until(lambda: "shop.db" in c.watching.wrong.sorts)
        found = (await explain(c.session(LI), "db/0")).findings[0]
        assert row.host == "a-1" and found.word == "failed"
        assert [e.text for e in found.evidence if e.kind == "log"] == a.logs
        assert any("exit 1" in e.text for e in found.evidence if e.kind == "exit")
        assert any(s.text.startswith("converge") for s in found.suspects) or found.since == 6.0
        for each in (a, b):
            await each.stop()


async def test_an_agent_that_says_nothing_does_not_delay_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "WITHIN", 0.05)
    async with engine(tmp_path) as c:
        a, b = await converged(c, tmp_path)
        unit = next(iter(c.world.units["shop.db/0"]))
        await a._unit(unit, state=704, pid=None, wanted=True, exit={"run": 1, "code": 1})
        await until(lambda: "shop.db" in c.watching.wrong.sorts)

        async def deaf(task: str, word: str, args: dict[str, Any]) -> None:
            return None

        a._command = deaf  # type: ignore[method-assign]
        answer = await explain(c.session(LI), "db/0")
        assert answer.findings[0].word == "failed"
        assert answer.unknown == ("the log of db/0 did not come within 0.05 s",)
        for each in (a, b):
            await each.stop()


async def test_a_life_has_actions_steps_revisions_runs_and_a_gap(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        a, b = await converged(c, tmp_path)
        session = c.session(LI)
        await session.submit(Intent(verb="scale", targets=("shop.web",), params={"count": 3}))
        await until(lambda: ended(c) and "shop.web/2" in c.board.tables["instances"])
        life = await timeline(session, "web/2")
        kinds = {m.kind for m in life.moments}
        assert {"action", "step", "revision", "run", "state"} <= kinds, kinds
        assert [m.at for m in life.moments] == sorted(m.at for m in life.moments)
        assert any(m.text.startswith("rev ") and "li@jump" in m.text for m in life.moments)
        assert {m.door[0] for m in life.moments if m.door} >= {"action", "revision", "node"}
        few = await timeline(session, "web/2", limit=2)
        assert len(few.moments) == 2 and few.left_out == len(life.moments) - 2
        whole = await timeline(session, "")
        assert any(m.kind == "gap" for m in whole.moments) == any(m.at < c.watching.began for m in whole.moments)
        for each in (a, b):
            await each.stop()


async def test_names_and_kinds(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        assert why.named(c, "") == ("cluster", "")
        assert why.named(c, "web") == ("service", "shop.web") and why.named(c, "shop") == ("group", "shop")
        assert why.named(c, "a-1") == ("host", "a-1") and why.named(c, "web/1") == ("instance", "shop.web/1")
        id = next(iter(c.ledger.actions))
        assert why.named(c, id) == ("action", id) == why.named(c, id.lstrip("#"), "action")
        for name, kind, said in (
            ("wep", "", "did you mean shop.web"), ("#999", "", "no action #999"), ("zz", "host", "there is"),
            ("web/9", "", "no instance"), ("x", "planet", "no kind"),
        ):  # fmt: skip
            with pytest.raises(Bad, match=said):
                why.named(c, name, kind)


async def test_the_journal_comes_in_pages_and_knows_whether_it_is_whole(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        session = c.session(LI)
        for n in range(30):
            c.ledger.note({"kind": "exec", "id": f"exec-{n}", "argv": ["true"], "hosts": ["a-1"], "author": "li"})
        await c.ledger.flush()
        last = await journal_page(session, limit=10, verify=True)
        assert [e.seq for e in last.lines] == list(range(c.journal.count - 9, c.journal.count + 1))
        assert last.whole is True and last.count == c.journal.count and "chain whole" in last.said
        before = await journal_page(session, limit=10, before=last.start)
        assert [e.seq for e in before.lines][-1] == last.lines[0].seq - 1
        assert (await journal_page(session, after=last.end)).lines == ()
        c.ledger.note({"kind": "ctl", "host": "a-1", "uid": 0, "op": "stop", "unit": "shop.web/0:1", "at": 1})
        await c.ledger.flush()
        new = await journal_page(session, after=last.end)
        assert [e.kind for e in new.lines] == ["ctl"] and "uid 0 stop" in new.lines[0].text
        for wrong in ({"before": last.start - 1}, {"after": last.start + 1}):
            with pytest.raises(Bad, match="no entry"):
                await journal_page(session, **wrong)  # type: ignore[arg-type]
        path = c.state / "journal.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"exec-7"', b'"exec-8"', 1))
        broken = await journal_page(session, limit=3, verify=True)
        assert broken.whole is False and "was altered" in broken.said


async def test_what_is_refused_is_in_the_journal_once_a_minute_and_never_by_a_viewer(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        await c.ledger.flush()
        count = c.journal.count
        stop = Intent(verb="stop", targets=("shop.web",))
        for _ in range(3):
            with pytest.raises(Refused):
                await c.session(LI).submit(stop)
        with pytest.raises(Refused):
            await c.session(Who(author="eve", role="viewer", read_only="looks only")).submit(stop)
        await c.ledger.flush()
        assert c.journal.count == count + 1
        line = (await journal_page(c.session(LI), limit=1)).lines[0]
        assert (line.kind, line.author, line.mark) == ("refused", "li@jump", "failed")
        assert line.text.startswith("stop shop.web by li@jump: ")
        assert any(m.text.startswith("refused stop") for m in (await timeline(c.session(LI), "web")).moments)


async def test_an_earlier_revision_comes_back_from_the_patches(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        a, b = await converged(c, tmp_path)
        session = c.session(LI)
        first, doc = c.world.revision, c.world.doc
        for count in (3, 4):
            await session.submit(Intent(verb="scale", targets=("shop.web",), params={"count": count}), confirm="web")
            await until(lambda: ended(c))
        from cockpit.controller.earlier import doc_at

        assert doc_at(c.world.doc, c.ledger.revisions, first) == doc
        made = await session.call("revision_diff", {"from": first, "to": 0})
        assert made["to"] == c.world.revision and "web instances 2 → 4" in made["sentences"][0]
        back = await session.call("revision_diff", {"from": 0, "to": first})
        assert len(back["changes"]) == len(made["changes"])
        then = await session.call("instance_at", {"instance": "web/3", "revision": first})
        assert then["service"] is None and then["host"] is None
        now = await session.call("instance_at", {"instance": "web/3"})
        assert now["host"] and now["service"]["version"] == "1.0.0"
        for wrong in (9999, -4, "x"):
            with pytest.raises(Bad, match="no revision"):
                await session.call("revision_diff", {"from": wrong})
        for each in (a, b):
            await each.stop()


def test_what_a_change_of_a_row_tells() -> None:
    old = instance("s.web/0")
    for new, said in (
        (instance("s.web/0", mark="failed", reason="refused"), ["running → unhealthy: refused"]),
        (instance("s.web/0", version_actual="2"), ["version 1 → 2"]),
        (instance("s.web/0", "h-2"), ["on h-2, before on h-1"]),
        (instance("s.web/0", pinned="uid 0"), ["held on the host: uid 0"]), (old, []),
    ):  # fmt: skip
        assert [m.text for m in differences("instances", old.id, old, new, 5.0)] == said
    up = host("h-1", boot_id="a", agent_version="1", agent_pid=3)
    for row, said in (
        (host("h-1", "unknown", boot_id="a"), ["up → unknown: the link broke"]),
        (host("h-1", boot_id="b"), ["h-1 was booted: it has another boot id"]),
        (host("h-1", agent_version="2"), ["agent of h-1 1 → 2"]),
        (host("h-1", agent_pid=4), ["agent of h-1 was started again"]),
        (host("h-1", trouble=("disk",)), ["disk"]),
    ):  # fmt: skip
        assert [m.text for m in differences("hosts", "h-1", up, row, 5.0)] == said
    told = differences("relays", "r-1", relay("r-1"), relay("r-1", "unknown"), 5.0)
    assert [m.text for m in told] == ["up → unknown: the trunk broke"]


def test_a_clock_that_is_set_is_noticed() -> None:
    watching = Watching.__new__(Watching)
    from collections import deque

    watching.moments, watching.lost, watching._offset = deque(maxlen=10), 0, 100.0
    watching.clock(200.0, 100.0)
    watching.clock(206.5, 105.0)
    assert not watching.moments
    watching.clock(170.0, 108.0)
    watching.clock(171.0, 109.0)
    assert [m.text for m in watching.moments] == ["the controller's clock was set back by 40 s"]


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_of_any_size_are_the_whole_journal(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "BLOCK", 64)
    path = tmp_path / "journal.jsonl"
    made = Journal.open(path)
    for n in range(20):
        made.append({"kind": "token", "what": "made", "host": "x" * n, "id": n, "author": "li"}, now=float(n))
    made.close()
    with path.open("ab") as file:
        file.write(b'{"v":1,"torn')
    back: list[int] = []
    page = journals.pages(path, -1, -1, limit)
    while page.lines:
        back = [e.seq for e in page.lines] + back
        page = journals.pages(path, page.start, -1, limit)
    on: list[int] = []
    page = JournalPage()
    while (page := journals.pages(path, -1, page.end, limit)).lines:
        on += [e.seq for e in page.lines]
    assert back == on == list(range(1, 21))


async def test_what_an_earlier_controller_saw_is_in_the_timeline(tmp_path: Path) -> None:
    """A controller that began a moment ago knows of before only by the state history."""
    async with engine(tmp_path) as c:
        a, b = await converged(c, tmp_path)
        await c.session(LI).submit(Intent(verb="deploy", targets=("shop.web",), params={"version": "1.0.1"}))
        await until(lambda: ended(c) and not any(c.board.tables["drift"]), what="1.0.1 runs")
        for each in (a, b):
            await each.stop()
        await until(lambda: not c.world.up())
    async with engine(tmp_path) as c:
        session, began = c.session(LI), c.watching.began
        await until(lambda: c.history.writer._key_size, what="it records too")
        life = await timeline(session, "web/0")
        told = [m for m in life.moments if m.source == "history"]
        (gap,) = (m for m in told if m.kind == "gap")
        assert gap.text.endswith("the controller was stopped") and gap.at <= began
        recorded = [m for m in told if m.kind != "gap"]
        assert all(m.at <= began and m.kinds == ("instance", "shop.web/0") for m in recorded)
        assert recorded == sorted(recorded, key=lambda m: m.at)
        version = [m for m in recorded if "1.0.0" in m.text.partition("→")[0] and "1.0.1" in m.text.partition("→")[2]]
        assert version and version[0].kind == "state"
        # what belongs to it is told by its own name
        assert any(m.text.startswith("#3: new: deploy") for m in recorded)
        of_host = [m.text for m in (await timeline(session, "a-1")).moments if m.source == "history"]
        assert any("up" in text for text in of_host)
        assert any(m.source == "history" for m in (await timeline(session, "shop.web")).moments)
        everything = await timeline(session)  # of the whole cluster the history tells nothing, and nothing breaks
        assert not [m for m in everything.moments if m.source == "history"] and everything.moments


async def test_a_timeline_without_a_history_says_what_it_lacks(tmp_path: Path) -> None:
    async with engine(tmp_path) as c:
        session = c.session(LI)
        await until(lambda: c.history.writer._key_size)
        assert not any("history" in text for text in (await timeline(session, "web/0")).unknown)
        (c.state / "history").rename(c.state / "elsewhere")
        life = await timeline(session, "web/0")
        assert any("history" in text for text in life.unknown), life.unknown


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with background(tmp_path) as b:
        b.connect("a-1", "b-1")
        state = ["--state", str(b.state)]
        b.do(asyncio.wait_for(_heard(b.c), PATIENCE))
        assert main(["explain", *state]) == 1
        said = capsys.readouterr().out
        assert "1. " in said and "missing" in said and "try        cockpit converge" in said
        b.do(b.c.session(LI).submit(Intent(verb="converge", targets=("shop",))))
        b.do(asyncio.wait_for(_calm(b.c), PATIENCE))
        assert main(["explain", "web/0", *state]) == 0
        assert "nothing to explain" in capsys.readouterr().out
        assert main(["explain", "nosuch", *state]) == 2
        assert "no object 'nosuch'" in capsys.readouterr().err
        assert main(["timeline", "web/0", *state]) == 0
        said = capsys.readouterr().out
        assert "converge" in said and "ago" in said
        assert main(["timeline", "web/0", "--json", *state]) == 0
        assert '"moments"' in capsys.readouterr().out


async def _heard(c: Controller) -> None:
    await until(lambda: all(h.presence == "up" for h in c.board.tables["hosts"].values()))
    await until(lambda: any(r.kind == "missing" for r in c.board.tables["drift"].values()))


async def _calm(c: Controller) -> None:
    await until(lambda: ended(c) and all(r.mark == "ok" for r in c.board.tables["instances"].values()))
    await until(lambda: not c.watching.wrong.groups)
