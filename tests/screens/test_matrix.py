"""The host matrix: headers that stay, words for every cell, trouble first, doors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cockpit.model.view import HostRow, InstanceRow, NodeRow, Snapshot
from screens.cells import Cells
from tests.screens.canned import CannedSession, snapshot
from tests.screens.drive import Driver, driven, until


def large(hosts: int, services: int) -> Snapshot:
    names = {f"h-{n}": f"r{n % 4}" for n in range(hosts)}
    rows: dict[str, InstanceRow] = {}
    for n, host in enumerate(names):
        for k in range(5):
            service = f"co.s{(n * 5 + k) % services}"
            id = f"{service}/{n * 5 + k}"
            rows[id] = InstanceRow(
                id=id, service=service, slot=n * 5 + k, host=host, version_expected="1", version_actual="1",
                state="RUNNING", desired="RUNNING", health="ok", word="running", mark="ok" if n % 400 else "failed",
            )  # fmt: skip
    return msgspec.structs.replace(
        snapshot(), instances=rows, drift={},
        hosts={n: HostRow(name=n, region=r, presence="up", address="") for n, r in names.items()},
        nodes={f"co.s{k}": NodeRow(path=f"co.s{k}", kind="service", want=5, have=5) for k in range(services)},
    )  # fmt: skip


def matrix(d: Driver) -> Any:
    screen: Any = d.app.screen
    return screen.matrix


def grid(d: Driver) -> Any:
    screen: Any = d.app.screen
    return screen.grid


async def test_cells_in_glyphs_and_words() -> None:
    async with driven((80, 24)) as d:
        await d.press("M")
        await d.sees("MATRIX")
        await d.sees("6 hosts")
        await d.press("down", "right")
        await d.sees("sudoku on bj-2  1 drift")
        assert "▲" in d.text()
        await d.press("enter")
        await d.sees("sudoku/3 on bj-2")
        await d.press("escape", "right", "e")
        await d.at("HostScreen")


async def test_an_empty_cell_says_so_and_a_region_opens_its_service() -> None:
    async with driven((80, 24)) as d:
        await d.press("M", "down", "down", "right", "enter")
        await d.sees("no instance of sudoku on bj-3")
        await d.press("home")
        await d.sees("sudoku on region bj  1 drift, 1 changing")
        await d.press("enter")
        await d.sees("SERVICE sudoku")
        assert d.app.address_of(d.app.screen) == "instances sudoku region=bj"
        assert {d.app.board.instances[k].host for k in grid(d).order} == {"bj-1", "bj-2"}


async def test_a_cell_of_many_opens_just_these() -> None:
    """`h-1` is not `h-10`, and the address leads there again."""
    crowd = large(12, 1)
    async with driven((80, 24), CannedSession(crowd)) as d:
        await d.press("M")
        await d.sees("1 service")
        row = next(n for n, r in enumerate(matrix(d).rows) if r.key == "h-1")
        matrix(d).go(row)
        await d.sees("on h-1  5 ok")
        await d.press("enter")
        await d.sees("/host=h-1")
        assert {d.app.board.instances[k].host for k in grid(d).order} == {"h-1"} and len(grid(d).order) == 5
        assert d.app.address_of(d.app.screen) == "instances s0 host=h-1"


async def test_opened_once_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counted(Cells):
        def __init__(self, *args: Any) -> None:
            made.append(1)
            super().__init__(*args)

    monkeypatch.setattr("screens.matrix.Cells", Counted)
    async with driven((80, 24), CannedSession(large(40, 20))) as d:
        await d.press("M")
        await d.sees("20 services")
        assert len(made) == 2  # the empty one, and that of the board
        await d.press("down", "?", "escape", "down")
        await d.sees("20 services")
        assert len(made) == 2


async def test_both_headers_stay_and_every_name_is_whole() -> None:
    async with driven((80, 24), CannedSession(large(1000, 200))) as d:
        await d.press("M")
        await d.sees("200 services")
        await d.press("end", *[">"] * 3)
        text = d.text().splitlines()
        chosen, key = matrix(d).chosen, matrix(d).key
        assert matrix(d).left > 20 and matrix(d).top > 900
        header = next(line for line in text if "1000 hosts" in line)
        assert d.app.board.short(chosen) in header.split() and "columns " in text[1]
        assert any(key in line.split() for line in text)
        await d.press("w")
        await until(lambda: matrix(d).header > 1)
        upright = [line for line in d.text().splitlines()[2: 2 + matrix(d).header]]
        assert matrix(d).chosen == chosen and len(upright) == matrix(d).header


async def test_only_what_is_seen_is_drawn() -> None:
    async with driven((80, 24), CannedSession(large(1000, 200))) as d:
        await d.press("M")
        await d.sees("200 services")
        drawn: list[str] = []
        widget = matrix(d)
        original = widget._cell
        widget._cell = lambda key, service: drawn.append(key) or original(key, service)
        widget._strips.clear()
        widget.refresh()
        await d.settled()
        await until(lambda: drawn)
        assert len(set(drawn)) <= 24 and len(drawn) < 24 * 20
        drawn.clear()
        row = next(r for r in d.app.board.instances.values() if r.host == "h-0")
        d.session.push(instances={row.id: msgspec.structs.replace(row, mark="drift")})
        await until(lambda: drawn)
        assert set(drawn) <= {"h-0", "\0r0"}


async def test_trouble_first_then_only_trouble() -> None:
    async with driven((100, 24), CannedSession(large(1000, 200))) as d:
        await d.press("M")
        await d.sees("200 services")
        await d.press("!")
        await d.sees("trouble first")
        assert matrix(d).rows[0].key == "h-0" and len(matrix(d).rows) == 1000
        await d.press("!")
        await d.sees("only trouble")
        assert {r.key for r in matrix(d).rows if not r.heading} == {"h-0", "h-400", "h-800"}
        assert len(matrix(d).columns) <= 15
        await d.press("!")
        await until(lambda: len(matrix(d).columns) == 200)


async def test_words_narrow_hosts_and_services() -> None:
    async with driven((100, 24), CannedSession(large(40, 20))) as d:
        await d.press("M", "/", *"h-7 s17")
        await until(lambda: [r.key for r in matrix(d).rows if not r.heading] == ["h-7"])
        assert matrix(d).columns == ["co.s17"]
        await d.press("escape")
        await until(lambda: len(matrix(d).columns) == 20)


async def test_rows_follow_moves_of_instances() -> None:
    async with driven((80, 24)) as d:
        await d.press("M", "right", "right", "right")
        await d.sees("web on bj-1  none")
        row = msgspec.structs.replace(d.app.board.instances["puzzle.web/1"], host="bj-1")
        d.session.push(instances={row.id: row})
        await d.sees("web on bj-1  1 ok")


@pytest.mark.parametrize("theme", ["mono", "ansi16"])
async def test_ascii(theme: str) -> None:
    async with driven((80, 24), ascii=True, theme=theme) as d:
        await d.press("M")
        await d.sees("MATRIX")
        assert d.text().isascii()
