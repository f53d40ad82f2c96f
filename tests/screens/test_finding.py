"""Finding, as an operator does it: typed filters, sticky, only trouble, only marked, columns, marks on changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from screens.views import FILE, Views
from screens.widgets.grid import MANY, Grid, GridState
from tests.screens.canned import NOW, CannedSession
from tests.screens.drive import LARGE, Driver, driven, until
from tests.screens.puzzle import snapshot
from tests.screens.test_grid import Counting, Row, painted, rows, shown

CLUSTER = "puzzle-prod"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "cockpit-screens"


def grid_of(d: Driver) -> Grid[Any]:
    screen: Any = d.app.screen
    return screen.grid  # type: ignore[no-any-return]


async def at_instances(d: Driver) -> Grid[Any]:
    await d.press("i")
    await d.at("InstancesScreen")
    await until(lambda: grid_of(d).order, "rows")
    return grid_of(d)


async def test_a_typed_filter_and_what_is_wrong_with_one() -> None:
    async with driven(LARGE) as d:
        grid = await at_instances(d)
        every = len(grid.order)
        await d.press("slash")
        await d.sees("label.NAME")
        await d.type("region=bj drift")
        assert [k for k in grid.order] == ["puzzle.sudoku/3"]
        await d.press("ctrl+u")
        await d.type("region=bj reigon=x")
        await d.sees('no field "reigon" here; did you mean "region"?')
        assert grid.sieve.text == "region=bj", "what stood before it stays"
        grid.filter("region=bj /s[/")
        assert grid.sieve.text == "region=bj" and "at character" in grid.wrong
        grid.filter("web !reigon=x")
        assert grid.sieve.text == "region=bj", "another filter altogether stays"
        grid.filter("region=bj reigon=x")
        await d.press("enter")
        await d.sees("The filter is still region=bj")
        await d.press("escape")
        assert len(grid.order) == every and d.name == "InstancesScreen"


async def test_a_sticky_filter_holds_on_every_list_that_knows_its_fields() -> None:
    async with driven(LARGE) as d:
        grid = await at_instances(d)
        await d.press("F")
        await d.sees("There is no filter to keep")
        await d.press("slash", *"region=bj", "enter", "F")
        await d.sees("F/region=bj")
        assert grid.sieve.text == "" and d.app.sticky == "region=bj"
        some = list(grid.order)
        assert 0 < len(some) < len(grid.rows)
        await d.press("h")
        await d.at("HostsScreen")
        await until(lambda: grid_of(d).order)
        assert {k[:2] for k in grid_of(d).order} == {"bj"}
        await d.press("a")
        await d.at("ActionsScreen")
        await d.sees("does not hold here")
        assert len(grid_of(d).order) == len(grid_of(d).rows)
        await d.press("F")
        await d.sees("region=bj holds no longer")
        await d.press("escape", "escape")
        await d.at("InstancesScreen")
        assert len(grid.order) == len(grid.rows)


async def test_only_trouble_and_only_marked_and_the_way_out_of_them() -> None:
    async with driven(LARGE) as d:
        grid = await at_instances(d)
        every = list(grid.order)
        await d.press("z")
        await d.sees("No row is marked")
        await d.press("space", "space", "z")
        assert grid.order == every[:2]
        await d.sees("only marked")
        await d.press("z")
        assert grid.order == every
        await d.press("z", "escape")
        assert grid.order == every and not grid.marked, "without marks there is nothing to show only"
        await d.press("!")
        assert grid.order == [k for k in every if grid.rows[k].mark in ("drift", "failed", "unknown")] != []
        await d.press("escape")
        assert grid.order == every and d.name == "InstancesScreen"
        await d.press("v", "!")
        await d.sees("Nothing here is ever in trouble")


async def test_rows_come_into_and_out_of_a_filter_when_the_operator_moves() -> None:
    async with driven(LARGE) as d:
        grid = await at_instances(d)
        await d.press("!", "home")
        before = list(grid.order)
        well = next(k for k in grid.rows if grid.rows[k].mark == "ok" and k != before[0])
        worse = msgspec.structs.replace(grid.rows[well], mark="failed", word="failed")
        better = msgspec.structs.replace(grid.rows[before[0]], mark="ok", word="running")
        d.session.push(instances={well: worse, before[0]: better})
        await until(lambda: well in grid.waiting)
        assert grid.order == before, "nothing moves under the cursor"
        await d.sees("1 new")
        await d.press("down")
        assert well in grid.order and before[0] not in grid.order


async def test_columns_are_chosen_saved_and_reset(home: Path) -> None:
    async with driven(LARGE) as d:
        grid = await at_instances(d)
        usual = [c.id for c in grid.columns]
        assert "address" not in usual and "REGION" not in d.text()
        await d.press("C")
        await d.sees("columns of instances")
        await d.press("space")
        assert "state" not in [c.id for c in grid.columns], "the list behind follows at once"
        await d.press("escape")
        await d.at("InstancesScreen")
        assert [c.id for c in grid.columns] == usual
        await d.press("C", "3")
        assert {"address", "region", "labels"} <= {c.id for c in grid.columns}
        await d.press("1", "right", "enter")
        await d.at("InstancesScreen")
        await d.sees("also next time")
        mine = [c.id for c in grid.columns]
        assert mine[:3] == ["name", "host", "state"] and len(mine) < len(usual)
        assert json.loads((home / CLUSTER / FILE).read_text()) == {"columns": {"instances": mine}}
        await d.press("escape")
        grid = await at_instances(d)
        assert [c.id for c in grid.columns] == mine, "a new list has them too"
        await d.press("C", "r", "enter")
        await d.sees("The usual columns")
        assert [c.id for c in grid.columns] == usual
        assert json.loads((home / CLUSTER / FILE).read_text()) == {"columns": {}}


async def test_the_dialog_of_columns_fits_a_small_terminal_and_ascii() -> None:
    async with driven((80, 24), ascii=True) as d:
        await at_instances(d)
        await d.press("C", *["down"] * 30)
        await d.sees("> [ ]")
        lines = d.text().splitlines()
        assert len(lines) <= 24 and all(line.isascii() for line in lines)
        assert "LABELS" in d.text() and "keep" in d.text()


def test_a_broken_file_of_columns_is_none(home: Path) -> None:
    (home / CLUSTER).mkdir(parents=True)
    path = home / CLUSTER / FILE
    views = Views(CLUSTER)
    for bad in ("", "[]", "{", '{"columns": 3}', '{"columns": {"hosts": []}}', '{"columns": {"hosts": [1]}}', "\xff"):
        path.write_bytes(bad.encode("latin-1"))
        assert views.columns("hosts") is None
    assert views.keep("hosts", ["name", "have"]) == "" and views.columns("hosts") == ["name", "have"]
    assert [p.name for p in path.parent.iterdir()] == [FILE]
    path.unlink()
    path.mkdir()
    assert "cannot be written" in views.keep("hosts", ["name"])
    assert [p.name for p in path.parent.iterdir()] == [FILE]
    assert "until you leave" in Views("").keep("hosts", ["name"])
    before = set(path.parent.parent.parent.rglob("*"))
    for name in ("..", "a/b", ".hidden"):
        assert Views(name).columns("hosts") is None
        assert Views(name).keep("hosts", ["name"]) == "" and Views(name).columns("hosts") == ["name"]
    made = set(path.parent.parent.parent.rglob("*")) - before
    assert {m.parent for m in made if m.is_dir()} == {path.parent.parent}


@pytest.mark.parametrize("ascii", [False, True])
async def test_a_cell_that_changed_is_marked_for_a_while(ascii: bool) -> None:
    async with driven(LARGE, ascii=ascii) as d:
        grid = await at_instances(d)
        now = [0.0]
        grid.clock = lambda: now[0]
        look = d.app.look
        key = grid.order[2]
        row = grid.rows[key]
        index = grid.order.index(key) + 1
        d.session.push(instances={key: msgspec.structs.replace(row, restarts=row.restarts + 3, version_actual="9.9")})
        await d.sees(look.sign("changed") + "9.9")
        line = grid.render_line(index).text
        assert look.sign("up") + str(row.restarts + 3) in line
        now[0] = 11.0
        grid.tick()
        await painted(grid, d.pilot)  # type: ignore[arg-type]
        line = grid.render_line(index).text
        assert look.sign("changed") not in line and look.sign("up") not in line and "9.9" in line


async def test_a_state_is_kept_and_restored_even_before_there_are_rows() -> None:
    grid = Counting()
    async with shown(grid):
        grid.use(True)
        grid.load(rows(200))
        grid.filter("h3")
        grid.sort_by, grid.descending = "count", True
        grid._arrange()
        grid.go(12)
        grid.mark()
        grid.only(needy=False)
        state = grid.state()
        assert state.filter == "h3" and state.key == grid.key and len(state.marked) == 1
        order, top = list(grid.order), grid.top
    other = Counting()
    async with shown(other):
        other.use(True)
        other.restore(state)
        assert not other.order
        other.load(rows(200))
        assert other.state() == state and other.order == order and other.top == top
        other.restore(GridState())
        assert len(other.order) == 200 and other.cursor == other.order.index(state.key or "")


async def test_many_rows_are_looked_through_in_slices_while_keys_and_changes_come() -> None:
    grid = Counting()
    data = rows(MANY * 2)
    async with shown(grid) as pilot:
        grid.use(True)
        grid.load(data)
        grid.filter("~r7")
        assert grid.busy and len(grid.order) == len(data)
        grid.move("down")
        assert grid.cursor == 1, "a key does not wait"
        grid.update({"r000003": Row("r000007x", "h1", 1), "r000007": None, "zr7": Row("zr7", "h", 1)})
        await until(lambda: not grid.busy)
        now = {**data, "r000003": Row("r000007x", "h1", 1), "zr7": Row("zr7", "h", 1)}
        grid.move("home")
        names = {k: f"{r.name} {r.host}" for k, r in now.items() if k != "r000007"}
        want = [k for k, text in names.items() if "7" in text[text.index("r") + 1:]]
        assert grid.order == want
        grid.filter("~r71")
        grid.filter("~r72")
        assert grid.busy
        await until(lambda: not grid.busy)
        assert grid.sieve.text == "~r72" and grid.order == grid.arranged()
        grid.filter("/9$/")
        grid.load(rows(10))
        assert not grid.busy and grid.order == []
        await pilot.pause()


@pytest.mark.parametrize("words,keys", [
    ("web", ["puzzle.web/0", "puzzle.web/1"]), ("web host=bj-2", ["puzzle.web/1"]),
    ("host=bj-2 !drift", ["puzzle.batch/4", "puzzle.web/1"]), ("drift", ["puzzle.sudoku/3"]),
])  # fmt: skip
async def test_a_list_opens_with_its_filter(words: str, keys: list[str]) -> None:
    async with driven(LARGE) as d:
        await d.press("colon", *f"instances {words}", "enter")
        await d.at("InstancesScreen")
        await until(lambda: grid_of(d).order)
        assert grid_of(d).order == keys
        await d.press("escape")
        await d.press("colon", *"instances web nope=1", "enter")
        await d.sees("does not hold")


async def test_what_overview_knows() -> None:
    session = CannedSession(msgspec.structs.replace(snapshot(), notices=()))
    async with driven(LARGE, session) as d:
        screen: Any = d.app.screen
        await d.press("slash", *"service=sudoku restarts>0", "enter")
        assert [k for k in screen.tree_list.order if "/" in k] == ["puzzle.sudoku/3"]
        assert screen.tree_list.schema.now() == pytest.approx(NOW)


async def test_what_changed_while_a_list_was_covered_is_there_on_return() -> None:
    async with driven(LARGE) as d:
        grid = await at_instances(d)
        key = grid.order[0]
        await d.press("h")
        await d.at("HostsScreen")
        d.session.push(instances={key: msgspec.structs.replace(grid.rows[key], word="elsewhere")})
        await until(lambda: d.app.board.instances[key].word == "elsewhere")
        await d.press("escape")
        await d.at("InstancesScreen")
        await d.sees("elsewhere")
