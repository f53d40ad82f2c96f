"""A view in the pager and in a file: every row, in the form that was asked for."""

from __future__ import annotations

import csv
import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cockpit.plan.steps import Bad
from screens.paging import _plain, pager
from tests.screens.drive import SMALL, Driver, driven


def test_which_pager(tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    path = {"PATH": str(tmp_path)}
    assert pager({"PAGER": "mine -S 'a b'", **path}) == ["mine", "-S", "a b"]
    with pytest.raises(Bad, match="names 'nothing'"):
        pager({"PAGER": "nothing", **path})
    with pytest.raises(Bad, match="cannot be read"):
        pager({"PAGER": "less 'x", **path})
    with pytest.raises(Bad, match="no pager"):
        pager(path)
    own.rename(tmp_path / "less")
    assert pager(path) == ["less"]


CELLS = [("=1+1", "'=1+1"), ("@x", "'@x"), ("-2", "'-2"), ("-", "-"), (" a ", "a")]


@pytest.mark.parametrize(("cell", "kept"), CELLS)
def test_no_cell_becomes_a_formula(cell: str, kept: str) -> None:
    assert _plain(cell) == kept


async def command(d: Driver, text: str) -> None:
    await d.press(":")
    await d.type(text)
    await d.press("enter")


@pytest.fixture
def with_pager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A pager that copies what it is given; where to."""
    script, copy = tmp_path / "pager", tmp_path / "shown"
    script.write_text(f'#!/bin/sh\nstat -c %a "$2" > {copy}.mode\ncp "$2" {copy}\nkill -INT {os.getpid()}\nexit $1\n')
    script.chmod(0o755)
    monkeypatch.setenv("PAGER", f"{script} 0")
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.append("the screens"))
    interrupted.clear()
    yield copy
    signal.signal(signal.SIGINT, before)


interrupted: list[str] = []
"""By ctrl+c, while the pager had the terminal."""


async def test_the_pager_gets_every_row_and_the_screen_is_as_before(with_pager: Path) -> None:
    async with driven(SMALL, address="instances") as d:
        app: Any = d.app
        app.suspend = nullcontext
        await d.sees("web/1")
        before = signal.getsignal(signal.SIGINT)
        await command(d, "page")
        text = with_pager.read_text()
        assert text.startswith("puzzle-prod  instances  2")
        assert len([line for line in text.splitlines() if "/" in line]) == 12
        rows = [line for line in text.splitlines() if "sudoku/" in line]
        assert len({line.index(" sh-") if " sh-" in line else line.index(" bj-") for line in rows}) == 1
        assert Path(f"{with_pager}.mode").read_text() == "600\n" and not app.away
        assert d.name == "InstancesScreen" and signal.getsignal(signal.SIGINT) == before and interrupted == []


async def test_a_pager_that_fails_or_has_no_terminal_is_said(
    with_pager: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(SMALL) as d:
        await command(d, "page")
        await d.sees("A pager needs a terminal of its own")
        app: Any = d.app
        app.suspend = nullcontext
        monkeypatch.setenv("PAGER", os.environ["PAGER"][:-1] + "3")
        await command(d, "page")
        await d.sees("ended with exit 3.")
        monkeypatch.setenv("PAGER", "nothing-like-it")
        await command(d, "page")
        await d.sees("there is no such program")


async def test_a_view_is_saved_as_its_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with driven((240, 40), address="instances sudoku") as d:  # a path of any length on one line
        for name in ("a.txt", "a.csv", "a.json"):
            await command(d, f"save {name}")
            await d.sees(f"{name} holds")
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert "sudoku/3" in (tmp_path / "a.txt").read_text()
        head, *rows = csv.reader((tmp_path / "a.csv").open())
        assert head[:3] == ["key", "name", "state"]
        assert [r[0] for r in rows] == [f"puzzle.sudoku/{n}" for n in range(4)]
        data = json.loads((tmp_path / "a.json").read_text())
        assert data["view"] == "instances sudoku" and len(data["lists"][0]["rows"]) == 4
        await command(d, "save a.csv")
        await d.sees("was left as it is; type another name")
        await command(d, "save")
        await d.sees("save takes a file's name")
        await command(d, "save two words.txt")
        await d.sees("words.txt holds 8 lines")
        assert (tmp_path / "two words.txt").is_file()


async def test_a_browser_that_may_only_look_gets_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COCKPIT_WEB", "view")
    async with driven(SMALL) as d:
        await command(d, "page")
        await d.sees("this browser may only look")
        await command(d, "save x.txt")
        await d.sees("this browser may only look")
        assert list(tmp_path.iterdir()) == []
