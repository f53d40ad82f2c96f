"""The feature table is true as far as a program can tell: what we say of ourselves has a test, and it exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house import tree

TABLE = Path("docs/features.md")
COLUMNS = ("", "Cockpit", "k9s", "sofka", "lazydocker", "systemctl-tui", "process-compose", "dolphie", "checked by")


def rows(text: str) -> list[list[str]]:
    """Cells of every line of a table but for headings of sections. ValueError for a line with other cells."""
    found = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")]
    if tuple(found[0]) != COLUMNS:
        raise ValueError(f"its columns are {found[0]}")
    for row in found:
        if len(row) != len(COLUMNS):
            raise ValueError(f"{len(row)} cells: {row}")
    return [row for row in found[2:] if any(row[1:])]


def complaint(row: list[str]) -> str:
    """What is wrong with a row of ours; empty when nothing is."""
    what, ours, test = row[0], row[1], row[-1].strip("`")
    if not ours:
        return f"{what}: nothing is said of ours"
    if ours == "no" or ours.startswith("no:"):
        return f"{what}: we lack it, so what does {test} check?" if test else ""
    if not test:
        return f"{what}: no test is named"
    path, _, name = test.partition("::")
    if not (tree.ROOT / path).is_file():
        return f"{what}: there is no {path}"
    tests = {
        node.name for node in ast.parse((tree.ROOT / path).read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    }  # fmt: skip
    return "" if name in tests else f"{what}: {path} has no {name}"


def test_every_row_of_ours_has_a_test_that_exists() -> None:
    found = rows((tree.ROOT / TABLE).read_text())
    assert len(found) > 50
    assert [c for c in map(complaint, found) if c] == []


def test_every_row_says_something_of_everybody_once() -> None:
    found = rows((tree.ROOT / TABLE).read_text())
    assert all(all(row[:8]) for row in found)
    assert len({row[0] for row in found}) == len(found)


def test_the_readme_leads_there() -> None:
    assert TABLE.as_posix() in (tree.ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("ours", "test", "said"),
    [
        ("yes", "", "no test is named"), ("yes", "`tests/nothing.py::test_x`", "there is no tests/nothing.py"),
        ("yes", "`tests/house/test_features.py::test_x`", "has no test_x"), ("", "", "nothing is said"),
        ("no", "`tests/x.py::test_x`", "we lack it"), ("no", "", ""),
        ("yes", "`tests/house/test_features.py::test_the_readme_leads_there`", ""),
    ],
)  # fmt: skip
def test_the_rule_itself(ours: str, test: str, said: str) -> None:
    found = complaint(["a feature", ours, *["-"] * 6, test])
    assert said in found and bool(said) == bool(found)
