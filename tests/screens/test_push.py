"""The push view: what it shows of receivers, where its keys lead, and how it keeps still."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cockpit.model.view import PushRow
from screens.look import Look
from screens.pushing import amount, bar_pieces, counts, facts, lines_of, packed, push_columns, unit_of
from tests.screens import pushed
from tests.screens.canned import CannedSession
from tests.screens.drive import LARGE, SMALL, Driver, driven, keyed, until
from tests.screens.puzzle import NOW

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE])


def session(**options: Any) -> CannedSession:
    return CannedSession(pushed.pushing(), **options)


def screen(d: Driver) -> Any:
    return d.app.screen


def line(d: Driver, words: str) -> str:
    return next(text for text in d.text().splitlines() if words in text)


async def opened(d: Driver) -> Any:
    await d.press("B")
    await d.at("PushScreen")
    await d.sees("DONE")
    return d.app.screen


@SIZES
async def test_who_has_what_by_region_with_the_relay_first(size: tuple[int, int]) -> None:
    async with driven(size, session()) as d:
        tree = (await opened(d)).tree_list
        assert tree.order == [
            "region|bj", "#119|relay-bj", "#119|bj-1", "#119|bj-2", "#119|bj-3",
            "region|sh", "#119|relay-sh", "#119|sh-1", "#119|sh-2", "#119|sh-3",
        ]  # fmt: skip
        for words in (
            "PUSH sudoku/1.2.0   #119", "41.0 MiB, 3.1 MiB new in 25 pieces", "source 1.00x", "WAN 1.00x",
            "peers 85%", "1 bad", "2 fallbacks", "1 duplicate", "1 failed", "1 no answer", "1 slow",
            "of 6 hosts and 2 relays", "had before",
        ):
            assert words in d.text(), words
        assert "100%" in line(d, "bj-1") and "installs" in line(d, "bj-1") and "3s" in line(d, "sh-2")
        assert "slow" in line(d, "sh-3") and "0.30" in line(d, "sh-3") and "41s" in line(d, "sh-3")
        assert "no answer for 9s" in line(d, "bj-3")
        assert "no space: 44.1 MiB" in line(d, "bj-2") and "0%" in line(d, "bj-2")


async def test_the_whole_reason_stands_below_for_the_row_under_the_cursor() -> None:
    async with driven(SMALL, session()) as d:
        view = await opened(d)
        assert view.tree_list.seek("#119|bj-2")
        await d.sees("failed: no space: 44.1 MiB are needed in /var/lib/cockpit")
        assert view.tree_list.seek("#119|sh-3")
        await d.sees("2 fallbacks")
        await d.sees("slow: 22% of the usual pace")


async def test_enter_folds_a_region_opens_a_host_and_escape_comes_back() -> None:
    async with driven(SMALL, session()) as d:
        view = await opened(d)
        await d.press("enter")
        assert "#119|bj-1" not in view.tree_list.order
        await d.press("right", "down", "enter")
        await d.sees("a relay, not a host")
        await d.press("down", "down", "enter")
        await d.at("HostsScreen")
        await until(lambda: screen(d).grid.key == "bj-2")
        await d.press("escape")
        await d.at("PushScreen")
        assert screen(d) is view and view.tree_list.key == "#119|bj-2"


async def test_pause_resume_and_abort_are_the_actions() -> None:
    async with driven(SMALL, session()) as d:
        await opened(d)
        await d.press(keyed("pause"))
        await until(lambda: d.session.submitted)
        intent = d.session.submitted[0][0]
        assert (intent.verb, intent.targets) == ("pause", ("#119",))
        d.session.push(actions={"#119": msgspec.structs.replace(pushed.ACTION, state="paused")})
        await d.sees("paused")
        await d.press(keyed("resume"))
        await until(lambda: len(d.session.submitted) == 2)
        await d.press(keyed("abort"))
        await d.at("AskScreen")


async def test_read_only_says_why() -> None:
    async with driven(SMALL, session(read_only="this is the view socket")) as d:
        await opened(d)
        await d.press(keyed("pause"))
        await d.sees("pause is off: this is the view socket")
        assert not d.session.submitted


async def test_stragglers_first_and_back_by_region() -> None:
    async with driven(SMALL, session()) as d:
        view = await opened(d)
        await d.press("o")
        assert [k.partition("|")[2] for k in view.tree_list.order[:3]] == ["bj-2", "bj-3", "sh-3"]
        await d.sees("o by region")
        before = list(view.tree_list.order)
        d.session.push(pushes={"#119|sh-1": pushed.receiver("sh-1", state="failed", note="disk full")})
        await until(lambda: "disk full" in d.text())
        assert view.tree_list.order == before  # nothing moves by itself
        await d.press("down")
        assert "#119|sh-1" in view.tree_list.order[:2]
        await d.press("o")
        assert view.tree_list.order[0] == "region|bj"


async def test_a_thousand_hosts_begin_folded_and_every_one_can_be_reached() -> None:
    async with driven(SMALL, CannedSession(pushed.crowd(1000))) as d:
        view = await opened(d)
        assert view.tree_list.order == [f"region|region-{n}" for n in range(4)]
        await d.sees("20 slow")
        assert "10 slow" in line(d, "region-1, 250 hosts")
        await d.press("down", "right", "end")
        await d.press("up")
        assert "250 hosts" in d.text()
        await d.press("o")
        assert len(view.tree_list.order) == 1004
        assert all(view.tree_list.rows[k].standing.word == "slow" for k in view.tree_list.order[:20])
        await d.press("/")
        await d.type("h-999")
        await until(lambda: view.tree_list.order == ["#119|h-999"])


async def test_figures_change_calmly_and_new_rows_wait() -> None:
    async with driven(SMALL, session()) as d:
        view = await opened(d)
        await d.press("down", "down")
        drawn: list[int] = []
        fill = view.fill

        def counted() -> None:
            drawn.append(1)
            fill()

        view.fill = counted
        for n in range(20):
            d.session.push(pushes={"#119|sh-2": pushed.receiver("sh-2", rate=float(n << 20))})
        d.session.push(pushes={"#119|ab-1": pushed.receiver("ab-1")})
        await until(lambda: "19.0" in line(d, "sh-2"))
        assert len(drawn) < 5
        assert view.tree_list.key == "#119|bj-1" and view.tree_list.order[0] == "region|bj"
        await d.sees("new")
        await d.press("down")
        assert view.tree_list.order[:2] == ["region|ab", "#119|ab-1"]
        d.session.push(pushes={key: None for key in (*pushed.rows(), "#119|ab-1")})
        await d.sees("no receiver has begun")


async def test_several_pushes_the_unfinished_ones_first() -> None:
    first = pushed.pushing()
    other = msgspec.structs.replace(pushed.receiver("sh-1"), action="#116", artifact="web/2.0.0", state="done")
    data = msgspec.structs.replace(first, pushes={**first.pushes, "#116|sh-1": other})
    async with driven(SMALL, CannedSession(data)) as d:
        await opened(d)
        await d.sees("#119, 1 of 2 pushes")
        await d.press("tab")
        await d.sees("PUSH web/2.0.0   #116")
        assert screen(d).address() == ("pushes", "#116")
        await d.press("s")
        await d.at("ActionScreen")


async def test_without_a_push_it_says_so() -> None:
    async with driven() as d:
        await d.press("B")
        await d.sees("nothing is pushed now")
        await d.type(":pushes 77")
        await d.press("enter")
        await d.sees("there is no push #77")
        await d.press("enter", keyed("pause"), "tab")
        await d.sees("This is the only push.")


async def test_a_push_is_reached_from_where_actions_are() -> None:
    async with driven(SMALL, session()) as d:
        await d.press("a")
        await until(lambda: screen(d).grid.seek("#119"))
        await d.press("enter")
        await d.at("PushScreen")
        await d.press("escape", "escape", "tab", "home")
        await until(lambda: screen(d).side.current)
        side = screen(d).side
        doors = [item.door for item in side.items if item.key == "action #119" and item.pick]
        assert doors == [("pushes", "#119")]


async def test_the_fetches_of_a_deploy_lead_to_its_push() -> None:
    first = pushed.pushing()
    mine = {f"#118|{r.host}": msgspec.structs.replace(r, action="#118") for r in pushed.rows().values()}
    async with driven(SMALL, CannedSession(msgspec.structs.replace(first, pushes=mine))) as d:
        await d.type(":action #118")
        await d.press("enter")
        await d.sees("fetch sudoku 1.2.0 on bj-2")
        await d.press("home")
        await d.sees("B pieces")
        await d.press("enter")
        await d.at("PushScreen")
        await d.sees("#118")
        await d.press("escape", "B")
        await d.at("PushScreen")
        assert screen(d).shown == "#118"


async def test_help_tells_what_the_keys_do_here() -> None:
    async with driven(LARGE, session()) as d:
        await opened(d)
        await d.press("?")
        await d.sees("KEYS on pushes")
        assert "Those that lag behind first; again: by region." in d.text()
        assert "Sort by the next column." not in d.text()


async def test_ascii_has_only_ascii() -> None:
    async with driven(SMALL, session(), ascii=True) as d:
        await opened(d)
        assert d.text().isascii()
        assert "#######+++......=======" in d.text()


# pure parts


def test_bytes_are_told_in_one_unit() -> None:
    units = [unit_of(n)[0] for n in (0, 1 << 10, (1 << 20) - 1, 1 << 20, 5 << 30)]
    assert units == ["KiB", "KiB", "KiB", "MiB", "GiB"]
    assert [amount(n, 1 << 20) for n in (0, 5 << 18, 1 << 19, 300 << 20)] == ["0.0", "1.2", "0.50", "300.0"]


def test_equal_cells_are_one_piece() -> None:
    look = Look()
    assert bar_pieces("##+.==", look) == [
        ("██", "text"), ("▌", "changing"), ("░", "faint"), ("▒▒", "muted"),
    ]  # fmt: skip


@pytest.mark.parametrize("room", [8, 20, 26, 60, 80, 140])
def test_a_bar_is_whole_or_not_there_and_keeps_its_room(room: int) -> None:
    look = Look()
    paint = next(c.paint for c in push_columns(look, ("MiB", 1 << 20), 0.9) if c.id == "pieces")
    assert paint is not None
    lines, _ = lines_of(pushed.rows(), NOW, flat=False)
    for each in lines.values():
        pieces = paint(each, room)
        drawn = sum(len(words) for words, style in pieces if words[0] in "█▒▌░")
        assert drawn in (0, min(64, room))
        assert sum(len(words) for words, _ in pieces) <= room
        if each.name == "bj-2":
            assert "no spac" in pieces[-1][0]


def test_a_push_with_nothing_new_has_figures_too() -> None:
    row = PushRow(action="#1", artifact="a/1", host="h", region="", state="done", pieces=4, have=4, had=4, size=100)
    lines, children = lines_of({"k": row}, NOW, flat=False)
    assert children[""] == ["region|"] and lines["region|"].name == "no region, 1 host"
    sums = lines["region|"].sums
    assert sums is not None
    assert facts(sums)[0][0] == "100 B, nothing new"
    assert [words for words, _ in counts(sums, Look())] == ["● 1 done", "of 1 host"]


def test_parts_are_packed_without_breaking_one() -> None:
    parts = [("a" * 10, "text"), ("b" * 10, "text"), ("c" * 30, "text")]
    found = ["".join(words for words, _ in line) for line in packed(parts, 30)]
    assert found == ["   " + "a" * 10 + "   " + "b" * 10, "   " + "c" * 30]
