"""The bench itself: what it prints, and that its modules load. Nothing is measured here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench import table
from tests.bench.table import Figure
from tests.house import tree


def run(*args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.bench", *args]
    return subprocess.run(argv, cwd=tree.ROOT, capture_output=True, text=True, check=False)


def test_it_lists_every_row() -> None:
    assert run("--list").stdout.split() == list(table.BUDGETS)


def test_a_row_that_is_not_there() -> None:
    result = run("nonsense")
    assert result.returncode == 2
    assert "no row starts with nonsense; there are paint," in result.stderr


@pytest.mark.parametrize(
    ("key", "figure", "cells"),
    [
        ("crash", None, ("<= 10 ms", "not yet", "", "", "")),
        ("crash", Figure(2.6, 1016, "peer"), ("<= 10 ms", "2.6", "ok", "peer 1016", "0.0026 x")),
        ("crash", Figure(10.01), ("<= 10 ms", "10.01", "OVER", "", "")),
        ("serving", Figure(149), (">= 150 MB/s of a core", "149", "UNDER", "", "")),
        ("serving", Figure(300), (">= 150 MB/s of a core", "300", "ok", "", "")),
        ("lost", Figure(0), ("0 requests", "0", "ok", "", "")),
    ],
)
def test_a_row(key: str, figure: Figure | None, cells: tuple[str, ...]) -> None:
    assert table.row(key, figure, "not yet")[1:6] == cells


def test_a_row_that_cannot_be_measured_here_says_why() -> None:
    assert table.row("push-8", None, "not here", "needs root")[2:] == ("not here", "", "", "", "needs root")


def test_a_measure_waits_for_what_it_measures() -> None:
    assert table.exists("cockpit.model.drift")
    assert not table.exists("cockpit.nothing.at_all")


def test_a_measure_without_a_row_is_refused() -> None:
    with pytest.raises(KeyError):
        table.measures("no such row")
