"""A view as a line of text: read, written, opened, kept."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from screens.address import Address, read, write
from screens.board import Board
from screens.memory import Layout, Memory, Spot, Tab, file_name
from tests.screens.canned import NOW, snapshot
from tests.screens.drive import driven, to, until


def board() -> Board:
    made = Board(lambda: NOW)
    made.load(snapshot())
    return made


LINES: list[tuple[str, Address]] = [
    ("instances", Address(("instances",))),
    ("instances web", Address(("instances", "puzzle.web"))),
    ("instances bj-2", Address(("instances", "bj-2"))),
    ("instances web version!=1.4", Address(("instances", "puzzle.web"), "version!=1.4")),
    ("instances drift", Address(("instances",), "drift")),
    ("instances / web", Address(("instances",), "web")),
    ("instances web web/0", Address(("instances", "puzzle.web"), "web/0")),
    ("instances !running restarts>3", Address(("instances",), "!running restarts>3")),
    ("instances web 'two words' x", Address(("instances", "puzzle.web"), "'two words' x")),
    ("hosts region=sh", Address(("hosts",), "region=sh")),
    ("node sudoku/3", Address(("node", "puzzle.sudoku/3"))),
    ("host bj-1", Address(("host", "bj-1"))),
    ("action '#118'", Address(("action", "#118"))),
    ("artifact sudoku/1.2.0 1.1.0", Address(("artifact", "sudoku/1.2.0", "1.1.0"))),
    ("logs web sudoku/3", Address(("logs", "puzzle.web", "puzzle.sudoku/3"))),
    ("logs web ~refused", Address(("logs", "puzzle.web"), "~refused")),
    ("overview / web", Address(("overview",), "web")),
]


@pytest.mark.parametrize(("line", "address"), LINES)
def test_a_line_is_an_address_and_back(line: str, address: Address) -> None:
    known = board()
    name, _, rest = line.partition(" ")
    assert read(name, rest, known) == address
    again = write(address, known)
    name, _, rest = again.partition(" ")
    assert read(name, rest, known) == address, again


def test_what_cannot_be_an_address_says_why() -> None:
    with pytest.raises(ValueError, match="quotation mark"):
        read("instances", "web 'x", board())
    with pytest.raises(ValueError, match="at most 400"):
        read("instances", "x" * 500, board())


async def test_the_first_address_opens_its_screen_with_its_filter() -> None:
    async with driven(address="instances web running") as d:
        await d.at("InstancesScreen")
        await d.sees("/running")
        await d.sees("2 of 2")
        await d.press("escape")
        await until(lambda: "/running" not in d.text())
        await d.press("escape")
        await d.at("OverviewScreen")


async def test_an_address_carries_out_no_verb() -> None:
    async with driven(address="restart web") as d:
        await d.sees("is a verb, not a screen")
        assert d.session.planned == [] and d.name == "OverviewScreen"


# memory


def kept(path: Path) -> Memory:
    memory = Memory(path)
    memory.open("puzzle-prod")
    return memory


def test_files_are_private_bounded_and_shared_by_two_cockpits(tmp_path: Path) -> None:
    one, two = kept(tmp_path), kept(tmp_path)
    one.remember("instances web")
    two.remember("hosts")
    assert kept(tmp_path).lines == ["instances web", "hosts"]
    for number in range(300):
        one.remember(f"instances x{number}")
    assert len(kept(tmp_path).lines) == 200
    files = list((tmp_path / "puzzle-prod").iterdir())
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "puzzle-prod").stat().st_mode) == 0o700


def test_a_broken_file_is_said_and_written_anew(tmp_path: Path) -> None:
    memory = kept(tmp_path)
    assert memory.bookmark("instances web") is True
    path = tmp_path / "puzzle-prod" / "bookmarks.json"
    for broken in (b"{nonsense", b'{"lines": 3}', b"[" + b"0," * (1 << 20)):
        path.write_bytes(broken)
        memory = kept(tmp_path)
        assert memory.bookmarks == []
        assert len(memory.complaints) == 1 and str(path) in memory.complaints[0]
    memory.bookmark("hosts")
    assert json.loads(path.read_bytes()) == {"lines": ["hosts"]}


def test_a_directory_that_cannot_be_made_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "puzzle-prod").write_text("a file")
    memory = Memory(tmp_path)
    memory.open("puzzle-prod")
    memory.complaints.clear()
    memory.remember("hosts")
    memory.remember("hosts")
    assert memory.lines == ["hosts"] and len([c for c in memory.complaints if "cannot be written" in c]) == 1


@pytest.mark.parametrize(("name", "file"), [("puzzle-prod", "puzzle-prod"), ("..", "%.."), ("a/b", "a%2fb")])
def test_names_of_clusters_stay_in_their_directory(name: str, file: str) -> None:
    assert file_name(name) == file


async def test_lines_come_back_in_the_next_run_but_not_those_that_meant_nothing(tmp_path: Path) -> None:
    async with driven(memory=Memory(tmp_path)) as d:
        await d.type(":hunter2")
        await d.press("enter")
        await d.sees("no screen and no verb")
        await d.type(":instances web")
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.press(":", "up", "up")
        await d.sees(":hunter2")
    assert b"hunter2" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*.json"))
    async with driven(memory=Memory(tmp_path)) as d:
        await until(lambda: d.app.memory.lines)
        await d.press(":", "up")
        await d.sees(":instances web")


async def test_bookmarks_are_kept_listed_and_gone_to(tmp_path: Path) -> None:
    async with driven(memory=Memory(tmp_path), address="instances web running") as d:
        await d.at("InstancesScreen")
        await d.sees("/running")
        await d.press("*")
        await d.sees("Kept: instances web running")
    async with driven(memory=Memory(tmp_path)) as d:
        await until(lambda: d.app.memory.bookmarks)
        await d.press('"')
        await d.at("PaletteScreen")
        await d.sees("instances web running")
        await d.press("enter")
        await d.at("InstancesScreen")
        await d.sees("/running")
        await d.press("*")
        await d.sees("Not kept any longer")
        await d.press('"')
        await d.sees("Nothing is kept yet")


async def test_a_run_begins_where_the_last_one_ended(tmp_path: Path) -> None:
    async with driven(memory=Memory(tmp_path), address="instances") as d:
        await d.at("InstancesScreen")
        await d.press("down", "down", "o", "o", "down")
        grid = d.app.screen.grid  # type: ignore[attr-defined]
        before = (grid.key, grid.sort_by)
        await d.press("ctrl+t", "h")
        await d.at("HostsScreen")
        await d.press("1")
        await d.at("InstancesScreen")
        d.app.leave()
    async with driven(memory=Memory(tmp_path), address="") as d:
        await d.at("InstancesScreen")
        grid = d.app.screen.grid  # type: ignore[attr-defined]
        await until(lambda: (grid.key, grid.sort_by) == before, "the row and the order of before")
        assert d.app.stack_of(d.app.tabs.order[1]) == [], "a tab that was not looked at is not made"
        await d.press("2")
        await d.at("HostsScreen")
        await d.press("escape")
        await d.at("OverviewScreen")
    async with driven(memory=Memory(tmp_path), address="naming") as d:
        await d.at("NamingScreen")
        assert len(d.app.tabs.order) == 1


async def test_a_layout_that_fits_nothing_any_more_leaves_the_overview(tmp_path: Path) -> None:
    memory = kept(tmp_path)
    memory.keep(Layout((Tab((Spot(address="overview"), Spot(address="nonsense x"), Spot(address="hosts"))),), 7))
    async with driven(memory=Memory(tmp_path), address="") as d:
        await until(lambda: d.app._begun)
        assert d.name == "OverviewScreen"
        await to(d, "puzzle.web")


async def test_a_broken_layout_is_said_on_the_screen_and_ignored(tmp_path: Path) -> None:
    path = tmp_path / "puzzle-prod" / "layout.json"
    path.parent.mkdir(parents=True)
    path.write_text("{broken")
    async with driven(memory=Memory(tmp_path), address="") as d:
        await d.sees("cannot be used")
        await d.press("h")
        await d.at("HostsScreen")
        d.app._tick()
    assert json.loads(path.read_bytes())["tabs"][0]["stack"][1]["address"] == "hosts"


async def test_a_figure_of_marks_is_an_address_too() -> None:
    async with driven(address="instances drift") as d:
        await d.at("InstancesScreen")
        await d.sees("1 of 12")
        await d.type(":instances / web")
        await d.press("enter")
        await d.sees("/web")
        await d.sees("2 of 12")


async def test_the_filter_is_completed_while_an_address_is_typed() -> None:
    async with driven() as d:
        await d.type(":instances web ver")
        await d.sees("version=")
        await d.press("tab")
        await d.sees(":instances web version=")
        await d.press("tab")
        await d.type("1")
        await d.sees("version=1.1.0")
        await d.press("tab", "enter")
        await d.sees("/version=1.1.0")
