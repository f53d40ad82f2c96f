"""Long work in slices gives what it gives in one piece, lets keys pass, and takes over what changes meanwhile."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cockpit.model.view import Delta, EndpointRow, InstanceRow, Snapshot
from screens import matrix, naming, overview, slices, table
from screens.board import TABLES, Board
from screens.board import Changed as Touched
from screens.cells import Cells
from screens.naming_rows import Books
from screens.overview import tree_children
from screens.slices import CHUNK, at_once, in_slices, sorting
from screens.widgets import grid as grids
from screens.widgets.columns import Column
from screens.widgets.grid import MANY
from screens.widgets.tree import Tree, shaped
from tests.screens import puzzle
from tests.screens.canned import CannedSession
from tests.screens.drive import Driver, driven, until
from tests.screens.test_grid import Counting, Row, rows, shown

VALUES = st.lists(st.one_of(st.integers(0, 5), st.integers()), max_size=60)


@given(VALUES, st.sampled_from([1, 7, 40]), st.booleans())
def test_sorted_in_steps_is_sorted(values: list[int], times: int, descending: bool) -> None:
    known = dict(enumerate(values * times))
    keys = list(known)
    found = at_once(sorting(keys, known.__getitem__, descending))
    assert found == sorted(keys, key=known.__getitem__, reverse=descending), "equal ones keep their order"


def test_sorting_says_how_far_it_is_and_asks_each_value_once() -> None:
    asked: list[int] = []

    def value(n: int) -> int:
        asked.append(n)
        return n * 7919 % 1000

    keys = list(range(20 * CHUNK))
    done = list(sorting(keys, value))
    assert len(done) > 40 and done == sorted(done) and done[-1] <= 1.0
    assert asked == keys


async def test_others_have_their_turn_between_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE", 0.0)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def steps() -> slices.Steps[str]:
        for n in range(5):
            assert not gc.isenabled()
            yield n / 5
        return "done"

    task = asyncio.create_task(others())
    try:
        assert await in_slices(steps()) == "done"
    finally:
        task.cancel()
    assert turns >= 5 and gc.isenabled()


# the board

ROWS = puzzle.rows()
IDS = sorted(ROWS)
CHANGE = st.dictionaries(st.sampled_from(IDS), st.sampled_from([None, "ok", "drift"]), max_size=4)


def board_of(instances: dict[str, InstanceRow]) -> Board:
    board = Board(lambda: 0.0)
    board.load(msgspec.structs.replace(puzzle.snapshot(), instances=instances))
    return board


def changed(ids: dict[str, str | None]) -> Delta:
    new = {id: None if mark is None else msgspec.structs.replace(ROWS[id], mark=mark) for id, mark in ids.items()}
    return Delta(head=puzzle.snapshot().head, instances=new)


@given(st.lists(CHANGE, max_size=12), st.integers(0, 12), st.integers(3, 60))
def test_who_comes_back_is_told_what_it_missed(changes: list[dict[str, Any]], at: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("screens.board.REMEMBERED", most)
        board = board_of(ROWS)
        seen, version, touched = dict(board.instances), board.version, set[str]()
        for number, ids in enumerate(changes):
            if number == at:
                seen, version, touched = dict(board.instances), board.version, set()
            board.apply(changed(ids))
            touched |= ids.keys()
        missed = board.since(version)
        assert missed.whole or missed.instances == touched
        assert not missed.whole or sum(map(len, changes)) + len(changes) > most, "a few are always known"
        for key in missed.instances:
            row = board.instances.get(key)
            seen = {k: r for k, r in seen.items() if k != key} | ({} if row is None else {key: row})
        assert missed.whole or seen == board.instances
        assert board.since(board.version) == Touched()
        assert board.since(board.version + 1).whole
        board.forget()
        assert not changes or board.since(version).whole or version == board.version


@given(st.lists(CHANGE, max_size=10))
def test_what_is_known_of_the_tree_follows_who_comes_and_goes(changes: list[dict[str, Any]]) -> None:
    board = board_of({})
    board.short("x")
    for ids in changes:
        board.apply(changed(ids))
        board.in_order()
        board.short_instances()
    fresh = board_of(dict(board.instances))
    for path in ("", *board.nodes):
        assert board.slots(path) == fresh.slots(path) and board.under(path) == fresh.under(path)
    assert list(board.in_order().items()) == [(k, board.instances[k]) for k in board.under("")]
    assert board.short_instances() == [board.short(k) for k in board.instances]


def test_a_delta_in_steps_is_the_delta() -> None:
    first = puzzle.snapshot()
    many: dict[str, InstanceRow | None] = {
        f"puzzle.web/{n}": msgspec.structs.replace(ROWS["puzzle.web/0"], slot=n) for n in range(3 * CHUNK)
    }
    one, other = board_of({}), board_of({})
    delta = Delta(head=first.head, instances=many)
    told = one.apply(delta)
    steps = other.applying(delta)
    assert len([next(steps) for _ in range(3)]) == 3 and other.version == one.version - 1
    assert at_once(steps) == told
    assert all(getattr(one, t) == getattr(other, t) for t in TABLES)


# lists

async def test_a_long_list_is_sorted_while_keys_and_changes_come() -> None:
    grid = Counting()
    data = rows(2 * MANY)
    async with shown(grid) as pilot:
        grid.use(True)
        grid.load(data)
        grid.order_by("count")
        assert grid.busy and grid.order == list(data) and grid.state_words()[0][0].startswith("looking")
        grid.move("down")
        assert [grid.cursor] == [1], "a key does not wait"
        new = {"r000003": Row("r000003", "h1", 5000), "r000007": None, "zr": Row("zr", "h", -1)}
        grid.update(new)
        await until(lambda: not grid.busy)
        grid.move("home")
        now = {k: r for k, r in {**data, **new}.items() if r is not None}
        assert grid.order == sorted(now, key=lambda k: now[k].count) == grid.arranged()
        grid.order_by("count", True)
        grid.order_by("")
        assert not grid.busy and grid.order == list(now)
        await pilot.pause()


async def test_more_changes_than_can_be_mended_are_put_in_their_places_in_slices() -> None:
    grid = Counting()
    data = rows(2 * MANY)
    async with shown(grid):
        grid.use(True)
        grid.load(data)
        grid.order_by("count")
        await until(lambda: not grid.busy)
        new = {k: Row(k, "h1", n % 3) for n, k in enumerate(list(data)[:2000])}
        grid.update(new)
        grid.move("down")
        assert grid.busy and grid.cursor == 1
        gone = dict.fromkeys(list(data)[:1000])
        grid.update(gone)
        await until(lambda: not grid.busy)
        grid.move("home")
        await until(lambda: not grid.busy)
        now = {k: r for k, r in {**data, **new, **gone}.items() if r is not None}
        assert grid.rows == now
        assert grid.order == sorted(now, key=lambda k: now[k].count)


async def test_many_changes_at_once_widen_what_is_seen() -> None:
    grid = Counting()
    data = rows(3000)
    async with shown(grid, (60, 12)):
        grid.use(True)
        grid.load(data)
        grid.move("end")
        before = dict(grid._placed)
        grid.update({k: Row(k, "a-much-longer-host", 1) for k in list(data)[600:]})
        host = COLUMN(grid, "host")
        assert dict(grid._placed)[host] > before[host]
        assert "a-much-longer-host" in "".join(text for text, _ in grid.draw(grid.cursor, 60))


def COLUMN(grid: Any, id: str) -> Any:
    return next(c for c in grid.columns if c.id == id)


def test_the_marked_ones_in_order() -> None:
    grid = Counting()
    grid.put(rows(5))
    grid.took_over(grid.arranged())
    assert grid.picked() == ()
    grid.marked ^= {"r000003", "r000001", "not here"}
    assert grid.picked() == ("r000001", "r000003")
    grid.took_over(grid.order[::-1])
    assert grid.picked() == ("r000003", "r000001")
    grid.marked.clear()
    assert grid.picked() == ()


async def test_a_large_tree_is_sifted_in_slices() -> None:
    tree = Tree([Column("name", "NAME", lambda r: (r.name, "text"))], haystack=lambda r: r.name, title="T",
                key_of=lambda r: r.name, mark_of=lambda r: r.mark)  # fmt: skip
    leaves = [f"a.{'bc'[n % 2]}/{n}" for n in range(2 * MANY)]
    children = {"": ["a"], "a": ["a.b", "a.c"], "a.b": leaves[::2], "a.c": leaves[1::2]}
    flat = ["a", "a.b", *leaves[::2], "a.c", *leaves[1::2]]
    data = {k: Row(k, "h", 1) for k in ["a", "a.b", "a.c", *leaves]}
    assert shaped(children).flat == flat
    async with shown(tree):
        tree.use(True)
        tree.plant(data, children)
        assert tree.order == flat
        tree.filter("c/9")
        assert tree.busy
        tree.update({leaves[9]: Row("renamed", "h", 1)})
        await until(lambda: not tree.busy)
        assert tree.order == ["a", "a.c", *(k for k in leaves[1::2] if "c/9" in k and k != leaves[9])]
        before = tree.order
        tree.update({leaves[91]: Row(leaves[91], "other", 1), leaves[1]: Row(leaves[1], "other", 2)})
        tree.move("down")
        assert tree.order is before, "what passes is the same"
        tree.update({leaves[1]: Row("c/9", "other", 2), leaves[91]: Row("x", "h", 1)})
        tree.move("home")
        passing = [k for k in leaves[1::2] if ("c/9" in k or k == leaves[1]) and k not in (leaves[9], leaves[91])]
        assert tree.order == ["a", "a.c", *passing]


# whole screens, as large ones and as small ones do it

@pytest.fixture(params=["slices", "one piece"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (table, overview, naming, matrix, grids) if request.param == "slices" else ():
        monkeypatch.setattr(module, "MANY", 1)


def endpoint(instance: str, state: str = "ready", why: str = "") -> EndpointRow:
    return EndpointRow(service=instance.partition("/")[0], instance=instance, address="127.0.1.1", port=20000,
                       state=state, why=why, name="http", since=1000.0)  # fmt: skip


def session() -> CannedSession:
    first = puzzle.snapshot()
    return CannedSession(msgspec.structs.replace(first, endpoints={f"{i}:1|http": endpoint(i) for i in IDS[:6]}))


async def shows(d: Driver, name: str) -> Any:
    await d.at(name)
    return d.app.screen


@pytest.mark.usefixtures("large")
async def test_back_on_a_list_everything_that_changed_meanwhile_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = grids.Grid.load

    def noted(self: Any, rows: Any) -> None:
        read.append(self.id)
        load(self, rows)

    monkeypatch.setattr(grids.Grid, "load", noted)
    async with driven((120, 40), session()) as d:
        await d.press("i")
        lists = await shows(d, "InstancesScreen")
        await d.press("o", "o")
        await until(lambda: not lists.grid.busy)
        await d.press("h")
        await d.at("HostsScreen")
        read.clear()
        one, gone = IDS[0], IDS[1]
        d.session.push(instances={one: msgspec.structs.replace(ROWS[one], restarts=77, mark="drift"), gone: None})
        await until(lambda: gone not in d.app.board.instances)
        await d.press("escape")
        assert await shows(d, "InstancesScreen") is lists
        await until(lambda: not lists.grid.busy)
        assert lists.grid.rows == d.app.board.instances and lists.grid.order == lists.grid.arranged()
        assert "grid" not in read or getattr(table, "MANY") > 1  # noqa: B009
        await d.press("h")
        await d.at("HostsScreen")
        d.session.push(instances={gone: ROWS[gone]})
        await until(lambda: gone in d.app.board.instances)
        await d.press("escape", "escape")
        above: Any = await shows(d, "OverviewScreen")
        await until(lambda: not above.tree_list.busy)
        assert above.tree_list.rows == {**d.app.board.nodes, **d.app.board.instances}
        assert above.tree_list.order == shaped(tree_children(d.app.board)).flat


@pytest.mark.usefixtures("large")
async def test_back_from_the_past_every_list_shows_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    first = puzzle.snapshot()
    one = IDS[0]

    def state(now: float, restarts: int) -> Snapshot:
        row = msgspec.structs.replace(ROWS[one], restarts=restarts)
        return msgspec.structs.replace(first, instances={**ROWS, one: row})

    async with driven((120, 40), session()) as d:
        await d.press("i")
        lists = await shows(d, "InstancesScreen")
        board = d.app.board
        saved = dict(vars(board))
        board.load(state(1.0, 1))
        lists.board_changed(Touched(whole=True))
        board.apply(Delta(head=first.head, instances={one: msgspec.structs.replace(ROWS[one], restarts=2)}))
        lists.board_changed(Touched(instances=frozenset({one})))
        assert lists.grid.rows[one].restarts == 2
        later = board.version + 1
        vars(board).update(saved)
        board.version = later
        board.forget()
        lists.board_changed(Touched(whole=True))
        assert lists.grid.rows == board.instances == ROWS


@pytest.mark.usefixtures("large")
async def test_the_registry_is_read_and_followed() -> None:
    async with driven((120, 40), session()) as d:
        await d.press("n")
        names = await shows(d, "NamingScreen")
        await until(lambda: not names.reading and len(names.grid.order) == 6)
        keys = sorted(d.app.board.endpoints, key=lambda k: (k.partition("/")[0], k))
        assert names.grid.order == keys
        d.session.push(endpoints={keys[0]: endpoint(IDS[0], "gone", "flapping: 4"), keys[1]: None})
        await d.sees("1 damped")
        await d.press("h")
        await d.at("HostsScreen")
        d.session.push(endpoints={keys[0]: endpoint(IDS[0]), keys[2]: endpoint(IDS[2], "draining")})
        await until(lambda: d.app.board.endpoints[keys[2]].state == "draining")
        await d.press("escape")
        await until(lambda: not names.reading and names.grid.rows == d.app.board.endpoints)
        await d.press("h")
        await d.at("HostsScreen")
        d.session.push(endpoints={keys[1]: endpoint(IDS[1])})
        await until(lambda: keys[1] in d.app.board.endpoints)
        await d.press("escape")
        await until(lambda: not names.reading and names.grid.order == keys)
        books = Books()
        at_once(books.reading(d.app.board.endpoints))
        assert names.books.services() == books.services() == names.lists["services"].rows


@pytest.mark.usefixtures("large")
async def test_the_matrix_is_made_and_followed() -> None:
    async with driven((120, 40), session()) as d:
        await d.press("M")
        screen = await shows(d, "MatrixScreen")
        screen.reading, screen.matrix.rows = True, []
        screen.show_title()
        screen.show_cell()
        await d.sees("reading the instances")
        assert "as expected" not in d.text() and "nothing to show" not in d.text()
        screen._loaded, screen.reading = -1, False
        screen.sync(Touched(whole=True))
        await until(lambda: not screen.reading and screen.matrix.rows)
        await d.press("h")
        await d.at("HostsScreen")
        one, gone = IDS[0], IDS[-1]
        d.session.push(instances={one: msgspec.structs.replace(ROWS[one], mark="failed"), gone: None})
        await until(lambda: gone not in d.app.board.instances)
        await d.press("escape")
        await until(lambda: not screen.reading)
        board = d.app.board
        fresh = Cells({h: r.region for h, r in board.hosts.items()}, board.instances.values())
        for host in board.hosts:
            for service in fresh.services():
                assert screen.data.cell(host, service) == fresh.cell(host, service)


@given(st.lists(st.tuples(
    st.sampled_from(IDS[:5]), st.sampled_from(["ready", "gone", None]), st.sampled_from(["", "flapping: 2"]),
    st.integers(0, 9),
), max_size=30))  # fmt: skip
def test_books_kept_change_by_change(changes: list[tuple[str, str | None, str, int]]) -> None:
    kept = Books()
    now: dict[str, EndpointRow] = {}
    for instance, state, why, since in changes:
        row = None if state is None else msgspec.structs.replace(endpoint(instance, state, why), since=float(since))
        kept.put(instance, row)
        now = {k: r for k, r in {**now, instance: row}.items() if r is not None}
        if since % 2:
            kept.services()
    fresh = Books()
    order = at_once(fresh.reading(now))
    assert list(order) == sorted(now, key=lambda k: (now[k].service, now[k].instance, k))
    assert kept.services() == fresh.services() and len(kept) == len(now)
    assert kept.total("damped") == sum(1 for r in now.values() if r.why)
