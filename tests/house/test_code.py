"""Habits that the linter does not see."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import tree

SPAWN = ("create_task", "ensure_future")


def spawns(node: ast.AST | None) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, (ast.Name, ast.Attribute))
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) in SPAWN
    )


def dropped_tasks(module: ast.Module) -> Iterator[int]:
    """Lines where a task is made and its reference is not kept. A TaskGroup keeps its own."""
    groups = {
        ast.unparse(item.optional_vars)
        for node in ast.walk(module) if isinstance(node, ast.AsyncWith)
        for item in node.items
        if item.optional_vars and "TaskGroup" in ast.unparse(item.context_expr)
    }  # fmt: skip
    for node in ast.walk(module):
        match node:
            case ast.Expr(value=made) | ast.Lambda(body=made):
                pass
            case ast.Assign(targets=[ast.Name(id="_")], value=made):
                pass
            case _:
                continue
        if spawns(made):
            assert isinstance(made, ast.Call)
            if not (isinstance(made.func, ast.Attribute) and ast.unparse(made.func.value) in groups):
                yield made.lineno


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("asyncio.create_task(f())", [1]),
        ("_ = loop.create_task(f())", [1]),
        ("asyncio.ensure_future(f())", [1]),
        ("loop.call_later(1, lambda: create_task(f()))", [1]),
        ("self.task = asyncio.create_task(f())", []),
        ("tasks.add(asyncio.create_task(f()))", []),
        ("async def m():\n  async with asyncio.TaskGroup() as g:\n    g.create_task(f())", []),
        ("async def m():\n  async with lock as g:\n    g.create_task(f())", [3]),
    ],
)
def test_the_rule_about_tasks_itself(code: str, lines: list[int]) -> None:
    assert list(dropped_tasks(ast.parse(code))) == lines


def test_tasks_are_kept() -> None:
    """A task that nobody refers to may be collected while it waits: it just stops."""
    paths = tree.holding(*SPAWN)
    assert Path("cockpit/session/client.py") in paths
    assert [f"{path}:{line}" for path in paths for line in dropped_tasks(tree.parsed(path))] == []


def shells(module: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of the calls that may start a shell."""
    for line, name, call in tree.calls(module):
        shell = any(
            k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            for k in call.keywords
        )
        if shell or name in ("os.system", "os.popen") or name.endswith("create_subprocess_shell"):
            yield line, name


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("os.system('x')", ["os.system"]),
        ("with os.popen('x') as f: pass", ["os.popen"]),
        ("subprocess.run('x', shell=True)", ["subprocess.run"]),
        ("run('x', shell=wanted)", ["run"]),
        ("run(['x'], shell=False)", []),
        ("async def f(): await asyncio.create_subprocess_shell('x')", ["asyncio.create_subprocess_shell"]),
        ("subprocess.run(['x'])", []),
    ],
)
def test_the_rule_about_shells_itself(code: str, names: list[str]) -> None:
    assert [name for _, name in shells(ast.parse(code))] == names


def test_no_shell() -> None:
    """Programs are started by argv lists, so that no name can become a command."""
    paths = tree.holding("shell", "system", "popen")  # without one of these words there is nothing to find
    assert Path("backends/ssh/running.py") in paths
    assert [f"{path}:{line}: {name}" for path in paths for line, name in shells(tree.parsed(path))] == []
