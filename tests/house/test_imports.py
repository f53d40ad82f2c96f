"""Who may import whom, and what is loaded before the first paint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import tree

HEAVY = {"networkx", "asyncssh", "aiohttp", "jinja2", "cryptography"}
OUTSIDE = {"textual", "screens", "backends", "themes"}
KEEPER = "cockpit/agent/keeper"
BUILT_IN = "_cockpit"
"""A module of the one-file agent's interpreter (tools/agent/module.c); elsewhere it is missing."""

LOADED = """
import importlib, json, sys
seen, found = set(), {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    found[name] = sorted({m.partition(".")[0] for m in sys.modules} - seen)
    seen.update(found[name])
print(json.dumps(found))
"""


def loaded(*modules: str) -> dict[str, set[str]]:
    """Top-level names that each module adds to sys.modules, imported in this order in a new process."""
    result = subprocess.run(
        [sys.executable, "-c", LOADED, *modules], cwd=tree.ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return {name: set(new) for name, new in json.loads(result.stdout).items()}


def modules(*below: str) -> list[str]:
    """Importable modules; a `__main__` is a program, and the keeper's directory runs as one."""
    paths = tree.python(*below)
    return [tree.module(p) for p in paths if p.name != "__main__.py" and KEEPER not in p.as_posix()]


def test_engine_imports_no_terminal_and_no_product() -> None:
    added = loaded(*modules("cockpit/"))
    assert {m: new & OUTSIDE for m, new in added.items() if new & OUTSIDE} == {}


PAINT_FIRST = ("cockpit.cli.main", "screens.app")


@pytest.mark.parametrize("module", [m for m in modules() if m in PAINT_FIRST])
def test_heavy_imports_wait_for_their_first_use(module: str) -> None:
    assert loaded(module)[module] & HEAVY == set()


def test_the_contracts_of_import_linter_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache", "--no-logo"], cwd=tree.ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def foreign(path: Path, allowed: tuple[str, ...], lazily: tuple[str, ...] = ()) -> list[str]:
    """Imports that are neither standard library, nor siblings, nor allowed."""
    siblings = {p.stem for p in tree.python() if p.parent == path.parent}
    found = []
    for line, name, inside in tree.imports(path):
        top = name.partition(".")[0]
        mine = top in siblings and KEEPER in path.as_posix()
        if top in sys.stdlib_module_names or (top == BUILT_IN and inside) or mine:
            continue
        if name == "cockpit" or (name + ".").startswith(tuple(a + "." for a in allowed + (lazily if inside else ()))):
            continue
        found.append(f"{path}:{line}: {name}")
    return found


@pytest.mark.parametrize("path", tree.python(*tree.HOST_SIDE), ids=str)
def test_agent_imports_the_standard_library_and_the_link_only(path: Path) -> None:
    if KEEPER + "/" in path.as_posix():
        assert foreign(path, (KEEPER.replace("/", "."),)) == []
    else:
        shared = [tree.module(Path(p)) for p in tree.LINK]
        allowed = ("cockpit.agent", "cockpit.swarm", "cockpit.__version__", "websockets", "h2", *shared)
        lazily = ("cryptography",) if path.name == "join.py" else ()
        assert foreign(path, allowed, lazily) == []
