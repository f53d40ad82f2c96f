"""The source files that the rules of the house look at."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cockpit", "screens", "backends", "themes")
LINK = tuple(
    f"cockpit/link/{name}.py"
    for name in ("channel", "dial", "frames", "http2", "polling", "proxy", "tokens", "ways", "websocket")
)
"""What both sides of the link share."""
HOST_SIDE = ("cockpit/__init__.py", "cockpit/link/__init__.py", "cockpit/agent/", "cockpit/swarm/", *LINK)
"""What runs on hosts: Python 3.9, the standard library, `websockets` and `h2`."""


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file of the project: what git tracks or would track, relative to ROOT."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    paths = {Path(p.decode()) for p in listing.stdout.split(b"\0") if p}
    return tuple(sorted(p for p in paths if (ROOT / p).is_file()))


def python(*below: str) -> list[Path]:
    """Python files of the project whose path starts with one of `below` (all of them without)."""
    return [p for p in files() if p.suffix == ".py" and (not below or p.as_posix().startswith(below))]


def holding(*words: str) -> list[Path]:
    """Python files with one of these words in their text: the others need not be parsed."""
    return [p for p in python() if any(word in (ROOT / p).read_text() for word in words)]


def module(path: Path) -> str:
    """`cockpit/model/__init__.py` -> `cockpit.model`."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), str(path))


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, absolute dotted name, inside a function) of every import that runs.

    `from a.b import c` gives `a.b.c`. What only a type checker sees is left out.
    """
    package = module(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    yield from _imports(parsed(path), package, False)


def _imports(node: ast.AST, package: list[str], inside: bool) -> Iterator[tuple[int, str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield child.lineno, alias.name, inside
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            base = [*base, child.module] if child.module else base
            for alias in child.names:
                yield child.lineno, ".".join([*base, alias.name]), inside
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(ast.Module([other], []), package, inside)
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(child, package, inside or function)


def calls(module: ast.Module) -> Iterator[tuple[int, str, ast.Call]]:
    """(line, dotted name as written, node) of every call: `self.loop.create_task` for instance."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            yield node.lineno, ast.unparse(node.func), node
