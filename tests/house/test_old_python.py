"""What runs on hosts keeps running on Python 3.9."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import tree

PATHS = tree.python(*tree.HOST_SIDE)
BUILTIN = {"int", "str", "bytes", "float", "bool", "dict", "list", "tuple", "set", "object"}


def is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None
    if isinstance(node, ast.Subscript):
        return is_type(node.value)
    return isinstance(node, ast.Name) and (node.id in BUILTIN or node.id == "Any")


def unions(module: ast.Module) -> list[int]:
    """Lines with `X | Y` over types that are evaluated at run time (3.10 and newer)."""
    lazy = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in module.body)
    skipped: set[ast.AST] = set()
    if lazy:
        for node in ast.walk(module):
            hints = [getattr(node, "annotation", None), getattr(node, "returns", None)]
            skipped.update(inner for hint in hints if isinstance(hint, ast.AST) for inner in ast.walk(hint))
    return [
        n.lineno for n in ast.walk(module)
        if isinstance(n, ast.BinOp) and isinstance(n.op, ast.BitOr) and n not in skipped
        and (is_type(n.left) or is_type(n.right))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("from __future__ import annotations\ndef f(x: int | None) -> str | int: ...", []),
        ("def f(x: int | None) -> str: ...", [1]),
        ("from __future__ import annotations\nT = dict[str, int] | None", [2]),
        ("isinstance(x, int | str)", [1]),
        ("flags = os.O_RDWR | os.O_CREAT; m = {1} | {2}", []),
    ],
)
def test_the_rule_about_unions_itself(code: str, lines: list[int]) -> None:
    assert unions(ast.parse(code)) == lines


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_syntax_is_that_of_39(path: Path) -> None:
    module = ast.parse((tree.ROOT / path).read_text(), str(path), feature_version=(3, 9))
    assert unions(module) == []


def test_library_is_that_of_39() -> None:
    """Vermin knows since when each function and argument of the standard library exists."""
    vermin = Path(sys.executable).with_name("vermin")
    result = subprocess.run(
        [vermin, "--no-tips", "--no-parse-comments", "--target=3.9-", "--violations", *map(str, PATHS)],
        cwd=tree.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.search(r"[Mm]inimum", result.stdout), result.stderr
    assert result.returncode == 0, result.stdout
