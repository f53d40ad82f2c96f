"""The graph screen: folding, narrowing, edges, heat, search, list, export, relays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit.model.graph import LARGEST, READABLE
from cockpit.model.view import NodeRow, RelayRow, Snapshot
from screens import heat
from screens.graph_save import form_of, wrong
from tests.screens.canned import CannedSession, snapshot
from tests.screens.drive import Driver, driven, until

TRAFFIC: dict[str, Any] = {
    "services": {
        "puzzle.web": {"latency": 0.6, "cpu": 0.1, "connections": 3}, "puzzle.sudoku": {"latency": 0.06, "cpu": 0.9},
    },
    "calls": [
        {"caller": "puzzle.sudoku", "callee": "puzzle.web", "declared": False, "connections": 2},
        {"caller": "puzzle.web", "callee": "puzzle.sudoku", "declared": True, "connections": 5},
    ],
    "outside": {"puzzle.batch": 1}, "watched": 6,
}  # fmt: skip


def large(count: int, teams: int = 9) -> Snapshot:
    nodes = {f"co.team{n % teams}.s{n}": n for n in range(count)}
    rows = {
        p: NodeRow(path=p, kind="service", want=2, have=2, depends=(f"co.team{(n + 1) % teams}.s{n + 1}",))
        for p, n in nodes.items()
    }
    rows |= {f"co.team{t}": NodeRow(path=f"co.team{t}", kind="group", want=2, have=2) for t in range(teams)}
    return msgspec.structs.replace(snapshot(), nodes={"co": NodeRow(path="co", kind="group"), **rows}, instances={})


def seen() -> CannedSession:
    session = CannedSession()
    session.answers["traffic"] = TRAFFIC
    return session


def graph(d: Driver) -> Any:
    screen: Any = d.app.screen
    return screen.graph


def words(d: Driver) -> str:
    """The screen without its line breaks and frames: names of directories have any length."""
    return " ".join(d.text().replace("│", " ").split())


async def test_calls_that_nobody_declared_are_marked() -> None:
    async with driven((100, 30), seen()) as d:
        await d.press("g")
        await d.sees("1 undeclared")
        await d.press("right", "right")
        await d.sees("sudoku  calls web")
        assert graph(d).drawing.turned == {("puzzle.sudoku", "puzzle.web")}
        await d.press(".")
        await d.sees("▲ undeclared: 2 connections seen, and sudoku does not say that it uses web")
        await d.press("e")
        await d.sees("sudoku → web   ▲ undeclared")


async def test_the_cursor_goes_along_edges() -> None:
    async with driven((100, 30)) as d:
        await d.press("g")
        await d.sees("batch  calls sudoku, web")
        await d.press(".")
        edge = graph(d).edge
        assert edge is not None and edge[0] == "puzzle.batch"
        await d.press("right")
        assert graph(d).chosen == edge[1] and graph(d).edge is None
        await d.press(",")
        last = graph(d).edge
        assert last[1] == edge[1]
        await d.press("left")
        assert graph(d).chosen == last[0]


async def test_what_a_node_reaches_stands_out_and_the_rest_steps_back() -> None:
    async with driven((100, 30)) as d:
        await d.press("g", "right")
        await d.sees("web  calls sudoku")
        widget = graph(d)
        assert widget.related == {"puzzle.batch", "puzzle.web", "puzzle.sudoku"}
        direct = {c for e in widget.own_edges() for c in widget.drawing.path(e)}
        assert {c for wire, style in widget._lit.items() if style == "picked" for c in wire.cells()} == direct
        mask = widget.drawing.mask
        for row in range(widget.count()):
            for column, (bits, style) in widget._lines(row, widget.drawing.width).items():
                assert bits & ~mask[row, column] == 0 and (style == "picked") == ((row, column) in direct)


async def test_large_graphs_are_folded_opened_and_never_drawn_whole() -> None:
    async with driven((100, 30), CannedSession(large(2000))) as d:
        await d.press("g")
        await d.sees("2000 services in 9 nodes, 9 groups folded")
        assert len(graph(d).labels) == 9
        await d.press("f")
        await d.sees("8 groups folded")
        opened = len(graph(d).labels)
        assert READABLE < opened <= LARGEST
        await d.press("f")
        await d.sees("9 groups folded")
        for _ in range(2):
            await d.press("f", "home", "left", "left", "left")
            screen: Any = d.app.screen
            closed = next(n.id for n in screen.model.nodes if n.kind == "group")
            graph(d).choose(closed)
        await d.press("f")
        await d.sees("stays folded")
        assert len(graph(d).labels) <= LARGEST


async def test_steps_around_a_node() -> None:
    async with driven((100, 30), CannedSession(large(300))) as d:
        await d.press(":", *"graph co.team4.s4", "enter")
        await d.sees("within 1 step of s4")
        assert graph(d).labels.keys() == {"co.team3.s3", "co.team4.s4", "co.team5.s5"}
        await d.press("+")
        await d.sees("within 2 steps")
        assert len(graph(d).labels) == 5
        await d.press("-", "-")
        await d.sees("9 groups folded")


@pytest.mark.parametrize("ascii", [False, True])
async def test_heat_says_glyph_word_and_what_is_not_known(ascii: bool) -> None:
    async with driven((160, 30), seen(), ascii=ascii) as d:
        await d.press("g")
        await d.sees("1 undeclared")
        await d.press("H")
        await d.sees("heat by drift")
        await d.press("H")
        await d.sees("heat by latency")
        await d.sees("hot 600 ms")
        await d.sees("warm 60 ms")
        text = d.text()
        assert "no data" in text
        signs = d.app.look.sign("heat")
        assert f"{signs[2]} web" in text and f"{signs[1]} sudoku" in text
        before = dict(graph(d).drawing.nodes)
        d.session.answers["traffic"] = {**TRAFFIC, "services": {"puzzle.web": {"latency": 12.5}}}
        screen: Any = d.app.screen
        screen.look_at_traffic()
        await d.sees("hot 12500 ms")
        assert graph(d).drawing.nodes == before
        await d.press("H")
        await d.sees("heat by load")
        await d.press("H")
        await until(lambda: "heat by" not in d.text())


@pytest.mark.parametrize(("kind", "value", "level"), [
    (heat.LATENCY, None, heat.UNKNOWN), (heat.LATENCY, 0.0, heat.COOL), (heat.LATENCY, 0.05, heat.WARM),
    (heat.LATENCY, 0.5, heat.HOT), (heat.LOAD, 0.49, heat.COOL), (heat.LOAD, 0.8, heat.HOT),
])  # fmt: skip
def test_levels(kind: str, value: float | None, level: str) -> None:
    assert heat.level_of(kind, value) == level


async def test_search_goes_from_one_to_the_next_and_into_folded_groups() -> None:
    async with driven((100, 30), CannedSession(large(300))) as d:
        await d.press("g", "/", *"s17")
        await d.sees("found   up and down")
        assert graph(d).found == {f"co.team{n % 9}" for n in (17, *range(170, 180))}
        first = graph(d).chosen
        assert first in graph(d).found
        await d.press("down")
        assert graph(d).chosen != first and graph(d).chosen in graph(d).found
        await d.press("enter", "escape")
        await until(lambda: not graph(d).found)
        assert d.name == "GraphScreen"


async def test_the_same_edges_as_a_list() -> None:
    async with driven((120, 30), seen()) as d:
        await d.press("g")
        await d.sees("1 undeclared")
        await d.press("tab")
        await d.sees("CALLER IS")
        await d.press("/", *"undeclared", "enter")
        await d.sees("sudoku  web     ▲ undeclared")
        await d.press("enter")
        await d.sees("SERVICE web")
        await d.press("escape", "tab")
        await until(lambda: graph(d).edge == ("puzzle.sudoku", "puzzle.web"))


async def test_export_to_a_new_file_and_to_the_clipboard(tmp_path: Path) -> None:
    target = tmp_path / "shop.json"
    async with driven((100, 30), seen()) as d:
        await d.press("g")
        await d.sees("1 undeclared")
        await d.press("x")
        await d.sees("Export 3 nodes")
        await d.type(str(target))
        await d.press("enter")
        await until(lambda: "graph as json" in words(d), "it is written")
        assert {n["label"] for n in json.loads(target.read_text())["nodes"]} == {"web", "sudoku", "batch"}
        await d.press("x", *str(target), "enter")
        await until(lambda: "is there already" in words(d), "it is not written again")
        await d.press("escape", "x", *"clipboard d", "down", "enter")
        await d.sees("clipboard as dot")
        assert d.app.clipboard.startswith("digraph")
        assert d.session.submitted == []


@pytest.mark.parametrize(("value", "form"), [
    ("clipboard dot", "dot"), ("clipboard evil", ""), ("a.mmd", "mermaid"), ("A.DOT", "dot"), ("x", ""), ("", ""),
])  # fmt: skip
def test_formats_of_targets(value: str, form: str) -> None:
    assert form_of(value) == form
    assert bool(wrong(value)) == (not form)


async def test_relays_and_regions() -> None:
    first = snapshot()
    relays = {
        "relay-sh": RelayRow(name="relay-sh", region="sh", address="", links=True, presence="up", agents=3,
                             path=("relay-sh",), latency=0.004),
    }  # fmt: skip
    hosts = {
        n: msgspec.structs.replace(h, path=("relay-sh",) if h.region == "sh" else (), transport="websocket")
        for n, h in first.hosts.items()
    }
    session = CannedSession(msgspec.structs.replace(first, relays=relays, hosts=hosts))
    async with driven((100, 30), session) as d:
        await d.press(":", *"graph relays", "enter")
        await d.sees("relay-sh  up, 3 agents, ping 4.0 ms")
        await d.press("right", "right")
        await d.sees("reached through relay-sh")
        await d.press("enter")
        await d.sees("HOSTS   /sh")


async def test_a_refresh_moves_nothing() -> None:
    async with driven((100, 30)) as d:
        await d.press("g", "right")
        before = dict(graph(d).drawing.nodes)
        row = msgspec.structs.replace(d.app.board.nodes["puzzle.sudoku"], have=0, mark="failed")
        d.session.push(nodes={"puzzle.sudoku": row})
        await d.sees("sudoku 0/4")
        assert graph(d).drawing.nodes == before and graph(d).chosen == "puzzle.web"
