"""Explain, life, journal and the comparison of revisions, as an operator goes through them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cockpit.model.why_rows import Findings, Moment
from cockpit.plan.steps import Bad
from screens.format import when
from tests.screens.drive import LARGE, SMALL, Driver, driven, to, until
from tests.screens.explained import MOMENTS, Journal, session
from tests.screens.puzzle import NOW, relay_lost, snapshot

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE])


def screen(d: Driver) -> Any:
    return d.app.screen


def seek(d: Driver, start: str) -> None:
    """Put the cursor of the sheet on the first line whose words begin so."""
    sheet = screen(d).sheet
    words = ["".join(t for t, _ in i.pieces).strip() for i in sheet.items]
    sheet.go(next(n for n, w in enumerate(words) if w.startswith(start)))


@SIZES
async def test_e_on_something_unwell_says_why_with_doors_and_verbs(size: tuple[int, int]) -> None:
    async with driven(size, session()) as d:
        await to(d, "puzzle.sudoku/3")
        await d.press("e")
        await d.at("ExplainScreen")
        for words in ("ROOT CAUSE", "sudoku/3 is unhealthy", "refused", "Address already in use", "34 s", "#118"):
            await d.sees(words)
        assert "restart" in d.text().splitlines()[-1]
        seek(d, "log")
        await d.press("enter")
        await d.at("LogsScreen")
        await d.press("escape")
        seek(d, "suspect")
        await d.press("enter")
        await d.at("ActionScreen")
        await d.press("escape")
        seek(d, "try       r restart")
        await d.press("enter")
        await d.at("PlanScreen")
        await until(lambda: d.session.planned)
        assert d.session.planned[-1].targets == ("puzzle.sudoku/3",) and not d.session.submitted


async def test_e_on_a_relay_that_is_lost_and_on_what_is_well() -> None:
    async with driven(LARGE, session(relay_lost())) as d:
        await d.press("tab", "home")
        await d.sees("relay relay-bj")
        side = screen(d).side
        side.go(next(n for n, i in enumerate(side.items) if i.key == "need relay relay-bj"))
        await d.press("e")
        await d.at("ExplainScreen")
        assert screen(d).object == "relay-bj"
        await d.sees("3 hosts not heard because of it")
        await d.press("escape")
        await d.type(":explain bj-1")
        await d.press("enter")
        await d.sees("because   relay relay-bj does not answer")
        seek(d, "because")
        await d.press("enter")
        assert screen(d).sheet.current.key == "relay relay-bj", "Enter on a cause goes to it"
        await d.press("escape", "tab")
        await to(d, "puzzle.web/0")
        await d.press("e")
        await d.at("NodeScreen")
        await d.sees("nothing to explain")


@pytest.mark.parametrize("size", [LARGE, SMALL])
async def test_a_loop_that_healed_is_told_with_what_happened(size: tuple[int, int]) -> None:
    canned = session()
    row = msgspec.structs.replace(canned.data.instances["puzzle.web/0"], restarts=3, started=NOW - 600)
    canned.data = msgspec.structs.replace(canned.data, instances=canned.data.instances | {row.id: row})
    kinds = ("instance", row.id)
    canned.answers["explain"] = msgspec.to_builtins(Findings(
        kind="instance", name=row.id, now=NOW,
        calm="web/0 is running, as expected, since 22:13:22 (10m ago). Within the last day 3 runs ended badly",
        lately=(
            Moment(at=NOW - 601, kind="run", kinds=kinds, text="run 3 ended: exit 1 after 0.8 s", mark="failed",
                   door=("node", row.id)),
            Moment(at=NOW - 80000, kind="action", kinds=kinds, text="#12 restart web/0 began, by li",
                   door=("action", "#118")),
        ),
    ))  # fmt: skip
    async with driven(size, canned) as d:
        await to(d, row.id)
        await d.press("e")
        await d.at("ExplainScreen")
        await d.sees("3 runs ended badly")
        await d.sees("WITHIN THE LAST DAY")
        await d.sees("run 3 ended: exit 1 after 0.8 s")
        assert when(NOW - 80000, NOW, 11) in d.text(), "of another day, with the day"
        seek(d, when(NOW - 80000, NOW, 11))
        await d.press("enter")
        await d.at("ActionScreen")


async def test_it_is_live() -> None:
    canned = session()
    async with driven(LARGE, canned, address="explain sudoku/3") as d:
        await d.sees("sudoku/3 is unhealthy")
        row = msgspec.structs.replace(
            canned.data.instances["puzzle.sudoku/3"], mark="ok", word="running", reason="", health="ok"
        )
        canned.data = msgspec.structs.replace(canned.data, instances=canned.data.instances | {row.id: row}, drift={})
        canned.push(instances={row.id: row}, drift={"unhealthy|puzzle.sudoku/3": None})
        await d.sees("nothing to explain")
        await d.press("enter")
        await d.at("NodeScreen")


async def test_without_an_answer_the_board_alone_explains_and_says_so() -> None:
    canned = session()

    def away(args: dict[str, Any]) -> Any:
        raise Bad("no op 'explain'")

    canned.answers["explain"] = away
    async with driven(LARGE, canned, address="explain sudoku/3") as d:
        await d.sees("sudoku/3 is unhealthy")
        await d.sees("from the board only: no op 'explain'")


async def test_read_only_offers_no_verb() -> None:
    async with driven(LARGE, session(read_only="looks only"), address="explain sudoku/3") as d:
        await d.sees("Address already in use")
        assert not any("try " in i for i in d.text().splitlines())


async def test_one_dead_relay_is_one_line_and_not_forty() -> None:
    first = relay_lost()
    hosts = {h for h, r in first.hosts.items() if r.mark == "unknown"}
    silent = {
        i: msgspec.structs.replace(r, mark="unknown", word="no answer", reason=f"{r.host} gives no answer")
        for i, r in first.instances.items() if r.host in hosts
    }  # fmt: skip
    given = msgspec.structs.replace(first, instances=first.instances | silent, drift={})
    async with driven(LARGE, session(given)) as d:
        await d.sees("relay relay-bj  unknown")
        keys = {i.key for i in screen(d).side.items if i.key.startswith("need ")}
        assert keys == {"need relay relay-bj"}, "and sudoku/3 is on one of its hosts"


@SIZES
async def test_the_life_of_an_instance_newest_first_with_its_gap(size: tuple[int, int]) -> None:
    async with driven(size, session()) as d:
        await to(d, "puzzle.sudoku/3")
        await d.press("L")
        await d.at("LifeScreen")
        await d.sees("running → unhealthy")
        await d.sees("no data since")
        grid = screen(d).grid
        assert [grid.rows[k].at for k in grid.order] == sorted((m.at for m in MOMENTS), reverse=True)
        await d.press("O")
        await until(lambda: grid.rows[grid.order[0]].at == MOMENTS[0].at, "oldest first")
        await d.press("/", *"rev", "enter")
        await until(lambda: len(grid.order) == 1)
        await d.press("enter")
        await d.at("RevisionScreen")
        await d.sees("REVISION 42")


async def test_moments_that_come_wait_at_their_place() -> None:
    canned = session()
    async with driven(LARGE, canned, address="life sudoku/3") as d:
        await d.sees("running → unhealthy")
        grid = screen(d).grid
        await d.press("down")
        here = grid.key
        later = msgspec.structs.replace(MOMENTS[-1], at=NOW - 1, text="unhealthy → running", mark="ok")
        canned.answers["timeline"] = lambda args: msgspec.to_builtins(
            {"kind": "instance", "name": "x", "now": NOW, "moments": (*MOMENTS, later)}
        )
        screen(d)._asked, screen(d)._stale = 0.0, True
        screen(d).tick()
        await until(lambda: grid.waiting, "it waits")
        assert grid.key == here
        await d.press("up")
        await until(lambda: grid.rows[grid.order[0]].text == "unhealthy → running")


async def test_the_journal_follows_pages_back_and_says_whether_it_is_whole() -> None:
    canned = session()
    journal: Journal = canned.answers["journal"]
    async with driven(LARGE, canned) as d:
        await d.press("J")
        await d.at("JournalScreen")
        await d.sees("700 entries, chain whole")
        grid = screen(d).grid
        assert grid.order[0] == "700" and len(grid.order) == 300
        await d.press("end")
        await until(lambda: len(grid.rows) == 600, "older entries come")
        assert grid.order[-1] == "101"
        await d.press("home", "f")
        journal.count = 702
        screen(d).tick()
        await until(lambda: grid.key == "702", "it follows")
        await d.press("/", *"refused", "enter")
        await until(lambda: grid.order and all(grid.rows[k].kind == "refused" for k in grid.order))
        await d.press("enter")
        assert d.name == "JournalScreen", "a refusal has no action to open"
        await d.sees("refused: entry")
        await d.press("escape")
        grid.seek("701")
        await d.press("enter")
        await d.at("ActionScreen")
        await d.press("escape")
        journal.whole = False
        await d.press("V")
        await d.sees("NOT WHOLE: entry 7 (line 7): was altered")


async def test_revisions_are_compared_with_now_or_with_each_other() -> None:
    canned = session()
    async with driven(LARGE, canned) as d:
        await d.press("v")
        await until(lambda: screen(d).grid.count() == 3)
        await d.press("=")
        await d.sees("the revision of now")
        await d.press("down", "=")
        await d.at("CompareScreen")
        await d.sees("FROM REV 41 TO REV 42 (now)")
        await d.sees("services > puzzle.sudoku > version")
        assert [a for op, a in canned.called if op == "revision_diff"] == [{"from": 41, "to": 0}]
        await d.press("=")
        await d.sees("FROM REV 42 (now) TO REV 41")
        seek(d, "services >")
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.press("escape", "escape", "home", "space", "down", "space", "=")
        await d.at("CompareScreen")
        assert screen(d).address() == ("compare", "1", "42")


async def test_what_an_instance_was_expected_to_be_then() -> None:
    async with driven(LARGE, session(), address="node sudoku/3") as d:
        await d.at("NodeScreen")
        await d.press("=")
        await d.at("ThenScreen")
        await d.sees("REV 41")
        await d.sees("1.1.0")
        await d.press("right")
        await d.sees("REV 42 ")
        await d.press("right")
        await d.sees("is the newest")


async def test_wrong_words_are_answered_with_words() -> None:
    async with driven(LARGE, session()) as d:
        wrong = (("compare x", "takes numbers of revisions"), ("revision 9999", "there is no revision 9999"))
        for words, said in wrong:
            await d.type(":" + words)
            await d.press("enter")
            await d.sees(said)
            await d.press("escape")


async def test_many_silent_hosts_without_a_relay_are_few_lines() -> None:
    first = snapshot()
    away: dict[str, Any] = {"presence": "unknown", "mark": "unknown", "reason": "the link broke", "since": NOW - 30}
    hosts = {n: msgspec.structs.replace(h, **(away if n != "sh-1" else {})) for n, h in first.hosts.items()}
    async with driven(LARGE, session(msgspec.structs.replace(first, hosts=hosts))) as d:
        await d.sees("region bj")
        keys = {i.key for i in screen(d).side.items if i.key.startswith("need ")}
        assert keys >= {"need region bj", "need host sh-2", "need host sh-3"}
        assert not any("host bj-" in k for k in keys)


async def test_regions_are_rolled_up_and_open_their_hosts() -> None:
    first = relay_lost()
    async with driven(LARGE, session(first), address="regions") as d:
        await d.at("RegionsScreen")
        grid = screen(d).grid
        await until(lambda: grid.rows)
        bj, sh = grid.rows["bj"], grid.rows["sh"]
        assert (bj.hosts, bj.up, bj.want, bj.drift, bj.mark) == (3, 0, 6, 1, "drift")
        assert (sh.hosts, sh.up, sh.drift, sh.mark, sh.relays) == (3, 3, 0, "ok", 1)
        grid.seek("bj")
        await d.press("enter")
        await d.at("HostsScreen")
        await until(lambda: set(screen(d).grid.order) == {"bj-1", "bj-2", "bj-3"})
