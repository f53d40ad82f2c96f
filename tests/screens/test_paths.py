"""Columns of one's own, by a path into the rows and into what they lead to; the same path filters and sorts."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.model.problems import Wrong
from cockpit.model.topology import Host, Limits, Service
from cockpit.model.view import InstanceRow
from screens.board import Board
from screens.owncolumns import MOST, column_of, said
from screens.paths import complete, every_path, field_of, kinds_of
from screens.snapshot import take
from screens.views import FILE
from screens.widgets.columns import Column
from screens.widgets.grid import Grid
from tests.screens.canned import NOW, CannedSession
from tests.screens.drive import LARGE, Driver, driven, until
from tests.screens.puzzle import snapshot

CLUSTER = "puzzle-prod"
GIB = 2**30


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "cockpit-screens"


def racked() -> CannedSession:
    """The puzzle, with a label of each host, and what is expected in full."""
    first = snapshot()
    hosts = {
        name: msgspec.structs.replace(row, labels={"rack": f"r{number}", "k8s.io/zone": row.region})
        for number, (name, row) in enumerate(first.hosts.items(), 8)
    }
    session = CannedSession(msgspec.structs.replace(first, hosts=hosts))
    services = {
        path: Service(processes={"main": ("x",)}, limits=Limits(memory=GIB if path == "puzzle.web" else None))
        for path, row in first.nodes.items() if row.kind == "service"
    }
    session.answers["export"] = msgspec.to_builtins({
        "name": "puzzle", "services": services, "hosts": {"sh-1": Host(region="sh", address="10.0.0.1")},
    })
    return session


def board_of(session: CannedSession) -> Board:
    board = Board(lambda: NOW)
    board.load(session.data)
    return board


def grid_of(d: Driver) -> Grid[Any]:
    return next(p for p in d.app.screen.panes if isinstance(p, Grid))  # type: ignore[attr-defined]


async def at_instances(d: Driver) -> Grid[Any]:
    await d.press("i")
    await d.at("InstancesScreen")
    await until(lambda: grid_of(d).order, "rows")
    return grid_of(d)


async def line(d: Driver, text: str) -> None:
    await d.press("colon")
    await d.type(text)
    await d.press("enter")


def ids(grid: Grid[Any]) -> list[str]:
    return [c.id for c in grid.columns]


@pytest.mark.parametrize(
    ("path", "kind", "value"),
    [
        ("restarts", "number", 0), ("host.region", "text", "sh"), ("host.labels.rack", "text", "r8"),
        ("host.labels.k8s.io/zone", "text", "sh"), ("host.labels.none", "text", None), ("host.seen", "moment", ...),
        ("host.latency", "span", ...), ("runs.0.version", "version", ...), ("runs.99.pid", "number", None),
        ("ports.main", "number", 20011), ("ports", "auto", "main=20011"), ("service.want", "number", 2),
        ("expected.limits.memory", "size", GIB), ("host.relay.name", "text", None),
        ("expected.check.interval", "span", None), ("host.releases", "many", ...), ("expected.env", "auto", ""),
    ],
)  # fmt: skip
def test_where_a_path_leads(path: str, kind: Any, value: Any) -> None:
    board = board_of(racked())
    board.expected.services = {"puzzle.web": Service(processes={"main": ("x",)}, limits=Limits(memory=GIB))}
    field = field_of(path, (InstanceRow,), board)
    found = field.get(board.instances["puzzle.web/0"])
    assert kind in (..., field.kind)
    assert value is ... or found == value
    assert field.name == path


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("memory", "expected.limits.memory"), ("host.regoin", "host.region"), ("restarts.x", "restarts"),
        ("hots.labels.rack", "host.labels.rack"), ("expected.limts.memory", "expected.limits.memory"),
        ("runs.version", "runs.0.version"),
        ("expected.limits", "expected.limits.open_files"), ("labels", "host.labels"), ("xyzzy", ""), ("a..b", ""),
        ("." * 9, ""), ("host." * 9 + "name", ""), ("x" * 200, ""),
    ],
)  # fmt: skip
def test_a_wrong_path_names_the_nearest_right_one(path: str, nearest: str) -> None:
    board = board_of(racked())
    with pytest.raises(Wrong) as wrong:
        field_of(path, (InstanceRow,), board)
    assert wrong.value.hint == nearest
    if nearest and nearest != "expected.limits":
        field_of(nearest, (InstanceRow,), board)
    assert not board.expected.wanted or "expected" in nearest


def test_every_path_that_is_offered_leads_somewhere() -> None:
    board = board_of(racked())
    tables = (board.instances, board.nodes, board.hosts, board.actions, board.endpoints)
    rows: list[Any] = [row for table in tables for row in table.values()]
    views = ("instances", "overview", "hosts", "actions", "naming", "alerts", "journal", "revisions", "regions")
    for kinds in (kinds_of(view, {}) for view in views):
        every = every_path(kinds, board, rows)
        assert len(every) > 5
        for path in every:
            field = field_of(path, kinds, board)
            column = column_of(field, [], board)
            for row in rows:
                if type(row) in kinds:
                    text, _ = column.cell(row)
                    assert isinstance(text, str)
            sorted((r for r in rows if type(r) in kinds), key=column.sort)


def test_completion_goes_one_part_further() -> None:
    board = board_of(racked())
    rows = list(board.instances.values())
    assert complete("ho", (InstanceRow,), board, rows)[:2] == ["host", "host."]
    assert "host.labels.rack" in complete("host.l", (InstanceRow,), board, rows)
    assert complete("expected.li", (InstanceRow,), board, rows) == ["expected.limits."]
    assert complete("expected.limits.m", (InstanceRow,), board, rows) == ["expected.limits.memory"]
    assert complete("nothing.", (InstanceRow,), board, rows) == []


def test_values_are_said_by_their_kind() -> None:
    board = board_of(racked())

    def text(path: str, value: Any) -> str:
        return said(field_of(path, (InstanceRow,), board), value, NOW)

    assert text("host.latency", 0.0123) == "12.3ms"
    assert text("host.seen", NOW - 120) == "2m"
    assert text("expected.limits.memory", GIB).startswith("1.0 G")
    assert text("expected.limits.core", -1) == "unlimited"
    assert text("expected.check.interval", 0.5) == "0.5s"
    assert text("expected.limits.memory", None) == ""
    assert text("expected.check.notify", True) == "yes"


async def test_a_column_by_a_path_is_shown_sorted_filtered_kept_saved_and_taken_away(
    home: Path, tmp_path: Path
) -> None:
    async with driven(LARGE, racked()) as d:
        grid = await at_instances(d)
        usual = ids(grid)
        await line(d, "columns +host.labels.rack +labels.rack")
        await d.sees("RACK")
        await d.sees("also next time")
        assert ids(grid) == [*usual, "host.labels.rack", "labels.rack"]
        assert dict(zip(ids(grid), grid.texts("puzzle.web/0"), strict=True))["host.labels.rack"][0] == "r8"
        assert json.loads((home / CLUSTER / FILE).read_text())["columns"]["instances"] == ids(grid)
        grid.order_by("host.labels.rack")
        racks = [grid.texts(k)[-1][0] for k in grid.order]
        assert racks == sorted(racks, key=lambda r: int(r[1:])) and len(set(racks)) > 3, "r8 before r10"
        grid.order_by("")
        grid.filter("host.labels.rack=r8")
        some = list(grid.order)
        grid.filter("labels.rack=r8")
        assert grid.order == some == [k for k, r in grid.rows.items() if r.host == "sh-1"] != []
        grid.filter("host.labels.k8s.io/zone=bj")
        assert {grid.rows[k].host[:2] for k in grid.order} == {"bj"}
        grid.filter("")
        await line(d, f"save {tmp_path / 'out.csv'}")
        await d.sees("out.csv holds")
        made = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
        assert {r["host.labels.rack"] for r in made} == set(racks)
        await d.press("escape")
        grid = await at_instances(d)
        assert ids(grid)[-2:] == ["host.labels.rack", "labels.rack"], "a new list has them too"
        await line(d, "columns -labels.rack -pid")
        assert "labels.rack" not in ids(grid) and "pid" not in ids(grid) and "host.labels.rack" in ids(grid)
        await line(d, "columns usual")
        await d.sees("The usual columns")
        assert ids(grid) == usual and not grid.own and len(grid.every) == len({c.id for c in grid.every})
        assert json.loads((home / CLUSTER / FILE).read_text())["columns"] == {}


async def test_what_is_expected_is_asked_for_once_and_only_by_who_looks() -> None:
    session = racked()
    async with driven(LARGE, session) as d:
        grid = await at_instances(d)
        assert [op for op, _ in session.called if op == "export"] == []
        await line(d, "columns +expected.limits.memory")
        await until(lambda: "1.0 G" in grid.texts("puzzle.web/0")[-1][0], "the limit")
        assert grid.texts("puzzle.sudoku/3")[-1][0] == ""
        grid.filter("expected.limits.memory>=1G")
        assert {grid.rows[k].service for k in grid.order} == {"puzzle.web"}
        assert [op for op, _ in session.called if op == "export"] == ["export"]
        session.answers["export"]["services"]["puzzle.sudoku"]["limits"] = {"memory": 2 * GIB}
        d.session.data = msgspec.structs.replace(
            session.data, head=msgspec.structs.replace(session.data.head, revision=session.data.head.revision + 1)
        )
        d.session.push()
        await until(lambda: {grid.rows[k].service for k in grid.order} == {"puzzle.web", "puzzle.sudoku"}, "revision")
        assert [op for op, _ in session.called if op == "export"] == ["export", "export"]


async def test_slips_of_the_columns_line_are_said() -> None:
    async with driven(LARGE, racked()) as d:
        grid = await at_instances(d)
        usual = ids(grid)
        for text, words in (
            ("+host.regoin", "the nearest is host.region"), ("+limits", "the nearest is expected.limits"),
            ("host.region", "is no column to add"), ("-host.regoin", "no column"), ("-name", "always stays"),
            ("+", "is no column to add"),
        ):  # fmt: skip
            await line(d, f"columns {text}")
            await d.sees(words)
            assert ids(grid) == usual
        await line(d, "columns +host.labels.rak")
        await d.sees("the nearest that is there is host.labels.rack")
        assert "host.labels.rak" in ids(grid), "somebody may label a host tomorrow"
        grid.filter("host.labls.rack=r8")
        assert "did you mean" in grid.wrong and "host.labels.rack" in grid.wrong
        await line(d, "columns " + " ".join(f"+host.labels.x{n}" for n in range(MOST)))
        await d.sees(f"at most {MOST} columns")
        await d.press("colon")
        await d.type("columns +host.lab")
        await d.sees("+host.labels.rack")
        await d.press("escape")
        assert grid.own == {"host.labels.rak"}, "a line that is refused leaves nothing behind"


async def test_a_path_is_added_in_the_dialog_of_columns(home: Path) -> None:
    async with driven((80, 24), racked()) as d:
        grid = await at_instances(d)
        await d.press("C", "a")
        await d.sees("a column for instances")
        await d.type("host.regoin")
        await d.press("enter")
        await d.sees("the nearest is host.region")
        await d.press("ctrl+u")
        await d.type("labels.rack")
        await d.sees("host.labels.rack")
        await d.press("enter")
        await d.sees("[x] RACK labels.rack")
        await d.press("enter")
        await d.at("InstancesScreen")
        assert ids(grid)[-1] == "labels.rack"
        await d.sees("RACK")
        await d.press("C", *["down"] * (len(grid.columns) - 2), "space", "enter")
        await d.at("InstancesScreen")
        assert "labels.rack" not in {c.id for c in grid.every}, "off is gone"
        await d.press("C", "a", *"host.region", "enter", "escape")
        await d.at("InstancesScreen")
        assert "host.region" not in {c.id for c in grid.every}


@pytest.mark.parametrize("place", [
    "overview", "hosts", "relays", "actions", "naming", "artifacts", "revisions", "life", "journal",
    "alerts", "approvals", "advice",
])  # fmt: skip
async def test_every_list_takes_a_path(place: str, home: Path) -> None:
    (home / CLUSTER).mkdir(parents=True)
    async with driven(LARGE, racked()) as d:
        if place != "overview":
            await line(d, place)
        grid = grid_of(d)
        assert grid.schema.path is not None
        kinds = kinds_of(place, {})
        path = next(p for p in every_path(kinds, d.app.board, grid.rows.values()) if p not in ids(grid))
        await line(d, f"columns +{path}")
        assert path in ids(grid)


async def test_snapshots_show_it_and_a_filter_asks_it(home: Path) -> None:
    (home / CLUSTER).mkdir(parents=True)
    (home / CLUSTER / FILE).write_text(json.dumps(
        {"columns": {"instances": ["name", "state", "host.labels.rack", "expected.limits.memory", "gone.path"]}}
    ))
    taken = await take(racked(), "instances expected.limits.memory=1G", format="json")
    data = json.loads(taken.text)
    rows = data["lists"][0]["rows"] if "lists" in data else data["rows"]
    assert "host.labels.rack" in taken.text and "1.0 G" in taken.text and "gone.path" not in taken.text
    assert len(rows) == 2


def test_titles_say_what_they_are_of() -> None:
    board = board_of(racked())

    def title(path: str, *others: str) -> str:
        every = [Column(t.lower(), t, lambda r: ("", "text")) for t in others]
        return column_of(field_of(path, (InstanceRow,), board), every, board).title

    assert title("expected.limits.cpu") == "LIMITS.CPU", "no use of processors"
    assert title("host.labels.k8s.io/zone") == "K8S.IO/ZONE"
    assert title("host.path.0") == "PATH.0"
    assert title("host.since") == "SINCE" and title("host.since", "SINCE") == "HOST.SINCE"
