"""The model and the plans are pure: no I/O, no clock, no chance. Time comes in as an argument."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house import tree

MODULES = {
    "os", "io", "sys", "time", "socket", "subprocess", "asyncio", "threading", "random", "secrets", "uuid",
    "tempfile", "shutil", "sqlite3", "glob", "select", "signal",
}  # fmt: skip
CALLS = {"open", "print", "input"}
METHODS = {
    "now", "utcnow", "today", "read_text", "write_text", "read_bytes", "write_bytes", "open", "exists",
    "is_file", "is_dir", "iterdir", "glob", "rglob", "stat", "mkdir", "unlink", "rename",
}  # fmt: skip
DOORS = {"cockpit/model/load.py": "load_file"}
"""Functions that may read: the one door from a file to the model. Their module may name `os`."""


def impure(path: Path) -> list[str]:
    found = [
        f"{path}:{line}: imports {name}"
        for line, name, _ in tree.imports(path)
        if name.partition(".")[0] in MODULES and not (name == "os" and path.as_posix() in DOORS)
    ]
    doors = [
        range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in ast.walk(tree.parsed(path))
        if isinstance(node, ast.FunctionDef) and DOORS.get(path.as_posix()) == node.name
    ]
    for line, name, _ in tree.calls(tree.parsed(path)):
        of, _, last = name.rpartition(".")
        outward = name in CALLS or of == "os" or (of and last in METHODS)
        if outward and not any(line in door for door in doors):
            found.append(f"{path}:{line}: calls {name}")
    return found


@pytest.mark.parametrize("path", tree.python("cockpit/model/", "cockpit/plan/"), ids=str)
def test_no_io_and_no_clock(path: Path) -> None:
    assert impure(path) == []
