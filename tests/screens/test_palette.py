"""Finding by parts of a name, letters on rows, copying, and what was said."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Any

import pytest

from screens.copying import CAP, copies, put
from screens.jump import LETTERS, labels
from screens.ranking import Pool, best, score
from screens.remarks import ERRORS, KEPT, READ_AFTER, Messages
from tests.house import tree
from tests.screens.canned import CannedSession
from tests.screens.drive import LARGE, Driver, driven, to, until

RANKED: list[tuple[str, list[str]]] = [
    ("web", ["web", "web/0", "shop.web", "webhook", "a cobweb here", "wide eb"]),
    ("rest web", ["restart web/0", "restart worker"]),
    ("sdk3", ["sudoku/3", "standing"]),
    ("118", ["#118 deploy", "#1118 deploy"]),
]


@pytest.mark.parametrize(("query", "names"), RANKED)
def test_better_names_stand_first(query: str, names: list[str]) -> None:
    mixed = random.Random(1).sample(names, len(names))
    found = [mixed[n] for n in best(query, ((m, 1.0) for m in mixed), 10)]
    assert found == names[: len(found)] and found[0] == names[0]


def test_every_word_must_be_found() -> None:
    assert score("web nothing", "restart web") == 0 and score("", "x") == 0


def test_a_pool_finds_the_exact_name_among_many_that_hold_it() -> None:
    names = [f"shop.web/{n}" for n in range(20_000)] + ["Shop.Batch/7", "other.web/12"]
    pool = Pool(names)
    assert "shop.web/12" in pool.holding("web/12")
    assert pool.holding("BATCH shop") == ["Shop.Batch/7"]
    assert len(pool.holding("web")) == 300
    assert pool.holding("nothing") == [] and pool.holding("  ") == [] and pool.holding("a\nb") == []


async def open_palette(d: Driver, text: str) -> Any:
    await d.press("ctrl+p")
    await d.at("PaletteScreen")
    await d.type(text)
    return d.app.screen


async def test_the_palette_goes_to_screens_services_hosts_instances_and_actions() -> None:
    ways = {"hosts": "HostsScreen", "sudoku/2": "NodeScreen", "bj-2": "HostScreen", "#118": "ActionScreen",
            "batch": "InstancesScreen", "revisions": "RevisionsScreen"}
    async with driven() as d:
        for text, screen in ways.items():
            await open_palette(d, text)
            await d.press("enter")
            await d.at(screen)
            await d.press("escape")
            await d.at("OverviewScreen")


async def test_the_palette_begins_verbs_and_says_why_others_do_not_work() -> None:
    async with driven() as d:
        await to(d, "puzzle.web/1")
        await open_palette(d, "restart")
        await d.sees("restart web/1")
        await d.press("enter")
        await d.at("PlanScreen")
        await d.press("escape")
        await open_palette(d, "drain")
        await d.sees("drain works on a host")
        await d.press("enter")
        await d.at("OverviewScreen")
        await d.sees("drain works on a host; h lists the hosts")
        assert d.session.submitted == []
        await open_palette(d, "zzzz")
        await d.press("enter")
        await d.sees("Nothing fits")


async def test_an_address_typed_before_is_found_again_but_no_verb() -> None:
    async with driven() as d:
        for line in ("instances web running", "restart web"):
            await d.type(":" + line)
            await d.press("enter")
        await d.at("PlanScreen")
        await d.press("escape", "escape", "escape")
        screen = await open_palette(d, "")
        names = [e.name for e in screen.search("web")]
        assert "instances web running" in names and "restart web" not in names
        await d.type("instances web run")
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.sees("/running")


async def test_the_palette_offers_no_change_to_a_reader() -> None:
    async with driven(session=CannedSession(read_only="started with --read-only")) as d:
        await to(d, "puzzle.web/1")
        await open_palette(d, "restart")
        await d.sees("restart is off")


async def test_letters_go_to_any_row_of_any_list_and_capitals_open() -> None:
    async with driven(LARGE) as d:
        await to(d, "puzzle")
        await d.press("'")
        await d.at("JumpScreen")
        await d.press(LETTERS[3])
        await d.at("OverviewScreen")
        screen: Any = d.app.screen
        assert screen.tree_list.key == "puzzle.batch/1"
        await d.press("'", "escape")
        await d.at("OverviewScreen")
        await d.press("'", "1")
        await d.sees("No such letter")
        await d.press("'")
        await d.at("JumpScreen")
        jump: Any = d.app.screen
        label = next(w for w, t in jump._by_label.items() if t.pane is screen.side)
        await d.press(*label[:-1], label[-1].upper())
        await d.at("ExplainScreen")


def test_labels_are_of_one_length_and_different() -> None:
    assert labels(3) == ["a", "s", "d"]
    assert len(set(labels(200))) == 200 and {len(x) for x in labels(200)} == {2}


# copying


async def test_copying_offers_id_row_command_and_address() -> None:
    async with driven(address="instances web") as d:
        await d.at("InstancesScreen")
        await until(lambda: d.app.screen.grid.key)  # type: ignore[attr-defined]
        found = {c.letter: c.text for c in copies(d.app.screen)}  # type: ignore[arg-type]
        assert found["i"] == "puzzle.web/0" and found["r"].startswith("web/0  running  sh-1  20011")
        assert (found["a"], found["c"]) == ("instances web", "cockpit attach --at 'instances web'")
        await d.press("space", "space", "y")
        await d.at("CopyScreen")
        await d.sees("2 ids")
        await d.press("z")
        await d.sees("A letter from the list")
        await d.press("i")
        await d.at("InstancesScreen")
        assert d.app._clipboard == "puzzle.web/0\npuzzle.web/1"
        await d.sees("Copied: puzzle.web/0 and 1 more line")
        await d.press("a", "y", "c")
        assert d.app._clipboard.startswith("cockpit deploy sudoku 1.2.0") or "cockpit deploy" in d.app._clipboard


async def test_what_the_terminal_would_not_take_is_said() -> None:
    async with driven() as d:
        words, mark = put(d.app, "x" * (CAP + 1), "row", {})
        assert "Nothing was copied" in words and mark == "failed" and not d.app._clipboard
        assert "no clipboard" in put(d.app, "x", "", {"TERM": "linux"})[0]
        assert "set-clipboard" in put(d.app, "x", "", {"TMUX": "1"})[0]


# messages


def test_an_error_is_read_when_it_stood_there_and_a_key_came() -> None:
    now = [0.0]
    messages = Messages(lambda: now[0])
    error = messages.say("it broke", "failed", 1.0, "overview")
    now[0] += READ_AFTER / 2
    messages.seen(error)  # typed ahead: nobody can have read it
    assert messages.unread == 1
    now[0] += READ_AFTER
    messages.seen(error)
    assert messages.unread == 0
    messages.say("said", "drift", 1.0, "overview")
    assert messages.unread == 0 and "drift" not in ERRORS
    messages.say("it broke", "failed", 2.0, "hosts")
    messages.say("it broke", "failed", 3.0, "hosts")
    assert [(m.text, m.times) for m in messages.all()] == [("it broke", 2), ("said", 1), ("it broke", 1)]
    now[0] += KEPT + 1
    assert messages.all() == [] and messages.unread == 0


async def test_errors_nobody_saw_are_counted_and_shown_again_with_their_place() -> None:
    async with driven() as d:
        now = [100.0]
        d.app.messages.clock = lambda: now[0]
        await d.press("h")
        await d.at("HostsScreen")
        d.app.tell("the disk of bj-2 is full", "failed")
        await d.press("down")
        await d.sees("; 1 unread")
        assert "the disk of" not in d.text()
        await d.press("escape", ";")
        await d.at("MessagesScreen")
        await d.sees("the disk of bj-2 is full")
        await d.sees("on hosts")
        await d.sees("1 error not looked at before")
        await d.press("enter")
        await d.at("HostsScreen")
        assert "unread" not in d.text()


# every wait says so


def waits(path: Path) -> list[int]:
    """Lines where an answer of the session is awaited without a word to the operator."""
    module = ast.parse((tree.ROOT / path).read_text(encoding="utf-8"))
    told: set[int] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.With) and "waiting(" in ast.unparse(node.items[0].context_expr):
            told |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".ask"):
            told |= {id(inner) for inner in ast.walk(node)}
    return [
        node.lineno for node in ast.walk(module)
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call)
        and ".session." in ast.unparse(node.value.func) and id(node) not in told
    ]


def test_every_wait_for_the_session_is_said() -> None:
    silent = {str(p): found for p in tree.python("screens/") if (found := waits(p))}
    # the first snapshot and the dialogs' lists have words of their own
    assert silent.keys() <= {"screens/app.py", "screens/ask.py"}, silent
